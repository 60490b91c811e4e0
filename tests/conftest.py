"""What the tests of every room share: the precision they compute in, real data, sample scenes, a trained model."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

import segapp  # before TensorFlow, whose oneDNN it turns on

# A busy machine is not a failure.
settings.register_profile("segapp", deadline=None)
settings.load_profile("segapp")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--precision",
        choices=("float32", "bfloat16"),
        help="what the precision auto is, here and in the processes that tests start; by default the processor decides",
    )


def pytest_configure(config: pytest.Config) -> None:
    if precision := config.getoption("--precision"):
        os.environ["SEGAPP_PRECISION"] = precision


_DEFAULT = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real labelled data; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("SEGAPP_SHARED_DATA", _DEFAULT))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set SEGAPP_SHARED_DATA to the folder that holds water12/, ukis/, ...")
    return folder


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset.toml of four synthetic scenes of 96 x 96 pixels: two to train, one to validate, one to test."""
    from segapp.samples.write import write_samples

    return write_samples(tmp_path_factory.mktemp("samples") / "scenes", scenes=4, size=96)


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe that trains in seconds and still uses dropout, an average of the weights, and every augmentation."""
    path = tmp_path_factory.mktemp("recipes") / "tiny.toml"
    path.write_text(
        """
        schema = 1
        patch_size = 32
        patches_per_image = 16
        batch = 4
        steps = 12
        average = 0.9
        network = { depth = 2, filters = 4, dropout = 0.5, batch_norm = true }
        sampling = { balance = 0.5 }
        augmentation = { scale = 0.2, gain = 0.1, brightness = 0.1, offset = 0.1, noise = 0.1, band_dropout = 0.1 }
        loss = { dice = 0.5, class_weights = "median" }
        optimizer = { decay = 0.01, clip = 1.0 }
        validation = { every = 4 }
        """
    )
    return path


@pytest.fixture(scope="session")
def trained(samples: Path, tiny_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory that `segapp.train` made with the tiny recipe; not to be changed."""

    output = tmp_path_factory.mktemp("models") / "trained"
    segapp.train(samples, output, recipe=str(tiny_recipe), quiet=True)
    return output

from __future__ import annotations

import filecmp
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from scipy import ndimage
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import balanced_accuracy_score

from segapp.data.dataset import read_dataset
from segapp.errors import InputError
from segapp.samples.__main__ import main
from segapp.samples.landscape import BANDS, CLASSES, landscape
from segapp.samples.write import write_samples
from segapp.windows import whole


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset.toml of four sample scenes."""
    return write_samples(tmp_path_factory.mktemp("samples") / "made", scenes=4, size=96, seed=3)


def files_of(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def test_the_same_seed_writes_the_same_files_and_another_seed_others(samples: Path, tmp_path: Path) -> None:
    again = write_samples(tmp_path / "again", scenes=4, size=96, seed=3).parent
    other = write_samples(tmp_path / "other", scenes=4, size=96, seed=4).parent
    names = files_of(samples.parent)
    assert files_of(again) == files_of(other) == names
    same, _, _ = filecmp.cmpfiles(samples.parent, again, names, shallow=False)
    assert same == names
    _, differing, _ = filecmp.cmpfiles(samples.parent, other, names, shallow=False)
    assert differing == [name for name in names if name.suffix == ".tif"]


def test_images_and_masks_are_tiled_geotiffs_on_the_same_metric_grid(samples: Path) -> None:
    images = [path for path in samples.parent.rglob("*.tif") if path.parent.name != "labels"]
    assert len(images) == 4
    for path in images:
        with rasterio.open(path) as image, rasterio.open(samples.parent / "labels" / path.name) as mask:
            assert image.descriptions == BANDS
            assert (image.dtypes[0], mask.dtypes[0]) == ("uint16", "uint8")
            assert image.crs.is_projected and image.crs.linear_units == "metre"
            assert (image.crs, image.transform, image.shape) == (mask.crs, mask.transform, mask.shape)
            assert image.profile["tiled"]
            assert image.nodata == 0
            empty = image.read() == 0
            assert 0 < empty.mean() < 0.1
            assert (empty == empty[0]).all()


def test_scenes_lie_side_by_side_without_overlap(samples: Path) -> None:
    edges = []
    for path in sorted((samples.parent / "labels").glob("*.tif")):
        with rasterio.open(path) as mask:
            edges.append((mask.bounds.left, mask.bounds.right))
    assert [right for _, right in edges[:-1]] == [left for left, _ in edges[1:]]


def test_the_dataset_opens_with_its_roles_and_all_classes_in_each_scene(samples: Path) -> None:
    dataset = read_dataset(samples)
    assert [len(dataset.scenes(role)) for role in ("train", "val", "test")] == [2, 1, 1]
    assert dataset.classes.names == [name for _, name, _ in CLASSES]
    assert [band.name for band in dataset.bands] == list(BANDS)
    for role in ("train", "val", "test"):
        for scene in dataset.scenes(role):
            window = whole(scene.shape)
            assert set(np.unique(scene.read_labels(window))) >= set(range(len(CLASSES)))
            pixels = scene.read(window)[scene.valid(window)]
            assert pixels.min() > 0
            assert pixels.max() < 0.6  # the brightest surface reflects 0.375


def test_smallest_scenes_hold_every_class() -> None:
    for seed in range(8):
        _, labels = landscape(64, np.random.default_rng(seed))
        assert set(np.unique(labels)) == {0, *(class_id for class_id, _, _ in CLASSES)}


def test_vegetation_has_a_red_edge_and_water_is_dark_in_the_infrared() -> None:
    counts, labels = landscape(96, np.random.default_rng(0))
    seen = counts[..., 0] > 0
    median = {name: np.median(counts[seen & (labels == i)], axis=0) for i, name, _ in CLASSES}
    red, nir, swir1 = (BANDS.index(band) for band in ("red", "nir", "swir1"))
    assert median["forest"][nir] > 3 * median["forest"][red]
    assert median["forest"][red] < median["grass"][red]
    assert median["water"][nir] < median["water"][red]
    assert median["bare"][swir1] > median["bare"][nir] > median["bare"][red]


def test_a_pixel_tells_more_than_chance_and_its_surroundings_tell_more_than_the_pixel() -> None:
    alone, around, ids = [], [], []
    for seed in range(3):
        counts, labels = landscape(128, np.random.default_rng(seed))
        seen = counts[..., 0] > 0
        values = counts.astype(float)
        mean = ndimage.uniform_filter(values, (9, 9, 0))
        spread = ndimage.uniform_filter((values - mean) ** 2, (9, 9, 0))
        alone.append(counts[seen])
        around.append(np.concatenate([values, mean, spread], axis=-1)[seen])
        ids.append(labels[seen])

    def score(features: list[np.ndarray]) -> float:
        forest = RandomForestClassifier(20, min_samples_leaf=5, random_state=0)
        forest.fit(np.concatenate(features[:2])[::7], np.concatenate(ids[:2])[::7])
        return balanced_accuracy_score(ids[2], forest.predict(features[2]))

    assert 1 / len(CLASSES) < score(alone) < score(around) < 1


def test_a_folder_that_holds_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        write_samples(tmp_path, size=64)
    assert files_of(tmp_path) == [Path("mine.txt")]


def test_an_interrupted_run_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("segapp.samples.write._toml", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_samples(tmp_path / "made", scenes=3, size=64)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [["--scenes", "2"], ["--size", "63"]])
def test_too_little_to_divide_is_bad_usage(tmp_path: Path, options: list[str]) -> None:
    result = CliRunner().invoke(main, [str(tmp_path / "made"), *options])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"segapp: {tmp_path / 'made'}: ")
    assert result.stderr.count("\n") == 1


def test_the_command_says_where_the_dataset_is(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, [str(tmp_path / "made"), "--scenes", "3", "--size", "64"])
    assert result.exit_code == 0
    assert (tmp_path / "made" / "dataset.toml").is_file()
    assert str(tmp_path / "made" / "dataset.toml") in result.stdout


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_samples(tmp_path / "file" / "made", scenes=3, size=64)

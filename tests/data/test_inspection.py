"""A dataset's summary: counts and ranges as NumPy finds them, and warnings about what spoils a training run."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from segapp.data import inspection
from segapp.data.dataset import Dataset, read_dataset
from segapp.data.inspection import DatasetSummary, ImageSummary, inspect_dataset, inspect_scene
from segapp.data.inspection_tables import print_summary
from segapp.errors import InputError
from segapp.scenes.raster_scene import open_scene
from segapp.scenes.rules import ImageRules

TOML = """schema = 1
image = { nodata = 0, names = ["red", "nir"], scale = 0.5 }
[classes]
ignore = [9]
list = [{ id = 1, name = "land" }, { id = 2, name = "water" }, { id = 3, name = "ice" }]
"""


def dataset(folder: Path, **roles: tuple[np.ndarray, np.ndarray]) -> Dataset:
    text = TOML
    for role, (counts, ids) in roles.items():
        np.save(folder / f"{role}.npy", counts)
        np.save(folder / f"{role}_labels.npy", ids)
        text += f'[[scenes]]\nimage = "{role}.npy"\nlabels = "{role}_labels.npy"\nrole = "{role}"\n'
    (folder / "dataset.toml").write_text(text)
    return read_dataset(folder / "dataset.toml")


def scene(seed: int, shape: tuple[int, int] = (50, 70), classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 50, (*shape, 2)).astype(np.uint16), rng.integers(1, classes + 1, shape).astype(np.uint8)


@pytest.mark.parametrize("read", [7, 33, 1024])
def test_ranges_and_pixel_counts_are_those_of_the_whole_arrays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: int
) -> None:
    monkeypatch.setattr(inspection, "_READ", read)
    counts, ids = scene(read)
    ids[:3] = 9
    summary = inspect_dataset(dataset(tmp_path, train=(counts, ids), val=scene(1)))
    valid = (counts != 0).all(axis=-1)
    pixels = counts[valid] * 0.5
    train = summary.roles[0]
    for band, expected in zip(train.bands, pixels.T, strict=True):
        assert (band.minimum, band.maximum) == (expected.min(), expected.max())
        np.testing.assert_allclose((band.mean, band.std), (expected.mean(), expected.std()), rtol=1e-12)
    assert [c.pixels for c in train.classes] == [int((ids == i).sum()) for i in (1, 2, 3)]
    assert train.unlabelled_pixels == 3 * 70
    assert summary.scenes[0].invalid_share == (~valid).mean()
    assert summary.warnings == ()


def test_a_clean_dataset_warns_of_nothing_and_a_bad_one_of_each_fault(tmp_path: Path) -> None:
    counts, ids = scene(0, classes=2)
    counts[..., 1] = 7
    ids[0, :4] = 77
    summary = inspect_dataset(dataset(tmp_path, train=(counts, ids), test=(np.zeros_like(counts), ids[::-1])))
    told = "\n".join(summary.warnings)
    for fault in (
        "no scene has the role val",
        "train has no pixel of ice",
        "test has no pixel of ice",
        "band nir is nearly constant in train",
        "train (train) has ids that are no class and would stop a run: 77 (4 px)",
        "test (test) has no valid pixel",
    ):
        assert fault in told
    assert "leakage" not in told and "red is nearly" not in told
    assert summary.scenes[0].unknown_ids == {77: 4}
    assert summary.roles[1].bands[0].mean is None


def test_an_image_in_two_roles_is_a_leak_even_by_another_name(tmp_path: Path) -> None:
    dataset(tmp_path, train=scene(0))
    (tmp_path / "link.npy").symlink_to(tmp_path / "train.npy")
    text = (tmp_path / "dataset.toml").read_text()
    extra = '[[scenes]]\nimage = "link.npy"\nlabels = "train_labels.npy"\nrole = "val"\n'
    (tmp_path / "dataset.toml").write_text(text + extra)
    summary = inspect_dataset(read_dataset(tmp_path / "dataset.toml"))
    assert any("leakage" in w and "train.npy" in w and "train and val" in w for w in summary.warnings)


def test_blocks_of_one_scene_are_no_leak(tmp_path: Path) -> None:
    dataset(tmp_path, train=scene(0))
    text = (tmp_path / "dataset.toml").read_text()
    blocks = text.replace("schema = 1", 'schema = 1\nsplit = "blocks"').replace('role = "train"', "")
    (tmp_path / "dataset.toml").write_text(blocks)
    summary = inspect_dataset(read_dataset(tmp_path / "dataset.toml"))
    assert {scene.role for scene in summary.scenes} == {"train", "val", "test"}
    assert summary.warnings == ()


def printed(summary: DatasetSummary | ImageSummary) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    print_summary(summary, console)
    return console.export_text()


def test_a_summary_is_json_and_readable_tables(tmp_path: Path) -> None:
    summary = inspect_dataset(dataset(tmp_path, train=scene(0), val=scene(1, classes=2)))
    assert json.loads(json.dumps(summary.as_dict())) == json.loads(json.dumps(summary.as_dict(), allow_nan=False))
    text = printed(summary)
    for part in ("train", "val", "red", "nir", "water", "reflectance", "50", "70", "warning: val has no pixel of ice"):
        assert part in text


def test_many_scenes_are_summed_up_in_a_line(tmp_path: Path) -> None:
    for number in range(9):
        counts, ids = scene(number, (4, 5))
        np.save(tmp_path / f"{number}.npy", counts)
        np.save(tmp_path / f"labels_{number}.npy", ids)
    entry = '[[scenes]]\nimage = "?.npy"\nlabels = "labels_{name}.npy"\nrole = "train"\n'
    (tmp_path / "dataset.toml").write_text(TOML + entry)
    summary = inspect_dataset(read_dataset(tmp_path / "dataset.toml"))
    assert len(summary.scenes) == 9
    assert "9 scenes" in printed(summary)


def test_a_bare_image_is_summed_up_with_its_crs(shared_data: Path) -> None:
    summary = inspect_scene(open_scene([shared_data / "landsat7" / "L7_ETMs.tif"], ImageRules()))
    assert (summary.height, summary.width, summary.dtype, len(summary.bands)) == (352, 349, "uint8", 6)
    assert summary.crs is not None and summary.invalid_share == 0
    assert "352x349 pixels, uint8" in printed(summary)
    chosen = inspect_scene(
        open_scene([shared_data / "landsat7" / "L7_ETMs.tif"], ImageRules(bands=(4,), names=("nir",)))
    )
    assert [band.name for band in chosen.bands] == ["nir"]
    assert chosen.bands[0].mean == summary.bands[3].mean


def test_an_image_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.tif"):
        inspect_scene(open_scene([tmp_path / "none.tif"], ImageRules()))

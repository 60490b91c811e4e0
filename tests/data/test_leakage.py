"""What a network is trained on must not judge it, and what judges it should look like what it was trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.warp import transform

from segapp.data.comparison import unlike
from segapp.data.dataset import read_dataset
from segapp.data.leakage import leaks
from tests.toy import ToyScene

ORIGIN = (500_000.0, 5_400_000.0)  # on the central meridian of zone 33
SIDE, PIXEL = 200, 10.0
HEAD = 'schema = 1\n[classes]\nlist = [{ id = 1, name = "a" }, { id = 2, name = "b" }]\n'


def write_scene(file: Path, east: float = 0.0, crs: str | None = "EPSG:32633") -> None:
    """A scene of 2 x 2 km whose upper left corner is `east` metres from the origin, in any CRS."""
    x, y = ORIGIN[0] + east, ORIGIN[1]
    if crs not in (None, "EPSG:32633"):
        (x,), (y,) = transform("EPSG:32633", crs, [x], [y])
    place = {"crs": crs, "transform": rasterio.Affine(PIXEL, 0, x, 0, -PIXEL, y)} if crs else {}
    with rasterio.open(file, "w", driver="GTiff", dtype="uint8", count=1, height=SIDE, width=SIDE, **place) as target:
        target.write(np.ones((1, SIDE, SIDE), np.uint8))


def found(folder: Path, *roles: str, head: str = HEAD) -> list[str]:
    """The leaks of a dataset of scene_0.tif, scene_1.tif ... in these roles."""
    scenes = "".join(
        f'[[scenes]]\nimage = "scene_{i}.tif"\nlabels = "scene_{i}.tif"\n' + (f'role = "{role}"\n' if role else "")
        for i, role in enumerate(roles)
    )
    (folder / "dataset.toml").write_text(head + scenes)
    return leaks(read_dataset(folder / "dataset.toml"))


@pytest.mark.parametrize(
    ("east", "crs", "share"),
    [
        (1000.0, "EPSG:32633", "50%"),
        (0.0, "EPSG:32633", "100%"),
        (0.0, "EPSG:3035", "9"),  # another projection turns the square a little
        (SIDE * PIXEL, "EPSG:32633", None),
        ((SIDE - 1) * PIXEL, "EPSG:32633", None),  # a column of pixels in common
        (0.0, None, None),
    ],
)
def test_the_same_ground_in_two_roles_is_told_with_its_share(
    tmp_path: Path, east: float, crs: str | None, share: str | None
) -> None:
    write_scene(tmp_path / "scene_0.tif")
    write_scene(tmp_path / "scene_1.tif", east, crs)
    told = found(tmp_path, "train", "test")
    assert len(told) == (share is not None)
    for warning in told:
        assert "scene_0.tif (train) and " in warning and "scene_1.tif (test) show the same ground, " in warning
        assert f"{share}" in warning.partition("ground, ")[2]
    assert found(tmp_path, "val", "val") == []


def test_overlapping_scenes_that_are_divided_into_blocks_leak(tmp_path: Path) -> None:
    write_scene(tmp_path / "scene_0.tif")
    write_scene(tmp_path / "scene_1.tif", east=500)
    told = found(tmp_path, "", "", head=HEAD.replace("schema = 1", 'schema = 1\nsplit = "blocks"'))
    assert len(told) == 1 and "(blocks)" in told[0]


def test_of_many_leaks_the_first_are_told_and_the_others_counted(tmp_path: Path) -> None:
    for number in range(5):
        write_scene(tmp_path / f"scene_{number}.tif", east=10.0 * number)
    told = found(tmp_path, "train", "train", "train", "val", "val")
    assert len(told) == 6 and told[-1] == "leakage: and 1 more pairs of scenes"


def test_one_file_in_two_roles_is_told_once(tmp_path: Path) -> None:
    write_scene(tmp_path / "scene_0.tif")
    (tmp_path / "scene_1.tif").symlink_to(tmp_path / "scene_0.tif")
    (warning,) = found(tmp_path, "train", "val")
    assert "scene_0.tif is in the roles train and val" in warning


MEAN, STD = np.array([0.05, 0.1, 0.3, 0.2]), np.array([0.03, 0.04, 0.08, 0.06])


def scene_of(values: np.ndarray, seed: int = 0) -> ToyScene:
    noise = np.random.default_rng(seed).normal(0, 0.01, (8, 8, len(values)))
    return ToyScene(noise + values, np.zeros((8, 8)))


def told_of(*values: np.ndarray) -> str | None:
    scenes = [scene_of(one, seed) for seed, one in enumerate(values)]
    return unlike(scenes, scenes[0].bands, MEAN, STD)


@given(st.lists(st.floats(-0.9, 0.9), min_size=4, max_size=4))
def test_a_scene_within_a_standard_deviation_is_usual(shifts: list[float]) -> None:
    assert told_of(MEAN + np.array(shifts) * STD) is None


@pytest.mark.parametrize("factor", [10_000, 100, 0.01])
def test_another_unit_is_told_also_where_it_is_one_scene_of_several(factor: float) -> None:
    told = told_of(MEAN * factor)
    assert told and "toy: values are unlike those of training, band_" in told
    if factor > 1:
        assert told_of(MEAN, MEAN, MEAN * factor)


def test_swapped_bands_are_told_by_name() -> None:
    told = told_of(MEAN[[2, 1, 0, 3]])
    assert told == (
        "toy: bands look swapped: by what training saw, band_1 has the values of band_3, "
        "band_3 has the values of band_1"
    )


def test_bands_that_are_only_centred_have_no_known_spread() -> None:
    counts = MEAN * 10_000
    scene = scene_of(counts * 1.5)
    assert unlike([scene], scene.bands, counts, np.ones(4)) is None
    scene = scene_of(MEAN)
    assert unlike([scene], scene.bands, counts, np.ones(4)) is not None


def test_scenes_without_data_are_not_judged() -> None:
    scene = scene_of(MEAN * np.nan)
    assert unlike([scene], scene.bands, MEAN, STD) is None

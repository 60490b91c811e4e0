"""From a dataset.toml, or bare files, to scenes with roles; every mistake that headers tell comes at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from segapp.classes import IGNORED_INDEX
from segapp.data.dataset import dataset_from_files, read_dataset
from segapp.errors import InputError
from segapp.scenes.blocks import ROLES
from segapp.windows import whole

DATASETS = Path(__file__).resolve().parents[1] / "tools" / "datasets"

CLASSES = """
[classes]
ignore = [0]
list = [{ id = 1, name = "land" }, { id = 2, name = "water" }]
"""
PLAIN = """schema = 1
[[scenes]]
image = "images/*.npy"
labels = "labels/{name}.npy"
role = "train"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three scenes of 6x8 pixels and two bands, a, b and c, with labels 0, 1 and 2."""
    rng = np.random.default_rng(0)
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    for name in "abc":
        np.save(tmp_path / "images" / f"{name}.npy", rng.integers(0, 99, (6, 8, 2)).astype(np.uint16))
        np.save(tmp_path / "labels" / f"{name}.npy", rng.integers(0, 3, (6, 8)).astype(np.uint8))
    (tmp_path / "split.csv").write_text("name,role\na,train\nb.npy,test\nz,val\nc,spare\n")
    return tmp_path


def write(folder: Path, text: str = PLAIN, classes: str = CLASSES) -> Path:
    (folder / "dataset.toml").write_text(text + classes)
    return folder / "dataset.toml"


def test_a_glob_gives_scenes_with_their_labels(folder: Path) -> None:
    dataset = read_dataset(write(folder))
    assert dataset.name == "dataset"
    assert dataset.roles == ("train",)
    assert [scene.name for scene in dataset.scenes("train")] == ["a", "b", "c"]
    for scene in dataset.scenes("train"):
        ids = np.load(folder / "labels" / f"{scene.name}.npy")
        np.testing.assert_array_equal(scene.read_labels(whole((6, 8))), np.array([IGNORED_INDEX, 0, 1])[ids])
        np.testing.assert_array_equal(
            scene.read(whole((6, 8))), np.load(folder / "images" / f"{scene.name}.npy").astype(np.float32)
        )


def test_a_split_file_gives_roles_and_leaves_out_the_rest(folder: Path) -> None:
    text = PLAIN.replace('role = "train"\n', "").replace("schema = 1\n", 'schema = 1\nsplit = { file = "split.csv" }\n')
    dataset = read_dataset(write(folder, text))
    assert {role: [s.name for s in dataset.scenes(role)] for role in ROLES} == {
        "train": ["a"],
        "val": [],
        "test": ["b"],
    }
    named = text.replace('"split.csv"', '"split.csv", roles = { val = "spare" }')
    assert [s.name for s in read_dataset(write(folder, named)).scenes("val")] == ["c"]


def test_a_split_file_says_which_scenes_show_one_place(folder: Path) -> None:
    split = 'schema = 1\nsplit = { file = "split.csv", group = "place" }\n'
    (folder / "split.csv").write_text("name,role,place\na,train,north\nb.npy,test,north \nc,train,\n")
    dataset = read_dataset(write(folder, PLAIN.replace('role = "train"\n', "").replace("schema = 1\n", split)))
    assert dataset.groups == {"a": "north", "b": "north"}


def test_blocks_give_every_role_a_part_of_each_scene(folder: Path) -> None:
    text = PLAIN.replace('role = "train"\n', "").replace("schema = 1\n", 'schema = 1\nsplit = "blocks"\n')
    dataset = read_dataset(write(folder, text))
    assert dataset.roles == ROLES
    assert [s.shape for s in dataset.scenes("train", patch=1)] == [(6, 2)] * 3
    assert (
        [s.shape for s in dataset.scenes("test", patch=1)] == [s.shape for s in dataset.scenes("test")] == [(6, 2)] * 3
    )
    with pytest.raises(InputError, match=r"a\.npy: 6x8 pixels are too few"):
        dataset.scenes("train", patch=3)


def test_a_list_of_files_is_one_scene(folder: Path) -> None:
    text = PLAIN.replace('"images/*.npy"', '["images/a.npy", "images/b*.npy"]')
    (scene,) = read_dataset(write(folder, text)).scenes("train")
    assert (scene.name, scene.shape, len(scene.bands)) == ("a", (6, 8), 4)


def test_classes_may_come_from_a_csv_file(folder: Path) -> None:
    (folder / "classes.csv").write_text("id,name,ignore\n1,land,\n2,water,\n0,none,1\n")
    dataset = read_dataset(write(folder, PLAIN, '[classes]\nfile = "classes.csv"\nignore = [7]\nnodata = 9\n'))
    assert (dataset.classes.names, dataset.classes.ignore, dataset.classes.nodata) == (["land", "water"], (0, 7, 9), 9)


def test_scenes_may_be_variables_of_one_file(folder: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {f"{kind}_{part}": rng.integers(1, 3, (6, 8)) for kind in ("train", "val") for part in ("data", "labels")}
    np.savez(folder / "all.npz", **arrays)
    scenes = "".join(
        f'[[scenes]]\nimage = "all.npz"\nlabels = "all.npz"\nrole = "{kind}"\n'
        f'variable = "{kind}_data"\nlabel_variable = "{kind}_labels"\n'
        for kind in ("train", "val")
    )
    dataset = read_dataset(write(folder, "schema = 1\n" + scenes))
    (val,) = dataset.scenes("val")
    np.testing.assert_array_equal(val.read(whole((6, 8)))[..., 0], arrays["val_data"])
    np.testing.assert_array_equal(val.read_labels(whole((6, 8))), arrays["val_labels"] - 1)


@pytest.mark.parametrize(
    ("change", "to", "message"),
    [
        ("schema = 1", "schema = 3", "dataset.toml: schema: input should be 1, not 3"),
        ("image =", "imag =", "unknown key 'scenes.0.imag'; did you mean 'image'?"),
        ("ignore =", "ignored =", "unknown key 'classes.ignored'; did you mean 'ignore'?"),
        ("schema = 1", "schema = 1\n[image]\nband = [1]", "unknown key 'image.band'; did you mean 'bands'?"),
        ("schema = 1", "schema = 1\n[image]\nquality = { bit = [1] }", "'image.quality.bit'; did you mean 'bits'?"),
        ("schema = 1", "schema = 1\n[split]\nfle = 'x'", "did you mean 'file'?"),
        ("schema = 1", "schema = 1\nsplit = 'block'", "dataset.toml: split"),
        ("schema = 1", "schema = 1\nsplit = 'blocks'", "scenes.0 has a role, and so does the split"),
        ('role = "train"', "", "scenes.0 needs a role"),
        ("images/*", "img/*", "image 'img/*.npy' matches no file in"),
        ("labels/{name}", "masks/{name}", "'masks/a.npy' matches no file, but one is needed"),
        ("labels/{name}", "labels/*", "matches 3 files (a.npy, b.npy, c.npy, ...), but one is needed"),
        ('role = "train"', 'role = "train"\nname = "x"', "matches 3 files, so they cannot share one 'name'"),
        ("schema = 1", "schema = 1\n[image]\nbands = [3]", "images/a.npy: bands asks for band 3"),
        ("schema = 1", "schema = 1\n[image]\nbands = [1, 1]", "dataset.toml: image: bands: 1 is given twice"),
        ("schema = 1", "schema = 1\n[image]\nbands = [1]\nnames = ['a', 'b']", "found 1 bands, 2 names"),
        ('name = "water"', 'name = "land"', "dataset.toml: classes: class name 'land' is given twice"),
        ("list =", "file = 'c.csv'\nlist =", "classes: give the classes either as 'list' or as a 'file'"),
        ("schema = 1", 'schema = 1\nsplit = { file = "none.csv" }', "has a role, and so does the split"),
    ],
)
def test_a_mistake_is_one_line_with_its_place_and_remedy(folder: Path, change: str, to: str, message: str) -> None:
    path = write(folder, PLAIN.replace(change, to, 1), CLASSES.replace(change, to, 1))
    with pytest.raises(InputError) as error:
        read_dataset(path)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert str(folder) in str(error.value)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ('file = "none.csv"', "none.csv: cannot be read as a split file"),
        ('file = "split.csv"\nname = "chip"', "split.csv: has no column 'chip' (its columns: name, role); set 'name'"),
        ('file = "split.csv"\ngroup = "place"', "split.csv: has no column 'place'"),
        ('file = "split.csv"\nroles = { train = "x" }', "has one of the roles 'x'; check 'name' and 'roles'"),
        ('file = "twice.csv"', "twice.csv: 'a' has two lines that differ"),
    ],
)
def test_a_bad_split_file_is_named(folder: Path, split: str, message: str) -> None:
    (folder / "twice.csv").write_text("name,role\na,train\na,val\n")
    text = PLAIN.replace('role = "train"\n', "").replace("schema = 1\n", f"schema = 1\n[split]\n{split}\n")
    with pytest.raises(InputError) as error:
        read_dataset(write(folder, text))
    assert message in str(error.value)


def test_labels_that_do_not_fit_are_found_on_opening(folder: Path) -> None:
    np.save(folder / "labels" / "b.npy", np.zeros((5, 8), np.uint8))
    with pytest.raises(InputError, match=r"labels/b\.npy: .*5x8 .*images/b\.npy is 6x8"):
        read_dataset(write(folder))


def test_scenes_with_other_bands_are_both_named(folder: Path) -> None:
    np.save(folder / "images" / "c.npy", np.zeros((6, 8, 3), np.uint16))
    with pytest.raises(InputError, match=r"c\.npy: its bands are band_1, band_2, band_3, but those of .*a\.npy"):
        read_dataset(write(folder))


def test_a_dataset_of_bare_files_has_validation_files_or_blocks(folder: Path) -> None:
    (folder / "classes.csv").write_text("id,name\n1,land\n2,water\n")
    files: dict[str, Any] = {
        "image": folder / "images" / "a.npy",
        "labels": folder / "labels" / "a.npy",
        "val_image": folder / "images" / "b.npy",
        "val_labels": folder / "labels" / "b.npy",
        "classes": folder / "classes.csv",
    }
    both = dataset_from_files(**files, bands=[2])
    assert both.roles == ("train", "val")
    assert [band.name for band in both.bands] == ["band_2"]
    np.testing.assert_array_equal(
        both.scenes("val")[0].read(whole((6, 8)))[..., 0], np.load(files["val_image"])[..., 1].astype(np.float32)
    )
    alone = dataset_from_files(**{**files, "val_image": None, "val_labels": None})
    assert alone.roles == ROLES
    with pytest.raises(InputError, match=r"b\.npy: is for validation, but its labels file is not given"):
        dataset_from_files(**{**files, "val_labels": None})


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("name", ["water12_worldcover.toml", "water12_water.toml"])
def test_datasets_of_the_tools_give_water12s_roles_and_values(shared_data: Path, name: str) -> None:
    if shared_data.resolve() != (DATASETS / "../../../shared/data").resolve():
        pytest.skip("the tools' datasets lie beside another folder of real data")
    dataset = read_dataset(DATASETS / name)
    counts = {role: len(dataset.scenes(role)) for role in ROLES}
    base = name == "water12_worldcover.toml"
    assert counts == ({"train": 115, "val": 24, "test": 26} if base else {"train": 45, "val": 16, "test": 26})
    assert [band.name for band in dataset.bands] == ["blue", "green", "red", "nir", "swir1", "swir2"]
    scene = dataset.scenes("train")[3]
    with rasterio.open(shared_data / "water12" / "images" / f"{scene.name}.tif") as file:
        counts_of_bands, cover = file.read([2, 3, 4, 5, 6, 7]), file.read(11)
    with rasterio.open(shared_data / "water12" / "labels" / f"{scene.name}.png") as file:
        water = file.read(1)
    np.testing.assert_allclose(
        scene.read(whole(scene.shape)), np.moveaxis(counts_of_bands, 0, -1) * 1e-4, rtol=1e-6, atol=1e-7
    )
    np.testing.assert_array_equal(
        dataset.classes.to_ids(scene.read_labels(whole(scene.shape))), cover if base else water
    )


def test_image_and_mask_may_be_variables_of_one_npz(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "ukis" / "landsat7.npz"
    text = f"""schema = 1
split = "blocks"
image = {{ variable = "img", names = ["blue", "green", "red", "nir", "swir1", "swir2"], unit = "reflectance" }}
labels = {{ variable = "msk" }}
[classes]
nodata = 255
list = [{{ id = 0, name = "shadow" }}, {{ id = 1, name = "water" }}, {{ id = 3, name = "land" }},
        {{ id = 4, name = "cloud" }}]
[[scenes]]
image = "{path}"
labels = "{path}"
"""
    dataset = read_dataset(write(tmp_path, text, ""))
    assert {band.unit for band in dataset.bands} == {"reflectance"}
    masks = np.load(path)["msk"][..., 0]
    blocks = [scene for role in ROLES for scene in dataset.scenes(role)]
    assert sum(scene.shape[0] * scene.shape[1] for scene in blocks) == 512 * 512
    for scene in blocks:
        row, col = scene.window.row, scene.window.col  # type: ignore[attr-defined]
        ids = dataset.classes.to_ids(scene.read_labels(whole(scene.shape)))
        np.testing.assert_array_equal(ids, masks[row : row + scene.shape[0], col : col + scene.shape[1]])


def test_membranes_are_scenes_of_one_grey_band(shared_data: Path, tmp_path: Path) -> None:
    text = f"""schema = 1
[classes]
list = [{{ id = 0, name = "membrane" }}, {{ id = 255, name = "cell" }}]
[[scenes]]
image = "{shared_data}/membrane/images/*.png"
labels = "{shared_data}/membrane/labels/{{name}}.png"
role = "train"
"""
    dataset = read_dataset(write(tmp_path, text, ""))
    scenes = dataset.scenes("train")
    assert len(scenes) == 30 and len(dataset.bands) == 1
    labels = scenes[0].read_labels(whole(scenes[0].shape))
    pixels = scenes[0].read(whole(scenes[0].shape))[..., 0]
    assert set(np.unique(labels)) == {0, 1}
    assert pixels[labels == 0].mean() < pixels[labels == 1].mean()  # membranes are dark

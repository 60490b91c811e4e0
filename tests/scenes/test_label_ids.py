"""Labels of every form give the ids that were meant, or a refusal or a note with a remedy that works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from rasterio.rio.main import main_group as rio
from scipy.io import savemat

from segapp.classes import ClassTable
from segapp.data.dataset import dataset_from_files, read_dataset
from segapp.errors import InputError
from segapp.scenes.labels import Labels, open_labels
from segapp.scenes.memory import ArrayRaster
from segapp.scenes.rules import LabelRules
from segapp.windows import whole
from tests.scenes.test_geotiff import write_tiff

IDS = np.random.default_rng(0).integers(0, 3, (8, 9)).repeat(4, 0).repeat(4, 1).astype(np.uint8)
IMAGE = ArrayRaster("image", np.zeros(IDS.shape))
COLOURS = np.array([[0, 0, 0], [255, 0, 0], [0, 100, 200]], np.uint8)
NAMES = ("background", "road", "water")


def table(colours: np.ndarray | None = None, first: int = 0, **more: Any) -> ClassTable:
    listed = [{"id": i + first, "name": name} for i, name in enumerate(NAMES)]
    for entry, colour in zip(listed, [] if colours is None else colours.tolist(), strict=False):
        entry["color"] = "#{:02x}{:02x}{:02x}".format(*colour)
    return ClassTable.model_validate({"classes": listed, **more})


def opened(path: Path, classes: ClassTable | None = None, **rules: Any) -> Labels:
    return open_labels(path, LabelRules.model_validate(rules), IMAGE, classes or table())


def ids_of(labels: Labels) -> np.ndarray:
    """The ids, and -1 where there is no label."""
    ids, labelled = labels.read(whole(IDS.shape))
    return np.where(labelled, ids, -1)


def refused(path: Path, classes: ClassTable | None = None, **rules: Any) -> str:
    with pytest.raises(InputError) as error:
        opened(path, classes, **rules).read(whole(IDS.shape))
    message = str(error.value).replace(str(path.parent), "")
    assert path.name in message and len(message) <= 200
    return message


class TestNodataThatIsAClass:
    def test_of_a_geotiff_is_said_and_the_remedy_works(self, tmp_path: Path) -> None:
        path = write_tiff(tmp_path / "l.tif", IDS, nodata=0)
        (note,) = opened(path).remarks
        assert "nodata value 0 is the id of class background" in note and "rio edit-info --unset-nodata" in note
        assert CliRunner().invoke(rio, ["edit-info", "--unset-nodata", str(path)]).exit_code == 0
        assert not opened(path).remarks
        np.testing.assert_array_equal(ids_of(opened(path)), IDS)

    def test_of_a_palette_with_a_transparent_colour_is_said(self, tmp_path: Path) -> None:
        picture = Image.fromarray(IDS, "P")
        picture.putpalette(COLOURS.ravel().tolist())
        picture.save(tmp_path / "l.png", transparency=1)
        (note,) = opened(tmp_path / "l.png").remarks
        assert "nodata value 1 is the id of class road" in note and "without a transparent colour" in note

    def test_of_hdf5_is_said(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "l.h5", "w") as file:
            file["labels"] = IDS
            file["labels"].attrs["_FillValue"] = np.uint8(2)
        assert "nodata value 2 is the id of class water" in opened(tmp_path / "l.h5").remarks[0]

    @pytest.mark.parametrize("nodata", [None, 255, 7])
    def test_of_no_class_is_not(self, tmp_path: Path, nodata: int | None) -> None:
        assert not opened(write_tiff(tmp_path / "l.tif", IDS, nodata=nodata)).remarks


class TestOneHot:
    @pytest.mark.parametrize("form", [".mat", ".npy", ".tif", "255", "float", "unlabelled"])
    @pytest.mark.parametrize("rules", [{}, {"band": 1}])
    def test_is_refused_whatever_band_is_chosen(self, tmp_path: Path, form: str, rules: dict[str, Any]) -> None:
        stack = np.stack([i == IDS for i in range(3)], -1).astype(np.float32 if form == "float" else np.uint8)
        stack = stack * 255 if form == "255" else stack
        stack[:4] = 0 if form == "unlabelled" else stack[:4]
        path = tmp_path / f"l{form if form.startswith('.') else '.npy'}"
        if form == ".mat":
            savemat(path, {"labels": stack.astype(bool)})
        elif form == ".tif":
            write_tiff(path, stack)
        else:
            np.save(path, stack)
        assert "3 bands are one-hot" in refused(path, **rules)
        np.save(tmp_path / "followed.npy", stack.argmax(-1))  # the remedy
        assert (ids_of(opened(tmp_path / "followed.npy"))[4:] == IDS[4:]).all()

    def test_masks_that_overlap_are_not(self, tmp_path: Path) -> None:
        np.save(tmp_path / "l.npy", np.stack([IDS > 0, IDS > 1], -1))
        np.testing.assert_array_equal(ids_of(opened(tmp_path / "l.npy", band=2)), IDS > 1)


class TestColours:
    @pytest.mark.parametrize("suffix", [".png", ".tif"])
    @pytest.mark.parametrize("alpha", [True, False])
    def test_of_the_classes_are_their_ids(self, tmp_path: Path, suffix: str, alpha: bool) -> None:
        pixels, labelled = COLOURS[IDS], np.ones(IDS.shape, bool)
        if alpha:
            labelled[:4] = False
            pixels = np.concatenate([pixels, np.where(labelled, 255, 0).astype(np.uint8)[..., None]], -1)
        path = tmp_path / f"l{suffix}"
        Image.fromarray(pixels).save(path) if suffix == ".png" else write_tiff(path, pixels)
        labels = opened(path, table(COLOURS))
        np.testing.assert_array_equal(ids_of(labels), np.where(labelled, IDS.astype(int), -1))
        assert "read from the colours of the classes" in labels.remarks[0]

    def test_without_those_of_the_classes_are_refused_with_what_there_is(self, tmp_path: Path) -> None:
        Image.fromarray(COLOURS[IDS]).save(tmp_path / "l.png")
        message = refused(tmp_path / "l.png")
        assert "is a colour image" in message and "class background has no 'color'" in message
        assert all("#{:02x}{:02x}{:02x}".format(*colour) in message for colour in COLOURS)

    def test_of_no_class_are_listed(self, tmp_path: Path) -> None:
        Image.fromarray(COLOURS[IDS]).save(tmp_path / "l.png")
        others = COLOURS.copy()
        others[1] = 9
        message = refused(tmp_path / "l.png", table(others))
        assert f"has colours of no class: #ff0000 ({(IDS == 1).sum()} px)" in message

    def test_black_is_unlabelled_unless_it_is_a_class(self, tmp_path: Path) -> None:
        Image.fromarray(COLOURS[IDS]).save(tmp_path / "l.png")
        two = ClassTable.model_validate(
            {"classes": [{"id": 1, "name": "road", "color": "#ff0000"}, {"id": 2, "name": "water", "color": "#0064c8"}]}
        )
        ids, _ = opened(tmp_path / "l.png", two).read(whole(IDS.shape))
        np.testing.assert_array_equal(ids, IDS)
        assert (two.to_indexes(ids)[IDS == 0] == 255).all()

    def test_that_are_grey_are_ids(self, tmp_path: Path) -> None:
        Image.fromarray(IDS).convert("RGB").save(tmp_path / "l.png")
        labels = opened(tmp_path / "l.png")
        np.testing.assert_array_equal(ids_of(labels), IDS)
        assert "three bands are equal" in labels.remarks[0]


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("l.jpg", {"driver": "JPEG"}),
        ("l.tif", {"compress": "jpeg"}),
        ("l.tif", {"compress": "lerc", "max_z_error": 1}),
        ("l.jp2", {"driver": "JP2OpenJPEG"}),
    ],
)
def test_losses_are_refused(tmp_path: Path, name: str, more: dict[str, Any]) -> None:
    assert "compressed with losses" in refused(write_tiff(tmp_path / name, np.tile(IDS, (4, 4)), **more))


@pytest.mark.parametrize(("name", "more"), [("l.tif", {"compress": "lerc"}), ("l.tif", {"compress": "deflate"})])
def test_compression_without_losses_is_read(tmp_path: Path, name: str, more: dict[str, Any]) -> None:
    np.testing.assert_array_equal(ids_of(opened(write_tiff(tmp_path / name, IDS, **more))), IDS)


class TestMasksOf0And255:
    def files(self, folder: Path, second: int) -> tuple[Path, Path, Path]:
        Image.fromarray(np.zeros((*IDS.shape, 3), np.uint8)).save(folder / "i.png")
        Image.fromarray((IDS > 0).astype(np.uint8) * 255).save(folder / "l.png")
        (folder / "c.csv").write_text(f"id,name\n0,background\n{second},road\n")
        return folder / "i.png", folder / "l.png", folder / "c.csv"

    def test_with_the_classes_0_and_1_are_refused_and_the_remedy_works(self, tmp_path: Path) -> None:
        for second in (1, 255):
            image, labels, classes = self.files(tmp_path, second)
            ((_, scene),) = dataset_from_files(image, labels, None, None, classes).members
            if second == 1:
                with pytest.raises(
                    InputError, match=r"mask of 0 and 255, but 255 is no class.*set the id of its class"
                ):
                    scene.read_labels(whole(scene.shape))
        np.testing.assert_array_equal(scene.read_labels(whole(scene.shape)), IDS > 0)

    def test_leave_8_bits_for_maps(self, tmp_path: Path) -> None:
        classes = dataset_from_files(*self.files(tmp_path, 255)[:2], None, None, tmp_path / "c.csv").classes
        assert (classes.dtype, classes.nodata) == (np.uint8, 254)


def test_split_files_whose_rows_match_nothing_are_said(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        np.save(tmp_path / f"{name}.npy", np.zeros((8, 9, 2), np.uint8))
        np.save(tmp_path / f"{name}_l.npy", np.ones((8, 9), np.uint8))
    (tmp_path / "s.csv").write_text("name,role\na,train\nb.npy,val\nd.tif,train\ne,other\n")
    (tmp_path / "d.toml").write_text(
        'schema = 1\nsplit = { file = "s.csv" }\n[classes]\nlist = [{ id = 1, name = "a" }, { id = 2, name = "b" }]\n'
        '[[scenes]]\nimage = "?.npy"\nlabels = "{name}_l.npy"\n'
    )
    dataset = read_dataset(tmp_path / "d.toml")
    assert [scene.name for _, scene in dataset.members] == ["a", "b"]
    rows, scenes = dataset.remarks()
    assert "s.csv: 1 of its rows name no scene: d.tif" in rows and "has no row for c" in scenes

"""Datasets that cannot be read as they say: dataset.toml, the files it names, labels, classes, splits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import rasterio

from tests.bad_input.cases import FINETUNE, INSPECT, TRAIN, Case
from tests.bad_input.place import (
    COLUMNS,
    DATASET,
    ROWS,
    Change,
    also,
    cut,
    dataset,
    folder_at,
    labels,
    link,
    npy,
    pixels,
    removed,
    tiff,
    write,
)

_IMAGE, _LABELS = 'image = "image.tif"', 'labels = "labels.tif"'


def _image(key: str) -> Change:
    return dataset("[image]", f"[image]\n{key}")


def _label_file(name: str, *rules: str) -> Change:
    table = "\n".join(["[labels]", *rules, "[image]"])
    return also(dataset("labels.tif", name), dataset("[image]", table))


def _split(content: str, rules: str = "") -> Change:
    table = f'[split]\nfile = "split.csv"\n{rules}\n[image]'
    return also(write("split.csv", content), dataset('role = "train"', ""), dataset("[image]", table))


def _classes(content: str | bytes) -> Change:
    listed = DATASET[DATASET.index("ignore") : DATASET.index("[[scenes]]")]
    return also(write("classes.csv", content), dataset(listed, 'file = "classes.csv"\n'))


def _polygon(kind: object, where: tuple[float, float] = (400_100, 4_999_900), crs: str | None = "EPSG::32633") -> str:
    x, y = where
    ring = [[x, y], [x + 90, y], [x + 90, y - 90], [x, y]]
    feature = {"type": "Feature", "properties": {"kind": kind}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    named = {"crs": {"type": "name", "properties": {"name": f"urn:ogc:def:crs:{crs}"}}} if crs else {}
    return json.dumps({"type": "FeatureCollection", **named, "features": [feature]})


def _polygons(content: str, *rules: str) -> Change:
    return also(write("labels.geojson", content), _label_file("labels.geojson", *rules))


def _polygons_of_bytes(folder: Path) -> None:
    _polygons("")(folder)
    (folder / "labels.geojson").write_bytes(_polygon(1).encode().replace(b"kind", b"k\xff\x80d"))


def _second(image: np.ndarray) -> Change:
    scene = '[[scenes]]\nimage = "second.tif"\nlabels = "labels.tif"\nrole = "val"\n'
    return also(tiff("second.tif", image), dataset("[[scenes]]", f"{scene}[[scenes]]"))


def _ids(value: float, dtype: type = np.uint8) -> Change:
    array = labels().astype(dtype)
    array[:2] = value
    return tiff("labels.tif", array)


def _constant(value: float) -> Change:
    return tiff("image.tif", np.full((ROWS, COLUMNS, 3), value, np.float32))


def _names_in_the_file(*names: str) -> Change:
    """An image that names its bands itself."""

    def change(folder: Path) -> None:
        dataset('names = ["blue", "green", "red"]', "")(folder)
        with rasterio.open(folder / "image.tif", "r+") as image:
            image.descriptions = names

    return change


def _labels_without_data(folder: Path) -> None:
    image, ids = pixels(), labels()
    image[ids > 0] = 0
    also(tiff("image.tif", image, nodata=0), tiff("labels.tif", ids))(folder)


_SWAPPED = labels().T

CASES = [
    # dataset.toml itself
    Case("no TOML", removed("dataset.toml"), INSPECT, ("dataset.toml: no such file; check the path",)),
    Case("TOML empty", write("dataset.toml", ""), INSPECT, ("dataset.toml: schema is missing; add it",)),
    Case("TOML broken", dataset("schema = 1", "schema = "), INSPECT, ("dataset.toml: is no valid TOML", "line 2")),
    Case("TOML truncated", cut("dataset.toml", 0.45), INSPECT, ("dataset.toml: is no valid TOML",)),
    Case(
        "TOML not UTF-8", write("dataset.toml", b"name = '\xff'"), INSPECT, ("dataset.toml", "give a UTF-8 TOML file")
    ),
    Case(
        "TOML too deep", write("dataset.toml", "a = " + "[" * 100_000), INSPECT, ("dataset.toml: is nested too deep",)
    ),
    Case("TOML of a huge number", dataset("= 1\n", f"= {'1' * 9999}\n"), INSPECT, ("dataset.toml: is no valid TOML",)),
    Case(
        "TOML endless",
        link("dataset.toml", "/dev/zero"),
        INSPECT,
        ("dataset.toml: is a device or a pipe; give a file",),
    ),
    Case("TOML too long", write("dataset.toml", b"#" * (65 << 20)), INSPECT, ("dataset.toml: is longer than 64 MiB",)),
    Case("TOML a folder", folder_at("dataset.toml"), TRAIN, ("dataset.toml: cannot be read", "give a UTF-8 TOML file")),
    Case("unknown key", _image("bandz = [1]"), INSPECT, ("unknown key 'image.bandz'; did you mean 'bands'?",)),
    Case("unknown table", dataset("[image]", "[imagery]\n[image]"), INSPECT, ("'imagery'; did you mean 'image'?",)),
    Case("no schema", dataset("schema = 1", ""), INSPECT, ("dataset.toml: schema is missing; add it",)),
    Case("another schema", dataset("schema = 1", "schema = 7"), INSPECT, ("schema: input should be 1, not 7",)),
    Case("no role", dataset('role = "train"', ""), INSPECT, ('scenes.0 needs a role: "train", "val" or "test"',)),
    Case("unknown role", dataset('"train"', '"training"'), INSPECT, ("scenes.0.role: input should be 'train', 'val'",)),
    Case("no scenes", dataset("[[scenes]]", "[other]"), INSPECT, ("dataset.toml: unknown key 'other'",)),
    # images
    Case(
        "image not there", dataset("image.tif", "imag.tif"), INSPECT, ("image 'imag.tif' matches no file in", "check")
    ),
    Case(
        "image without name", dataset(_IMAGE, 'image = ""'), INSPECT, ("scenes.0.image: value should have at least 1",)
    ),
    Case("image a bad glob", dataset("image.tif", "**x.tif"), INSPECT, ("'**x.tif' is no path or glob", "check it")),
    Case("image a name too long", dataset("image.tif", "x" * 300), INSPECT, ("is no path or glob", "name too long")),
    Case(
        "image a name of no bytes",
        dataset("image.tif", "a\\u0000b*"),
        INSPECT,
        ("matches no file in", "check the path"),
    ),
    Case("image cut off", cut("image.tif"), INSPECT, ("image.tif: cannot be read as a raster",)),
    Case("image empty", write("image.tif", ""), INSPECT, ("image.tif: is empty; write or copy it again",)),
    Case("image a page", write("image.tif", "hello"), INSPECT, ("image.tif: cannot be read as a raster",)),
    Case("image a parent folder", dataset("image.tif", ".."), INSPECT, ("..: is not a file but a folder",)),
    Case("band missing", _image("bands = [1, 2, 4]"), INSPECT, ("image.tif: bands asks for band 4, but there are 3",)),
    Case("band of no name", _image('bands = ["a", "b", "c"]'), INSPECT, ("band 'a', but its 3 bands have no names",)),
    Case("band 0", _image("bands = [0, 1, 2]"), INSPECT, ("asks for band 0, but there are 3, counted from 1",)),
    Case("band repeated", _image("bands = [1, 2, 2]"), INSPECT, ("bands: 2 is given twice",)),
    Case(
        "band names repeated in the file", _names_in_the_file("a", "b", "A"), TRAIN, ("bands: two bands are named 'a'",)
    ),
    Case(
        "band scale of 0", _image("scale = 0"), TRAIN, ("dataset.toml: bands: 'blue' has the scale 0 and the offset",)
    ),
    Case("band name repeated", dataset('"red"', '"blue"'), INSPECT, ("names: 'blue' is given twice",)),
    Case("too few band names", dataset(', "red"', ""), INSPECT, ("'names' has 2 entries for 3 bands",)),
    Case("too many scales", _image("scale = [1.0, 1.0]"), INSPECT, ("one entry a band is needed, found 3 names, 2",)),
    Case("no mask band", _image("mask_band = 4"), INSPECT, ("image.tif: mask_band asks for band 4",)),
    Case("other bands in a scene", _second(pixels()[..., :2]), INSPECT, ("second.tif", "'names' has 3 entries for 2")),
    Case("no variable here", _image('variable = "cube"'), INSPECT, ("image.tif: holds no named variables",)),
    Case(
        "unknown resampling", _image('resampling = "best"'), INSPECT, ("image.resampling: input should be 'nearest'",)
    ),
    Case("unknown layout", _image('layout = "WHC"'), INSPECT, ("image.layout: input should be 'CHW', 'HWC' or 'HCW'",)),
    Case("quality without a rule", _image("quality = { band = 1 }"), INSPECT, ("either 'bits' or 'classes'",)),
    Case("quality of no band", _image("quality = { bits = [1] }"), INSPECT, ("'quality' names no band; add 'band'",)),
    Case(
        "quality of bit 99", _image("quality = { band = 1, bits = [99] }"), INSPECT, ("bits count from 0, the lowest",)
    ),
    Case(
        "all nodata",
        also(_constant(7), _image("nodata = 7.0")),
        TRAIN,
        ("image.tif: no valid pixel in any training scene; check nodata",),
    ),
    Case("all NaN", _constant(np.nan), TRAIN, ("image.tif: no valid pixel in any training scene; check nodata",)),
    Case("all infinite", _constant(np.inf), TRAIN, ("image.tif: no valid pixel in any training scene; check nodata",)),
    # labels
    Case("labels not there", dataset("labels.tif", "label.tif"), INSPECT, ("'label.tif' matches no file",)),
    Case(
        "labels of several files", dataset("labels.tif", "*.tif"), INSPECT, ("'*.tif' matches 2 files", "one is needed")
    ),
    Case("labels cut off", cut("labels.tif"), INSPECT, ("labels.tif: cannot be read as a raster",)),
    Case("labels of three bands", tiff("labels.tif", pixels()), INSPECT, ("labels.tif: has 3 bands; set 'band' of",)),
    Case("labels without that band", _label_file("labels.tif", "band = 2"), INSPECT, ("labels.band asks for band 2",)),
    Case(
        "labels swapped",
        also(npy("labels.npy", _SWAPPED), dataset("labels.tif", "labels.npy")),
        INSPECT,
        (f"labels.npy: the labels are {COLUMNS}x{ROWS} pixels, but the image", f"is {ROWS}x{COLUMNS}; give labels of"),
    ),
    Case(
        "labels elsewhere", tiff("labels.tif", labels(), west=9e5), INSPECT, ("labels.tif: does not overlap the image",)
    ),
    Case(
        "labels in another CRS",
        tiff("labels.tif", labels(), crs="EPSG:32610"),
        INSPECT,
        ("labels.tif: does not overlap the image", "give files of one place"),
    ),
    Case(
        "labels in degrees",
        tiff("labels.tif", labels(), crs="EPSG:4326"),
        INSPECT,
        ("labels.tif: does not overlap the image",),
    ),
    Case(
        "labels all ignored",
        tiff("labels.tif", 0 * labels()),
        TRAIN,
        ("dataset.toml: the training scenes hold no lab",),
    ),
    Case(
        "labels all ignored, to transfer", tiff("labels.tif", 0 * labels()), FINETUNE, ("hold no labelled pixel; che",)
    ),
    Case(
        "labels only without data", _labels_without_data, TRAIN, ("dataset.toml: the training scenes hold no labelled",)
    ),
    Case("labels outside the classes", _ids(9), TRAIN, ("labels.tif: ids that are no class: 9 (120 px); add them to",)),
    Case("labels of fractions", _ids(1.5, np.float32), TRAIN, ("labels.tif: ids that are no class: 1.5 (120 px)",)),
    Case("labels infinite", _ids(np.inf, np.float32), TRAIN, ("labels.tif: ids that are no class: inf (120 px)",)),
    Case("labels complex", _ids(1, np.complex64), INSPECT, ("labels.tif: holds complex numbers; convert it",)),
    # polygons
    Case("polygons broken", _polygons(_polygon(1)[:-2]), INSPECT, ("labels.geojson: cannot be read as vectors",)),
    Case("polygons not text", _polygons("\x00\xff" * 99), INSPECT, ("labels.geojson: cannot be read as vectors",)),
    Case(
        "polygons of a field that is no text",
        _polygons_of_bytes,
        INSPECT,
        ("labels.geojson: cannot be read as vectors",),
    ),
    Case("polygons of another field", _polygons(_polygon(1), 'attribute = "id"'), INSPECT, ("has no field 'id'; set",)),
    Case("polygons of no class", _polygons(_polygon("sea")), INSPECT, ("neither class names nor ids: 'sea' (1 f",)),
    Case("polygons in metres", _polygons(_polygon(1, crs=None)), INSPECT, ("its coordinates are no degrees, though",)),
    Case(
        "polygons of another layer", _polygons(_polygon(1), 'layer = "x"'), INSPECT, ("has no layer 'x'; set 'layer'",)
    ),
    Case("polygons of no CRS", _polygons(_polygon(1), 'crs = "EPSG:x"'), INSPECT, ("its CRS 'EPSG:x' is not underst",)),
    Case(
        "polygons on an image without CRS",
        also(_polygons(_polygon(1)), tiff("image.tif", pixels(), crs=None)),
        INSPECT,
        ("image.tif: has no CRS, so the vectors of", "georeference the image"),
    ),
    # classes
    Case("no classes", dataset("[classes]", "[klasses]"), INSPECT, ("unknown key 'klasses'; did you mean 'classes'?",)),
    Case("one class", dataset(', { id = 2, name = "water" }', ""), INSPECT, ("classes: classes", "at least 2 items")),
    Case("class id twice", dataset("id = 2", "id = 1"), INSPECT, ("class id 1 is given twice",)),
    Case("class name twice", dataset('"water"', '"land"'), INSPECT, ("class name 'land' is given twice",)),
    Case(
        "class id too large",
        dataset("id = 2", "id = 70000"),
        INSPECT,
        ("classes.list.1.id: input should be less than or",),
    ),
    Case("class without name", dataset(', name = "water"', ""), INSPECT, ("classes.list.1.name is missing; add it",)),
    Case("class ignored", dataset("ignore = [0]", "ignore = [2]"), INSPECT, ("id 2 is a class and ignored",)),
    Case("class of no colour", dataset('"water"', '"water", color = "blau"'), INSPECT, ("'blau' is no colour; write",)),
    Case("nodata a class", dataset("ignore = [0]", "nodata = 2"), INSPECT, ("nodata 2 is the id of class 'water'",)),
    Case(
        "class file not there", also(_classes(""), removed("classes.csv")), INSPECT, ("classes.csv: cannot be read as",)
    ),
    Case("class file empty", _classes(""), INSPECT, ("classes.csv: the columns must be id, name",)),
    Case("class file of other columns", _classes("nr;name\n1;a\n"), INSPECT, ("classes.csv: the columns must be id,",)),
    Case("class file without numbers", _classes("id,name\none,a\n"), INSPECT, ("classes.csv: line 2: id 'one' is no",)),
    Case("class file not UTF-8", _classes(b"id,name\n1,\xff\n"), INSPECT, ("classes.csv: cannot be read as a class",)),
    # splits
    Case("split not there", also(_split(""), removed("split.csv")), INSPECT, ("split.csv: cannot be read as a split",)),
    Case(
        "split of other columns",
        _split("a,b\n1,2\n"),
        INSPECT,
        ("split.csv: has no column 'name' (its columns: a, b)",),
    ),
    Case("split of other scenes", _split("name,role\nx,train\n"), INSPECT, ("split.csv: no scene of",)),
    Case(
        "split undecided", _split("name,role\nimage,val\nimage,train\n"), INSPECT, ("'image' has two lines that diff",)
    ),
    Case(
        "split into blocks of nothing",
        dataset("[image]", 'split = "blocs"\n[image]'),
        INSPECT,
        ("split: input should be 'blocks', not",),
    ),
    Case(
        "split and role", dataset("[image]", '[split]\nfile = "s.csv"\n[image]'), INSPECT, ("scenes.0 has a role, and",)
    ),
]

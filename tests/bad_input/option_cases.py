"""Options that make no sense together or with the data, and outputs that cannot be written."""

from __future__ import annotations

import json

from tests.bad_input.cases import CONVERT, FINETUNE, PREDICT, TRAIN, Case
from tests.bad_input.place import Change, folder_at, nothing, pixels, tiff, write

_AREA = '{"type": "FeatureCollection", "features": [%s]}'
_FAR = {"type": "Polygon", "coordinates": [[[1, 1], [2, 1], [2, 2], [1, 1]]]}
_EVALUATE = "evaluate --model model --data dataset.toml --role train"


def _area(*geometries: dict[str, object]) -> Change:
    features = [{"type": "Feature", "properties": {}, "geometry": geometry} for geometry in geometries]
    return write("area.geojson", _AREA % ",".join(map(json.dumps, features)))


CASES = [
    Case("no verb", nothing, "nosuch", ("No such command 'nosuch'", "see segapp --help")),
    Case("no option", nothing, f"{PREDICT} --nosuch", ("No such option", "--nosuch")),
    Case("no number", nothing, f"{TRAIN} --steps many", ("--steps", "'many' is not a valid integer")),
    Case("no steps", nothing, f"{TRAIN} --steps 0", ("steps: input should be greater than or equal to 1",)),
    Case("no such device", nothing, f"{TRAIN} --devices tpu:9", ("devices 'tpu:9' are not known; give auto",)),
    Case("too many devices", nothing, f"{TRAIN} --devices cpu:x", ("devices 'cpu:x' are not known; give auto",)),
    Case("data given twice", nothing, f"{TRAIN} --image image.tif", ("--data and --image exclude each other",)),
    Case("nothing to resume", nothing, "train --resume --output new", ("no data is given; give --data dataset.toml",)),
    Case("one model too many", nothing, f"{PREDICT} --endpoint http://x:1/m", ("--model and --endpoint exclude each",)),
    Case("window of words", nothing, f"{PREDICT} --window a,b,c,d", ("--window 'a,b,c,d' is not understood; write",)),
    Case("window of no size", nothing, f"{PREDICT} --window 0,0,0,5", ("image.tif: of the window of 0x5 pixels",)),
    Case(
        "window outside",
        nothing,
        f"{PREDICT} --window 90,0,5,5",
        ("image.tif: of the window of 5x5 pixels from row 90",),
    ),
    Case(
        "window before",
        nothing,
        f"{PREDICT} --window -9,0,5,5",
        ("image.tif: of the window of 5x5 pixels from row -9",),
    ),
    Case("tile of no size", nothing, f"{PREDICT} --tile-size 0", ("--tile-size", "0 is not in the range x>=1")),
    Case(
        "bands of another number", nothing, f"{PREDICT} --bands 1,2", ("image.tif: 2 bands are chosen, but the model",)
    ),
    Case("bands not there", nothing, f"{PREDICT} --bands 1,2,9", ("image.tif: bands asks for band 9",)),
    Case("bands repeated", nothing, f"{PREDICT} --bands 1,1,2", ("bands: 1 is given twice",)),
    Case("area not there", nothing, f"{PREDICT} --aoi none.geojson", ("none.geojson: no such file; check the path",)),
    Case(
        "area broken", write("area.geojson", "{"), f"{PREDICT} --aoi area.geojson", ("area.geojson: cannot be read as",)
    ),
    Case("area of nothing", _area(), f"{PREDICT} --aoi area.geojson", ("area.geojson: holds no polygons; draw",)),
    Case("area elsewhere", _area(_FAR), f"{PREDICT} --aoi area.geojson", ("area.geojson: none of its polygons",)),
    Case(
        "scene of two bands", tiff("image.tif", pixels()[..., :2]), PREDICT, ("image.tif: has 2 bands, but the mode",)
    ),
    Case(
        "scene without data", tiff("image.tif", 0 * pixels(), nodata=0), PREDICT, ("image.tif: holds no valid pixel",)
    ),
    Case(
        "list of nothing", write("list.txt", "# none\n"), PREDICT.replace("image.tif", "list.txt"), ("list.txt: lists",)
    ),
    Case(
        "list not text", write("list.txt", b"\xff\n"), PREDICT.replace("image.tif", "list.txt"), ("list.txt: cannot",)
    ),
    # outputs
    Case(
        "map there already", nothing, PREDICT.replace("map.tif", "labels.tif"), ("labels.tif: exists already; remove",)
    ),
    Case(
        "map in no folder", nothing, PREDICT.replace("map.tif", "no/map.tif"), ("map.tif: its folder does not exist",)
    ),
    Case(
        "map under a file",
        nothing,
        PREDICT.replace("map.tif", "image.tif/m.tif"),
        ("m.tif: its folder does not exist",),
    ),
    Case(
        "map of no format",
        nothing,
        PREDICT.replace("map.tif", "map.xyz"),
        ("map.xyz: no map can be written as '.xyz'; use",),
    ),
    Case(
        "map of a read-only place",
        nothing,
        PREDICT.replace("map.tif", "/proc/map.tif"),
        ("/proc/map.tif: cannot be made",),
    ),
    Case(
        "maps into a file",
        nothing,
        f"{PREDICT.replace('map.tif', 'classes.csv')} labels.tif",
        ("classes.csv: cannot be made", "need a folder"),
    ),
    Case("model there already", nothing, TRAIN.replace("new", "model"), ("model: exists already; remove it or give",)),
    Case("model under a file", nothing, TRAIN.replace("new", "image.tif/new"), ("image.tif/new: cannot be made in",)),
    Case(
        "transfer under a file",
        nothing,
        FINETUNE.replace("new", "image.tif/new"),
        ("image.tif/new: cannot be made in",),
    ),
    Case("transfer in the way", folder_at("new.partial"), FINETUNE, ("new.partial: holds an interrupted run; go on",)),
    Case(
        "conversion under a file", nothing, f"{CONVERT.replace('new', 'image.tif/new')} net.onnx", ("cannot be made",)
    ),
    Case(
        "conversion there already", nothing, f"{CONVERT.replace('new', 'model')} net.onnx", ("model: exists already",)
    ),
    Case(
        "export under a file",
        nothing,
        "export --model model --output image.tif/1 --quiet",
        ("image.tif/1: cannot be made in",),
    ),
    Case(
        "scores under a file", nothing, f"{_EVALUATE} --json image.tif/s.json", ("its folder does not exist; make it",)
    ),
    Case(
        "scores of no role", nothing, _EVALUATE.replace("train", "test"), ("dataset.toml: no scene has the role test",)
    ),
]

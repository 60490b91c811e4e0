"""What the page's server answers, and what it refuses."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import rasterio

from segapp.bands import Band
from segapp.errors import InputError
from segapp.viewing.shown_scene import ShownScene

from .conftest import CLASSES, NAMES, Files, Served, serve, write_scene

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

Decode = Callable[[bytes], np.ndarray]


def _json(served: Served, path: str) -> dict:
    status, body, _ = served.get(path)
    assert status == 200, body
    return json.loads(body)


@pytest.mark.parametrize("number", [0, 1])
def test_a_tile_of_a_map_has_the_colours_of_its_classes(
    number: int, served: Served, files: Files, decode: Decode
) -> None:
    with rasterio.open((files.classes, files.other)[number]) as dataset:
        ids, colors = dataset.read(1), dataset.colormap(1)
    status, body, headers = served.get(f"/map/{number}/0/2/1.png")
    tile = decode(body)
    wanted = ids[256:512, 512:768]
    assert status == 200 and headers["Content-Type"] == "image/png"
    assert np.array_equal(tile[..., 3] == 255, wanted != 0)
    assert np.array_equal(tile[..., :3], np.array([colors[i][:3] for i in range(31)], np.uint8)[wanted])


def test_hidden_classes_and_pixels_without_data_are_clear(served: Served, files: Files, decode: Decode) -> None:
    tile = decode(served.get("/map/0/0/0/0.png?hide=10,30")[1])
    assert np.array_equal(tile[..., 3] == 255, files.ids[:256, :256] == 20)


def test_a_tile_of_the_scene_rises_with_the_values_of_its_bands(served: Served, files: Files, decode: Decode) -> None:
    tile = decode(served.get("/scene/0/1/1.png?bands=5,0,3")[1])
    counts = files.pixels[[5, 0, 3], 256:512, 256:512]
    assert (tile[..., 3] == 255).all()
    for place, band in enumerate(counts):
        order = np.argsort(band, axis=None)
        assert (np.diff(tile[..., place].ravel()[order].astype(int)) >= 0).all()
        assert np.ptp(tile[..., place]) > 30
    assert not decode(served.get("/scene/0/0/0.png?bands=5,0,3")[1])[:20, :, 3].any()


def test_the_pixel_under_the_cursor_is_that_of_the_files(served: Served, files: Files) -> None:
    for row, column in ((20, 0), (333, 444), (699, 899)):
        said = _json(served, f"/pixel?row={row}&column={column}")
        with rasterio.open(files.scene) as dataset:
            assert said["values"] == files.pixels[:, row, column].tolist()
            assert (said["x"], said["y"]) == dataset.xy(row, column)
        first, second = said["maps"]
        assert said["valid"] and (first["id"], second["id"]) == (files.ids[row, column], files.other_ids[row, column])
        wanted = files.probabilities[row, column]
        assert [each["name"] for each in first["probabilities"]] == CLASSES.names
        assert [each["value"] for each in first["probabilities"]] == pytest.approx(wanted.tolist(), abs=0.5 / 254)
        assert first["confidence"] == pytest.approx(float(wanted.max())) and 0 <= first["entropy"] <= 1
        assert second["probabilities"] is None and second["confidence"] is None


def test_a_pixel_without_data_says_so(served: Served) -> None:
    said = _json(served, "/pixel?row=5&column=5")
    nothing = {"id": None, "probabilities": None, "confidence": None, "entropy": None}
    assert not said["valid"] and said["maps"] == [nothing, nothing]


def test_areas_are_the_counts_of_the_maps(served: Served, files: Files) -> None:
    view = _json(served, "/view.json")
    for each in view["classes"]:
        for ids, area in zip((files.ids, files.other_ids), each["areas"], strict=True):
            count = int((ids == each["id"]).sum())
            assert area == {"pixels": count, "hectares": pytest.approx(count / 100)}
    assert [each["name"] for each in view["maps"]] == ["new.tif", "old.tif"]
    assert view["scene"]["crs"] == "EPSG:32633" and view["scene"]["first"] == [2, 1, 0]
    assert [each["name"] for each in view["scene"]["composites"]] == ["True colour", "Infrared", "Shortwave"]


def test_the_page_and_its_files_are_there(served: Served) -> None:
    for path in ("/", "/view.js", "/view.css", "/leaflet.js", "/leaflet.css"):
        status, body, headers = served.get(path)
        assert status == 200 and len(body) > 500
        assert "default-src 'none'" in headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "//etc/passwd",
        "/view.js/../server.py",
        "/server.py",
        "/index.html%00.png",
        "/scene/99/0/0.png?bands=0,1,2",
        "/scene/0/999999/0.png?bands=0,1,2",
        "/scene/0/-1/0.png?bands=0,1,2",
        f"/scene/0/{'9' * 400}/0.png?bands=0,1,2",
        "/scene/0/0/0.png",
        "/scene/0/0/0.png?bands=0,1,6",
        "/scene/0/0/0.png?bands=0,1,x",
        "/scene/0/0/0.png?bands=0,1",
        "/map/2/0/0/0.png",
        "/map/0/0/0/0.png?hide=../../etc",
        "/pixel",
        "/pixel?row=1",
        "/pixel?row=700&column=0",
        "/pixel?row=0&column=900",
        "/pixel?row=-1&column=0",
        "/pixel?row=1&row=2&column=0",
        f"/pixel?{'&'.join(f'a{n}=1' for n in range(50))}",
        "http://[::bad/",
        "/" + "a" * 70_000,
    ],
)
def test_a_hostile_request_is_refused(path: str, served: Served) -> None:
    status, body, _ = served.get(path)
    assert 400 <= status < 500 and len(body) < 100 and b"root:" not in body


@pytest.mark.parametrize("path", ["/", "/view.json", "/view.js", "/scene/0/0/0.png?bands=0,1,2", "/wrong/view.json"])
def test_nothing_is_answered_without_the_pages_token(path: str, served: Served) -> None:
    status, body, _ = served.get_bare(path)
    assert status == 404 and len(body) < 100


def test_each_server_has_a_token_of_its_own(files: Files) -> None:
    with serve(files.scene, files.classes) as one, serve(files.scene, files.classes) as other:
        assert len({urlsplit(site.url).path for site in (one, other)}) == 2


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", "localhost@evil.example", "", "0.0.0.0"])
def test_another_host_name_is_refused(host: str, served: Served) -> None:
    assert served.get("/view.json", Host=host)[0] == 421


def test_localhost_and_a_forwarded_port_are_not(served: Served) -> None:
    assert served.get("/view.json", Host="localhost:9000")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "BREW"])
def test_nothing_but_get_is_answered(method: str, served: Served) -> None:
    assert served.get("/", method)[0] == 405


def test_only_the_loopback_address_is_bound(files: Files) -> None:
    from segapp.viewing.view import serving

    with serving(files.scene, files.classes) as server:
        assert server.socket.getsockname()[0] == "127.0.0.1"


def test_a_port_in_use_is_told_in_a_line(files: Files) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(InputError, match=rf"--port {port}: cannot be used"),
            serve(files.scene, files.classes, port=port),
        ):
            pass


def test_a_damaged_scene_is_told_and_the_server_goes_on(files: Files, tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "scene.tif", np.tile(files.pixels, (1, 2, 2)))
    with rasterio.open(scene) as dataset:
        offset = int(dataset.get_tag_item("BLOCK_OFFSET_1_1", "TIFF", 1))  # of no pixel that tells the brightness
    with scene.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * 64)
    with serve(scene, files.classes) as site:
        status, body, _ = site.get("/scene/0/1/1.png?bands=0,1,2")
        assert status == 500 and body.startswith(str(scene).encode())
        assert site.get("/scene/0/0/0.png?bands=0,1,2")[0] == 200


@pytest.mark.parametrize(("bands", "first"), [(None, (2, 1, 0)), (["nir", 3, 2], (3, 2, 1)), ([5], (4, 4, 4))])
def test_bands_are_shown_as_asked_for(bands: list[int | str] | None, first: tuple[int, ...], files: Files) -> None:
    assert ShownScene(files.scene, bands).first == first


def test_bands_that_cannot_be_shown_are_told(files: Files) -> None:
    with pytest.raises(InputError, match="2 bands are to be shown; name three, or one"):
        ShownScene(files.scene, [1, 2])
    with pytest.raises(InputError, match="band 'thermal'"):
        ShownScene(files.scene, ["thermal", 1, 2])


def test_with_a_model_values_are_in_its_units(files: Files) -> None:
    from segapp.model.model_spec import ModelSpec, Normalization
    from segapp.nets.config import UNetConfig

    bands = tuple(Band(name=name, scale=1e-4, unit="reflectance") for name in ("nir", "red"))
    spec = ModelSpec(
        schema=2,
        name="small",
        network=UNetConfig(depth=2, filters=4),
        bands=bands,
        classes=CLASSES,
        normalization=Normalization(mean=(0.2,) * 2, std=(0.1,) * 2),
        patch_size=32,
    )
    scene = ShownScene(files.scene, model=spec)
    assert scene.at(100, 200)["values"] == pytest.approx((files.pixels[[3, 2], 100, 200] * 1e-4).tolist())
    assert scene.first == (0, 0, 0) and scene.in_file([0, 1]) == [NAMES.index("nir"), NAMES.index("red")]


@pytest.mark.parametrize("suffix", [".npy", ".png"])
def test_a_scene_without_georeference_is_shown_too(suffix: str, tmp_path: Path, decode: Decode) -> None:
    from imageio.v3 import imwrite

    pixels = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    ids = np.repeat([1, 2], 2400).reshape(60, 80).astype(np.uint8)
    (np.save if suffix == ".npy" else imwrite)(tmp_path / f"scene{suffix}", pixels)
    np.save(tmp_path / "map.npy", ids)
    with serve(tmp_path / f"scene{suffix}", tmp_path / "map.npy") as site:
        view = _json(site, "/view.json")
        assert view["scene"]["crs"] is None and [each["areas"][0]["pixels"] for each in view["classes"]] == [2400, 2400]
        said = _json(site, "/pixel?row=59&column=79")
        assert said["values"] == pixels[59, 79].tolist() and said["maps"][0]["id"] == 2 and said["x"] is None
        tile = decode(site.get("/scene/0/0/0.png?bands=0,1,2")[1])
        assert (tile[:60, :80, 3] == 255).all() and not tile[60:, :, 3].any() and not tile[:, 80:, 3].any()

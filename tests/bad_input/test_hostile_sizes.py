"""Files that claim to be enormous are refused before memory is taken for them, in a process that has little."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from tests.bad_input.cases import CONVERT, memory_limit, run
from tests.bad_input.place import repacked
from tests.bad_input.reader_cases import header, png

pytest.importorskip("resource")
_HERE = Path(__file__).resolve().parents[2]
_MOST = 3 << 30  # bytes of addresses, of which the libraries alone take 1.5 GB
_SCRIPT = r"""
import json, re, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
from tests.bad_input.cases import run
told = {name: run(f"inspect {name}") for name in sys.argv[2:]}
most = int(re.search(r"VmHWM:\s+(\d+) kB", open("/proc/self/status").read())[1])  # rusage counts the parent's, too
print(json.dumps([told, most << 10]))
"""


def _tiff(height: int, width: int, *, tile: int = 0, rows: int = 1) -> bytes:
    """A TIFF of one uint8 band that says it is so large, in strips of `rows` or in tiles, and holds next to nothing."""
    place = {322: tile, 323: tile, 324: 8, 325: 100} if tile else {273: 8, 278: rows, 279: 100}
    tags = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 277: 1, **place}
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items())]
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + bytes(200)


def _npz(path: Path, shape: str, size: int) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", header(shape) + bytes(size))


def _mat4(path: Path) -> None:
    path.write_bytes(struct.pack("<5i", 0, 1 << 18, 1 << 18, 0, 2) + b"a\0" + bytes(800))


def _mat5(path: Path) -> None:
    """The numbers of one variable are said to be 4 GB."""
    savemat(path, {"a": np.ones((20, 30))})
    content = path.read_bytes().replace(struct.pack("<ii", 20, 30), struct.pack("<ii", 1 << 15, 1 << 14))
    path.write_bytes(content.replace(struct.pack("<II", 9, 4800), struct.pack("<II", 9, (1 << 32) - 8)))


def _hdf5(path: Path, shape: tuple[int, int]) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("a", shape, "u1", chunks=(64, 64))


_VRT = '<VRTDataset rasterXSize="{0}" rasterYSize="{0}"><VRTRasterBand dataType="Byte" band="1"/></VRTDataset>'
FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "strips.tif": (lambda p: p.write_bytes(_tiff(2**31 - 1, 2**31 - 1)), "its blocks of 1x2147483647 pixels are too"),
    "narrow.tif": (lambda p: p.write_bytes(_tiff(2**31 - 1, 9)), "claims to be 2147483647x9 pixels, which no image is"),
    "strip.tif": (lambda p: p.write_bytes(_tiff(2**31 - 1, 2**31 - 1, rows=2**31 - 1)), "its blocks of 1x2147483647"),
    "beyond.tif": (lambda p: p.write_bytes(_tiff(2**31, 2**31)), "Too large image size: 2147483648 x 2147483648"),
    "tile.tif": (lambda p: p.write_bytes(_tiff(60_000, 60_000, tile=59_392)), "its blocks of 59392x59392 pixels are"),
    "tiles.tif": (lambda p: p.write_bytes(_tiff(2**31 - 1, 2**31 - 1, tile=256)), "cannot be read as a raster"),
    "empty.vrt": (lambda p: p.write_text(_VRT.format(2**31 - 1)), "claims to be 2147483647x2147483647 pixels"),
    "header.npy": (
        lambda p: p.write_bytes(header("(1000000, 500000)")),
        "cannot be read as NPY (mmap length is greater",
    ),
    "header.npz": (lambda p: _npz(p, "(1000000, 500000)", 99), "holds 1000000x500000 numbers, too many to be decoded"),
    "bomb.npz": (lambda p: _npz(p, "(65536, 65536)", 1 << 26), "holds 65536x65536 numbers, too many to be decoded"),
    "four.mat": (_mat4, "holds 262144x262144 numbers, too many to be decoded as a whole; save it as a tiled"),
    "five.mat": (_mat5, "cannot be read as a MAT file (variable 'a' is damaged)"),
    "chunks.h5": (lambda p: _hdf5(p, (1 << 40, 1 << 20)), "claims to be 1099511627776x1048576 pixels"),
    "picture.png": (lambda p: p.write_bytes(png(2**31 - 1, 2**31 - 1)), "has too many pixels for a picture"),
    "deep.toml": (lambda p: p.write_text("a = " + "[" * 200_000), "is nested too deep"),
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, tuple[int, str, str]], int]:
    """What one process with little memory says of each file, and the most that it took."""
    folder = tmp_path_factory.mktemp("hostile")
    for name, (make, _) in FILES.items():
        make(folder / name)
    command = [sys.executable, "-c", _SCRIPT, str(_MOST), *FILES]
    environment = {"PYTHONPATH": str(_HERE), "PATH": "", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    said, most = json.loads(done.stdout)
    return {name: tuple(answer) for name, answer in said.items()}, most


@pytest.mark.parametrize("name", FILES)
def test_a_claim_is_refused_in_one_line(name: str, told: tuple[dict[str, tuple[int, str, str]], int]) -> None:
    code, out, err = told[0][name]
    assert ((code, out) == (2, "") and err.startswith(f"segapp: {name}: ")) or f"{name}:a: " in err
    assert FILES[name][1] in err and err.count("\n") == 1


def test_all_claims_together_take_little_memory(told: tuple[dict[str, tuple[int, str, str]], int]) -> None:
    assert told[1] < 512 << 20


def test_weights_that_unpack_to_a_thousand_times_their_size_are_refused(place: Path) -> None:
    from segapp.conversion.keras_file import read_keras_file
    from segapp.errors import InputError

    repacked("base.keras", {"model.weights.h5": bytes(1 << 26)}, zipfile.ZIP_DEFLATED)(place)
    with pytest.raises(InputError, match=r"base\.keras: model\.weights\.h5 unpacks to 67,108,864 bytes"):
        read_keras_file(place / "base.keras")


@pytest.mark.parametrize("name", ["model/model.weights.h5", "weights.h5"])
def test_arrays_that_are_not_there_are_refused(name: str, place: Path) -> None:
    """A terabyte of zeros that was never written."""
    from segapp.errors import InputError
    from segapp.nets.weights_file import check_weights

    with h5py.File(place / name, "a") as file:
        file.create_dataset("more", (1 << 19, 1 << 19), np.float32, chunks=(64, 64))
    with pytest.raises(
        InputError, match=r"'/more' declares 1,099,511,627,776 bytes, but holds 0; save or copy it again"
    ):
        check_weights(place / name)


def _with_a_large_constant(folder: Path, *, used: bool) -> None:
    """net.onnx asks for an array of 4.8 GB."""
    import onnx
    from onnx import helper, numpy_helper

    file = onnx.load(folder / "net.onnx")
    file.graph.initializer.append(numpy_helper.from_array(np.array([40_000, 30_000], np.int64), "sides"))
    file.graph.node.insert(0, helper.make_node("ConstantOfShape", ["sides"], ["large"], name="large"))
    if used:
        last = file.graph.node[-1]
        last.output[0], wanted = "inner", last.output[0]
        file.graph.node.append(helper.make_node("Dropout", ["inner", "large"], [wanted], name="dropout"))
    (folder / "net.onnx").write_bytes(file.SerializeToString())


def test_what_a_network_does_not_need_is_not_computed(place: Path) -> None:
    _with_a_large_constant(place, used=False)
    with memory_limit():
        assert run(f"{CONVERT} net.onnx") == (0, "", "")


def test_what_is_computed_from_constants_alone_is_refused(place: Path) -> None:
    _with_a_large_constant(place, used=True)
    with memory_limit():
        code, _, err = run(f"{CONVERT} net.onnx")
    assert code == 2 and "node 'large' (ConstantOfShape) cannot be built (it makes [40000, 30000] of 2 numbers)" in err


def test_a_u_net_larger_than_its_weights_is_refused(place: Path) -> None:
    """By the names of its layers it has 31 GB of weights."""
    with h5py.File(place / "weights.h5", "w") as file:
        file["Encoder-Stage-1-Conv-1/Weights"] = np.zeros((3, 3, 3, 256), np.float32)
        file["Final-ConvolutionLayer/Weights"] = np.zeros((1, 1, 256, 2), np.float32)
        for stage in range(1, 7):
            file[f"Decoder-Stage-{stage}-UpConv/Weights"] = np.zeros((2, 2, 1, 1), np.float32)
    with memory_limit():
        code, _, err = run(f"{CONVERT} weights.h5")
    assert code == 2 and "weights.h5: holds fewer weights than a U-Net of depth 6 has" in err

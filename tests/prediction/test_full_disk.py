"""Maps written to a disk that has no room for them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from segapp.errors import InputError
from segapp.maps.partial import PartialFile
from segapp.windows import grid, whole
from tests.maps.test_writers import made_up, read, start

folder, name, layer, foresee = Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4] == "foresee"
limits = [float(limit) for limit in sys.argv[5:]]
if not foresee:
    PartialFile.require_room = lambda self, size: None
values = made_up(layer, (600, 700))
written, size = 0, 0
for limit in (1e9, *limits):
    most = int(limit * size) if limit <= 1 else int(limit)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
    writer = None
    try:
        writer = start(folder / name, layer, shape=(600, 700), cog=name == "cog.tif")
        for window in grid(whole((600, 700)), 256, 256):
            writer.write(window, values[window.slices])
        writer.close()
        writer.deliver()
    except (InputError, OSError) as error:
        assert str(error).startswith(f"{folder / name}: cannot be written ("), error
        assert "\\n" not in str(error)
    if writer is not None:
        writer.abandon()
    if writer is not None and writer.file.exists():
        assert np.array_equal(read(writer.file, layer), values, equal_nan=values.dtype.kind == "f")
        written, size = written + 1, max(size, writer.file.stat().st_size)
        for path in (writer.file, Path(f"{writer.file}.aux.xml")):
            path.unlink(missing_ok=True)
    assert not list(folder.iterdir()), list(folder.iterdir())
print(written)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit to the size of a file")
@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("map.tif", "classes"),
        ("map.tif", "probabilities-float32"),
        ("cog.tif", "classes"),
        ("map.png", "classes"),
        ("map.npy", "classes"),
        ("map.mat", "classes"),
    ],
)
class TestFullDisk:
    """A limit to the size of files stands for a full disk: the system reports it in the same places."""

    @staticmethod
    def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", _FULL_DISK, str(folder), *arguments]
        here = Path(__file__).resolve().parents[2]
        return subprocess.run(command, capture_output=True, text=True, cwd=here, check=False)

    def test_gives_a_whole_map_or_one_line_and_nothing(self, tmp_path, name, layer):
        """Also where free space was not looked up, or vanished meanwhile."""
        limits = ["0", "100", "0.1", "0.5", "0.9", "0.99", "0.999", "0.9999"]
        done = self.run(tmp_path, name, layer, "unforeseen", *limits)
        assert done.returncode == 0, done.stderr
        # a translated file may be larger or smaller than what it is made from, but it is never whole in half the space
        assert 1 <= int(done.stdout) <= 5

    def test_is_foreseen_where_it_can_be(self, tmp_path, name, layer):
        done = self.run(tmp_path, name, layer, "foresee", "0", "0.1", "0.5", "0.9")
        assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")

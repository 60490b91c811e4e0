"""What every raster format has to do: inherit from `FormatChecks` and say how such a file is written."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segapp.errors import InputError
from segapp.scenes.open import open_raster
from segapp.scenes.raster import Raster
from segapp.windows import Window, whole


def noise(dtype: Any = np.uint16, shape: tuple[int, ...] = (44, 53, 4), seed: int = 0) -> np.ndarray:
    """Numbers that no compression shortens and no resampling keeps, over the whole range of small integer types."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.normal(size=shape).astype(dtype)
    if np.dtype(dtype).kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    info = np.iinfo(dtype)
    return rng.integers(max(info.min, -(1 << 31)), min(info.max, 1 << 31), shape, endpoint=True).astype(dtype)


def read_whole(raster: Raster) -> np.ndarray:
    """All pixels of all bands, (H, W, C)."""
    return raster.read(whole(raster.shape), range(len(raster.band_names)))


class FormatChecks:
    """Checks of one format; `write` makes a file of it in an empty folder that holds `pixels` (H, W, C)."""

    pixels: ClassVar[np.ndarray] = noise()
    options: ClassVar[dict[str, Any]] = {}

    def write(self, folder: Path) -> Path:
        raise NotImplementedError

    def open(self, path: Path) -> Raster:
        return open_raster(path, **self.options)

    @pytest.fixture(scope="class")
    def path(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return self.write(tmp_path_factory.mktemp("format"))

    def test_shape_dtype_and_bands_are_those_written(self, path: Path) -> None:
        raster = self.open(path)
        assert raster.shape == self.pixels.shape[:2]
        assert raster.dtype == self.pixels.dtype and raster.dtype.isnative
        assert len(raster.band_names) == self.pixels.shape[2]
        assert str(path) in raster.path

    def test_whole_read_gives_the_pixels_written(self, path: Path) -> None:
        pixels = read_whole(self.open(path))
        assert pixels.dtype == self.pixels.dtype
        np.testing.assert_array_equal(pixels, self.pixels)

    # each format inherits this test; an example that fails for one is tried for the others too, which does no harm
    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
    @given(data=st.data())
    def test_any_window_and_bands_are_cut_from_the_whole(self, path: Path, data: st.DataObject) -> None:
        height, width, count = self.pixels.shape
        row, col = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
        window = Window(row, col, data.draw(st.integers(1, height - row)), data.draw(st.integers(1, width - col)))
        bands = data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=count + 1))
        raster = self.open(path)
        pixels = raster.read(window, bands)
        assert pixels.dtype == self.pixels.dtype
        np.testing.assert_array_equal(pixels, self.pixels[window.slices][..., bands])
        assert raster.valid(window, bands).shape == window.shape

    def test_threads_read_the_same_pixels_at_once(self, path: Path) -> None:
        raster = self.open(path)
        height, width, count = self.pixels.shape
        windows = [Window(i % (height - 9), (7 * i) % (width - 9), 9, 9) for i in range(64)]
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(lambda window: raster.read(window, range(count)), windows))
        for window, result in zip(windows, results, strict=True):
            np.testing.assert_array_equal(result, self.pixels[window.slices])

    def test_pixels_read_can_be_changed_without_changing_the_raster(self, path: Path) -> None:
        raster = self.open(path)
        read_whole(raster)[:] = 0
        np.testing.assert_array_equal(read_whole(raster), self.pixels)

    @pytest.mark.parametrize(
        "window", [Window(-1, 0, 5, 5), Window(0, 50, 5, 5), Window(40, 0, 5, 5), Window(3, 3, 0, 2)]
    )
    def test_window_outside_is_a_programming_error(self, path: Path, window: Window) -> None:
        raster = self.open(path)
        with pytest.raises(ValueError, match="is not inside"):
            raster.read(window, [0])
        with pytest.raises(ValueError, match="is not inside"):
            raster.valid(window, [0])

    def test_missing_file_is_one_clear_error(self, path: Path) -> None:
        missing = path.with_name(f"missing{path.suffix}")
        with pytest.raises(InputError, match=r"missing\S+: no such file; check the path"):
            self.open(missing)

    def test_folder_is_one_clear_error(self, path: Path, tmp_path: Path) -> None:
        folder = tmp_path / f"folder{path.suffix}"
        folder.mkdir()
        with pytest.raises(InputError, match=r"folder\S+: is not a file but a folder"):
            self.open(folder)

    def test_empty_file_is_one_clear_error(self, path: Path, tmp_path: Path) -> None:
        empty = tmp_path / f"empty{path.suffix}"
        empty.touch()
        with pytest.raises(InputError, match=r"empty\S+: is empty; "):
            self.open(empty)

    def test_text_under_this_suffix_is_one_clear_error(self, path: Path, tmp_path: Path) -> None:
        text = tmp_path / f"text{path.suffix}"
        text.write_text("not an image, but a page about one\n" * 40)
        with pytest.raises(InputError, match=r"text\S+: cannot be read as .*; "):
            self.open(text)

    def test_truncated_file_is_an_error_and_never_other_pixels(self, path: Path, tmp_path: Path) -> None:
        whole_file = path.read_bytes()
        refused = 0
        for i, kept in enumerate(np.linspace(1, len(whole_file) - 1, 24).astype(int)):
            truncated = tmp_path / f"truncated{i}{path.suffix}"
            truncated.write_bytes(whole_file[:kept])
            try:
                pixels = read_whole(self.open(truncated))
            except InputError as error:
                assert f"truncated{i}{path.suffix}" in str(error) and "; " in str(error)
                refused += 1
            else:  # the last bytes of some formats only repeat what is known
                np.testing.assert_array_equal(pixels, self.pixels)
        assert refused >= 20

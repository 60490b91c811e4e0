"""Pictures: stretches, composites, errors, confidence, and class colours that can be told apart."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from segapp.bands import Band
from segapp.classes import IGNORED_INDEX, ClassTable
from segapp.reporting.palette import HATCHES, SIMILAR, Palette, color_differences
from segapp.reporting.pictures import WRONG, composites, confidence_picture, data_uri, error_picture, stretch


def table(*colors: str) -> ClassTable:
    classes = [{"id": i, "name": f"class {i}", "color": color} for i, color in enumerate(colors, start=1)]
    return ClassTable.model_validate({"classes": classes})


@given(st.lists(st.from_regex(r"#[0-9a-f]{6}", fullmatch=True), min_size=2, max_size=7))
def test_colours_are_the_classes_own_and_alike_ones_differ_by_hatch(colors: list[str]) -> None:
    palette = Palette.of(table(*colors))
    assert list(palette.colors) == colors
    near = color_differences(colors) < SIMILAR
    for i in range(len(colors)):
        for j in range(i):
            assert ((j, i) in palette.similar) == near[i, j]
            if near[i, j]:
                assert palette.hatches[i] != palette.hatches[j]


def test_more_alike_colours_than_hatches_are_no_fault() -> None:
    palette = Palette.of(table(*["#123456"] * 12))
    assert palette.hatches == (*range(len(HATCHES)), *[len(HATCHES) - 1] * 4)


def test_a_class_picture_shows_each_class_in_its_colour_and_no_label_as_transparent() -> None:
    indexes = np.zeros((20, 30), np.uint8)
    indexes[:, 10:], indexes[:, 20:] = 1, IGNORED_INDEX
    picture = Palette.of(table("#ff0000", "#0064c8")).picture(indexes)
    assert (picture[:, :10] == (255, 0, 0, 255)).all()
    assert (picture[:, 10:20] == (0, 100, 200, 255)).all()
    assert (picture[:, 20:, 3] == 0).all()


def test_two_classes_of_one_colour_look_different_in_a_picture() -> None:
    indexes = np.repeat([[0, 1]], 20, axis=0).repeat(20, axis=1).astype(np.uint8)
    picture = Palette.of(table("#808080", "#828282")).picture(indexes)
    plain, hatched = picture[:, :20, :3], picture[:, 20:, :3]
    assert len(np.unique(plain.reshape(-1, 3), axis=0)) == 1
    assert 0.1 < (np.abs(hatched.astype(int) - 0x82).max(axis=-1) > 40).mean() < 0.5


def test_a_stretch_runs_from_the_2nd_to_the_98th_percentile_of_each_band() -> None:
    ramp = np.linspace(0, 1, 101, dtype=np.float32)
    pixels = np.stack([ramp, 5 - 3 * ramp, np.full_like(ramp, 7)], axis=-1)[None]
    rgba = stretch(pixels)[0]
    assert rgba[2, 0] == 0 and rgba[50, 0] == pytest.approx(128, abs=1) and rgba[98, 0] == 255
    np.testing.assert_allclose(rgba[:, 1].astype(int), rgba[::-1, 0], atol=1)  # what is rounded up here is down there
    assert set(rgba[:, 2]) == {128}  # a band of one value is grey


def test_invalid_pixels_are_transparent_and_do_not_move_the_stretch() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.uniform(size=(40, 40, 3)).astype(np.float32)
    holed = np.concatenate([pixels, np.full((40, 40, 3), np.nan, np.float32)])
    assert np.array_equal(stretch(holed)[:40], stretch(pixels))
    assert not stretch(holed)[40:].any()
    assert not stretch(np.full((4, 4, 3), np.nan, np.float32)).any()


@pytest.mark.parametrize(
    ("bands", "expected"),
    [
        ([Band(name=n) for n in ("blue", "green", "red", "nir", "swir1")], [(2, 1, 0), (3, 2, 1)]),
        ([Band(name=f"B{i}", wavelength_nm=w) for i, w in enumerate((483, 560, 655))], [(2, 1, 0)]),
        ([Band(name="NIR"), Band(name="Red"), Band(name="Green")], [(0, 1, 2)]),
        ([Band(name=str(i)) for i in range(8)], [(0, 1, 2)]),
        ([Band(name="pan"), Band(name="radar")], [(0,)]),
    ],
)
def test_bands_are_shown_by_name_or_wavelength_or_else_the_first(
    bands: list[Band], expected: list[tuple[int, ...]]
) -> None:
    found = composites(bands)
    assert [composite.bands for composite in found] == expected
    assert all(bands[index].name in composite.names for composite in found for index in composite.bands)
    assert stretch(np.zeros((4, 4, len(found[0].bands)), np.float32)).shape == (4, 4, 4)


def test_errors_are_red_and_pixels_without_a_score_are_see_through() -> None:
    image = np.full((2, 2, 4), 90, np.uint8)
    reference = np.array([[0, 1], [1, IGNORED_INDEX]], np.uint8)
    prediction = np.array([[0, 0], [IGNORED_INDEX, 1]], np.uint8)
    picture = error_picture(image, reference, prediction)
    assert picture[0, 1].tolist() == [*WRONG, 255]
    assert picture[0, 0, 0] == picture[0, 0, 1] == picture[0, 0, 2] and picture[0, 0, 3] == 255
    assert picture[1, :, 3].tolist() == [0, 0]


def test_confidence_runs_from_one_over_the_classes_to_one() -> None:
    probabilities = np.array([[[0.25] * 4, [1, 0, 0, 0], [np.nan] * 4]], np.float32)
    picture = confidence_picture(probabilities)[0]
    assert picture[0, :3].sum() < picture[1, :3].sum()
    assert picture[:, 3].tolist() == [255, 255, 0]


def test_a_picture_in_an_address_is_a_png_of_the_same_pixels() -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (5, 7, 4), np.uint8)
    kind, content = data_uri(rgba).split(",")
    assert kind == "data:image/png;base64"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))), rgba)

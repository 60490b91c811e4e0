"""Band names are found in any customary spelling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from segapp.bands import WAVELENGTHS_NM, Band, canonical_name, known_wavelength, match_bands, names_of


@pytest.mark.parametrize("spelling", ["Red Edge 1", "red-edge-1", " RED_EDGE_1 ", "red  edge 1"])
def test_spellings_of_a_band_name_agree(spelling: str) -> None:
    assert canonical_name(spelling) == "red_edge_1"
    assert known_wavelength(spelling) == WAVELENGTHS_NM["red_edge_1"]


def test_an_unknown_band_has_no_wavelength() -> None:
    assert known_wavelength("B5_dn") is None


def test_known_bands_follow_the_spectrum() -> None:
    assert list(WAVELENGTHS_NM.values()) == sorted(WAVELENGTHS_NM.values())


def test_a_band_refuses_keys_it_does_not_know_and_changes() -> None:
    band = Band(name="nir")
    with pytest.raises(ValidationError):
        band.scale = 2.0  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Band(name="nir", gain=1)  # type: ignore[call-arg]
    assert names_of([band, Band(name="red")]) == ["nir", "red"]


_named = st.sampled_from([Band(name=name) for name in WAVELENGTHS_NM])
_measured = st.builds(
    Band, name=st.sampled_from(["x", "y", "band_3", "7"]), wavelength_nm=st.none() | st.floats(400, 2500)
)
_bands = st.lists(_named | _measured, max_size=9)


@given(
    st.lists(_named, unique=True, min_size=1).flatmap(lambda bands: st.tuples(st.just(bands), st.permutations(bands)))
)
def test_permuted_bands_match_themselves(both: tuple[list[Band], list[Band]]) -> None:
    base, new = both
    assert [base[index] for index in match_bands(base, new) if index is not None] == new


@given(_bands, _bands)
def test_each_band_is_matched_once_at_most_and_by_name_or_wavelength(base: list[Band], new: list[Band]) -> None:
    matches = match_bands(base, new)
    assert len(matches) == len(new)
    used = [index for index in matches if index is not None]
    assert len(used) == len(set(used)) and all(0 <= index < len(base) for index in used)
    for band, index in zip(new, matches, strict=True):
        if index is not None and band.name != base[index].name:
            ours, theirs = (one.wavelength_nm or known_wavelength(one.name) for one in (base[index], band))
            assert ours and theirs and abs(ours - theirs) <= 0.05 * ours


@given(st.lists(_named, unique=True, max_size=9), _bands, st.integers(0, 9), st.sampled_from(["radar", "42"]))
def test_a_foreign_band_changes_no_other_match(base: list[Band], new: list[Band], place: int, name: str) -> None:
    alone = match_bands(base, new)
    place = min(place, len(new))
    joined = match_bands(base, [*new[:place], Band(name=name, wavelength_nm=5000), *new[place:]])
    assert joined == (*alone[:place], None, *alone[place:])


def test_the_nearest_wavelengths_match_first_and_names_before_them() -> None:
    base = [Band(name="red"), Band(name="infrared", wavelength_nm=850), Band(name="nir")]
    new = [Band(name="b8", wavelength_nm=842), Band(name="b8a", wavelength_nm=864), Band(name="RED", wavelength_nm=690)]
    assert match_bands(base, new) == (1, 2, 0)
    assert match_bands(base, [*new, Band(name="NIR")]) == (1, None, 0, 2)


@pytest.mark.parametrize("names", [["1", "2", "3"], ["band_1", "band_2", "band_3"], ["B1", "B2", "B3"]])
def test_counted_names_match_only_as_a_whole(names: list[str]) -> None:
    bands = [Band(name=name) for name in names]
    assert match_bands(bands, bands) == (0, 1, 2)
    assert match_bands(bands, bands[:2]) == (None, None)
    assert match_bands(bands, bands[::-1]) == (None, None, None)

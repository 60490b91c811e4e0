"""Band names are found in any customary spelling."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from segapp.bands import WAVELENGTHS_NM, Band, canonical_name, known_wavelength, names_of


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

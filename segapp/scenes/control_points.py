"""Rasters that are placed by ground control points or rational polynomials alone, without a transform."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import attr
from rasterio.control import GroundControlPoint
from rasterio.rpc import RPC

from segapp.windows import Window


@dataclass(frozen=True)
class ControlPoints:
    """What places a raster: points of known position in `crs` (WKT), or rational polynomial coefficients, or both."""

    points: tuple[GroundControlPoint, ...]
    crs: str | None
    rpcs: RPC | None

    def __str__(self) -> str:
        points = [f"{len(self.points)} ground control points"] if self.points else []
        return " and ".join([*points, *(["rational polynomials (RPC)"] if self.rpcs else [])])

    def of_window(self, window: Window) -> ControlPoints:
        """Those of the part of the raster in `window`."""
        points = tuple(
            GroundControlPoint(p.row - window.row, p.col - window.col, p.x, p.y, p.z, p.id, p.info) for p in self.points
        )
        rpcs = self.rpcs and attr.evolve(
            self.rpcs, line_off=self.rpcs.line_off - window.row, samp_off=self.rpcs.samp_off - window.col
        )
        return ControlPoints(points, self.crs, rpcs)

    def write_to(self, dataset: Any) -> None:
        """Keep them in a dataset of rasterio that is open for writing."""
        if self.points:
            dataset.gcps = (list(self.points), self.crs)
        if self.rpcs:
            dataset.rpcs = self.rpcs


def control_points_of(dataset: Any) -> ControlPoints | None:
    """The control points of a dataset of rasterio that has no transform."""
    if not dataset.transform.is_identity or dataset.crs is not None:
        return None
    points, crs = dataset.gcps
    if not points and dataset.rpcs is None:
        return None
    return ControlPoints(tuple(points), crs.to_wkt() if crs else None, dataset.rpcs)

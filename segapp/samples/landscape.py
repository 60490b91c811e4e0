"""Synthetic multispectral landscapes: the ground, and what a sensor makes of it.

Ground is drawn on a grid three times finer than the pixels and averaged down, so that edges are mixed pixels. Several
surfaces belong to more than one class by their spectrum alone (a ploughed field and bare ground, a meadow and a young
crop, a roof and sand): shape and texture tell them apart, as in real scenes.

Longer than other files: one function draws one kind of ground, in the order in which they cover each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

BANDS = ("blue", "green", "red", "nir", "swir1", "swir2")
CLASSES = (  # id, name, colour
    (1, "water", "#2b6cb0"),
    (2, "forest", "#1b5e20"),
    (3, "grass", "#9ccc65"),
    (4, "crop", "#f2c744"),
    (5, "bare", "#a1887f"),
    (6, "built", "#d32f2f"),
)
WATER, FOREST, GRASS, CROP, BARE, BUILT = (class_id for class_id, _, _ in CLASSES)

SCALE = 10_000
"""A stored count is reflectance x 10 000; 0 is nodata."""
PIXEL_M = 10.0

_FINE = 3  # fine pixels along the side of a pixel

# Surface reflectance (0 to 1) in the six bands: customary values for each surface.
_SPECTRA = {
    name: np.array(values, np.float32)
    for name, values in {
        "clear water": (0.035, 0.032, 0.018, 0.010, 0.006, 0.004),
        "turbid water": (0.065, 0.090, 0.080, 0.040, 0.012, 0.007),
        "broadleaf": (0.026, 0.048, 0.027, 0.360, 0.165, 0.070),
        "conifer": (0.021, 0.034, 0.022, 0.225, 0.095, 0.042),
        "lush grass": (0.030, 0.067, 0.036, 0.405, 0.212, 0.102),
        "dry grass": (0.060, 0.092, 0.105, 0.270, 0.290, 0.190),
        "green crop": (0.028, 0.062, 0.032, 0.440, 0.200, 0.090),
        "ripe crop": (0.070, 0.108, 0.140, 0.285, 0.320, 0.215),
        "moist soil": (0.060, 0.082, 0.105, 0.155, 0.205, 0.170),
        "dry soil": (0.120, 0.160, 0.205, 0.270, 0.340, 0.295),
        "sand": (0.140, 0.190, 0.240, 0.300, 0.375, 0.335),
        "gravel": (0.115, 0.140, 0.165, 0.215, 0.260, 0.235),
        "asphalt": (0.078, 0.088, 0.100, 0.122, 0.140, 0.132),
        "concrete": (0.180, 0.205, 0.225, 0.260, 0.285, 0.270),
        "tiles": (0.075, 0.110, 0.185, 0.260, 0.310, 0.285),
        "metal": (0.310, 0.330, 0.345, 0.370, 0.375, 0.350),
    }.items()
}
# Path radiance of haze relative to the blue band: it falls with wavelength.
_HAZE = np.array((1.0, 0.65, 0.42, 0.18, 0.03, 0.01), np.float32)


@dataclass
class _Canvas:
    """Ground as it is painted, on the fine grid: `ground` (F, F, 6) reflectance, `labels` (F, F) class ids."""

    rng: np.random.Generator
    ground: np.ndarray
    labels: np.ndarray

    @property
    def size(self) -> int:
        return len(self.labels)

    def paint(self, where: np.ndarray, class_id: int, spectrum: np.ndarray) -> None:
        """Cover `where` (F, F) bool with a class; `spectrum` is (6,) or (F, F, 6)."""
        self.ground[where] = spectrum[where] if spectrum.ndim == 3 else spectrum
        self.labels[where] = class_id

    def field(self, scale: float, roughness: float = 2.5) -> np.ndarray:
        """(F, F) float32 random field, mean 0 and deviation 1, smooth below about `scale` fine pixels.

        White noise with a von Karman spectrum; the larger `roughness` is, the smoother the field.
        """
        noise = fft.rfft2(self.rng.standard_normal((self.size, self.size), np.float32))
        rows, cols = fft.fftfreq(self.size)[:, None], fft.rfftfreq(self.size)[None]
        noise *= (1 + (2 * math.pi * scale) ** 2 * (rows**2 + cols**2)).astype(np.float32) ** (-roughness / 2)
        noise[0, 0] = 0
        smooth = fft.irfft2(noise, s=(self.size, self.size))
        return smooth / smooth.std()


def landscape(size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One scene of `size` pixels a side: (H, W, 6) uint16 counts, 0 where there is no data, and (H, W) uint8 ids.

    From 64 pixels a side, every class covers a part of every scene. A pixel's class is the one that covers most of
    it; beyond the edge of the swath the id is 0, in gaps between clouds the label is known all the same.
    """
    fine = size * _FINE
    canvas = _Canvas(rng, np.empty((fine, fine, len(BANDS)), np.float32), np.empty((fine, fine), np.uint8))
    relief = canvas.field(fine / 8, 3.5)
    angle = rng.uniform(0, math.pi)
    _farmland(canvas, angle)
    _woods(canvas)
    _bare_ground(canvas)
    _town(canvas, angle)
    _road(canvas)
    slope = np.gradient(relief)[0] * math.sin(angle) + np.gradient(relief)[1] * math.cos(angle)
    canvas.ground *= (1 + 0.08 * np.clip(slope / slope.std(), -2, 2))[..., None]
    _waters(canvas, relief)
    counts = _observe(canvas, size)
    labels = _majority(canvas.labels, size)
    cloud = ndimage.zoom(rng.standard_normal((6, 6)), size / 6, order=3)
    counts[cloud > np.quantile(cloud, 0.985)] = 0
    ahead = np.linspace(0, 1, size)[:, None] + np.linspace(0, rng.uniform(0.3, 0.6), size)
    beyond = np.rot90(ahead > np.quantile(ahead, 0.97), int(rng.integers(4)))
    counts[beyond], labels[beyond] = 0, 0
    return counts, labels


def _mix(share: np.ndarray, first: str, second: str) -> np.ndarray:
    """(F, F, 6): `share` (F, F) of the first surface and the rest of the second."""
    share = np.clip(share, 0, 1).astype(np.float32)[..., None]
    return _SPECTRA[second] + share * (_SPECTRA[first] - _SPECTRA[second])


def _parcels(canvas: _Canvas, angle: float, smallest: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Divide the canvas into slightly bent rectangles turned by `angle`, of sides around twice `smallest` fine pixels.

    Returns (F, F) parcel numbers from 0, and the two (F, F) coordinates along the parcels' sides.
    """
    rng, size = canvas.rng, canvas.size
    across, down = np.meshgrid(np.arange(size, dtype=np.float32), np.arange(size, dtype=np.float32))
    bend = canvas.field(size / 4, 4.0) * 3
    u = math.cos(angle) * across + math.sin(angle) * down + bend
    v = -math.sin(angle) * across + math.cos(angle) * down + bend
    rows, cols = (u - u.min()).astype(np.intp), (v - v.min()).astype(np.intp)
    plan = np.zeros((rows.max() + 1, cols.max() + 1), np.int32)
    waiting, count = [(0, 0, *plan.shape)], 0
    while waiting:
        row, col, height, width = waiting.pop()
        longer = max(height, width)
        if longer < rng.uniform(2, 4) * smallest:
            plan[row : row + height, col : col + width] = count
            count += 1
            continue
        cut = int(longer * rng.uniform(0.35, 0.65))
        if height >= width:
            waiting += [(row, col, cut, width), (row + cut, col, height - cut, width)]
        else:
            waiting += [(row, col, height, cut), (row, col + cut, height, width - cut)]
    return plan[rows, cols], u, v


def _borders(parcels: np.ndarray, width: int) -> np.ndarray:
    """(F, F) bool: about `width` fine pixels along the borders of parcels."""
    return ndimage.maximum_filter(parcels, width) != ndimage.minimum_filter(parcels, width)


def _farmland(canvas: _Canvas, angle: float) -> None:
    """Fields of crops in every state from ploughed to ripe, with tramlines, and pastures without; grass between."""
    rng = canvas.rng
    parcels, u, v = _parcels(canvas, angle, 22)
    count = int(parcels.max()) + 1
    season = rng.uniform(-0.15, 0.15)
    moisture = canvas.field(60)
    patches = canvas.field(12, 2.0)

    pasture = rng.random(count) < 0.35
    cover = np.clip(rng.choice((0.05, 0.45, 0.9), count, p=(0.3, 0.25, 0.45)) + rng.normal(0, 0.1, count), 0, 1)
    ripe = (rng.random(count) < 0.3)[parcels]
    along = np.where((rng.random(count) < 0.5)[parcels], u, v)
    period, phase = rng.uniform(9, 15, count), rng.uniform(0, 2 * math.pi, count)
    tramlines = np.cos(2 * math.pi * along / period[parcels] + phase[parcels]) > 0.6

    soil = _mix(0.5 + 0.25 * moisture + 0.2 * rng.normal(0, 1, count)[parcels], "moist soil", "dry soil")
    plants = np.where(ripe[..., None], _SPECTRA["ripe crop"], _SPECTRA["green crop"])
    share = np.clip(cover[parcels] + 0.08 * patches, 0, 1) * np.where(tramlines, 0.6, 1.0)
    crops = share[..., None] * plants + (1 - share)[..., None] * soil
    crops *= np.where(tramlines, 0.93, 1.0)[..., None]
    lush = 0.7 + season + 0.25 * rng.normal(0, 1, count)[parcels] + 0.15 * moisture + 0.12 * patches
    meadow = _mix(lush, "lush grass", "dry grass")

    everywhere = np.ones_like(parcels, bool)
    canvas.paint(everywhere, CROP, crops)
    canvas.paint(pasture[parcels] | _borders(parcels, 3) | (moisture > 1.4), GRASS, meadow)


def _woods(canvas: _Canvas) -> None:
    """Woods with ragged edges, broadleaf and conifer, with the light and shade of crowns."""
    cover = canvas.field(50, 2.2)
    crowns = canvas.field(3, 2.0)
    trees = _mix(0.5 + 0.6 * canvas.field(40), "broadleaf", "conifer") * (1 + 0.22 * np.clip(crowns, -2, 2))[..., None]
    canvas.paint(cover > np.quantile(cover, canvas.rng.uniform(0.72, 0.85)), FOREST, trees)


def _bare_ground(canvas: _Canvas) -> None:
    """Sand and gravel in ragged patches, with a thin, uneven cover of dry grass."""
    where = canvas.field(35, 2.4)
    ground = _mix(0.5 + 0.5 * canvas.field(15, 2.0), "sand", "gravel") * (0.88 + 0.12 * canvas.field(40))[..., None]
    grass = np.clip(0.12 + 0.15 * canvas.field(6, 2.0), 0, 0.5)[..., None]
    ground = (1 - grass) * ground + grass * _SPECTRA["dry grass"]
    canvas.paint(where > np.quantile(where, canvas.rng.uniform(0.91, 0.95)), BARE, ground)


def _town(canvas: _Canvas, angle: float) -> None:
    """Blocks of houses and gardens with streets between; the whole block is built-up, gardens too."""
    rng = canvas.rng
    blocks, _, _ = _parcels(canvas, angle + 0.3, 16)
    lots, _, _ = _parcels(canvas, angle + 0.3, 4)
    closeness = canvas.field(70, 3.5)
    area = np.maximum(np.bincount(blocks.ravel()), 1)
    in_block = (np.bincount(blocks.ravel(), closeness.ravel()) / area)[blocks]
    town = in_block > np.quantile(in_block, rng.uniform(0.84, 0.92))
    count = int(lots.max()) + 1
    roofs = np.stack([_SPECTRA[name] for name in ("tiles", "concrete", "asphalt", "metal")])
    houses = roofs[rng.choice(len(roofs), count, p=(0.45, 0.25, 0.22, 0.08))] * rng.uniform(0.8, 1.2, (count, 1))
    gardens = _SPECTRA["lush grass"] * 0.6 + _SPECTRA["broadleaf"] * 0.4
    surface = np.where((rng.random(count) < 0.55)[lots][..., None], houses.astype(np.float32)[lots], gardens)
    surface[_borders(blocks, 5)] = _SPECTRA["asphalt"]
    canvas.paint(town, BUILT, surface)


def _road(canvas: _Canvas) -> None:
    """One road across the scene, wide enough to be the greater part of its pixels."""
    canvas.paint(_distance_to_course(canvas, 15.0) < 3, BUILT, _SPECTRA["asphalt"])


def _waters(canvas: _Canvas, relief: np.ndarray) -> None:
    """A winding river with sand banks, and lakes in the lowest ground; shallow and turbid near the shore."""
    rng = canvas.rng
    distance = _distance_to_course(canvas, 60.0)
    width = rng.uniform(7, 14) * (1 + 0.25 * canvas.field(80, 3.5))
    banks = (distance < width + 7) & (canvas.field(30) > 0.9)
    canvas.paint(banks, BARE, _mix(0.7 + 0.2 * canvas.field(6), "sand", "gravel"))
    height = relief + 0.05 * canvas.field(20, 3.0)
    water = (distance < width) | (height < np.quantile(height, rng.uniform(0.03, 0.07)))
    depth = ndimage.distance_transform_edt(water) / 25
    canvas.paint(water, WATER, _mix(depth + rng.uniform(-0.5, 0.5), "clear water", "turbid water"))


def _distance_to_course(canvas: _Canvas, bends: float) -> np.ndarray:
    """(F, F) distance, in fine pixels, to a line that crosses the scene with swings of about `bends` fine pixels."""
    rng, size = canvas.rng, canvas.size
    down, across = np.meshgrid(*(np.arange(size, dtype=np.float32) - size / 2,) * 2, indexing="ij")
    angle = rng.uniform(0, 2 * math.pi)
    level = math.cos(angle) * across + math.sin(angle) * down + bends * canvas.field(size / 8, 4.5)
    level -= rng.uniform(-0.25, 0.25) * size
    return np.abs(level) / np.hypot(*np.gradient(level)).clip(0.3)


def _observe(canvas: _Canvas, size: int) -> np.ndarray:
    """(H, W, 6) uint16: what a sensor makes of the ground, through haze, with blur and noise."""
    rng = canvas.rng
    blurred = ndimage.gaussian_filter(canvas.ground, (1.0, 1.0, 0))
    pixels = blurred.reshape(size, _FINE, size, _FINE, -1).mean(axis=(1, 3))
    direction = rng.uniform(0, 2 * math.pi)
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    veil = rng.uniform(0.005, 0.03) * (1 + 0.6 * (math.cos(direction) * ramp[:, None] + math.sin(direction) * ramp))
    gain = 1 + rng.normal(0, 0.04, len(BANDS)).astype(np.float32)
    pixels = pixels * gain + np.clip(veil, 0, None)[..., None] * _HAZE
    pixels += rng.standard_normal(pixels.shape, np.float32) * (0.002 + 0.012 * pixels)
    return np.clip(np.rint(pixels * SCALE), 1, SCALE).astype(np.uint16)


def _majority(labels: np.ndarray, size: int) -> np.ndarray:
    """(H, W) uint8: the class that covers most of each pixel."""
    shares = [(labels == c).reshape(size, _FINE, size, _FINE).sum(axis=(1, 3)) for c, _, _ in CLASSES]
    return np.array([c for c, _, _ in CLASSES], np.uint8)[np.argmax(shares, axis=0)]

"""Summaries of datasets and images as tables on a console."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from segapp.data.summaries import BandSummary, DatasetSummary, ImageSummary, RoleSummary, SceneSummary


def print_summary(summary: DatasetSummary | ImageSummary, console: Console) -> None:
    """Print a summary as tables, warnings last."""
    if isinstance(summary, ImageSummary):
        size = f"{summary.height}x{summary.width} pixels, {summary.dtype}, {summary.crs or 'no CRS'}"
        console.print(f"[bold]{escape(summary.path)}[/bold]: {size}, {summary.invalid_share:.1%} without data")
        console.print(f"no data by: {escape(summary.nodata)}", highlight=False)
        console.print(_band_table([("", summary.bands)]))
        _print_warnings(summary.warnings, console)
        return
    console.print(f"[bold]{escape(summary.name)}[/bold] ({escape(summary.path)})")
    console.print(_scene_table(summary))
    console.print(_band_table([(role.role, role.bands) for role in summary.roles]))
    console.print(_class_table(summary.roles))
    _print_warnings(summary.warnings, console)


def _print_warnings(warnings: Iterable[str], console: Console) -> None:
    for warning in warnings:
        console.print(f"[yellow]warning:[/yellow] {escape(warning)}", highlight=False)


def _scene_table(summary: DatasetSummary) -> Table:
    """One line a scene, or one a role and size where there are many scenes."""
    table = Table("role", "scene", "height", "width", "invalid", "no data by")
    groups: dict[tuple[str, int, int, str], list[SceneSummary]] = defaultdict(list)
    for scene in summary.scenes:
        groups[scene.role, scene.height, scene.width, scene.nodata].append(scene)
    for (role, height, width, nodata), scenes in groups.items():
        if len(scenes) > 8:
            mean = sum(scene.invalid_share for scene in scenes) / len(scenes)
            table.add_row(role, f"{len(scenes)} scenes", str(height), str(width), f"{mean:.1%}", escape(nodata))
            continue
        for scene in scenes:
            table.add_row(
                role, escape(scene.name), str(height), str(width), f"{scene.invalid_share:.1%}", escape(nodata)
            )
    return table


def _band_table(roles: list[tuple[str, tuple[BandSummary, ...]]]) -> Table:
    table = Table(
        *("role" for role, _ in roles[:1] if role), "band", "scaling", "unit", "minimum", "mean", "maximum", "std"
    )
    for role, bands in roles:
        for band in bands:
            values = (band.minimum, band.mean, band.maximum, band.std)
            table.add_row(
                *([role] if role else []),
                escape(band.name),
                f"x {band.scale:g} {band.offset:+g}" if (band.scale, band.offset) != (1, 0) else "",
                escape(band.unit),
                *("-" if v is None else f"{v:.4g}" for v in values),
            )
    return table


def _class_table(roles: tuple[RoleSummary, ...]) -> Table:
    table = Table("id", "class", *(f"{summary.role} pixels" for summary in roles))
    for classes in zip(*(summary.classes for summary in roles), strict=True):
        table.add_row(str(classes[0].id), escape(classes[0].name), *(f"{c.pixels:,}" for c in classes))
    table.add_row("", "ignored or unlabelled", *(f"{summary.unlabelled_pixels:,}" for summary in roles))
    return table

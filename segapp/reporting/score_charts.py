"""Charts of scores: IoU by class, confusion matrix, areas, calibration, and the gain on another model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from segapp.reporting.calibration import BINS, Reliability
from segapp.reporting.chart_style import ACCENT, GREY, escape, set_layout, shorten, ticks
from segapp.reporting.comparison import Comparison
from segapp.reporting.page import format_score
from segapp.reporting.palette import HATCHES, Palette
from segapp.reporting.score_table import ScoreTable

_CORRECT = [[0, "#e9f0f8"], [1, "#1d5fa8"]]
_WRONG = [[0, "#fdf3f0"], [1, "#c8371f"]]
_ROW = 34
_IOU_AXIS = {"tickvals": [0, 0.25, 0.5, 0.75, 1], "title_text": "intersection over union"}
MOST_CELLS_WITH_TEXT = 14
"""Rows of the largest confusion matrix whose cells have space for numbers."""


def class_bars(scores: ScoreTable, palette: Palette) -> go.Figure:
    """The IoU of each class as a bar in its colour."""
    names = [row.name for row in scores.classes]
    figure = go.Figure(
        go.Bar(
            x=[row.iou for row in scores.classes],
            y=list(range(len(names))),
            orientation="h",
            marker=_fill(palette),
            text=[format_score(row.iou) for row in scores.classes],
            textposition="outside",
            cliponaxis=False,
            customdata=[[escape(row.name), f"{row.pixels:,}"] for row in scores.classes],
            hovertemplate="<b>%{customdata[0]}</b><br>IoU %{x:.3f}<br>%{customdata[1]} reference pixels<extra></extra>",
        )
    )
    set_layout(figure, 56 + _ROW * len(names), bargap=0.32)
    figure.update_xaxes(range=[0, 1.09], **_IOU_AXIS)
    return _classes_in_rows(figure, names)


def gains(comparison: Comparison, palette: Palette) -> go.Figure:
    """The IoU of each class by the other model, as a ring, and by the reported one, as a disc in the class's colour."""
    names = [pair.label for pair in comparison.classes]
    figure = go.Figure()
    for row, pair in enumerate(comparison.classes):
        if pair.gain is not None:
            line, ends = {"color": GREY, "width": 2}, [pair.before, pair.after]
            figure.add_scatter(x=ends, y=[row, row], mode="lines", line=line, hoverinfo="skip", showlegend=False)
    data = [
        [escape(pair.label), format_score(pair.before), format_score(pair.after), _gain(pair.gain, comparison)]
        for pair in comparison.classes
    ]
    hover = (
        "<b>%{customdata[0]}</b><br>before %{customdata[1]}, after %{customdata[2]}<br>%{customdata[3]}<extra></extra>"
    )
    ring = {"size": 13, "symbol": "circle-open", "color": GREY, "line": {"width": 2.5}}
    disc = {"size": 13, "color": list(palette.colors), "line": {"width": 1, "color": GREY}}
    for values, marker, name in (
        ([p.before for p in comparison.classes], ring, f"before: {escape(shorten(comparison.name))}"),
        ([p.after for p in comparison.classes], disc, "after"),
    ):
        figure.add_scatter(
            x=values, y=list(range(len(names))), mode="markers", marker=marker, name=name, customdata=data,
            hovertemplate=hover, cliponaxis=False,
        )  # fmt: skip
    set_layout(figure, 92 + _ROW * len(names), legend=True)
    figure.update_xaxes(range=[-0.02, 1.02], **_IOU_AXIS)
    return _classes_in_rows(figure, names)


def confusion(scores: ScoreTable) -> go.Figure:
    """The confusion matrix, rows by reference normalised to 1; correct pixels in blue, wrong ones in red."""
    names = [row.name for row in scores.classes]
    size = len(names)
    counts = np.array(scores.confusion, np.int64).reshape(size, size)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    escaped = [escape(name) for name in names]
    data = [
        [[f"{counts[r, p]:,}", escaped[r], escaped[p], f"{totals[r, 0]:,}"] for p in range(size)] for r in range(size)
    ]
    diagonal = np.eye(size, dtype=bool)
    small = size <= MOST_CELLS_WITH_TEXT
    figure = go.Figure()
    for kind, cells, scale in (("correct", diagonal, _CORRECT), ("wrong", ~diagonal, _WRONG)):
        values = np.where(cells, shares, np.nan)
        figure.add_heatmap(
            z=[[None if np.isnan(v) else float(v) for v in row] for row in values],
            x=list(range(size)),
            y=list(range(size)),
            zmin=0,
            zmax=1,
            colorscale=scale,
            showscale=False,
            xgap=2 if small else 0,
            ygap=2 if small else 0,
            name=kind,
            text=[["" if np.isnan(v) else _percent(v) for v in row] for row in values] if small else None,
            texttemplate="%{text}" if small else None,
            customdata=data,
            hoverongaps=False,
            hovertemplate="<b>%{customdata[0]}</b> of %{customdata[3]} pixels of <b>%{customdata[1]}</b><br>"
            f"were mapped to <b>%{{customdata[2]}}</b> (%{{z:.1%}}), {kind}<extra></extra>",
        )
    set_layout(figure, 110 + max(_ROW * size, 120) if small else 110 + min(22 * size, 900))
    figure.update_xaxes(side="top", title_text="predicted", **ticks(names), showgrid=False, showticklabels=small)
    figure.update_yaxes(title_text="reference")
    return _classes_in_rows(figure, names)


def areas(names: Sequence[str], values: np.ndarray, unit: str, palette: Palette) -> go.Figure:
    """The area of each class, `values` (2, K) by reference and by prediction, as two bars in its colour."""
    rows, digits = list(range(len(names))), 0 if unit == "pixels" else 2
    figure = go.Figure()
    for offset, kind, opacity, amounts in zip((0, 1), ("reference", "predicted"), (1.0, 0.5), values, strict=True):
        figure.add_bar(
            x=amounts.tolist(),
            y=rows,
            orientation="h",
            name=kind,
            offsetgroup=str(offset),
            opacity=opacity,
            marker=_fill(palette),
            customdata=[[escape(n), f"{amount:,.{digits}f}"] for n, amount in zip(names, amounts, strict=True)],
            hovertemplate=f"<b>%{{customdata[0]}}</b>, {kind}<br>%{{customdata[1]}} {unit}<extra></extra>",
        )
    set_layout(figure, 60 + 46 * len(names), bargap=0.28)
    figure.update_xaxes(title_text=unit, rangemode="tozero")
    return _classes_in_rows(figure, names)


def reliability(measured: Reliability) -> go.Figure:
    """Accuracy over confidence with the diagonal of a calibrated network; below, the share of pixels in each bin."""
    total = max(1, int(measured.pixels.sum()))
    filled = [i for i in range(BINS) if measured.pixels[i]]
    data = [
        [
            f"{i / BINS:.2f} to {(i + 1) / BINS:.2f}",
            f"{measured.pixels[i]:,}",
            f"{measured.confidence[i]:.3f}",
            f"{measured.accuracy[i]:.3f}",
        ]
        for i in filled
    ]
    hover = "confidence %{customdata[0]}<br>%{customdata[1]} pixels<br>mean confidence %{customdata[2]}, accuracy "
    hover += "%{customdata[3]}<extra></extra>"
    figure = make_subplots(2, 1, shared_xaxes=True, row_heights=[0.76, 0.24], vertical_spacing=0.06)
    line = {"color": GREY, "width": 1.5, "dash": "dot"}
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=line, name="calibrated", hoverinfo="skip")
    figure.add_scatter(
        x=[float(measured.confidence[i]) for i in filled],
        y=[float(measured.accuracy[i]) for i in filled],
        mode="lines+markers",
        line={"color": ACCENT, "width": 2.5},
        marker={"size": 8},
        name="this model",
        customdata=data,
        hovertemplate=hover,
    )
    figure.add_bar(
        x=[(i + 0.5) / BINS for i in filled],
        y=[measured.pixels[i] / total for i in filled],
        width=0.92 / BINS,
        marker={"color": ACCENT, "opacity": 0.55},
        customdata=data,
        hovertemplate=hover,
        showlegend=False,
        row=2,
        col=1,
    )
    set_layout(figure, 430, legend=True)
    figure.update_xaxes(range=[0, 1])
    figure.update_xaxes(title_text="confidence", row=2, col=1)
    figure.update_yaxes(range=[0, 1.02], title_text="accuracy", row=1, col=1)
    figure.update_yaxes(title_text="pixels", tickformat=".0%", rangemode="tozero", nticks=4, row=2, col=1)
    return figure


def _classes_in_rows(figure: go.Figure, names: Sequence[str]) -> go.Figure:
    """One row per class, the first at the top."""
    figure.update_yaxes(**ticks(names), range=[len(names) - 0.5, -0.5], showgrid=False)
    return figure


def _fill(palette: Palette) -> dict[str, object]:
    pattern = {"shape": [HATCHES[number] for number in palette.hatches], "size": 7, "solidity": 0.35}
    return {"color": list(palette.colors), "pattern": pattern, "line": {"color": GREY, "width": 0.75}}


def _percent(share: float) -> str:
    """A share in whole per cent; 0 and 100 only where they are exact."""
    if 0 < share < 0.005:
        return "&lt;1"
    return "&gt;99" if 0.995 <= share < 1 else f"{100 * share:.0f}"


def _gain(gain: float | None, comparison: Comparison) -> str:
    if not comparison.comparable:
        return "not comparable"
    return "no gain: a score is missing" if gain is None else f"{gain:+.3f}"

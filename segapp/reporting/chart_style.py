"""The layout that all charts of a report share; the CSS of the page sets text and line colours."""

from __future__ import annotations

import html
from collections.abc import Sequence

import plotly.graph_objects as go

ACCENT, SECOND, GREY = "#2f6fb3", "#e08a1e", "#8a94a3"
_MOST_CHARACTERS = 16


def set_layout(figure: go.Figure, height: int, legend: bool = False, **layout: float) -> None:
    """Set margins, fonts and axes; `height` is in CSS pixels."""
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 8, "r": 20, "t": 36 if legend else 12, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "inherit", "size": 12.5},
        showlegend=legend,
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "itemclick": False},
        hoverlabel={"align": "left"},
        dragmode=False,
        **layout,
    )
    axis = {
        "automargin": True,
        "zeroline": False,
        "fixedrange": True,
        "title_font_size": 12.5,
        "title_standoff": 10,
        "ticks": "outside",
        "ticklen": 7,
        "tickcolor": "rgba(0,0,0,0)",
    }
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)


def ticks(names: Sequence[str]) -> dict[str, list[int] | list[str]]:
    """Axis settings that put the names at 0, 1, 2, ..."""
    return {"tickvals": list(range(len(names))), "ticktext": [escape(shorten(name)) for name in names]}


def shorten(name: str) -> str:
    """Cut out the middle of a long name, because names of variants differ at their ends."""
    half = _MOST_CHARACTERS // 2
    return name if len(name) <= _MOST_CHARACTERS else f"{name[:half]}…{name[1 - half :]}"


def escape(name: str) -> str:
    """Escape a name for plotly, which interprets tags and entities, but not the entity of a quote."""
    return html.escape(name, quote=False)

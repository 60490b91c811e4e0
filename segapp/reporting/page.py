"""Render the page: template, CSS, script and plotly's script in one file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from segapp.reporting.score_table import Score

Section = dict[str, Any]
"""Values for the template, by name."""
MOST_NAMES = 12
"""Names listed in a sentence before "and 3 more"."""


@dataclass(frozen=True)
class Chart:
    """A chart, its text for screen readers, and its caption."""

    figure: go.Figure
    label: str
    caption: str

    @property
    def height(self) -> int:
        """Height in CSS pixels."""
        return int(self.figure.layout.height)


def join_names(names: Sequence[str]) -> str:
    """Join names for a sentence, at most `MOST_NAMES` of them."""
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def format_score(value: Score) -> str:
    """A score with three decimals, "-" where it is undefined."""
    return "-" if value is None else f"{value:.3f}"


def render(page: Mapping[str, Any], charts: Mapping[str, Chart], scores: Mapping[str, Any] | None) -> str:
    """The HTML of a report from the values of `page`; `scores`, as of `segapp evaluate --json`, are embedded as JSON.

    All text is escaped: names of classes, bands and files are not trusted.
    """
    loader = PackageLoader("segapp.reporting", "")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    parts = {name: Markup(loader.get_source(environment, f"page.{name}")[0]) for name in ("css", "js")}
    figures = {name: json.loads(chart.figure.to_json()) for name, chart in charts.items()}
    return environment.get_template("page.html.j2").render(
        page={**page, "charts": charts},
        style=parts["css"],
        script=parts["js"],
        plotly=Markup(get_plotlyjs()),
        charts_json=_script_json(figures),
        scores_json=_script_json(scores) if scores else "",
    )


def write(html: str, file: Path) -> None:
    """Write a page to a temporary file and rename it, so that an existing page is replaced only by a complete one."""
    temporary = file.with_name(f".{file.name}.writing")
    try:
        temporary.write_text(html, encoding="utf-8", errors="replace")
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def _script_json(value: Any) -> Markup:
    """JSON that cannot close the script element around it."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)

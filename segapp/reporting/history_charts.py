"""Charts of a training: curves over the steps, and the validation scores of the phases of a transfer."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from segapp.reporting.chart_style import ACCENT, GREY, SECOND, escape, set_layout, shorten, ticks
from segapp.reporting.history import Curve, PhaseScore


def training(curves: Sequence[Curve], quantity: str) -> go.Figure:
    """ "accuracy", "loss" or "mean_iou" over the steps of all phases, in training and in validation."""
    figure = go.Figure()
    for number, curve in enumerate(curves):
        for column, name, style in (
            (quantity, "training", {"mode": "lines", "line": {"color": ACCENT, "width": 1.6}}),
            (
                f"val_{quantity}",
                "validation",
                {"mode": "lines+markers", "line": {"color": SECOND, "width": 2.2}, "marker": {"size": 6}},
            ),
        ):
            steps, values = curve.values(column)
            if steps:
                figure.add_scatter(
                    x=steps, y=values, name=name, legendgroup=name, **style,
                    showlegend=not any(trace.name == name for trace in figure.data),
                    hovertemplate=f"step %{{x:,}}<br>{name} %{{y:.4f}}<extra>{escape(curve.phase)}</extra>",
                )  # fmt: skip
        if curve.phase:
            figure.add_annotation(
                x=curve.first_step, y=1, yref="paper", text=escape(shorten(curve.phase)), font={"size": 11},
                xanchor="left", yanchor="bottom", showarrow=False,
            )  # fmt: skip
        if number:
            figure.add_vline(x=curve.first_step, line={"color": GREY, "width": 1, "dash": "dot"})
    set_layout(figure, 330, legend=True)
    if any(curve.phase for curve in curves):  # phase names between the chart and its legend
        figure.update_layout(margin_t=56, legend_y=1.09)
    figure.update_xaxes(title_text="step", rangemode="tozero")
    figure.update_yaxes(title_text=quantity.replace("mean_iou", "mean IoU"))
    if quantity != "loss":
        figure.update_yaxes(range=[0, 1.02])
    return figure


def phases(scores: Sequence[PhaseScore], written: str) -> go.Figure:
    """Validation accuracy and mean IoU after each phase; the phase that was `written` has a large diamond."""
    figure = go.Figure()
    for key, label, color in (("accuracy", "accuracy", ACCENT), ("mean_iou", "mean IoU", SECOND)):
        figure.add_scatter(
            x=list(range(len(scores))),
            y=[getattr(line, key) for line in scores],
            mode="lines+markers",
            name=label,
            line={"color": color, "width": 2},
            marker={
                "size": [15 if line.phase == written else 9 for line in scores],
                "symbol": ["diamond" if line.phase == written else "circle" for line in scores],
                "opacity": 1,
            },
            customdata=[[escape(line.phase), "written" if line.phase == written else "not written"] for line in scores],
            hovertemplate=f"<b>%{{customdata[0]}}</b> (%{{customdata[1]}})<br>{label} %{{y:.3f}}<extra></extra>",
        )
    set_layout(figure, 320, legend=True)
    figure.update_xaxes(**ticks([line.phase for line in scores]), range=[-0.4, len(scores) - 0.6], showgrid=False)
    figure.update_yaxes(range=[0, 1.02])
    return figure

"""Compare a U-Net with what an analyst would pick instead: a random forest on single pixels.

    python tools/compare_with_forest.py [--seeds 3] [--output build/water12] [--recipe default]

Both learn WorldCover classes from the base places of water12 and are scored on its test places by the same code.
Networks that lie in the output folder already are scored, not trained again.
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
from forest import forest_scores
from rich.console import Console
from rich.table import Table

import segapp
from segapp.data.dataset import read_dataset
from segapp.evaluation.report import Scores

DATA = Path(__file__).parent / "datasets" / "water12_worldcover.toml"


@click.command()
@click.option("--seeds", default=3, show_default=True)
@click.option("--recipe", default="default", show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("build/water12"), show_default=True)
def main(seeds: int, recipe: str, output: Path) -> None:
    """Train what is missing, score both, print the table and write comparison.json."""
    dataset = read_dataset(DATA)
    scores: dict[str, list[Scores]] = {"random forest": [], "U-Net": [], "U-Net, 8 orientations": []}
    for seed in range(seeds):
        model = output / f"seed-{seed}"
        if not model.exists():
            segapp.train(dataset, model, recipe=recipe, seed=seed, resume=True)
        scores["U-Net"].append(segapp.evaluate(model, dataset))
        scores["U-Net, 8 orientations"].append(segapp.evaluate(model, dataset, test_time_augmentation=True))
        scores["random forest"].append(forest_scores(dataset, seed))
    table = Table(title=f"water12, base test places, {seeds} seeds")
    for column in ("", "global accuracy", "mean IoU", *dataset.classes.names):
        table.add_column(column, justify="right")
    for name, all_seeds in scores.items():
        for seed, one in enumerate(all_seeds):
            _row(table, f"{name}, seed {seed}", [one])
        _row(table, f"{name}, mean", all_seeds)
        table.add_section()
    forest = scores["random forest"]
    for name in list(scores)[1:]:
        gain = [_mean(scores[name], score) - _mean(forest, score) for score in ("global_accuracy", "mean_iou")]
        table.add_row(f"gain of {name}", *(f"{value:+.4f}" for value in gain))
    Console(width=140).print(table)
    plain = {name: [one.as_dict() for one in all_seeds] for name, all_seeds in scores.items()}
    (output / "comparison.json").write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")


def _mean(scores: list[Scores], name: str) -> float:
    return float(np.mean([getattr(one, name) for one in scores]))


def _row(table: Table, name: str, scores: list[Scores]) -> None:
    classes = np.mean([[c.iou for c in one.classes] for one in scores], 0)
    overall = [_mean(scores, "global_accuracy"), _mean(scores, "mean_iou")]
    table.add_row(name, *(f"{value:.4f}" for value in overall), *(f"{value:.3f}" for value in classes))


if __name__ == "__main__":
    main()

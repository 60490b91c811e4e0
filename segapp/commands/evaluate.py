"""`segapp evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from segapp.commands.options import (
    FILE,
    import_tensorflow,
    json_option,
    precision_option,
    require_folder,
    results_console,
    write_results,
)


@click.command()
@click.option("--model", type=FILE, required=True, help="A model directory.")
@click.option("--data", type=FILE, required=True, help="dataset.toml with the model's bands and classes.")
@click.option(
    "--role",
    type=click.Choice(["train", "val", "test"]),
    default="test",
    show_default=True,
    help="Score the scenes that the dataset gives this role.",
)
@click.option("--test-time-augmentation", is_flag=True, help="Average over flips and quarter turns: 8 times the work.")
@precision_option
@json_option("the scores")
def evaluate(
    model: Path, data: Path, role: Any, test_time_augmentation: bool, precision: Any, json_file: Path | None
) -> None:
    """Score a model on labelled scenes.

    \b
    segapp evaluate --model models/mine --data dataset.toml
    segapp evaluate --model models/mine --data dataset.toml --role val --json - | jq .mean_iou

    With --json, where null is a score that is not defined, and confusion has a row for each class of the reference:

    
    {"classes": [{"id": 80, "name": "water", "pixels": 4096, "accuracy": 0.98, "iou": 0.93,
      "precision": 0.95, "f1": 0.96, "boundary_f1": 0.9}],
     "absent": ["snow"], "scenes": 1, "pixels": 9216, "global_accuracy": 0.91,
     "mean_accuracy": 0.9, "mean_iou": 0.85, "weighted_iou": 0.86, "kappa": 0.84,
     "mean_f1": 0.91, "mean_boundary_f1": 0.88, "confusion": [[4000, 96], [210, 4910]],
     "compute_precision": "float32", "intervals": {"unit": "scene", "units": 26,
      "global_accuracy": [0.89, 0.93], "mean_iou": [0.81, 0.88], "class_iou": [[0.9, 0.96]]}}
    """
    from segapp.evaluation.evaluate import evaluate as run
    from segapp.evaluation.report import print_scores

    require_folder(json_file)
    import_tensorflow()
    scores = run(model, data, role=role, test_time_augmentation=test_time_augmentation, precision=precision)
    print_scores(scores, results_console(json_file))
    write_results(json_file, scores.as_dict())

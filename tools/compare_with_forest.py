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
from rich.console import Console
from rich.table import Table
from sklearn.ensemble import RandomForestClassifier

import segapp
from segapp.classes import IGNORED_INDEX
from segapp.dataset import Dataset, read_dataset
from segapp.evaluation.report import Evaluation, Scores
from segapp.windows import whole

DATA = Path(__file__).parent / "datasets" / "water12_worldcover.toml"
PIXELS = 100_000


def features(pixels: np.ndarray) -> np.ndarray:
    """(..., 6) reflectance, blue to SWIR2, and its NDVI, MNDWI, NDWI and NIR/SWIR2 index: (..., 10)."""
    _, green, red, nir, swir1, swir2 = np.moveaxis(pixels, -1, 0)

    def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        total = a + b
        return np.clip(np.divide(a - b, total, out=np.zeros_like(a), where=total != 0), -2, 2)

    indices = [difference(nir, red), difference(green, swir1), difference(green, nir), difference(nir, swir2)]
    return np.concatenate([pixels, np.stack(indices, -1)], -1)


def labelled_pixels(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, 10) and network indexes (n,) of all labelled, valid training pixels."""
    found = []
    for scene in dataset.scenes("train"):
        pixels, labels = scene.read(whole(scene.shape)), scene.read_labels(whole(scene.shape))
        known = (labels != IGNORED_INDEX) & ~np.isnan(pixels[..., 0])
        found.append((features(pixels[known]), labels[known]))
    return np.concatenate([f for f, _ in found]), np.concatenate([label for _, label in found])


def forest_scores(dataset: Dataset, seed: int) -> Scores:
    """Train the forest on 100,000 random pixels and score it on the test scenes."""
    x, y = labelled_pixels(dataset)
    chosen = np.random.default_rng(seed).choice(len(y), min(PIXELS, len(y)), replace=False)
    forest = RandomForestClassifier(60, min_samples_leaf=5, n_jobs=-1, random_state=seed).fit(x[chosen], y[chosen])
    evaluation = Evaluation(dataset.classes)
    for scene in dataset.scenes("test"):
        pixels = scene.read(whole(scene.shape))
        valid = ~np.isnan(pixels[..., 0])
        prediction = np.full(scene.shape, IGNORED_INDEX, np.uint8)
        prediction[valid] = forest.predict(features(pixels[valid]))
        evaluation.add(scene.read_labels(whole(scene.shape)), prediction)
    return evaluation.scores()


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

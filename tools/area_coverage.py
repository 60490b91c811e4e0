"""How often the 95 % intervals of `segapp area` hold the truth.

    python tools/area_coverage.py [--maps 1000]

Makes maps of four classes, of which one is rare, with errors of several kinds and amounts; draws a stratified sample of
each as `segapp area --design` does, and counts over all classes how often the interval holds the area, the user's
and the producer's accuracy that the whole map has.
"""

from __future__ import annotations

import click
import numpy as np

from segapp.estimation.stratified import Sample, allocate

CLASSES, SIDE = 4, 400


def coverage(maps: int, seed: int = 0, points: int = 600, minimum: int = 50) -> dict[str, float]:
    """The share of intervals that hold the truth: of areas, user's accuracies and producer's accuracies."""
    rng = np.random.default_rng(seed)
    held: dict[str, list[bool]] = {"area": [], "user's accuracy": [], "producer's accuracy": []}
    for _ in range(maps):
        truth = rng.choice(CLASSES, SIDE * SIDE, p=[0.04, 0.16, 0.3, 0.5])
        wrong = rng.random(truth.size) < rng.uniform(0.02, 0.3, CLASSES)[truth]
        mapped = np.where(wrong, rng.choice(CLASSES, truth.size, p=rng.dirichlet(np.full(CLASSES, 3.0))), truth)
        pixels = np.bincount(mapped, minlength=CLASSES)
        shares = pixels / pixels.sum()
        numbers = allocate(points, shares, pixels.tolist(), minimum)
        chosen = np.concatenate(
            [rng.choice(np.flatnonzero(mapped == k), number, replace=False) for k, number in enumerate(numbers)]
        )
        sample = Sample(mapped[chosen], mapped[chosen], truth[chosen], shares)
        for k in range(CLASSES):
            is_mapped, is_true = mapped == k, truth == k
            both = (is_mapped & is_true).sum()
            for name, estimate, value in (
                ("area", sample.share(sample.reference == k), is_true.mean()),
                ("user's accuracy", sample.ratio(sample.reference == k, sample.mapped == k), both / is_mapped.sum()),
                ("producer's accuracy", sample.ratio(sample.mapped == k, sample.reference == k), both / is_true.sum()),
            ):
                held[name].append(abs(estimate.value - value) <= estimate.margin)
    return {name: float(np.mean(found)) for name, found in held.items()}


@click.command()
@click.option("--maps", default=1000, show_default=True)
def main(maps: int) -> None:
    """Simulate, and print the shares."""
    for name, share in coverage(maps).items():
        click.echo(f"{name}: {share:.3f} of the 95 % intervals hold the truth")


if __name__ == "__main__":
    main()

"""Make `models/unet6`, the pretrained base of six bands: ``python tools/make_unet6.py``."""

from __future__ import annotations

import shutil
from pathlib import Path

import click
from compare_with_forest import DATA

import segapp
from segapp.model.bundle import load, read_spec, write_model

LIMITS = """\
Trained on 115 chips of 128 x 128 pixels from 73 places, Landsat and Sentinel-2 surface reflectance, with ESA WorldCover
as labels: labels and images differ in date and resolution, so part of every score is label noise. Shrub and bare
are rare in these places and hardly found. Snow, wetland and moss were ignored in training and are mapped to other
classes. Not for top-of-atmosphere reflectance or digital numbers. It is meant as a base for `segapp finetune`."""


@click.command()
@click.option("--runs", type=click.Path(path_type=Path), default=Path("build/water12"), help="Where the seeds lie.")
@click.option("--seeds", default=2, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("models/unet6"))
def main(runs: Path, seeds: int, output: Path) -> None:
    """Train the seeds that are missing with the default recipe, and write the best of them on the validation places."""
    folders = [runs / f"seed-{seed}" for seed in range(seeds)]
    for seed, folder in enumerate(folders):
        if not folder.exists():
            segapp.train(DATA, folder, seed=seed, resume=True)
    best = max(folders, key=lambda folder: read_spec(folder).scores["val"]["mean_iou"])
    model = load(best)
    provenance = {
        **model.spec.provenance,
        "command": "python tools/make_unet6.py",
        "dataset": "tools/datasets/water12_worldcover.toml",
        "labels": "ESA WorldCover (CC BY 4.0)",
    }
    spec = model.spec.model_copy(update={"name": "unet6", "limits": LIMITS, "provenance": provenance})
    shutil.rmtree(output, ignore_errors=True)
    write_model(output, model, spec)


if __name__ == "__main__":
    main()

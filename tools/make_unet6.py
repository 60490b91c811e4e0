"""Make `models/unet6`, the pretrained base of six bands: ``python tools/make_unet6.py``."""

from __future__ import annotations

import shutil
from pathlib import Path

import click
from compare_with_forest import DATA

import segapp
from segapp.bundle import load, write_model

LIMITS = """\
Trained on 115 chips of 128 x 128 pixels from 70 places, Landsat and Sentinel-2 surface reflectance, with ESA WorldCover
2021 as labels: labels and images differ in date and resolution, so part of every score is label noise. Shrub and bare
are rare in these places and hardly found. Snow, wetland and moss were ignored in training and are mapped to other
classes. Not for top-of-atmosphere reflectance or digital numbers. It is meant as a base for `segapp finetune`."""


@click.command()
@click.option("--from", "source", type=click.Path(path_type=Path), default=Path("build/water12/seed-0"))
@click.option("--output", type=click.Path(path_type=Path), default=Path("models/unet6"))
def main(source: Path, output: Path) -> None:
    """Train with the default recipe and seed 0, unless that was done, and write the model with its card."""
    if not source.exists():
        segapp.train(DATA, source, resume=True)
    model = load(source)
    provenance = {
        **model.spec.provenance,
        "command": "python tools/make_unet6.py",
        "dataset": "tools/datasets/water12_worldcover.toml",
        "labels": "ESA WorldCover 2021 (CC BY 4.0)",
    }
    spec = model.spec.model_copy(update={"name": "unet6", "limits": LIMITS, "provenance": provenance})
    shutil.rmtree(output, ignore_errors=True)
    write_model(output, model, spec)


if __name__ == "__main__":
    main()

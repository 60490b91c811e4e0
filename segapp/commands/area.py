"""`segapp area`."""

from __future__ import annotations

from pathlib import Path

import click

from segapp.commands.options import FILE, json_option, require_folder, results_console, write_results
from segapp.errors import InputError


@click.command()
@click.option("--map", "map_file", type=FILE, required=True, help="A class map, as segapp predict writes it.")
@click.option("--reference", type=FILE, help="Points with the class that was seen there: GPKG, GeoJSON or a shapefile.")
@click.option("--attribute", default="class_id", show_default=True, help="The field of the points with the class.")
@click.option("--layer", help="The layer of the points, where the file has several.")
@click.option("--design", type=FILE, help="Draw a sample instead, and write its points to this new GeoPackage.")
@click.option("--target-error", default=0.01, show_default=True, help="Of the sample: standard error of the accuracy.")
@click.option("--expected-accuracy", default=0.85, show_default=True, help="Of the sample: user's accuracy of a class.")
@click.option("--minimum", default=50, show_default=True, help="Of the sample: points of a class, at least.")
@click.option("--seed", default=0, show_default=True, help="Of the sample.")
@json_option("the estimates")
def area(
    map_file: Path,
    reference: Path | None,
    attribute: str,
    layer: str | None,
    design: Path | None,
    target_error: float,
    expected_accuracy: float,
    minimum: int,
    seed: int,
    json_file: Path | None,
) -> None:
    """Estimate the area of each class from reference points, with 95 % intervals.

    Counting pixels of a map repeats its errors. A sample of places that somebody looked at corrects them, and says how
    sure the result is. First draw the sample, fill in its field class_id in QGIS, then estimate:

    \b
    segapp area --map map.tif --design points.gpkg
    segapp area --map map.tif --reference points.gpkg

    With --json, where margin is half of the 95 % interval, and matrix has shares of the area with a row for each class
    of the map and a column for each of the reference:

    \b
    {"classes": [{"id": 80, "name": "water", "points": 75, "mapped_hectares": 18000.0,
      "hectares": {"value": 21158.0, "standard_error": 3142.1, "margin": 6158.4},
      "users_accuracy": {"value": 0.88, "standard_error": 0.0378, "margin": 0.074},
      "producers_accuracy": {"value": 0.75, "standard_error": 0.1093, "margin": 0.214}}],
     "overall_accuracy": {"value": 0.947, "standard_error": 0.0093, "margin": 0.018},
     "matrix": [[0.0176, 0.0, 0.0013, 0.0011], ...], "points": 640, "notes": []}
    """
    from segapp.estimation.area import area as estimate
    from segapp.estimation.area import draw_points, print_estimate

    if (reference is None) == (design is None):
        raise InputError("give --reference with filled-in points, or --design to draw them")
    require_folder(json_file)
    console = results_console(json_file)
    if design is not None:
        drawn = draw_points(
            map_file,
            design,
            target_error=target_error,
            expected_accuracy=expected_accuracy,
            minimum=minimum,
            seed=seed,
        )
        for name, number in drawn.items():
            console.print(f"{number:>6,} points in {name}", markup=False, highlight=False)
        console.print(f"{design}: fill in class_id, then give it as --reference", markup=False, highlight=False)
        write_results(json_file, {"points": drawn})
        return
    assert reference is not None
    found = estimate(map_file, reference, attribute=attribute, layer=layer)
    print_estimate(found, console)
    write_results(json_file, found.as_dict())

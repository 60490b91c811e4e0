"""What is installed from a wheel or a source distribution is the whole of segapp, and works by itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution, built from a copy of the tree: a build leaves things."""
    pytest.importorskip("build", reason="needs build (pip install 'segapp[test]')")
    copy = tmp_path_factory.mktemp("tree")
    for name in ("segapp", "tests", "tools", "models"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ROOT.iterdir():
        if file.is_file() and not file.name.startswith("."):
            shutil.copy(file, copy)
    output = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", output, copy], check=True, capture_output=True
    )
    return output


@pytest.fixture(scope="module")
def wheel(distributions: Path) -> Path:
    (file,) = distributions.glob("*.whl")
    return file


def _of_package() -> set[str]:
    """Every file of the package: code, recipes, strategies, templates, pages, py.typed."""
    files = (file for file in (ROOT / "segapp").rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return {file.relative_to(ROOT).as_posix() for file in files}


def test_the_wheel_holds_the_whole_package_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    described = {name for name in names if ".dist-info/" in name}
    assert names - described == _of_package()
    assert any(name.endswith("licenses/LICENSE") for name in described)


def test_the_source_distribution_holds_what_the_wheel_is_built_from(distributions: Path) -> None:
    (file,) = distributions.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    assert _of_package() | {"LICENSE", "README.md", "pyproject.toml"} <= names
    assert not {name.partition("/")[0] for name in names} & {"tests", "tools", "models"}


def test_dependencies_are_ranges(wheel: Path) -> None:
    """A pin would fight with the user's other packages; no lower bound would let an old version in."""
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    lines = archive.read(name).decode().splitlines()
    needed = [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")]
    assert len(needed) > 15
    assert [line for line in needed if "==" in line.partition(";")[0]] == []
    assert [line for line in needed if ">=" not in line.partition(";")[0] and not line.startswith("segapp[")] == []


RECIPE = """schema = 1
patch_size = 64
patches_per_image = 8
batch = 4
steps = 20
network = { depth = 2, filters = 4 }
validation = { every = 10 }
"""


@pytest.mark.long
def test_the_wheel_alone_trains_transfers_maps_exports_and_reports(wheel: Path, tmp_path: Path) -> None:
    """In an environment that holds nothing else, away from the tree."""
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    settings = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    settings |= {"TF_CPP_MIN_LOG_LEVEL": "2"}

    def run(*command: str | Path) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=settings, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel]
    installed = subprocess.run(install, cwd=tmp_path, env=settings, capture_output=True, text=True)
    if installed.returncode and "Could not find a version" in installed.stderr:
        pytest.skip(f"no registry has what the wheel needs: {installed.stderr.strip().splitlines()[-1]}")
    assert installed.returncode == 0, installed.stderr

    segapp = environment / "bin" / "segapp"
    assert str(environment) in run(python, "-c", "import segapp; print(segapp.__file__)")
    run(python, "-m", "segapp.samples", "samples", "--scenes", "4", "--size", "96")
    (tmp_path / "recipe.toml").write_text(RECIPE)
    data = ("--data", "samples/dataset.toml")
    run(segapp, "train", *data, "--recipe", "recipe.toml", "--output", "base")
    run(segapp, "finetune", "--base", "base", *data, "--steps", "20", "--patch-size", "64", "--output", "new")
    run(segapp, "predict", "--model", "new", "samples/test/scene_04.tif", "--output", "map.tif", "--polygons", "gpkg")
    run(segapp, "export", "--model", "new", "--output", "serving/new/1", *data)
    run(segapp, "report", "new", *data, "--compare", "base", "--output", "new.html")
    run(segapp, "inspect", "new")
    for made in ("new/model.json", "map.tif", "map.gpkg", "serving/new/1/saved_model.pb", "new.html"):
        assert (tmp_path / made).stat().st_size > 0, made

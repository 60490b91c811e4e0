"""The report as a file: its numbers, what it leaves out and why, and that a stranger's text stays text."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from segapp.commands.evaluate import evaluate as evaluate_command
from segapp.commands.report import report as report_command
from segapp.errors import InputError
from segapp.model.bundle import read_spec
from segapp.reporting.report import report
from tests.reporting.conftest import HOSTILE, rewritten
from tests.transfer.conftest import write_dataset


class Page(HTMLParser):
    """The elements of a page, in order, and its text outside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def compared(transferred: Path, trained: Path, samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the transferred model against the one it was made of, on the samples."""
    output = tmp_path_factory.mktemp("reports") / "compared.html"
    return report(transferred, samples, compare=trained, output=output, quiet=True)


def _json_in(page: Path, name: str) -> dict:
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page.read_text("utf-8"), re.S)
    assert found
    return json.loads(found[1])


def _evaluated(model: Path, samples: Path, tmp_path: Path) -> dict:
    arguments = ["--model", str(model), "--data", str(samples), "--json", str(tmp_path / "scores.json")]
    result = CliRunner().invoke(evaluate_command, arguments)
    assert result.exit_code == 0, result.output
    return json.loads((tmp_path / "scores.json").read_text())


def _values(cells: str) -> dict[str, float | None]:
    """The exact numbers of a table row by key; None where "-" stands."""
    found = re.findall(r'data-key="(\w+)">(?:<span data-value="([^"]+)">[^<]*</span>|<span class="none")', cells)
    return {key: float(value) if value else None for key, value in found}


def test_every_number_is_that_of_evaluate(
    compared: Path, transferred: Path, trained: Path, samples: Path, tmp_path: Path
) -> None:
    now, before = _evaluated(transferred, samples, tmp_path), _evaluated(trained, samples, tmp_path)
    assert now != before
    assert _json_in(compared, "scores-json") == now
    text = compared.read_text("utf-8")
    rows = dict(re.findall(r'<tr data-class="(\d+)">(.*?)</tr>', text, re.S))
    for entry in now["classes"]:
        keys = ("accuracy", "iou", "precision", "f1", "boundary_f1")
        assert _values(rows[str(entry["id"])]) == {key: entry[key] for key in keys}
    for key in ("global_accuracy", "weighted_iou", "kappa"):
        (shown,) = re.findall(rf'data-overall="{key}">.*?data-value="([^"]+)"', text)
        assert float(shown) == now[key]
    (table,) = re.findall(r'<table class="compare">(.*?)</table>', text, re.S)
    pairs = [_values(row) for row in re.findall(r"<tr>(.*?)</tr>", table, re.S)[1:]]
    theirs = zip(before["classes"], now["classes"], strict=True)
    assert pairs == [{"before": old["iou"], "after": new["iou"]} for old, new in theirs]
    (counts,) = re.findall(r'<table class="counts">(.*?)</table>', text, re.S)
    shown_counts = [
        [int(cell.replace(",", "")) for cell in re.findall(r'<td class="n">([\d,]+)</td>', row)]
        for row in re.findall(r"<tr>(.*?)</tr>", counts, re.S)[1:]
    ]
    assert shown_counts == now["confusion"]


def test_charts_hold_the_same_numbers_as_the_tables(compared: Path) -> None:
    charts, scores = _json_in(compared, "charts"), _json_in(compared, "scores-json")
    (bars,) = charts["iou"]["data"]
    assert bars["x"] == [entry["iou"] for entry in scores["classes"]]
    right, wrong = charts["confusion"]["data"]
    for r, row in enumerate(scores["confusion"]):
        for p, count in enumerate(row):
            trace = right if r == p else wrong
            assert trace["customdata"][r][p][0] == f"{count:,}"
            assert trace["z"][r][p] == (count / sum(row) if sum(row) else None)
    assert {"gains", "areas", "reliability", "accuracy", "loss", "val_iou", "phases"} <= set(charts)


def test_it_is_one_file_that_asks_for_nothing(compared: Path) -> None:
    page = Page(compared.read_text("utf-8"))
    assert compared.stat().st_size < 15e6
    assert [path.name for path in compared.parent.iterdir()] == [compared.name]
    for tag, attributes in page.elements:
        for name in ("src", "href", "action", "data", "srcset"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#")), (tag, attributes)
    policy = next(a["content"] for t, a in page.elements if t == "meta" and "http-equiv" in a)
    assert policy is not None and policy.startswith("default-src 'none'")


def test_every_figure_has_a_text_beside_it(compared: Path) -> None:
    page = Page(compared.read_text("utf-8"))
    plots = [attributes for tag, attributes in page.elements if attributes.get("role") == "img"]
    pictures = [attributes for tag, attributes in page.elements if tag == "img"]
    assert len(plots) == len(_json_in(compared, "charts")) and pictures
    assert all(len(plot["aria-label"] or "") > 30 for plot in plots)
    assert all(picture["alt"] for picture in pictures)
    captions = sum(tag == "figcaption" for tag, _ in page.elements)
    assert captions == len(plots) + len(pictures)


def test_it_tells_what_the_model_is_and_what_became_of_its_base(compared: Path, transferred: Path) -> None:
    text = Page(compared.read_text("utf-8")).text
    spec = read_spec(transferred)
    for word in (*spec.classes.names, *(band.name for band in spec.bands), "new & better", "A U-Net of depth 2"):
        assert word in text
    assert "From models/old by the strategy staged" in text
    assert "New bands: blue." in text and "Removed bands: thermal." in text
    assert "1-decoder written 0.625 -" in text  # no mean IoU was told
    assert "x 0.5" in text and "frozen" in text
    assert "hectares, over the" in text
    assert "Expected calibration error" in text


def test_without_data_it_tells_what_the_directory_knows_and_why_the_rest_is_missing(
    trained: Path, tmp_path: Path
) -> None:
    bare = rewritten(trained, tmp_path / "bare", scores={}, provenance={})
    of_bare = ["There are no scores in model.json", "has no training log", "model.json has no provenance"]
    of_trained = ["need the scenes: give --data", "was not made by transfer", "the scores are those of model"]
    for folder, lines in ((trained, of_trained), (bare, [*of_bare, "model.weights.h5 is missing"])):
        file = report(folder, output=tmp_path / "page.html")
        text = Page(file.read_text("utf-8")).text
        assert all(line in text for line in lines), text
    assert "<img" not in file.read_text("utf-8").split("<script>")[0]
    assert 'id="scores-json"' not in file.read_text("utf-8").split("<script>")[0]


def test_a_plan_that_cannot_be_read_is_left_out_with_a_line(trained: Path, tmp_path: Path) -> None:
    folder = rewritten(trained, tmp_path / "odd", provenance={"plan": {"base": 7}, "phases": [], "winner": "x"})
    text = Page(report(folder, output=tmp_path / "page.html").read_text("utf-8")).text
    assert "The plan in model.json cannot be read by this version." in text


def test_stored_scores_of_one_reference_are_compared_and_of_two_are_not(trained: Path, tmp_path: Path) -> None:
    scores = read_spec(trained).scores
    file = report(trained, compare=rewritten(trained, tmp_path / "same", name="twin"), output=tmp_path / "page.html")
    assert "Compared with twin, mean IoU changed from" in file.read_text("utf-8")
    moved = {"test": {**scores["test"], "pixels": scores["test"]["pixels"] + 1}}
    other = rewritten(trained, tmp_path / "other", name="stranger", scores=moved)
    text = report(trained, compare=other, output=tmp_path / "page.html").read_text("utf-8")
    assert "Compared with stranger" not in text and "not the same pixels" in text
    unscored = rewritten(trained, tmp_path / "unscored", name="unscored", scores={})
    text = report(trained, compare=unscored, output=tmp_path / "page.html").read_text("utf-8")
    assert "cannot be compared: scores of both are needed" in text


def test_a_class_without_a_score_says_why(trained: Path, tmp_path: Path) -> None:
    scores = json.loads(json.dumps(read_spec(trained).scores["test"]))
    scores["classes"][0] |= dict.fromkeys(("accuracy", "iou", "precision", "f1", "boundary_f1")) | {"pixels": 0}
    scores["classes"][1] |= {"precision": None}
    scores["confusion"][0] = [0] * len(scores["confusion"])
    scores["absent"] = [scores["classes"][0]["name"]]
    folder = rewritten(trained, tmp_path / "absent", scores={"test": scores})
    text = report(folder, output=tmp_path / "page.html").read_text("utf-8")
    row = re.search(rf'<tr data-class="{scores["classes"][0]["id"]}">(.*?)</tr>', text, re.S)
    assert row and row[1].count('<span class="none" title="absent from the reference">-</span>') == 5
    words = Page(text).text
    assert f"left out of the means: {scores['absent'][0]}." in words
    assert f"precision of {scores['classes'][1]['name']}, predicted nowhere" in words


def test_a_strangers_text_stays_text(hostile: Path, tmp_path: Path) -> None:
    file = report(hostile, compare=hostile, output=tmp_path / "page.html")
    text = file.read_text("utf-8")
    page = Page(text)
    assert html.escape(HOSTILE) in text.replace("&#34;", "&quot;") and HOSTILE not in text
    assert HOSTILE in " ".join(page.words)
    assert "49" not in page.text.split("{{ 7 * 7 }}")[0]
    assert not [attributes for _, attributes in page.elements if "onerror" in attributes]
    assert sum(tag == "script" for tag, _ in page.elements) == 4
    assert json.dumps(_json_in(file, "charts")).count("<img") == 0


def test_alike_colours_are_told_apart_and_said_to_be(trained: Path, tmp_path: Path) -> None:
    classes = json.loads((trained / "model.json").read_text())["classes"]
    classes["classes"][0]["color"], classes["classes"][1]["color"] = "#204080", "#234382"
    file = report(rewritten(trained, tmp_path / "alike", classes=classes), output=tmp_path / "page.html")
    first, second = (entry["name"] for entry in classes["classes"][:2])
    assert f"{first} and {second} have nearly the same colour" in Page(file.read_text("utf-8")).text
    assert _json_in(file, "charts")["iou"]["data"][0]["marker"]["pattern"]["shape"][:2] == ["", "/"]


def test_an_older_report_is_replaced_only_by_a_whole_one(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "page.html"
    file.write_text("older")

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="No space"):
            report(trained, output=file)
    assert file.read_text() == "older" and list(tmp_path.iterdir()) == [file]
    report(trained, output=file)
    assert file.read_text("utf-8").startswith("<!doctype html>") and list(tmp_path.iterdir()) == [file]


def test_a_mistake_is_one_line_and_leaves_nothing(
    trained: Path, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    (tmp_path / "folder.html").mkdir()
    classes = write_dataset(tmp_path / "classes.toml", samples, classes=["a", "b", "c", "d"][: _classes(trained)])
    first, *others = (band.model_dump() for band in read_spec(trained).bands)
    thermal = [{**first, "name": "thermal"}, *others]
    warm = rewritten(trained, tmp_path / "warm", bands=thermal)
    no_val = write_dataset(tmp_path / "roles.toml", samples, roles=("train",))
    for arguments, message in (
        ({"model": "none"}, "none: is no model directory"),
        ({"compare": "none"}, "none: is no model directory"),
        ({"data": "none.toml"}, "none.toml: no such file"),
        ({"data": classes}, "are not those of"),
        ({"data": no_val}, "no scene has the role test; choose --role train"),
        ({"data": samples, "compare": warm}, "takes the band 'thermal' in reflectance, which the data does not have"),
        ({"output": "page.pdf"}, "page.pdf: a report is a web page; give an --output that ends in .html"),
        ({"output": tmp_path / "folder.html"}, "folder.html: is a folder"),
        ({"output": "none/page.html"}, "none/page.html: its folder does not exist; make it first"),
    ):
        with pytest.raises(InputError) as mistake:
            report(**{"model": trained, "quiet": True, **arguments})  # type: ignore[arg-type]
        assert message in str(mistake.value) and "\n" not in str(mistake.value)
        assert not list(work.iterdir())


def _classes(model: Path) -> int:
    return len(read_spec(model).classes)


def test_the_command_says_where_the_page_lies(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(report_command, [str(trained)])
    assert result.exit_code == 0 and re.fullmatch(r"report\.html: \d\.\d MB\n", result.output)
    assert CliRunner().invoke(report_command, [str(trained), "--quiet"]).output == ""
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_without_data_neither_tensorflow_nor_keras_is_loaded(transferred: Path, trained: Path, tmp_path: Path) -> None:
    script = (
        "import sys\nfrom segapp.commands.report import report\n"
        "assert not {'plotly', 'jinja2'} & set(sys.modules)\n"
        "report(sys.argv[1:], standalone_mode=False)\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    arguments = [transferred, "--compare", trained, "--output", "page.html"]
    done = subprocess.run([sys.executable, "-c", script, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "page.html").exists()


@pytest.mark.long
def test_the_numbers_of_the_pretrained_base_are_those_of_evaluate(shared_data: Path, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    data = root / "tools" / "datasets" / "water12_worldcover.toml"
    if not (data.parent / "../../../shared/data/water12").exists():
        pytest.skip("water12 is not at ../shared/data")
    file = report(root / "models" / "unet6", data, output=tmp_path / "unet6.html", quiet=True)
    assert _json_in(file, "scores-json") == _evaluated(root / "models" / "unet6", data, tmp_path)
    assert file.stat().st_size < 15e6

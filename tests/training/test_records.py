"""The log survives being cut off, and says nothing twice after a resume; TensorBoard shows what the network sees."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from segapp.bands import Band
from segapp.classes import IGNORED_INDEX, ClassTable
from segapp.evaluation.confusion import ConfusionMatrix
from segapp.training.display import MESSAGES_FILE, Display
from segapp.training.log_rows import LogRow, append_row, read_log, start_log
from segapp.training.records import TrainingLog
from segapp.training.sample_predictions import SamplePredictor, true_colour
from segapp.windows import Window
from tests.toy import ToyScene

COLOURS = ["#ff0000", "#00ff00", "#0000ff"]
CLASSES = ClassTable.model_validate(
    {"classes": [{"id": i, "name": f"${i}\u4e2d", "color": color} for i, color in enumerate(COLOURS, start=1)]}
)


def _row(step: int) -> LogRow:
    return LogRow(step, 1, 0.1, 1.5, 0.25, 2.0, *((0.5, 0.75, 0.625) if step % 40 == 0 else ()))


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path)
    for step in (20, 40):
        log.write(_row(step))
    text = (tmp_path / "log.csv").read_text()
    (tmp_path / "log.csv").write_text(text[: text.rindex("40,") + 8])
    assert read_log(tmp_path) == [_row(20)]


def test_lines_after_the_checkpoint_are_dropped_when_a_run_goes_on(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path)
    for step in (20, 40, 60):
        log.write(_row(step))
    resumed = TrainingLog(tmp_path, resume_at=40)
    assert read_log(tmp_path) == [_row(20), _row(40)]
    resumed.write(_row(60))
    assert read_log(tmp_path) == [_row(20), _row(40), _row(60)]


@pytest.mark.parametrize(
    "damage", [b"\xff\xfe\x00", b"nan,1,0,1,1,1,,,\n", b"60,1\n", b"60,1,x,1,1,1,,,\n", b'"' * 200_000]
)
def test_lines_are_read_up_to_the_first_that_is_damaged(damage: bytes, tmp_path: Path) -> None:
    log = TrainingLog(tmp_path)
    for step in (20, 40):
        log.write(_row(step))
    with (tmp_path / "log.csv").open("ab") as stream:
        stream.write(damage)
    assert read_log(tmp_path) == [_row(20), _row(40)]


@given(
    st.builds(
        LogRow, st.integers(0), st.integers(0), *[st.floats(allow_nan=False)] * 4, *[st.none() | st.floats(0)] * 3
    )
)
def test_a_line_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, row: LogRow) -> None:
    folder = tmp_path_factory.mktemp("log")
    start_log(folder, [])
    append_row(folder, row)
    assert read_log(folder) == [row]


def test_a_log_can_be_read_without_tensorflow() -> None:
    code = "import sys, segapp.training.log_rows, segapp.training.display, segapp.reporting.history\n"
    code += "sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _events(folder: Path) -> EventAccumulator:
    """All that TensorBoard finds in the events of `folder`."""
    events = EventAccumulator(str(folder / "events"), size_guidance={"tensors": 0})
    events.Reload()
    return events


def test_tensorboard_shows_the_numbers_of_the_log(tmp_path: Path) -> None:
    TrainingLog(tmp_path).write(_row(40))
    events = _events(tmp_path)
    (loss,), (score,) = events.Tensors("loss"), events.Tensors("val_mean_iou")
    assert loss.step == score.step == 40
    assert tf.make_ndarray(loss.tensor_proto) == 1.5 and tf.make_ndarray(score.tensor_proto) == 0.625


class _Threshold:
    """An engine that finds the class that a pixel's first band names; class 0 wins over class 1 once it is `blind`."""

    stride, halo, classes, bytes_per_pixel, memory, precision, in_flight = 1, 0, 3, 100, 1 << 20, None, 1
    blind = False

    def probabilities(self, image: np.ndarray, place: Window) -> np.ndarray:
        index = np.nan_to_num(image[place.slices][..., 0]).astype(int)
        return np.eye(3, dtype=np.float32)[np.where(index == 1, 0, index) if self.blind else index]

    def indexes(self, image: np.ndarray, place: Window) -> np.ndarray:
        return self.probabilities(image, place).argmax(-1).astype(np.uint8)


def _striped(shape: tuple[int, int]) -> ToyScene:
    """Three vertical stripes, one a class, whose pixels hold the class index; the first row has no data."""
    labels = np.broadcast_to(np.arange(shape[1]) * 3 // shape[1], shape).astype(np.uint8)
    pixels = np.repeat(labels[..., None], 3, axis=-1).astype(np.float32)
    pixels[0] = np.nan
    return ToyScene(pixels, labels)


def _picture(events: EventAccumulator, tag: str, at: int = 0) -> np.ndarray:
    width, height, png = tf.make_ndarray(events.Tensors(tag)[at].tensor_proto)
    picture = tf.io.decode_png(png).numpy()
    assert picture.shape == (int(height), int(width), 3)
    return picture


def test_tensorboard_shows_image_reference_and_prediction_in_the_colours_of_the_classes(tmp_path: Path) -> None:
    scene, engine = _striped((300, 90)), _Threshold()
    predictor = SamplePredictor(engine, [scene], CLASSES)
    log = TrainingLog(tmp_path)
    for step in (20, 40):
        for _ in predictor.probabilities(scene):
            pass
        log.show(step, predictor.pictures(), ConfusionMatrix.empty(CLASSES))
        engine.blind = True
    events = _events(tmp_path)
    assert [event.step for event in events.Tensors("sample/1")] == [20, 40]
    red, green, blue, black = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)
    for at, middle in ((0, green), (1, red)):
        picture = _picture(events, "sample/1", at)
        assert picture.shape == (256, 3 * 90 + 2 * 4, 3)
        image, reference, prediction = picture[:, :90], picture[:, 94:184], picture[:, 188:]
        assert [tuple(reference[5, column]) for column in (15, 45, 75)] == [red, green, blue]
        assert [tuple(prediction[5, column]) for column in (15, 45, 75)] == [red, middle, blue]
        assert tuple(prediction[0, 15]) == tuple(image[0, 15]) == black and tuple(image[5, 75]) == (255, 255, 255)
    assert _picture(events, "sample/2").shape[0] == 300 - 256


@given(st.lists(st.tuples(st.integers(1, 600), st.integers(1, 600), st.booleans()), max_size=5))
def test_few_small_windows_with_labels_are_watched(scenes: list[tuple[int, int, bool]]) -> None:
    given = [ToyScene(np.zeros((h, w, 1)), np.full((h, w), 0 if known else IGNORED_INDEX)) for h, w, known in scenes]
    pictures = list(SamplePredictor(_Threshold(), given, CLASSES).pictures())
    windows = sum(-(-h // 256) * -(-w // 256) for h, w, _ in scenes)
    labelled = any(known for *_, known in scenes)
    assert len(pictures) <= 4 and (labelled or not pictures)
    assert pictures or not labelled or windows > 16  # of many windows not all are looked at
    assert all(picture.shape[0] <= 256 and picture.shape[1] <= 3 * 256 + 8 for _, picture in pictures)


def test_the_validation_is_the_same_whether_it_is_watched_or_not() -> None:
    scene = _striped((70, 90))
    watched = SamplePredictor(_Threshold(), [scene], CLASSES)
    plain = super(SamplePredictor, watched).probabilities
    for (window, found), (expected_window, expected) in zip(watched.probabilities(scene), plain(scene), strict=True):
        assert window == expected_window and np.array_equal(found, expected, equal_nan=True)


def test_true_colour_takes_the_bands_by_name() -> None:
    pixels = np.stack(np.broadcast_arrays(*np.ogrid[0:1:7j, 0:1:5j], 0.5), axis=-1).astype(np.float32)
    names = {"blue": 0, "red": 1, "green": 2}
    picture = true_colour(pixels, [Band(name=name) for name in names])
    expected = true_colour(pixels[..., [1, 2, 0]], [Band(name=str(i)) for i in range(3)])
    assert np.array_equal(picture, expected) and picture[0, 0, 2] == 0 and picture[-1, 0, 2] == 255
    assert true_colour(pixels[..., :1], [Band(name="pan")]).shape == (7, 5, 3)
    assert not true_colour(np.full((2, 2, 1), np.nan, np.float32), [Band(name="pan")]).any()


def test_tensorboard_shows_the_confusion_matrix(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Dark where a row's pixels are; names that are mathematics, or that the font lacks, make no noise."""
    log = TrainingLog(tmp_path)
    capfd.readouterr()
    for step, counts in ((20, np.diag([5, 7, 0])), (40, np.fliplr(np.diag([5, 7, 0])))):
        log.show(step, [], ConfusionMatrix(CLASSES, counts))
    events = _events(tmp_path)
    first, second = (_picture(events, "confusion", at).astype(int) for at in (0, 1))
    assert first.shape == second.shape and max(first.shape) <= 960 and not np.array_equal(first, second)
    dark = (first[..., 2] - first[..., 0] > 50) & (first[..., 2] < 160)
    rows, columns = np.nonzero(dark)
    assert np.corrcoef(rows, columns)[0, 1] > 0.5  # of the two cells, one is below and right of the other
    assert capfd.readouterr() == ("", "")


def test_messages_are_kept_with_their_time_and_move_with_their_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    display = Display(quiet=True)
    display.say("before the folder is there")
    (tmp_path / "a.partial").mkdir()
    display.keep_in(tmp_path / "a.partial")
    with pytest.raises(OSError, match="full"), display.steps(40, 10) as steps:
        for _ in range(10):
            steps.advance()
        steps.report(_row(20))
        raise OSError("the disk is\x1b[2J full")
    (tmp_path / "a.partial").rename(tmp_path / "a")
    display.say("done\nwith all")
    lines = (tmp_path / "a" / MESSAGES_FILE).read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", line) for line in lines)
    first, step, ended, last = (line.partition(" ")[2] for line in lines)
    assert (first, last) == ("before the folder is there", "done with all")
    assert step.startswith("step 20 loss 1.5000 accuracy 0.250")
    assert ended == "ended at step 20 of 40: OSError the disk is?[2J full"
    assert capsys.readouterr() == ("", "")


def test_a_resumed_run_goes_on_in_the_same_messages(tmp_path: Path) -> None:
    for text in ("first", "second"):
        display = Display(quiet=True)
        display.keep_in(tmp_path)
        display.say(text)
    assert [line.split()[-1] for line in (tmp_path / MESSAGES_FILE).read_text().splitlines()] == ["first", "second"]


def test_the_progress_plot_is_a_picture(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path)
    for step in (20, 40):
        log.write(_row(step))
    log.plot()
    assert (tmp_path / "training-progress.png").read_bytes().startswith(b"\x89PNG")
    assert {file.name for file in tmp_path.iterdir()} == {"log.csv", "events", "training-progress.png"}

"""The log survives being cut off, and says nothing twice after a resume."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from segapp.training.records import LogRow, TrainingLog, read_log


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


def test_tensorboard_events_hold_the_same_numbers(tmp_path: Path) -> None:
    TrainingLog(tmp_path).write(_row(40))
    (file,) = (tmp_path / "events").iterdir()
    found = {}
    for record in tf.data.TFRecordDataset(str(file)):
        for value in tf.compat.v1.Event.FromString(record.numpy()).summary.value:
            found[value.tag] = float(tf.make_ndarray(value.tensor))
    assert found["loss"] == 1.5 and found["val_mean_iou"] == 0.625


def test_the_progress_plot_is_a_picture(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path)
    for step in (20, 40):
        log.write(_row(step))
    log.plot()
    assert (tmp_path / "training-progress.png").read_bytes().startswith(b"\x89PNG")
    assert {file.name for file in tmp_path.iterdir()} == {"log.csv", "events", "training-progress.png"}

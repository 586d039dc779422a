"""A table that is wrong in every line costs a few lines of output, and their number."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from avloc.cli.app import app
from avloc.cli.console import Talk
from avloc.errors import InputError, few_lines
from avloc.metrics import diagnosis, matching
from avloc.metrics.table import SegmentTable
from avloc.report.page.build import BuiltPage
from avloc.train.metrics_log import read_metrics


def test_the_first_lines_and_the_number_of_the_others() -> None:
    assert few_lines(map(str, range(20))) == [str(k) for k in range(20)]
    assert few_lines(map(str, range(23)), " in a.csv")[-2:] == ["19", "... and 3 more in a.csv"]
    assert len(few_lines(["a" * 10**6])[0]) < 3000


def test_a_command_prints_few_of_many_notes(tmp_path: Path) -> None:
    event = [1.0, "", "a", "", ""]
    observation = {"type": "MEDIA", "file": {"1": ["a.mp4"]}, "events": [event], "media_info": {"length": {}}}
    project = {
        "project_format_version": "7.0",
        "behaviors_conf": {"0": {"code": "a", "type": "Point event"}},
        "observations": {f"o{k}": observation | {"file": {"1": [f"{k}.mp4"]}} for k in range(300)},
    }
    (tmp_path / "many.boris").write_text(json.dumps(project))
    found = CliRunner().invoke(app, ["convert", str(tmp_path / "many.boris"), str(tmp_path / "out.csv")])
    lines = found.output.splitlines()
    assert sum(line.startswith("note: ") for line in lines) == 20, found.output[:2000]
    assert "... and 280 more" in lines
    assert len(lines) < 40


def test_log_messages_of_one_kind_are_bounded(capsys: pytest.CaptureFixture[str]) -> None:
    Talk()
    for k in range(500):
        logging.getLogger("avloc.tests").warning("file %d is bad", k)
    logging.getLogger("avloc.tests").warning("another kind")
    shown = capsys.readouterr().err
    assert shown.count("is bad") == 50
    assert "not shown" in shown
    assert "another kind" in shown


def test_bad_lines_of_a_log_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n' + "{\n" * 300)
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"step": 1}]
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == ["skipped 300 incomplete lines"]


def test_the_problems_of_a_page_are_grouped_in_linear_time() -> None:
    built = BuiltPage(Path(), 0, 0, {}, {str(k): f"reason {k // 2}" for k in range(60_000)})
    began = time.process_time()
    notes = built.notes()
    assert (len(notes), notes[0]) == (30_000, "2 videos (0, 1): reason 0")
    assert time.process_time() - began < 5


def test_all_pairs_of_a_video_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of all classes, which a diagnosis compares."""
    rng = np.random.default_rng(0)

    def table(count: int) -> SegmentTable:
        start = rng.uniform(0, 90, count)
        columns = rng.integers(0, 3, count), rng.integers(0, 4, count), start, start + rng.uniform(0, 20, count)
        return SegmentTable(("u", "v", "w"), ("a", "b", "c", "d"), *columns, np.ones(count))

    found, truth = table(200), table(100)
    monkeypatch.setattr(matching, "_BLOCK", 100)
    best, own = diagnosis._nearest(found, truth)
    for k in range(len(found)):
        inter = np.minimum(found.end_s[k], truth.end_s) - np.maximum(found.start_s[k], truth.start_s)
        union = np.maximum(found.end_s[k], truth.end_s) - np.minimum(found.start_s[k], truth.start_s)
        overlap = np.where(truth.video == found.video[k], np.maximum(inter, 0) / union, -1)
        assert best[k] == pytest.approx(overlap.max())
        assert own[k] == (truth.label[overlap == overlap.max()] == found.label[k]).any()
    monkeypatch.setattr(matching, "_MOST_COMPARED", 1000)
    with pytest.raises(InputError, match="at most 1000 pairs of a detection and an instance of one video"):
        diagnosis._nearest(found, truth)

"""Retraining from the page beside other servers, and with files in its folders that avloc did not write."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from unittest.mock import Mock

import pytest

from avloc.cli.look import view
from avloc.errors import InputError
from avloc.formats.corrections import VideoCorrections, write_corrections
from avloc.formats.retraining import RetrainState, write_state
from avloc.report.page.build import build_page
from avloc.report.retraining import RetrainInputs, next_folder
from avloc.report.serve import Retrainer
from avloc.report.sources import PageSources, PlotSources

START = b'{"action": "start"}'


@pytest.fixture
def home(tmp_path: Path, monkeypatch) -> Path:
    home = tmp_path / "set"
    detections = home / "detections"
    detections.mkdir(parents=True)
    write_corrections(detections / "corrections.json", [VideoCorrections("v", 9.0, checked=True)])
    inputs = RetrainInputs(detections, home / "run", home / "features", home / "labels.csv")
    monkeypatch.setattr("avloc.report.serve.retrainer.find_inputs", lambda sources: inputs)
    return home


def retrainer(home: Path, command: str = "") -> Retrainer:
    jobs = Retrainer(PageSources(home / "detections"), home / "detections" / "corrections.json", home / "page", {})
    jobs._command = Mock(return_value=[sys.executable, "-c", command])  # type: ignore[method-assign]
    return jobs


def test_of_two_servers_one_starts_a_job(home: Path) -> None:
    """The process is alive, but has not come to its lock yet."""
    servers = [retrainer(home, "import time; time.sleep(60)") for _ in range(2)]
    answers: list = []
    threads = [threading.Thread(target=lambda s=s: answers.append(s.act(START))) for s in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    try:
        assert sorted(int(status) for status, _ in answers) == [200, 409]
        assert [path.name for path in home.glob("retrained-*")] == ["retrained-1"]
        assert [s.state()[1]["job"]["status"] for s in (*servers, retrainer(home))] == ["running"] * 3
    finally:
        (child,) = [s._child for s in servers if s._child is not None]
        child.kill()
        child.wait(30)
    assert retrainer(home).state()[1]["job"]["status"] == "stopped"


def test_a_folder_of_others_is_no_job(home: Path) -> None:
    (home / "retrained-1").mkdir()
    (home / "retrained-1" / "mine.txt").write_text("mine")
    assert retrainer(home).state()[1]["job"] is None


@pytest.mark.parametrize("name", ["retrain.log", ".avloc.files", ".avloc.lock", "retrain.json", "cancel"])
def test_pipes_in_the_folder_of_a_job_stop_nobody(home: Path, name: str) -> None:
    """Opening one would wait for ever."""
    folder = home / "retrained-1"
    folder.mkdir()
    if name != "retrain.json":
        write_state(folder, RetrainState("running", "../detections", "x"))
    os.mkfifo(folder / name)
    if name == ".avloc.files":
        (folder / "retrain.log").write_text("mine")  # so that it is read
    jobs = retrainer(home, "pass")
    answers: list[int] = []

    def ask() -> None:
        answers.extend(int(answer[0]) for answer in (jobs.state(), jobs.act(START), jobs.state()))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(30)
    assert answers in ([200, 200, 200], [200, 400, 200])


def test_the_end_of_a_log_is_read_and_no_more(home: Path) -> None:
    folder = home / "retrained-1"
    folder.mkdir()
    write_state(folder, RetrainState("running", "../detections", "x"))
    with (folder / "retrain.log").open("wb") as log:
        log.truncate(1 << 40)  # takes no place on the disk
        log.seek(0, os.SEEK_END)
        log.write(b"\nerror: the reason\n\n")
    assert retrainer(home).state()[1]["job"]["message"] == "error: the reason"
    (folder / "retrain.log").unlink()
    (folder / "retrain.log").symlink_to("/dev/zero")
    assert "ended before it was done" in retrainer(home).state()[1]["job"]["message"]


def test_a_path_in_the_state_that_is_none(home: Path) -> None:
    folder = home / "retrained-1"
    (folder / "detections").mkdir(parents=True)
    (folder / "detections" / "segments.csv").write_text("video,start_s,end_s,label,score\n")
    write_state(folder, RetrainState("finished", "a" * 100_000, "x"))
    status, answer = retrainer(home).state()
    assert (status, answer["job"], len(answer["problem"]) <= 300) == (200, None, True)


def test_long_names_are_not_sent_back(home: Path) -> None:
    for action in ("start", "open"):
        answer = retrainer(home).act(json.dumps({"action": action, "name": "x" * 10_000}).encode())[1]
        assert len(answer["message"]) < 500


def test_a_run_or_file_that_is_given_is_there(home: Path, tmp_path: Path) -> None:
    detections = home / "detections"
    (detections / "segments.csv").write_text("video,start_s,end_s,label,score\nv,0,1,a,0.5\n")
    for sources in (PageSources(detections, run=home / "nowhere"), PlotSources(detections, run=home / "nowhere")):
        with pytest.raises(InputError, match="nowhere: expected the run"):
            sources.trained_run("model.safetensors")
    with pytest.raises(InputError, match="nowhere: expected the run"):
        build_page(PageSources(detections, run=home / "nowhere"), tmp_path / "page")
    (home / "nowhere").mkdir()
    (home / "nowhere" / "model.safetensors").touch()
    with pytest.raises(InputError, match="nowhere: expected a folder of features"):
        build_page(PageSources(detections, run=home / "nowhere"), tmp_path / "page")
    with pytest.raises(InputError, match="expected a file for corrections"):
        view(detections, corrections=home, browser=False)


def test_the_numbers_of_results_end(home: Path) -> None:
    """A folder with more digits would not be found again."""
    (home / "retrained-999999").mkdir()
    with pytest.raises(InputError, match=r"rename .*retrained-999999"):
        next_folder(home)

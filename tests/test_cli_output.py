"""The command line where it cannot print, or has no working folder: one line, no traceback."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

AVLOC = [sys.executable, "-m", "avloc"]


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [["--version"], ["--help"]])
def test_a_standard_output_that_is_full(arguments: list[str], unbuffered: str) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*AVLOC, *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert done.stderr == "error: cannot write to the standard output: No space left on device\n"
    assert done.returncode == 1


def test_files_are_whole_where_the_summary_cannot_be_printed(tmp_path: Path) -> None:
    (tmp_path / "segments.csv").write_text("video,start_s,end_s,label,score\nv,0,1,a,0.5\n")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*AVLOC, "convert", str(tmp_path / "segments.csv"), str(tmp_path / "v.srt")],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "00:00:01,000" in (tmp_path / "v.srt").read_text()


def shell(redirection: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = shlex.join([*AVLOC, *arguments])
    return subprocess.run(["bash", "-c", f"{command} {redirection}"], capture_output=True, text=True)


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-", ">/dev/full 2>&1", ">&- 2>&- <&-", "2>/dev/full", "2>&-"])
def test_the_work_is_done_whatever_cannot_be_printed(tmp_path: Path, redirection: str) -> None:
    """The scores are written after tables are printed."""
    found, truth, scores = (tmp_path / name for name in ("segments.csv", "truth.json", "scores.json"))
    found.write_text("video,start_s,end_s,label,score\nv,0,1,a,0.5\n")
    entry = {"subset": "validation", "duration": 9, "annotations": [{"label": "a", "segment": [0, 1]}]}
    truth.write_text(json.dumps({"database": {"v": entry}}))
    done = shell(redirection, "evaluate", str(found), str(truth), "-o", str(scores))
    assert json.loads(scores.read_text())["average_map"] == 1
    assert done.returncode == (0 if redirection[0] == "2" else 1)
    reasons = {">/dev/full": "No space left on device", ">&-": "Bad file descriptor"}
    reason = reasons.get(redirection)
    assert done.stderr == (f"error: cannot write to the standard output: {reason}\n" if reason else "")


def test_errors_that_cannot_be_printed_keep_their_exit_code() -> None:
    for redirection in ("2>/dev/full", "2>&-"):
        assert (done := shell(redirection, "train", "--nonsense")).returncode == 2
        assert done.stdout == ""


def test_a_reader_that_has_seen_enough() -> None:
    done = shell("| true; exit ${PIPESTATUS[0]}", "--help")
    assert (done.returncode, done.stderr) == (1, "")


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    """What libraries print would go into it."""
    code = (
        "import os, sys; from avloc.cli.streams import keep_streams; keep_streams(); file = open(sys.argv[1], 'w')\n"
        "file.write('whole'); file.flush(); print('lost'); print('lost', file=sys.stderr)\n"
        "for number in (1, 2):\n  try: os.write(number, b'x')\n  except OSError: pass"
    )
    command = shlex.join([sys.executable, "-c", code, str(tmp_path / "file")])
    assert subprocess.run(["bash", "-c", f"{command} <&- >&- 2>&-"]).returncode == 0
    assert (tmp_path / "file").read_text() == "whole"


def test_a_working_folder_that_is_gone(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = "import os, sys; os.chdir(sys.argv[1]); os.rmdir(sys.argv[1]); from avloc.cli.app import main; main()"
    done = subprocess.run([sys.executable, "-c", code, str(gone)], capture_output=True, text=True)
    assert done.stderr == "error: the working folder no longer exists; change to another one\n"
    assert done.returncode == 2


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-", "| true; exit ${PIPESTATUS[0]}"])
def test_that_videos_have_failed_is_not_hidden(redirection: str) -> None:
    code = (
        "import typer; from avloc.cli.app import app, main\n"
        "@app.command()\ndef part():\n  print('text'); raise typer.Exit(3)\n"
        "main()"
    )
    command = shlex.join([sys.executable, "-c", code, "part"])
    done = subprocess.run(["bash", "-c", f"{command} {redirection}"], capture_output=True, text=True)
    assert done.returncode == 3
    assert done.stderr.count("\n") == (0 if redirection[0] == "|" else 1)

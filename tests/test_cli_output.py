"""The command line where it cannot print, or has no working folder: one line, no traceback."""

from __future__ import annotations

import os
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


def test_a_closed_standard_output(tmp_path: Path) -> None:
    done = subprocess.run(f"'{sys.executable}' -m avloc --version >&-", shell=True, capture_output=True, text=True)
    assert "Traceback" not in done.stderr


def test_a_working_folder_that_is_gone(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = "import os, sys; os.chdir(sys.argv[1]); os.rmdir(sys.argv[1]); from avloc.cli.app import main; main()"
    done = subprocess.run([sys.executable, "-c", code, str(gone)], capture_output=True, text=True)
    assert done.stderr == "error: the working folder no longer exists; change to another one\n"
    assert done.returncode == 2

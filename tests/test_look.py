"""avloc report, review, plot, diagnose: files written and messages."""

from __future__ import annotations

import json
import sys

import pytest
from typer.testing import CliRunner

from avloc.cli import app
from avloc.errors import InputError
from page_data import make_world


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    home = tmp_path_factory.mktemp("world")
    make_world(home, count=2)
    return home


def call(*words):
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_report(world, tmp_path):
    words = ("report", world / "ours", "--ground-truth", world / "truth.json", "--compare", world / "other")
    result = call(*words, "-o", tmp_path / "page", "--copy-media", "--json")
    facts = json.loads([line for line in result.stdout.splitlines() if line.startswith("{")][-1])
    assert (facts["videos"], facts["proxies"], facts["problems"]) == (2, 0, {})
    assert (tmp_path / "page" / "index.html").is_file()
    assert len(list((tmp_path / "page" / "media").glob("*.mp4"))) == 2


def test_review(world, tmp_path):
    result = call("review", world / "ours", "-o", tmp_path / "clips", "--per-class", 1, "--cut", "copy")
    assert "2 clips and clips.csv" in result.stdout
    assert len(list((tmp_path / "clips").glob("*.mp4"))) == 2


def test_plot(world, tmp_path):
    words = ("plot", world / "ours", "--ground-truth", world / "truth.json", "-o", tmp_path / "figures")
    result = call(*words, "-f", "svg", "--limit", 0)
    assert "3 files written to" in result.stdout
    assert {p.name for p in (tmp_path / "figures").iterdir()} == {
        "map.svg",
        "class_ap.svg",
        "confusion.svg",
        ".avloc.files",
    }


def test_a_format_that_figures_cannot_have_is_said_before_the_work(world, tmp_path):
    allowed = r"figures cannot be written as '.?gif'; use pdf, svg, png"
    with pytest.raises(InputError, match=allowed):
        call("plot", world / "nowhere", "-o", tmp_path / "figures", "-f", "png,gif")
    with pytest.raises(InputError, match=allowed):
        call("diagnose", world / "nowhere", world / "truth.json", "--plot", tmp_path / "x.gif")
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_work_that_ends_with_figures_does_not_begin(world, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    out = tmp_path / "out"
    for words in (("demo", out), ("plot", world / "ours", "-o", out)):
        with pytest.raises(InputError, match=r"plots need matplotlib: pip install 'avloc\[report\]'"):
            call(*words)
        assert not out.exists()


def test_what_many_videos_lack_is_said_once(world, tmp_path):
    (tmp_path / "segments.csv").write_bytes((world / "ours" / "segments.csv").read_bytes())
    result = call("report", tmp_path / "segments.csv", "-o", tmp_path / "page")
    notes = [line for line in result.stdout.splitlines() if line.startswith("note:")]
    (note,) = notes
    assert note.startswith("note: 2 videos (")
    assert note.endswith("): no video file is known; give --videos FOLDER")


@pytest.mark.parametrize("command", ["report", "review", "plot"])
def test_nothing_to_look_at_is_said(command, tmp_path):
    with pytest.raises(InputError, match="avloc localize RUN VIDEOS"):
        call(command, tmp_path, "-o", tmp_path / "out")

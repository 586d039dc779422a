"""What people get: tables for spreadsheets, formats from the score that counts as found, valid JSON."""

from __future__ import annotations

import ast
import json
import math
import socket
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from avloc.config import LIKELY, preset
from avloc.interchange.registry import FORMATS, save_detections, write_formats
from avloc.interchange.segments import VideoSegments
from avloc.interchange.spreadsheet import write_found_csv, write_found_xlsx
from avloc.pipeline.folder import localize_folder, plan_folder
from avloc.system.text import json_text
from avloc.train.record import read_record
from avloc.train.resume import train
from avloc.types import Detection
from feature_sets import make_videos, write_set
from test_cli import film, one_line, run

FOUND = {
    "größe": [Detection(3725.504, 3730.0, "=SUM(A1)", 0.874), Detection(1.25, 3.5, "Gähnen; laut", 0.4)],
    "a": [Detection(0, 0.333, 'say "hi"\tnow', 0.999)],
}


def test_found_csv_is_what_every_excel_reads_without_settings(tmp_path: Path) -> None:
    write_found_csv(tmp_path / "found.csv", FOUND)
    raw = (tmp_path / "found.csv").read_bytes()
    assert raw[:2] == b"\xff\xfe"  # Excel's "Unicode Text": UTF-16 with byte-order mark, tabs
    text = raw.decode("utf-16")
    assert text.split("\r\n") == [
        "video\tlabel\tstart\tend\tlength\tscore_percent",
        'a\t"say ""hi""\tnow"\t0h00m00.00s\t0h00m00.33s\t0.33 s\t100',
        "größe\tGähnen; laut\t0h00m01.25s\t0h00m03.50s\t2.25 s\t40",
        "größe\t'=SUM(A1)\t1h02m05.50s\t1h02m10.00s\t4.50 s\t87",
        "",
    ]


def test_found_xlsx_holds_numbers_and_text_that_is_no_formula(tmp_path: Path) -> None:
    for name in ("found.xlsx", "again.xlsx"):
        write_found_xlsx(tmp_path / name, FOUND)
    assert (tmp_path / "found.xlsx").read_bytes() == (tmp_path / "again.xlsx").read_bytes()
    with zipfile.ZipFile(tmp_path / "found.xlsx") as book:
        parts = {name: ElementTree.fromstring(book.read(name)) for name in book.namelist()}
    space = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
    rows = [["".join(cell.itertext()) for cell in row] for row in parts["xl/worksheets/sheet1.xml"].iter(f"{space}row")]
    assert rows[0] == ["video", "label", "start", "end", "start_s", "end_s", "length_s", "score"]
    assert [row[:2] for row in rows[1:]] == [["a", 'say "hi" now'], ["größe", "Gähnen; laut"], ["größe", "=SUM(A1)"]]
    assert not list(parts["xl/worksheets/sheet1.xml"].iter(f"{space}f"))
    assert float(rows[3][2]) * 86400 == pytest.approx(3725.50)
    assert list(map(float, rows[3][4:])) == [3725.5, 3730.0, 4.5, 0.87]
    styles = [node.get("formatCode") for node in parts["xl/styles.xml"].iter(f"{space}numFmt")]
    assert styles == ["[h]:mm:ss.00"]


@pytest.mark.parametrize("name", [name for name, form in FORMATS.items() if not form.frames])
def test_formats_for_people_start_at_the_lowest_score_and_tables_keep_all(tmp_path: Path, name: str) -> None:
    if name == "parquet":
        pytest.importorskip("pyarrow")
    both = (Detection(0, 1, "strong", 0.9), Detection(2, 3, "faint", 0.1))
    (path,) = write_formats(tmp_path, [name], [VideoSegments("v", both, 4.0)], LIKELY)
    content = path.read_bytes()
    assert b"strong" in content
    assert (b"faint" in content) == (name in ("csv", "json", "parquet"))


def test_a_single_result_is_saved_likewise(tmp_path: Path) -> None:
    both = (Detection(0, 1, "strong", 0.9), Detection(2, 3, "faint", 0.1))
    for name, least, shown in (("a.vtt", LIKELY, False), ("b.vtt", 0.0, True), ("c.csv", LIKELY, True)):
        save_detections(tmp_path / name, "v", both, 4.0, least=least)
        assert ("faint" in (tmp_path / name).read_text()) == shown


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("found")
    features, labels = write_set(home, make_videos(count=9))
    small = {"train.steps": 4, "train.eval_every": 2, "model.embed_dim": 8, "train.holdout": 0}
    train(features, labels, home / "run", preset("default", small))
    return home


def test_an_explicit_min_score_wins(trained: Path, tmp_path: Path) -> None:
    def cues(**overrides: float) -> tuple[int, int, tuple[str, ...]]:
        given = {f"localize.{key}": value for key, value in overrides.items()}
        result = localize_folder(trained / "run", [trained / "features"], tmp_path / "out", "vtt,csv", given)
        texts = [path.read_text() for path in (tmp_path / "out" / "per-video").glob("*.vtt")]
        rows = (tmp_path / "out" / "segments.csv").read_text().splitlines()[1:]
        return sum(text.count("-->") for text in texts), len(rows), result.notes

    found, every, notes = cues()
    assert 0 < found < every
    assert any(f"vtt: {every - found} detections below 0.3 left out" in note for note in notes)
    assert cues(min_score=0.0)[:2] == (every, every)
    strict, kept, _ = cues(min_score=0.5)
    assert strict == kept <= found


def test_whole_videos_are_said_with_a_setting_that_changes_it(trained: Path, tmp_path: Path) -> None:
    favour = {"localize.contrast.full_video_margin": 0.0, "localize.contrast.short_video_bonus": 100.0}
    notes = localize_folder(trained / "run", [trained / "features"], tmp_path / "a", overrides=favour).notes
    (note,) = (note for note in notes if "whole videos" in note)
    said = dict(part.split("=") for part in note.split() if part.startswith("localize.contrast."))
    again = localize_folder(trained / "run", [trained / "features"], tmp_path / "b", overrides=said).notes
    assert not any("whole videos" in note for note in again)


def test_features_remember_their_videos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = film(tmp_path / "videos" / "dog.mp4", 1.0)
    names = ("--visual", "appearance", "--audio", "logmel")
    assert run(capsys, "extract", video, "-o", tmp_path / "features", *names)[0] == 0
    assert plan_folder([tmp_path / "features"], "boris").media == {"dog": video}
    (tmp_path / "elsewhere").mkdir()
    moved = video.rename(tmp_path / "elsewhere" / "dog.mp4")
    assert plan_folder([tmp_path / "features"]).media == {}
    assert run(capsys, "extract", moved, "-o", tmp_path / "features", *names)[0] == 0  # nothing is extracted
    assert plan_folder([tmp_path / "features" / "dog.safetensors"]).media == {"dog": moved}


def test_json_has_no_nan_and_no_infinity(trained: Path) -> None:
    assert json_text({"a": [math.nan, (math.inf, 1.0)], "b": {"c": -math.inf}}) == (
        '{"a": [null, [null, 1.0]], "b": {"c": null}}'
    )

    def refuse(word: str) -> None:
        raise AssertionError(word)

    facts = json.loads((trained / "run" / "record.json").read_text(), parse_constant=refuse)
    assert facts["scores"]["selection_score"] is None  # nothing is held out
    assert read_record(trained / "run").selection_score == -math.inf
    for line in (trained / "run" / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=refuse)


def test_all_json_is_written_by_one_function() -> None:
    source = Path(__file__).parent.parent / "src" / "avloc"
    for path in source.rglob("*.py"):
        if path.relative_to(source).as_posix() in ("system/text.py", "system/atomic.py"):
            continue
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)]
        assert not [c.lineno for c in calls if c.attr in ("dumps", "dump") and getattr(c.value, "id", "") == "json"], (
            path
        )


def test_view_says_that_its_port_is_in_use_before_it_reads_anything(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    localize_folder(trained / "run", [trained / "features"], tmp_path / "d")
    monkeypatch.setattr("avloc.report.page.build.build_page", lambda *a: pytest.fail("built before the port was tried"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, err = run(capsys, "view", tmp_path / "d", "--port", port, "--no-browser")
    assert (code, f"port {port} cannot be used" in one_line(err)) == (2, True)

"""Hostile names and labels in file names, tables, exports and on the terminal."""

from __future__ import annotations

import csv
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import odd_media as odd
from avloc.cli.console import Talk
from avloc.errors import AvlocError, FormatError, InputError, one_line
from avloc.features.manifest import Row, read_manifest, write_manifest
from avloc.formats.annotations import read_annotations
from avloc.formats.detections import read_detections
from avloc.formats.failures import Failure, write_failures
from avloc.formats.labels import LabelRow, LabelTable, read_labels, write_labels
from avloc.formats.results import RunSource, find_results
from avloc.interchange.convert import convert, read_segments
from avloc.interchange.labelstudio import write_labelstudio_config
from avloc.interchange.registry import write_formats
from avloc.interchange.segments import VideoSegments, clean
from avloc.report import clips as reviewing
from avloc.report.plots import plot_all
from avloc.report.sources import PlotSources
from avloc.system.atomic import atomic_write, inside, sweep
from avloc.system.text import STEM_BYTES, csv_text, file_stem, file_stems, nfc, readable, safe_name
from avloc.types import Detection, VideoAnnotation

NAMES = [
    *("../../x", "..", ".", "...", "/etc/passwd", "C:\\x", "a/b", "a_b", "-rf", "--help", "$(id)", "`id`", "; rm x"),
    *("new\nline", "carriage\rreturn", "tab\tstop", "null\0byte", "bell\x07", "escape\x1b[2J", "nel\x85", "ls\u2028"),
    *("CON", "nul", "com1", "LPT9.x", "con .y", "CONIN$", "dot.", "space ", " lead", ".hidden", "a" * 300, "é" * 200),
    *("🐕" * 80, "e\u0301" * 120, "👩\u200d👩\u200d👧" * 20, "=1+1", "+1", "@x", '=HYPERLINK("http://x")', "-1"),
    *("<script>alert(1)</script>", '"quoted"', "it's", "a,b;c", "a-->b", "00:00:01,000 --> 00:00:02,000", "NOTE x"),
    *("&amp;", "]]>", "a\ufffeb", "\u202egpj.exe", "half \udcff", "x~0123456789ab", "", "  "),
]
LABELS = list(dict.fromkeys(nfc(n) for n in NAMES if "\0" not in n and "\udcff" not in n and n.strip()))


# --- file names ---


@pytest.mark.parametrize(
    "name", ["dog", "-0BEKlwYmkc", "v_abc 1", "כלב 🐕", "a.b.c", "café", "x" * 200, "contact", "~"]
)
def test_ordinary_names_stay(name: str) -> None:
    assert file_stem(name) == name


@pytest.mark.parametrize("name", NAMES)
def test_a_stem_is_the_name_of_a_file_everywhere(name: str, tmp_path: Path) -> None:
    stem = file_stem(name)
    assert 0 < len(stem.encode()) <= STEM_BYTES
    assert not set(stem) & set('<>:"/\\|?*\0\n\r\t\x1b\u2028')
    assert stem.strip(". ") == stem
    assert stem.partition(".")[0].rstrip().upper() not in ("CON", "NUL", "COM1", "LPT9", "CONIN$")
    atomic_write(tmp_path / "out" / f"{stem}.labelstudio.json", "x")
    assert [p.name for p in (tmp_path / "out").iterdir()] == [f"{stem}.labelstudio.json"]
    assert {p.name for p in tmp_path.iterdir()} == {"out"}


def test_different_names_are_different_files() -> None:
    more = [*NAMES, *map(file_stem, NAMES), "a:b", "a" * 301, "nul.", "NUL"]
    names = list(dict.fromkeys(more))
    stems = file_stems(names)
    assert list(stems) == names
    assert len({stem.casefold() for stem in stems.values()}) == len(names)


def test_names_that_differ_in_case_alone_are_two_files() -> None:
    stems = file_stems(["dog", "Dog", "caf\u00e9", "cafe\u0301", "straße", "STRASSE"])
    assert [stems["Dog"], stems["cafe\u0301"], stems["STRASSE"]] == ["Dog", "cafe\u0301", "STRASSE"]
    assert all("~" in stems[name] for name in ("dog", "caf\u00e9", "straße"))
    assert file_stems(["dog", "cat"]) == {"dog": "dog", "cat": "cat"}


def test_long_names_lose_whole_characters_only() -> None:
    for unit in ("é", "🐕", "e\u0301", "👩\u200d👩"):
        short = safe_name(unit * 200, 50)
        assert short == unit * (len(short) // len(unit))
        assert 40 < len(short.encode()) <= 50


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.text(max_size=12), unique=True, min_size=2, max_size=6))
def test_no_two_names_share_a_file(names: list[str]) -> None:
    stems = file_stems(names)
    assert len({stem.casefold() for stem in stems.values()}) == len(names)


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "a\0b", "a/" + "b" * 260, "é" * 130, ".."])
def test_nothing_is_written_outside(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"leads out of|a file name at most 255"):
        inside(tmp_path / "out", name)


def test_a_folder_that_is_a_link_leads_nowhere_and_a_link_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").symlink_to(tmp_path)
    (tmp_path / "out" / "b").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match="leads out of"):
        inside(tmp_path / "out", "a/x")
    atomic_write(inside(tmp_path / "out", "b"), "ours")
    assert not (tmp_path / "secret").exists()


def test_names_of_250_bytes_and_of_no_characters_are_written_whole(tmp_path: Path) -> None:
    for name in ("n" * 250, "é" * 125, "half \udcff"):
        atomic_write(tmp_path / name, "x")
    assert len(list(tmp_path.iterdir())) == 3
    assert sweep(tmp_path) == 0
    with pytest.raises(InputError, match="use a shorter name"):
        atomic_write(tmp_path / ("n" * 256), "x")


# --- tables ---


def test_tables_give_back_every_cell(tmp_path: Path) -> None:
    cells = [name for name in NAMES if "\udcff" not in name]
    (tmp_path / "t.csv").write_bytes(csv_text([[name, name] for name in cells]).encode())
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        assert [row[0] for row in csv.reader(file)] == cells
    assert csv_text([["a", 1], ["b", 2.5]]) == "a,1\nb,2.5\n"


def test_detections_in_tables_come_back_as_they_were(tmp_path: Path) -> None:
    """Including names that a spreadsheet reads as formulas: names are data and are not changed."""
    found = [
        VideoSegments(name, (Detection(0.5, 1.5, label, 0.5),)) for name, label in zip(LABELS, LABELS, strict=True)
    ]
    write_formats(tmp_path, ["csv", "json", "parquet"], found)
    for name in ("segments.csv", "segments.json"):
        back = read_detections(tmp_path / name)
        assert {video: d[0].label for video, d in back.items()} == dict(zip(LABELS, LABELS, strict=True))
    table = pytest.importorskip("pyarrow.parquet").read_table(tmp_path / "segments.parquet").to_pydict()
    assert table["video"] == table["label"] == LABELS


def test_labels_failures_and_manifests_come_back(tmp_path: Path) -> None:
    names = [name for name in LABELS if name.strip() == name and ";" not in name and not name.startswith("sep=")]
    write_labels(tmp_path / "labels.csv", LabelTable(tuple(LabelRow(n, (n,), "train") for n in names)))
    assert [(row.video_id, row.labels) for row in read_labels(tmp_path / "labels.csv").rows] == [
        (n, (n,)) for n in names
    ]
    write_manifest(tmp_path / "manifest.csv", [Row(name, name, "done") for name in LABELS])
    assert set(read_manifest(tmp_path)) == set(LABELS)
    write_failures(tmp_path / "failures.csv", [Failure(name, name, "x") for name in LABELS])
    with (tmp_path / "failures.csv").open(encoding="utf-8", newline="") as file:
        assert [row["video"] for row in csv.DictReader(file)] == sorted(LABELS)


@pytest.mark.parametrize("text", ["\\u0000", "\\ud800", "\\uDFFF x", "\\\\\\udc00"])
@pytest.mark.parametrize("place", ["label", "video"])
def test_json_with_half_characters_is_refused_in_one_line(text: str, place: str, tmp_path: Path) -> None:
    row = '{"label": "%s", "segment": [1, 2], "score": 0.5}' % (text if place == "label" else "a")
    video = text if place == "video" else "v"
    (tmp_path / "d.json").write_text(f'{{"results": {{"{video}": [{row}]}}}}')
    (tmp_path / "t.json").write_text(f'{{"database": {{"{video}": {{"duration": 9, "annotations": [{row}]}}}}}}')
    for read in (lambda: read_detections(tmp_path / "d.json"), lambda: read_annotations(tmp_path / "t.json")):
        with pytest.raises(FormatError, match="lone surrogate"):
            read()


def test_json_whose_escapes_are_whole_characters_is_read(tmp_path: Path) -> None:
    row = '{"label": "\\ud83d\\udc15 \\\\u0000", "segment": [1, 2], "score": 0.5}'
    (tmp_path / "d.json").write_text(f'{{"results": {{"v": [{row}]}}}}')
    assert read_detections(tmp_path / "d.json")["v"][0].label == "🐕 \\u0000"


# --- exports ---


def hostile_video(number: int) -> VideoSegments:
    name = LABELS[number]
    return VideoSegments(name, tuple(Detection(k, k + 0.5, label, 0.5) for k, label in enumerate(LABELS)), 99.0)


def seen(text: str) -> str:
    """A label as a line-based format can hold it."""
    return " ".join(clean(text).split())


@pytest.mark.parametrize("form", ["vtt", "audacity", "elan", "via", "boris"])
def test_exports_of_hostile_labels_are_read_back(form: str, tmp_path: Path) -> None:
    videos = [
        hostile_video(k) for k in range(0, 1 if form == "via" else len(LABELS), 3)
    ]  # VIA tells videos apart by file name
    files = write_formats(tmp_path, [form], videos)
    assert len(set(files)) == (1 if form in ("via", "boris") else len(videos))
    assert {p.parent for p in files} <= {tmp_path, tmp_path / "per-video"}
    backs = [back for file in files for back in read_segments(file)]
    assert len(backs) == len(videos)
    for back in backs:
        found = sorted(back.segments, key=lambda s: s.start_s)
        assert [seen(s.label) for s in found] == [seen(label) for label in LABELS]
        assert [s.start_s for s in found] == list(range(len(LABELS)))


def test_subtitles_of_hostile_labels(tmp_path: Path) -> None:
    import webvtt

    times = re.compile(r"\d\d:\d\d:\d\d,\d{3} --> \d\d:\d\d:\d\d,\d{3}")
    for k in range(0, len(LABELS), 3):
        vtt, srt = write_formats(tmp_path / str(k), ["vtt", "srt"], [hostile_video(k)])
        assert vtt.read_bytes().splitlines()[1] == b""
        assert len(webvtt.read(str(vtt))) == len(LABELS)
        cues = [cue.splitlines() for cue in srt.read_text(encoding="utf-8").split("\n\n")]
        assert [cue[0] for cue in cues] == [str(n + 1) for n in range(len(LABELS))]
        assert all(len(cue) == 3 and times.fullmatch(cue[1]) and "-->" not in cue[2] for cue in cues)


def test_subtitles_of_hostile_labels_by_a_lenient_reader(tmp_path: Path) -> None:
    import pysubs2

    video = hostile_video(0)
    kept = tuple(s for s in video.segments if "00:00:01" not in s.label)  # pysubs2 needs no arrow between two times
    (srt,) = write_formats(tmp_path, ["srt"], [VideoSegments("v", kept)])
    assert [cue.start for cue in pysubs2.load(str(srt))] == [1000 * s.start_s for s in kept]


def test_raven_and_audacity_have_as_many_cells_in_every_line(tmp_path: Path) -> None:
    for k in range(0, len(LABELS), 3):
        raven, audacity = write_formats(tmp_path / str(k), ["raven", "audacity"], [hostile_video(k)])
        assert {line.count("\t") for line in raven.read_text().splitlines()} == {9}
        assert {line.count("\t") for line in audacity.read_text().splitlines()} == {2}


def test_xml_of_hostile_labels_is_well_formed(tmp_path: Path) -> None:
    write_labelstudio_config(tmp_path / "c.xml", LABELS)
    values = [label.get("value") for label in ET.parse(tmp_path / "c.xml").getroot().iter("Label")]
    assert values == [clean(label) for label in LABELS]


def test_half_characters_are_refused_on_reading_and_spelt_out_on_writing(tmp_path: Path) -> None:
    (tmp_path / "p.boris").write_text(
        '{"behaviors_conf": {"0": {"type": "State event", "code": "\\ud800"}},'
        ' "observations": {"v": {"events": [[1, "", "\\ud800", "", ""], [2, "", "\\ud800", "", ""]]}}}'
    )
    with pytest.raises(FormatError, match="lone surrogate"):
        read_segments(tmp_path / "p.boris")
    pytest.importorskip("pyarrow")
    write_formats(tmp_path, ["parquet", "csv"], [VideoSegments("v", (Detection(0, 1, "half \udcff", 0.5),))])
    assert "half \\udcff" in (tmp_path / "segments.csv").read_text(encoding="utf-8")


def test_conversion_of_hostile_names_stays_in_its_folder(tmp_path: Path) -> None:
    rows = {name: [{"label": "x", "segment": [1.0, 2.0], "score": 0.5}] for name in LABELS}
    (tmp_path / "d.json").write_text(json.dumps({"results": rows}))
    done = convert(tmp_path / "d.json", tmp_path / "out", "vtt")
    assert len(list((tmp_path / "out").glob("*.vtt"))) == len(set(done["files"])) == len(LABELS)
    assert {p.name for p in tmp_path.iterdir()} == {"out", "d.json"}


# --- results folders ---


def test_scores_are_looked_for_in_their_folder_only(tmp_path: Path) -> None:
    (tmp_path / "run" / "scores").mkdir(parents=True)
    (tmp_path / "x.safetensors").write_text("not read")
    run = RunSource("r", tmp_path / "d.json", tmp_path / "run", {})
    for name in ("../../x", "a" * 300, "null\0byte", str(tmp_path / "x"), "new\nline", "half \udcff"):
        assert run.activations(name) is None


def test_a_run_with_hostile_names_is_found(tmp_path: Path) -> None:
    rows = {name: [{"label": "x", "segment": [1.0, 2.0], "score": 0.5}] for name in LABELS}
    (tmp_path / "segments.json").write_text(json.dumps({"results": rows}))
    (tmp_path / "videos.csv").write_text(csv_text([("video", "path"), *((name, "/nowhere") for name in LABELS)]))
    run = find_results(tmp_path).read()
    assert set(run.videos()) == set(LABELS)
    assert [run.activations(name) for name in LABELS] == [None] * len(LABELS)


def test_clips_and_figures_of_hostile_names_stay_in_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "videos").mkdir()
    film = odd.write_video(tmp_path / "videos" / "film.mp4", odd.grey_frames(20), codec="libx264")
    film = film.rename(film.with_suffix(".a:b"))
    found = {name: (Detection(0.5, 1.5, label, 0.5),) for name, label in zip(LABELS, LABELS[::-1], strict=True)}
    write_formats(tmp_path, ["json"], [VideoSegments(name, d) for name, d in found.items()])
    monkeypatch.setattr(reviewing, "map_isolated", lambda cut, items, in_order: ((item, cut(item)) for item in items))
    chosen = dict.fromkeys(LABELS[::6], film)
    run = RunSource("r", tmp_path / "segments.json", None, {name: found[name] for name in chosen})
    clips, failed = reviewing.review(run, chosen, tmp_path / "clips", None, cut="copy")
    assert (len(clips), failed) == (len(chosen), {})
    assert {p.name for p in (tmp_path / "clips").iterdir()} >= {clip.file for clip in clips}
    assert all(len(clip.file.encode()) < 255 and clip.file.isprintable() and ":" not in clip.file for clip in clips)
    _, notes = plot_all(PlotSources(tmp_path / "segments.json"), tmp_path / "plots", ("svg",), limit=99)
    drawn = [note.partition(": ")[0] for note in notes if note.startswith("timelines/")]
    assert len(set(drawn)) == len(LABELS)
    assert all(name.count("/") == 1 and len(name.encode()) < 240 for name in drawn)
    assert {p.name for p in tmp_path.iterdir()} <= {"videos", "clips", "plots", "segments.json", ".avloc.files"}


# --- terminal ---


def test_no_name_commands_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    talk = Talk()
    for name in NAMES:
        talk.say(f"note: {name}: seen")
        assert one_line(name).isprintable() or "\u200d" in name or "\ufffe" in name
        assert "\x1b" not in str(AvlocError(name))
    talk.table("t", ["name"], [["a\x1b[2Jb\n"]])
    out = capsys.readouterr().out
    assert not {c for c in out if c < " "} - {"\n"}
    assert len([line for line in out.splitlines() if line.startswith("note: ")]) == len(NAMES)


def test_bytes_of_a_name_that_are_no_characters_can_be_written_down(tmp_path: Path) -> None:
    assert readable("caf\udce9/x.mp4") == "caf\\xe9/x.mp4"
    atomic_write(tmp_path / "a.json", json.dumps({"name": "caf\udce9"}, ensure_ascii=False))
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"name": "caf\udce9"}
    write_failures(tmp_path / "failures.csv", [Failure("v", readable("caf\udce9"), "x")])
    assert "caf\\xe9" in (tmp_path / "failures.csv").read_text(encoding="utf-8")


def test_annotations_with_hostile_names_come_back(tmp_path: Path) -> None:
    from avloc.formats.annotations import write_annotations

    write_annotations(tmp_path / "t.json", [VideoAnnotation(name, 9.0, "training", ()) for name in LABELS])
    assert [a.video_id for a in read_annotations(tmp_path / "t.json")[0]] == LABELS

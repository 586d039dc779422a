"""The file of corrections, files in other formats, and what several files state about a video."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from avloc.errors import AvlocError, FormatError, InputError
from avloc.evaluate.detection import evaluate_files
from avloc.formats.annotations import read_annotations, write_annotations
from avloc.formats.corrections import VERSION, Point, VideoCorrections, read_corrections, write_corrections
from avloc.formats.detections import write_segments_json
from avloc.interchange.corrections import read_correction_files
from avloc.interchange.registry import write_as
from avloc.interchange.segments import VideoSegments
from avloc.types import Detection, Instance, VideoAnnotation

DOG, CAT = Instance(1.25, 3.0, "dog"), Instance(5.0, 6.5, "cat")
ONE = VideoCorrections("b", 10.0, (DOG,), (CAT,), (Point(7.5, "dog"),), False, "training")
OTHER = VideoCorrections("a", 4.0, checked=True)


def test_corrections_are_read_back_and_one_item_is_one_line(tmp_path: Path) -> None:
    write_corrections(tmp_path / "c.json", [ONE, OTHER])
    assert read_corrections(tmp_path / "c.json") == ((OTHER, ONE), ())
    before = (tmp_path / "c.json").read_text(encoding="utf-8")
    more = replace(ONE, deleted=(Instance(8.0, 9.0, "dog"), CAT))
    write_corrections(tmp_path / "c.json", [OTHER, more])
    after = (tmp_path / "c.json").read_text(encoding="utf-8")
    assert set(after.splitlines()) - set(before.splitlines()) == {
        ' {"label": "cat", "segment": [5.0, 6.5]},',
        ' {"label": "dog", "segment": [8.0, 9.0]}',
    }
    write_corrections(tmp_path / "d.json", [replace(more, deleted=more.deleted[::-1]), OTHER])
    assert (tmp_path / "d.json").read_text(encoding="utf-8") == after


def test_readers_of_ground_truth_read_corrections(tmp_path: Path) -> None:
    write_corrections(tmp_path / "c.json", [ONE, OTHER])
    found, _ = read_annotations(tmp_path / "c.json")
    assert {a.video_id: a.instances for a in found} == {"a": (), "b": (DOG,)}


@pytest.mark.parametrize("version", ["avloc corrections", "avloc 1", "VERSION 1.3"])
def test_other_ground_truth_is_checked(tmp_path: Path, version: str) -> None:
    write_annotations(tmp_path / "t.json", [VideoAnnotation("a", 9.0, "validation", (DOG,))], version)
    (one,), _ = read_corrections(tmp_path / "t.json")
    assert one.checked
    assert one.present == (DOG,)
    # avloc wrote "validation" where it knew no subset
    assert one.subset == ("" if version.startswith("avloc") else "validation")


def test_points_are_a_table(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("video,label,time\na,dog,2.5\na,cat,0\n", encoding="utf-8")
    given = read_correction_files([path])
    assert given.videos == {"a": VideoCorrections("a", None, points=(Point(2.5, "dog"), Point(0.0, "cat")))}


def test_other_formats_are_checked_videos(tmp_path: Path) -> None:
    write_as("elan", tmp_path / "a.eaf", [VideoSegments("a", (DOG, CAT), 10.0)])
    (one,) = read_correction_files([tmp_path / "a.eaf"]).videos.values()
    assert one.checked
    assert {i.label for i in one.present} == {"dog", "cat"}


def test_detections_are_no_corrections(tmp_path: Path) -> None:
    found = (Detection(1.0, 2.0, "dog", 0.9), Detection(2.0, 3.0, "dog", 0.05))
    write_as("csv", tmp_path / "segments.csv", [VideoSegments("a", found, 10.0)])
    with pytest.raises(InputError, match=r"got detections \(video 'a' has 1 with a score below 0.3\)"):
        read_correction_files([tmp_path / "segments.csv"])


WRONG = {
    "not JSON": ("c.json", "{", "cannot be parsed"),
    "no videos": ("c.json", '{"database": {}}', "got none"),
    "a later version": ("c.json", '{"version": "avloc corrections 3", "database": {}}', "update avloc"),
    "checked is text": ("c.json", '{"database": {"a": {"duration": 1, "checked": "no"}}}', "true or false"),
    "deleted is a number": ("c.json", '{"database": {"a": {"duration": 1, "deleted": 1}}}', "must be a list"),
    "a point without time": ("c.json", '{"database": {"a": {"duration": 1, "points": [{"label": "x"}]}}}', "seconds"),
    "a point at NaN": ("p.csv", "video,time,label\na,nan,dog\n", "line 2: expected a time"),
    "a point before 0": ("p.csv", "video,time,label\na,-1,dog\n", "line 2: expected a time"),
    "no label": ("p.csv", "video,time,label\na,1,\n", "a video and a label"),
    "further columns": ("p.csv", "video,time,label,score\na,1,x,1\n", "expected the header"),
    "missing cells": ("p.csv", "video,time,label\na,1\n", "expected 3 cells"),
    "only a header": ("p.csv", "video,time,label\n", "got none"),
    "an empty file": ("p.csv", "", "expected the header"),
    "no file": ("p.csv", None, "does not exist"),
    "an unknown suffix": ("p.docx", "", "read from"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_in_a_line(tmp_path: Path, name: str) -> None:
    file, text, said = WRONG[name]
    if text is not None:
        (tmp_path / file).write_text(text, encoding="utf-8")
    with pytest.raises(AvlocError, match=said) as error:
        read_correction_files([tmp_path / file])
    assert file in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("deleted", "points", "checked", "said"),
    [
        ((DOG,), (), False, "'dog' 1.25-3 s is both right and deleted"),
        ((CAT,), (Point(5.5, "cat"),), False, "'cat' occurs at 5.5 s and is deleted there"),
        ((), (Point(8.0, "dog"),), True, "checked without it there"),
    ],
)
def test_a_video_that_contradicts_itself_is_refused(
    tmp_path: Path, deleted: tuple[Instance, ...], points: tuple[Point, ...], checked: bool, said: str
) -> None:
    wrong = VideoCorrections("a", 10.0, (DOG,), deleted, points, checked)
    assert said in wrong.contradiction
    with pytest.raises(FormatError, match=said):
        write_corrections(tmp_path / "c.json", [wrong])
    entry = {
        "duration": 10,
        "checked": checked,
        "annotations": [{"label": "dog", "segment": [1.25, 3.0]}],
        "deleted": [{"label": i.label, "segment": [i.start_s, i.end_s]} for i in deleted],
        "points": [{"label": p.label, "time": p.time_s} for p in points],
    }
    (tmp_path / "c.json").write_text(json.dumps({"version": VERSION, "database": {"a": entry}}), encoding="utf-8")
    with pytest.raises(FormatError, match=said):
        read_corrections(tmp_path / "c.json")


def test_a_moved_boundary_is_no_contradiction() -> None:
    moved = VideoCorrections("a", 10.0, (Instance(1.0, 2.5, "dog"),), (DOG,), (Point(2.0, "dog"),))
    assert moved.contradiction == ""


def test_files_are_joined_by_video_or_contradict_each_other(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("1.json", "2.json")]

    def joined(first: VideoCorrections, second: VideoCorrections) -> VideoCorrections:
        for path, one in zip(paths, (first, second), strict=True):
            write_corrections(path, [one])
        return read_correction_files(paths).videos[first.video_id]

    part, more = VideoCorrections("a", 10.0, (DOG,)), VideoCorrections("a", 10.0, deleted=(CAT,))
    assert joined(part, more) == replace(part, deleted=(CAT,))
    whole = replace(part, checked=True)
    assert joined(whole, part) == joined(part, whole) == joined(whole, whole) == whole
    for wrong in (
        replace(whole, present=(Instance(1.0, 3.0, "dog"),)),
        replace(part, present=(CAT,)),
        replace(part, present=(), deleted=(DOG,)),
    ):
        with pytest.raises(InputError, match=r"1\.json and .*2\.json contradict each other on 'a'"):
            joined(whole, wrong)


def test_issues_are_noted_with_the_file(tmp_path: Path) -> None:
    write_annotations(tmp_path / "t.json", [VideoAnnotation("a", 9.0, "training", (DOG,))])
    text = (tmp_path / "t.json").read_text(encoding="utf-8").replace("1.25", "3.0")
    (tmp_path / "t.json").write_text(text, encoding="utf-8")
    (note,) = read_correction_files([tmp_path / "t.json"]).notes
    assert "t.json: 1 instance zero-length, dropped" in note


def test_a_folder_is_no_file_of_corrections(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a file of corrections, got a folder"):
        read_correction_files([tmp_path])


def test_a_score_against_corrections_is_called_that(tmp_path: Path) -> None:
    truth, found = tmp_path / "corrections.json", {"a": (Detection(1, 9, "x", 0.9),)}
    corrected = [VideoCorrections(name, 20.0, (Instance(1, 9, "x"),), checked=True) for name in ("a", "b")]
    write_corrections(truth, corrected)
    write_segments_json(tmp_path / "found.json", found)
    notes = evaluate_files(tmp_path / "found.json", truth).notes
    assert any("corrections.json holds corrections of 2 videos: scored on these alone" in note for note in notes)
    write_annotations(truth, [VideoAnnotation("a", 20.0, "", (Instance(1, 9, "x"),))])
    assert (
        "the ground truth names no subsets: all 1 video scored" in evaluate_files(tmp_path / "found.json", truth).notes
    )

"""The time of readers is linear in the size of a file, and what they make of it is not a product of its parts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avloc.errors import FormatError, InputError, did_you_mean
from avloc.evaluate.changes import video_changes
from avloc.interchange import segments
from avloc.interchange.convert import read_segments
from avloc.interchange.segments import name_files
from avloc.metrics import matching
from avloc.metrics.overlap import lanes
from avloc.metrics.table import SegmentTable
from avloc.types import Detection, Instance
from odd_files import measure

SEGMENTS = "from avloc.interchange.convert import read_segments as read"
ELAN = "from avloc.interchange.convert import convert; read = lambda p: convert(p, p.parent / 'out.eaf')"
CORRECTIONS = "from avloc.formats.corrections import read_corrections as read"
RAVEN = "Begin Time (s)\tEnd Time (s)\tFile Offset (s)\tBegin Path\tAnnotation\n"
TABLE = "video,start_s,end_s,label,score\n"


def item(k: float, label: str = "a") -> dict[str, Any]:
    return {"label": label, "segment": [k, k + 0.5]}


def database(count: int, **further: Any) -> dict[str, Any]:
    facts = {"duration": 1e6, "subset": "training", "annotations": [item(k) for k in range(count)]}
    return {"version": "avloc corrections 2", "database": {"v": {**facts, **further}}}


def observation(files: int, events: int) -> dict[str, Any]:
    return {
        "file": {str(k): [f"{k}.mp4"] for k in range(1, files + 1)},
        "events": [[k, "", "a", "", ""] for k in range(2 * events)],
    }


def boris(*observations: dict[str, Any]) -> str:
    states = {"0": {"type": "State event", "code": "a"}}
    return json.dumps({"behaviors_conf": states, "observations": {str(k): o for k, o in enumerate(observations)}})


def eaf(media: int, annotations: int, tiers: int = 1) -> str:
    """A document of nested tiers; the innermost has the annotations."""
    shown = "".join(f'<MEDIA_DESCRIPTOR MEDIA_URL="file:///{k}.mp4" MIME_TYPE="video/mp4"/>' for k in range(media))
    slots = "".join(f'<TIME_SLOT TIME_SLOT_ID="t{k}" TIME_VALUE="{k}"/>' for k in range(annotations + 1))
    found = "".join(
        f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a{k}" TIME_SLOT_REF1="t{k}" TIME_SLOT_REF2="t{k + 1}"/>'
        "</ANNOTATION>"
        for k in range(annotations)
    )
    opened = "".join(f'<TIER TIER_ID="T{k}">' for k in range(tiers))
    return (
        f"<ANNOTATION_DOCUMENT><HEADER>{shown}</HEADER><TIME_ORDER>{slots}</TIME_ORDER>{opened}{found}"
        f"{'</TIER>' * tiers}</ANNOTATION_DOCUMENT>"
    )


def branches(count: int) -> str:
    """Annotations that all begin where a chain of others does, without times."""
    pairs = [(k, 2 * count) for k in range(count)] + [(2 * count + k, 2 * count + k + 1) for k in range(count)]
    found = "".join(
        f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a{k}" TIME_SLOT_REF1="t{a}" TIME_SLOT_REF2="t{b}"/>'
        "</ANNOTATION>"
        for k, (a, b) in enumerate(pairs)
    )
    slots = "".join(f'<TIME_SLOT TIME_SLOT_ID="t{k}"/>' for k in range(3 * count + 1))
    return (
        f'<ANNOTATION_DOCUMENT><TIME_ORDER>{slots}</TIME_ORDER><TIER TIER_ID="P"/>'
        f'<TIER TIER_ID="T" PARENT_REF="P">{found}</TIER></ANNOTATION_DOCUMENT>'
    )


READ: dict[str, tuple[Callable[[], str], str]] = {
    "instances.json": (lambda: json.dumps(database(20_000)), SEGMENTS),
    "deleted.json": (lambda: json.dumps(database(6_000, deleted=[item(k + 0.6) for k in range(6_000)])), CORRECTIONS),
    "points.json": (
        lambda: json.dumps(database(9_000, points=[{"label": "a", "time": k + 0.25} for k in range(9_000)])),
        CORRECTIONS,
    ),
    "one_video.csv": (
        lambda: "video,labels\n" + "".join(f"v,a{k}\n" for k in range(90_000)),
        "from avloc.formats.labels import read_labels as read",
    ),
    "brackets.vtt": (lambda: "WEBVTT\n\n00:01.000 --> 00:02.000\n" + "<" * 150_000, SEGMENTS),
    "folders.txt": (lambda: RAVEN + "".join(f"0\t1\t0\t/{k}/c.wav\tx\n" for k in range(3_000)), SEGMENTS),
    "files.txt": (lambda: RAVEN + "".join(f"0\t1\t0\t/a/{k}.wav\tx\n" for k in range(4_000)), SEGMENTS),
    "observations.boris": (
        lambda: boris(*({"file": {"1": [f"{k}.mp4"]}, "events": []} for k in range(4_000))),
        SEGMENTS,
    ),
    "overlaps.csv": (lambda: TABLE + "".join(f"v,{k / 1000},{k + 1000},a,0.9\n" for k in range(6_000)), ELAN),
    "labels.csv": (lambda: TABLE + "".join(f"v,{k},{k + 1},a{k},0.9\n" for k in range(15_000)), ELAN),
}
REFUSED: dict[str, tuple[Callable[[], str], str]] = {
    "spaces.txt": (lambda: f"1\t0.5\ta{' ' * 60_000}b\n", SEGMENTS),
    "players.boris": (lambda: boris(observation(1_000, 1_000)), SEGMENTS),
    "media.eaf": (lambda: eaf(1_000, 1_000), SEGMENTS),
    "nested.eaf": (lambda: eaf(1, 1_000, 1_000), SEGMENTS),
    "branches.eaf": (lambda: branches(4_000), SEGMENTS),
}


@pytest.mark.slow
def test_the_time_of_a_reader_is_linear(tmp_path: Path) -> None:
    """Each took 6 s and more as long as the time was quadratic."""
    for name, (make, _) in (READ | REFUSED).items():
        (tmp_path / name).write_text(make())
    found = measure({tmp_path / name: load for name, (_, load) in (READ | REFUSED).items()})
    for path, read in found.items():
        assert read.word == ("read" if path.name in READ else "refused"), read
        assert read.seconds < 4, (path.name, read)
        assert read.megabytes < 100, (path.name, read)


@pytest.mark.parametrize("name", ["spaces.txt", "players.boris", "media.eaf", "nested.eaf"])
def test_what_multiplies_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(REFUSED[name][0]())
    with pytest.raises(FormatError) as caught:
        read_segments(tmp_path / name)
    assert name in str(caught.value)
    assert len(str(caught.value)) < 2_100


def test_the_copies_of_all_observations_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "MOST_COPIES", 150)
    path = tmp_path / "many.boris"
    path.write_text(boris(*[observation(6, 10)] * 4))
    with pytest.raises(FormatError, match="200 copies"):
        read_segments(path)
    path.write_text(boris(*[observation(6, 10)] * 3))
    assert [len(video.segments) for video in read_segments(path)] == [30] * 6


def test_names_of_characters_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.vtt").write_text(f"WEBVTT\n\n00:01.000 --> 00:02.000\n&#{'1' * 5_000};\n")
    with pytest.raises(FormatError, match="number of a character"):
        read_segments(tmp_path / "a.vtt")


def test_times_that_no_float_holds(tmp_path: Path) -> None:
    row = f'"1","[""d.mp4""]","[1{"0" * 400},2]","{{""TEMPORAL-SEGMENTS"":""b""}}"'
    (tmp_path / "a.csv").write_text(f"# CSV_HEADER = metadata_id,file_list,temporal_coordinates,metadata\n{row}\n")
    with pytest.raises(FormatError, match="row 1"):
        read_segments(tmp_path / "a.csv")


def test_long_names_are_not_compared() -> None:
    """A comparison takes time that is quadratic in the length, where no letter is frequent."""
    letters = "".join(chr(0x4E00 + k * k % 1009) for k in range(50_000))
    assert did_you_mean(letters, [letters[1:]]).startswith(" Known:")
    assert "'dog'" in did_you_mean("dgo", ["dog"])


def naive_names(files: list[str]) -> dict[str, str]:
    """`name_files` by comparing each file with each."""
    parts = {file: tuple(p for p in file.split("/") if p) for file in files}
    whole = {f: max((o for o in parts.values() if o[-len(p) :] == p), key=len) for f, p in parts.items()}
    names = {}
    for file, path in whole.items():
        alike = {other for other in whole.values() if other[-1].partition(".")[0] == path[-1].partition(".")[0]}
        stem = path[-1].partition(".")[0]
        if len(alike) == 1:
            names[file] = stem
            continue
        bare = len({(*p[:-1], p[-1].partition(".")[0]) for p in alike}) == len(alike)
        shared = 0
        while len({p[:-1][shared : shared + 1] for p in alike}) == 1 and shared < len(path) - 1:
            shared += 1
        names[file] = "/".join([*path[shared:-1], stem if bare else path[-1]])
    return names


def test_names_of_files_are_those_of_comparing_each_with_each() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        files = [
            "/".join(
                [*random.choice(["a", "b", "c"], random.integers(0, 4)), str(random.choice(["x.mp4", "x.wav", "y"]))]
            )
            for _ in range(random.integers(1, 8))
        ]
        assert name_files(files) == naive_names(files), files


def test_lanes_are_those_of_taking_the_first_free_row() -> None:
    random = np.random.default_rng(0)
    for _ in range(100):
        starts = random.integers(0, 20, 12)
        items = [Instance(float(s), float(s + n), "a") for s, n in zip(starts, random.integers(1, 9, 12), strict=True)]
        rows: list[list[Instance]] = []
        for one in sorted(items, key=lambda i: (i.start_s, i.end_s)):
            row = next((row for row in rows if row[-1].end_s <= one.start_s), None)
            rows.append([one]) if row is None else row.append(one)
        assert lanes(items) == rows


def overlapping(count: int, scored: bool) -> SegmentTable:
    start = np.arange(count) * 1e-3
    columns = {"video": ["v"] * count, "label": ["a"] * count, "start_s": start, "end_s": start + 1e5}
    return SegmentTable.from_columns(**columns, **({"score": np.linspace(0.1, 1, count)} if scored else {}))


def test_pairs_of_detections_and_instances_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = matching.match_detections(overlapping(40, True), overlapping(30, False), [0.5, 0.9])
    monkeypatch.setattr(matching, "_BLOCK", 100)
    parts = matching.match_detections(overlapping(40, True), overlapping(30, False), [0.5, 0.9])
    for a, b in zip(whole.takers, parts.takers, strict=True):
        np.testing.assert_array_equal(a, b)
    monkeypatch.setattr(matching, "_MOST_PAIRS", 1_100)
    with pytest.raises(InputError, match=r"at most 1100 pairs .* t-IoU of at least 0\.5"):
        matching.match_detections(overlapping(40, True), overlapping(30, False), [0.5, 0.9])
    monkeypatch.setattr(matching, "_MOST_COMPARED", 1_100)
    with pytest.raises(InputError, match=r"at most 1100 pairs .* of one class and video, got 1200"):
        matching.match_detections(overlapping(40, True), overlapping(30, False), [0.5, 0.9])


def test_changes_of_many_overlapping_detections() -> None:
    """Took minutes while each pair was compared with all pairs before it."""
    before = [Detection(k / 1000, k + 100.0, "a", 0.5) for k in range(600)]
    changes = video_changes(before, before)
    assert (changes.same, changes.moved, changes.added, changes.lost) == (600, (), (), ())

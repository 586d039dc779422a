"""Exports, read back by third-party libraries or checked against the format's description; times to the ms."""

from __future__ import annotations

import csv
import json
import math
import sys
import xml.etree.ElementTree as ET
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from avloc.config import LIKELY, likely_from
from avloc.errors import ConfigError, FormatError, InputError
from avloc.formats.annotations import read_annotations
from avloc.formats.detections import read_detections
from avloc.formats.results import Localized
from avloc.interchange.audacity import read_audacity, write_audacity
from avloc.interchange.boris import read_boris, write_boris
from avloc.interchange.convert import as_annotations, convert, read_segments
from avloc.interchange.elan import read_eaf, write_eaf
from avloc.interchange.labelstudio import write_labelstudio, write_labelstudio_config
from avloc.interchange.otio import smpte_rate, write_otio
from avloc.interchange.parquet import write_parquet
from avloc.interchange.raven import write_raven
from avloc.interchange.registry import FORMATS, clear_formats, parse_formats, with_media, write_formats
from avloc.interchange.segments import VideoSegments, frame_at, frame_span
from avloc.interchange.subtitles import read_vtt, write_srt, write_vtt
from avloc.interchange.via import read_via, write_via
from avloc.media.frames import frame_times
from avloc.media.probe import probe
from avloc.metrics.overlap import lanes
from avloc.pipeline.folder import counted
from avloc.types import Detection, Instance, exact

NASTY = '<script>alert("x")</script> & --> ünïcode 🐕 עברית'
FOUND = (
    Detection(0.5, 1.2345, "bark", 1.25),
    Detection(1.0, 2.001, "bark", 0.5),  # overlaps the first
    Detection(2.0, 2.9996, NASTY, 0.125),
)
TRUTH = tuple(Instance(d.start_s, d.end_s, d.label) for d in FOUND)


def rounded(segments):
    return sorted((round(s.start_s, 3), round(s.end_s, 3), s.label) for s in segments)


EXPECTED = rounded(FOUND)


@pytest.fixture(scope="module")
def uneven(tmp_path_factory) -> Path:
    """A video of variable frame rate: frames at 0, 40, 80, 200, 240, 280, 600, 640 ... ms."""
    path = tmp_path_factory.mktemp("uneven") / "un even.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for k, ms in enumerate(UNEVEN_MS):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 5 * k % 255, np.uint8), format="rgb24")
            frame.pts, frame.time_base = ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


UNEVEN_MS = [40 * k + (80 if k >= 3 else 0) + (280 if k >= 6 else 0) for k in range(60)]


@pytest.fixture
def video(uneven) -> VideoSegments:
    return with_media(VideoSegments("un even", FOUND), uneven, frames=True)


def test_frame_times_are_those_of_presentation(uneven):
    times_s = frame_times(probe(uneven))
    assert np.allclose(times_s, np.array(UNEVEN_MS) / 1000, atol=1e-6)


def test_frames_of_a_segment_at_variable_rate():
    times_s = np.array(UNEVEN_MS) / 1000
    assert frame_span(times_s, 0.08, 0.24) == (2, 3)  # those at 80 and 200 ms; at 25 fps it would be 2-5
    assert frame_span(times_s, 0.1, 0.15) == (2, 2)  # no frame begins in it: the one shown
    assert frame_at(times_s, 0.2) == 3
    assert frame_at(times_s, 0.1999) == 3  # within half a millisecond
    assert frame_at(times_s, 0.19) == 2
    assert frame_span(times_s, 99, 100) == (59, 59)


def test_a_frame_between_two_milliseconds_is_found_by_its_rounded_time():
    """Frame 1 at 16 fps is at 62.5 ms, and written as 62 ms."""
    assert frame_at(np.arange(8) / 16, 0.062) == 1


def test_lanes_never_overlap():
    rows = lanes([Detection(a, a + 2, "x", 1) for a in (0.0, 1.0, 2.0, 3.0, 1.5)])
    assert [len(row) for row in rows] == [2, 2, 1]
    assert all(a.end_s <= b.start_s for row in rows for a, b in pairwise(row))


def test_vtt_by_webvtt_py(video, tmp_path):
    import webvtt

    path = tmp_path / "a.vtt"
    write_vtt(path, video)
    captions = list(webvtt.read(str(path)))
    assert [(c.start, c.end) for c in captions] == [
        ("00:00:00.500", "00:00:01.234"),
        ("00:00:01.000", "00:00:02.001"),
        ("00:00:02.000", "00:00:03.000"),
    ]
    assert captions[0].text == "bark (1.2500)"
    (back,) = read_vtt(path)
    assert rounded(back.segments) == [(a, b, c) for a, b, c in EXPECTED]
    assert [s.score for s in back.segments] == [1.25, 0.5, 0.125]


def test_srt_by_pysubs2(video, tmp_path):
    import pysubs2

    write_srt(tmp_path / "a.srt", video)
    lines = pysubs2.load(str(tmp_path / "a.srt"))
    assert [(line.start, line.end) for line in lines] == [(500, 1234), (1000, 2001), (2000, 3000)]
    assert lines[1].text == "bark (0.5000)"


def test_subtitles_after_an_hour(tmp_path):
    video = VideoSegments("v", (Instance(3599.5, 3661.25, "a"),))
    write_srt(tmp_path / "a.srt", video)
    assert "00:59:59,500 --> 01:01:01,250" in (tmp_path / "a.srt").read_text()
    write_vtt(tmp_path / "a.vtt", video)
    assert read_vtt(tmp_path / "a.vtt")[0].segments == video.segments


def test_vtt_by_pysubs2(video, tmp_path):
    import pysubs2

    write_vtt(tmp_path / "a.vtt", video)
    assert [line.start for line in pysubs2.load(str(tmp_path / "a.vtt"))] == [500, 1000, 2000]


def test_vtt_of_others(tmp_path):
    path = tmp_path / "dog.vtt"
    text = "\ufeffWEBVTT\r\n\r\nNOTE --> no\r\n\r\nSTYLE\r\n::cue{}\r\n\r\n01:02.500 --> 01:03.000 align:start\r\n"
    path.write_bytes((text + "<v Bob><i>sit</i> &amp;\r\nstay\r\n").encode())
    (back,) = read_vtt(path)
    assert back == VideoSegments("dog", (Instance(62.5, 63.0, "sit & stay"),))
    path.write_text("1\n00:00:01,000 --> 00:00:02,000\nx\n")
    with pytest.raises(FormatError, match="first line is WEBVTT"):
        read_vtt(path)
    path.write_text("WEBVTT\n\n00:01 --> 00:02\nx\n")
    with pytest.raises(FormatError, match="HH:MM:SS"):
        read_vtt(path)


def test_audacity(video, tmp_path):
    path = tmp_path / "a.txt"
    write_audacity(path, video)
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    assert rows[0] == ["0.500000", "1.234000", "bark (1.2500)"]
    (back,) = read_audacity(path)
    assert rounded(back.segments) == EXPECTED
    notes: list[str] = []
    path.write_text("1.0\t1.0\tpoint\n2\t3\n\\\t100\t200\n")
    assert read_audacity(path, notes)[0].segments == ()
    assert "skipped 1 point label of" in notes[0]
    assert "left out 1 segment without a label" in notes[1]
    path.write_text("one two\n")
    with pytest.raises(FormatError, match="line 1: expected start<TAB>end"):
        read_audacity(path)


def test_eaf_by_pympi(video, tmp_path):
    from pympi.Elan import Eaf

    path = tmp_path / "a.eaf"
    write_eaf(path, video)
    eaf = Eaf(str(path))
    assert set(eaf.get_tier_names()) == {"bark", "bark (2)", NASTY}
    assert eaf.get_annotation_data_for_tier("bark") == [(500, 1234, "1.2500")]
    assert eaf.get_annotation_data_for_tier("bark (2)") == [(1000, 2001, "0.5000")]
    assert eaf.get_annotation_data_for_tier(NASTY) == [(2000, 3000, "0.1250")]
    assert eaf.get_linked_files()[0]["MEDIA_URL"].startswith("file:///")
    (back,) = read_eaf(path)
    assert back.video_id == "un even"
    assert rounded(back.segments) == EXPECTED


def test_eaf_made_by_pympi_with_a_tier_a_coder(tmp_path):
    from pympi.Elan import Eaf

    eaf = Eaf(author="someone")
    eaf.add_tier("coder A")
    eaf.add_annotation("coder A", 100, 900, "groom")
    eaf.add_annotation("coder A", 1000, 1500, "rest")
    eaf.add_linked_file("file:///C:/videos/mouse%203.avi", mimetype="video/x-msvideo")
    eaf.to_file(str(tmp_path / "m.eaf"))
    (back,) = read_eaf(tmp_path / "m.eaf")
    assert back.video_id == "mouse 3"
    assert back.segments == (Instance(0.1, 0.9, "groom"), Instance(1.0, 1.5, "rest"))


def test_eaf_tiers_with_a_number_are_further_rows_only_of_a_tier_without(tmp_path):
    from pympi.Elan import Eaf

    eaf = Eaf(author="someone")
    for k, tier in enumerate(("bark", "bark (2)", "take (2)")):
        eaf.add_tier(tier)
        eaf.add_annotation(tier, 1000 * k, 1000 * k + 500, "")
    eaf.to_file(str(tmp_path / "m.eaf"))
    (back,) = read_eaf(tmp_path / "m.eaf")
    assert sorted(s.label for s in back.segments) == ["bark", "bark", "take (2)"]


def test_eaf_refuses_what_it_is_not(tmp_path):
    path = tmp_path / "a.eaf"
    path.write_text('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>')
    with pytest.raises(FormatError, match="XML entities"):
        read_eaf(path)
    path.write_text("<a>")
    with pytest.raises(FormatError, match="expected XML"):
        read_eaf(path)
    path.write_text("<a/>")
    with pytest.raises(FormatError, match="ANNOTATION_DOCUMENT"):
        read_eaf(path)
    with pytest.raises(InputError, match="no such file"):
        read_eaf(tmp_path / "no.eaf")


def test_boris_project(video, tmp_path):
    """Structure as in BORIS's own test projects: its repository, tests/files/*.boris, version 7.0."""
    path = tmp_path / "p.boris"
    write_boris(path, [video])
    project = json.loads(path.read_text())
    keys = {"project_name", "project_date", "project_format_version", "subjects_conf", "behaviors_conf", "observations"}
    assert keys | {"behavioral_categories", "independent_variables", "coding_map", "converters"} <= set(project)
    assert {b["code"]: b["type"] for b in project["behaviors_conf"].values()} == {
        "bark": "State event",
        NASTY: "State event",
    }
    seen = project["observations"]["un even"]
    assert seen["type"] == "MEDIA"
    (name,) = seen["file"]["1"]
    assert seen["media_info"]["length"][name] == pytest.approx(video.media.duration_s)
    events = seen["events"]
    assert [e[0] for e in events] == sorted(e[0] for e in events)
    assert events[0] == [0.5, "", "bark", "", "score 1.2500", frame_at(video.frame_times_s, 0.5)]
    subjects = {s["name"] for s in project["subjects_conf"].values()}
    assert {e[1] for e in events} <= subjects | {""}
    counts = {(e[1], e[2]): 0 for e in events}
    for e in events:
        counts[e[1], e[2]] += 1
    assert all(n % 2 == 0 for n in counts.values())
    (back,) = read_boris(path)
    assert rounded(back.segments) == EXPECTED
    assert sorted(s.score for s in back.segments) == [0.125, 0.5, 1.25]
    assert back.duration_s == pytest.approx(video.media.duration_s)


def test_boris_touching_segments_stay_two(tmp_path):
    pair = VideoSegments("v", (Detection(1, 2, "a", 0.5), Detection(2, 3, "a", 0.6)))
    write_boris(tmp_path / "p.boris", [pair])
    assert read_boris(tmp_path / "p.boris")[0].segments == pair.segments
    (seen,) = json.loads((tmp_path / "p.boris").read_text())["observations"].values()
    assert [e[4] for e in seen["events"]] == ["score 0.5000", "", "score 0.6000", ""]  # the STOP before the START


def test_boris_has_a_subject_for_each_further_row_and_no_more(tmp_path):
    for segments, expected in ((FOUND[:1], []), (FOUND, ["overlap 2"])):
        write_boris(tmp_path / "p.boris", [VideoSegments("v", segments)])
        subjects = json.loads((tmp_path / "p.boris").read_text())["subjects_conf"]
        assert [s["name"] for s in subjects.values()] == expected


def test_boris_points_and_open_states_are_noted(tmp_path):
    project = {
        "behaviors_conf": {"0": {"type": "State event", "code": "s"}, "1": {"type": "Point event", "code": "p"}},
        "observations": {
            "o1": {
                "file": {"1": ["C:\\data\\rat 1.mp4"], "2": []},
                "media_info": {"length": {"C:\\data\\rat 1.mp4": 60.0}},
                "events": [
                    [1.0, "x", "s", "", ""],
                    [2.0, "", "p", "", ""],
                    [3.5, "x", "s", "", ""],
                    [9, "x", "s", "", ""],
                ],
            }
        },
    }
    (tmp_path / "p.boris").write_text(json.dumps(project))
    notes: list[str] = []
    (back,) = read_boris(tmp_path / "p.boris", notes)
    assert back == VideoSegments("rat 1", (Instance(1.0, 3.5, "s"),), 60.0)
    assert ["skipped 1 point event" in notes[0], "skipped 1 state without a STOP" in notes[1]] == [True, True]
    (tmp_path / "p.boris").write_text("{}")
    with pytest.raises(FormatError, match="observations"):
        read_boris(tmp_path / "p.boris")


def test_labelstudio(video, tmp_path):
    write_labelstudio(tmp_path / "t.json", [video], url_prefix="/data/local-files/?d=")
    (task,) = json.loads((tmp_path / "t.json").read_text())
    assert task["data"]["video"] == "/data/local-files/?d=un even.mp4"
    rate = task["data"]["fps"]
    assert rate == float(video.media.frame_rate)
    results = task["predictions"][0]["result"]
    assert task["predictions"][0]["score"] == max(d.score for d in FOUND)
    assert [r["score"] for r in results] == [d.score for d in FOUND]
    assert [r["value"]["timelinelabels"] for r in results] == [["bark"], ["bark"], [NASTY]]
    for r, d in zip(results, FOUND, strict=True):
        assert r["type"] == "timelinelabels"
        (span,) = r["value"]["ranges"]
        # ticks of the first and last frame presented within the segment, from 1
        inside = [ms / 1000 for ms in UNEVEN_MS if d.start_s - 0.0005 <= ms / 1000 < d.end_s - 0.0005]
        assert span == {"start": round(inside[0] * rate) + 1, "end": round(inside[-1] * rate) + 1}
    write_labelstudio_config(tmp_path / "c.xml", video.labels)
    view = ET.parse(tmp_path / "c.xml").getroot()
    names = {"control": view.find("TimelineLabels").get("name"), "object": view.find("Video").get("name")}
    assert {(r["from_name"], r["to_name"]) for r in results} == {(names["control"], names["object"])}
    assert view.find("TimelineLabels").get("toName") == names["object"]
    assert view.find("Video").get("frameRate") == "$fps"
    assert [label.get("value") for label in view.iter("Label")] == ["bark", NASTY]


def test_labelstudio_at_constant_rate_is_the_frame(tmp_path):
    from avloc.mediafile import Media

    media = Media(Path("v.mp4"), "v", 10.0, Fraction(25), True)
    write_labelstudio(tmp_path / "t.json", [VideoSegments("v", (Instance(1.0, 2.0, "a"),), media=media)])
    (task,) = json.loads((tmp_path / "t.json").read_text())
    assert task["annotations"][0]["result"][0]["value"]["ranges"] == [{"start": 26, "end": 50}]
    with pytest.raises(InputError, match="give --videos"):
        write_labelstudio(tmp_path / "t.json", [VideoSegments("v", FOUND)])


def test_via_project(video, tmp_path):
    path = tmp_path / "v.via.json"
    write_via(path, [video, VideoSegments("empty.1", ())])
    project = json.loads(path.read_text())
    assert {"project", "config", "attribute", "file", "metadata", "view"} == project.keys()
    assert project["project"]["vid_list"] == ["1", "2"]
    assert project["view"]["2"] == {"fid_list": ["2"]}
    assert project["file"]["1"]["src"] == video.media.path.as_uri()  # VIA plays it from there
    assert project["file"]["2"] == {"fid": "2", "fname": "empty.1", "type": 4, "loc": 1, "src": ""}  # VIA asks for it
    assert project["attribute"]["1"]["options"] == {"bark": "bark", NASTY: NASTY}
    assert [row["z"] for row in project["metadata"].values()] == [[0.5, 1.234], [1.0, 2.001], [2.0, 3.0]]
    back, empty = read_segments(path)
    assert rounded(back.segments) == EXPECTED
    assert [s.score for s in back.segments] == [1.25, 0.5, 0.125]
    assert (back.video_id, empty.segments) == ("un even", ())


def test_via_projects_of_others(tmp_path):
    """Radio options by number, times of single frames, regions, and two files of one name."""
    path = tmp_path / "p.json"
    option = {"aname": "behaviour", "anchor_id": "FILE1_Z2_XY0", "type": 3, "options": {"0": "sit", "1": "run"}}
    file = {"type": 4, "loc": 3, "fname": "cam.mp4"}
    project = {
        "project": {"vid_list": ["1", "2"]},
        "attribute": {"1": option},
        "file": {
            "1": {**file, "fid": 1, "src": "file:///a/cam%201.mp4"},
            "2": {**file, "fid": 2, "src": "/b/cam 1.mp4"},
        },
        "view": {"1": {"fid_list": [1]}, "2": {"fid_list": ["2"]}},
        "metadata": {
            "1_a": {"vid": "1", "z": [1, 2.5], "xy": [], "av": {"1": "1"}},
            "1_b": {"vid": "1", "z": [3.0], "xy": [2, 1, 1, 5, 5], "av": {"1": "0"}},
            "2_a": {"vid": "2", "z": [4, 5], "xy": [], "av": {"1": "0"}},
        },
    }
    path.write_text(json.dumps(project))
    notes: list[str] = []
    found = {v.video_id: [(s.start_s, s.end_s, s.label) for s in v.segments] for v in read_segments(path, notes)}
    assert found == {"a/cam 1": [(1.0, 2.5, "run")], "b/cam 1": [(4.0, 5.0, "sit")]}
    assert "skipped 1 row without a start" in notes[0]
    project["metadata"]["2_a"]["vid"] = "7"
    path.write_text(json.dumps(project))
    with pytest.raises(FormatError, match="not in the format of VIA 3"):
        read_segments(path)


def test_via_general_csv_with_options(tmp_path):
    path = tmp_path / "v.csv"
    path.write_text(
        '# ATTRIBUTE = {"1":{"aname":"behaviour","options":{"0":"sit","1":"run"}}}\n'
        "# CSV_HEADER = metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata\n"
        '"1_a","[""cat.mp4""]",0,"[1.124,5.31493]","[]","{""1"":""1""}"\n'
        '"1_b","[""cat.mp4""]",0,"[2.4]","[2,1,1,5,5]","{""1"":""0""}"\n'
    )
    notes: list[str] = []
    assert read_via(path, notes) == (VideoSegments("cat", (Instance(1.124, 5.31493, "run"),)),)
    assert "skipped 1 row without a start" in notes[0]
    path.write_text("a,b\n1,2\n")
    with pytest.raises(FormatError, match="CSV_HEADER"):
        read_via(path)


def test_raven_by_pandas(video, tmp_path):
    import pandas

    write_raven(tmp_path / "r.txt", video)
    table = pandas.read_csv(tmp_path / "r.txt", sep="\t", quoting=csv.QUOTE_NONE)
    assert list(table["Selection"]) == [1, 2, 3]
    assert list(table["Begin Time (s)"]) == [0.5, 1.0, 2.0]
    assert list(table["End Time (s)"]) == [1.234, 2.001, 3.0]
    assert set(table["Begin File"]) == {"un even.mp4"}
    assert list(table["Score"]) == [1.25, 0.5, 0.125]
    assert set(table["High Freq (Hz)"]) == {8000.0}  # no audio stream


def test_raven_selections_reach_the_nyquist_frequency(tmp_path):
    from avloc.mediafile import Media

    media = Media(Path("v.mp4"), "v", 10.0, Fraction(25), True, audio_rate_hz=44100)
    write_raven(tmp_path / "r.txt", VideoSegments("v", FOUND[:1], media=media))
    names, cells = (line.split("\t") for line in (tmp_path / "r.txt").read_text().splitlines())
    row = dict(zip(names, cells, strict=True))
    assert (row["Low Freq (Hz)"], row["High Freq (Hz)"]) == ("0.0", "22050.0")


def test_otio_by_opentimelineio(video, tmp_path):
    import opentimelineio

    write_otio(tmp_path / "t.otio", video)
    timeline = opentimelineio.adapters.read_from_file(str(tmp_path / "t.otio"))
    assert [track.name for track in timeline.tracks] == ["video", "bark", "bark", NASTY]
    whole = timeline.tracks[0][0]
    assert whole.duration().to_seconds() == pytest.approx(video.media.duration_s, abs=0.02)
    assert [m.name for m in whole.markers] == ["bark", "bark", NASTY]
    assert whole.markers[0].metadata["avloc"]["start_s"] == 0.5
    rate = smpte_rate(video.media.frame_rate)
    for track, d in zip(timeline.tracks[1:], FOUND, strict=True):
        clip = next(iter(track.find_clips()))
        at = track.range_of_child(clip)
        begins = min(ms / 1000 for ms in UNEVEN_MS if ms / 1000 >= d.start_s - 0.0005)
        assert at.start_time.value == round(begins * rate)
        later = (ms / 1000 for ms in UNEVEN_MS if ms / 1000 >= d.end_s - 0.0005)
        ends = min(later, default=video.media.duration_s)  # the first frame after it
        assert at.end_time_exclusive().value == round(ends * rate)
        assert clip.source_range.start_time == at.start_time
        assert clip.media_reference.target_url.startswith("file:///")


@pytest.mark.parametrize(
    ("rate", "nearest"),
    [
        *((5, 24), (12, 24), (20, 24), (23.98, 24000 / 1001), (24, 24), (25, 25), (29.97, 30000 / 1001), (30, 30)),
        *((48, 48), (60000 / 1001, 60000 / 1001), (60, 60), (100, 60), (240, 60)),
    ],
)
def test_otio_counts_at_a_rate_of_smpte_timecode(rate, nearest, tmp_path):
    import opentimelineio
    from opentimelineio.opentime import RationalTime

    from avloc.mediafile import Media

    media = Media(tmp_path / "v.mp4", "v", 10.0, exact(rate), True)
    write_otio(tmp_path / "t.otio", VideoSegments("v", (Instance(1.0, 2.0, "a"),), media=media))
    timeline = opentimelineio.adapters.read_from_file(str(tmp_path / "t.otio"))
    clip = timeline.tracks[1][1]
    ours = clip.source_range.start_time
    assert RationalTime.is_smpte_timecode_rate(ours.rate)
    assert ours.rate == pytest.approx(nearest)
    begins = math.ceil(rate - 1e-9) / rate  # of the first frame in the segment
    assert ours.to_seconds() == pytest.approx(begins, abs=0.5 / ours.rate + 1e-9)
    (sound,) = timeline.audio_tracks()
    assert sound[0].duration().to_seconds() == pytest.approx(10.0, abs=0.5 / ours.rate)
    assert sound[0].media_reference.target_url == media.path.as_uri()


def test_parquet_by_pyarrow(video, tmp_path):
    import pyarrow.parquet

    write_parquet(tmp_path / "s.parquet", [video, VideoSegments("t", TRUTH[:1])])
    table = pyarrow.parquet.read_table(tmp_path / "s.parquet")
    assert table.schema.names == ["video", "start_s", "end_s", "label", "score"]
    assert table["video"].to_pylist() == ["un even"] * 3 + ["t"]
    assert table["start_s"].to_pylist() == [0.5, 1.0, 2.0, 0.5]
    assert table["label"].to_pylist() == ["bark", "bark", NASTY, "bark"]
    assert table["end_s"].to_pylist() == [1.2345, 2.001, 2.9996, 1.2345]
    assert table["score"].to_pylist() == [1.25, 0.5, 0.125, None]


def test_all_formats_in_one_folder(video, tmp_path):
    written = write_formats(tmp_path, parse_formats("all"), [video])
    assert len(written) == len(FORMATS)
    assert all(path.stat().st_size for path in written)
    assert (tmp_path / "segments.labelstudio.xml").exists()
    assert rounded(read_detections(tmp_path / "segments.json")["un even"])[0] == EXPECTED[0]
    clear_formats(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_without_pyarrow_all_formats_but_one_are_written(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    notes: list[str] = []
    assert parse_formats("all", notes) == tuple(name for name in FORMATS if name != "parquet")
    assert notes == ["-f all left out parquet, which needs pyarrow: pip install 'avloc[export]'"]
    with pytest.raises(ConfigError, match=r"-f parquet needs pyarrow: pip install 'avloc\[export\]', or choose"):
        parse_formats("csv,parquet")


def test_labels_that_a_format_reads_as_its_own_marks(tmp_path):
    """BORIS refuses | in a code; players leave out <x> and {\\x} in SRT."""
    import pysubs2

    labels = ("a|b", "a¦b", "|", "<i>x</i> < 3", "{\\an8}top", "plain")
    video = VideoSegments("v", tuple(Instance(k, k + 1, label) for k, label in enumerate(labels)))
    write_boris(tmp_path / "p.boris", [video])
    project = json.loads((tmp_path / "p.boris").read_text())
    codes = [behaviour["code"] for behaviour in project["behaviors_conf"].values()]
    assert codes == ["a¦b'", "a¦b", "¦", *labels[3:]]
    assert {event[2] for event in project["observations"]["v"]["events"]} == set(codes)
    assert read_segments(tmp_path / "p.boris")[0].labels == labels
    write_srt(tmp_path / "v.srt", video)
    shown = [line.plaintext for line in pysubs2.load(str(tmp_path / "v.srt"))]
    assert shown == ["a|b", "a¦b", "|", "‹i›x‹/i› ‹ 3", "(\\an8}top", "plain"]


def test_elan_finds_the_video_when_both_folders_are_moved(uneven, tmp_path):
    (tmp_path / "old" / "videos").mkdir(parents=True)
    (tmp_path / "old" / "videos" / uneven.name).write_bytes(uneven.read_bytes())
    video = with_media(VideoSegments("un even", FOUND), tmp_path / "old" / "videos" / uneven.name)
    document = write_formats(tmp_path / "old" / "found", ["elan"], [video])[0].relative_to(tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    media = ET.parse(tmp_path / "new" / document).getroot().find(".//MEDIA_DESCRIPTOR")
    assert media.get("RELATIVE_MEDIA_URL") == "../../videos/un even.mp4"
    assert (tmp_path / "new" / document.parent / media.get("RELATIVE_MEDIA_URL")).is_file()


def test_instances_written_as_detections_have_score_1(tmp_path):
    for path in write_formats(tmp_path, ["csv", "json"], [VideoSegments("v", TRUTH)]):
        assert [d.score for d in read_detections(path)["v"]] == [1.0] * 3


def test_names_of_formats():
    assert parse_formats(" vtt,EAF, vtt ") == ("vtt", "elan")
    with pytest.raises(ConfigError, match="Did you mean 'elan'"):
        parse_formats("elna")
    with pytest.raises(ConfigError, match="expected formats"):
        parse_formats(" , ")


@pytest.mark.parametrize("name", ["csv", "json", "vtt", "audacity", "elan", "boris", "via", "raven"])
def test_what_is_also_read_comes_back_as_ground_truth(name, video, tmp_path):
    path = tmp_path / f"un even{FORMATS[name].suffix}"
    written = write_formats(tmp_path, [name], [video])[0]
    written.rename(path)
    assert rounded(read_segments(path)[0].segments) == EXPECTED
    summary = convert(path, tmp_path / "truth.json", "truth")
    assert summary["segments"] == 3
    (truth,), _ = read_annotations(tmp_path / "truth.json")
    assert rounded(truth.instances) == EXPECTED
    assert truth.video_id == "un even"


def test_convert_goes_by_the_name_of_the_target(video, uneven, tmp_path):
    truth = tmp_path / "truth.json"
    convert(write_formats(tmp_path, ["elan"], [video])[0], truth, "truth")
    assert as_annotations(read_segments(truth))[0].instances == read_annotations(truth)[0][0].instances
    out = convert(truth, tmp_path / "p.boris", media={"un even": uneven})
    assert out["files"] == [str(tmp_path / "p.boris")]
    assert rounded(read_boris(tmp_path / "p.boris")[0].segments) == EXPECTED
    assert convert(truth, tmp_path / "folder", "elan")["files"] == [str(tmp_path / "folder" / "un even.eaf")]
    with pytest.raises(ConfigError, match="give --to"):
        convert(truth, tmp_path / "x.what")
    with pytest.raises(InputError, match=r"segments are read from \.csv"):
        convert(uneven, truth)


def test_one_video_formats_refuse_many(tmp_path):
    write_formats(tmp_path, ["via"], [VideoSegments("a", FOUND), VideoSegments("b", FOUND)])
    with pytest.raises(InputError, match="one video per file, got 2"):
        convert(tmp_path / "segments.via.json", tmp_path / "x.eaf")


def test_a_result_saves_itself_in_any_format(uneven, tmp_path):
    from avloc.pipeline.localizer import Localization
    from page_data import activations

    result = Localization(FOUND, activations("un even", duration_s=3.0), uneven)
    for name in ("a.csv", "a.json", "a.vtt", "a.srt", "a.eaf", "a.boris", "a.otio", "a.parquet", "a.labelstudio.json"):
        result.save(tmp_path / name)
        assert (tmp_path / name).stat().st_size
    assert rounded(read_eaf(tmp_path / "a.eaf")[0].segments) == EXPECTED
    with pytest.raises(InputError, match="choose one of"):
        result.save(tmp_path / "a.what")
    with pytest.raises(InputError, match="needs the video"):
        Localization(FOUND, activations("un even")).save(tmp_path / "b.otio")


def test_localize_writes_the_formats_it_is_asked_for(uneven, tmp_path):
    """A model of random weights on features of the uneven video: all formats in one folder, with the file's path."""
    from avloc.config import preset
    from avloc.formats.features import save_features
    from avloc.model.checkpoint import ModelCard
    from avloc.pipeline.folder import localize_all
    from avloc.pipeline.localizer import Localizer
    from avloc.types import FeatureSequence, SnippetGrid

    plain = {"model.embed_dim": 8, "model.audio_normalize": "none", "model.visual_normalize": "none"}
    config = preset("demo", {**plain, "localize.contrast.calibration_offset": 1.0})  # some count as found
    card = ModelCard(config=config, classes=("bark", "sing"), audio_size=4, visual_size=5, backbones={})
    rng = np.random.default_rng(0)
    grid = SnippetGrid.cover(2.5, Fraction(1, 2))
    rows = {"visual": rng.normal(size=(5, 5)), "audio": rng.normal(size=(5, 4))}
    path = tmp_path / "un even.safetensors"
    save_features(path, FeatureSequence("un even", 2.5, grid, **rows))
    out = tmp_path / "out"
    found, failures = localize_all(
        Localizer(card.build(), card), [path], out, tuple(FORMATS), media={"un even": uneven}
    )
    assert failures == ()
    assert {p.suffix for p in (out / "per-video").iterdir()} == {".vtt", ".srt", ".txt", ".eaf", ".otio"}
    back = read_boris(out / "segments.boris")[0]
    assert back.segments
    assert rounded(back.segments) == rounded([d for d in found["un even"].detections if d.score >= LIKELY])
    with (out / "videos.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert Path(row["path"]) == uneven.resolve()
    assert set(filter(None, row["labels"].split(";"))) == {
        d.label for d in found["un even"].detections if d.score >= LIKELY
    }
    assert int(row["detections"]) == len(found["un even"].detections)


def test_only_what_is_likely_counts_as_found(tmp_path):
    """Labels in videos.csv and the printed summary, by each decoder's rule."""
    found = {"v": Localized((Detection(0, 1, "bark", 0.9), Detection(1, 2, "howl", LIKELY - 0.01)), 9.0, (), None)}
    assert counted(found, "contrast") == f"2 detections in 1 video, 1 scoring at least {LIKELY:g}"
    assert counted(found, "actions") == counted(found, "events") == "2 detections in 1 video"
    assert [d.label for d in found["v"].likely(likely_from("contrast"))] == ["bark"]
    assert [d.label for d in found["v"].likely(likely_from("actions"))] == ["bark", "howl"]


def test_frames_that_an_edit_list_hides_do_not_count(tmp_path):
    """A clip cut without encoding: packets before its start are present and decoded, but never shown."""
    with av.open(str(tmp_path / "full.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.options = {"bf": "0", "g": "50"}
        for k in range(60):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 4 * k, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    options = {"avoid_negative_ts": "disabled"}
    cut = av.open(str(tmp_path / "cut.mp4"), "w", container_options=options)
    with av.open(str(tmp_path / "full.mp4")) as source, cut:
        output = cut.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                shift = round(Fraction(1, 5) / packet.time_base)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = output
                cut.mux(packet)
    times_s = frame_times(probe(tmp_path / "cut.mp4"))
    assert len(times_s) == 55
    assert np.allclose(times_s, np.arange(55) / 25)

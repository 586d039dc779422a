"""Times and columns of other annotation tools: offsets, queues, several media, subdivisions, scores, frame rates."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from avloc.errors import ConfigError, FormatError, InputError
from avloc.interchange.convert import convert, parse_fps, read_segments
from avloc.interchange.elan import write_eaf
from avloc.interchange.registry import with_media, write_as
from avloc.interchange.segments import VideoSegments, name_files
from avloc.types import Detection, Instance


def spans(path: Path, notes: list[str] | None = None) -> dict[str, list[tuple[float, float, str]]]:
    """{video_id: [(start, end, label)]} of a file."""
    return {v.video_id: [(s.start_s, s.end_s, s.label) for s in v.segments] for v in read_segments(path, notes)}


def boris(folder: Path, **observations: dict[str, Any]) -> Path:
    project = {"behaviors_conf": {"0": {"type": "State event", "code": "bark"}}, "observations": observations}
    (folder / "p.boris").write_text(json.dumps(project))
    return folder / "p.boris"


def watched(*files: list[str], events: list[float], lengths: dict[str, float] | None = None, **facts: Any):
    """An observation in which player k shows files[k - 1]; events start and stop `bark` in turn."""
    return {
        "type": "MEDIA",
        "file": {str(k): names for k, names in enumerate(files, start=1)},
        "events": [[time, "", "bark", "", ""] for time in events],
        "media_info": {"length": lengths or {}} | facts.pop("media_info", {}),
        **facts,
    }


@pytest.mark.parametrize("offset", [100.0, -3.5])
def test_boris_adds_the_time_offset_to_its_times(tmp_path, offset):
    path = boris(tmp_path, o1=watched(["dog.mp4"], events=[10.1 + offset, 15 + offset], **{"time offset": offset}))
    assert spans(path) == {"dog": [(10.1, 15.0, "bark")]}


def test_boris_adds_the_creation_time_of_the_media(tmp_path):
    born = 1735689600
    facts = {"media_creation_date_as_offset": True, "time offset": 2.0}
    observation = watched(["dog.mp4"], events=[born + 12.25, born + 17], **facts)
    with pytest.raises(FormatError, match=r"'o1'.*expected media_creation_time"):
        spans(boris(tmp_path, o1=observation))
    observation["media_info"]["media_creation_time"] = {"dog.mp4": born}
    assert spans(boris(tmp_path, o1=observation)) == {"dog": [(10.25, 15.0, "bark")]}
    observation["media_creation_date_as_offset"] = False
    assert spans(boris(tmp_path, o1=observation)) == {"dog": [(born + 10.25, born + 15.0, "bark")]}


def test_boris_queue_of_files_runs_on(tmp_path):
    files, lengths = ["a.mp4", "b.mp4", "c.mp4"], {"a.mp4": 60.0, "b.mp4": 30.0, "c.mp4": 45.0}
    notes: list[str] = []
    path = boris(tmp_path, o1=watched(files, events=[10, 15, 58, 62, 95, 99], lengths=lengths))
    assert spans(path, notes) == {
        "a": [(10, 15, "bark"), (58, 60, "bark")],
        "b": [(0, 2, "bark")],
        "c": [(5, 9, "bark")],
    }
    assert any("a.mp4: cut 1 segment" in note for note in notes)
    assert {v.video_id: v.duration_s for v in read_segments(path)} == {"a": 60.0, "b": 30.0, "c": 45.0}
    with pytest.raises(FormatError, match=r"'o1'.*expected the length of a.mp4"):
        spans(boris(tmp_path, o1=watched(files, events=[10, 15])))


def test_boris_players_have_their_own_offsets(tmp_path):
    """A player's file is shown at the position of player 1 minus its offset."""
    notes: list[str] = []
    facts = {"media_info": {"offset": {"1": 0.0, "2": 4.0, "3": -2.5}}}
    path = boris(tmp_path, o1=watched(["left.mp4"], ["right.mp4"], ["top.mp4"], events=[10, 15, 1, 2], **facts))
    assert spans(path, notes) == {
        "left": [(1, 2, "bark"), (10, 15, "bark")],
        "right": [(6, 11, "bark")],
        "top": [(3.5, 4.5, "bark"), (12.5, 17.5, "bark")],
    }
    assert any("3 players show left.mp4, right.mp4, top.mp4" in note for note in notes)
    assert any("right.mp4: left out 1 segment outside this file" in note for note in notes)


@pytest.mark.parametrize("target", ["o.csv", "o.json", "o.via.json", "o.boris", "out"])
def test_boris_two_observations_of_a_video_keep_both(tmp_path, target):
    observations = {"anna": watched(["dog.mp4"], events=[10, 15]), "ben": watched(["dog.mp4"], events=[20, 25])}
    path = boris(tmp_path, **observations)
    done = convert(path, tmp_path / target, "elan" if target == "out" else None)
    assert (done["videos"], done["segments"]) == (1, 2)
    assert any("'anna', 'ben'" in note for note in done["notes"])
    assert spans(Path(done["files"][0])) == {"dog": [(10, 15, "bark"), (20, 25, "bark")]}


def test_files_of_one_name_in_two_folders_stay_two_videos(tmp_path):
    observations = {
        "o1": watched(["C:\\rats\\monday\\cam 1.mp4"], events=[1, 2]),
        "o2": watched(["C:\\rats\\tuesday\\cam 1.mp4"], events=[3, 4]),
    }
    path = boris(tmp_path, **observations)
    assert spans(path) == {"monday/cam 1": [(1, 2, "bark")], "tuesday/cam 1": [(3, 4, "bark")]}
    files = convert(path, tmp_path / "out", "vtt")["files"]
    assert len({Path(file).read_text() for file in files}) == 2
    assert name_files(["dog.mp4", "/data/dog.mp4"]) == {"dog.mp4": "dog", "/data/dog.mp4": "dog"}
    assert name_files(["x/dog.mp4", "x/dog.avi"]) == {"x/dog.mp4": "dog.mp4", "x/dog.avi": "dog.avi"}


def test_paths_of_two_machines_name_two_videos_and_are_said(tmp_path):
    path = boris(
        tmp_path,
        anna=watched(["/home/anna/dog.mp4"], events=[1, 2]),
        ben=watched(["C:\\ben\\dog.mp4"], events=[3, 4]),
    )
    notes: list[str] = []
    assert spans(path, notes) == {"home/anna/dog": [(1, 2, "bark")], "ben/dog": [(3, 4, "bark")]}
    assert any("ben/dog, home/anna/dog are taken for different videos" in note for note in notes)
    same = {"file:///data/dog.mp4": "dog", "dog.mp4": "dog"}
    assert name_files(same) == same


def test_one_file_in_two_unicode_forms_is_one_video(tmp_path):
    path = boris(
        tmp_path,
        anna=watched(["/d/Ka\u0308uzchen.mp4"], events=[1, 2]),
        ben=watched(["K\u00e4uzchen.mp4"], events=[3, 4]),
    )
    videos = read_segments(path)
    assert [(v.video_id, len(v.segments)) for v in videos] == [("K\u00e4uzchen", 2)]


def test_boris_observations_without_a_video(tmp_path):
    notes: list[str] = []
    live = {
        "type": "LIVE",
        "file": [],
        "time offset": 10.0,
        "events": [[11, "", "bark", "", ""], [12, "", "bark", "", ""]],
    }
    pictures = {"type": "IMAGES", "file": {}, "events": [[None, "", "bark", "", "", 1, "a.png"]]}
    assert spans(boris(tmp_path, zoo=live, stills=pictures), notes) == {"zoo": [(1, 2, "bark")]}
    assert any("'stills': skipped, it is of pictures" in note for note in notes)


def test_one_video_twice_is_refused_and_not_overwritten(tmp_path):
    twice = [VideoSegments("dog", (Instance(0, 1, "a"),)), VideoSegments("dog", (Instance(2, 3, "a"),))]
    for name, target in (("vtt", "out"), ("csv", "o.csv"), ("boris", "o.boris")):
        with pytest.raises(InputError, match="got dog more than once"):
            write_as(name, tmp_path / target, twice)
    assert list(tmp_path.iterdir()) == []


def test_names_that_collide_as_file_names_get_files_of_their_own(tmp_path):
    names = ["a/b", "a_b", "a:b", "Dog", "dog"]
    videos = [VideoSegments(name, (Instance(k, k + 1, "x"),)) for k, name in enumerate(names)]
    for name in ("vtt", "srt", "audacity", "elan", "raven"):
        files = write_as(name, tmp_path / name, videos)
        assert len({str(file).casefold() for file in files}) == len({file.read_text() for file in files}) == 5


def test_a_conversion_never_overwrites_its_source(tmp_path):
    (tmp_path / "dog.vtt").write_text(text := "WEBVTT\n\n00:01.000 --> 00:02.000 align:start\n<i>x</i>\n")
    for target, name in (("dog.vtt", None), ("", "vtt")):
        with pytest.raises(InputError, match="overwritten by its own conversion"):
            convert(tmp_path / "dog.vtt", tmp_path / target, name)
    assert (tmp_path / "dog.vtt").read_text() == text


def elan(folder: Path, tiers: str, media: str = "", slots: str = "", units: str = "milliseconds") -> Path:
    times = "".join(
        f'<TIME_SLOT TIME_SLOT_ID="ts{k}"' + (f' TIME_VALUE="{ms}"/>' if ms != "-" else "/>")
        for k, ms in enumerate((slots or "10000 15000").split(), start=1)
    )
    kinds = "Time_Subdivision Symbolic_Subdivision Symbolic_Association"
    types = "".join(f'<LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="{k}" CONSTRAINTS="{k}"/>' for k in kinds.split())
    path = folder / "doc.eaf"
    path.write_text(
        f'<ANNOTATION_DOCUMENT><HEADER MEDIA_FILE="" TIME_UNITS="{units}">{media}</HEADER>'
        f"<TIME_ORDER>{times}</TIME_ORDER>{tiers}{types}</ANNOTATION_DOCUMENT>"
    )
    return path


def media(name: str, kind: str, origin: int | None = None) -> str:
    stated = "" if origin is None else f' TIME_ORIGIN="{origin}"'
    return f'<MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/data/{name}" MIME_TYPE="{kind}"{stated}/>'


def tier(name: str, *annotations: str, kind: str = "default-lt", parent: str = "") -> str:
    of = f' PARENT_REF="{parent}"' if parent else ""
    rows = "".join(f"<ANNOTATION>{a}</ANNOTATION>" for a in annotations)
    return f'<TIER TIER_ID="{name}" LINGUISTIC_TYPE_REF="{kind}"{of}>{rows}</TIER>'


def aligned(name: str, start: int, end: int, value: str = "") -> str:
    facts = f'ANNOTATION_ID="{name}" TIME_SLOT_REF1="ts{start}" TIME_SLOT_REF2="ts{end}"'
    return f"<ALIGNABLE_ANNOTATION {facts}><ANNOTATION_VALUE>{value}</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION>"


def reference(name: str, to: str, value: str, after: str = "") -> str:
    chain = f' PREVIOUS_ANNOTATION="{after}"' if after else ""
    facts = f'ANNOTATION_ID="{name}" ANNOTATION_REF="{to}"{chain}'
    return f"<REF_ANNOTATION {facts}><ANNOTATION_VALUE>{value}</ANNOTATION_VALUE></REF_ANNOTATION>"


BARK = tier("bark", aligned("a1", 1, 2))


@pytest.mark.parametrize(
    ("linked", "expected"),
    [
        (media("dog.mp4", "video/mp4", 5000), {"dog": [(15, 20, "bark")]}),
        (media("dog.wav", "audio/x-wav", 700) + media("dog%201.mp4", "video/mp4", 5000), {"dog 1": [(15, 20, "bark")]}),
        (media("mic.wav", "audio/x-wav", 5000) + media("dog.mkv", "unknown"), {"dog": [(10, 15, "bark")]}),
        (media("mic.wav", "audio/x-wav", 5000), {"mic": [(15, 20, "bark")]}),
        ("", {"doc": [(10, 15, "bark")]}),
        (
            media("left.mp4", "video/mp4") + media("right.mp4", "video/mp4", -12000),
            {"left": [(10, 15, "bark")], "right": [(0, 3, "bark")]},
        ),
    ],
)
def test_elan_media_start_at_their_time_origin(tmp_path, linked, expected):
    """ELAN's source, AnnotationToJSON: a file's time is the annotation's plus timeOrigin of its descriptor."""
    assert spans(elan(tmp_path, BARK, linked)) == expected


def test_elan_notes_several_videos_and_what_lies_outside(tmp_path):
    notes: list[str] = []
    spans(elan(tmp_path, BARK, media("left.mp4", "video/mp4") + media("right.mp4", "video/mp4", -20000)), notes)
    assert any("shows left, right" in note for note in notes)
    assert any("right: left out 1 segment outside this file" in note for note in notes)
    with pytest.raises(FormatError, match="expected times in milliseconds, got PAL-frames"):
        spans(elan(tmp_path, BARK, units="PAL-frames"))


def test_elan_time_subdivisions_are_evenly_placed(tmp_path):
    """Chains on nested tiers, with one aligned slot in the middle of the first."""
    phases = (aligned("b1", 1, 2, "up"), aligned("b2", 2, 3, "air"), aligned("b3", 3, 4, "down"))
    phases += (aligned("b4", 4, 6, "rest"),)
    parts = (aligned("c1", 2, 5, "rise"), aligned("c2", 5, 3, "fall"))
    tiers = tier("acts", aligned("a1", 1, 6, "jump")) + tier("ph", *phases, kind="Time_Subdivision", parent="acts")
    tiers += tier("parts", *parts, kind="Time_Subdivision", parent="ph")
    notes: list[str] = []
    (found,) = spans(elan(tmp_path, tiers, slots="10000 - - 17001 - 20000"), notes).values()
    assert found == [
        (10, 20, "jump"),
        (10, 12.333, "up"),
        (12.333, 14.666, "air"),
        (14.666, 17.001, "down"),
        (17.001, 20, "rest"),
        (12.333, 13.499, "rise"),  # whole milliseconds, as ELAN divides
        (13.499, 14.666, "fall"),
    ]
    assert any("placed 5 annotations without own times" in note for note in notes)


def test_elan_unaligned_slots_of_a_top_tier_lie_between_their_neighbours(tmp_path):
    notes: list[str] = []
    tiers = tier("t", aligned("a1", 1, 2, "x"), aligned("a2", 2, 3, "y"), aligned("a3", 3, 4, "z"))
    (found,) = spans(elan(tmp_path, tiers, slots="1000 - 3000 -"), notes).values()
    assert found == [(1, 2, "x"), (2, 3, "y")]
    assert any("left out 1 annotation without times" in note for note in notes)


def test_elan_symbolic_annotations_share_their_parents_time(tmp_path):
    words = (reference("w2", "a1", "two", "w1"), reference("w1", "a1", "one"), reference("w3", "a1", "three", "w2"))
    tiers = tier("acts", aligned("a1", 1, 2, "jump")) + tier(
        "words", *words, kind="Symbolic_Subdivision", parent="acts"
    )
    tiers += tier("gloss", reference("g1", "w2", "zwei"), kind="Symbolic_Association", parent="words")
    (found,) = spans(elan(tmp_path, tiers, slots="10000 16000")).values()
    assert sorted(found) == [(10, 12, "one"), (10, 16, "jump"), (12, 14, "two"), (12, 14, "zwei"), (14, 16, "three")]


def test_elan_documents_that_refer_to_themselves_are_refused(tmp_path):
    loop = tier("a", reference("r1", "r2", "x"), reference("r2", "r1", "x"), kind="Symbolic_Association")
    with pytest.raises(FormatError, match="refers to itself"):
        spans(elan(tmp_path, loop))
    own = tier("a", aligned("a1", 1, 2, "x"), kind="Time_Subdivision", parent="a")
    with pytest.raises(FormatError, match="is its own parent"):
        spans(elan(tmp_path, own, slots="- -"))
    with pytest.raises(FormatError, match="its time slot 'ts9' is missing"):
        spans(elan(tmp_path, tier("a", aligned("a1", 1, 9, "x"))))


def test_elan_numbers_are_labels_unless_the_tier_is_of_scores(tmp_path):
    notes: list[str] = []
    rows = (aligned("a1", 1, 2, "3"), aligned("a2", 2, 3, "0.8711"), aligned("a3", 3, 4))
    (video,) = read_segments(elan(tmp_path, tier("coder A", *rows), slots="1000 2000 3000 4000"), notes)
    assert video.segments == (Instance(1, 2, "3"), Instance(2, 3, "0.8711"))
    assert any("'coder A': left out 1 annotation without a value" in note for note in notes)
    assert any("its values are numbers, read as labels" in note for note in notes)
    (video,) = read_segments(elan(tmp_path, tier("bark", *rows, kind="scores"), slots="1000 2000 3000 4000"))
    assert video.segments == (Detection(1, 2, "bark", 3), Detection(2, 3, "bark", 0.8711), Instance(3, 4, "bark"))


def test_elan_written_documents_keep_scores_and_labels(tmp_path):
    mixed = VideoSegments("dog", (Detection(0, 1, "bark", 1.0), Instance(2, 3, "bark"), Instance(4, 5, "7")))
    write_eaf(tmp_path / "dog.eaf", mixed)
    assert read_segments(tmp_path / "dog.eaf") == (mixed,)
    text = (tmp_path / "dog.eaf").read_text().replace('"scores"', '"segments"')  # as version 0.1 wrote it
    (tmp_path / "dog.eaf").write_text(text)
    assert read_segments(tmp_path / "dog.eaf") == (mixed,)


def test_birdnet_label_tracks_have_the_score_in_the_fourth_column(tmp_path):
    notes: list[str] = []
    path = tmp_path / "site1.BirdNET.results.txt"
    path.write_text("0.000000\t3.000000\tGreat Tit\t0.8711\n3.000000\t6.000000\tWren\t0.1034\n")
    (video,) = read_segments(path, notes)
    assert video == VideoSegments("site1", (Detection(0, 3, "Great Tit", 0.8711), Detection(3, 6, "Wren", 0.1034)))
    assert notes == []
    path.write_text("0\t3\tWren\tby ear\n\\\t100\t2000\n3\t6\tWren\t0.5\tanna\n")
    assert read_segments(path, notes)[0].segments == (Instance(0, 3, "Wren"), Detection(3, 6, "Wren", 0.5))
    assert [note.partition(": ")[2] for note in notes] == [
        "left out the frequencies of 1 label",
        "left out further columns of 2 labels",
    ]


RAVEN = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)"


def test_raven_times_are_those_in_the_file(tmp_path):
    notes: list[str] = []
    path = tmp_path / "all.txt"
    rows = ["1\tSpectrogram 1\t1\t3\t6\t0\t9000\tWren\twren1\t0.8711\t/a/mon.wav\t3"]
    rows += [row.replace("Spectrogram", "Waveform") for row in rows]
    rows += ["2\tSpectrogram 1\t1\t63.5\t66.5\t0\t9000\tWren\twren1\t0.2\t/a/tue.wav\t3.5"]
    rows += ["3\tSpectrogram 1\t1\t0\t3\t0\t9000\tnocall\tnocall\t1.0\t/a/wed.wav\t0"]
    head = RAVEN + "\tCommon Name\tSpecies Code\tConfidence\tBegin Path\tFile Offset (s)"
    path.write_text("\n".join([head, *rows, ""]))
    videos = read_segments(path, notes)
    assert videos == (
        VideoSegments("mon", (Detection(3, 6, "Wren", 0.8711),)),
        VideoSegments("tue", (Detection(3.5, 6.5, "Wren", 0.2),)),
    )
    assert "left out the columns Low Freq (Hz), High Freq (Hz), Species Code" in notes[0]
    assert "left out 1 row of no call" in notes[1]
    path.write_text("\n".join(line.rpartition("\t")[0] for line in [head, *rows]))
    with pytest.raises(FormatError, match=r"expected the column File Offset \(s\), as the times of 2 files"):
        read_segments(path)
    path.write_text(f"{RAVEN}\tNotes\n1\tS\t1\t0\t1\t0\t9\tx\n")
    with pytest.raises(FormatError, match="one of Annotation, Common Name"):
        read_segments(path)


def test_raven_tables_come_back(tmp_path):
    video = VideoSegments("dog", (Detection(0.5, 1.25, "bark", 0.5), Instance(2, 3, "howl")))
    (path,) = write_as("raven", tmp_path / "out", [video])
    assert read_segments(path) == (video,)


def test_further_columns_of_a_table_are_noted(tmp_path):
    notes: list[str] = []
    (tmp_path / "s.csv").write_text("video,start_s,end_s,label,score,observer\ndog,0,1,bark,0.5,anna\n")
    assert spans(tmp_path / "s.csv", notes) == {"dog": [(0, 1, "bark")]}
    assert [note.partition(": ")[2] for note in notes] == ["left out the columns observer"]


def test_webvtt_blocks(tmp_path):
    notes: list[str] = []
    blocks = [
        "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:900000,LOCAL:00:00:00.000",
        "STYLE\n::cue { color: red }",
        "REGION\nid:fred",
        "NOTE a comment\nof two lines",
        "NOTES on the dog\n00:01.000 --> 00:02.000 region:fred align:left\nbark",
        "NOTE 1\n00:03,000 --> 00:04,000\nhowl\n00:05.000-->00:06.000\nsit",
        "101:00:00.000 --> 101:00:01.500\nlate",
        "STYLED\n1:00:00.000 --> 1:00:01.000\nhour",
        "00:07.000 --> 00:07.000\npoint",
        "NOTEBOOK of the dog",
    ]
    (tmp_path / "dog.vtt").write_text("\n\n".join(blocks))
    assert spans(tmp_path / "dog.vtt", notes)["dog"] == [
        (1, 2, "bark"),
        (3, 4, "howl"),
        (5, 6, "sit"),
        (363600, 363601.5, "late"),
        (3600, 3601, "hour"),
    ]
    said = "\n".join(notes)
    assert "X-TIMESTAMP-MAP=MPEGTS:900000,LOCAL:00:00:00.000 is not applied" in said
    assert "left out 1 block of text without times" in said
    assert "left out 1 segment of zero length" in said
    (tmp_path / "dog.vtt").write_text(
        "WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:0\n\n00:01.000 --> 00:02.000\nx"
    )
    assert spans(tmp_path / "dog.vtt", zero := []) == {"dog": [(1, 2, "x")]}
    assert zero == []


def test_via_files_of_one_name_stay_apart(tmp_path):
    path = tmp_path / "v.csv"
    rows = [f'"1_{k}","[""{file}""]",{k},{k + 1},"{{""TEMPORAL-SEGMENTS"":""x""}}"' for k, file in enumerate("ab")]
    head = "# CSV_HEADER = metadata_id,file_list,temporal_segment_start,temporal_segment_end,metadata\n"
    text = head + "\n".join(rows).replace('""a""', '""a/dog.mp4"",""mic.wav""').replace('""b""', '""b/dog.mp4""')
    path.write_text(text)
    notes: list[str] = []
    assert spans(path, notes) == {"a/dog": [(0, 1, "x")], "b/dog": [(1, 2, "x")]}
    assert "1 row of a view of several files; given to the first file" in notes[0]


def encode(path: Path, codec: str, form: str, size: tuple[int, int] = (64, 48), pixels: str = "yuv420p") -> Path:
    """A video of 50 frames at 25 per second."""
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        for k in range(50):
            frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), 4 * k, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_frame_clock_of_dv_is_that_of_its_frames(tmp_path):
    """The headers of a DV stream state 10000 fps and more; its 50 frames are 40 ms apart."""
    path = encode(tmp_path / "dog.dv", "dvvideo", "dv", (720, 576))
    video = with_media(VideoSegments("dog", (Instance(1.0, 1.5, "bark"),)), path, frames=True)
    assert video.media is not None
    assert video.media.frame_rate == 25
    write_as("labelstudio", tmp_path / "t.json", [video])
    (task,) = json.loads((tmp_path / "t.json").read_text())
    assert task["data"]["fps"] == 25
    assert task["annotations"][0]["result"][0]["value"]["ranges"] == [{"start": 26, "end": 38}]


@pytest.mark.parametrize(("codec", "form", "pixels"), [("mjpeg", "mjpeg", "yuvj420p"), ("libx264", "h264", "yuv420p")])
def test_the_rate_of_a_raw_stream_is_said_and_can_be_stated(tmp_path, codec, form, pixels):
    path = encode(tmp_path / "dog.raw", codec, form, pixels=pixels)
    (tmp_path / "s.vtt").write_text("WEBVTT\n\n00:01.000 --> 00:02.000\nbark\n")
    source = (tmp_path / "s.vtt").rename(tmp_path / "dog.vtt")
    done = convert(source, tmp_path / "a.boris", media={"dog": path})
    assert any("counted at 25 per second" in n and "--fps-of dog=FPS" in n for n in done["notes"])
    done = convert(source, tmp_path / "b.boris", media={"dog": path}, fps=parse_fps(["dog=10"]))
    assert done["notes"] == []
    frames = {
        name: [e[5] for e in json.loads((tmp_path / name).read_text())["observations"]["dog"]["events"]]
        for name in ("a.boris", "b.boris")
    }
    assert frames == {"a.boris": [25, 49], "b.boris": [10, 20]}
    (seen,) = json.loads((tmp_path / "b.boris").read_text())["observations"].values()
    assert (*seen["media_info"]["length"].values(), *seen["media_info"]["fps"].values()) == (5.0, 10.0)


def test_rates_as_they_are_given(tmp_path):
    assert parse_fps(["dog=30000/1001", "a=b=12.5", "25"]) == {
        "dog": Fraction(30000, 1001),
        "a=b": Fraction(25, 2),
        "": Fraction(25),
    }
    for wrong in ("dog=", "fast", "-1", "0", "1/0", "nan", "inf"):
        with pytest.raises(ConfigError, match="--fps-of takes VIDEO=FPS or FPS"):
            parse_fps([wrong])
    (tmp_path / "dog.txt").write_text("0\t1\tbark\n")
    with pytest.raises(ConfigError, match=r"--fps-of names 'dig'.*Did you mean 'dog'"):
        convert(tmp_path / "dog.txt", tmp_path / "t.boris", fps=parse_fps(["dig=25"]))

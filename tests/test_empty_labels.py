"""A segment without a label is refused, or left out with a note, by every reader."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from avloc.errors import FormatError
from avloc.formats.annotations import read_annotations
from avloc.formats.corrections import read_corrections
from avloc.formats.detections import read_detections
from avloc.interchange.raven import read_raven
from avloc.interchange.subtitles import read_vtt
from avloc.report.serve.answers import save
from avloc.types import Detection, Instance


@pytest.mark.parametrize("label", ["", " \t"])
def test_no_segment_is_without_a_label(tmp_path: Path, label: str) -> None:
    with pytest.raises(ValueError, match="needs a label"):
        Instance(0.0, 1.0, label)
    with pytest.raises(ValueError, match="needs a label"):
        Detection(0.0, 1.0, label, 0.5)
    (tmp_path / "d.csv").write_text(f"video,start_s,end_s,label,score\nv,0,1,{label},0.5\n")
    row = {"label": label, "segment": [0, 1], "score": 0.5}
    (tmp_path / "d.json").write_text(json.dumps({"results": {"v": [row]}}))
    for name in ("d.csv", "d.json"):
        with pytest.raises(FormatError, match=r"video 'v'.*needs a label"):
            read_detections(tmp_path / name)
    truth = tmp_path / "truth.json"
    truth.write_text(json.dumps({"database": {"v": {"duration": 9, "annotations": [row]}}}))
    with pytest.raises(FormatError, match="video 'v': expected a label"):
        read_annotations(truth)


@pytest.mark.parametrize(
    "rows",
    [
        {"annotations": [{"label": "", "segment": [0, 1]}]},
        {"deleted": [{"label": " ", "segment": [0, 1]}]},
        {"points": [{"label": "", "time": 1}]},
    ],
)
def test_corrections_without_a_label_are_not_saved(tmp_path: Path, rows: dict) -> None:
    saved = tmp_path / "corrections.json"
    content = {"version": "avloc corrections 2", "database": {"v": {"duration": 9, "checked": False, **rows}}}
    status, answer = save(saved, json.dumps(content).encode())
    assert (int(status), "not saved" in answer["message"], saved.exists()) == (400, True, False)
    saved.write_text(json.dumps(content))
    with pytest.raises(FormatError, match="label"):
        read_corrections(saved)


def test_cues_without_text_are_left_out_with_a_note(tmp_path: Path) -> None:
    cues = "WEBVTT\n\n00:00.000 --> 00:01.000\n\n\n00:01.000 --> 00:02.000\ndog\n"
    (tmp_path / "v.vtt").write_text(cues)
    notes: list[str] = []
    (video,) = read_vtt(tmp_path / "v.vtt", notes=notes)
    assert [item.label for item in video.segments] == ["dog"]
    assert any("left out 1 segment without a label" in note for note in notes)


def test_selections_without_a_label_are_left_out_with_a_note(tmp_path: Path) -> None:
    rows = ["Selection\tBegin Time (s)\tEnd Time (s)\tAnnotation", "1\t0\t1\t", "2\t1\t2\tdog"]
    (tmp_path / "v.selections.txt").write_text("\n".join(rows) + "\n")
    notes: list[str] = []
    (video,) = read_raven(tmp_path / "v.selections.txt", notes)
    assert [item.label for item in video.segments] == ["dog"]
    assert any("left out 1 segment without a label" in note for note in notes)

"""avloc tag and its table, `--outside`, and `avloc doctor` on videos, with taggers that read their rows as logits."""

from __future__ import annotations

import csv
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import avloc
from avloc.errors import FormatError, InputError
from avloc.formats.detections import write_segments_json
from avloc.formats.features import save_features
from avloc.formats.labels import LabelRow, read_labels
from avloc.formats.tags import TagRow, is_tags, read_tags, write_tags
from avloc.media.encode import write_video
from avloc.report.serve.drafts import save_tags
from avloc.tagging import heads
from avloc.tagging.classes import class_list
from avloc.tagging.evidence import Evidence
from avloc.tagging.folder import tag
from avloc.tagging.look import look_over, near_duplicates
from avloc.tagging.tags import every_concept, find_tags, telling_words
from avloc.tagging.vocabulary import Concept
from avloc.types import Detection, FeatureSequence, Provenance, SnippetGrid
from test_cli import one_line, run

DOG, RAIN, SILENCE, PUG = 74, 289, 500, 254
SECONDS = 20


class RowsAsLogits:
    """A tagger whose logits are its rows, less a constant."""

    def class_logits(self, rows: np.ndarray) -> np.ndarray:
        return rows - np.float32(8 if rows.shape[1] == 527 else 0)


@pytest.fixture
def taggers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "_tagger", lambda name, weights: RowsAsLogits())


def store(folder: Path, name: str, sounds: dict[int, slice], sights: dict[int, slice], audio: bool = True) -> None:
    """Features in which classes are certain for some seconds."""
    heard, seen = np.ones((SECONDS, 527), "f4"), np.zeros((SECONDS, 1000), "f4")
    for k, when in sounds.items():
        heard[when, k] = 16.0
    for k, when in sights.items():
        seen[when, k] = 16.0
    source = Provenance({"audio": "efficientat-mn04", "visual": "efficientnet-lite0"})
    grid = SnippetGrid.cover(SECONDS, Fraction(1))
    save_features(
        folder / f"{name}.safetensors",
        FeatureSequence(name, float(SECONDS), grid, seen, heard if audio else None, source),
    )


@pytest.fixture
def features(tmp_path: Path, taggers: None) -> Path:
    home = tmp_path / "features"
    store(home, "both", {DOG: slice(6, 12)}, {PUG: slice(6, 12)})
    store(home, "heard", {RAIN: slice(0, 20)}, {})
    store(home, "mute", {}, {PUG: slice(2, 8)}, audio=False)
    store(home, "nothing", {}, {})
    return home


def test_tags_say_what_when_and_by_which_sense(features: Path) -> None:
    result = tag(features, ["dog", "rain"])
    found = {video.video_id: video.tags for video in result.videos}
    (dog,) = found["both"]
    assert (dog.label, dog.sense) == ("dog", "both")
    assert (dog.score > 0.99, 4 <= dog.start_s <= 6, 12 <= dog.end_s <= 14) == (True, True, True)
    assert [(t.label, t.sense) for t in found["heard"]] == [("rain", "audio")]
    assert (found["heard"][0].start_s, found["heard"][0].end_s) == (0.0, 20.0)
    assert [(t.label, t.sense) for t in found["mute"]] == [("dog", "frames")]
    assert found["nothing"] == ()
    assert result.counts() == {"dog": 2, "rain": 1}
    assert any("1 video (mute): audio was not tagged: no audio" in note for note in result.notes)
    assert avloc.tag is tag


def test_only_what_lies_outside_of_detections(features: Path, tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    write_segments_json(found, {"both": [Detection(6.0, 12.0, "bark", 0.9)]})
    result = tag([features / "both.safetensors", features / "heard.safetensors"], ["dog", "rain"], outside=found)
    assert {video.video_id: [t.label for t in video.tags] for video in result.videos} == {
        "both": [],
        "heard": ["rain"],
    }
    assert result.notes == ("1 video (heard): not in the detections of --outside: tagged as a whole",)


def test_without_words_the_most_telling_tags(features: Path) -> None:
    result = tag(features, most=3)
    words = [concept.word for concept in result.concepts]
    assert len(words) == 3
    assert "rain" in words
    assert {"dog", "barking", "pet", "animal"} & set(words)
    assert all(tag.label in words for video in result.videos for tag in video.tags)


def test_telling_words_skip_synonyms_and_what_is_everywhere() -> None:
    concepts = [Concept("dog", (1, 2)), Concept("bark", (2,)), Concept("music", (3,)), Concept("cat", (4,))]
    videos = [
        {"dog": 0.9, "bark": 0.8, "music": 0.9},
        {"dog": 0.9, "bark": 0.9, "music": 0.9},
        {"cat": 0.9, "music": 0.9},
    ]
    videos += [{"music": 0.9, "cat": 0.1}] * 3
    assert telling_words(videos, concepts, 10) == ("music", "dog", "cat")
    assert telling_words(videos, concepts, 1) == ("music",)


def test_every_class_is_in_some_concept() -> None:
    concepts = every_concept()
    for sense in ("audio", "visual"):
        covered = {k for concept in concepts for k in concept.classes(sense)}  # type: ignore[arg-type]
        assert covered == set(range(len(class_list(sense).names)))  # type: ignore[arg-type]
    assert len({concept.word for concept in concepts}) == len(concepts)


def test_a_tag_ends_where_it_falls_below_half_of_its_peak() -> None:
    heard = np.full((6, 1), -9.0)
    heard[2:4] = 5.0
    found = Evidence("v", 6.0, SnippetGrid.cover(6, 1), (Concept("x", (1,)),), heard, None)
    (one,) = find_tags(found)
    assert (one.start_s, one.end_s) == (2.0, 4.0)


def test_the_table_is_read_as_labels(tmp_path: Path) -> None:
    path = tmp_path / "tags.csv"
    rows = [
        TagRow("a.mp4", "dog", True, 0.9, 1.0, 2.5, "both", "/v/a.mp4"),
        TagRow("a.mp4", "rain, heavy", False, 0.3, 0.0, 1.0, "audio", "/v/a.mp4"),
        TagRow("b.mp4", "dog", False, 0.25, 0.0, 4.0, "frames", ""),
        TagRow("c.mp4", "", path="/v/c.mp4"),
        TagRow("c2.mp4", "mine"),
    ]
    write_tags(path, rows)
    assert read_tags(path) == tuple(rows)
    assert is_tags(path)
    table = read_labels(path)
    assert table.rows == (
        LabelRow("a", ("dog",), "train"),
        LabelRow("b", (), "train"),
        LabelRow("c", (), "train"),
        LabelRow("c2", ("mine",), "train"),
    )
    assert table.notes == ()


def test_a_spreadsheet_may_save_semicolons_and_decimal_commas(tmp_path: Path) -> None:
    path = tmp_path / "tags.csv"
    path.write_bytes(
        "\ufeffvideo;label;keep;score;start_s;end_s;sense;path\r\na.mp4;dog;FALSE;0,91;1;2,5;both;\r\n;;;;;;;\r\n".encode()
    )
    assert is_tags(path)
    assert read_tags(path) == (TagRow("a.mp4", "dog", False, 0.91, 1.0, 2.5, "both"),)
    assert read_labels(path).rows == (LabelRow("a", (), "train"),)


def test_a_low_threshold_takes_what_is_below_the_usual_offer(features: Path) -> None:
    result = tag(features / "nothing.safetensors", ["dog"], min_score=0.0001)
    assert [tag.score >= 0.0001 for tag in result.videos[0].tags] == [True]
    assert [row.keep for row in result.rows()] == [True]


def test_two_videos_of_one_name(features: Path) -> None:
    (features / "more").mkdir()
    (features / "more" / "both.safetensors").write_bytes((features / "both.safetensors").read_bytes())
    result = tag(features, ["dog"])
    assert len(result.videos) == 4
    assert "has the video id both, as an earlier one does" in result.failures[0].reason


@pytest.mark.parametrize(("cell", "kept"), [("no", False), ("YES", True), ("", True), ("0", False), ("False", False)])
def test_keep_is_read_as_spreadsheets_write_it(tmp_path: Path, cell: str, kept: bool) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(f"video;label;keep\na;dog;{cell}\n")
    assert read_labels(path).rows == (LabelRow("a", ("dog",) if kept else (), "train"),)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("video,label,keep\na,dog,perhaps\n", "line 2: expected yes or no in column keep, got 'perhaps'"),
        ("video,label\na,dog\n", "the column 'keep' is missing"),
        ("video,label,keep,score\n,dog,yes,1\n", "line 2: expected a video name"),
        ("video,label,keep,score\na,dog,yes,high\n", "line 2: expected a number of at least 0 in column score"),
        ("video,label,keep,sense\na,dog,yes,smell\n", "line 2: expected the sense"),
    ],
)
def test_a_bad_table_names_its_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "tags.csv"
    path.write_text(content)
    with pytest.raises(FormatError, match=message):
        read_tags(path)


def test_a_label_kept_in_one_row_and_struck_out_in_another_is_said(tmp_path: Path) -> None:
    path = tmp_path / "tags.csv"
    path.write_text("video,label,keep\na,dog,yes\na,rain,no\na,dog,no\na,rain,yes\na,dog,no\nb,dog,no\nb,dog,no\n")
    table = read_labels(path)
    assert {row.video_id: row.labels for row in table.rows} == {"a": ("dog", "rain"), "b": ()}
    assert table.notes == (
        "'a': 'dog' is kept and struck out, lines 2 and 4: kept",
        "'a': 'rain' is kept and struck out, lines 3 and 5: kept",
        "'a': 'dog' is kept and struck out, lines 2 and 6: kept",
    )


def test_labels_that_could_not_be_read_back_are_refused(tmp_path: Path) -> None:
    for label in ("a;b", "Background"):
        with pytest.raises(InputError, match="use another word"):
            write_tags(tmp_path / "t.csv", [TagRow("v", label)])
    assert not (tmp_path / "t.csv").exists()


def test_saving_keeps_scores_and_adds_own_labels(tmp_path: Path) -> None:
    path = tmp_path / "tags.csv"
    write_tags(path, [TagRow("a", "dog", True, 0.9, 1.0, 2.0, "audio", "/v/a"), TagRow("b", "", path="/v/b")])
    sent = {"videos": {"a": {"dog": False}, "b": {"own": True}}}
    assert save_tags(json.dumps(sent).encode(), path) == 2
    assert read_tags(path) == (
        TagRow("a", "dog", False, 0.9, 1.0, 2.0, "audio", "/v/a"),
        TagRow("b", "own", True, path="/v/b"),
    )
    before = path.read_bytes()
    for wrong in ({"videos": {"z": {"dog": True}}}, {"videos": {"a": {"dog": "yes"}}}, {"videos": []}, {}):
        with pytest.raises(FormatError):
            save_tags(json.dumps(wrong).encode(), path)
    with pytest.raises(InputError, match="use another word"):
        save_tags(json.dumps({"videos": {"a": {"x;y": True}}}).encode(), path)
    assert path.read_bytes() == before


def test_the_command(features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "out" / "tags.csv"
    code, out, _ = run(capsys, "tag", features, "-o", table, "--words", "dog; rain; unicorn;", "--json")
    assert code == 0
    assert json.loads(out)["labels"] == {"dog": 2, "rain": 1}
    assert any("'unicorn' maps to no class" in note for note in json.loads(out)["notes"])
    with table.open() as file:
        assert [(r["video"], r["label"], r["keep"]) for r in csv.DictReader(file)] == [
            ("both", "dog", "yes"),
            ("heard", "rain", "yes"),
            ("mute", "dog", "yes"),
            ("nothing", "", ""),
        ]
    assert (tmp_path / "out" / "tags-page" / "data" / "index.js").is_file()
    code, _, err = run(capsys, "tag", features, "-o", table, "--words", "dog")
    assert code == 2
    assert "may hold your corrections" in one_line(err)
    code, out, _ = run(capsys, "tag", features, "-o", table, "--words", "dog", "--overwrite", "--no-page")
    assert code == 0
    assert "avloc train --features" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--words", ""], "expected words, got none"),
        (["--words", "dog;;rain"], "word 2 of 3 is empty"),
        (["--words", "собака"], "no word maps to a class"),
        (["--words", "dog; background"], "background is not a word"),
        (["--min-score", "0"], "probability above 0"),
        (["--vocabulary", "missing.csv"], "missing.csv: expected a table"),
        (["--outside", "missing"], "missing: expected detections"),
    ],
)
def test_bad_requests(features: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    code, _, err = run(capsys, "tag", features, "-o", features / "t.csv", *arguments)
    assert code == 2
    assert message in one_line(err)
    code, _, err = run(capsys, "tag", features, "-o", features / "t.txt")
    assert "ends in .csv" in one_line(err)


def test_damaged_features_cost_only_their_video(features: Path, tmp_path: Path, capsys) -> None:
    (features / "broken.safetensors").write_bytes(b"no")
    code, out, err = run(capsys, "tag", features, "-o", tmp_path / "t.csv", "--words", "dog", "--no-page")
    assert code == 3
    assert "failed: broken" in err
    assert "2 draft labels in 4 videos" in out


def test_videos_without_the_taggers_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr("avloc.features.weights._in_package", lambda place: None)
    write_video(tmp_path / "v" / "a.mp4", (np.full((48, 64, 3), k, np.uint8) for k in range(20)), 10)
    for arguments in (["tag", tmp_path / "v", "-o", tmp_path / "t.csv"], ["doctor", tmp_path / "v"]):
        code, _, err = run(capsys, *arguments)
        assert code == 2
        assert "pip install 'avloc[pretrained]'" in one_line(err)
    assert not (tmp_path / "t.csv").exists()


def test_doctor_on_features_lists_tags_silence_and_duplicates(features: Path, capsys) -> None:
    store(features, "copy", {DOG: slice(6, 12)}, {PUG: slice(6, 12)})
    store(features, "silent", {SILENCE: slice(0, 20)}, {3: slice(0, 20)})
    found = look_over(features)
    assert (found.videos, found.silent, found.without_audio) == (6, ("silent",), ("mute",))
    assert ("both", "copy") in found.duplicates
    assert all("silent" not in pair for pair in found.duplicates)
    code, out, _ = run(capsys, "doctor", features)
    assert code == 0
    assert "warning: 1 silent: silent" in out
    assert "both = copy" in out


def test_doctor_goes_on_where_features_have_no_tagger(tmp_path: Path, capsys) -> None:
    grid = SnippetGrid.cover(3, 1)
    rows = np.random.default_rng(0).normal(size=(3, 4)).astype("f4")
    source = Provenance({"visual": "appearance"})
    save_features(tmp_path / "f" / "a.safetensors", FeatureSequence("a", 3.0, grid, rows, None, source))
    code, out, _ = run(capsys, "doctor", tmp_path / "f")
    assert code == 0
    assert "need the default pretrained features" in out


def test_duplicates_need_both_senses() -> None:
    x, y = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    means = {"a": {"visual": x, "audio": x}, "b": {"visual": x, "audio": y}, "c": {"visual": x}, "d": {"audio": x}}
    assert near_duplicates(means) == (("a", "c"), ("b", "c"))


def test_the_benchmark_trains_on_drafts_in_place_of_labels(features: Path, tmp_path: Path) -> None:
    from avloc.formats.annotations import write_annotations
    from avloc.formats.labels import LabelTable, write_labels
    from avloc.types import Instance, VideoAnnotation
    from benchmarks.quality.drafts import quality_of, tagged, with_features
    from benchmarks.quality.sets import open_set

    rows = [LabelRow("both", ("rain",), "train"), LabelRow("heard", ("rain",), "train"), LabelRow("gone", (), "train")]
    rows += [LabelRow("mute", ("dog",), "test"), LabelRow("nothing", (), "test")]
    write_labels(tmp_path / "labels.csv", LabelTable(tuple(rows)))
    truth = VideoAnnotation("mute", 20.0, "testing", (Instance(2.0, 8.0, "dog"),))
    write_annotations(tmp_path / "ground_truth.json", [truth])
    data = with_features(open_set(tmp_path, tmp_path / "out"), tmp_path / "out")
    page, drafted = tagged(data, tmp_path / "out")
    assert {row.video_id: row.labels for row in read_labels(drafted.labels).rows} == {
        "both": ("dog",),
        "heard": ("rain",),
        "mute": ("dog",),
        "nothing": (),
    }
    assert drafted.fingerprint != data.fingerprint
    assert [cell.strip() for cell in page.splitlines()[4].split("|")[1:6]] == [
        "train, both",
        "100.0",
        "50.0",
        "50.0",
        "2",
    ]
    assert quality_of(np.array([[0.9, 0.4], [0.2, 0.6]]), np.array([[True, True], [False, True]])) == (1.0, 1.0, 2 / 3)

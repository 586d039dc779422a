"""Each equation of the paper in plain loops and the paper's own column notation, against the code.

X is d × L here (a snippet is a column), as printed; the code's arrays are its transpose. Nothing of avloc is used to
compute an expected value.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from avloc.config import LossConfig, preset
from avloc.model import fusion, losses
from avloc.model import network as model
from avloc.model.batch import SnippetOutput, collate
from feature_sets import make_videos

B, L, DU, DV, C = 3, 7, 4, 5, 6
LENGTHS = (7, 5, 1)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(array, dtype=np.float64))


def mask_of(lengths: tuple[int, ...] = LENGTHS, most: int = L) -> Tensor:
    return torch.tensor([[l < n for l in range(most)] for n in lengths])


def soft_max(values: list[float]) -> list[float]:
    top = max(values)
    parts = [math.exp(v - top) for v in values]
    return [p / sum(parts) for p in parts]


def unit(column: np.ndarray) -> np.ndarray:
    return column / math.sqrt(sum(float(x) ** 2 for x in column))


def cross_correlation(Xu: np.ndarray, Xv: np.ndarray, W: np.ndarray) -> np.ndarray:
    """Eq. 1: Λ = X_uᵀ W X_v with l2-normalised columns; entry (m, n) relates audio snippet m to visual snippet n."""
    Lam = np.zeros((Xu.shape[1], Xv.shape[1]))
    for m in range(Xu.shape[1]):
        for n in range(Xv.shape[1]):
            u, v = unit(Xu[:, m]), unit(Xv[:, n])
            Lam[m, n] = sum(u[i] * W[i, j] * v[j] for i in range(len(u)) for j in range(len(v)))
    return Lam


def column_soft_max(M: np.ndarray) -> np.ndarray:
    return np.stack([soft_max(list(M[:, n])) for n in range(M.shape[1])], axis=1)


def attended(Xu: np.ndarray, Xv: np.ndarray, W: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eq. 2: X̃_u = X_u A_u and X̃_v = X_v A_v; A_u, A_v the column-wise soft-max of Λ and Λᵀ."""
    Lam = cross_correlation(Xu, Xv, W)
    return Xu @ column_soft_max(Lam), Xv @ column_soft_max(Lam.T)


def stages(Xu: np.ndarray, Xv: np.ndarray, Ws: list[np.ndarray], skip: str) -> np.ndarray:
    """Eq. 3 and 4, one video: t_e stages of tanh(Σ_{i<t} X_att^(i) + X̃^(t)), stacked at the end."""
    us, vs = [Xu], [Xv]
    for W in Ws:
        tu, tv = attended(us[-1], vs[-1], W)
        for xs, tilde in ((us, tu), (vs, tv)):
            total = tilde.copy()
            previous = {"dense": xs[:], "plain": xs[-1:], "none": []}[skip]
            for x in previous:
                total = total + x
            xs.append(np.tanh(total))
    return np.concatenate([us[-1], vs[-1]], axis=0)


def test_eq1_and_2_attention_columns_and_values(rng: np.random.Generator) -> None:
    Xu, Xv, W = rng.normal(size=(DU, L)), rng.normal(size=(DV, L)), rng.normal(size=(DU, DV))
    full = torch.ones(1, L, dtype=torch.bool)
    weights = fusion.attention(tensor(Xu.T)[None], tensor(Xv.T)[None], tensor(W), full, full, 1.0)
    Lam = cross_correlation(Xu, Xv, W)
    np.testing.assert_allclose(weights.audio[0], column_soft_max(Lam), rtol=1e-10)
    np.testing.assert_allclose(weights.visual[0], column_soft_max(Lam.T), rtol=1e-10)
    both = torch.ones(1, dtype=torch.bool)
    got_u, got_v = fusion.cross_attend(tensor(Xu.T)[None], tensor(Xv.T)[None], tensor(W), full, both, 1.0)
    want_u, want_v = attended(Xu, Xv, W)
    np.testing.assert_allclose(got_u[0].T, want_u, rtol=1e-10)
    np.testing.assert_allclose(got_v[0].T, want_v, rtol=1e-10)


@pytest.mark.parametrize("width", [DU, DV])
@pytest.mark.parametrize("lengths", [(L, L, L), LENGTHS])
def test_eq2_of_long_videos_is_the_same_values_and_gradients(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, width: int, lengths: tuple[int, ...]
) -> None:
    audio, visual = rng.normal(size=(B, L, width)), rng.normal(size=(B, L, DV))
    W, mask, both = 3 * rng.normal(size=(width, DV)), mask_of(lengths), torch.tensor([True, True, False])
    toward = tensor(rng.normal(size=(B, L, width + DV))) * mask[:, :, None]

    def run(longest: int, dtype: torch.dtype) -> list[np.ndarray]:
        monkeypatch.setattr(fusion, "_FUSED_FROM", longest)
        leaves = [tensor(x).to(dtype).requires_grad_() for x in (audio, visual, W)]
        found = torch.cat(fusion.cross_attend(*leaves, mask, both, 2.0), dim=2)
        (found * toward).sum().backward()
        return [found.detach()[mask].numpy(), *(leaf.grad.numpy() for leaf in leaves)]

    plain, fused, short = run(L, torch.float64), run(0, torch.float64), run(0, torch.float32)
    for want, exact, single in zip(plain, fused, short, strict=True):
        np.testing.assert_allclose(exact, want, atol=1e-12)
        np.testing.assert_allclose(single, want, atol=1e-5)
    for b, n in enumerate(lengths[:2]):  # the third lacks a modality
        Xu, Xv = attended(audio[b, :n].T, visual[b, :n].T, 2 * W)
        np.testing.assert_allclose(fused[0][sum(lengths[:b]) :][:n], np.concatenate([Xu, Xv]).T, rtol=1e-9)


@pytest.mark.parametrize("longest", [0, L])
def test_eq2_without_a_video_that_has_both(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, longest: int
) -> None:
    monkeypatch.setattr(fusion, "_FUSED_FROM", longest)
    audio, visual, W = (tensor(rng.normal(size=s)).requires_grad_() for s in ((B, L, DU), (B, L, DV), (DU, DV)))
    got_u, got_v = fusion.cross_attend(audio, visual, W, mask_of(), torch.zeros(B, dtype=torch.bool), 1.0)
    assert torch.equal(got_u, audio)
    assert torch.equal(got_v, visual)
    (got_u.sum() + got_v.sum()).backward()
    assert W.grad is not None  # else data-parallel processes would wait for it
    assert not W.grad.any()


def test_eq2_of_a_long_video_takes_no_square_matrix() -> None:
    length, width = 3000, 8
    sound, picture = (torch.randn(1, length, width) for _ in range(2))
    mask = torch.ones(1, length, dtype=torch.bool)
    mask[0, -7:] = False
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        fusion.cross_attend(sound, picture, torch.eye(width), mask, torch.ones(1, dtype=torch.bool), 1.0)
    largest = max(event.cpu_memory_usage for event in record.events())
    assert 0 < largest < length * length  # bytes; a float32 l x l matrix takes four times that


@pytest.mark.parametrize("skip", ["dense", "plain", "none"])
@pytest.mark.parametrize("count", [0, 1, 2, 3])
@pytest.mark.parametrize("share", [False, True])
def test_eq3_and_4_stages(rng: np.random.Generator, skip: str, count: int, share: bool) -> None:
    stack = fusion.CrossAttentionFusion(DU, DV, count, skip, share, 1.0).double()
    for weight in stack.weights:
        weight.data = tensor(rng.normal(size=(DU, DV)))
    assert len(stack.weights) == (min(count, 1) if share else count)
    Ws = [stack.weight(t).detach().numpy() for t in range(1, count + 1)]
    audio, visual, mask = rng.normal(size=(B, L, DU)), rng.normal(size=(B, L, DV)), mask_of()
    got = torch.cat(stack(tensor(audio), tensor(visual), mask, torch.ones(B, dtype=torch.bool)), dim=2).detach()
    for b, n in enumerate(LENGTHS):
        want = stages(audio[b, :n].T, visual[b, :n].T, Ws, skip)
        np.testing.assert_allclose(got[b, :n].T, want, rtol=1e-9, atol=1e-12)


def test_eq5_open_max(rng: np.random.Generator) -> None:
    h, m = rng.normal(size=(L, C)), rng.normal(size=L)
    probs, mu = model.open_max(tensor(h), tensor(m))
    for l in range(L):
        reliability = 1 / (1 + math.exp(-m[l]))
        want = [1 - reliability] + [reliability * p for p in soft_max(list(h[l]))]
        np.testing.assert_allclose(probs[l], want, rtol=1e-10)
        assert float(mu[l]) == pytest.approx(reliability)


def test_soft_max_head_is_one_distribution_over_c_plus_1(rng: np.random.Generator) -> None:
    h, m = rng.normal(size=(L, C)), rng.normal(size=L)
    probs, mu = model.soft_max(tensor(h), tensor(m))
    for l in range(L):
        np.testing.assert_allclose(probs[l], soft_max([m[l], *h[l]]), rtol=1e-10)
        assert float(mu[l]) == pytest.approx(1 - float(probs[l, 0]))


def gaussian(values: np.ndarray, width: int) -> np.ndarray:
    """Eq. 6: weights G(i), i = -B/2..B/2, that sum to 1 over the snippets inside the video."""
    sigma = width / 4
    smooth = []
    for l in range(len(values)):
        total = weight = 0.0
        for i in range(-width // 2, width // 2 + 1):
            if 0 <= l - i < len(values):
                g = math.exp(-(i**2) / (2 * sigma**2))
                total, weight = total + g * values[l - i], weight + g
        smooth.append(total / weight)
    return np.array(smooth)


def random_probs(rng: np.random.Generator) -> np.ndarray:
    raw = rng.random((B, L, 1 + C)) ** 3
    return raw / raw.sum(axis=2, keepdims=True)


LABELS = np.array([[1, 0, 1, 0, 0, 0], [0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0]], dtype=float)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
def test_dropout_keeps_the_mean_and_drops_the_share(share: float) -> None:
    torch.manual_seed(3)
    x = torch.linspace(0.5, 1.5, 200_000).reshape(2, 100, 1000).requires_grad_()
    dropped = model.drop(x, share)
    gone = dropped == 0
    assert gone.float().mean().item() == pytest.approx(share, abs=5e-3)
    torch.testing.assert_close(dropped[~gone], x[~gone] / (1 - share) if share < 1 else x[~gone])
    (gradient,) = torch.autograd.grad(dropped.sum(), x)
    torch.testing.assert_close(gradient, torch.where(gone, 0.0, 1 / max(1 - share, 1e-9)))
    torch.manual_seed(3)
    assert torch.equal(model.drop(x, share), dropped)


def test_nothing_is_dropped_outside_training() -> None:
    options = preset("paper", {"model.embed_dim": 5, "model.dropout": 0.9}).model
    network = model.AudioVisualLocalizer(3, 4, 2, options)
    batch = collate([(make_videos(count=1, sizes=(3, 4))[0][0], np.arange(8))], np.ones((1, 2), dtype=np.float32), 3, 4)
    once, again = (network.eval()(batch).embedding for _ in range(2))
    assert torch.equal(once, again)
    assert torch.equal(once, network.fuse(batch))
    assert (network.train()(batch).embedding == 0).float().mean() > 0.5


def test_eq6_to_8_continuity(rng: np.random.Generator) -> None:
    probs = random_probs(rng)
    mu = 1 - probs[:, :, 0]
    total = 0.0
    for b, n in enumerate(LENGTHS):
        reliability = mu[b, :n]
        agnostic = gaussian(reliability, 4)
        true = [c for c in range(C) if LABELS[b, c]]
        for l in range(n):
            term = abs(reliability[l] - agnostic[l])
            for c in true:
                term += abs(reliability[l] - gaussian(probs[b, :n, 1 + c], 4)[l]) / len(true)
            total += term / n
    got = losses.continuity_loss(
        tensor(mu), tensor(probs), tensor(LABELS), mask_of(), width=4, sigma=None, detach=False
    )
    assert float(got) == pytest.approx(total / B, rel=1e-9)


@pytest.mark.parametrize(("neighbors", "threshold"), [(4, 0.3), (2, 0.25), (0, 0.5)])
def test_eq9_pseudo_localization(rng: np.random.Generator, neighbors: int, threshold: float) -> None:
    probs = random_probs(rng)
    loss = rate = 0.0
    for b, n in enumerate(LENGTHS):
        for l in range(n):
            near = [probs[b, l + i] for i in range(-neighbors // 2, neighbors // 2 + 1) if 0 <= l + i < n]
            q = sum(near) / len(near)
            best = max(range(1 + C), key=lambda c: q[c])
            if q[best] >= threshold:
                loss -= math.log(probs[b, l, best]) / n
                rate += 1 / n
    q = losses.pseudo_targets(tensor(probs), mask_of(), neighbors)
    got_loss, got_rate = losses.pseudo_localization_loss(tensor(probs), q, mask_of(), threshold, "hard")
    assert 0 < rate < B
    assert float(got_loss) == pytest.approx(loss / B, rel=1e-9)
    assert float(got_rate) == pytest.approx(rate / B, rel=1e-9)


@pytest.mark.parametrize("restricted", [False, True])
def test_eq9_target_carries_no_gradient(rng: np.random.Generator, restricted: bool) -> None:
    """With q a constant, the derivative of -Σ_c q(c) log p(c) is -q(c) / p(c): no neighbour adds to it.

    Hard labels cannot show this, since argmax has no gradient.
    """
    probs, labels = tensor(random_probs(rng)).requires_grad_(), tensor(LABELS) if restricted else None
    q = losses.pseudo_targets(probs, mask_of(), 4, labels)
    assert not q.requires_grad
    output = SnippetOutput(probs, probs[:, :, 1:], 1 - probs[:, :, 0], probs)
    options = LossConfig(pseudo_labels="soft", pseudo_from_labels=restricted, neighbors=4)
    terms, rate = losses.output_terms(output, tensor(LABELS), mask_of(), options)
    assert not rate.requires_grad
    (gradient,) = torch.autograd.grad(terms["pseudo"], probs)
    for b, n in enumerate(LENGTHS):
        np.testing.assert_allclose(gradient[b, :n], -(q / probs.detach())[b, :n] / (n * B), rtol=1e-9)


def test_eq7_smooths_the_open_max_probability_of_the_true_class(rng: np.random.Generator) -> None:
    """μ soft-max(h), not soft-max(h) alone, as Eq. 5 defines p."""
    h, m = rng.normal(size=(B, L, C)), rng.normal(size=(B, L))
    probs, mu = model.open_max(tensor(h), tensor(m))
    total = 0.0
    for b, n in enumerate(LENGTHS):
        reliability = np.array([1 / (1 + math.exp(-x)) for x in m[b, :n]])
        true = [c for c in range(C) if LABELS[b, c]]
        gap = np.abs(reliability - gaussian(reliability, 4))
        for c in true:
            p = np.array([reliability[l] * soft_max(list(h[b, l]))[c] for l in range(n)])
            gap = gap + np.abs(reliability - gaussian(p, 4)) / len(true)
        total += gap.mean() / B
    output = SnippetOutput(tensor(h), tensor(h), mu, probs)
    terms, _ = losses.output_terms(output, tensor(LABELS), mask_of(), LossConfig(smooth_width=4))
    assert float(terms["continuity"]) == pytest.approx(total, rel=1e-9)


def test_soft_pseudo_labels_that_keep_to_the_labels(rng: np.random.Generator) -> None:
    """Ours: q from another network, restricted to the video's labels, as a distribution."""
    probs, guide = random_probs(rng), random_probs(rng)
    labels = np.concatenate([LABELS[:-1], np.zeros((1, C))])  # the last video is background only
    total = 0.0
    for b, n in enumerate(LENGTHS):
        given = []
        for l in range(n):
            own = [guide[b, l, 1 + c] * labels[b, c] for c in range(C)]
            foreground = 1 - guide[b, l, 0]
            given.append(
                [guide[b, l, 0], *(foreground * o / sum(own) for o in own)] if labels[b].any() else [1] + [0] * C
            )
        for l in range(n):
            near = [np.array(given[k]) for k in range(max(0, l - 2), min(n, l + 3))]
            q = sum(near) / len(near)
            total -= sum(q[c] * math.log(probs[b, l, c]) for c in range(1 + C)) / n
    q = losses.pseudo_targets(tensor(guide), mask_of(), 4, tensor(labels))
    got, _ = losses.pseudo_localization_loss(tensor(probs), q, mask_of(), 0.9, "soft")
    assert float(got) == pytest.approx(total / B, rel=1e-9)
    through, _ = losses.output_terms(
        SnippetOutput(tensor(probs), tensor(probs)[:, :, 1:], tensor(1 - probs[:, :, 0]), tensor(probs)),
        tensor(labels),
        mask_of(),
        LossConfig(pseudo_labels="soft", pseudo_from_labels=True, neighbors=4),
        tensor(guide),
    )
    assert float(through["pseudo"]) == pytest.approx(total / B, rel=1e-9)


def test_eq10_weights_by_name() -> None:
    terms = {"mil": torch.tensor(1.0), "coactivity": torch.tensor(2.0), "pseudo": torch.tensor(4.0)}
    assert float(losses.total_loss(terms, {"mil": 1, "coactivity": 0.8, "pseudo": 0.5})) == pytest.approx(4.6)
    with pytest.raises(KeyError, match="continuity"):
        losses.total_loss(terms, {"mil": 1, "coactivity": 1, "pseudo": 1, "continuity": 1})


def top_mean(values: np.ndarray, divisor: int = 8) -> float:
    k = max(1, math.ceil(len(values) / divisor))
    return sum(sorted(values, reverse=True)[:k]) / k


@pytest.mark.parametrize("divisor", [8, 2])
def test_appendix_d_mil_on_probabilities(rng: np.random.Generator, divisor: int) -> None:
    probs = random_probs(rng)
    total = 0.0
    for b, n in enumerate(LENGTHS):
        y = [0.0, *LABELS[b]] if LABELS[b].any() else [1.0] + [0.0] * C
        for c in range(1 + C):
            total -= y[c] / sum(y) * math.log(top_mean(probs[b, :n, c], divisor))
    got = losses.mil_loss(
        tensor(probs), losses.mil_targets(tensor(LABELS), "known", 0.5), mask_of(), "probabilities", divisor
    )
    assert float(got) == pytest.approx(total / B, rel=1e-9)


def test_appendix_d_mil_on_logits(rng: np.random.Generator) -> None:
    logits = rng.normal(size=(B, L, C)) * 3
    total = 0.0
    for b, n in enumerate(LENGTHS[:2]):
        video = soft_max([top_mean(logits[b, :n, c], 3) for c in range(C)])
        for c in range(C):
            total -= LABELS[b, c] / LABELS[b].sum() * math.log(video[c])
    target = losses.mil_targets(tensor(LABELS[:2]), "never", 0.5)[:, 1:]
    got = losses.mil_loss(tensor(logits[:2]), target, mask_of(LENGTHS[:2]), "logits", 3)
    assert float(got) == pytest.approx(total / 2, rel=1e-9)


def test_mil_targets_name_background() -> None:
    labels = tensor(LABELS)
    assert losses.mil_targets(labels, "known", 0.5).tolist()[0] == [0, 0.5, 0, 0.5, 0, 0, 0]
    assert losses.mil_targets(labels, "known", 0.5).tolist()[2] == [1, 0, 0, 0, 0, 0, 0]
    assert losses.mil_targets(labels, "never", 0.5).tolist()[2] == [0] * 7
    np.testing.assert_allclose(losses.mil_targets(labels, "always", 0.5)[1], [1 / 3, 0, 0, 0, 0, 2 / 3, 0])


def distance(a: np.ndarray, b: np.ndarray) -> float:
    norm = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    return 1 - sum(x * y for x, y in zip(a, b, strict=True)) / norm


def coactivity(X: np.ndarray, h: np.ndarray, labels: np.ndarray, lengths: tuple[int, ...], margin: float) -> float:
    """App. D and Paul et al. 2018, over all pairs of videos; x and h are (b, L, ·)."""
    total, count = 0.0, 0
    for a in range(len(X)):
        for b in range(a + 1, len(X)):
            for c in range(labels.shape[1]):
                if not (labels[a, c] and labels[b, c]):
                    continue
                high, low = [], []
                for v in (a, b):
                    n = lengths[v]
                    A = soft_max(list(h[v, :n, c]))
                    high.append(sum(A[l] * X[v, l] for l in range(n)))
                    low.append(sum((1 - A[l]) / (n - 1) * X[v, l] for l in range(n)))
                together = distance(high[0], high[1])
                total += 0.5 * max(0.0, together - distance(high[0], low[1]) + margin)
                total += 0.5 * max(0.0, together - distance(low[0], high[1]) + margin)
                count += 1
    return total / count


def test_appendix_d_coactivity(rng: np.random.Generator) -> None:
    lengths = (7, 5, 6)
    labels = np.array([[1, 0, 1, 0, 0, 0], [1, 0, 0, 0, 1, 0], [1, 0, 1, 0, 0, 0]], dtype=float)
    X, h = rng.normal(size=(3, L, DU)) + 0.5, 2 * rng.normal(size=(3, L, C))
    parts = losses.coactivity_descriptors(tensor(X), tensor(h), tensor(labels), mask_of(lengths))
    got = losses.coactivity_loss(*parts, margin=0.5)
    assert float(got) == pytest.approx(coactivity(X, h, labels, lengths, 0.5), rel=1e-9)
    one_pair = losses.coactivity_loss(*parts, margin=0.5, videos=torch.tensor([[2, 0]]))
    want = coactivity(X[[0, 2]], h[[0, 2]], labels[[0, 2]], (7, 6), 0.5)
    assert float(one_pair) == pytest.approx(want, rel=1e-9)


def test_coactivity_is_finite_where_peers_are_not() -> None:
    X = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    h = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)
    no_pair = losses.coactivity_descriptors(X, h, tensor(np.eye(2)), mask_of((3, 3), 3))
    assert losses.coactivity_loss(*no_pair, margin=0.5).item() == 0.0
    short = losses.coactivity_descriptors(X, h, tensor(np.ones((2, 2))), mask_of((1, 3), 3))
    loss = losses.coactivity_loss(*short, margin=0.5)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(X.grad).all()
    assert torch.isfinite(h.grad).all()

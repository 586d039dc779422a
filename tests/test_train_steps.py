"""What a training step computes, what the teacher is for, and which step is kept."""

from __future__ import annotations

import copy
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from avloc.config import LossConfig, RunConfig, preset
from avloc.model import losses
from avloc.model.base import Model
from avloc.model.batch import Batch, SnippetOutput
from avloc.model.checkpoint import ModelCard, load_model
from avloc.model.files import STATE_FILE
from avloc.train.checkpointer import Checkpointer
from avloc.train.dataset import PairSampler, WeakDataset
from avloc.train.learner import Learner, learner_of
from avloc.train.loop import fit
from avloc.train.prepare import TrainingData, prepare
from avloc.train.state import load_state
from avloc.train.step import StepResult, training_step
from avloc.train.teacher import guidance, teacher_of
from avloc.train.validate import validate
from feature_sets import make_videos, write_set

CLASSES = ("bark", "drum", "saw")
SIZES = (6, 8)
SMALL = {"model.embed_dim": 8, "train.batch_size": 6, "train.learning_rate": 3e-3, "train.accelerator": "cpu"}
QUIET = {"model.dropout": 0.0, "model.modality_dropout": 0.0, "train.teacher_decay": 0.0}
EXACT = {**SMALL, **QUIET, "train.precision": "64-true", "train.holdout": 0.0, "train.selection": "last"}


def dataset(count: int = 12, seed: int = 0, snippets: tuple[int, int] = (12, 24)) -> WeakDataset:
    made = {f.video_id: f for f, _ in make_videos(count, CLASSES, snippets, SIZES, seed=seed)}
    labels = np.eye(3, dtype=np.float32)[np.arange(count) % 3]
    labels[0] = (1, 0, 1)  # one video with two labels
    return WeakDataset(list(made), labels, CLASSES, made.__getitem__, *SIZES)


def engine() -> Fabric:
    return Fabric(accelerator="cpu", devices=1)


def card_of(config: RunConfig) -> ModelCard:
    return ModelCard(config, CLASSES, *SIZES, {})


def learner(config: RunConfig, data: WeakDataset) -> Learner:
    return learner_of(engine(), card_of(config), data)


@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_a_run_is_adam_on_the_weighted_sum_of_four_losses(tmp_path: Path, clip: float) -> None:
    """Eq. 10 and §4.2 in a plain loop: each step's gradient alone, each weight with its own term."""
    data = write_set(tmp_path, make_videos(12))
    loss = {"coactivity_weight": 0.7, "continuity_weight": 0.3, "pseudo_weight": 0.4, "coactivity_margin": 0.9}
    changes = {f"loss.{name}": value for name, value in loss.items()}
    steps = {
        "train.steps": 4,
        "train.snippets": 9,
        "train.weight_decay": 0.3,
        "train.seed": 5,
        "train.grad_clip": clip,
        "train.eval_every": 1,
    }
    config = preset("default", {**EXACT, **changes, **steps, "loss.warmup": 0.5, "train.pair_fraction": 1.0})
    rows = fit(*data, tmp_path / "run", config).history

    train = prepare(*data, config.train).train
    start = {name: value.double() for name, value in learner(config, train).module.state_dict().items()}
    model = card_of(config).build().double()
    model.load_state_dict(start)
    parameters = list(model.parameters())
    adam = torch.optim.Adam(parameters, lr=3e-3, weight_decay=0.3)
    sampler = PairSampler(train.labels, 6, 1.0, seed=5)
    for step, ramp in enumerate((0.0, 0.5, 1.0, 1.0)):
        batch = train.batch(sampler.batch(step), 9, (5, 4, step))
        output = model(batch)
        labels = batch.labels
        pairs = losses.coactivity_descriptors(output.embedding, output.action_logits, labels, batch.mask)
        q = losses.pseudo_targets(output.probs, batch.mask, 4, labels)
        total = losses.mil_term(output, labels, batch.mask, config.loss)
        total = total + 0.7 * losses.coactivity_loss(*pairs, margin=0.9)
        smooth = losses.continuity_loss(output.reliability, output.probs, labels, batch.mask, 4, None, False)
        pseudo, _ = losses.pseudo_localization_loss(output.probs, q, batch.mask, 0.9, "soft")
        total = total + ramp * (0.3 * smooth + 0.4 * pseudo)
        assert rows[step]["loss/total"] == pytest.approx(total.item(), rel=1e-5)
        gradients = torch.autograd.grad(total, parameters)
        norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient * min(1.0, clip / norm) if clip else gradient
        adam.step()
    for name, weight in load_model(tmp_path / "run")[0].state_dict().items():
        torch.testing.assert_close(weight.double(), model.state_dict()[name], rtol=1e-5, atol=1e-6, msg=name)


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Batch, StepResult]]:
    """Batches and results of the steps of later runs."""
    steps: list[tuple[Batch, StepResult]] = []

    def observe(fabric: Fabric, learner: Learner, batch: Batch, config: RunConfig, step: int) -> StepResult:
        result = training_step(fabric, learner, batch, config, step)
        steps.append((batch, result))
        return result

    monkeypatch.setattr("avloc.train.loop.training_step", observe)
    return steps


def test_steps_differ_in_videos_snippets_and_dropout_and_seeds_in_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_set(tmp_path, make_videos(6, snippets=(40, 40)))
    steps = recorded(monkeypatch)
    for seed in (0, 1):
        more = {"train.steps": 2, "train.snippets": 10, "train.seed": seed, "train.holdout": 0.0}
        fit(*data, tmp_path / f"run{seed}", preset("default", {**SMALL, **more}))
    assert all(batch.audio.shape[:2] == (6, 10) for batch, _ in steps)
    drawn = [set(batch.audio[..., 0].ravel().tolist()) for batch, _ in steps]
    first_videos = [batch.audio[0, 0].tolist() for batch, _ in steps]
    dropped = [result.output.embedding == 0 for _, result in steps]
    for a in range(4):
        for b in range(a):
            assert drawn[a] != drawn[b]
            assert first_videos[a] != first_videos[b]
            assert not torch.equal(dropped[a], dropped[b])


def test_the_seed_decides_initial_weights_and_videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_set(tmp_path, make_videos(12, snippets=(10, 10)))
    steps = recorded(monkeypatch)
    starts = []
    for seed in (0, 1):
        more = {"train.steps": 1, "train.snippets": None, "train.seed": seed, "train.holdout": 0.0}
        config = preset("default", {**SMALL, **more})
        fit(*data, tmp_path / f"run{seed}", config)
        starts.append(learner(config, dataset()).module.state_dict())
    videos = [{row.tobytes() for row in batch.audio.numpy()} for batch, _ in steps]
    assert len(videos[0]) == len(videos[1]) == 6
    assert videos[0] != videos[1]
    for name in ("embeds.audio.weight", "fusion.weights.0", "action_head.weight"):
        assert not torch.equal(starts[0][name], starts[1][name])


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_a_run_draws_its_share_of_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fraction: float) -> None:
    classes = tuple("abcdefghijkl")
    data = write_set(tmp_path, make_videos(24, classes))
    steps = recorded(monkeypatch)
    more = {"train.steps": 4, "train.batch_size": 4, "train.pair_fraction": fraction, "train.holdout": 0.0}
    fit(*data, tmp_path / "run", preset("default", {**SMALL, **more}))
    shared = [int((batch.labels[0] @ batch.labels[1]).item()) for batch, _ in steps]
    assert shared == [1] * 4 if fraction else sum(shared) < 4
    assert all((result.values["loss/coactivity"] > 0).item() for _, result in steps) == bool(fraction)


def test_the_teacher_s_probabilities_are_the_pseudo_labels() -> None:
    """Without dropout and with both modalities, whatever the student's; no gradient reaches the teacher."""
    data = dataset()
    changes = {"model.modality_dropout": 0.9, "loss.pseudo_from_labels": False, "train.teacher_decay": 0.9}
    config = preset("default", {**SMALL, **changes})
    taught = learner(config, data)
    assert taught.teacher is not None
    with torch.no_grad():
        for weight in taught.teacher.parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    batch = data.batch(np.arange(6), 12)
    probs = copy.deepcopy(taught.eval_model).eval()(batch).probs
    taught.model.train()
    torch.manual_seed(0)
    result = training_step(engine(), taught, batch, config, 0)
    expected, own = 0.0, result.output.probs.detach()
    for b in range(6):
        for l in range(12):
            q = probs[b, max(0, l - 2) : l + 3].mean(dim=0).detach()
            expected -= float((q * own[b, l].log()).sum()) / 72
    assert float(result.values["loss/pseudo"]) == pytest.approx(expected, rel=1e-4)
    result.total.backward()
    assert all(weight.grad is None for weight in taught.teacher.parameters())
    assert all(weight.grad is not None for weight in taught.module.parameters())
    found = guidance(taught.teacher, batch)
    assert found is not None
    assert not found.requires_grad
    torch.manual_seed(0)
    alone = training_step(engine(), Learner(taught.model, taught.optimizer, None), batch, config, 0)
    assert float(alone.values["loss/pseudo"]) != pytest.approx(expected, rel=1e-2)
    for name in ("mil", "coactivity", "continuity"):
        assert torch.equal(alone.values[f"loss/{name}"], result.values[f"loss/{name}"])


def test_the_teacher_follows_the_student() -> None:
    """The first update copies; then w' <- d w' + (1 - d) w with d = min(decay, (1 + n) / (10 + n))."""
    student = Echo()
    student.weight = nn.Parameter(torch.zeros(1))
    teacher = teacher_of(student, 0.25)
    assert teacher is not None
    assert teacher_of(student, 0.0) is None
    follower = next(teacher.parameters())
    assert not follower.requires_grad
    expected = 0.0
    for n, value in enumerate((3.0, -2.0, 5.0, 7.0, 1.0)):
        with torch.no_grad():
            student.weight.fill_(value)
        teacher.update_parameters(student)
        d = min(0.25, (1 + n) / (10 + n)) if n else 0.0
        expected = d * expected + (1 - d) * value
        assert float(follower) == pytest.approx(expected, rel=1e-6)


def test_a_step_updates_the_student_first_and_the_teacher_is_saved(tmp_path: Path) -> None:
    data = write_set(tmp_path, make_videos(8))
    more = {"train.teacher_decay": 0.95, "train.selection": "last", "train.holdout": 0.0}
    states = {}
    for steps in (1, 3):
        out = tmp_path / str(steps)
        fit(*data, out, preset("default", {**SMALL, **more, "train.steps": steps, "train.eval_every": 1}))
        states[steps] = load_state(out / STATE_FILE)
        saved = load_model(out)[0].state_dict()
        assert all(torch.equal(weight, states[steps]["teacher"][f"module.{name}"]) for name, weight in saved.items())
    name = "action_head.weight"
    assert torch.equal(states[1]["teacher"][f"module.{name}"], states[1]["model"][name])
    assert not torch.equal(states[3]["teacher"][f"module.{name}"], states[3]["model"][name])


def fill(student: Learner, value: float) -> None:
    with torch.no_grad():
        for weight in student.module.parameters():
            weight.fill_(value)


def kept(out: Path) -> tuple[float, int]:
    """The value that fills the saved weights, and the step on their card."""
    model, card = load_model(out)
    return next(model.parameters()).ravel()[0].item(), card.step


def test_the_best_step_of_the_later_ones_is_kept(tmp_path: Path) -> None:
    config = preset("default", {**SMALL, **QUIET, "train.steps": 8, "train.select_after": 0.5})
    student = learner(config, dataset())
    checkpoints = Checkpointer(tmp_path, card_of(config), student, {})
    for step, score, best in ((2, 0.9, None), (4, 0.2, 4), (5, 0.5, 5), (6, 0.5, 6), (7, 0.3, 6)):
        fill(student, step)
        checkpoints.save(step, score)
        if best is not None:
            assert kept(tmp_path) == (best, best)
    resumed = Checkpointer(tmp_path, card_of(config), student, {})
    resumed.restore(rewrite=True)
    assert (resumed.step, resumed.best, resumed.best_step) == (7, 0.5, 6)
    assert kept(tmp_path) == (6, 6)
    fill(student, 8)
    resumed.save(8, 0.4)
    assert kept(tmp_path) == (6, 6)


def test_without_a_score_the_last_step_is_kept(tmp_path: Path) -> None:
    config = preset("default", {**SMALL, **QUIET, "train.steps": 2})
    student = learner(config, dataset())
    checkpoints = Checkpointer(tmp_path, card_of(config), student, {})
    for step in (1, 2):
        fill(student, step)
        checkpoints.save(step, None)
        assert kept(tmp_path) == (step, step)


@pytest.mark.parametrize("selection", ["mil", "video_ap", "last"])
def test_a_run_keeps_the_step_that_validates_best(tmp_path: Path, selection: str) -> None:
    """7 steps validated every 2 and at the end; the saved weights reproduce the score."""
    data = write_set(tmp_path, make_videos(24, noise=1.5))
    more = {"train.steps": 7, "train.eval_every": 2, "train.learning_rate": 0.3, "train.holdout": 0.3}
    config = preset("default", {**SMALL, **more, "train.selection": selection, "train.teacher_decay": 0.0})
    record = fit(*data, tmp_path / "run", config)
    rows = {row["step"]: row for row in record.history if "validation/mil" in row}
    assert sorted(rows) == [2, 4, 6, 7]
    score = {"mil": lambda r: -r["validation/mil"], "video_ap": lambda r: r["validation/video_ap"]}.get(selection)
    late = [step for step in rows if step >= 3.5]
    best = max(late, key=lambda step: (score(rows[step]), step)) if score else 7
    assert record.selected_step == best
    if score:
        assert record.selection_score == score(rows[best])
    model, _ = load_model(tmp_path / "run")
    again = validate(model, prepare(*data, config.train), config.loss, "cpu").values
    assert again["validation/mil"] == pytest.approx(rows[best]["validation/mil"], rel=1e-5)


class Echo(Model):
    """Probabilities are the visual features of a snippet."""

    norms, embeds, fusion = nn.ModuleDict(), nn.ModuleDict(), None

    def usable(self, present: Tensor) -> Tensor:
        return present[:, 1]

    def forward(self, batch: Batch) -> SnippetOutput:
        assert not self.training
        probs = batch.visual
        return SnippetOutput(probs, probs[..., 1:].log(), 1 - probs[..., 0], probs)


def echoed(count: int, seed: int, snippets: tuple[int, int]) -> WeakDataset:
    """Videos whose visual features are random probabilities of background and three classes."""
    rng = np.random.default_rng(seed)
    made = {}
    for video, _ in make_videos(count, CLASSES, snippets, (1, 4), seed=seed):
        raw = rng.random((video.grid.count, 4)) ** 3 + 0.01
        made[video.video_id] = type(video)(**{**vars(video), "visual": (raw / raw.sum(1, keepdims=True)).astype("f")})
    labels = np.eye(3, dtype=np.float32)[rng.integers(3, size=count)]
    return WeakDataset(list(made), labels, CLASSES, made.__getitem__, 1, 4)


def test_validation_is_mil_and_ap_of_whole_validation_videos() -> None:
    """k = ceil(L / 8) of all snippets (App. D); AP by its definition; every video counts the same."""
    train, held = echoed(5, 1, (12, 24)), echoed(11, 2, (10, 300))
    data = TrainingData(train, held, {}, {}, Fraction(1), None, ())
    found = validate(Echo().train(), data, LossConfig(mil_background="known"), "cpu").values
    scores = []
    for i in range(11):
        probs = held.features(i).visual
        assert probs is not None
        k = math.ceil(len(probs) / 8)
        scores.append([sum(sorted(probs[:, c].tolist(), reverse=True)[:k]) / k for c in range(4)])
    mil = sum(-math.log(row[1 + int(label.argmax())]) for row, label in zip(scores, held.labels, strict=True)) / 11
    assert found["validation/mil"] == pytest.approx(mil, rel=1e-5)
    precisions = []
    for c in range(3):
        order = sorted(range(11), key=lambda i: -scores[i][1 + c])
        hits = [int(held.labels[i, c]) for i in order]
        precisions.append(sum(sum(hits[: r + 1]) / (r + 1) for r in range(11) if hits[r]) / sum(hits))
    assert found["validation/video_ap"] == pytest.approx(sum(precisions) / 3, rel=1e-5)
    rows = np.concatenate([train.features(i).visual for i in range(5)])  # health is of training videos
    winners = rows.argmax(axis=1)
    assert found["health/background"] == pytest.approx((winners == 0).mean())
    busiest = max((winners == c).sum() for c in (1, 2, 3))
    assert found["health/busiest_class"] == pytest.approx(busiest / (winners > 0).sum())

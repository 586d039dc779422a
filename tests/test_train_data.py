"""Which videos train, validate and give statistics; batches with pairs; and that no other video has an effect."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avloc.config import TrainConfig, preset
from avloc.formats.features import load_features, save_features
from avloc.model.checkpoint import load_model
from avloc.model.files import METRICS_FILE
from avloc.train.dataset import PairSampler, WeakDataset
from avloc.train.loop import fit
from avloc.train.metrics_log import read_metrics
from avloc.train.prepare import hold_out, prepare
from feature_sets import make_videos, write_set

CLASSES = ("bark", "drum", "saw")
SMALL = {
    "model.embed_dim": 8,
    "train.steps": 4,
    "train.eval_every": 2,
    "train.batch_size": 4,
    "train.selection": "last",
}


def write_subsets(folder: Path, subsets: list[str]) -> tuple[Path, Path]:
    """A set with one video for each name of `subsets`; an empty name is training."""
    videos = make_videos(count=len(subsets))
    features, labels = write_set(folder, videos)
    named = [
        f"{truth.video_id},{CLASSES[i % 3]},{subset}"
        for i, ((_, truth), subset) in enumerate(zip(videos, subsets, strict=True))
    ]
    labels.write_text("video,labels,subset\n" + "\n".join(named) + "\n", encoding="utf-8")
    return features, labels


def ids(*numbers: int) -> list[str]:
    return [f"video_{i:03d}" for i in numbers]


def test_every_video_is_in_the_subset_that_labels_csv_names(tmp_path: Path) -> None:
    data = prepare(
        *write_subsets(tmp_path, ["test", "train", "validation", "train", "test", "", "validation"]), TrainConfig()
    )
    assert data.train.ids == ids(1, 3, 5)
    assert data.validation.ids == ids(2, 6)


def test_held_out_videos_leave_training_and_test_videos_are_never_held_out(tmp_path: Path) -> None:
    features, labels = write_subsets(tmp_path, ["train"] * 12 + ["test"] * 6)
    data = prepare(features, labels, TrainConfig(holdout=0.25))
    assert len(data.validation) == 3
    assert sorted(data.train.ids + data.validation.ids) == ids(*range(12))
    rows = dict(zip(ids(*range(12)), np.eye(3)[np.arange(12) % 3], strict=True))
    for part in (data.train, data.validation):
        np.testing.assert_array_equal(part.labels, [rows[name] for name in part.ids])
    assert prepare(features, labels, TrainConfig(holdout=0.25)).validation.ids == data.validation.ids
    others = [prepare(features, labels, TrainConfig(holdout=0.25, seed=seed)).validation.ids for seed in range(1, 4)]
    assert any(other != data.validation.ids for other in others), "the seed has no effect on what is held out"


@pytest.mark.parametrize("subsets", [["train"] * 9 + ["validation"] * 3 + ["test"] * 4, ["train"] * 12 + ["test"] * 4])
def test_only_training_videos_change_weights_and_only_validation_videos_validation(
    tmp_path: Path, subsets: list[str]
) -> None:
    """Other features of the other subsets change no weight and no input statistic."""
    features, labels = write_subsets(tmp_path, subsets)
    config = preset("default", {**SMALL, "train.holdout": 0.25, "model.visual_normalize": "scale"})
    held = prepare(features, labels, config.train).validation.ids

    def trained(name: str) -> tuple[dict[str, torch.Tensor], list[dict[str, float]], list[dict[str, float]]]:
        fit(features, labels, tmp_path / name, config)
        rows = [
            {k: v for k, v in row.items() if k != "train/step_s"}
            for row in read_metrics(tmp_path / name / METRICS_FILE)
        ]
        parts = [
            [{k: v for k, v in row.items() if k.startswith("validation/") == own} for row in rows]
            for own in (True, False)
        ]
        return load_model(tmp_path / name)[0].state_dict(), *parts

    def change(names: list[str]) -> None:
        for name in names:
            video = load_features(features / f"{name}.safetensors")
            assert video.audio is not None
            assert video.visual is not None
            save_features(
                features / f"{name}.safetensors", replace(video, audio=5 - video.audio, visual=5 - video.visual)
            )

    def same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
        return all(torch.equal(one[name], other[name]) for name in one)

    weights, validation, training = trained("first")
    change(ids(*range(12, 16)))
    after_test = trained("tests")
    assert same_weights(weights, after_test[0])
    assert (validation, training) == after_test[1:]
    change(held)
    after_held = trained("held")
    assert len(held) == 3
    assert same_weights(weights, after_held[0])
    assert training == after_held[2]
    assert all(a != b for a, b in zip(validation[1:], after_held[1][1:], strict=True)), "validation ignores its videos"
    change([name for name in ids(*range(12)) if name not in held])
    assert not same_weights(weights, trained("train")[0])


def test_hold_out_takes_at_most_its_share_of_each_class() -> None:
    labels = np.eye(3)[[0] * 20 + [1] * 20 + [2] * 3]
    for seed in range(5):
        held = hold_out(labels, 0.3, seed)
        per_class = labels[held].sum(axis=0)
        assert per_class[:2].max() <= 6
        assert per_class[2] <= 1
        assert (held == np.sort(held)).all()
    two_each = np.eye(4)[[0, 0, 1, 1, 2, 2, 3, 3]]
    assert len(hold_out(two_each, 0.5, 0)) == 0  # each class would keep one video


def dataset(videos: int, seed: int = 0) -> WeakDataset:
    made = {f.video_id: f for f, _ in make_videos(count=videos, seed=seed)}
    labels = np.eye(3, dtype=np.float32)[np.arange(videos) % 3]
    return WeakDataset(list(made), labels, CLASSES, made.__getitem__, 6, 8)


def test_statistics_are_per_channel_with_the_same_weight_for_each_video() -> None:
    data = dataset(7)
    found = data.statistics()
    for name, size in (("audio", 6), ("visual", 8)):
        moments = getattr(found, name)
        for channel in range(size):
            columns = [getattr(data.features(i), name)[:, channel].astype(float) for i in range(7)]
            assert len({len(column) for column in columns}) > 1
            mean = sum(column.sum() / len(column) for column in columns) / 7
            square = sum((column**2).sum() / len(column) for column in columns) / 7
            assert moments[0][channel] == pytest.approx(mean, rel=1e-5)
            assert moments[1][channel] == pytest.approx((square - mean**2) ** 0.5, rel=1e-5)
    ends = WeakDataset(
        [data.ids[0], data.ids[6]], data.labels[[0, 6]], CLASSES, lambda name: data.features(data.ids.index(name)), 6, 8
    )
    few = data.statistics(limit=2)  # evenly spaced: the first and the last
    assert few.audio is not None
    np.testing.assert_allclose(few.audio, ends.statistics().audio)


def test_sampled_snippets_differ_by_step_and_by_video() -> None:
    """One snippet from each bin, any of the bin."""
    rows = np.arange(100, dtype=np.float32)[:, None]
    video = make_videos(count=1, snippets=(100, 100))[0][0]
    data = WeakDataset(
        ["a", "b"], np.ones((2, 1), dtype=np.float32), ("x",), lambda _: replace(video, audio=rows, visual=None), 1, 0
    )
    drawn = np.array([data.batch(np.arange(2), 10, (0, step)).audio[..., 0].numpy() for step in range(200)])
    assert drawn.shape == (200, 2, 10)
    assert (drawn[:, 0] != drawn[:, 1]).any(axis=1).mean() > 0.95
    assert all(set(drawn[..., k].ravel()) == set(range(10 * k, 10 * k + 10)) for k in range(10))
    again = data.batch(np.array([1]), 10, (0, 3)).audio[0, :, 0]
    np.testing.assert_array_equal(again, drawn[3, 1])  # whatever else is in the batch: any number of processes


LABELS = np.eye(4)[[0] * 24 + [1] * 18 + [2] * 12 + [3] * 6]


def test_a_batch_begins_with_pairs_of_videos_that_share_a_class() -> None:
    """W-TALC's share: 60 % of a batch (Paul et al. 2018)."""
    sampler = PairSampler(LABELS, 10, 0.6, seed=0)
    for step in range(200):
        batch = sampler.batch(step)
        assert len(set(batch.tolist())) == len(batch) == 10
        for first, second in batch[:6].reshape(3, 2):
            assert LABELS[first] @ LABELS[second] == 1


@pytest.mark.parametrize(("size", "fraction", "pairs"), [(10, 1.0, 5), (10, 0.0, 0), (10, 0.35, 1), (5, 1.0, 2)])
def test_the_share_of_pairs_is_as_configured(size: int, fraction: float, pairs: int) -> None:
    labels = np.repeat(np.eye(500), 4, axis=0)  # hardly ever two of a class by chance
    sampler = PairSampler(labels, size, fraction, seed=0)

    def leading(batch: np.ndarray) -> int:
        rows = labels[batch[: size // 2 * 2]].reshape(-1, 2, 500)
        return sum(itertools.takewhile(bool, (int(a @ b) for a, b in rows)))

    assert min(leading(sampler.batch(step)) for step in range(40)) == pairs


def test_pairs_are_of_every_class_equally_often_and_of_all_its_videos() -> None:
    sampler = PairSampler(LABELS, 10, 0.6, seed=0)
    firsts = np.concatenate([sampler.batch(step)[:6].reshape(3, 2) for step in range(400)])
    counts = LABELS[firsts[:, 0]].sum(axis=0)
    assert np.abs(counts - 300).max() < 60  # 4 standard deviations of 1,200 draws from 4 classes
    videos = np.bincount(firsts.ravel(), minlength=60)
    assert videos.min() > 0
    assert videos[-6:].mean() > 3 * videos[:24].mean()


def test_every_video_is_drawn_within_an_epoch_in_another_order_each_time() -> None:
    plain = PairSampler(LABELS, 10, 0.0, seed=0)
    epochs = [np.concatenate([plain.batch(step) for step in range(6 * k, 6 * k + 6)]) for k in range(3)]
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(60))
        assert (epoch != np.arange(60)).mean() > 0.9
    assert (epochs[0] != epochs[1]).mean() > 0.9
    paired = PairSampler(LABELS, 10, 0.6, seed=0)  # 4 of 10 rows walk: an epoch takes 15 batches
    for k in range(3):
        assert set(np.concatenate([paired.batch(step) for step in range(15 * k, 15 * k + 15)])) == set(range(60))


def test_a_batch_depends_on_seed_and_step_only() -> None:
    walked = PairSampler(LABELS, 10, 0.6, seed=3)
    batches = [walked.batch(step) for step in range(20)]
    for step in (19, 7, 0):  # as after resuming
        np.testing.assert_array_equal(PairSampler(LABELS, 10, 0.6, seed=3).batch(step), batches[step])
    other = PairSampler(LABELS, 10, 0.6, seed=4)
    for part in (slice(0, 6), slice(6, 10)):  # pairs, walk
        assert all(set(batches[step][part]) != set(other.batch(step)[part]) for step in range(3))
        assert all(set(batches[step][part]) != set(batches[step + 1][part]) for step in range(3))


@pytest.mark.parametrize(
    "labels",
    [
        np.eye(7),  # one video for each class
        np.zeros((7, 2)),  # background only
        np.eye(2)[[0, 0, 1, 1]],  # fewer videos than a batch
        np.ones((1, 1)),
        np.eye(4)[[0, 0, 1, 2, 3]],  # one class with a pair
    ],
)
def test_small_sets_give_full_batches_without_repeats(labels: np.ndarray) -> None:
    for size in (1, 2, 4, 30):
        sampler = PairSampler(labels, size, 1.0, seed=0)
        seen: set[int] = set()
        for step in range(40):
            batch = sampler.batch(step).tolist()
            assert len(set(batch)) == len(batch) == min(size, len(labels))
            seen |= set(batch)
        if not (labels.sum(axis=0) > 1).any():
            assert seen == set(range(len(labels)))


def test_the_one_class_with_two_videos_is_the_pair() -> None:
    sampler = PairSampler(np.eye(9)[[0, 1, 2, 3, 4, 3, 5, 6, 7, 8]], 5, 0.6, seed=0)
    for step in range(20):
        assert set(sampler.batch(step)[:2].tolist()) == {3, 5}

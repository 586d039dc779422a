"""Effects of bad training data on the recipe of the `default` preset, with small sets.

Each case is compared with the same recipe on a clean set: no NaN, foreground and background are both still predicted
where both exist, and at least the stated share of the clean run's quality remains.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from avloc.config import preset
from avloc.evaluate.snippets import evaluate_snippets
from avloc.formats.features import FeatureStore
from avloc.metrics import detection_scores
from avloc.pipeline.localizer import load
from avloc.train.loop import fit
from avloc.types import FeatureSequence, Instance, SnippetGrid, VideoAnnotation
from feature_sets import make_videos, write_set

Videos = list[tuple[FeatureSequence, VideoAnnotation]]

CLASSES = ("bark", "drum", "saw")
TRAIN, TEST = 40, 24
RECIPE = {
    "model.embed_dim": 32,
    "train.steps": 100,
    "train.eval_every": 50,
    "train.batch_size": 16,
    "train.learning_rate": 3e-3,
}
T_IOU = (0.3, 0.5)
COLLAPSED = 0.05


@dataclass(frozen=True)
class Outcome:
    """Scores of a run on its test videos.

    Args:
        quality: mAP over T_IOU. ap: the same for each class. background, foreground: recalls.
    """

    quality: float
    ap: Mapping[str, float]
    background: float
    foreground: float


def videos_of(classes: tuple[str, ...] = CLASSES, background: int = 4) -> Videos:
    """Test videos first, so that background videos are in training; noisy enough for mistakes."""
    return make_videos(TRAIN + TEST, classes, noise=0.8, seed=1, background_videos=background)


def outcome(
    folder: Path, videos: Videos, labels: Mapping[str, str] | None = None, left_out: Collection[str] = ()
) -> Outcome:
    """Train on all but the first TEST videos, evaluate on those.

    Args:
        labels: {video: what labels.csv says instead of the truth}. left_out: not trained on.
    """
    tests = [truth for _, truth in videos[:TEST]]
    features, table = write_set(folder, videos)
    subsets = ["test"] * TEST + ["train"] * (len(videos) - TEST)
    lines = []
    for line, subset in zip(table.read_text(encoding="utf-8").splitlines()[1:], subsets, strict=True):
        video, named = line.split(",")
        if video not in left_out:
            lines.append(f"{video},{(labels or {}).get(video, named)},{subset}")
    table.write_text("\n".join(["video,labels,subset", *lines]) + "\n", encoding="utf-8")
    fit(features, table, folder / "run", preset("default", RECIPE))
    localizer, store = load(folder / "run"), FeatureStore(features)
    results = [localizer.localize(store.load(truth.video_id)) for truth in tests]
    assert all(np.isfinite(result.activations.probs).all() for result in results)
    scores = detection_scores({result.video_id: result.detections for result in results}, tests, T_IOU)
    snippets = evaluate_snippets([result.activations for result in results], tests)
    assert snippets is not None
    ap = {name: float(scores.ap[:, k].mean()) for k, name in enumerate(scores.classes)}
    recalls = snippets.snippets.background_recall, snippets.snippets.foreground_recall
    return Outcome(scores.average_mean_ap, ap, *recalls)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    found = outcome(tmp_path_factory.mktemp("clean"), videos_of())
    assert found.quality > 0.5  # else shares of it mean nothing
    return found


def check_sound(found: Outcome, clean: Outcome, share: float) -> None:
    """Neither recall has collapsed, and this share of the clean run's quality remains."""
    assert found.background > COLLAPSED
    assert found.foreground > COLLAPSED
    assert found.quality >= share * clean.quality


def test_a_tenth_of_the_labels_is_wrong_or_missing(clean: Outcome, tmp_path: Path) -> None:
    """A missing label is also wrong: it means that nothing happens in the video."""
    videos = videos_of()
    train = [truth for _, truth in videos[TEST:] if truth.instances]
    labels = {}
    for k, i in enumerate(np.random.default_rng(1).permutation(len(train))[: TRAIN // 10]):
        others = [name for name in CLASSES if name != train[i].instances[0].label]
        labels[train[i].video_id] = others[0] if k % 2 else ""
    check_sound(outcome(tmp_path, videos, labels), clean, 0.5)


def test_a_class_with_three_videos_is_still_found(clean: Outcome, tmp_path: Path) -> None:
    videos = videos_of()
    saws = [truth.video_id for _, truth in videos[TEST:] if any(i.label == "saw" for i in truth.instances)]
    found = outcome(tmp_path, videos, left_out=saws[3:])
    check_sound(found, clean, 0.5)
    assert found.ap["saw"] > 0.15


def test_one_class_only(clean: Outcome, tmp_path: Path) -> None:
    check_sound(outcome(tmp_path, videos_of(("bark",))), clean, 0.5)


def test_no_video_of_background_alone(clean: Outcome, tmp_path: Path) -> None:
    check_sound(outcome(tmp_path, videos_of(background=0)), clean, 0.5)


def test_one_class_and_no_video_of_background_says_that_it_cannot_know(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With one label on all videos, actions cannot be told from background. No NaN, and a warning before training."""
    with caplog.at_level(logging.WARNING, logger="avloc.train"):
        outcome(tmp_path, videos_of(("bark",), background=0))
    assert "actions cannot be separated from background" in caplog.text


def test_videos_that_are_action_from_start_to_end_stay_foreground(tmp_path: Path) -> None:
    found = outcome(tmp_path, [_cropped(*video) for video in videos_of(background=0)])
    assert np.isnan(found.background)  # there is no background
    assert found.foreground > 0.8


def _cropped(features: FeatureSequence, truth: VideoAnnotation) -> tuple[FeatureSequence, VideoAnnotation]:
    """Only the seconds of the instance."""
    instance = truth.instances[0]
    first, stop = round(instance.start_s), round(instance.end_s)
    length = float(stop - first)
    assert features.visual is not None
    assert features.audio is not None
    rows = {"visual": features.visual[first:stop], "audio": features.audio[first:stop]}
    whole = replace(truth, duration_s=length, instances=(Instance(0.0, length, instance.label),))
    return replace(features, duration_s=length, grid=SnippetGrid.cover(length, 1), **rows), whole

"""Localization by prompts, without training: constants chosen on training videos, and scores on the test videos."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from avloc.config import LocalizeConfig, PromptConfig, ZeroShotConfig
from avloc.formats.annotations import read_annotations
from avloc.formats.detections import write_segments_json
from avloc.formats.features import FeatureStore
from avloc.formats.labels import read_labels
from avloc.localize import localize
from avloc.paper.cells import DataSet
from avloc.pipeline.prompts import ZeroShot
from avloc.types import ActivationSequence
from benchmarks.console import add_command, markdown_table
from benchmarks.quality.calibration import calibrate
from benchmarks.quality.folds import Condition
from benchmarks.quality.models import score_detections, whole_video
from benchmarks.quality.sets import open_set

PARTS = ("settings", "scores", "test")
SETTINGS: dict[str, tuple[Any, ...]] = {
    "fusion": ("mean", "maximum", "noisy-or", "logits"),
    "audio_middle": (-5.0, -4.0, -3.0, -2.0, -1.0),
    "visual_middle": (0.0, 1.0, 2.0, 3.0, 4.0),
    "slope": (0.5, 0.75, 1.0, 1.5),
    "smooth_passes": (0, 1, 2),
    "video_power": (0.0, 0.5, 1.0),
}
COLUMNS = ("average mAP", "mAP@0.5", "accuracy", "background recall", "event F1")


def add_commands(commands: Any) -> None:
    parser = add_command(commands, zero_shot)
    parser.add_argument("--sets", type=Path, nargs="+", required=True, metavar="FOLDER")
    parser.add_argument("-o", "--out", type=Path, default=Path("zero-shot-out"))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS[:2]))


def zero_shot(args: argparse.Namespace) -> None:
    """Localization by prompts: the set's class names, scored by the taggers. Needs their features.

    The protocol is in docs/decisions.md, Words. --parts:

        settings   one setting changed at a time: average mAP on the training videos
        scores     Platt's two constants for the decoder, fitted on the training videos
        test       the test videos, both modalities and each alone. Choose nothing on these.
    """
    sets = [open_set(folder, args.out) for folder in args.sets]
    if "settings" in args.parts:
        print(settings([Prompted(data, "train") for data in sets]))
    if "scores" in args.parts:
        conditions = [Prompted(data, "train").condition(ZeroShotConfig()) for data in sets]
        print(calibrate(conditions, PromptConfig().localize)[2])
    if "test" in args.parts:
        print(test([Prompted(data, "test") for data in sets], args.out))


class Prompted:
    """One subset of a set, by prompts. Scores of the networks are computed once."""

    def __init__(self, data: DataSet, subset: str) -> None:
        self.data, table = data, read_labels(data.labels)
        store = FeatureStore(data.features)
        wanted = {row.video_id for row in table.subset(subset) if row.video_id in store}
        truths = read_annotations(data.folder / "ground_truth.json")[0]
        self.truths = tuple(truth for truth in truths if truth.video_id in wanted)
        self.features = [store.load(truth.video_id) for truth in self.truths]
        backbones = self.features[0].source.backbones
        made = {name: backbones.get(name) for name in ("audio", "visual")}
        config = PromptConfig()
        config = config.model_copy(update={"extract": config.extract.model_copy(update=made)})
        self.model = ZeroShot(table.classes, config)
        self.scores = [self.model.scores(one) for one in self.features]

    def activations(
        self, options: ZeroShotConfig, only: Sequence[str] = ("audio", "visual")
    ) -> dict[str, ActivationSequence]:
        """{video_id: activations} by other settings, or from some modalities only."""
        found = {}
        for features, scores in zip(self.features, self.scores, strict=True):
            some = {name: values if name in only else values * np.nan for name, values in scores.items()}
            found[features.video_id] = self.model.from_scores(features, some, options)
        return found

    def condition(self, options: ZeroShotConfig) -> Condition:
        """As the out-of-fold models' of `calibration`."""
        return Condition(self.data.name, self.truths, (self.activations(options),))


def settings(sets: Sequence[Prompted]) -> str:
    """Average mAP 0.5:0.95 in percent with one setting changed at a time; the present value is in bold."""
    rows, present, decode = [], ZeroShotConfig(), PromptConfig().localize
    for key, values in SETTINGS.items():
        for value in values:
            options = present.model_copy(update={key: value})
            means = [one.condition(options) for one in sets]
            found = [100 * c.average_map(c.decode(decode))[0] for c in means]
            name = f"`{key}` {value}"
            name = f"**{name}**" if value == getattr(present, key) else name
            rows.append([name, f"{np.mean(found):.1f}", *(f"{score:.1f}" for score in found)])
    return markdown_table(["setting", "mean", *(one.data.name for one in sets)], rows)


def test(sets: Sequence[Prompted], out: Path) -> str:
    """Scores of the test videos in percent, with 95 % intervals over the videos."""
    rows = []
    for one in sets:
        for name, only in (("audio and frames", ("audio", "visual")), ("audio", ("audio",)), ("frames", ("visual",))):
            activations = one.activations(ZeroShotConfig(), only)
            rows.append([one.data.name, name, *_row(one, activations, out / one.data.name / name)])
        both = one.activations(ZeroShotConfig())
        rows.append(
            [one.data.name, "whole video, predicted classes", *_row(one, both, out / one.data.name / "whole", True)]
        )
    return markdown_table(["set", "prompts scored in", *COLUMNS], rows)


def _row(one: Prompted, seen: Mapping[str, ActivationSequence], out: Path, whole: bool = False) -> list[str]:
    options: LocalizeConfig = PromptConfig().localize
    pairs = {video: whole_video(a) if whole else (localize(a, options), a) for video, a in seen.items()}
    write_segments_json(out / "segments.json", {video: found for video, (found, _) in pairs.items()})
    scores, draws = score_detections(out / "segments.json", [a for _, a in pairs.values()], one.truths)
    return [_with_interval(scores[name], draws.get(name)) for name in COLUMNS]


def _with_interval(score: float, draws: Float[np.ndarray, " n"] | None) -> str:
    text = f"{100 * score:.1f}"
    if draws is None:
        return text
    low, high = 100 * np.quantile(draws[1:], [0.025, 0.975])
    return f"{text} [{low:.1f}, {high:.1f}]"

"""Draft labels of `avloc tag`: how right they are, and what training on them alone gives."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from avloc.cli.console import Talk
from avloc.config import parse_overrides
from avloc.formats.features import FeatureStore
from avloc.formats.labels import LabelRow, LabelTable, read_labels, write_labels
from avloc.metrics.video import video_average_precision
from avloc.paper.cells import DataSet
from avloc.system.atomic import atomic_write
from avloc.system.text import fingerprint
from avloc.tagging.evidence import LIKELY, find_evidence
from avloc.tagging.heads import load_taggers
from avloc.tagging.vocabulary import map_words
from benchmarks.console import add_command, markdown_table, mean_sd
from benchmarks.quality.curve import AUTO, METRICS, config_on
from benchmarks.quality.models import Answer, Model, decoder
from benchmarks.quality.run import compute_missing
from benchmarks.quality.sets import held_out, open_set

TRUE, DRAFTS = "true labels", "drafts alone"
SENSES = ("audio", "visual", "both")


def add_commands(commands: Any) -> None:
    parser = add_command(commands, drafts, seeds=5, jobs=1, report_only=False)
    parser.add_argument("--sets", type=Path, nargs="+", required=True, metavar="FOLDER")
    parser.add_argument("-o", "--out", type=Path, default=Path("drafts-out"))
    parser.add_argument("--held-out", action="store_true", help="measure within the training videos")
    parser.add_argument("--set", dest="more", action="append", default=[], metavar="KEY=VALUE", help="for all runs")


def drafts(args: argparse.Namespace) -> None:
    """Draft labels from pretrained taggers beside the true ones. The sets' features are EfficientNet-Lite0's and
    EfficientAT mn04's; the words are the names of their classes.

    First the labels of each subset: mAP over classes, and precision and recall (pooled over classes) of labels with a
    probability of at least 0.5; from audio, from frames, from both. Then the `auto` preset trained on the drafts alone
    (a video without a draft counts as background), and on the true labels of the same videos.

    --held-out trains on four fifths of the training videos and measures on the others; the test subset is not read.

    Writes drafts.md to the output folder.
    """
    talk, failed, parts = Talk(), [], []
    for folder in args.sets:
        data = with_features(open_set(folder, args.out), args.out)
        data = held_out(data, args.out) if args.held_out else data
        quality, drafted = tagged(data, args.out)
        more = parse_overrides(args.more)
        answers = {
            f"{folder.name}, {name}, {seed}": Answer(
                data, Model(part, config_on(AUTO, part, more, seed), args.out), decoder("ours"), args.out
            )
            for name, part in ((TRUE, data), (DRAFTS, drafted))
            for seed in range(args.seeds)
        }
        failed += [] if args.report_only else compute_missing(answers, args.jobs, talk)
        parts.append(f"### {folder.name}\n\n{quality}\n{scores(answers)}")
    page = "\n".join(parts)
    print(page)
    atomic_write(args.out / "drafts.md", page)
    for line in failed:
        talk.err.print(f"failed: {line}", markup=False, soft_wrap=True)
    sys.exit(1 if failed else 0)


def with_features(data: DataSet, out: Path) -> DataSet:
    """The set without labelled videos that have no features; the set itself if there are none."""
    store, rows = FeatureStore(data.features), read_labels(data.labels).rows
    kept = [row for row in rows if row.video_id in store]
    return data if len(kept) == len(rows) else relabelled(data, out / "sets" / f"{data.folder.name}-there", kept)


def relabelled(data: DataSet, home: Path, rows: Sequence[LabelRow]) -> DataSet:
    """The same features and ground truth with other labels."""
    write_labels(home / "labels.csv", LabelTable(tuple(rows)))
    atomic_write(home / "ground_truth.json", (data.folder / "ground_truth.json").read_text(encoding="utf-8"))
    if not (home / "features").exists():
        (home / "features").symlink_to(data.features.resolve(), target_is_directory=True)
    facts = [data.fingerprint, [(row.video_id, row.labels, row.subset) for row in rows]]
    return replace(data, folder=home, fingerprint=fingerprint(facts))


def tagged(data: DataSet, out: Path) -> tuple[str, DataSet]:
    """A table of the drafts' quality, and the set with drafts in place of the training labels."""
    table, store = read_labels(data.labels), FeatureStore(data.features)
    concepts = map_words(table.classes).concepts
    words = [concept.word for concept in concepts]
    found: dict[str, dict[str, Float[np.ndarray, " w"]]] = {}
    for row in table.rows:
        features = store.load(row.video_id)
        evidence = find_evidence(features, concepts, load_taggers(features))
        per_snippet = {"audio": evidence.alone("audio"), "visual": evidence.alone("visual")}
        per_snippet["both"] = evidence.probabilities()
        found[row.video_id] = {sense: p.max(axis=0) for sense, p in per_snippet.items()}
    lines = []
    for subset in ("train", "test"):
        rows = table.subset(subset)
        truth = np.array([[word in row.labels for word in words] for row in rows])
        for sense in SENSES:
            predicted = np.array([found[row.video_id][sense] for row in rows])
            lines.append([f"{subset}, {sense}", *(f"{100 * x:.1f}" for x in quality_of(predicted, truth)), len(rows)])
    drafted = [
        row
        if row.subset != "train"
        else replace(
            row, labels=tuple(w for w, p in zip(words, found[row.video_id]["both"], strict=True) if p >= LIKELY)
        )
        for row in table.rows
    ]
    columns = ["labels, percent", "mAP", "precision", "recall", "videos"]
    return markdown_table(columns, lines), relabelled(data, out / "sets" / f"{data.folder.name}-drafts", drafted)


def quality_of(predicted: Float[np.ndarray, "v w"], truth: Bool[np.ndarray, "v w"]) -> tuple[float, float, float]:
    """(mAP over classes that occur, precision, recall) at a probability of `LIKELY`."""
    claimed = predicted >= LIKELY
    right = float((claimed & truth).sum())
    return video_average_precision(predicted, truth).mean_ap, right / max(1, claimed.sum()), right / truth.sum()


def scores(answers: Mapping[str, Answer]) -> str:
    """A table of METRICS after training on each kind of labels."""
    rows = []
    for name in (TRUE, DRAFTS):
        found = [
            facts["scores"] for key, a in answers.items() if f", {name}, " in key and (facts := a.facts) is not None
        ]
        rows.append([name, *(mean_sd([each[metric] for each in found]) for metric in METRICS), len(found)])
    return markdown_table(["trained on", *METRICS, "seeds"], rows)

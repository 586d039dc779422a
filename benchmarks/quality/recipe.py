"""The recipe's open choices, and the same measurements for the rows of the paper's tables."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avloc.config import parse_overrides
from avloc.formats.features import FeatureStore
from avloc.metrics import rasterise
from avloc.model.batch import collate
from avloc.paper.cells import Cell, DataSet, open_data
from avloc.paper.rows import ROWS, Row
from avloc.paper.runner import cell_of, compute_all
from avloc.pipeline.localizer import Localizer, load
from avloc.presets import RECIPES
from avloc.types import FeatureSequence
from benchmarks.console import add_command, markdown_table, mean_sd

CHOICES = {
    "as it is": Row(),
    "background: never": Row({"loss.mil_background": "never"}),
    "background: known": Row({"loss.mil_background": "known"}),
    "background: always 1": Row({"loss.mil_background_weight": 1.0}),
    "MIL on logits": Row({"loss.mil_scores": "logits"}),
    "Λ x 16": Row({"model.correlation_scale": 16.0}),
    "τ 0.5": Row({"loss.threshold": 0.5}),
    "τ 0.9": Row({"loss.threshold": 0.9}),
    "warm-up 0.3": Row({"loss.warmup": 0.3}),
    "N 0": Row({"loss.neighbors": 0}),
    "N 8": Row({"loss.neighbors": 8}),
    "N 2": Row({"loss.neighbors": 2}),
    "τ 0.5, N 0": Row({"loss.threshold": 0.5, "loss.neighbors": 0}),
    "τ 0.5, N 8": Row({"loss.threshold": 0.5, "loss.neighbors": 8}),
    "τ 0.5, warm-up 0.3": Row({"loss.threshold": 0.5, "loss.warmup": 0.3}),
}
"""Changes to the full model (2 stages, open-max, all losses). N has an effect only where L_pseu is active."""

SHOWN = {
    "mAP@0.5": "mAP@0.5",
    "average mAP": "average",
    "accuracy": "accuracy",
    "background recall": "background",
    "foreground recall": "foreground",
    "mu background": "μ bg",
    "mu foreground": "μ fg",
    "video": "video",
    "within": "within",
    "gap": "gap",
    "pseudo": "L_pseu",
}


def add_commands(commands: Any) -> None:
    parser = add_command(commands, recipe, seeds=1, report_only=False)
    parser.add_argument("--data", required=True, help="PRESET=FOLDER")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--set", dest="sets", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--recipe", default="paper", choices=RECIPES)
    parser.add_argument("--only", nargs="+", default=["choices"], choices=["choices", *ROWS], metavar="NAME")


def recipe(args: argparse.Namespace) -> None:
    """The recipe's open choices, one changed at a time around the full model; or rows of the paper's tables (--only).

    With the -o and --set of `avloc tables` the two commands share their runs; finished runs are reused. In addition to
    the scores of the tables, measured on the test videos (recalls: argmax of every snippet):

        foreground    recall: share of action snippets that get their class
        μ bg, μ fg    mean reliability of background and of action snippets
        video         share of videos whose best-scored class is a true one
        within        share of the variance of the embedding (the classifiers' input) within videos, not between them
        gap           distance between a video's mean action and mean background embedding, divided by the mean norm
                      of its rows
        L_pseu        share of training snippets on which it is active, mean over the last fifth of the run
    """
    torch.set_num_threads(1)
    plan = plan_of(args.only, open_data(args.data), args.seeds, args.sets, args.out, args.recipe)
    cells = [cell for rows in plan.values() for row in rows.values() for cell in row]
    failed = {} if args.report_only else compute_all(cells)
    for name, rows in plan.items():
        print(f"{name}\n\n{markdown(rows)}")
    for key, reason in failed.items():
        print(f"failed: {args.out / 'runs' / key}: {reason}", file=sys.stderr)
    sys.exit(1 if failed else 0)


def plan_of(
    names: Sequence[str], data: DataSet, seeds: int, sets: Sequence[str], out: Path, recipe: str = "paper"
) -> dict[str, dict[str, list[Cell]]]:
    """{"choices" or a table: {row: its cells, one per seed}}."""
    overrides = parse_overrides(sets)
    return {
        name: {
            row: [cell_of(changed, data, seed, overrides, out, recipe) for seed in range(seeds)]
            for row, changed in (CHOICES if name == "choices" else ROWS[name]).items()
        }
        for name in names
    }


def markdown(rows: Mapping[str, Sequence[Cell]]) -> str:
    """A table of the rows with finished cells."""
    lines = []
    for row, cells in rows.items():
        found = [measured(cell) for cell in cells if cell.path.exists()]
        if found:
            texts = [mean_sd([scores[key] for scores in found if key in scores]) for key in SHOWN]
            lines.append([row, *texts, len(found)])
    return markdown_table(["", *SHOWN.values(), "seeds"], lines)


def measured(cell: Cell) -> Mapping[str, float]:
    """All measurements of a finished cell, in [0, 1]; computed once, kept in OUT/recipe."""
    scores: dict[str, float] = json.loads(cell.path.read_text(encoding="utf-8"))["scores"]
    kept = cell.home / "recipe" / f"{cell.key}.json"
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(json.dumps({**_on_tests(cell), "pseudo": _pseudo_rate(cell.run)}), encoding="utf-8")
    return {**scores, **json.loads(kept.read_text(encoding="utf-8"))}


def _on_tests(cell: Cell) -> dict[str, float]:
    localizer, store = load(cell.run), FeatureStore(cell.features)
    background, foreground, right, videos, means, spreads, gaps = [], [], [], [], [], [], []
    for truth in cell.data.tests():
        features = store.load(truth.video_id)
        found, rows = localizer.activations(features), _embedding(localizer, features)
        true = rasterise(truth, found.grid, found.classes)
        means.append(rows.mean(axis=0))
        spreads.append(rows.var(axis=0).sum())
        if 0 < (true > 0).sum() < len(true):
            gap = rows[true > 0].mean(axis=0) - rows[true == 0].mean(axis=0)
            gaps.append(np.linalg.norm(gap) / np.linalg.norm(rows, axis=1).mean())
        reliability = 1 - found.probs[:, 0]
        background.append(reliability[true == 0])
        foreground.append(reliability[true > 0])
        right.append(found.probs.argmax(axis=1)[true > 0] == true[true > 0])
        videos.append(found.classes[int(found.video_scores.argmax())] in {i.label for i in truth.instances})
    return {
        "mu background": float(np.concatenate(background).mean()),
        "mu foreground": float(np.concatenate(foreground).mean()),
        "foreground recall": float(np.concatenate(right).mean()),
        "video": float(np.mean(videos)),
        "within": float(np.mean(spreads) / (np.mean(spreads) + np.var(means, axis=0).sum())),
        "gap": float(np.mean(gaps)) if gaps else 0.0,
    }


@torch.no_grad()
def _embedding(localizer: Localizer, features: FeatureSequence) -> np.ndarray:
    """X_att of a video, (L, d)."""
    card, rows = localizer.card, np.arange(features.grid.count)
    nobody = np.zeros((1, len(card.classes)))
    batch = collate([(features, rows)], nobody, card.audio_size, card.visual_size)
    return localizer.model(batch).embedding[0].numpy()


def _pseudo_rate(run: Path) -> float:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    rates = [row["train/pseudo_rate"] for row in rows]
    return statistics.mean(rates[-max(1, len(rates) // 5) :])

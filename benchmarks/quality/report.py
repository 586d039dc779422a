"""Tables of the answers: scores over seeds, differences from `default` and their significance, missing modalities."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avloc.metrics import Difference, paired_difference
from avloc.system.atomic import atomic_write
from avloc.system.text import csv_text
from benchmarks.console import markdown_table, mean_sd
from benchmarks.quality.models import Answer

COLUMNS = {
    "average mAP": ".5:.95",
    "average mAP 0.1:0.7": ".1:.7",
    "mAP@0.3": "@.3",
    "mAP@0.5": "@.5",
    "mAP@0.75": "@.75",
    "mAP@0.95": "@.95",
    "accuracy": "accuracy",
    "background recall": "bg recall",
    "foreground recall": "fg recall",
    "event F1": "event F1",
}
"""{metric: column heading}."""

REFERENCE = "default"
_REFERENCES = (REFERENCE, f"{REFERENCE}, 2 stages")  # the same model, by its name in METHODS and in FUSION
COMPARED = ("average mAP", "average mAP 0.1:0.7", "accuracy")
SAME_DECODE = ", same decode"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        part: part of the table. name: the method. decode: "paper's", "ours" or "".
        answers: one per seed, computed or not.
    """

    part: str
    name: str
    decode: str
    answers: tuple[Answer, ...]


def scores_of(row: Row) -> dict[str, tuple[float, ...]]:
    """{metric: one value per finished seed}."""
    found = [facts["scores"] for answer in row.answers if (facts := answer.facts) is not None]
    return {name: tuple(s[name] for s in found if name in s) for name in COLUMNS if any(name in s for s in found)}


def differences(rows: Sequence[Row], row: Row) -> dict[str, Difference]:
    """A method minus `default` with our decoder; and, with SAME_DECODE, minus `default` with the row's decoder."""
    found: dict[str, Difference] = {}
    if not scores_of(row):
        return found
    ours, same = _reference(rows, "ours"), _reference(rows, row.decode)
    for suffix, other in (("", ours), (SAME_DECODE, None if same is ours else same)):
        if other is not None and other is not row:
            for metric in COMPARED:
                found[metric + suffix] = paired_difference(_draws(row, metric), _draws(other, metric))
    return found


def _reference(rows: Sequence[Row], decode: str) -> Row | None:
    return next((r for r in rows if r.name in _REFERENCES and r.decode == decode and scores_of(r)), None)


def _draws(row: Row, metric: str) -> np.ndarray:
    return np.stack([answer.draws[metric] for answer in row.answers if answer.facts is not None])


def markdown(tables: Mapping[str, Sequence[Row]], note: str) -> str:
    """For each set its scores, its differences and the effect of missing modalities; empty tables are left out."""
    parts = [note]
    for name, rows in tables.items():
        parts.append(f"### {name}\n")
        for head, lines in (_score_table(rows), _difference_table(rows), _missing_table(rows)):
            if lines:
                parts.append(markdown_table(head, lines))
    return "\n".join(parts)


Lines = tuple[list[str], list[list[str]]]


def _score_table(rows: Sequence[Row]) -> Lines:
    lines = []
    for row in rows:
        scores = scores_of(row)
        if scores:
            cells = [mean_sd(scores.get(metric, ()), 2 if "mAP" in metric else 1) for metric in COLUMNS]
            lines.append([row.name, row.decode, *cells])
    return ["method", "decode", *COLUMNS.values()], lines


def _difference_table(rows: Sequence[Row]) -> Lines:
    keys = ["average mAP", "average mAP" + SAME_DECODE, "average mAP 0.1:0.7", "accuracy"]
    found = [(row, differences(rows, row)) for row in rows]
    lines = [[row.name, row.decode, *(_in_points(gaps.get(key)) for key in keys)] for row, gaps in found if gaps]
    return [f"minus {REFERENCE}", "decode", *keys], lines


def _in_points(found: Difference | None) -> str:
    """The difference, its 95 % interval and p value, and a star where the interval excludes 0."""
    if found is None:
        return ""
    low, high = 100 * found.low, 100 * found.high
    return f"{100 * found.observed:+.2f} [{low:+.2f}, {high:+.2f}] p {found.p:.1g}{' *' * found.real}"


def _missing_table(rows: Sequence[Row]) -> Lines:
    return ["average mAP", "default", "the model that never had it", "share (target 0.9)"], missing_modalities(rows)


def missing_modalities(rows: Sequence[Row]) -> list[list[str]]:
    """Average mAP without a modality, and as a share of the model trained without it."""
    names = {row.name: scores_of(row).get("average mAP", ()) for row in rows if row.decode == "ours"}
    lines = []
    for trained in ("", ", gaps in training"):
        for gone, alone in (("audio", "visual only"), ("visual", "audio only")):
            mine, other = names.get(f"default{trained}, {gone} removed", ()), names.get(f"{alone}{trained}", ())
            if mine and other:
                share = statistics.mean(mine) / max(statistics.mean(other), 1e-9)
                what = f"{gone} removed{trained}"
                lines.append([what, mean_sd(mine, 2), f"{alone} {mean_sd(other, 2)}", f"{share:.2f}"])
    return lines


def write_all(tables: Mapping[str, Sequence[Row]], out: Path, note: str) -> list[Path]:
    """Write OUT/quality.csv, .md and .json."""
    facts = {name: [_facts(rows, row) for row in rows if scores_of(row)] for name, rows in tables.items()}
    content = {
        ".csv": _csv(facts),
        ".md": markdown(tables, note),
        ".json": json.dumps({"note": note, "sets": facts}, indent=1) + "\n",
    }
    paths = [out / f"quality{suffix}" for suffix in content]
    for path, text in zip(paths, content.values(), strict=True):
        atomic_write(path, text)
    return paths


def _facts(rows: Sequence[Row], row: Row) -> dict[str, Any]:
    finished = [facts for answer in row.answers if (facts := answer.facts)]
    return {
        "part": row.part,
        "method": row.name,
        "decode": row.decode,
        "scores": scores_of(row),
        "minus_default": {metric: vars(found) for metric, found in differences(rows, row).items()},
        **{key: [facts[key] for facts in finished if key in facts] for key in ("train_s", "cpu_s")},
    }


def _csv(tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    head = ["set", "part", "method", "decode", "metric", "mean", "sd", "values", "minus_default", "low", "high", "p"]
    lines = [head]
    for name, rows in tables.items():
        for facts in rows:
            for metric, values in facts["scores"].items():
                mean = f"{statistics.mean(values):.6g}"
                spread = f"{statistics.stdev(values):.6g}" if len(values) > 1 else ""
                gap = facts["minus_default"].get(metric)
                gaps = [f"{gap[key]:.6g}" for key in ("observed", "low", "high", "p")] if gap else [""] * 4
                where = [name, facts["part"], facts["method"], facts["decode"], metric]
                lines.append([*where, mean, spread, " ".join(f"{v:.6g}" for v in values), *gaps])
    return csv_text(lines)

"""The answers as a table: scores over seeds, differences that are real, what a missing track costs."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avloc.metrics import Difference, paired_difference
from avloc.system.atomic import atomic_write
from quality_models import Answer

__all__ = [
    "COLUMNS",
    "REFERENCE",
    "Row",
    "differences",
    "markdown",
    "missing_tracks",
    "scores_of",
    "text_table",
    "write_all",
]

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
"""Metric -> the head of its column."""

REFERENCE = "default"
COMPARED = ("average mAP", "average mAP 0.1:0.7", "accuracy")


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        part: which part of the table it is in. name: the method. decode: "paper's", "ours" or "".
        answers: one a seed, given or not.
    """

    part: str
    name: str
    decode: str
    answers: tuple[Answer, ...]


def scores_of(row: Row) -> dict[str, tuple[float, ...]]:
    """{metric: one number a seed that is there}."""
    found = [facts["scores"] for answer in row.answers if (facts := answer.facts) is not None]
    return {name: tuple(s[name] for s in found if name in s) for name in COLUMNS if any(name in s for s in found)}


def _draws(row: Row, metric: str) -> np.ndarray:
    return np.stack([answer.draws[metric] for answer in row.answers if answer.facts is not None])


def _reference(rows: Sequence[Row], decode: str) -> Row | None:
    found = [r for r in rows if (r.name, r.decode) == (REFERENCE, decode) and scores_of(r)]
    return found[0] if found else None


def differences(rows: Sequence[Row], row: Row) -> dict[str, Difference]:
    """A method minus `default`: {metric: against our decode; metric, same decode: against the row's own}."""
    found = {}
    ours, same = _reference(rows, "ours"), _reference(rows, row.decode)
    if not scores_of(row):
        return {}
    for suffix, other in (("", ours), (", same decode", same)):
        if other is not None and other is not row and (not suffix or other is not ours):
            for metric in COMPARED:
                found[metric + suffix] = paired_difference(_draws(row, metric), _draws(other, metric))
    return found


def _mean(values: Sequence[float], digits: int = 2) -> str:
    if not values:
        return ""
    text = f"{100 * statistics.mean(values):.{digits}f}"
    return f"{text} ± {100 * statistics.stdev(values):.{digits}f}" if len(values) > 1 else text


def _difference(found: Difference | None) -> str:
    """In points, its 95 % interval, and a star where 0 is outside."""
    if found is None:
        return ""
    low, high = 100 * found.low, 100 * found.high
    return f"{100 * found.observed:+.2f} [{low:+.2f}, {high:+.2f}] p {found.p:.1g}{' *' * found.real}"


def score_lines(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Head and lines of the table of scores; a line without answers is left out."""
    head = ["method", "decode", *COLUMNS.values()]
    lines = []
    for row in rows:
        scores = scores_of(row)
        if scores:
            cells = [_mean(scores.get(metric, ()), 2 if "mAP" in metric else 1) for metric in COLUMNS]
            lines.append([row.name, row.decode, *cells])
    return head, lines


def difference_lines(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Head and lines of the table of differences from `default`."""
    keys = ["average mAP", "average mAP, same decode", "average mAP 0.1:0.7", "accuracy"]
    lines = []
    for row in rows:
        found = differences(rows, row)
        if found:
            lines.append([row.name, row.decode, *(_difference(found.get(key)) for key in keys)])
    return [f"minus {REFERENCE}", "decode", *keys], lines


def missing_tracks(rows: Sequence[Row]) -> list[list[str]]:
    """What is left when a track is gone, as a share of the model that never had it: what, ours, theirs, share."""
    names = {row.name: scores_of(row).get("average mAP", ()) for row in rows if row.decode == "ours"}
    lines = []
    for trained in ("", ", gaps in training"):
        for gone, alone in (("audio", "visual only"), ("visual", "audio only")):
            mine = names.get(f"default{trained}, {gone} removed", ())
            other = names.get(f"{alone}{trained}", ())
            if mine and other:
                share = statistics.mean(mine) / max(statistics.mean(other), 1e-9)
                lines.append([f"{gone} removed{trained}", _mean(mine), f"{alone} {_mean(other)}", f"{share:.2f}"])
    return lines


MISSING_HEAD = ["average mAP", "default", "the model that never had it", "share (0.9 is asked)"]


def markdown(tables: Mapping[str, Sequence[Row]], note: str) -> str:
    """A page: for each set its scores, its differences and its missing tracks."""
    parts = [note]
    for name, rows in tables.items():
        parts.append(f"### {name}\n")
        for head, lines in (score_lines(rows), difference_lines(rows), (MISSING_HEAD, missing_tracks(rows))):
            if lines:
                parts.append(_markdown_table(head, lines))
    return "\n".join(parts)


def text_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need, for a terminal or a log."""
    widths = [max(len(line[k]) for line in [head, *lines]) for k in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if k == 0 else cell.rjust(w) for k, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in [head, *lines]
    )


def _markdown_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---"] * 2 + ["---:"] * (len(head) - 2)
    return "".join(f"| {' | '.join(line)} |\n" for line in [head, rule, *lines])


def facts_of(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Every line as plain numbers."""
    return [
        {
            "part": row.part,
            "method": row.name,
            "decode": row.decode,
            "scores": scores_of(row),
            "minus_default": {metric: vars(found) for metric, found in differences(rows, row).items()},
            **{
                key: [facts[key] for a in row.answers if (facts := a.facts) and key in facts]
                for key in ("train_s", "cpu_s")
            },
        }
        for row in rows
        if scores_of(row)
    ]


def _csv(tables: Mapping[str, Sequence[Row]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    head = ["set", "part", "method", "decode", "metric", "mean", "sd", "values", "minus_default", "low", "high", "p"]
    writer.writerow(head)
    for name, rows in tables.items():
        for facts in facts_of(rows):
            for metric, values in facts["scores"].items():
                spread = f"{statistics.stdev(values):.6g}" if len(values) > 1 else ""
                gap = facts["minus_default"].get(metric)
                gaps = [f"{gap[key]:.6g}" for key in ("observed", "low", "high", "p")] if gap else [""] * 4
                where = [name, facts["part"], facts["method"], facts["decode"], metric]
                each = " ".join(f"{v:.6g}" for v in values)
                writer.writerow([*where, f"{statistics.mean(values):.6g}", spread, each, *gaps])
    return text.getvalue()


def write_all(tables: Mapping[str, Sequence[Row]], out: Path, note: str) -> list[Path]:
    """OUT/quality.csv, .md and .json."""
    content = {
        ".csv": _csv(tables),
        ".md": markdown(tables, note),
        ".json": json.dumps({"note": note, "sets": {name: facts_of(rows) for name, rows in tables.items()}}, indent=1)
        + "\n",
    }
    paths = [out / f"quality{suffix}" for suffix in content]
    for path, text in zip(paths, content.values(), strict=True):
        atomic_write(path, text)
    return paths

"""Our cells beside the paper's: as a table for the terminal, as CSV (one line per cell) and as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from avloc.paper.cells import Cell, DataSet, read_cell
from avloc.paper.multiply_adds import multiply_adds, paper_card
from avloc.paper.published import ACCURACY, FLOPS, PAPER, PaperTable
from avloc.paper.rows import ROWS
from avloc.presets import PRESETS
from avloc.system.atomic import atomic_write
from avloc.system.outputs import output_folder
from avloc.system.text import csv_text, pluralize

EXTRA = ("background recall", "event F1")
"""Columns of our runs that complement accuracy, in tables that have it."""

Values = dict[tuple[str, str], tuple[float, ...]]


@dataclass(frozen=True)
class Filled:
    """One of the paper's tables with our numbers.

    Args:
        name, paper: the table.
        data: name of our data set, or "".
        recipe: of our models.
        columns: the paper's that apply to the data, then ours.
        ours: {(row, column): one value per seed}; scores in [0, 1], or multiply-adds.
        trivial: {column: score of the baseline, true classes over full videos}, in [0, 1].
    """

    name: str
    paper: PaperTable
    data: str
    recipe: str
    columns: tuple[str, ...]
    ours: Values
    trivial: Mapping[str, float]


def fill(name: str, data: DataSet | None, cells: Mapping[str, Sequence[Cell]], recipe: str = "paper") -> Filled:
    """Fill a table with the finished cells.

    Args:
        name: "table1" to "table10".
        data: None gives the paper's cells, and the multiply-adds at the paper's sizes, which need no data.
        cells: {row: its cells, one per seed}.
        recipe: of the cells.
    """
    paper = PAPER[name]
    columns = _columns(paper, data)
    ours: Values = {}
    trivial: dict[str, float] = {}
    for row, runs in cells.items():
        scores = [facts["scores"] for cell in runs if (facts := read_cell(cell.path)) is not None]
        for column in columns:
            values = tuple(s[column] for s in scores if column in s)
            if values:
                ours[row, column] = values
        for found in scores:
            trivial |= {c: found[f"trivial {c}"] for c in columns if f"trivial {c}" in found}
    if FLOPS in columns and data is None:
        for row, changes in ROWS[name].items():
            ours[row, FLOPS] = (multiply_adds(paper_card(changes.config(PRESETS[recipe], {}, 0))),)
    return Filled(name, paper, data.name if data is not None else "", recipe, columns, ours, trivial)


def _columns(paper: PaperTable, data: DataSet | None) -> tuple[str, ...]:
    """AVE's columns for AVE, ActivityNet's for ActivityNet, all otherwise; then ours, if there is data."""
    kept = paper.columns
    if data is not None and data.name in ("ave", "activitynet"):
        kept = tuple(c for c in paper.columns if (c == ACCURACY) == (data.name == "ave") or c == FLOPS)
    return (*kept, *EXTRA) if data is not None and ACCURACY in kept else kept


def lines_of(filled: Filled, columns: Sequence[str]) -> list[list[str]]:
    """Rows of text: per row the paper's cells and, below, ours if any; the trivial baseline last."""
    lines = []
    for row in filled.paper.rows:
        lines.append([row, *(filled.paper.cell(row, c) for c in columns)])
        values = [filled.ours.get((row, c), ()) for c in columns]
        if any(values):
            lines.append(["  ours", *(_text(c, v) for c, v in zip(columns, values, strict=True))])
    if filled.trivial:
        cells = [_text(c, (filled.trivial[c],) if c in filled.trivial else ()) for c in columns]
        lines.append(["whole video, true class", *cells])
    return lines


def narrow(filled: Filled) -> list[str]:
    """Columns that fit a terminal: three of ten thresholds; tables.md has all."""
    if len(filled.columns) <= 9:
        return list(filled.columns)
    return [c for c in filled.columns if not c.startswith("mAP") or c in ("mAP@0.5", "mAP@0.75", "mAP@0.95")]


def _text(column: str, values: Sequence[float]) -> str:
    """Mean and, for several seeds, standard deviation, in percent; multiply-adds as 4.50e6."""
    if not values:
        return ""
    if column == FLOPS:
        return f"{values[0] / 1e6:.2f}e6"
    mean = f"{100 * statistics.mean(values):.1f}"
    return f"{mean} ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else mean


def title_of(filled: Filled) -> str:
    """Heading: the paper's table, and the data, recipe and seeds of our lines."""
    seeds = max((len(v) for (_, c), v in filled.ours.items() if c != FLOPS), default=0)
    ours = f"ours: {filled.data}, recipe {filled.recipe}, {pluralize(seeds, 'seed')}" if seeds else "no runs of ours"
    return f"Table {filled.paper.number} (p. {filled.paper.page}), {filled.paper.title}: the paper's numbers; {ours}"


def _markdown(filled: Filled) -> str:
    head = ["", *filled.columns]
    rows = [head, ["---"] * len(head), *lines_of(filled, filled.columns)]
    return f"### {title_of(filled)}\n\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _csv(tables: Sequence[Filled]) -> str:
    head = ["table", "page", "row", "column", "paper", "data", "recipe", "mean", "std", "seeds", "values"]
    rows: list[Sequence[object]] = [head]
    for filled in tables:
        for row in filled.paper.rows:
            for column in filled.columns:
                values = filled.ours.get((row, column), ())
                cell = filled.paper.cell(row, column)
                if not (cell or values):
                    continue
                mean = f"{statistics.mean(values):.6g}" if values else ""
                spread = f"{statistics.stdev(values):.6g}" if len(values) > 1 else ""
                each = " ".join(f"{v:.6g}" for v in values)
                where = [filled.paper.number, filled.paper.page, row, column, cell, filled.data, filled.recipe]
                rows.append([*where, mean, spread, len(values), each])
    return csv_text(rows)


NOTE = """Paper: Lee et al., ICLR 2021, cells verbatim, percent. Ours: percent, mean ± standard deviation over seeds.
Recipe paper: what the paper states; recipe default: avloc's. Multiply-adds are per snippet, counted by torch in the
trained networks; without data, at the paper's sizes.
"""


def write_tables(tables: Sequence[Filled], out: Path) -> tuple[Path, Path]:
    """Write OUT/tables.csv and OUT/tables.md; return their paths."""
    targets = out / "tables.csv", out / "tables.md"
    with output_folder(out):
        atomic_write(targets[0], _csv(tables))
        atomic_write(targets[1], NOTE + "\n" + "\n".join(map(_markdown, tables)))
    return targets

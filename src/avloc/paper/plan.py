"""Recompute tables of the paper: which cells they need, and the tables filled from those.

plan = plan_tables(["table1"], ["demo=demo-out"], Path("tables"))
make_tables(plan, Path("tables"), workers=2)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avloc.errors import InputError, did_you_mean
from avloc.paper.cells import Cell, DataSet, open_data
from avloc.paper.rows import rows_of
from avloc.paper.runner import cell_of, compute_all, needed
from avloc.paper.show import Filled, fill, write_tables
from avloc.presets import RECIPES
from avloc.types import Progress


@dataclass(frozen=True)
class TablesPlan:
    """Cells of each table on each data set.

    Args:
        cells: {(table, data set): {row: its cells, one a seed}}.
        recipe: of `presets.RECIPES`.
    """

    tables: tuple[str, ...]
    sources: tuple[DataSet, ...]
    cells: Mapping[tuple[str, DataSet], Mapping[str, Sequence[Cell]]]
    recipe: str = "paper"

    @property
    def all_cells(self) -> list[Cell]:
        """Cells of all tables; rows that are the same model repeat theirs."""
        return [cell for rows in self.cells.values() for runs in rows.values() for cell in runs]

    @property
    def runs(self) -> int:
        """Distinct cells."""
        return len({cell.key for cell in self.all_cells})

    @property
    def missing(self) -> int:
        """Cells to compute, including those that only give frozen stages."""
        return sum(map(len, needed(self.all_cells)))

    def fill(self) -> list[Filled]:
        """The tables with the cells that are finished; without a data set, the paper's cells alone."""
        places: list[DataSet | None] = [*self.sources] or [None]
        return [
            fill(table, source, self.cells[table, source] if source else {}, self.recipe)
            for table in self.tables
            for source in places
        ]


@dataclass(frozen=True)
class Tables:
    """Result of `make_tables`.

    Args:
        files: tables.csv and tables.md.
        failed: {key of a cell: reason}.
    """

    filled: Sequence[Filled]
    files: tuple[Path, Path]
    failed: Mapping[str, str]


def plan_tables(
    names: Sequence[str],
    data: Sequence[str],
    out: Path,
    seeds: int = 1,
    overrides: Mapping[str, Any] | None = None,
    recipe: str = "paper",
) -> TablesPlan:
    """List the cells that tables need; compute nothing.

    Args:
        names: "table1" to "table10"; all if empty.
        data: PRESET=FOLDER of data sets, as `open_data` takes them.
        seeds: runs per row, with seeds 0, 1, ...
        overrides: configuration changes that hold for all rows.
        recipe: the base of all rows: "paper", what the paper states, or "default", the best known recipe. Either has
            the schedule and sizes of the data set's preset.

    Raises:
        InputError: unknown table, preset or recipe, or incomplete data set. ConfigError: an invalid override.
    """
    if recipe not in RECIPES:
        raise InputError(f"--recipe takes {' or '.join(RECIPES)}, got {recipe!r}.{did_you_mean(recipe, RECIPES)}")
    wanted = rows_of(names)
    sources = tuple(map(open_data, data))
    cells = {
        (table, source): {
            name: [cell_of(row, source, seed, overrides or {}, out, recipe) for seed in range(seeds)]
            for name, row in rows.items()
        }
        for table, rows in wanted.items()
        for source in sources
    }
    return TablesPlan(tuple(wanted), sources, cells, recipe)


def make_tables(
    plan: TablesPlan, out: Path, workers: int = 1, ray: str | None = None, progress: Progress | None = None
) -> Tables:
    """Compute the missing cells, fill the tables and write them. Arguments and errors as in `compute_all`."""
    failed = compute_all(plan.all_cells, workers, ray, progress)
    filled = plan.fill()
    return Tables(filled, write_tables(filled, out), failed)

"""Compute missing cells, in one process or several, or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from avloc.errors import AvlocError, StorageError
from avloc.paper.cells import Cell, DataSet, compute
from avloc.paper.rows import Row
from avloc.presets import recipe_on
from avloc.system.allocator import freed_memory_kept
from avloc.system.isolate import NO_LIMITS, map_isolated
from avloc.system.locks import folder_lock
from avloc.system.outputs import output_folder
from avloc.types import Progress


def cell_of(row: Row, data: DataSet, seed: int, overrides: Mapping[str, Any], out: Path, recipe: str = "paper") -> Cell:
    """The cell of a row on a data set with a seed.

    Args:
        recipe: of `presets.RECIPES`.

    Raises:
        ConfigError: an invalid override.
    """
    parent = None if row.start is None else cell_of(row.start, data, seed, overrides, out, recipe)
    more: dict[str, Any] = {} if parent is None else {"train.init_from": "(the parent's run)"}
    if row.changes.get("model.method") == "tian" and data.grid_features is not None:
        more["model.grid_cells"] = data.grid_cells
    return Cell(data, row.config(recipe_on(recipe, data.name), {**overrides, **more}, seed), out, parent)


def needed(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Unfinished cells, each once, in waves: a wave depends on earlier waves only."""
    waves: list[dict[str, Cell]] = []

    def add(cell: Cell) -> int:
        depth = 0 if cell.parent is None else add(cell.parent) + 1
        while len(waves) <= depth:
            waves.append({})
        if not cell.path.exists():
            waves[depth].setdefault(cell.key, cell)
        return depth

    for cell in cells:
        add(cell)
    return [list(wave.values()) for wave in waves if wave]


def compute_all(
    cells: Sequence[Cell], workers: int = 1, ray: str | None = None, progress: Progress | None = None
) -> dict[str, str]:
    """Compute unfinished cells.

    Args:
        workers: processes on this machine. ray: address of a cluster on the same file system, instead.
        progress: called with (cells done, cells, a description).

    Returns:
        {key: reason} of the failed cells; the others are finished.

    Raises:
        InputError: Ray is not installed, or another process works in the same folder.
        StorageError: the output cannot be written.
    """
    with ExitStack() as locks:
        for home in sorted({cell.home for cell in cells}):
            locks.enter_context(folder_lock(home, "the tables"))
        return _compute_missing(cells, workers, ray, progress)


def _compute_missing(cells: Sequence[Cell], workers: int, ray: str | None, progress: Progress | None) -> dict[str, str]:
    waves = needed(cells)
    total, done = sum(map(len, waves)), 0
    failed: dict[str, str] = {}
    for wave in waves:
        ready = [cell for cell in wave if cell.parent is None or cell.parent.key not in failed]
        failed |= {cell.key: "the run that provides its frozen stages failed" for cell in wave if cell not in ready}
        for cell, reason in _wave(ready, workers, ray, progress, done, total):
            done += 1
            if reason:
                failed[cell.key] = reason
            if progress is not None:
                progress(done, total, cell.key)
    return failed


def _wave(
    cells: Sequence[Cell], workers: int, ray: str | None, progress: Progress | None, done: int, total: int
) -> Iterator[tuple[Cell, str]]:
    if ray is not None:
        yield from _over_ray(cells, ray, workers)
    elif workers > 1 and len(cells) > 1:
        yield from _over_processes(cells, workers)
    else:
        for k, cell in enumerate(cells):
            inner = None if progress is None else _inside(progress, done + k, total)
            yield cell, _attempt(cell, inner)


def _inside(progress: Progress, done: int, total: int) -> Progress:
    def report(step: int, steps: int, text: str) -> None:
        progress(max(done, 1), total, f"step {step}/{steps}, {text}")

    return report


def _attempt(cell: Cell, progress: Progress | None = None) -> str:
    """Compute; the reason of a failure, or "". StorageError is raised: it would affect every cell."""
    try:
        with output_folder(cell.home, shared=True), freed_memory_kept():
            compute(cell, progress)
    except StorageError:
        raise
    except (AvlocError, ValueError) as error:
        return str(error)
    return ""


def _over_processes(cells: Sequence[Cell], workers: int) -> Iterator[tuple[Cell, str]]:
    for cell, reason in map_isolated(_attempt, cells, workers, NO_LIMITS):
        if isinstance(reason, AvlocError):
            reason = "its process died twice, perhaps out of memory; rerun with fewer workers"
        yield cell, reason


def _over_ray(cells: Sequence[Cell], address: str, workers: int) -> Iterator[tuple[Cell, str]]:
    from avloc.features.ray_cluster import cluster

    with cluster(address, workers) as ray:
        gpus = 1 if ray.cluster_resources().get("GPU") else 0
        task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=1)(_attempt)
        pending = {task.remote(_absolute(cell)): cell for cell in cells}
        while pending:
            ready, _ = ray.wait(list(pending), num_returns=1)
            cell = pending.pop(ready[0])
            try:
                yield cell, ray.get(ready[0])
            except ray.exceptions.RayError as error:
                yield cell, f"the worker failed: {str(error).splitlines()[0]}"


def _absolute(cell: Cell) -> Cell:
    """The same cell with absolute paths, for workers with another working directory."""
    parent = None if cell.parent is None else _absolute(cell.parent)
    return replace(
        cell, home=cell.home.resolve(), data=replace(cell.data, folder=cell.data.folder.resolve()), parent=parent
    )

"""avloc tables, figures: the paper's tables with ours beside them, and its figures with our models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from avloc.cli.shared import DryRun, Json, Out, Sets, make_talk

if TYPE_CHECKING:
    from avloc.paper.cells import DataSet

WHERE = (
    "no data set: give --data ave=FOLDER or --data activitynet=FOLDER, a folder with features/, labels.csv and "
    "ground_truth.json as `avloc convert` makes them from the files that docs/datasets.md names; or without any, "
    "`avloc demo demo-out`, then --data demo=demo-out"
)

Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="table1 ... table10; none: all.")]
Figures = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="figure2 ... figure5; none: all.")]
Ray = Annotated[str | None, typer.Option(help="Address of a Ray cluster that shares this disk: auto, local, ...")]


def tables(
    out: Out,
    names: Names = None,
    data: Annotated[list[str], typer.Option(help="PRESET=FOLDER of a data set, as often as needed.")] = [],  # noqa: B006
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each row, seeds 0, 1, ...")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Runs at a time on this machine.")] = 1,
    ray: Ray = None,
    sets: Sets = [],  # noqa: B006
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Recompute the paper's tables on the data that is there, beside the paper's cells. Finished cells are kept.

    avloc tables table1 table9 --data demo=demo-out --seeds 5 -o tables

    Writes tables.csv, tables.md, and a JSON for every run, which are never recomputed. Sizes follow model.embed_dim:
    a base of 128 gives Table 8 at an eighth.
    """
    from avloc.config import parse_overrides
    from avloc.paper.cells import open_data
    from avloc.paper.rows import recipes_of
    from avloc.paper.runner import cell_of, compute_all, needed
    from avloc.paper.show import fill, lines_of, narrow, title_of, write_tables

    talk = make_talk(as_json)
    wanted = recipes_of(names or [])
    overrides = parse_overrides(sets)
    sources = [open_data(text) for text in data]
    plan = {
        (table, source.name, str(source.folder)): {
            row: [cell_of(recipe, source, seed, overrides, out) for seed in range(seeds)]
            for row, recipe in rows.items()
        }
        for table, rows in wanted.items()
        for source in sources
    }
    cells = [cell for rows in plan.values() for runs in rows.values() for cell in runs]
    missing = sum(map(len, needed(cells)))
    talk.say(f"{len({cell.key for cell in cells})} runs in {len(wanted)} tables, {missing} of them to do")
    if dry_run:
        if not sources:
            talk.say(WHERE)
        talk.summary({"dry_run": True, "tables": list(wanted), "runs": len(cells), "missing": missing})
        return
    with talk.progress("tables") as progress:
        failed = compute_all(cells, workers, ray, progress)
    places: list[DataSet | None] = [*sources] or [None]
    filled = [
        fill(table, source, plan[table, source.name, str(source.folder)] if source else {})
        for table in wanted
        for source in places
    ]
    for one in filled:
        columns = narrow(one)
        talk.table(title_of(one), ["", *(c.removeprefix("m") for c in columns)], lines_of(one, columns))
    written = write_tables(filled, out)
    for key, reason in failed.items():
        talk.say(f"failed: {out / 'runs' / key}: {reason}")
    if not sources:
        talk.say(WHERE)
    talk.say(f"written: {written[0]} and {written[1]}")
    talk.summary({"tables": list(wanted), "runs": len(cells), "computed": missing - len(failed), "failed": failed})
    if failed:
        raise typer.Exit(3)


def figures(
    out: Out,
    data: Annotated[str, typer.Option(help="PRESET=FOLDER of a data set.")],
    names: Figures = None,
    seed: int = 0,
    formats: Annotated[str, typer.Option("-f", "--format", help="pdf, svg, png; with commas.")] = "pdf,png",
    sets: Sets = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Draw the paper's Figures 2-5 with our models: consistency losses, and visual-only against audio-visual.

    avloc figures figure3 --data demo=demo-out -o tables

    With the -o and --set of `avloc tables`, its runs are used; what is missing is trained.
    """
    from avloc.config import parse_overrides
    from avloc.paper.cells import open_data
    from avloc.paper.figures import draw_figures

    talk = make_talk(as_json)
    wanted = [name.strip().lstrip(".") for name in formats.split(",") if name.strip()]
    with talk.progress("figures") as progress:
        written, notes = draw_figures(names or [], open_data(data), out, parse_overrides(sets), seed, wanted, progress)
    for note in notes:
        talk.say(f"note: {note}")
    talk.say(f"{len(written)} files are in {out / 'figures'}")
    talk.summary({"files": [str(path) for path in written], "notes": notes})

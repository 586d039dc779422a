"""avloc tables, figures: recompute the paper's tables and figures."""

from __future__ import annotations

from typing import Annotated

import typer

from avloc.cli.shared import DryRun, FigureFormats, Json, Out, Seed, Sets, exit_partial, make_talk, parse_suffixes
from avloc.system.text import pluralize

WHERE = (
    "no data set: give --data ave=FOLDER or --data activitynet=FOLDER, a folder with features/, labels.csv and "
    "ground_truth.json as `avloc convert` writes it (see docs/datasets.md); or run `avloc demo demo-out` and give "
    "--data demo=demo-out"
)

Names = Annotated[list[str] | None, typer.Argument(metavar="NAME", help="table1 ... table10; all if none is given.")]
Figures = Annotated[list[str] | None, typer.Argument(metavar="NAME", help="figure2 ... figure5; all if none is given.")]
RecipeName = Annotated[str, typer.Option("--recipe", help="paper or default.")]
Ray = Annotated[str | None, typer.Option(help="Address of a Ray cluster on the same file system: auto, local, ...")]


def tables(
    out: Out,
    names: Names = None,
    data: Annotated[list[str], typer.Option(metavar="PRESET=FOLDER", help="Data set; repeatable.")] = [],  # noqa: B006
    recipe: RecipeName = "paper",
    seeds: Annotated[int, typer.Option(min=1, help="Runs per row, with seeds 0, 1, ...")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Parallel runs on this machine.")] = 1,
    ray: Ray = None,
    sets: Sets = [],  # noqa: B006
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Recompute the paper's tables, beside the published numbers.

    Writes tables.csv, tables.md, and a JSON file per run; finished runs are not recomputed. Every row is trained with
    the recipe: "paper" is what the paper states, "default" is avloc's. Both have the schedule and sizes of the data
    set's preset. Embedding sizes scale with model.embed_dim: 128 gives Table 8 at an eighth of the paper's sizes. Tian
    et al. get the 7 x 7 grid of AVE's visual features where `avloc convert --grid` has written it.

    avloc tables table1 table9 --data demo=demo-out --seeds 5 -o tables
    avloc tables --data ave=ave --data activitynet=anet -o tables
    """
    from avloc.config import parse_overrides
    from avloc.paper.plan import make_tables, plan_tables
    from avloc.paper.show import lines_of, narrow, title_of

    talk = make_talk(as_json)
    plan = plan_tables(names or [], data, out, seeds, parse_overrides(sets), recipe)
    runs, missing = len(plan.all_cells), plan.missing
    count = f"{pluralize(plan.runs, 'run')} in {pluralize(len(plan.tables), 'table')}"
    talk.say(f"{count}, {missing} to compute, recipe {recipe}")
    if dry_run:
        if not plan.sources:
            talk.say(WHERE)
        talk.summary({"dry_run": True, "recipe": recipe, "tables": list(plan.tables), "runs": runs, "missing": missing})
        return
    with talk.progress("tables") as progress:
        made = make_tables(plan, out, workers, ray, progress)
    for table in made.filled:
        columns = narrow(table)
        talk.table(title_of(table), ["", *(c.removeprefix("m") for c in columns)], lines_of(table, columns))
    talk.few(f"failed: {out / 'runs' / key}: {reason}" for key, reason in made.failed.items())
    if not plan.sources:
        talk.say(WHERE)
    talk.say(f"written: {made.files[0]} and {made.files[1]}")
    failed = dict(made.failed)
    talk.summary(
        {
            "recipe": recipe,
            "tables": list(plan.tables),
            "runs": runs,
            "computed": missing - len(failed),
            "failed": failed,
        }
    )
    exit_partial(failed)


def figures(
    out: Out,
    data: Annotated[str, typer.Option(metavar="PRESET=FOLDER", help="Data set.")],
    names: Figures = None,
    recipe: RecipeName = "paper",
    seed: Seed = 0,
    formats: FigureFormats = "pdf,png",
    sets: Sets = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Draw the paper's Figures 2-5 with trained models.

    Figure 2 shows the effect of the consistency losses, Figures 3-5 visual-only against audio-visual. Runs of
    `avloc tables` with the same -o, --recipe and --set are reused; missing ones are trained.

    avloc figures figure3 --data demo=demo-out -o tables
    """
    from avloc.config import parse_overrides
    from avloc.paper.cells import open_data
    from avloc.paper.figures import draw_figures

    talk = make_talk(as_json)
    wanted = parse_suffixes(formats)
    with talk.progress("figures") as progress:
        written, notes = draw_figures(
            names or [], open_data(data), out, parse_overrides(sets), seed, wanted, progress, recipe
        )
    talk.notes(notes)
    talk.say(f"{pluralize(len(written), 'file')} written to {out / 'figures'}")
    talk.summary({"files": [str(path) for path in written], "notes": notes, "recipe": recipe})

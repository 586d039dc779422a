"""avloc publish, export: models for other people and other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from avloc.cli.shared import DryRun, Json, LocalizeSets, Overwrite, make_talk

Run = Annotated[Path, typer.Argument(help="Run folder, from `avloc train`, or a model, as for `avloc localize`.")]


def publish(
    run: Run,
    to: Annotated[str, typer.Option(help="Folder, or OWNER/NAME on the Hugging Face hub.")],
    licence: Annotated[
        str | None,
        typer.Option("--licence", "--license", help="Of the weights, as the hub spells it: cc-by-4.0; else unknown."),
    ] = None,
    scores: Annotated[Path | None, typer.Option(help="Numbers for the model card, from `avloc evaluate -o`.")] = None,
    title: Annotated[str | None, typer.Option(help="Heading of the model card.")] = None,
    notes: Annotated[str, typer.Option(help="Sentences for the model card, such as on the videos.")] = "",
    private: Annotated[
        bool | None, typer.Option("--private/--public", help="Of a new repository on the hub; the owner's default.")
    ] = None,
    sets: LocalizeSets = [],  # noqa: B006
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Also replace a model card that differs.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Publish a model: weights, configuration and a model card.

    In a folder, or on the hub as OWNER/NAME (`hf auth login` first; needs 'avloc[hub]'). A name whose first part is a
    folder here, such as out/model, is a folder. Paths of this machine are left out. `avloc localize OWNER/NAME videos/`
    loads it.

    avloc publish out/run --to model --licence cc-by-4.0 --scores numbers.json
    avloc publish out/run --to jane/birds --private
    """
    from avloc.config import parse_overrides
    from avloc.pipeline.hub import hub_name
    from avloc.pipeline.localizer import load
    from avloc.pipeline.published import About
    from avloc.pipeline.settings import with_options

    talk = make_talk(as_json)
    about = About.read(title, licence, scores, notes)
    localizer = with_options(load(run, "cpu"), parse_overrides(sets))
    on_hub = hub_name(to) is not None
    place = f"{to} on the Hugging Face hub" if on_hub else f"the folder {to}"
    if dry_run:
        talk.say(f"would publish {run} to {place}")
        talk.summary({"dry_run": True, "run": str(run), "to": to, "hub": on_hub})
        return
    if licence is None:
        talk.notes(["no licence given, so nobody knows what they may do with the model: --licence cc-by-4.0, ..."])
    facts: dict[str, Any] = {"run": str(run), "to": to, "hub": on_hub}
    if on_hub:
        facts["url"] = localizer.push_to_hub(to, about, private=private)
        talk.say(f"published to {place}: {facts['url']}; next: avloc localize {to} videos/ -o detections")
    else:
        facts["notes"] = localizer.save_pretrained(Path(to), about, overwrite)
        talk.notes(facts["notes"])
        talk.say(f"published to {place}; next: read its README.md, then avloc localize {to} videos/ -o detections")
    talk.summary(facts)


def export(
    run: Run,
    out: Annotated[Path, typer.Option("-o", "--out", help="File to write, .pt2 or .onnx.")],
    to: Annotated[str | None, typer.Option(help="pt2 (torch.export) or onnx; by the file's suffix if absent.")] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Export the network as torch.export or ONNX.

    A graph for other programs, with dynamic batch and length. It takes raw features: their scaling is part of the
    graph. The file is read back and compared with the model. docs/python.md says what goes in and comes out. ONNX
    needs 'avloc[onnx]'.

    avloc export out/run --to onnx -o model.onnx
    """
    from avloc.errors import InputError
    from avloc.model.export import export_format
    from avloc.pipeline.localizer import load

    talk = make_talk(as_json)
    wanted = export_format(out, to)
    if out.exists() and not overwrite:
        raise InputError(f"{out} exists already; choose another -o, or --overwrite")
    localizer = load(run, "cpu")
    difference = localizer.export(out, wanted)
    talk.say(f"exported to {out}; read back, it differs from the model by at most {difference:.1g}")
    talk.summary({"file": str(out), "format": wanted, "difference": difference})

"""avloc tag: draft labels from pretrained taggers."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avloc.cli.media import Weights, parse_weights
from avloc.cli.shared import Json, Workers, exit_partial, failure_lines, make_talk, say_failures
from avloc.errors import InputError, first_few
from avloc.system.text import pluralize

if TYPE_CHECKING:
    from avloc.cli.console import Talk
    from avloc.tagging.folder import TaggedVideos


def tag(
    videos: Annotated[list[str], typer.Argument(help="Videos, or features of `avloc extract`: files, folders, globs.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="TABLE", help="Table of draft labels, such as tags.csv.")],
    words: Annotated[
        str | None, typer.Option(help="What to look for, separated by ;. If absent, the words of --vocabulary.")
    ] = None,
    vocabulary: Annotated[
        Path | None, typer.Option(help="Table word,sense,classes of your own words; docs/start-without-labels.md.")
    ] = None,
    outside: Annotated[Path | None, typer.Option(help="Detections: tag only where nothing was found in them.")] = None,
    min_score: Annotated[float, typer.Option(help="Probability from which a tag is a draft label.")] = 0.5,
    most: Annotated[int, typer.Option(min=1, help="Number of tags if no words are given.")] = 30,
    features: Annotated[
        Path | None, typer.Option(help="Folder of the extracted features; features beside TABLE if absent.")
    ] = None,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Write a page to tick the drafts.")] = True,
    weights: Weights = [],  # noqa: B006
    workers: Workers = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier table.")] = False,
    as_json: Json = False,
) -> None:
    """Draft labels of videos, without training.

    Says what is heard and seen in each, and when: the given words, by 527 classes
    of sounds (AudioSet) and 1,000 of images (ImageNet), or without words the most
    telling of all tags. Tick the drafts on the page, then train on the table.

    avloc tag videos/ -o out/tags.csv --words "dog; rain; guitar"
    avloc tag videos/ -o tags.csv --vocabulary words.csv
    avloc tag out/features -o background.csv --outside out/detections
    """
    from avloc.formats.tags import write_tags
    from avloc.system.locks import file_lock
    from avloc.tagging.vocabulary import check_words

    given = None if words is None else check_words(words.rstrip("; ").split(";"))  # before torch is loaded
    from avloc.tagging.folder import tag as tag_videos

    talk = make_talk(as_json)
    if out.suffix.lower() != ".csv":
        raise InputError(f"-o {out}: expected the name of a table that ends in .csv, such as tags.csv")
    _check_new(out, overwrite)
    with talk.progress("tag") as progress:
        tagged = tag_videos(
            videos,
            given,
            vocabulary,
            features=features or out.parent / "features",
            outside=outside,
            min_score=min_score,
            most=most,
            weights=parse_weights(weights),
            workers=workers,
            progress=progress,
        )
    with file_lock(out):  # `avloc view` may save what was ticked meanwhile
        _check_new(out, overwrite)
        write_tags(out, tagged.rows())
    _say(talk, tagged, out, open_words=words is None and vocabulary is None)
    if page:
        _page(talk, out, workers)
    table = shlex.quote(str(out))
    talk.say(f"tick the drafts: avloc view {table}")
    stored = [
        video for video in videos if Path(video).suffix == ".safetensors" or any(Path(video).glob("*.safetensors"))
    ]
    train = f"train --features {shlex.quote(stored[0])} --labels {table} -o run" if stored else ""
    talk.say(f"then train on them: avloc {train or f'run {shlex.join(videos)} --labels {table} -o {_beside(out)}'}")
    exit_partial(tagged.failures)


def _beside(table: Path) -> str:
    """The table's folder, which has the features already, as the output of `avloc run`."""
    return shlex.quote(str(table.parent)) if table.parent.name else "out"


def _check_new(out: Path, overwrite: bool) -> None:
    if out.exists() and not overwrite:
        raise InputError(f"{out} exists and may hold your corrections; give another -o, or --overwrite")


def _say(talk: Talk, tagged: TaggedVideos, out: Path, open_words: bool) -> None:
    counts = tagged.counts()
    talk.notes(tagged.notes)
    by_word = {concept.word: concept for concept in tagged.concepts}
    title = "most telling tags" if open_words else "draft labels"
    talk.table(
        title,
        ["word", "videos", "classes"],
        [[word, str(count), by_word[word].describe(3)] for word, count in counts.items()],
    )
    drafts = sum(counts.values())
    bare = sum(all(t.score < tagged.min_score for t in video.tags) for video in tagged.videos)
    talk.say(
        f"{pluralize(drafts, 'draft label')} in {pluralize(len(tagged.videos), 'video')}, {bare} without any: {out}"
    )
    say_failures(talk, tagged.failures, out.parent / "features")
    talk.summary(
        {
            "table": str(out),
            "videos": len(tagged.videos),
            "labels": counts,
            "notes": list(tagged.notes),
            "failures": [vars(f) for f in tagged.failures],
        }
    )


def say_look(talk: Talk, place: Path, limit: int | None = None, extra: bool = False) -> None:
    """What is in the videos, or features, at a path.

    Args:
        extra: whether it comes after another report: where there are no taggers, say so and go on.
    """
    from avloc.tagging.heads import remedy
    from avloc.tagging.look import look_over

    try:
        with talk.progress("look") as progress:
            found = look_over(place, limit=limit, progress=progress)
    except InputError as error:
        if not extra:
            raise
        talk.say(f"tags, silent videos and near duplicates need the default pretrained features: {remedy()}")
        talk.summary({"look": {"missing": str(error)}})
        return
    talk.table("heard and seen most", ["tag", "videos"], [[tag, str(count)] for tag, count in found.tags.items()])
    pairs = [" = ".join(pair) for pair in found.duplicates]
    for names, words in (
        (found.silent, "silent"),
        (found.without_audio, "without audio"),
        (pairs, "pairs that look and sound the same; keep one, or both in one subset"),
    ):
        if names:
            talk.say(f"warning: {len(names)} {words}: {first_few(names, 5)}")
    talk.few(failure_lines(found.failures))
    talk.say(f"looked at {pluralize(found.videos, 'video')}")
    talk.summary({"look": found.to_dict()})
    exit_partial(() if extra else found.failures)


def _page(talk: Talk, table: Path, workers: int) -> None:
    from avloc.report.tags.build import build_tags_page

    folder = table.with_name(f"{table.stem}-page")
    with talk.progress("page") as progress:
        built = build_tags_page(table, folder, workers=workers, progress=progress)
    talk.notes(built.notes())
    talk.say(f"page without a server: {folder / 'index.html'}")

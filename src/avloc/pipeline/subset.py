"""Restrict inputs to a subset of labels.csv or of ground truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from avloc.errors import InputError, did_you_mean, first_few
from avloc.formats.annotations import read_annotations, subset_name
from avloc.formats.detections import rename_videos
from avloc.formats.labels import match_videos, read_labels
from avloc.media.find import name_videos
from avloc.system.text import nfc, pluralize

LABELS = "labels.csv"


def find_labels(inputs: Sequence[str | Path]) -> Path:
    """labels.csv in or next to one of the inputs, where `avloc convert` writes it.

    Raises:
        InputError: there is none.
    """
    homes = [home for path in map(Path, inputs) for home in (path, path.parent)]
    found = next((home / LABELS for home in homes if (home / LABELS).is_file()), None)
    if found is None:
        raise InputError(f"--subset needs to know the subsets: no {LABELS} in or next to {inputs[0]}; give --labels")
    return found


def select_subset(paths: Sequence[Path], subset: str, labels: Path) -> tuple[list[Path], tuple[str, ...]]:
    """The inputs of one or several subsets, and notes on what is left out or missing.

    Args:
        paths: videos and feature files.
        subset: names, separated by commas, in any common spelling ("test" is "testing").
        labels: labels.csv with the column subset, or ground truth in ActivityNet's JSON. A published test subset that
            is called "validation" in ground truth is called test in labels.csv (docs/datasets.md).

    Raises:
        InputError: no such subset, or no input of it. InputError, FormatError: as reading `labels`.
    """
    wanted = [subset_name(name) for name in subset.split(",") if name.strip()]
    names = {path: possible_ids(path) for path in paths}
    videos = name_videos([path for path in paths if path.suffix != ".safetensors"])
    names |= {path: [videos(path)] for path in paths if path.suffix != ".safetensors"}
    known, missing = _subsets(labels, [name for candidates in names.values() for name in candidates])
    present = {*known.values(), *missing.values()}
    unknown = [name for name in wanted if name not in present]
    if unknown or not wanted:
        has = ", ".join(sorted(present)) or "none"
        hint = did_you_mean(unknown[0], present) if unknown else ""
        raise InputError(f"{labels}: no video in subset {(unknown or [subset])[0]!r}; it has {has}.{hint}")
    own = {
        path: next((known[name] for name in candidates if name in known), None) for path, candidates in names.items()
    }
    chosen = [path for path in paths if own[path] in wanted]
    if not chosen:
        raise InputError(f"none of the {pluralize(len(paths), 'input')} is of subset {subset!r} in {labels}")
    unlabelled = [path.name for path in paths if own[path] is None]
    others = len(paths) - len(chosen) - len(unlabelled)
    absent = [video for video, name in missing.items() if name in wanted]
    notes = [f"localizing {pluralize(len(chosen), 'video')} of subset {subset} in {labels}"]
    if others:
        notes.append(f"left out {pluralize(others, 'video')} of other subsets")
    if unlabelled:
        notes.append(f"left out {pluralize(len(unlabelled), 'video')} not in {labels}: {first_few(unlabelled, 3)}")
    if absent:
        notes.append(
            f"{pluralize(len(absent), 'video')} of subset {subset} not among the inputs: {first_few(absent, 3)}"
        )
    return chosen, tuple(notes)


def possible_ids(path: Path) -> list[str]:
    """Video ids that a feature file may have, the longest first: its stem after each of its parent folders."""
    parts = path.with_suffix("").parts
    return [nfc("/".join(parts[k:])) for k in range(len(parts))]


def _subsets(labels: Path, names: Iterable[str]) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """{name: subset} of those of `names` that `labels` has, and of its videos that are not among them."""
    available = list(dict.fromkeys(names))
    if labels.suffix.lower() in (".json", ".gz"):
        subsets = {a.video_id: a.subset for a in read_annotations(labels)[0]}
        renamed = {name: next(iter(rename_videos(labels, [name], subsets).values())) for name in available}
        known = {name: subsets[video] for name, video in renamed.items() if video in subsets}
        return known, {video: subset for video, subset in subsets.items() if video not in set(renamed.values())}
    table = read_labels(labels)
    match = match_videos(table, available)
    subset_of = {row.video_id: subset_name(row.subset) for row in table.rows}
    return (
        {name: subset_of[row.video_id] for name, row in match.found.items()},
        {video: subset_of[video] for video in match.missing},
    )

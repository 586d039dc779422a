"""Features that an earlier conversion left in a folder: made with the same options, with others, or not by convert.

Each feature file notes the options of its conversion in its header, so that a folder never holds two conversions, also
after an interruption.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from avloc.errors import AvlocError, InputError, first_few
from avloc.formats.features import SUFFIX, read_provenance
from avloc.system.outputs import has_header
from avloc.system.text import json_text, nfc, pluralize
from avloc.types import FeatureSequence

CONVERSION = "conversion"
"""Key of the options in `Provenance.details`."""

_REMEDY = "Use another OUT, or --overwrite to convert all again"


def with_options(features: FeatureSequence, options: Mapping[str, str]) -> FeatureSequence:
    """The features with the options of their conversion in `source`."""
    details = {**features.source.details, CONVERSION: json_text(dict(options), sort_keys=True, ensure_ascii=False)}
    return replace(features, source=replace(features.source, details=details))


def earlier_files(
    folder: Path, ids: Collection[str], options: Mapping[str, str], overwrite: bool
) -> tuple[frozenset[str], tuple[Path, ...]]:
    """The videos in `folder` that were converted with these options, and the files that must go first.

    Damaged files of this conversion's videos count as missing.

    Args:
        ids: the videos to convert.
        overwrite: whether files made with other options may be replaced.

    Raises:
        InputError: files made with other options and no `overwrite`, or files of other videos that are not convert's.
    """
    same: set[str] = set()
    stale: list[Path] = []
    for path in sorted(folder.rglob(f"*{SUFFIX}")) if folder.is_dir() else ():
        video = nfc(path.relative_to(folder).as_posix().removesuffix(SUFFIX))
        made = _options_of(path)
        if made == options:
            same.add(video)
            continue
        if made is None and video not in ids:
            raise InputError(
                f"{path}: expected features from `avloc convert` with the same options in OUT, got a file that notes "
                "none, of a video that this data set does not have; use another OUT"
            )
        if made and not overwrite:
            raise InputError(f"{path}: converted with {_changes(made, options)}. {_REMEDY}")
        if made is None and not overwrite and not _damaged(path):
            raise InputError(
                f"{path}: written by `avloc extract` or an earlier version, without its options. {_REMEDY}"
            )
        if has_header(path):  # others are kept: writing that video will say so
            stale.append(path)
    return frozenset() if overwrite else frozenset(same), tuple(stale)


def removed_note(files: Collection[Path]) -> str:
    """A note on files that an overwriting conversion removed."""
    return f"{pluralize(len(files), 'file')} of an earlier conversion removed: {first_few([f.name for f in files], 3)}"


def _options_of(path: Path) -> Mapping[str, str] | None:
    """The options in a file's header; None without them."""
    try:
        made = json.loads(read_provenance(path).details[CONVERSION])
    except (AvlocError, KeyError, ValueError, RecursionError):
        return None
    return made if isinstance(made, dict) else None


def _damaged(path: Path) -> bool:
    try:
        read_provenance(path)
    except AvlocError:
        return True
    return False


def _changes(made: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    keys = [key for key in sorted({*made, *wanted}) if made.get(key) != wanted.get(key)]
    old, new = (", ".join(f"{key}={side.get(key, 'none')}" for key in keys) for side in (made, wanted))
    return f"{old}; requested {new}"

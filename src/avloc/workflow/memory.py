"""OUT/job.json: what the last run was made from, so that the next one does what has changed and names it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from avloc.errors import FormatError, first_few
from avloc.formats.json_file import parse_json
from avloc.system.atomic import atomic_write
from avloc.system.text import json_text, pluralize

_SECTIONS = ("model", "loss", "train", "localize")
_MOST = 5


@dataclass(frozen=True)
class Memory:
    """What the last run was made from; empty before the first.

    Args:
        sizes: {video_id: bytes of the file} from which features were made, also of videos that are gone.
        trained: {video_id: bytes} of the videos on which the run was trained.
        videos: ids of all videos that were given.
        labels: {video_id: "a;b (subset)"}.
        settings: of the last training, as `RunConfig.model_dump`.
        finished: fingerprint of the inputs of the finished detections and page.
    """

    sizes: Mapping[str, int] = field(default_factory=dict)
    trained: Mapping[str, int] = field(default_factory=dict)
    videos: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    finished: str = ""


def read_memory(path: Path) -> Memory:
    """Read job.json; an empty Memory if there is none.

    Raises:
        FormatError: the file is damaged.
    """
    if not path.is_file():
        return Memory()
    try:
        found = Memory(**parse_json(path))
        tables = (found.sizes, found.trained, found.labels, found.settings)
        if not all(isinstance(table, dict) for table in tables) or not isinstance(found.videos, list):
            raise ValueError("wrong types")
        if not all(isinstance(text, str) for text in (*found.videos, *found.labels.values(), found.finished)):
            raise ValueError("wrong types of names or labels")
        return found
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise FormatError(
            f"{path}: expected what `avloc run` wrote ({error}); move it away, or choose another folder"
        ) from error


def write_memory(path: Path, memory: Memory) -> None:
    """Write job.json."""
    atomic_write(path, json_text(asdict(memory), ensure_ascii=False, indent=1) + "\n")


def changes(before: Memory, now: Memory) -> list[str]:
    """What has changed since a run, one line each; [] if nothing has, or if there was none."""
    if not before.videos:
        return []
    old, new = set(before.videos), set(now.videos)
    replaced = [v for v in sorted(old & new) if before.sizes.get(v, now.sizes[v]) != now.sizes[v]]
    lines = [
        _listed("video", "added", sorted(new - old)),
        _listed("video", "removed", sorted(old - new)),
        _listed("video", "replaced by another file", replaced),
        _listed("label row", "added", _rows(now.labels, before.labels)),
        _listed("label row", "removed", _rows(before.labels, now.labels)),
        _listed(
            "label row",
            "changed",
            [
                f"{video}: {before.labels[video] or 'none'} -> {now.labels[video] or 'none'}"
                for video in sorted(before.labels.keys() & now.labels.keys())
                if before.labels[video] != now.labels[video]
            ],
        ),
    ]
    settings = _changed_settings(before.settings, now.settings)
    return [line for line in lines if line] + ([f"settings changed: {'; '.join(settings)}"] if settings else [])


def _listed(what: str, how: str, names: Sequence[str]) -> str:
    return f"{pluralize(len(names), what)} {how}: {first_few(names, _MOST)}" if names else ""


def _rows(some: Mapping[str, str], others: Mapping[str, str]) -> list[str]:
    return [f"{video}: {some[video] or 'none'}" for video in sorted(some.keys() - others.keys())]


def _changed_settings(before: Mapping[str, Any], now: Mapping[str, Any], path: str = "") -> list[str]:
    """Settings in both that differ: "train.steps was 4, is 6"."""
    lines = []
    for key in now.keys() & before.keys() if path else _SECTIONS:
        old, new, name = before.get(key), now.get(key), f"{path}{key}"
        if isinstance(old, dict) and isinstance(new, dict):
            lines += _changed_settings(old, new, f"{name}.")
        elif old != new:
            lines.append(f"{name} was {old!r}, is {new!r}")
    return sorted(lines)

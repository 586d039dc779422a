"""Find video files in files, folders and globs, and name the videos."""

from __future__ import annotations

import difflib
import glob
import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from avloc.errors import InputError
from avloc.media.sniff import is_text, is_video
from avloc.system.text import nfc, pluralize
from avloc.vocabulary import OTHER_EXTENSIONS, PREVIEW_EXTENSIONS, SHARED_EXTENSIONS, VIDEO_EXTENSIONS

_log = logging.getLogger("avloc.media")


def find_media(paths: Iterable[str | Path] | str | Path) -> list[Path]:
    """The video files in `paths`, sorted, without duplicates.

    In folders a file is a video by its extension (`VIDEO_EXTENSIONS`); with an unknown extension or none, by its
    content, unless a video beside it has the same name. Files that are passed over are counted in one warning, except
    those with `OTHER_EXTENSIONS`.

    Args:
        paths: files (taken whatever they are), folders (searched recursively, without hidden files), and globs (`**`
            is recursive). Folders matched by a glob are searched; files matched by a glob are as in a folder unless
            the pattern states their extension.
    Raises:
        InputError: a path does not exist or is no path; no video was found; or two files of a folder differ only in
            extension or Unicode form and would share a video_id.
    """
    entries = path_list(paths)
    found: dict[Path, Path] = {}
    others: Counter[str] = Counter()
    for entry in entries:
        for path in _expand(str(entry), others):
            found.setdefault(path.resolve(), path)
    if not found:
        where = ", ".join(str(entry) for entry in entries) or "an empty list"
        raise InputError(f"no video in {where}; {_describe(others)}. Expected files such as .mp4, .mkv, .avi, .webm")
    files = sorted(found.values())
    _check_names(files)
    passed = Counter({suffix: count for suffix, count in others.items() if suffix not in OTHER_EXTENSIONS})
    if passed:
        _log.warning("%s passed over: %s", pluralize(passed.total(), "file"), _list_kinds(passed))
    return files


def as_path(value: str | Path) -> Path:
    """A path. Raises InputError for anything else, such as None, a list or an empty text."""
    if not isinstance(value, str | Path) or value == "" or "\0" in str(value):
        raise InputError(f"expected a path, got {type(value).__name__} {str(value)[:80]!r}")
    return Path(value)


def path_list(paths: Iterable[str | Path] | str | Path) -> list[Path]:
    """The paths as a list; one path is a list of one. Raises InputError for anything else."""
    if not isinstance(paths, Iterable | Path):
        raise InputError(f"expected a list of paths, got {type(paths).__name__} {str(paths)[:80]!r}")
    return list(map(as_path, [paths] if isinstance(paths, str | Path) else paths))


@dataclass(frozen=True)
class VideoNames:
    """Names of videos: the file name without extension, with folders where that is not unique; in Unicode's form NFC.

    Args:
        longer: {file: name} of the names with folders.
    """

    longer: Mapping[Path, str] = field(default_factory=dict)

    def __call__(self, path: Path) -> str:
        return nfc(self.longer.get(_absolute(path), path.stem) if self.longer else path.stem)


BY_FILE = VideoNames()


def name_videos(paths: Sequence[Path]) -> VideoNames:
    """Names of a set of videos: 001 and 002, but a/001 and b/001, relative to their common folder."""
    counts = Counter(nfc(path.stem) for path in paths)
    if len(counts) == len(paths):
        return BY_FILE
    files = [_absolute(path) for path in paths]
    home = os.path.commonpath([file.parent for file in files])
    shared = [file for file in files if counts[nfc(file.stem)] > 1]
    return VideoNames({file: file.relative_to(home).with_suffix("").as_posix() for file in shared})


def _absolute(path: Path) -> Path:
    """Absolute path without resolving symbolic links: a video is named after the link."""
    return Path(os.path.abspath(path))


def named_media(paths: Iterable[str | Path] | str | Path) -> dict[str, Path]:
    """{video_id: file} of the videos in `paths`. Raises as `find_media`."""
    files = find_media(paths)
    names = name_videos(files)
    return {names(path): path for path in files}


def known_suffix(path: Path) -> str:
    """The extension in lower case if it is one of VIDEO_EXTENSIONS, else empty."""
    suffix = path.suffix.lower()
    return suffix if suffix in VIDEO_EXTENSIONS else ""


def _expand(entry: str, others: Counter[str]) -> list[Path]:
    """The videos of one entry; other files are counted by extension in `others`."""
    path = Path(entry)
    if path.is_file():
        return [path]
    if path.is_dir():
        return _videos_under(path, others)
    if not glob.has_magic(entry):
        raise InputError(f"{entry}: no such file or folder{neighbours(path)}")
    written_out = not glob.has_magic(path.suffix) and path.suffix != ""
    matches = list(map(Path, glob.glob(entry, recursive=True)))
    files = [match for match in matches if not match.is_dir()]
    videos = files if written_out else _videos_among(files, others)
    for match in matches:
        if match.is_dir() and not entry.endswith("**"):
            videos += _videos_under(match, others)
    return videos


def _videos_under(folder: Path, others: Counter[str]) -> list[Path]:
    # macOS writes a "._name.mp4" beside each file on foreign disks, which is not a video
    files = (path for path in folder.rglob("*") if not path.name.startswith("."))
    return _videos_among([path for path in files if path.is_file()], others)


def _videos_among(files: Iterable[Path], others: Counter[str]) -> list[Path]:
    videos: list[Path] = []
    doubtful: list[Path] = []
    for path in files:
        suffix = path.suffix.lower()
        if suffix in PREVIEW_EXTENSIONS or suffix not in VIDEO_EXTENSIONS | OTHER_EXTENSIONS:
            doubtful.append(path)
        elif suffix in OTHER_EXTENSIONS or (suffix in SHARED_EXTENSIONS and is_text(path)):
            others[suffix] += 1
        else:
            videos.append(path)
    names = {_without_suffix(path) for path in videos} if doubtful else set()
    for path in doubtful:
        if _without_suffix(path) not in names and (known_suffix(path) or is_video(path)):
            videos.append(path)
        else:
            others[path.suffix.lower()] += 1
    return videos


def _describe(others: Counter[str]) -> str:
    return f"found instead: {_list_kinds(others)}" if others else "nothing matched"


def _list_kinds(counts: Counter[str]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    kinds = [f"{count} {suffix or 'without extension'}" for suffix, count in ordered[:5]]
    rest = sum(count for _, count in ordered[5:])
    return ", ".join(kinds + [f"{rest} others"] * bool(rest))


def neighbours(path: Path) -> str:
    """Files in the folder of a missing path, those of a similar name first, for the error message."""
    folder = path.parent
    if not folder.is_dir():
        return f"; its folder {folder} does not exist either"
    names = sorted(item.name for item in folder.iterdir() if not item.name.startswith("."))
    if not names:
        return f"; {folder} is empty"
    near = difflib.get_close_matches(path.name, names, n=5)
    names = [*near, *(name for name in names if name not in near)]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"; {folder} holds {', '.join(names[:5])}{more}"


def _check_names(files: list[Path]) -> None:
    first: dict[str, Path] = {}
    for path in files:
        other = first.setdefault(_without_suffix(path), path)
        if other is not path:
            forms = "" if other.with_suffix("") == path.with_suffix("") else ", written in two Unicode forms,"
            raise InputError(
                f"{other} and {path} have the same name{forms} and would be the same video; rename one or give only one"
            )


def _without_suffix(path: Path) -> str:
    return nfc(str(_absolute(path).with_suffix("")))

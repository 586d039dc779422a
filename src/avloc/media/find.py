"""Find video files in files, folders and globs, and name the videos."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from avloc.errors import InputError
from avloc.vocabulary import VIDEO_EXTENSIONS


def find_media(paths: Iterable[str | Path] | str | Path) -> list[Path]:
    """The video files in `paths`, sorted, without duplicates.

    Args:
        paths: files (with any extension), folders (searched recursively for `VIDEO_EXTENSIONS`, without hidden
            files), and globs (`**` is recursive). Folders matched by a glob are searched; files matched by a glob
            need a known extension unless the pattern states one.
    Raises:
        InputError: a path does not exist; no video was found; or two files of a folder differ only in extension and
            would share a video_id.
    """
    entries = [paths] if isinstance(paths, str | Path) else list(paths)
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
    return files


@dataclass(frozen=True)
class VideoNames:
    """Names of videos: the file name without extension, with folders where that is not unique.

    Args:
        longer: {file: name} of the names with folders.
    """

    longer: Mapping[Path, str] = field(default_factory=dict)

    def __call__(self, path: Path) -> str:
        return self.longer.get(_absolute(path), path.stem) if self.longer else path.stem


BY_FILE = VideoNames()


def name_videos(paths: Sequence[Path]) -> VideoNames:
    """Names of a set of videos: 001 and 002, but a/001 and b/001, relative to their common folder."""
    counts = Counter(path.stem for path in paths)
    if len(counts) == len(paths):
        return BY_FILE
    files = [_absolute(path) for path in paths]
    home = os.path.commonpath([file.parent for file in files])
    shared = [file for file in files if counts[file.stem] > 1]
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
        raise InputError(f"{entry}: no such file or folder{_neighbours(path)}")
    written_out = not glob.has_magic(path.suffix) and path.suffix != ""
    files: list[Path] = []
    for match in map(Path, glob.glob(entry, recursive=True)):
        if match.is_dir():
            if not entry.endswith("**"):
                files += _videos_under(match, others)
        elif written_out or known_suffix(match):
            files.append(match)
        else:
            others[match.suffix.lower()] += 1
    return files


def _videos_under(folder: Path, others: Counter[str]) -> list[Path]:
    videos: list[Path] = []
    for path in folder.rglob("*"):
        # macOS writes a "._name.mp4" beside each file on foreign disks, which is not a video
        if path.name.startswith(".") or not path.is_file():
            continue
        if known_suffix(path):
            videos.append(path)
        else:
            others[path.suffix.lower()] += 1
    return videos


def _describe(others: Counter[str]) -> str:
    if not others:
        return "nothing matched"
    kinds = ", ".join(f"{count} {suffix or 'without extension'}" for suffix, count in others.most_common(5))
    return f"found instead: {kinds}"


def _neighbours(path: Path) -> str:
    """Files in the folder of a missing path, for the error message."""
    folder = path.parent
    if not folder.is_dir():
        return f"; its folder {folder} does not exist either"
    names = sorted(item.name for item in folder.iterdir() if not item.name.startswith("."))
    if not names:
        return f"; {folder} is empty"
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"; {folder} holds {', '.join(names[:5])}{more}"


def _check_names(files: list[Path]) -> None:
    first: dict[Path, Path] = {}
    for path in files:
        other = first.setdefault(_absolute(path).with_suffix(""), path)
        if other is not path:
            raise InputError(
                f"{other} and {path} have the same name and would be the same video; rename one or give only one"
            )

"""Write the page of draft labels: a static folder that opens from disk, or is served by `avloc view tags.csv`.

PAGE/index.html          the page; assets/ holds its script and style, shared with the page of detections
PAGE/data/index.js       the table, as JSON (see `page.write` on untrusted text)
PAGE/media/              proxies of videos that browsers do not play
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from avloc.errors import AvlocError, InputError
from avloc.formats.tags import TagRow, read_tags
from avloc.media.find import named_media
from avloc.media.probe import probe
from avloc.mediafile import Media
from avloc.report.page.build import BuiltPage, MediaFolder
from avloc.report.page.write import data_name, script_json
from avloc.system.atomic import atomic_write, make_folder
from avloc.system.isolate import map_isolated
from avloc.system.locks import folder_lock
from avloc.types import Progress

_SHARED = ("page.css", "core.js", "LICENSE.txt")
_OWN = ("tags.css", "tags.js")


def build_tags_page(
    table: Path,
    out: Path,
    videos: Path | None = None,
    proxy: Literal["auto", "always", "never"] = "auto",
    media: Literal["link", "copy", "serve"] = "link",
    workers: int = 1,
    progress: Progress | None = None,
) -> BuiltPage:
    """Write the page of a table of draft labels. A video that cannot be played is listed without a player.

    Args:
        table: from `avloc tag`.
        videos: folder of the video files; None: the paths in the table.
        proxy, media, workers: as in `page.build.build_page`.

    Raises:
        InputError, FormatError: the table is missing, empty or malformed. StorageError: the disk is full or read-only.
    """
    rows = read_tags(table)
    if not rows:
        raise InputError(f"{table}: no videos to show")
    by_video: dict[str, list[TagRow]] = {}
    for row in rows:
        by_video.setdefault(row.video, []).append(row)
    with folder_lock(out, "the page"):
        _write_assets(out)
        folder = MediaFolder(out, proxy, media)
        shown = []
        found = _files(by_video, videos)
        for number, (video, media_file) in enumerate(_probed(by_video, found, workers, folder)):
            url, note = folder.place(media_file, data_name(number)) if media_file is not None else ("", "")
            shown.append(_video(video, by_video[video], media_file, url, note or folder.problems.get(video, "")))
            if progress is not None:
                progress(number + 1, len(by_video), video)
        content = {"title": f"avloc: {table.name}", "table": table.name, "videos": shown}
        atomic_write(out / "data" / "index.js", f"avlocPage.receive('index', {script_json(content)});\n".encode())
        return BuiltPage(out, len(shown), folder.proxies, folder.served, folder.problems)


def _write_assets(out: Path) -> None:
    ours, page = (resources.files(f"avloc.report.{name}") / "assets" for name in ("tags", "page"))
    for name in ("assets", "data", "media"):
        make_folder(out / name, "the page")
    for source, names in ((page, _SHARED), (ours, _OWN)):
        for name in names:
            atomic_write(out / "assets" / name, (source / name).read_bytes())
    atomic_write(out / "index.html", (ours / "index.html").read_bytes())


def _files(by_video: Mapping[str, Sequence[TagRow]], videos: Path | None) -> dict[str, Path | None]:
    """{video as in the table: its file}."""
    if videos is not None:
        there = named_media(videos)
        by_name = {**there, **{path.name: path for path in there.values()}}
        return {video: by_name.get(video) for video in by_video}
    noted = {video: next((row.path for row in rows if row.path), "") for video, rows in by_video.items()}
    return {video: Path(path) if path else None for video, path in noted.items()}


def _probed(
    by_video: Mapping[str, Sequence[TagRow]], files: Mapping[str, Path | None], workers: int, folder: MediaFolder
) -> list[tuple[str, Media | None]]:
    """Properties of each video's file; problems go to `folder`."""
    known = {video: path for video, path in files.items() if path is not None and path.is_file()}
    answers = dict(map_isolated(probe, list(dict.fromkeys(known.values())), workers, in_order=True))
    media: dict[str, Media | None] = dict.fromkeys(by_video)
    for video, path in files.items():
        if path is None:
            folder.problems[video] = "no video file is known; give --videos FOLDER"
        elif video not in known:
            folder.problems[video] = f"video not found: {path.parent}; if it has moved, give --videos FOLDER"
        elif isinstance(answer := answers[path], AvlocError):
            folder.problems[video] = str(answer)
        else:
            media[video] = answer
    return list(media.items())


def _video(name: str, rows: Sequence[TagRow], media: Media | None, url: str, note: str) -> dict[str, Any]:
    return {
        "video": name,
        "media": url,
        "note": note,
        "duration_s": None if media is None else media.duration_s,
        "path": next((row.path for row in rows if row.path), ""),
        "tags": [
            {"label": r.label, "keep": r.keep, "score": r.score, "start": r.start_s, "end": r.end_s, "sense": r.sense}
            for r in rows
            if r.label
        ],
    }

"""A folder of videos to a folder of features: skip what is done, name what failed, lose nothing when killed."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import cast

from avloc.config import ExtractConfig
from avloc.errors import AvlocError, FormatError, InputError
from avloc.formats import load_features, save_features, write_whole
from avloc.media.backbones import AudioBackbone, Backbone, VisualBackbone, load_backbone
from avloc.media.extract import extract_features
from avloc.media.probe import probe
from avloc.types import FeatureSequence, exact

__all__ = ["Failure", "Summary", "extract_all", "extract_one", "write_failures"]

_log = logging.getLogger("avloc.extract")

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Failure:
    """A video that could not be done, and why, in one line."""

    video_id: str
    path: str
    reason: str


@dataclass(frozen=True)
class Summary:
    """What became of each video. `notes` are remarks on videos that were done all the same."""

    done: tuple[str, ...]
    skipped: tuple[str, ...]
    failures: tuple[Failure, ...]
    notes: Mapping[str, str]


def extract_one(path: Path, options: ExtractConfig, threads: int = 0) -> FeatureSequence:
    """Features of one video with the backbones that `options` name.

    Raises:
        MediaError: it cannot be opened, or too little of it decoded.
        InputError: no such backbone, or both are none.
    """
    if options.visual is None and options.audio is None:
        raise InputError("extract.visual and extract.audio are both none; name at least one backbone")
    visual = cast(VisualBackbone, _backbone(options.visual)) if options.visual else None
    audio = cast(AudioBackbone, _backbone(options.audio)) if options.audio else None
    return extract_features(probe(path), visual, audio, exact(options.step_s), threads=threads)


@lru_cache(maxsize=4)
def _backbone(name: str) -> Backbone:
    """Made once a process: its weights may be large."""
    return load_backbone(name)


def extract_all(
    videos: Sequence[Path],
    out: Path,
    options: ExtractConfig,
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Summary:
    """Extract every video to `out/<video_id>.safetensors`.

    Args:
        videos: files with different stems, as `find_media` gives them.
        options: backbones, step, dtype. A video already done with the same options is skipped; one done with others
            is an error, unless `overwrite`.
        workers: processes; 1 works in this one.
        progress: called with (videos done, videos, name of the last).

    Raises:
        InputError: `out` cannot be written, or holds features made with other options.
    """
    _check_folder(out)
    todo, skipped = [], []
    for path in videos:
        target = _target(out, path)
        if target.exists() and not overwrite and _is_current(target, options):
            skipped.append(path.stem)
        else:
            todo.append(path)
    done: list[str] = []
    failures: list[Failure] = []
    notes: dict[str, str] = {}
    for path, outcome in _outcomes(todo, out, options, workers):
        if isinstance(outcome, Failure):
            failures.append(outcome)
        else:
            done.append(path.stem)
            if outcome:
                notes[path.stem] = outcome
        if progress is not None:
            progress(len(done) + len(failures), len(todo), path.name)
    write_failures(out / "failures.csv", failures)
    return Summary(tuple(sorted(done)), tuple(skipped), tuple(sorted(failures, key=lambda f: f.video_id)), notes)


def write_failures(path: Path, failures: Iterable[Failure]) -> None:
    """failures.csv: video,path,reason; removed when there is none."""
    rows = sorted(failures, key=lambda f: f.video_id)
    if not rows:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["video", "path", "reason"])
    writer.writerows([f.video_id, f.path, f.reason] for f in rows)
    write_whole(path, text.getvalue())


def _target(out: Path, path: Path) -> Path:
    return out / f"{path.stem}.safetensors"


def _check_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / ".writable").touch()
        (out / ".writable").unlink()
    except OSError as error:
        raise InputError(f"{out}: cannot write there ({error.strerror}); choose another -o") from error


def _is_current(target: Path, options: ExtractConfig) -> bool:
    """Whether a finished file was made with these options; a damaged one counts as not there."""
    try:
        features = load_features(target)
    except FormatError:
        return False
    wanted = {"visual": options.visual, "audio": options.audio}
    made = {name: features.source.get(name, "none") for name in wanted}
    same = all(made[n].startswith("none") if w is None else made[n].startswith(("none", w)) for n, w in wanted.items())
    if same and features.grid.step_s == exact(options.step_s):
        return True
    raise InputError(
        f"{target}: was extracted with visual={made['visual']}, audio={made['audio']}, "
        f"step_s={float(features.grid.step_s):g}; now visual={wanted['visual']}, audio={wanted['audio']}, "
        f"step_s={options.step_s:g} are asked for. Use another -o, or --overwrite to redo it"
    )


def _outcomes(
    videos: Sequence[Path], out: Path, options: ExtractConfig, workers: int
) -> Iterator[tuple[Path, str | Failure]]:
    if workers <= 1 or len(videos) <= 1:
        for path in videos:
            yield path, _work(path, out, options, 0)
        return
    with ProcessPoolExecutor(min(workers, len(videos)), mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(_work, path, out, options, 1): path for path in videos}
        lost = []
        for future in as_completed(waiting):
            try:
                yield waiting[future], future.result()
            except BrokenProcessPool:
                lost.append(waiting[future])
    for path in lost:  # a worker died, and took the queue with it: each of the rest gets a process to itself
        yield path, _alone(path, out, options)


def _alone(path: Path, out: Path, options: ExtractConfig) -> str | Failure:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(_work, path, out, options, 0).result()
        except BrokenProcessPool:
            return Failure(path.stem, str(path), "the process that decoded it died; the file crashes the decoder")


def _work(path: Path, out: Path, options: ExtractConfig, threads: int) -> str | Failure:
    """Extract and save one video; a note, or why it failed."""
    try:
        features = extract_one(path, options, threads)
        save_features(_target(out, path), features, options.dtype)
    except AvlocError as error:
        return Failure(path.stem, str(path), str(error))
    missing = [name for name in ("visual", "audio") if getattr(options, name) and getattr(features, name) is None]
    remarks = [f"no {name}: {features.source.get(name, 'none')}" for name in missing]
    if features.source.get("damage", "none") != "none":
        remarks.append(f"damaged: {features.source['damage']}")
    return "; ".join(remarks)

"""Localize many videos, one result at a time. A failure costs only its video."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from avloc.errors import AvlocError, InputError, StorageError
from avloc.features.layout import split_features
from avloc.features.task import check_options, extract_one
from avloc.formats.failures import Failure
from avloc.formats.features import SUFFIX
from avloc.media.find import VideoNames, find_media, name_videos, path_list
from avloc.pipeline.activator import Activator
from avloc.pipeline.localization import Localization
from avloc.system.isolate import map_isolated
from avloc.system.text import readable
from avloc.types import FeatureSequence, Progress


def find_inputs(paths: Sequence[str | Path]) -> list[Path]:
    """Videos and feature files in files, folders and globs. In a folder with feature files, only those."""
    features, rest = split_features(map(Path, paths))
    return features + (find_media(rest) if rest or not features else [])


def localize_each(
    localizer: Activator,
    inputs: Sequence[Path],
    workers: int = 1,
    in_order: bool = False,
    progress: Progress | None = None,
) -> Iterator[tuple[Path, Localization | Failure]]:
    """Localize files and yield (file, result); a file that fails yields a `Failure` and the rest continues.

    Two or more videos are decoded in processes of their own, ahead of the model.

    Args:
        inputs: files, as `find_inputs` returns them.
        workers: processes that decode videos.
        in_order: yield in the order of the inputs instead of as they finish.
        progress: called with (kB received, kB in all, file) during a download of weights.

    Raises:
        InputError, ConfigError: what every file needs is missing. StorageError: the disk is full or unavailable.
    """
    localizer.check()
    videos = [path for path in inputs if path.suffix != SUFFIX]
    names = name_videos(videos)
    if videos:
        with suppress(*[InputError] * (len(videos) < len(inputs))):  # feature files need no weights
            check_options(localizer.extraction, load=False, progress=progress)
    seen: set[str] = set()
    for path, given in _extracted(localizer, inputs, names, workers, in_order):
        result = _localize(localizer, path, given, names)
        if isinstance(result, Localization):
            if result.video_id in seen:
                reason = f"has video id {result.video_id}, as an earlier one does; give each video its own name"
                result = _failure(path, names, reason)
            else:
                seen.add(result.video_id)
        yield path, result


def localize_files(
    localizer: Activator,
    videos: Iterable[str | Path] | str | Path,
    workers: int = 1,
    progress: Progress | None = None,
    in_order: bool = False,
) -> Iterator[Localization | Failure]:
    """`Localizer.localize_many`, which has the arguments and errors. They are checked at once, not at the first result.

    Raises:
        InputError: as there.
    """
    inputs = find_inputs(path_list(videos))
    return _with_progress(localize_each(localizer, inputs, workers, in_order, progress), len(inputs), progress)


def _with_progress(
    results: Iterator[tuple[Path, Localization | Failure]], total: int, progress: Progress | None
) -> Iterator[Localization | Failure]:
    for done, (path, result) in enumerate(results, start=1):
        if progress is not None:
            progress(done, total, path.name)
        yield result


def _localize(
    localizer: Activator,
    path: Path,
    given: Path | FeatureSequence | AvlocError,
    names: VideoNames,
) -> Localization | Failure:
    if isinstance(given, AvlocError):
        return _failure(path, names, str(given))
    try:
        result = localizer.localize(given)
    except StorageError:  # the next video would fail too
        raise
    except AvlocError as error:
        return _failure(path, names, str(error))
    return replace(result, path=path) if path.suffix != SUFFIX else result


def _failure(path: Path, names: VideoNames, reason: str) -> Failure:
    return Failure(readable(names(path)), readable(path), reason)


def _extracted(
    localizer: Activator, inputs: Sequence[Path], names: VideoNames, workers: int, in_order: bool
) -> Iterator[tuple[Path, Path | FeatureSequence | AvlocError]]:
    """Yield the inputs, videos as their features if there are several."""
    videos = [path for path in inputs if path.suffix != SUFFIX]
    if len(videos) < 2:
        yield from ((path, path) for path in inputs)
        return
    extract = partial(extract_one, options=localizer.extraction, names=names)
    extracted = map_isolated(extract, videos, workers, in_order=in_order)
    if not in_order:
        yield from ((path, path) for path in inputs if path.suffix == SUFFIX)
        yield from extracted
        return
    for path in inputs:
        yield (path, path) if path.suffix == SUFFIX else next(extracted)

"""Localize many videos and write a results folder. Failures are recorded per video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avloc.config import LocalizeConfig, likely_from
from avloc.errors import ConfigError, InputError
from avloc.features.manifest import extracted_from
from avloc.formats.failures import Failure
from avloc.formats.results import Localized, ResultsFolder
from avloc.interchange.registry import FORMATS, clear_formats, is_all, parse_formats, write_detections
from avloc.media.find import named_media
from avloc.mediafile import BY_FLAGS, StreamChoice
from avloc.pipeline.activator import Activator
from avloc.pipeline.localization import Localization
from avloc.pipeline.localizer import load
from avloc.pipeline.many import find_inputs, localize_each
from avloc.pipeline.settings import with_options
from avloc.pipeline.subset import find_labels, possible_ids, select_subset
from avloc.system.locks import folder_lock
from avloc.system.text import pluralize, readable
from avloc.types import Progress, Short

_WHOLE = 0.95
"""Share of a video from which a detection covers all of it."""


def counted(found: Mapping[str, Localized], decode: str) -> str:
    """A sentence on the number of detections, and of those above the reporting threshold (`config.likely_from`)."""
    least = likely_from(decode)
    total = sum(len(result.detections) for result in found.values())
    likely = sum(len(result.likely(least)) for result in found.values())
    text = f"{pluralize(total, 'detection')} in {pluralize(len(found), 'video')}"
    return f"{text}, {likely} scoring at least {least:g}" if least else text


def localize_all(
    localizer: Activator,
    inputs: Sequence[Path],
    out: Path,
    formats: Sequence[str] = ("json", "csv"),
    progress: Progress | None = None,
    media: Mapping[str, Path] | None = None,
    least: float | None = None,
) -> tuple[dict[str, Localized], tuple[Failure, ...]]:
    """Localize the inputs and write a results folder. Failures are recorded per video; the rest continues.

    Writes segments.<suffix> or per-video/<video>.<suffix> for each format (`interchange.registry.FORMATS`), videos.csv
    (with the labels of detections above `config.likely_from`), found.xlsx and found.csv, scores/<video>.safetensors,
    run.yaml, and failures.csv if any input failed.

    An earlier result in `out` is removed first, so that an interrupted call does not leave old segments beside new
    scores.

    Args:
        media: {video_id: video file} for inputs that are features; formats that count frames need it.
        least: lowest score in found.* and in the formats for people (not `Format.complete`); None: `likely_from`.

    Raises:
        InputError: another process uses the folder, it is not writable, or a file of others is in the way.
        StorageError: the disk is full, read-only or unavailable.
    """
    with folder_lock(out, "the detections"):
        clear_formats(out, formats)
        ResultsFolder(out).clear()
        shown_from = likely_from(localizer.options.decode) if least is None else least
        return _localize_all(localizer, inputs, out, formats, progress, media or {}, shown_from)


def _localize_all(
    localizer: Activator,
    inputs: Sequence[Path],
    out: Path,
    formats: Sequence[str],
    progress: Progress | None,
    media: Mapping[str, Path],
    least: float,
) -> tuple[dict[str, Localized], tuple[Failure, ...]]:
    folder = ResultsFolder(out)
    found: dict[str, Localized] = {}
    failures = []
    for done, (path, result) in enumerate(localize_each(localizer, inputs, in_order=True, progress=progress), start=1):
        if isinstance(result, Localization):
            result = _saved(folder, path, result)
        if isinstance(result, Failure):
            failures.append(result)
        else:
            note = result.note if result.path is not None else ""  # of features it was said when they were extracted
            found[result.video_id] = Localized(
                result.detections, result.duration_s, result.modalities, result.path, result.streams, note
            )
        if progress is not None:
            progress(done, len(inputs), path.name)
    files = {name: result.path or media.get(name) for name, result in found.items()}
    rows = {n: (r.detections, r.duration_s, files[n], r.streams) for n, r in found.items()}
    write_detections(out, formats, rows, least)
    folder.finish(found, files, failures, localizer.run_card(), likely_from(localizer.options.decode))
    return found, tuple(failures)


def _saved(folder: ResultsFolder, path: Path, result: Localization) -> Localization | Failure:
    """The result with its activations on disk, or why its name cannot be a file's."""
    try:
        folder.save_activations(result.activations)
    except InputError as error:
        name = path.stem if result.path is None else result.video_id  # a feature file may state any name
        return Failure(readable(name), readable(path), str(error))
    return result


@dataclass(frozen=True, repr=False)
class FolderPlan(Short):
    """What `localize_folder` reads and writes.

    Args:
        paths: videos and feature files.
        formats: names in `interchange.registry.FORMATS`.
        media: {video_id: video file}, for inputs that are features.
        notes: which inputs a subset leaves out, and which formats "all" does.
    """

    paths: tuple[Path, ...]
    formats: tuple[str, ...]
    media: Mapping[str, Path]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class LocalizedFolder(Short):
    """Results of `localize_folder`.

    Args:
        videos: {video_id: its detections}.
        decode: name of the decoder that made them.
        notes: as in `FolderPlan`, and what a person should know of the detections.
    """

    videos: Mapping[str, Localized]
    failures: tuple[Failure, ...]
    decode: str
    notes: tuple[str, ...] = ()


def plan_folder(
    inputs: Sequence[str | Path],
    formats: str = "json,csv",
    videos: Path | Sequence[str] | None = None,
    subset: str | None = None,
    labels: Path | None = None,
) -> FolderPlan:
    """Find the inputs and check the formats.

    Args:
        inputs: videos or feature files: files, folders, globs.
        formats: comma-separated names in `interchange.registry.FORMATS`, or "all".
        videos: where the videos are, if the inputs are features; None: where they were when they were extracted.
        subset, labels: localize only these subsets (`subset.select_subset`); without `labels`, of the labels.csv in or
            next to the inputs. None localizes all inputs.

    Raises:
        InputError: no input, none of the subset, or a format that counts frames and an input whose video is unknown.
        ConfigError: an unknown format.
    """
    said: list[str] = []
    wanted = parse_formats(formats, said)
    paths, notes = find_inputs(inputs), tuple[str, ...]()
    if subset is not None:
        paths, notes = select_subset(paths, subset, find_labels(inputs) if labels is None else labels)
    elif labels is not None:
        raise ConfigError("--labels is for --subset; give both or neither")
    media = named_media(videos) if videos is not None else extracted_from(paths)
    counting = [name for name in wanted if FORMATS[name].frames]
    bare = [path for path in paths if path.suffix == ".safetensors" and media.keys().isdisjoint(possible_ids(path))]
    if counting and bare:
        reason = f"needs frames, but the video of {pluralize(len(bare), 'input')} is unknown ({bare[0].name})"
        if not is_all(formats):
            raise InputError(f"-f {','.join(counting)} {reason}; give --videos FOLDER, or other formats")
        said.append(f"-f all left out {', '.join(counting)}, which {reason}; give --videos FOLDER")
        wanted = tuple(name for name in wanted if name not in counting)
    return FolderPlan(tuple(paths), wanted, media, (*notes, *said))


def localize_folder(
    run: Path,
    inputs: Sequence[str | Path],
    out: Path,
    formats: str = "json,csv",
    overrides: Mapping[str, Any] | None = None,
    videos: Path | Sequence[str] | None = None,
    progress: Progress | None = None,
    device: str = "auto",
    subset: str | None = None,
    labels: Path | None = None,
    streams: StreamChoice = BY_FLAGS,
    checksum: bool = True,
    allow_download: bool = False,
) -> LocalizedFolder:
    """Localize with a trained run: `plan_folder`, load the run, `localize_all`.

    Args:
        overrides: changes to the run's localize.* settings.
        device, streams, checksum, allow_download: as in `pipeline.localizer.load`.
        subset, labels: as in `plan_folder`.

    Raises:
        AvlocError: as these three do.
    """
    plan = plan_folder(inputs, formats, videos, subset, labels)
    trained = load(run, device, streams, checksum=checksum, allow_download=allow_download)
    localizer = with_options(trained, overrides or {})
    return localize_planned(localizer, plan, out, progress, "localize.min_score" in (overrides or {}))


def localize_planned(
    localizer: Activator, plan: FolderPlan, out: Path, progress: Progress | None = None, asked: bool = False
) -> LocalizedFolder:
    """`localize_all` on a plan, with notes on what a person should know of the result.

    Args:
        asked: whether `options.min_score` was given, and so replaces `likely_from` in the formats for people.
    """
    if any(path.suffix != ".safetensors" for path in plan.paths):
        _ = localizer.extraction  # raises once, not for every video
    localizer.check()
    asked = asked or localizer.options.min_score > 0
    least = localizer.options.min_score if asked else likely_from(localizer.options.decode)
    found, failures = localize_all(localizer, plan.paths, out, plan.formats, progress, plan.media, least)
    notes = [*plan.notes, *_weaker_left_out(plan.formats, found, least), *_whole_videos(found, localizer.options)]
    return LocalizedFolder(found, failures, localizer.options.decode, tuple(notes))


def _weaker_left_out(formats: Sequence[str], found: Mapping[str, Localized], least: float) -> list[str]:
    """A note if formats for people leave out detections."""
    names = [name for name in formats if not FORMATS[name].complete]
    weaker = sum(len(video.detections) - len(video.likely(least)) for video in found.values())
    if not (names and weaker):
        return []
    return [f"{', '.join(names)}: {pluralize(weaker, 'detection')} below {least:g} left out; all with --min-score 0"]


def _whole_videos(found: Mapping[str, Localized], options: LocalizeConfig) -> list[str]:
    """A note if most of what was found are whole videos: nothing was localized in them."""
    least = likely_from(options.decode)
    spans = [(d.end_s - d.start_s) / video.duration_s for video in found.values() for d in video.likely(least)]
    whole = sum(span >= _WHOLE for span in spans)
    if 2 * whole <= len(spans):
        return []
    remedy = {
        "contrast": "for shorter ones: --set localize.contrast.full_video_margin=1 "
        f"(is {options.contrast.full_video_margin:g}) --set localize.contrast.short_video_bonus=0 "
        f"(is {options.contrast.short_video_bonus:g})",
        "actions": f"for shorter ones, a lower localize.actions.threshold_factor "
        f"(is {options.actions.threshold_factor:g}): --set localize.actions.threshold_factor=0.3",
    }.get(options.decode, "for shorter ones: --set localize.decode=contrast")
    return [f"most of what was found are whole videos ({whole} of {pluralize(len(spans), 'detection')}); {remedy}"]

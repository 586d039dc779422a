"""The job, step by step.

    Workflow(["videos/"], Path("labels.csv"), Path("out"), preset("default")).run()

OUT/features/    OUT/run/    OUT/detections/    OUT/page/    OUT/job.json    OUT/failures.csv

The job may be run again with other videos, labels or settings: each step does what they require and no more. Features
of videos that are no longer given go to OUT/features-unused/, and come back with the video. Corrections stay.

Each step imports what it needs, so that bad labels are reported without loading torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from avloc.errors import InputError, few_lines, with_neighbours
from avloc.formats.corrections import write_corrections
from avloc.formats.failures import FAILURES, Failure, read_failures, write_failures
from avloc.formats.labels import LabelTable, VideoMatch, match_videos, read_labels, write_labels
from avloc.formats.results import ResultsFolder
from avloc.formats.retraining import LEARNED_FILE
from avloc.media.find import find_media, known_suffix, named_media
from avloc.system.atomic import claim, storing
from avloc.system.locks import folder_lock
from avloc.system.outputs import check_inside, discard, has_header
from avloc.system.text import fingerprint
from avloc.types import Progress, Say, Short
from avloc.version import __version__
from avloc.workflow.memory import Memory, changes, read_memory, write_memory

if TYPE_CHECKING:
    from avloc.config import RunConfig
    from avloc.features.folder import Summary
    from avloc.pipeline.folder import LocalizedFolder
    from avloc.report.page.build import BuiltPage
    from avloc.train.resume import TrainedRun


@dataclass(frozen=True, repr=False)
class WorkflowResult(Short):
    """What each step of `Workflow.run` returned; `detections` and `page` are None where nothing had changed."""

    features: Summary
    run: TrainedRun
    detections: LocalizedFolder | None
    page: BuiltPage | None


@dataclass(frozen=True)
class Workflow:
    """Steps that share one folder; each skips what is done and raises AvlocError as the function it calls.

    Args:
        videos: files, folders, globs.
        labels: labels.csv: video,labels[,subset].
        out: results folder.
        workers: processes that decode.
        overwrite: redo finished features and training.
        formats: comma-separated names in `interchange.registry.FORMATS`, or "all".
        min_score: drop detections with a lower score; None: as `config` says.
        copy_media: copy the videos into the page.
    """

    videos: Sequence[str]
    labels: Path
    out: Path
    config: RunConfig
    workers: int = 1
    overwrite: bool = False
    formats: str = "json,csv"
    min_score: float | None = None
    copy_media: bool = False

    def run(self, progress: Progress | None = None) -> WorkflowResult:
        """All steps, in a locked results folder.

        Raises:
            InputError: no label belongs to a video, no class is named, or another process works in `out`.
        """
        self.check()
        with self.lock():
            features, run = self.extract(progress), self.train(progress)
            if self.is_finished():
                return WorkflowResult(features, run, None, None)
            detections, page = self.localize(progress), self.report(progress)
            self.finish()
            return WorkflowResult(features, run, detections, page)

    def check(self) -> tuple[LabelTable, VideoMatch]:
        """Check the formats and what the page needs, and match labels with videos, before the long work starts.

        Raises:
            As `match_labels`. ConfigError: an unknown format. InputError: pillow is missing.
        """
        from avloc.interchange.registry import parse_formats
        from avloc.media.previews import require_pillow

        require_pillow()
        parse_formats(self.formats)
        return match_labels(self.labels, self.videos)

    def lock(self) -> AbstractContextManager[None]:
        """Lock of the results folder, for callers that take the steps one by one."""
        return folder_lock(self.out, "the results")

    def changes(self) -> list[str]:
        """What has changed since the last run in this folder, one line each."""
        return changes(self._memory(), self._now)

    def extract(self, progress: Progress | None = None) -> Summary:
        """OUT/features, of the given videos alone."""
        from avloc.features.folder import extract_all

        memory, out = self._memory(), self.out / "features"
        set_aside(out, self.out / "features-unused", self._now.sizes, memory.sizes)
        summary = extract_all(find_media(self.videos), out, self.config.extract, self.workers, self.overwrite, progress)
        self._remember(sizes={**memory.sizes, **self._sizes_now()})
        return summary

    def train(self, progress: Progress | None = None, say: Say | None = None) -> TrainedRun:
        """OUT/run; anew if the training videos, their labels, their corrections or the settings have changed."""
        from avloc.train.resume import outdated, train
        from avloc.train.state import has_state

        run, features, memory = self.out / "run", self.out / "features", self._memory()
        used = {video: self._now.sizes[video] for video in self._now.labels}
        replaced = any(size != memory.trained.get(video, size) for video, size in used.items())
        corrections = self._learned(say)
        anew = self.overwrite or replaced or outdated(features, self.labels, run, self.config, corrections)
        resume = has_state(run) and not anew
        trained = train(features, self.labels, run, self.config, resume, anew, progress, say, corrections)
        if trained.trained or not memory.videos:
            self._remember(trained=used)
        return trained

    def is_finished(self) -> bool:
        """Whether detections and page are there, made from what there is now."""
        results = ResultsFolder(self.out / "detections")
        there = (results.videos, results.run_card, self.out / "page" / "data" / "index.js")
        same = not self.overwrite and self._memory().finished == self._inputs()
        return same and all(path.is_file() for path in there) and not self._lacking(results)

    def localize(self, progress: Progress | None = None) -> LocalizedFolder:
        """OUT/detections, of every video with features."""
        from avloc.pipeline.folder import localize_folder

        features, out, run = self.out / "features", self.out / "detections", self.out / "run"
        overrides = {f"localize.{key}": value for key, value in self.config.localize.model_dump().items()}
        least = self.min_score if self.min_score is not None else overrides.pop("localize.min_score") or None
        overrides |= {} if least is None else {"localize.min_score": least}
        result = localize_folder(
            run, [features], out, self.formats, overrides, self.videos, progress, self.config.extract.device
        )
        self._write_labels(ResultsFolder(out).labels)
        return result

    def report(self, progress: Progress | None = None) -> BuiltPage:
        """OUT/page, with the labels given and the corrections saved so far."""
        from avloc.report.page.build import build_page
        from avloc.report.sources import PageSources

        saved = self._corrections
        sources = PageSources(self.out / "detections", corrections=saved if saved.is_file() else None)
        media: Literal["copy", "link"] = "copy" if self.copy_media else "link"
        return build_page(sources, self.out / "page", media=media, workers=self.workers, progress=progress)

    def finish(self) -> list[Failure]:
        """Remember what the results were made from, and write OUT/failures.csv.

        Returns:
            Labelled videos that are not there, and those that could not be extracted or localized.
        """
        now = self._now
        whole = self._sizes_now() == now.sizes and not self._lacking(ResultsFolder(self.out / "detections"))
        finished = self._inputs() if whole else ""
        self._remember(videos=now.videos, labels=now.labels, settings=now.settings, finished=finished)
        return self.failures()

    def failures(self) -> list[Failure]:
        """As `finish` returns them."""
        _, match = match_labels(self.labels, self.videos)
        reason = f"named in {self.labels}, but there is no such video"
        found = [Failure(video, "", reason) for video in match.missing]
        for step in ("features", "detections"):
            found += read_failures(self.out / step / FAILURES)
        write_failures(self.out / FAILURES, found)
        return found

    @cached_property
    def _now(self) -> Memory:
        """What this run is made from."""
        files = named_media(self.videos)
        _, match = match_labels(self.labels, self.videos)
        sizes = {video: path.stat().st_size for video, path in files.items()}
        labels = {
            video: ";".join(row.labels) + ("" if row.subset == "train" else f" ({row.subset})")
            for video, row in match.found.items()
        }
        settings: dict[str, Any] = self.config.model_dump(mode="json")
        if self.min_score is not None:
            settings["localize"]["min_score"] = self.min_score
        return Memory(sizes=sizes, videos=sorted(files), labels=labels, settings=settings)

    def _lacking(self, results: ResultsFolder) -> bool:
        """Whether a video has features or scores alone: localizing it failed, or a file was deleted meanwhile."""
        from avloc.features.layout import target

        for video in self._now.sizes:
            with suppress(InputError):  # an unusable name, without either
                features = target(self.out / "features", video, "safetensors")
                if features.is_file() != results.activation_file(video).is_file():
                    return True
        return False

    def _sizes_now(self) -> dict[str, int]:
        """`_now.sizes`, with -1 for a video that has changed since: what was made from it is made again next time."""
        files = named_media(self.videos)
        there = {video: path.stat().st_size for video, path in files.items() if path.is_file()}
        return {video: size if there.get(video) == size else -1 for video, size in self._now.sizes.items()}

    @property
    def _corrections(self) -> Path:
        return self.out / "detections" / "corrections.json"

    def _learned(self, say: Say | None) -> list[Path]:
        """OUT/learned.json, the saved corrections of training videos; [] without any."""
        from avloc.workflow.retrain import learnable

        if not self._corrections.is_file():
            return []
        videos, notes = learnable(self._corrections, self.labels)
        if say is not None:
            for note in few_lines(notes):
                say(note)
        if not videos:
            return []
        write_corrections(self.out / LEARNED_FILE, videos)
        return [self.out / LEARNED_FILE]

    def _memory(self) -> Memory:
        return read_memory(self.out / "job.json")

    def _remember(self, **facts: Any) -> None:
        before = self._memory()
        now = replace(before, **facts)
        if now != before:
            write_memory(self.out / "job.json", now)

    def _inputs(self) -> str:
        """Fingerprint of what the detections and the page are made from."""
        from avloc.model.files import RECORD_FILE

        files = {video: str(path.absolute()) for video, path in named_media(self.videos).items()}
        read = (self.out / "run" / RECORD_FILE, self._corrections, self.out / "features" / FAILURES)
        contents = [hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "" for path in read]
        now = (self._now.sizes, self._now.labels, self._now.settings["localize"])
        return fingerprint([__version__, files, contents, *now, self.formats, self.min_score, self.copy_media])

    def _write_labels(self, path: Path) -> None:
        """The labels of the given videos, under the videos' names."""
        _, match = match_labels(self.labels, self.videos)
        files = named_media(self.videos)
        rows = [replace(row, video_id=video + known_suffix(files[video])) for video, row in match.found.items()]
        write_labels(path, LabelTable(tuple(rows)))


def set_aside(features: Path, unused: Path, sizes: Mapping[str, int], before: Mapping[str, int]) -> None:
    """Leave in a folder only features of the videos that are there, as they are.

    Args:
        unused: where features of other videos go, and come back from.
        sizes: {video_id: bytes} of the videos. before: the same when their features were made; a video of another size
            is another file, whose features are deleted.
    """
    from avloc.features.layout import target

    wanted: dict[Path, str] = {}
    for video in sizes:
        with suppress(InputError):  # an unusable name; extraction reports it
            wanted[target(features, video, "safetensors").relative_to(features)] = video
    for path in sorted(features.rglob("*.safetensors")):
        if path.relative_to(features) not in wanted and has_header(path):
            _move(path, unused / path.relative_to(features))
    for place, video in wanted.items():
        if (unused / place).is_file() and not (features / place).exists():
            _move(unused / place, features / place)
        if before.get(video, sizes[video]) != sizes[video]:
            discard(features / place)


def _move(path: Path, to: Path) -> None:
    check_inside(path)
    claim([to])
    with storing(to):
        to.parent.mkdir(parents=True, exist_ok=True)
        path.replace(to)


def match_labels(labels: Path, videos: Sequence[str]) -> tuple[LabelTable, VideoMatch]:
    """Match labels with videos before the long work starts.

    Raises:
        FormatError: `labels` is malformed. InputError: it names none of the videos, or no class.
    """
    table = read_labels(labels)
    match = match_videos(table, named_media(videos))
    if not match.found:
        raise InputError(
            f"{labels} names none of the videos: expected such as {match.unlabelled[0]!r}, got "
            f"{with_neighbours(match.missing, match.unlabelled)}; write the files' names into it, with or without "
            "extension"
        )
    if not any(row.labels for row in match.found.values() if row.subset == "train"):
        raise InputError(
            f"{labels}: none of the {len(match.found)} videos has a label for training; write into the column labels "
            "what happens in each video, such as dog;rain, and leave it empty only for background videos"
        )
    return table, match

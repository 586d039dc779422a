"""The whole job: labelled videos -> features -> trained model -> detections -> page. `avloc run` and the demo use it.

    Workflow(["videos/"], Path("labels.csv"), Path("out"), preset("default")).run()

OUT/features/    OUT/run/    OUT/detections/    OUT/page/

Each step imports what it needs, so that bad labels are reported without loading torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avloc.errors import InputError, with_neighbours
from avloc.formats.labels import LabelTable, VideoMatch, match_videos, read_labels
from avloc.media.find import find_media, named_media
from avloc.system.locks import folder_lock
from avloc.types import Progress

if TYPE_CHECKING:
    from avloc.config import RunConfig
    from avloc.features.folder import Summary
    from avloc.pipeline.folder import LocalizedFolder
    from avloc.report.page.build import BuiltPage
    from avloc.train.resume import TrainedRun


@dataclass(frozen=True)
class WorkflowResult:
    """What each step of `Workflow.run` returned."""

    features: Summary
    run: TrainedRun
    detections: LocalizedFolder
    page: BuiltPage


@dataclass(frozen=True)
class Workflow:
    """Steps that share one folder; each skips what is done and raises AvlocError as the function it calls.

    Args:
        videos: files, folders, globs.
        labels: labels.csv: video,labels[,subset].
        out: results folder.
        workers: processes that decode.
        overwrite: redo finished features and training.
    """

    videos: Sequence[str]
    labels: Path
    out: Path
    config: RunConfig
    workers: int = 1
    overwrite: bool = False

    def run(self, progress: Progress | None = None) -> WorkflowResult:
        """All steps, in a locked results folder.

        Raises:
            InputError: no label belongs to a video, or another process works in `out`.
        """
        match_labels(self.labels, self.videos)
        with self.lock():
            return WorkflowResult(
                self.extract(progress), self.train(progress), self.localize(progress), self.report(progress)
            )

    def lock(self) -> AbstractContextManager[None]:
        """Lock of the results folder, for callers that take the steps one by one."""
        return folder_lock(self.out, "the results")

    def extract(self, progress: Progress | None = None) -> Summary:
        """OUT/features."""
        from avloc.features.folder import extract_all

        videos, out = find_media(self.videos), self.out / "features"
        return extract_all(videos, out, self.config.extract, self.workers, self.overwrite, progress)

    def train(self, progress: Progress | None = None) -> TrainedRun:
        """OUT/run."""
        from avloc.train.resume import train
        from avloc.train.state import has_state

        run = self.out / "run"
        resume = has_state(run) and not self.overwrite
        return train(self.out / "features", self.labels, run, self.config, resume, self.overwrite, progress)

    def localize(self, progress: Progress | None = None) -> LocalizedFolder:
        """OUT/detections, of every video with features."""
        from avloc.pipeline.folder import localize_folder

        features, out = self.out / "features", self.out / "detections"
        return localize_folder(self.out / "run", [features], out, videos=self.videos, progress=progress)

    def report(self, progress: Progress | None = None) -> BuiltPage:
        """OUT/page."""
        from avloc.report.page.build import build_page
        from avloc.report.sources import PageSources

        sources = PageSources(self.out / "detections")
        return build_page(sources, self.out / "page", workers=self.workers, progress=progress)


def match_labels(labels: Path, videos: Sequence[str]) -> tuple[LabelTable, VideoMatch]:
    """Match labels with videos before the long work starts.

    Raises:
        FormatError: `labels` is malformed. InputError: it names none of the videos.
    """
    table = read_labels(labels)
    match = match_videos(table, named_media(videos))
    if not match.found:
        raise InputError(
            f"{labels} names none of the videos: expected such as {match.unlabelled[0]!r}, got "
            f"{with_neighbours(match.missing, match.unlabelled)}; write the files' names into it, with or without "
            "extension"
        )
    return table, match

"""Detections and activations of one video, and what can be made of them: tables, files, clips, plots."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from avloc.config.arguments import checked
from avloc.errors import InputError, did_you_mean, first_few
from avloc.mediafile import BY_FLAGS, StreamChoice
from avloc.types import ActivationSequence, Detection

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


@dataclass(frozen=True, repr=False)
class Localization:
    """Detections and activations of one video."""

    detections: tuple[Detection, ...]
    activations: ActivationSequence
    path: Path | None = None  # the video file, if the input was one
    likely_from: float = 0.0  # score threshold for showing a detection on the timeline
    streams: StreamChoice = BY_FLAGS  # of the video file, as recorded with its features
    note: str = ""  # on silent audio

    def __repr__(self) -> str:
        likely = self.select(self.likely_from)
        count = f"{len(self.detections)} detections, {len(likely)} from score {self.likely_from:g}"
        best = [f"{d.label} {d.start_s:.1f}-{d.end_s:.1f} s ({d.score:.2f})" for d in likely]
        shown = f": {first_few(best, 3)}" if best else ""
        return f"<Localization {self.video_id!r}, {self.duration_s:.1f} s, {count}{shown}>"

    @property
    def video_id(self) -> str:
        return self.activations.video_id

    @property
    def duration_s(self) -> float:
        return self.activations.duration_s

    @property
    def classes(self) -> tuple[str, ...]:
        """All classes of the model, found in this video or not."""
        return self.activations.classes

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that the model used: "audio", "visual" or both."""
        return self.activations.modalities

    @checked()
    def select(self, min_score: float | None = None, classes: Iterable[str] | None = None) -> tuple[Detection, ...]:
        """The detections of these classes with at least this score, highest score first; None selects all.

        Raises:
            InputError: the model has no such class, or `classes` is a single text.
        """
        wanted = self._known(classes)
        found = [d for d in self.detections if (min_score is None or d.score >= min_score) and d.label in wanted]
        return tuple(sorted(found, key=lambda d: -d.score))

    def _known(self, classes: Iterable[str] | None) -> set[str]:
        if classes is None:
            return {*self.classes, *(d.label for d in self.detections)}
        wanted = list(classes)
        unknown = [name for name in wanted if name not in self.classes]
        if unknown:
            raise InputError(f"the model has no class {unknown[0]!r}.{did_you_mean(str(unknown[0]), self.classes)}")
        return set(wanted)

    @checked()
    def to_dataframe(self, min_score: float | None = None, classes: Iterable[str] | None = None) -> DataFrame:
        """Detections as a pandas table, in order of time.

        Columns: video (text), start_s and end_s (float64, seconds from the start of the video), label (text), score
        (float64). Without detections the table is empty and has the same columns and types.

        Args:
            min_score, classes: as in `select`.

        Raises:
            InputError: as `select`, or pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise InputError("to_dataframe needs pandas: pip install 'avloc[frames]'") from error
        found = sorted(self.select(min_score, classes), key=lambda d: (d.start_s, d.end_s))
        columns: dict[str, tuple[type, list[Any]]] = {
            "video": (str, [self.video_id] * len(found)),
            "start_s": (float, [d.start_s for d in found]),
            "end_s": (float, [d.end_s for d in found]),
            "label": (str, [d.label for d in found]),
            "score": (float, [d.score for d in found]),
        }
        return pandas.DataFrame({name: pandas.Series(rows, dtype=kind) for name, (kind, rows) in columns.items()})

    @checked()
    def save(self, path: str | Path, min_score: float | None = None) -> None:
        """Write the detections in the format of the suffix: .csv, .json (ActivityNet's submission), .vtt, .srt, .eaf,
        .boris, .otio, ... (`avloc.interchange.registry.FORMATS`). Formats that count frames need `path`.

        Args:
            min_score: lowest score in the formats for people; `likely_from` if None. Tables and JSON keep all.

        Raises:
            InputError: an unknown suffix, a format that counts frames and no video file, or an unwritable path.
        """
        from avloc.interchange.registry import save_detections
        from avloc.media.find import as_path

        least = self.likely_from if min_score is None else min_score
        save_detections(as_path(path), self.video_id, self.detections, self.duration_s, self.path, self.streams, least)

    @checked()
    def clip(
        self,
        folder: str | Path,
        min_score: float | None = None,
        classes: Iterable[str] | None = None,
        margin_s: Annotated[float, Field(ge=0)] = 0.5,
        cut: Literal["encode", "copy"] = "encode",
    ) -> list[Path]:
        """Cut a clip of each detection out of the video.

        Args:
            folder: for the clips, 0001_dog_0.913_video.mp4 and so on by falling score; created if missing.
            min_score: lowest score; `likely_from` if None.
            classes: as in `select`.
            margin_s: seconds added before and after.
            cut: "encode" is exact to the frame; "copy" is fast and lossless, but starts at the key frame before.

        Returns:
            The files. [] if there is no such detection.

        Raises:
            InputError: the localization is not of a video file, or as `select`. MediaError: it cannot be cut.
        """
        from avloc.media.clips import clip_stem, cut_detection
        from avloc.media.probe import probe
        from avloc.system.locks import folder_lock

        if self.path is None:
            raise InputError(f"{self.video_id}: made from features, so there is no video to cut; localize the video")
        chosen = self.select(self.likely_from if min_score is None else min_score, classes)
        media = probe(self.path, self.video_id, self.streams)
        stems = [clip_stem(k, self.video_id, d) for k, d in enumerate(chosen, start=1)]
        with folder_lock(Path(folder), "the clips"):
            made = [
                cut_detection(media, d, Path(folder), stem, margin_s, cut)
                for stem, d in zip(stems, chosen, strict=True)
            ]
        return [Path(folder) / name for name, _, _ in made]

    @checked()
    def plot(self, path: str | Path | None = None, min_score: float | None = None) -> Figure:
        """A timeline of detections and activations, as a matplotlib figure; saved to `path` if given.

        Args:
            min_score: lowest score drawn; `likely_from` if None.

        Raises:
            InputError: matplotlib is not installed, or the suffix of `path` is unknown.
        """
        from avloc.figures import timeline

        least = self.likely_from if min_score is None else min_score
        return timeline(self.activations, self.detections, path=path, lowest=least)

    def _repr_html_(self) -> str:
        """Timeline and table for notebooks."""
        from avloc.figures import result_html

        return result_html(self.activations, self.detections, self.likely_from)

"""A video file -> its FeatureSequence, in one decoding pass and with flat memory.

Snippets are the cells of SnippetGrid.cover(duration, step_s). A visual snippet is the pictures at regular times from
the start of its cell (a cell that lies partly after the last picture repeats it); an audio snippet is a window centred
on its cell (what reaches outside the sound is zeros). A silent sound track keeps its features: silence is what was
heard. Only a video without a sound stream, or with one that cannot be decoded, has audio None.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
from jaxtyping import Float, UInt8

from avloc.errors import InputError, MediaError
from avloc.features.backbones import AudioBackbone, VisualBackbone
from avloc.media.decode import DecodeReport, Picture, decode
from avloc.media.find import find_media
from avloc.system.isolate_child import heartbeat
from avloc.types import FeatureSequence, Media, SnippetGrid, exact

__all__ = ["extract_features", "find_media"]

MAX_PICTURES = 512
"""Held at once, whatever the snippets' length: about 150 MB at 256 pixels."""


def extract_features(
    media: Media,
    visual: VisualBackbone | None = None,
    audio: AudioBackbone | None = None,
    step_s: float | Fraction = 1,
    *,
    frame_rate: float | Fraction | None = None,
    batch_snippets: int = 16,
    threads: int = 0,
    on_progress: Callable[[float], None] | None = None,
) -> FeatureSequence:
    """Features of a whole video, both modalities on one grid.

    Args:
        media: from probe.
        visual, audio: from load_backbone; None leaves that modality out.
        step_s: seconds per snippet.
        frame_rate: pictures per second for a visual backbone that takes any number; None is its own choice. One whose
            snippets have a fixed number of pictures must agree with it.
        batch_snippets: snippets given to a backbone at once.
        threads: of the picture decoder; 0 lets ffmpeg choose, 1 is right for one process per core.
        on_progress: called with the decoded seconds, now and then.
    Returns:
        FeatureSequence. If the file breaks off early, its duration and grid are of what could be decoded. source has
        "path", "visual", "audio" (backbone names, or "none" and why), "damage" ("none", or what was wrong),
        "visual_weights" and "audio_weights" (file and hash, when there are weights), and "visual_rate_hz" when
        `frame_rate` was given.
    Raises:
        InputError: no backbone at all, one of the wrong kind, or a frame rate that does not suit it.
        MediaError: too little of the file could be decoded, or nothing is left: only sound was asked for and there
            is none.
    """
    _check_backbones(visual, audio)
    if visual is None and not media.has_audio:
        raise MediaError(f"{media.path}: expected sound, there is no sound stream; use a visual backbone for it")
    grid = SnippetGrid.cover(media.duration_s, step_s)
    report = DecodeReport()
    pictures = _VisualRows(visual, grid, batch_snippets, frame_rate) if visual is not None else None
    sounds = _AudioRows(audio, grid, batch_snippets) if audio is not None and media.has_audio else None
    stream = decode(
        media,
        frame_rate=pictures.rate if pictures is not None else None,
        frame_size=visual.frame_size if visual is not None else None,
        audio_rate_hz=audio.rate_hz if audio is not None and sounds is not None else None,
        report=report,
        threads=threads,
    )
    for item in stream:
        if isinstance(item, Picture):
            assert pictures is not None
            pictures.push(item.rgb)
        else:
            assert sounds is not None
            sounds.push(item.samples)
        if on_progress is not None:
            on_progress(float(item.time_s))

    duration_s = float(report.video_end_s) if report.truncated else media.duration_s
    grid = SnippetGrid.cover(duration_s, step_s)
    heard = sounds is not None and report.audio_samples > 0
    if visual is None and not heard:
        raise MediaError(
            f"{media.path}: expected sound, its sound stream cannot be decoded ({report.reason or 'empty'})"
        )
    return FeatureSequence(
        video_id=media.video_id,
        duration_s=duration_s,
        grid=grid,
        visual=pictures.finish(grid.count) if pictures is not None else None,
        audio=sounds.finish(grid.count) if sounds is not None and heard else None,
        source={
            "path": media.path.name,
            "visual": visual.name if visual is not None else "none",
            "audio": _audio_source(media, audio, heard, report),
            "damage": report.describe(),
            **_more_source(visual, audio if heard else None, frame_rate),
        },
    )


def _check_backbones(visual: VisualBackbone | None, audio: AudioBackbone | None) -> None:
    if visual is None and audio is None:
        raise InputError("nothing to extract: give a visual or an audio backbone, or both")
    for wanted, backbone in (("visual", visual), ("audio", audio)):
        if backbone is not None and backbone.modality != wanted:
            raise InputError(f"expected a backbone for {wanted}, {backbone.name!r} is for {backbone.modality}")


def _audio_source(media: Media, audio: AudioBackbone | None, heard: bool, report: DecodeReport) -> str:
    if audio is None:
        return "none"
    if heard:
        return audio.name
    if not media.has_audio:
        return "none: no sound stream"
    return f"none: the sound stream cannot be decoded ({report.reason or 'empty'})"


def _more_source(
    visual: VisualBackbone | None, audio: AudioBackbone | None, frame_rate: float | Fraction | None
) -> dict[str, str]:
    """Weights, and a frame rate that is not the backbone's own."""
    kinds = (("visual", visual), ("audio", audio))
    more = {f"{kind}_weights": b.weights for kind, b in kinds if b is not None and b.weights is not None}
    return more | ({"visual_rate_hz": str(exact(frame_rate))} if visual is not None and frame_rate is not None else {})


def _frames_per_snippet(backbone: VisualBackbone, step_s: Fraction, frame_rate: float | Fraction | None) -> int:
    wanted = None if frame_rate is None else max(1, round(step_s * exact(frame_rate)))
    fixed = backbone.frames_per_snippet
    if fixed is None:
        return wanted or max(1, round(step_s * (backbone.frame_rate or 1)))
    if wanted is not None and wanted != fixed:
        raise InputError(
            f"backbone {backbone.name!r} takes {fixed} pictures a snippet, {float(exact(frame_rate or 0)):g} per "
            f"second make {wanted} in {float(step_s):g} s; leave --fps out, or give --frames-per-snippet {fixed}"
        )
    return fixed


class _Rows:
    """Collects a backbone's answers, batch by batch, and holds it to its promise."""

    def __init__(self, backbone: VisualBackbone | AudioBackbone) -> None:
        self._backbone = backbone
        self._batches: list[np.ndarray] = []
        self.count = 0

    def add(self, batch: np.ndarray) -> None:
        heartbeat()
        rows = np.asarray(self._backbone(batch))
        expected = (len(batch), self._backbone.size)
        if rows.shape != expected:
            raise ValueError(f"backbone {self._backbone.name!r} gave shape {rows.shape}, promised {expected}")
        self._batches.append(rows.astype(np.float32))  # a copy: the batch's buffer is used again
        self.count += len(rows)

    def all(self, count: int) -> Float[np.ndarray, "l d"]:
        return np.concatenate(self._batches)[:count]


class _VisualRows:
    """Pictures in order -> rows. A snippet is `frames` of them, and `after` more that it shares with the next one."""

    def __init__(
        self,
        backbone: VisualBackbone,
        grid: SnippetGrid,
        batch: int,
        frame_rate: float | Fraction | None = None,
    ) -> None:
        self._frames = _frames_per_snippet(backbone, grid.step_s, frame_rate)
        self._after: int = getattr(backbone, "frames_after", 0)
        self.rate = self._frames / grid.step_s
        few = max(1, MAX_PICTURES // self._frames)
        self._grid, self._batch = grid, min(batch, few, grid.count)
        self._rows = _Rows(backbone)
        self._buffer: np.ndarray | None = None
        self._last: np.ndarray | None = None
        self._filled = 0

    def push(self, rgb: UInt8[np.ndarray, "h w 3"]) -> None:
        """Take the next picture; those after the last snippet (less than half a cell) are left out."""
        if self._rows.count >= self._grid.count:
            return
        if self._buffer is None:
            self._buffer = np.empty((self._batch * self._frames + self._after, *rgb.shape), np.uint8)
        self._buffer[self._filled] = self._last = rgb
        self._filled += 1
        if self._filled == self._needed(self._grid.count):
            self._flush()

    def finish(self, count: int) -> Float[np.ndarray, "l d"]:
        """Rows of the first `count` snippets; missing pictures repeat the last one."""
        while self._rows.count < count:
            assert self._buffer is not None, "decode raises when no picture comes"
            stop = self._needed(count)
            self._buffer[self._filled : stop] = self._last
            self._filled = max(self._filled, stop)
            self._flush()
        return self._rows.all(count)

    def _needed(self, count: int) -> int:
        """Pictures that the next batch needs when `count` snippets are wanted in all."""
        return min(self._batch, count - self._rows.count) * self._frames + self._after

    def _flush(self) -> None:
        assert self._buffer is not None
        snippets = (self._filled - self._after) // self._frames
        pictures = self._buffer[: snippets * self._frames + self._after]
        windows = np.lib.stride_tricks.sliding_window_view(pictures, self._frames + self._after, axis=0)
        self._rows.add(np.moveaxis(windows[:: self._frames], -1, 1))
        kept = self._filled - snippets * self._frames
        self._buffer[:kept] = self._buffer[snippets * self._frames : self._filled].copy()
        self._filled = kept


class _AudioRows:
    """Consecutive blocks of sound -> windows centred on the snippets -> rows."""

    def __init__(self, backbone: AudioBackbone, grid: SnippetGrid, batch: int) -> None:
        window_s = grid.step_s if backbone.window_s is None else exact(backbone.window_s)
        self._length = max(1, round(window_s * backbone.rate_hz))
        self._rate_hz, self._grid, self._batch = backbone.rate_hz, grid, batch
        self._rows = _Rows(backbone)
        self._start = min(0, self._first_sample(0))  # of the buffer, in samples from t = 0
        self._parts: list[np.ndarray] = [np.zeros(-self._start, np.float32)]
        self._end = 0

    def push(self, samples: Float[np.ndarray, " n"]) -> None:
        """Take the next block."""
        self._parts.append(samples)
        self._end += len(samples)
        last = min(self._rows.count + self._batch, self._grid.count)
        if last > self._rows.count and self._end >= self._first_sample(last - 1) + self._length:
            self._flush(last)

    def finish(self, count: int) -> Float[np.ndarray, "l d"]:
        """Rows of the first `count` snippets; zeros stand for sound that is not there."""
        while self._rows.count < count:
            last = min(self._rows.count + self._batch, count)
            missing = self._first_sample(last - 1) + self._length - self._end
            if missing > 0:
                self.push(np.zeros(missing, np.float32))
            if self._rows.count < last:
                self._flush(last)
        return self._rows.all(count)

    def _first_sample(self, index: int) -> int:
        """Where window `index` starts, in samples from t = 0; may be negative."""
        return round(self._grid.edge_s(index + Fraction(1, 2)) * self._rate_hz - Fraction(self._length, 2))

    def _flush(self, stop: int) -> None:
        """Windows up to `stop` (exclusive) through the backbone; keeps what the next ones need."""
        sound = np.concatenate(self._parts)
        starts = [self._first_sample(index) - self._start for index in range(self._rows.count, stop)]
        self._rows.add(np.stack([sound[start : start + self._length] for start in starts]))
        keep = self._first_sample(stop) - self._start
        # windows shorter than the step leave a gap that has not come yet: then nothing is kept, and nothing skipped
        keep = min(keep, len(sound))
        self._parts = [sound[keep:].copy()]
        self._start += keep

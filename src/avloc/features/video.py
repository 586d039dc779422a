"""Features of one video file, in one decoding pass and constant memory.

Snippets are the cells of SnippetGrid.cover(duration, step_s). A visual snippet is the frames at regular times from the
start of its cell (past the last frame, that frame is repeated). An audio snippet is a window centred on its cell,
padded with zeros. Silent audio still gives features; `audio` is None only if the file has no audio stream or it cannot
be decoded.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
from jaxtyping import Float, UInt8

from avloc.errors import InputError, MediaError
from avloc.features.backbones import AudioBackbone, VisualBackbone
from avloc.features.backbones.protocol import WindowedAudioBackbone
from avloc.features.windowed import WindowedAudioRows
from avloc.media.decode import DecodeReport, Picture, decode
from avloc.mediafile import Media
from avloc.system.isolate_child import heartbeat
from avloc.types import FIRST_VERSION, FeatureSequence, Provenance, SnippetGrid, exact

SILENT_PEAK = 1e-3
"""Audio below this peak (-60 dBFS) is silent: no event of a video is as quiet."""

MAX_FRAMES = 512
"""Frames buffered at once, for any snippet length: about 150 MB at 256 pixels."""


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
    """Extract the features of a video, both modalities on one grid.

    Args:
        media: from probe.
        visual, audio: from load_backbone; None leaves that modality out.
        step_s: seconds per snippet.
        frame_rate: fps for a visual backbone that accepts any; None uses the backbone's own. Must agree with a backbone
            that takes a fixed number of frames per snippet.
        batch_snippets: snippets per backbone call.
        threads: of the video decoder; 0 lets ffmpeg choose, 1 suits one process per core.
        on_progress: called with the decoded seconds as decoding proceeds.
    Returns:
        FeatureSequence. If the file is truncated, duration and grid cover what could be decoded. Details of its source:
        "path", "damage" ("none", or a description), "notes" (if any; unusual, but no damage), "visual_weights" and
        "audio_weights" (file and SHA-256, if the backbone has weights), "visual_version" and "audio_version" (unless
        "1"), "visual_rate_hz" (if `frame_rate` was given), and the streams used (see `Provenance`).
    Raises:
        InputError: no backbone, a backbone of the wrong modality, or a frame rate that it cannot take.
        MediaError: too little of the file could be decoded, or only audio was requested and there is none.
    """
    _check_backbones(visual, audio)
    if visual is None and not media.has_audio:
        raise MediaError(f"{media.path}: expected audio, the file has no audio stream; use a visual backbone")
    grid = SnippetGrid.cover(media.duration_s, step_s)
    visual_rows = _VisualRows(visual, grid, batch_snippets, frame_rate) if visual is not None else None
    audio_rows = _audio_rows(audio, grid, batch_snippets) if audio is not None and media.has_audio else None
    report, peak = _decode_into(media, visual_rows, audio_rows, threads, on_progress)
    if report.audio_samples == 0:
        audio_rows = None
    if visual_rows is None and audio_rows is None:
        raise MediaError(
            f"{media.path}: expected audio, the audio stream cannot be decoded ({report.reason or 'empty'})"
        )
    duration_s = float(report.video_end_s) if report.truncated else media.duration_s
    grid = SnippetGrid.cover(duration_s, step_s)
    return FeatureSequence(
        video_id=media.video_id,
        duration_s=duration_s,
        grid=grid,
        visual=visual_rows.finish(grid.count) if visual_rows is not None else None,
        audio=audio_rows.finish(grid.count) if audio_rows is not None else None,
        source=_provenance(media, visual, audio, audio_rows is not None, frame_rate, report, peak),
    )


def _check_backbones(visual: VisualBackbone | None, audio: AudioBackbone | None) -> None:
    if visual is None and audio is None:
        raise InputError("nothing to extract: give a visual or an audio backbone, or both")
    for wanted, backbone in (("visual", visual), ("audio", audio)):
        if backbone is not None and backbone.modality != wanted:
            raise InputError(f"expected a backbone for {wanted}, {backbone.name!r} is for {backbone.modality}")


def _decode_into(
    media: Media,
    visual: _VisualRows | None,
    audio: _AudioRows | WindowedAudioRows | None,
    threads: int,
    on_progress: Callable[[float], None] | None,
) -> tuple[DecodeReport, float]:
    """Decode the file once, as a stream, and feed frames and audio samples to the backbones.

    Returns:
        The report, and the largest absolute audio sample.
    """
    report, peak = DecodeReport(), 0.0
    stream = decode(
        media,
        frame_rate=visual.frame_rate if visual is not None else None,
        frame_size=visual.frame_size if visual is not None else None,
        audio_rate_hz=audio.rate_hz if audio is not None else None,
        report=report,
        threads=threads,
    )
    for item in stream:
        if isinstance(item, Picture):
            assert visual is not None
            visual.push(item.rgb)
        else:
            assert audio is not None
            audio.push(item.samples)
            peak = max(peak, float(item.samples.max()), -float(item.samples.min()))
        if on_progress is not None:
            on_progress(float(item.time_s))
    return report, peak


def _provenance(
    media: Media,
    visual: VisualBackbone | None,
    audio: AudioBackbone | None,
    heard: bool,
    frame_rate: float | Fraction | None,
    report: DecodeReport,
    peak: float,
) -> Provenance:
    """Backbones, the reason for an absent modality, and details.

    Args:
        heard: whether there are audio features.
        peak: largest absolute audio sample.
    """
    absent = {name: "" for name, wanted in (("visual", visual), ("audio", audio)) if wanted is None}
    if audio is not None and not heard:
        reason = f"the sound stream cannot be decoded ({report.reason or 'empty'})"
        absent["audio"] = reason + _try_another(media) if media.has_audio else "no sound stream"
    used = {name: b for name, b in (("visual", visual), ("audio", audio)) if b is not None and name not in absent}
    details = {"path": media.path.name, "damage": report.describe()}
    if notes := report.notes():
        details["notes"] = notes
    details |= {f"{name}_weights": b.weights for name, b in used.items() if b.weights is not None}
    versions = {f"{name}_version": getattr(b, "version", FIRST_VERSION) for name, b in used.items()}
    details |= {key: version for key, version in versions.items() if version != FIRST_VERSION}
    if visual is not None and frame_rate is not None:
        details["visual_rate_hz"] = str(exact(frame_rate))
    details |= _stream_details(media, audio is not None)
    if heard and peak < SILENT_PEAK and media.audio_streams > 1:
        details["silence"] = _silence(media)
    return Provenance({name: b.name for name, b in used.items()}, absent, details)


def _stream_details(media: Media, with_audio: bool) -> dict[str, str]:
    """The streams used, of each kind of which the file has several or one was requested; see `Provenance`."""
    kinds: list[tuple[str, int | str | None, int | str | None, int]] = [
        ("video", media.streams.video, media.requested.video, media.video_streams)
    ]
    if with_audio:
        kinds.append(("audio", media.streams.audio, media.requested.audio, media.audio_streams))
    details = {}
    for kind, used, requested, count in kinds:
        if used is not None and (count > 1 or requested is not None):
            details[f"{kind}_stream"] = str(used)
        if requested is not None:
            details[f"{kind}_stream_option"] = str(requested)
    return details


def _silence(media: Media) -> str:
    used = media.streams.audio
    if used == "mix":
        return f"all {media.audio_streams} audio streams are silent"
    return f"audio stream {used} of {media.audio_streams} is silent{_try_another(media)}"


def _try_another(media: Media) -> str:
    used = media.streams.audio
    return "" if used == "mix" or media.audio_streams < 2 else f"; try --audio-stream {2 if used == 1 else 1}"


def _frames_per_snippet(backbone: VisualBackbone, step_s: Fraction, frame_rate: float | Fraction | None) -> int:
    wanted = None if frame_rate is None else max(1, round(step_s * exact(frame_rate)))
    fixed = backbone.frames_per_snippet
    if fixed is None:
        return wanted or max(1, round(step_s * (backbone.frame_rate or 1)))
    if wanted is not None and wanted != fixed:
        raise InputError(
            f"backbone {backbone.name!r} takes {fixed} frames per snippet; {float(exact(frame_rate or 0)):g} fps gives "
            f"{wanted} in {float(step_s):g} s; leave --fps out, or give --frames-per-snippet {fixed}"
        )
    return fixed


def _audio_rows(
    audio: AudioBackbone | WindowedAudioBackbone, grid: SnippetGrid, batch_snippets: int
) -> _AudioRows | WindowedAudioRows:
    if isinstance(audio, WindowedAudioBackbone):
        return WindowedAudioRows(audio, grid)
    return _AudioRows(audio, grid, batch_snippets)


class _Rows:
    """Collects a backbone's feature rows, batch by batch, and checks their shape."""

    def __init__(self, backbone: VisualBackbone | AudioBackbone) -> None:
        self._backbone = backbone
        self._batches: list[np.ndarray] = []
        self.count = 0

    def add(self, batch: np.ndarray) -> None:
        heartbeat()
        rows = np.asarray(self._backbone(batch))
        expected = (len(batch), self._backbone.size)
        if rows.shape != expected:
            raise ValueError(f"backbone {self._backbone.name!r} returned shape {rows.shape}, expected {expected}")
        self._batches.append(rows.astype(np.float32))  # a copy: the batch's buffer is reused
        self.count += len(rows)

    def all(self, count: int) -> Float[np.ndarray, "l d"]:
        return np.concatenate(self._batches)[:count]


class _VisualRows:
    """Frames in order -> feature rows. A snippet is `frames` of them, plus those shared with its neighbours."""

    def __init__(
        self,
        backbone: VisualBackbone,
        grid: SnippetGrid,
        batch: int,
        frame_rate: float | Fraction | None = None,
    ) -> None:
        self._frames = _frames_per_snippet(backbone, grid.step_s, frame_rate)
        self._before: int = getattr(backbone, "frames_before", 0)
        self._shared: int = self._before + getattr(backbone, "frames_after", 0)
        self.frame_rate = self._frames / grid.step_s
        self.frame_size = backbone.frame_size
        self._grid, self._batch = grid, min(batch, max(1, MAX_FRAMES // self._frames), grid.count)
        self._rows = _Rows(backbone)
        self._buffer: np.ndarray | None = None
        self._last: np.ndarray | None = None
        self._filled = 0

    def push(self, rgb: UInt8[np.ndarray, "h w 3"]) -> None:
        """Add the next frame; frames after the last snippet (less than half a cell) are dropped."""
        if self._rows.count >= self._grid.count:
            return
        if self._buffer is None:
            self._buffer = np.empty((self._batch * self._frames + self._shared, *rgb.shape), np.uint8)
            self._buffer[: self._before] = rgb
            self._filled = self._before
        self._buffer[self._filled] = self._last = rgb
        self._filled += 1
        if self._filled == self._needed(self._grid.count):
            self._flush()

    def finish(self, count: int) -> Float[np.ndarray, "l d"]:
        """Rows of the first `count` snippets; missing frames repeat the last one."""
        while self._rows.count < count:
            assert self._buffer is not None, "decode raises if there is no frame"
            stop = self._needed(count)
            self._buffer[self._filled : stop] = self._last
            self._filled = max(self._filled, stop)
            self._flush()
        return self._rows.all(count)

    def _needed(self, count: int) -> int:
        """Frames to buffer for the next batch, if `count` snippets are wanted in total."""
        return min(self._batch, count - self._rows.count) * self._frames + self._shared

    def _flush(self) -> None:
        assert self._buffer is not None
        snippets = (self._filled - self._shared) // self._frames
        frames = self._buffer[: snippets * self._frames + self._shared]
        windows = np.lib.stride_tricks.sliding_window_view(frames, self._frames + self._shared, axis=0)
        self._rows.add(np.moveaxis(windows[:: self._frames], -1, 1))
        kept = self._filled - snippets * self._frames
        self._buffer[:kept] = self._buffer[snippets * self._frames : self._filled].copy()
        self._filled = kept


class _AudioRows:
    """Consecutive audio blocks -> windows centred on the snippets -> feature rows."""

    def __init__(self, backbone: AudioBackbone, grid: SnippetGrid, batch: int) -> None:
        window_s = backbone.window_s
        if window_s is None:
            window_s = grid.step_s + 2 * getattr(backbone, "margin_s", Fraction(0))
        self._length = max(1, round(exact(window_s) * backbone.rate_hz))
        self.rate_hz, self._grid, self._batch = backbone.rate_hz, grid, batch
        self._rows = _Rows(backbone)
        self._start = min(0, self._first_sample(0))  # of the buffer, in samples from t = 0
        self._parts: list[np.ndarray] = [np.zeros(-self._start, np.float32)]
        self._end = 0

    def push(self, samples: Float[np.ndarray, " n"]) -> None:
        """Add the next block."""
        self._parts.append(samples)
        self._end += len(samples)
        last = min(self._rows.count + self._batch, self._grid.count)
        if last > self._rows.count and self._end >= self._first_sample(last - 1) + self._length:
            self._flush(last)

    def finish(self, count: int) -> Float[np.ndarray, "l d"]:
        """Rows of the first `count` snippets; missing audio is zeros."""
        while self._rows.count < count:
            last = min(self._rows.count + self._batch, count)
            missing = self._first_sample(last - 1) + self._length - self._end
            if missing > 0:
                self.push(np.zeros(missing, np.float32))
            if self._rows.count < last:
                self._flush(last)
        return self._rows.all(count)

    def _first_sample(self, index: int) -> int:
        """First sample of window `index`, counted from t = 0; may be negative."""
        return round(self._grid.edge_s(index + Fraction(1, 2)) * self.rate_hz - Fraction(self._length, 2))

    def _flush(self, stop: int) -> None:
        """Run the windows before `stop` through the backbone; keep the samples that later windows need."""
        samples = np.concatenate(self._parts)
        starts = [self._first_sample(index) - self._start for index in range(self._rows.count, stop)]
        self._rows.add(np.stack([samples[start : start + self._length] for start in starts]))
        # windows shorter than the step leave gaps: the next window may start after the buffered samples
        keep = min(self._first_sample(stop) - self._start, len(samples))
        self._parts = [samples[keep:].copy()]
        self._start += keep

"""When avloc sees and hears the events of the test patterns, for every container, codec and clock of the table."""

from __future__ import annotations

import argparse
import contextlib
import csv
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from avloc.errors import AvlocError
from avloc.media.clips import encode_clip
from avloc.media.decode import Picture, decode
from avloc.media.frames import frame_times
from avloc.media.probe import probe
from avloc.mediafile import Media
from benchmarks.console import add_command, markdown_table
from benchmarks.reliability.browser import Browser
from benchmarks.reliability.patterns import Truth
from benchmarks.reliability.variants import VARIANTS, Variant

SAMPLING_HZ, AUDIO_HZ = 200, 16_000
DURATION_TOLERANCE_S = 0.1  # audio codecs fill their last frame
_BRIGHT, _LOUD = 150, 0.15
_CLIP_LEAD_S = 1.0
_HEAD = (
    "variant",
    "duration",
    "measured",
    "flash",
    "beep",
    "frame times",
    "clip flash",
    "clip beep",
    "chromium",
    "note",
)


@dataclass
class Offsets:
    """Measured minus true times in seconds; None: the event was not found.

    Args:
        flash, beep: in `decode`.
        listed: of the first white frames in `frame_times`.
        clip_flash, clip_beep: of the last flash in a clip cut around it.
        chromium: of the flashes in chromium.
        duration_s: measured by `probe`.
        extra: number of flashes and beeps without a true one.
        error: the reason why the file was refused.
    """

    flash: list[float | None] = field(default_factory=list)
    beep: list[float | None] = field(default_factory=list)
    listed: list[float | None] = field(default_factory=list)
    clip_flash: list[float | None] = field(default_factory=list)
    clip_beep: list[float | None] = field(default_factory=list)
    chromium: list[float | None] = field(default_factory=list)
    duration_s: float | None = None
    extra: int = 0
    error: str = ""

    def faults(self, truth: Truth, allowed_s: float) -> list[str]:
        """What is wrong, one text each; chromium's times count as well: they test the truth."""
        found = [self.error] if self.error else []
        for name in ("flash", "beep", "listed", "clip_flash", "clip_beep", "chromium"):
            offsets = getattr(self, name)
            if any(offset is None or round(abs(offset), 3) > allowed_s for offset in offsets):
                found.append(f"{name} {_text(offsets)}")
        if self.extra:
            found.append(f"{self.extra} extra events")
        if truth.duration_s is not None and self.duration_s is not None:
            excess = self.duration_s - float(truth.duration_s)
            if abs(excess) > DURATION_TOLERANCE_S:
                found.append(f"duration {excess:+.3f}")
        return found


def add_commands(commands: Any) -> None:
    parser = add_command(commands, media_variants, only="", browser=False)
    parser.add_argument("--keep", type=Path, help="write the files to this folder and keep them")
    parser.add_argument("--csv", type=Path, help="write the table to this file as well")


def media_variants(args: argparse.Namespace) -> None:
    """Write test patterns in many containers, codecs and clocks; print when avloc sees and hears their events.

    Prints a Markdown table of offsets (measured minus true times, in seconds) and every fault; exit code 1 when there
    is one. --only: a part of the variants' names. --browser: ask chromium too (needs playwright), at formats it plays.
    """
    rows, faults, start = [], [], time.monotonic()
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as stack:
        browser = stack.enter_context(Browser()) if args.browser else None
        folder = args.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for variant in VARIANTS:
            if args.only not in variant.name:
                continue
            truth, offsets = measure(variant, folder, browser)
            rows.append(_row(variant, truth, offsets))
            wrong = offsets.faults(truth, variant.allowed_s)
            faults += [f"wrong: {variant.name}: {'; '.join(wrong)}"] if wrong else []
            print(variant.name, file=sys.stderr)
    print(markdown_table(_HEAD, rows))
    print("\n".join([*faults, f"{len(faults)} of {len(rows)} variants wrong; {time.monotonic() - start:.0f} s"]))
    if args.csv:
        with args.csv.open("w", newline="") as file:
            csv.writer(file).writerows([_HEAD, *rows])
    sys.exit(1 if faults else 0)


def measure(variant: Variant, folder: Path, browser: Browser | None = None) -> tuple[Truth, Offsets]:
    """Write the file of a variant and measure it."""
    path = folder / f"{variant.name.replace('/', '_')}.{variant.suffix}"
    truth = variant.make(path)
    offsets = Offsets()
    zero_s = float(variant.chromium_zero_s)
    onsets = None if browser is None else browser.onsets(path, zero_s, zero_s + float(truth.flash_s[-1]) + 1, _BRIGHT)
    if onsets is not None:
        offsets.chromium = _offsets(truth.flash_s, [onset - zero_s for onset in onsets])
    try:
        _measure(path, truth, offsets)
    except AvlocError as error:
        offsets.error = str(error).removeprefix(f"{path}: ")
    return truth, offsets


def _measure(path: Path, truth: Truth, offsets: Offsets) -> None:
    media = probe(path)
    offsets.duration_s = media.duration_s
    flashes, beeps = observe(media)
    offsets.flash, offsets.beep = _offsets(truth.flash_s, flashes), _offsets(truth.beep_s, beeps)
    offsets.extra = max(0, len(flashes) - len(truth.flash_s)) + max(0, len(beeps) - len(truth.beep_s))
    times = frame_times(media)
    pairs = zip(truth.flash_frames, truth.flash_s, strict=True)
    offsets.listed = [float(times[k]) - float(true) if k < len(times) else None for k, true in pairs]
    if flashes:
        clip = path.with_name(f"{path.stem} clip.mp4")
        at_s = max(0.0, flashes[-1] - _CLIP_LEAD_S)
        encode_clip(media, at_s, min(flashes[-1] + 1, media.duration_s), clip)
        seen, heard = observe(probe(clip))
        offsets.clip_flash = _offsets([flashes[-1] - at_s], seen)
        apart_s = [float(beep - truth.flash_s[-1]) for beep in truth.beep_s if abs(beep - truth.flash_s[-1]) < 0.5]
        offsets.clip_beep = _offsets([flashes[-1] - at_s + apart for apart in apart_s], heard)
        clip.unlink()


def observe(media: Media) -> tuple[list[float], list[float]]:
    """Onsets of flashes and beeps, as decoded."""
    times, levels, blocks, last, level = [], [], [], None, 0.0
    for item in decode(media, frame_rate=SAMPLING_HZ, frame_size=(16, 24), audio_rate_hz=AUDIO_HZ):
        if isinstance(item, Picture):
            if item.rgb is not last:
                last, level = item.rgb, float(item.rgb.mean())
            times.append(float(item.time_s))
            levels.append(level)
        else:
            blocks.append(item.samples)
    samples = np.abs(np.concatenate([np.zeros(0, np.float32), *blocks]))
    flashes = _onsets(np.array(times), np.array(levels) > _BRIGHT)
    return flashes, _onsets(np.arange(len(samples)) / AUDIO_HZ, samples > _LOUD)


def _onsets(times_s: np.ndarray, active: np.ndarray) -> list[float]:
    """Times of activity after more than 0.5 s without."""
    at = times_s[active]
    return [float(time) for time in at[np.diff(at, prepend=-np.inf) > 0.5]]


def _offsets(true_s: Sequence[Fraction | float], measured_s: Sequence[float]) -> list[float | None]:
    """Measured minus true time per event: in order if there are as many, otherwise the nearest within 1 s."""
    if len(true_s) == len(measured_s):
        return [got - float(true) for true, got in zip(true_s, measured_s, strict=True)]
    nearest = (min((got - float(true) for got in measured_s), key=abs, default=np.inf) for true in true_s)
    return [offset if abs(offset) < 1 else None for offset in nearest]


def _row(variant: Variant, truth: Truth, offsets: Offsets) -> list[str]:
    durations = (truth.duration_s, offsets.duration_s)
    columns = (offsets.flash, offsets.beep, offsets.listed, offsets.clip_flash, offsets.clip_beep, offsets.chromium)
    wrong = "; ".join(offsets.faults(truth, variant.allowed_s))
    return [
        variant.name,
        *("" if value is None else f"{float(value):.3f}" for value in durations),
        *map(_text, columns),
        f"WRONG{': ' + offsets.error if offsets.error else ''}. {variant.note}".strip(". ") if wrong else variant.note,
    ]


def _text(offsets: Sequence[float | None]) -> str:
    return ", ".join("lost" if offset is None else f"{offset:+.3f}" for offset in offsets)

"""Joined recordings: where the time stamps of a file start anew, and the one shift that mends all its streams.

Stamps are divided into runs, within which they increase steadily. A run that starts is one of four things:

    an outlier   one or two packets, after which the stamps before continue
    a gap        a step forward that the file's clock makes too: another stream's stamps pass through it, or the format
                 has one clock from start to end (mp4, matroska)
    the same join as in another stream, whose stamps lie nearby; streams are interleaved, so it comes somewhat later
    a join       otherwise

The thresholds are ffmpeg's (ffmpeg_demux.c, ts_discontinuity_detect): in formats flagged AVFMT_TS_DISCONT, a step back
by more than 0.1 s or forward by more than 10 s. Unlike ffmpeg, a slide show whose audio goes on keeps its gaps.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction

import av

from avloc.types import Step

DISCONTINUOUS = 0x0200
"""AVFMT_TS_DISCONT, of the formats whose stamps may start anew: MPEG-TS, MPEG-PS (VOB), Ogg."""

AHEAD_S = 10
BACK_S = 0.1
BACK_PTS_S = 1.0
"""For streams without decoding stamps. With B-frames, presentation stamps go back and forth, but not at key frames."""

OVERLAP_S = Fraction(1, 4)
"""Audio at a join may overlap by this much, as encoders pad it; more is audio that the video's end would cut."""

_FEW = 2


@dataclass
class Run:
    """Stamps of one stream that increase steadily. `place`: number of packets of the file before its first."""

    stream: int
    packet: int
    place: int
    first: float
    last_dts: float | None = None
    last_pts: float | None = None
    start_s: Fraction | None = None
    end_s: Fraction | None = None
    count: int = 0
    beside: list[Run] = field(default_factory=list)

    @property
    def last(self) -> float:
        return self.last_dts if self.last_dts is not None else self.last_pts or 0.0

    def continued_by(self, dts: float | None, pts: float | None, key: bool = True) -> bool:
        """Whether a packet with these stamps may follow; `key`: it is a key frame, or audio."""
        if dts is not None and self.last_dts is not None:
            return -BACK_S <= dts - self.last_dts <= AHEAD_S
        now = pts if pts is not None else dts
        before = self.last_pts if self.last_pts is not None else self.last_dts
        if now is None or before is None:
            return True
        return (now - before >= -BACK_PTS_S or not key) and now - before <= AHEAD_S

    def spans(self, time: float) -> bool:
        return self.first - AHEAD_S <= time <= self.last + AHEAD_S


@dataclass
class Scan:
    """The runs of all streams, from packets in file order; the memory does not depend on the number of packets."""

    runs: dict[int, list[Run]] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)
    lengths_s: dict[int, Fraction] = field(default_factory=dict)
    place: int = 0
    _units: dict[int, tuple[Fraction, float]] = field(default_factory=dict)

    def add(self, packet: av.Packet, default_s: Fraction) -> None:
        """Take the next packet; `default_s`: its length if it states none."""
        stream = packet.stream_index
        number = self.counts.get(stream, 0)
        self.counts[stream] = number + 1
        self.place += 1
        if not packet.time_base:
            return
        exact, unit = self._units.setdefault(stream, (Fraction(packet.time_base), float(packet.time_base)))
        length = packet.duration or 0
        if packet.is_discard:  # hidden by an edit list: decoded, never shown
            return
        length_s = length * exact if length else default_s
        self.lengths_s[stream] = self.lengths_s.get(stream, Fraction(0)) + length_s
        pts, dts = packet.pts, packet.dts
        if pts is None and dts is None:
            return
        pts_s, dts_s = (None if ticks is None else ticks * unit for ticks in (pts, dts))
        runs = self.runs.setdefault(stream, [])
        if not runs or not runs[-1].continued_by(dts_s, pts_s, bool(packet.is_keyframe)):
            beside = [others[-1] for other, others in self.runs.items() if other != stream and others]
            first = dts_s if dts_s is not None else pts_s
            runs.append(Run(stream, number, self.place, first or 0.0, beside=beside))
        run = runs[-1]
        if dts_s is not None:
            run.last_dts = dts_s
        if pts_s is not None:
            run.last_pts = pts_s if run.last_pts is None else max(pts_s, run.last_pts)
        run.count += 1
        start = (pts if pts is not None else dts) * exact
        run.start_s = start if run.start_s is None or start < run.start_s else run.start_s
        end = start + length_s
        run.end_s = end if run.end_s is None or end > run.end_s else run.end_s


@dataclass
class Recording:
    """The runs of one of the joined recordings."""

    runs: list[Run] = field(default_factory=list)
    shift_s: Fraction = Fraction(0)

    def starts(self) -> dict[int, Fraction]:
        """Start of each stream."""
        found: dict[int, Fraction] = {}
        for run in self.runs:
            assert run.start_s is not None
            found[run.stream] = min(found.get(run.stream, run.start_s), run.start_s)
        return found

    def ends(self) -> dict[int, Fraction]:
        """End of each stream, with the shift."""
        found: dict[int, Fraction] = {}
        for run in self.runs:
            assert run.end_s is not None
            found[run.stream] = max(found.get(run.stream, run.end_s + self.shift_s), run.end_s + self.shift_s)
        return found


def recordings(scan: Scan, video: int, discontinuous: bool) -> list[Recording]:
    """The recordings of a file, each with its shift.

    Args:
        scan: of the whole file.
        video: index of the video stream.
        discontinuous: whether a step forward may be a join: `DISCONTINUOUS` formats.
    """
    found = [Recording()]
    current: dict[int, int] = {}
    last: dict[int, Run] = {}
    good = [run for runs in scan.runs.values() for run in _without_outliers(runs, scan)]
    for run in sorted(good, key=lambda run: run.place):
        k = current.get(run.stream, 0)
        newer = [n for n in range(len(found) - 1, k, -1) if any(other.spans(run.first) for other in found[n].runs)]
        if run.stream not in last:
            k = newer[0] if newer else k
        elif not _is_gap(run, last[run.stream], found[k].runs if discontinuous else None):
            if not newer:
                found.append(Recording())
            k = newer[0] if newer else len(found) - 1
        found[k].runs.append(run)
        current[run.stream], last[run.stream] = k, run
    _place_end_to_end(found, video)
    return found


def _is_gap(run: Run, before: Run, same: list[Run] | None) -> bool:
    """Whether a run continues the clock of the run before it after a gap, as other runs of its recording, `same`, do.

    None: the format has one clock.
    """
    if run.first < before.last:
        return False
    return same is None or any(other.spans(run.first) for other in run.beside if any(other is one for one in same))


def _without_outliers(runs: list[Run], scan: Scan) -> Iterable[Run]:
    """The runs of a stream except outliers; what continues after an outlier joins the run before it."""
    kept: list[Run] = []
    for k, run in enumerate(runs):
        after = runs[k + 1] if k + 1 < len(runs) else None
        if run.count <= _FEW and len(runs) > 1 and _is_outlier(run, kept[-1] if kept else None, after, scan):
            continue
        kept.append(run)
    return kept


def _is_outlier(run: Run, before: Run | None, after: Run | None, scan: Scan) -> bool:
    if before is None:  # the first stamp: an outlier if the next one agrees with the other streams, and it does not
        others = [runs[0] for stream, runs in scan.runs.items() if stream != run.stream]
        near = [other for other in others if other.spans(after.first)] if after is not None else []
        return bool(near) and not any(other.spans(run.first) for other in near)
    if after is not None:
        return before.count > _FEW and before.continued_by(after.first, None)
    if run.first > before.last:
        return False
    # the last stamp falls back: a join only if another stream starts anew as well
    return not any(runs[-1].place > before.place and len(runs) > 1 for s, runs in scan.runs.items() if s != run.stream)


def _place_end_to_end(found: list[Recording], video: int) -> None:
    """Set the shifts: the video continues where it ended, later if audio would overlap by more than `OVERLAP_S`."""
    ends = found[0].ends()
    for recording in found[1:]:
        starts = recording.starts()
        both = {stream: ends[stream] - start for stream, start in starts.items() if stream in ends}
        if video in both:
            shift = both[video]
            late = max(both.values())
            recording.shift_s = late if late - shift > OVERLAP_S else shift
        elif both:
            recording.shift_s = max(both.values())
        elif ends:
            recording.shift_s = max(ends.values()) - min(starts.values())
        for stream, end in recording.ends().items():
            ends[stream] = max(ends.get(stream, end), end)


def steps(scan: Scan, found: list[Recording]) -> tuple[Step, ...]:
    """The shifts by stream and packet; none for a file with one recording and without outliers."""
    shifts = {id(run): recording.shift_s for recording in found for run in recording.runs}
    made = []
    for stream, runs in sorted(scan.runs.items()):
        now: Fraction | None = Fraction(0)
        for run in runs:
            shift = shifts.get(id(run))
            if shift != now:
                made.append(Step(stream, run.packet, shift))
            now = shift
    return tuple(made)

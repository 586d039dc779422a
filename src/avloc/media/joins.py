"""Joined recordings: where the time stamps of a file start anew, and the one shift that mends all its streams.

Stamps are divided into runs, within which they increase steadily. A run that starts is one of four things:

    an outlier   one or two packets, after which the stamps before continue
    a gap        a step forward that the file's clock makes too: another stream's stamps pass through it, or the format
                 has one clock from start to end (mp4, matroska)
    the same join as in another stream, whose stamps lie nearby; streams are interleaved, so it comes somewhat later
    a join       otherwise

The thresholds are ffmpeg's (ffmpeg_demux.c, ts_discontinuity_detect): in formats flagged AVFMT_TS_DISCONT, a step back
by more than 0.1 s or forward by more than 10 s. Unlike ffmpeg, a slide show whose audio goes on keeps its gaps, and
in other formats a step back of a second at a key frame is a join.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import av

from avloc.mediafile import Step

DISCONTINUOUS = 0x0200
"""AVFMT_TS_DISCONT, of the formats whose stamps may start anew: MPEG-TS, MPEG-PS (VOB), Ogg."""

AHEAD_S = 10.0
NEAR_S = 1.0
"""A longer step forward starts a run; up to `AHEAD_S` it is a gap."""

BACK_S = 0.1

OVERLAP_S = Fraction(1, 4)
"""Audio at a join may overlap by this much, as encoders pad it; more is audio that the video's end would cut."""

_FEW = 2


@dataclass
class Run:
    """Stamps of one stream that increase steadily.

    Args:
        packet: number of packets of the stream before it.
        place: number of packets of the file before it.
        first, last: decoding stamps in seconds, presentation stamps where there are none; `last` is the latest.
        start_s, end_s: of its presentation, exact.
        suspect: it is one packet, shown long before or after it is decoded.
        beside: the current runs of the other streams when it started.
    """

    stream: int
    packet: int
    place: int
    first: float
    last: float
    start_s: Fraction
    end_s: Fraction
    count: int = 0
    suspect: bool = False
    beside: list[Run] = field(default_factory=list)

    def spans(self, time: float) -> bool:
        """Whether a stamp is within the run or close to it."""
        return self.first - AHEAD_S <= time <= self.last + AHEAD_S


@dataclass
class Scan:
    """The runs of all streams, from packets in file order; the memory does not depend on the number of packets.

    Args:
        discontinuous: whether the format is one of `DISCONTINUOUS`.
    """

    discontinuous: bool
    runs: dict[int, list[Run]] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)
    lengths_s: dict[int, Fraction] = field(default_factory=dict)
    _place: int = 0
    _units: dict[int, tuple[Fraction, float]] = field(default_factory=dict)

    def add(self, packet: av.Packet, default_s: Fraction) -> None:
        """Take the next packet; `default_s`: its length if it states none."""
        stream = packet.stream_index
        number = self.counts.get(stream, 0)
        self.counts[stream] = number + 1
        self._place += 1
        if packet.is_discard or not packet.time_base:  # hidden by an edit list: decoded, never shown
            return
        unit, unit_s = self._units.setdefault(stream, (Fraction(packet.time_base), float(packet.time_base)))
        length_s = packet.duration * unit if packet.duration else default_s
        self.lengths_s[stream] = self.lengths_s.get(stream, Fraction(0)) + length_s
        pts = packet.pts if packet.pts is not None else packet.dts
        if pts is None:
            return
        dts = packet.dts if packet.dts is not None else pts
        start_s, time = pts * unit, dts * unit_s
        # at a join in a program stream, the last picture of one recording may get the presentation stamp of the next
        suspect = self.discontinuous and not -NEAR_S <= pts * unit_s - time <= AHEAD_S
        runs = self.runs.setdefault(stream, [])
        if suspect or self._starts(runs, time, packet):
            beside = [others[-1] for other, others in self.runs.items() if other != stream and others]
            runs.append(Run(stream, number, self._place, time, time, start_s, start_s, 0, suspect, beside))
        run = runs[-1]
        run.count += 1
        run.last = max(run.last, time)
        run.start_s = min(run.start_s, start_s)
        run.end_s = max(run.end_s, start_s + length_s)

    def _starts(self, runs: list[Run], time: float, packet: av.Packet) -> bool:
        """Whether a packet starts a run."""
        if not runs or runs[-1].suspect:
            return True
        step = time - runs[-1].last
        if step > NEAR_S:
            return True
        if self.discontinuous and packet.dts is not None:
            back = step < -BACK_S
        else:  # presentation stamps, and decoding stamps that ffmpeg derives from them, go to and fro with B-frames
            back = step < -NEAR_S and packet.is_keyframe
        returns = len(runs) > 1 and runs[-1].count <= _FEW and runs[-1].last < runs[-2].last
        return back or (returns and 0 <= time - runs[-2].last <= NEAR_S)


@dataclass
class Recording:
    """The runs of one of the joined recordings."""

    runs: list[Run] = field(default_factory=list)
    shift_s: Fraction = Fraction(0)

    def starts(self) -> dict[int, Fraction]:
        """Start of each stream."""
        found: dict[int, Fraction] = {}
        for run in self.runs:
            found[run.stream] = min(found.get(run.stream, run.start_s), run.start_s)
        return found

    def ends(self) -> dict[int, Fraction]:
        """End of each stream, with the shift."""
        found: dict[int, Fraction] = {}
        for run in self.runs:
            found[run.stream] = max(found.get(run.stream, run.end_s + self.shift_s), run.end_s + self.shift_s)
        return found


def recordings(scan: Scan, video: int) -> list[Recording]:
    """The recordings of a file, each with its shift; `scan` is of the whole file, `video` the video stream's index."""
    found = [Recording()]
    number: dict[int, int] = {}  # of a run's recording, by id
    last: dict[int, Run] = {}
    good = [run for runs in scan.runs.values() for run in _without_outliers(runs, scan)]
    for run in sorted(good, key=lambda run: run.place):
        before = last.get(run.stream)
        k = 0 if before is None else number[id(before)]
        newer = [n for n in range(len(found) - 1, k, -1) if any(other.spans(run.first) for other in found[n].runs)]
        same = [other for other in run.beside if number.get(id(other)) == k]
        if before is None:
            k = newer[0] if newer else k
        elif not _is_gap(run, before, same if scan.discontinuous else None):
            if not newer:
                found.append(Recording())
            k = newer[0] if newer else len(found) - 1
        found[k].runs.append(run)
        number[id(run)], last[run.stream] = k, run
    _place_end_to_end(found, video)
    return found


def _is_gap(run: Run, before: Run, same: list[Run] | None) -> bool:
    """Whether a run continues the clock of the run before it.

    Args:
        same: the runs of other streams beside it, of the same recording; None: the format has one clock.
    """
    step = run.first - before.last
    if step < -BACK_S:
        return False
    return step <= AHEAD_S or same is None or any(other.spans(run.first) for other in same)


def _without_outliers(runs: list[Run], scan: Scan) -> list[Run]:
    """The runs of a stream except outliers, each of which lasts as long as it states, after the run before."""
    kept: list[Run] = []
    for k, run in enumerate(runs):
        if run.suspect:
            outlier = not any(other.spans(float(run.start_s)) for other in run.beside)
        else:
            after = next((later for later in runs[k + 1 :] if not later.suspect), None)
            outlier = run.count <= _FEW and _is_outlier(run, kept[-1] if kept else None, after, scan)
        if not outlier:
            kept.append(run)
        elif kept:
            kept[-1].end_s += run.end_s - run.start_s
    return kept or runs[:1]


def _is_outlier(run: Run, before: Run | None, after: Run | None, scan: Scan) -> bool:
    """Whether a run of few packets is out of place between two others."""
    others = [runs for stream, runs in scan.runs.items() if stream != run.stream]
    if before is None:  # the first stamp: the next one agrees with the other streams, and it does not
        near = [runs[0] for runs in others if runs[0].spans(after.first)] if after is not None else []
        return bool(near) and not any(other.spans(run.first) for other in near)
    if after is not None:
        passes = before.last - BACK_S <= run.first <= after.first + BACK_S
        return not passes and -BACK_S <= after.first - before.last <= AHEAD_S
    if -BACK_S <= run.first - before.last <= AHEAD_S or (run.first > before.last and not scan.discontinuous):
        return False
    # the last stamp: a gap or a join if another stream passes through it or starts anew as well
    return not any(
        runs[-1].spans(run.first) or (len(runs) > 1 and runs[-1].place > before.place) for runs in others if runs
    )


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

"""Joined recordings: where the time stamps of a file start anew, and the one shift that mends all its streams.

Stamps are divided into runs, within which they increase steadily. A run that starts is one of five things:

    an outlier   one or two packets, after which the stamps before continue
    a gap        a step forward that the file's clock makes too: another stream's stamps pass through it, or the format
                 has one clock from start to end (mp4, matroska)
    an overlap   a step back of less than a second through which another stream's stamps pass
    the same join as in another stream, whose stamps lie nearby; streams are interleaved, so it comes somewhat later
    a join       otherwise

The thresholds are ffmpeg's (ffmpeg_demux.c, ts_discontinuity_detect): in formats flagged AVFMT_TS_DISCONT, a step back
by more than 0.1 s or forward by more than 10 s. Unlike ffmpeg, a slide show whose audio goes on keeps its gaps, and
in other formats a step back of a second at a key frame is a join.
"""

from __future__ import annotations

from collections.abc import Mapping
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


@dataclass(slots=True)
class Run:
    """Time stamps of one stream that increase steadily, in ticks of `unit` seconds.

    Args:
        packet: number of packets of the stream before it.
        place: number of packets of the file before it.
        first_dts, last_dts: decoding stamps, presentation stamps where there are none; the latest is the last.
        start, end: of its presentation.
        suspect: it is one packet, shown long before or after it is decoded.
        beside: the current runs of the other streams when it started.
    """

    stream: int
    unit: Fraction
    packet: int
    place: int
    first_dts: int
    last_dts: int
    start: int
    end: int | Fraction
    suspect: bool
    beside: list[Run]
    count: int = 0

    @property
    def first(self) -> float:
        return float(self.first_dts * self.unit)

    @property
    def last(self) -> float:
        return float(self.last_dts * self.unit)

    @property
    def start_s(self) -> Fraction:
        return self.start * self.unit

    @property
    def end_s(self) -> Fraction:
        return self.end * self.unit

    def spans(self, time: float) -> bool:
        """Whether a stamp is within the run or close to it."""
        return self.first - AHEAD_S <= time <= self.last + AHEAD_S


class _Track:
    """The runs of one stream, and the thresholds in its ticks: integers, because a file has many packets."""

    def __init__(self, unit: Fraction, default_s: Fraction) -> None:
        self.unit = unit
        length = default_s / unit
        self.default: int | Fraction = int(length) if length.denominator == 1 else length
        self.back, self.near, self.ahead = (int(limit_s / unit) for limit_s in (Fraction(BACK_S), 1, Fraction(AHEAD_S)))
        self.runs: list[Run] = []
        self.packets = 0
        self.length: int | Fraction = 0

    def starts(self, time: int, packet: av.Packet, discontinuous: bool) -> bool:
        """Whether a packet starts a run."""
        if not self.runs or self.runs[-1].suspect:
            return True
        run = self.runs[-1]
        step = time - run.last_dts
        if 0 <= step <= self.near and run.count > _FEW:
            return False
        if step > self.near:
            return True
        if discontinuous and packet.dts is not None:
            back = step < -self.back
        else:  # presentation stamps, and decoding stamps that ffmpeg derives from them, go to and fro with B-frames
            back = step < -self.near and packet.is_keyframe
        before = self.runs[-2] if len(self.runs) > 1 else None
        returns = before is not None and run.count <= _FEW and run.last_dts < before.last_dts
        return back or (returns and before is not None and 0 <= time - before.last_dts <= self.near)


class Scan:
    """The runs of all streams, from packets in file order; the memory does not depend on the number of packets.

    Args:
        discontinuous: whether the format is one of `DISCONTINUOUS`.
        default_s: length of packets that state none, by stream.
    """

    def __init__(self, discontinuous: bool, default_s: Mapping[int, Fraction]) -> None:
        self.discontinuous = discontinuous
        self._default_s = default_s
        self._tracks: dict[int, _Track] = {}
        self._place = 0

    @property
    def runs(self) -> dict[int, list[Run]]:
        """Of the streams with time stamps."""
        return {stream: track.runs for stream, track in self._tracks.items() if track.runs}

    def length_s(self, stream: int) -> Fraction:
        """Sum of the packets' lengths."""
        track = self._tracks.get(stream)
        return Fraction(0) if track is None else track.length * track.unit

    def add(self, packet: av.Packet) -> None:
        """Take the next packet."""
        stream = packet.stream_index
        track = self._tracks.get(stream)
        if track is None:
            unit = Fraction(packet.time_base or 1)
            track = self._tracks[stream] = _Track(unit, self._default_s.get(stream, Fraction(0)))
        track.packets += 1
        self._place += 1
        if packet.is_discard:  # hidden by an edit list: decoded, never shown
            return
        pts, dts, length = packet.pts, packet.dts, packet.duration or track.default
        track.length += length
        pts = pts if pts is not None else dts
        if pts is None:
            return
        time = dts if dts is not None else pts
        # at a join in a program stream, the last picture of one recording may get the presentation stamp of the next
        suspect = self.discontinuous and not -track.near <= pts - time <= track.ahead
        if suspect or track.starts(time, packet, self.discontinuous):
            beside = [other.runs[-1] for other in self._tracks.values() if other is not track and other.runs]
            place = track.packets - 1
            track.runs.append(Run(stream, track.unit, place, self._place, time, time, pts, pts, suspect, beside))
        run = track.runs[-1]
        run.count += 1
        run.last_dts = max(run.last_dts, time)
        run.start = min(run.start, pts)
        run.end = max(run.end, pts + length)


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
    if step < -BACK_S:  # an overlap, if another stream goes on as before to the end of the run
        long = run.last - run.first > 2 * NEAR_S
        return step >= -NEAR_S and long and any(other.last >= run.last - NEAR_S for other in same or ())
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
            kept[-1].end += run.end - run.start
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

"""The table of variants: container, codecs, clocks. A name begins with the suffix of the file.

True times: chromium confirms the flashes of all mp4, mov, mkv, webm and ogv files whose codecs it plays (`--browser`;
not hevc, mpeg4, prores, ffv1). For the others they are the time stamps that were written.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from benchmarks.reliability.patterns import (
    Maker,
    claim_longer,
    cut,
    edited,
    joined,
    late,
    recorded,
    silent_track_first,
    truncated,
    with_cover,
)

TOLERANCE_S = 0.04
_NTSC, _FILM = Fraction(30_000, 1001), Fraction(24_000, 1001)
_TS = {"sound": "mp2"}
_DVD = {"codec": "mpeg2video", "sound": "ac3", "container": "vob"}
_PCM, _PHONE = {"sound": "pcm_s16le"}, {"sound": "libopencore_amrnb", "sound_hz": 8000, "layout": "mono"}
_VP8 = {"codec": "libvpx", "sound": "libopus", "options": {"deadline": "realtime", "cpu-used": "8"}}
_VP9 = _VP8 | {"codec": "libvpx-vp9"}
_FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
_MUTE = {"sound": None}
_WRAP_S = 2**33 // 90_000  # where the 33-bit clock of MPEG at 90 kHz returns to 0


@dataclass(frozen=True)
class Variant:
    """A file and the offset that is allowed.

    Args:
        name: begins with the suffix of the file.
        make: writes it.
        allowed_s: largest offset of a flash or beep.
        note: why more than `TOLERANCE_S` is allowed.
        chromium_zero_s: chromium's time at our time zero. Chromium counts from time stamp 0 of the file, and so do we
            unless all streams start after more than a minute.
    """

    name: str
    make: Maker
    allowed_s: float = TOLERANCE_S
    note: str = ""
    chromium_zero_s: int = 0

    @property
    def suffix(self) -> str:
        return self.name.split()[0]


def _alternating(time: Fraction) -> bool:
    """Frames at 30 and 15 fps by turns, out of 30."""
    return time * 30 % 4 != 3 or time % 2 < 1


VARIANTS = (
    # containers and codecs
    Variant("mp4 h264, aac", recorded(options={"bf": "0"})),
    Variant("mp4 h264 with B-frames, aac", recorded(options={"bf": "3"})),
    Variant("mp4 h264, index at the front", recorded(container_options={"movflags": "+faststart"})),
    Variant("mp4 h264, fragmented", recorded(options={"bf": "0"}, container_options=_FRAGMENTS)),
    Variant(
        "mp4 h264 with B-frames, fragmented",
        recorded(options={"bf": "3"}, container_options=_FRAGMENTS),
        allowed_s=0.09,
        note="no edit list: the reordering of frames delays the video by 0.08 s, the encoder the audio by 0.02 s",
    ),
    Variant("mp4 hevc, aac 44.1 kHz", recorded(codec="libx265", options={"preset": "ultrafast"}, sound_hz=44_100)),
    Variant("mp4 av1, opus", recorded(codec="libsvtav1", options={"preset": "12"}, sound="libopus")),
    Variant("mp4 mpeg4, mp3 44.1 kHz", recorded(codec="mpeg4", sound="libmp3lame", sound_hz=44_100)),
    Variant("mov prores, pcm", recorded(codec="prores_ks", pixel_format="yuv422p10le", **_PCM)),
    Variant("mov h264, rotated", recorded(rotation_deg=90)),
    Variant("mkv h264, flac", recorded(sound="flac")),
    Variant("mkv ffv1, pcm", recorded(codec="ffv1", **_PCM)),
    Variant("mkv vp9, vorbis", recorded(**_VP9 | {"sound": "vorbis", "sound_options": {"strict": "-2"}})),
    Variant("mkv h264, aac 5.1", recorded(layout="5.1")),
    Variant("mkv h264, ac3 5.1", recorded(sound="ac3", layout="5.1")),
    Variant("webm vp8, opus", recorded(**_VP8)),
    Variant("webm vp9, opus, odd size", recorded(size=(97, 65), **_VP9)),
    Variant("webm vp8, live: no duration, no index", recorded(container_options={"live": "1"}, **_VP8)),
    Variant(
        "avi mpeg4, mp3",
        recorded(codec="mpeg4", sound="libmp3lame"),
        allowed_s=0.06,
        note="the muxer delays the video by the mp3 encoder's 25 ms, rounded up to a frame",
    ),
    Variant("avi mpeg4 with B-frames, pcm", recorded(codec="mpeg4", options={"bf": "2"}, **_PCM)),
    Variant("avi mjpeg, pcm 8 kHz mono", recorded(codec="mjpeg", pixel_format="yuvj420p", **_PHONE | _PCM)),
    Variant("flv h264, aac 44.1 kHz", recorded(sound_hz=44_100)),
    Variant("flv flv1, mp3", recorded(codec="flv", sound="libmp3lame", sound_hz=44_100)),
    Variant("ts h264, mp2", recorded(**_TS)),
    Variant("ts hevc, aac", recorded(codec="libx265", options={"preset": "ultrafast"})),
    Variant("mpg mpeg1, mp2", recorded(codec="mpeg1video", sound="mp2")),
    Variant("vob mpeg2, ac3", recorded(**_DVD)),
    Variant("3gp h263, amr 8 kHz mono", recorded(codec="h263", size=(128, 96), **_PHONE)),
    Variant(
        "wmv wmv2, wma",
        recorded(codec="wmv2", sound="wmav2", sound_hz=44_100, sound_options={"b": "128k"}),
        allowed_s=0.06,
        note="the wma encoder's delay of 46 ms is a start of the audio, from which players count",
    ),
    Variant("ogv vp8, opus", recorded(**_VP8)),
    Variant("mxf mpeg2, pcm", recorded(codec="mpeg2video", **_PCM)),
    Variant("nut h264, flac", recorded(sound="flac")),
    Variant("dv dv, pcm", recorded(codec="dvvideo", size=(720, 576), length_s=4, events_s=(1, 3), **_PCM)),
    Variant("gif gif", recorded(codec="gif", rate=10, **_MUTE)),
    Variant("ivf vp9", recorded(**_VP9 | _MUTE)),
    Variant("h264 bare", recorded(options={"bf": "0"}, **_MUTE)),
    Variant("h264 bare, B-frames", recorded(options={"bf": "3"}, **_MUTE)),
    Variant("hevc bare", recorded(codec="libx265", options={"preset": "ultrafast"}, **_MUTE)),
    Variant("mjpeg bare", recorded(codec="mjpeg", pixel_format="yuvj420p", **_MUTE)),
    Variant("m2v bare", recorded(codec="mpeg2video", **_MUTE)),
    Variant("m4v bare", recorded(codec="mpeg4", container="m4v", **_MUTE)),
    # frame rates and shapes
    Variant("mp4 5 fps", recorded(rate=5)),
    Variant("mp4 12 fps", recorded(rate=12)),
    Variant("mkv 24000/1001 fps", recorded(rate=_FILM)),
    Variant("mp4 30000/1001 fps", recorded(rate=_NTSC)),
    Variant("ts 50 fps", recorded(rate=50, **_TS)),
    Variant("mp4 variable frame rate", recorded(rate=30, shown=_alternating)),
    Variant("mkv variable frame rate", recorded(rate=30, shown=_alternating)),
    Variant("mp4 one frame for 10 s", recorded(length_s=18, events_s=(3, 15), shown=lambda t: not 4 < t < 14)),
    Variant("ts one frame for 5 s", recorded(shown=lambda t: not Fraction(7, 2) < t < Fraction(17, 2), **_TS)),
    Variant("mp4 non-square pixels", recorded(aspect=Fraction(16, 11))),
    # streams that start or end apart
    Variant("mp4 camera on at 2 s (empty edit)", recorded(sight_s=(2, 12))),
    Variant("mkv camera on at 2 s", recorded(sight_s=(2, 12))),
    Variant("webm camera on at 2 s", recorded(sight_s=(2, 12), **_VP8)),
    Variant("ts camera on at 2 s", recorded(sight_s=(2, 12), **_TS)),
    Variant("mp4 audio from 2 s", recorded(hearing_s=(2, 12))),
    Variant("webm audio from 2 s", recorded(hearing_s=(2, 12), **_VP8)),
    Variant("mp4 video ends at 5 s", recorded(sight_s=(0, 5))),
    Variant("mkv video ends at 5 s", recorded(sight_s=(0, 5))),
    Variant("mp4 audio ends at 5 s", recorded(hearing_s=(0, 5))),
    Variant("mp4 no audio", recorded(**_MUTE)),
    # clocks that do not start at 0
    Variant("mp4 both streams from 2 s (empty edits)", late(recorded(clock_s=2), 2)),
    Variant("mkv cut, stamps kept", late(cut(1), 1)),
    Variant("mp4 cut, stamps kept", late(cut(1), 1)),
    Variant("mp4 cut between key frames (edit list)", cut(Fraction(8, 5), shift_s=-Fraction(8, 5))),
    Variant("webm both streams from 100 s", recorded(clock_s=100, **_VP8), chromium_zero_s=100),
    Variant("mkv both streams from 3 h", recorded(clock_s=3 * 3600), chromium_zero_s=3 * 3600),
    Variant("ts both streams from 10 h", recorded(clock_s=36_000, **_TS)),
    Variant("ts clock wraps at 5 s", recorded(clock_s=_WRAP_S - 5, **_TS)),
    Variant("ts clock wraps at 70 s", recorded(clock_s=_WRAP_S - 70, length_s=80, events_s=(3, 75), rate=5, **_TS)),
    Variant("ts joined, clock restarts", joined(0, **_TS)),
    Variant("ts joined, clock jumps by 100 s", joined(106, **_TS)),
    Variant("vob joined, clock restarts", joined(0, **_DVD)),
    Variant("vob joined, clock jumps by 100 s", joined(106, **_DVD)),
    # other streams, false headers, damage
    Variant("mp4 cover art", edited(with_cover)),
    Variant("mkv cover art", edited(with_cover, source="mp4")),
    Variant("mp4 silent first track, second is default", edited(silent_track_first)),
    Variant("mkv silent first track, second is default", edited(silent_track_first, source="mp4")),
    Variant("mp4 header claims 120 s", edited(claim_longer)),
    Variant("mkv header claims 120 s", edited(claim_longer)),
    Variant("flv header claims 120 s", edited(claim_longer, sound_hz=44_100)),
    Variant("mkv truncated", truncated(0.6)),
    Variant("avi truncated", truncated(0.6, codec="mpeg4", **_PCM)),
    Variant("ts truncated", truncated(0.6, **_TS)),
    Variant("mp4 fragmented, truncated", truncated(0.6, options={"bf": "0"}, container_options=_FRAGMENTS)),
)

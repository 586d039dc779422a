"""Hostile media files, generated from small clips: the same seed gives the same files.

    paths = mutants(folder, count=300, seed=0)

Kinds of damage are used in turn, with random parameters; file names begin with the kind. Clips are rendered here; real
clips can be added.
"""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

import odd_media as odd

__all__ = ["KINDS", "clips", "mutants"]

Clip = tuple[str, bytes]
EXACT = {"fflags": "+bitexact"}  # no random names and dates in the headers
SUFFIXES = (".mp4", ".mkv", ".avi", ".webm", ".ts", ".mov", ".flv", ".mpg", ".gif", ".wmv", ".h264", ".y4m", ".mjpeg")


def clips(folder: Path) -> list[Path]:
    """Valid clips of one or two seconds in common containers."""
    folder.mkdir(parents=True, exist_ok=True)
    sound = np.random.default_rng(0).normal(0, 0.1, (1, 20800)).astype(np.float32)
    heard = {"sound": sound}
    kinds = {
        "a.mp4": {"sound_codec": "aac", **heard},
        "b.mp4": {"codec": "libx264", "options": {"bf": "2"}, "sound_codec": "aac", **heard},
        "c.mkv": {"codec": "libx264", **heard},
        "d.webm": {"codec": "libvpx", "sound_codec": "libopus", "sound_rate_hz": 48000, **heard},
        "e.avi": {"sound_codec": "pcm_s16le", **heard},
        "f.ts": {"codec": "libx264", "sound_codec": "mp2", **heard},
        "g.flv": {"codec": "libx264", "sound_codec": "aac", "sound_rate_hz": 44100, **heard},
        "h.mpg": {"codec": "mpeg1video", "rate": 25, "sound_codec": "mp2", "sound_rate_hz": 44100, **heard},
        "i.mov": {"rotation_deg": 90, **heard},
        "j.gif": {"codec": "gif"},
        "k.mp4": {"codec": "libx264", "container_options": {"movflags": "frag_keyframe+empty_moov"}},
    }
    made = []
    for name, options in kinds.items():
        path = folder / name
        if not path.exists():
            exact = {**EXACT, **options.pop("container_options", {})}
            odd.write_video(path, odd.noise_frames(13), **options, container_options=exact)
        made.append(path)
    return made


def mutants(
    folder: Path, count: int, seed: int = 0, given: Sequence[Path] = (), kinds: Sequence[str] = ()
) -> list[Path]:
    """Write `count` hostile files of the given kinds; by default all of `KINDS`."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    own = [(path.suffix, path.read_bytes()) for path in clips(folder.with_name(f"{folder.name}_seeds"))]
    known = own + [(path.suffix, path.read_bytes()) for path in given]
    chosen = list(kinds or KINDS)
    paths = []
    for number in range(count):
        kind = chosen[number % len(chosen)]
        suffix, data = KINDS[kind](rng, rng.choice(known), known)
        path = folder / f"{kind}_{number:04d}{suffix}"
        path.write_bytes(data)
        paths.append(path)
    return paths


def _flip(rng: random.Random, clip: Clip, known: Sequence[Clip]) -> Clip:
    """Flip a few or many single bits, in the header or anywhere."""
    data = bytearray(clip[1])
    reach = min(len(data), rng.choice((64, 400, 2000, len(data))))
    for _ in range(rng.choice((1, 3, 10, 100, max(1, reach // 20)))):
        data[rng.randrange(reach)] ^= 1 << rng.randrange(8)
    return clip[0], bytes(data)


def _flip_end(rng: random.Random, clip: Clip, known: Sequence[Clip]) -> Clip:
    """Flip bits near the end, where mp4 has its index."""
    data = bytearray(clip[1])
    reach = min(len(data), 2500)
    for _ in range(rng.choice((1, 5, 20))):
        data[-1 - rng.randrange(reach)] ^= 1 << rng.randrange(8)
    return clip[0], bytes(data)


def _cut(rng: random.Random, clip: Clip, known: Sequence[Clip]) -> Clip:
    return clip[0], clip[1][: rng.randrange(1, len(clip[1]))]


def _cut_front(rng: random.Random, clip: Clip, known: Sequence[Clip]) -> Clip:
    return clip[0], clip[1][rng.randrange(1, len(clip[1])) :]


def _swap_header(rng: random.Random, clip: Clip, known: Sequence[Clip]) -> Clip:
    """Replace the first bytes with another clip's."""
    size = rng.choice((4, 12, 64, 512, 4096))
    return clip[0], rng.choice(known)[1][:size] + clip[1][size:]


def _wrong_suffix(rng: random.Random, clip: Clip, known: Sequence[Clip]) -> Clip:
    return rng.choice([s for s in SUFFIXES if s != clip[0]]), clip[1]


def _shuffle(rng: random.Random, clip: Clip, known: Sequence[Clip]) -> Clip:
    """Drop, repeat, swap or zero pieces."""
    size = max(16, len(clip[1]) // rng.randint(4, 40))
    pieces = [clip[1][at : at + size] for at in range(0, len(clip[1]), size)]
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(pieces))
        change = rng.choice(("lose", "double", "exchange", "zeros"))
        if change == "lose" and len(pieces) > 1:
            del pieces[at]
        elif change == "double":
            pieces.insert(at, pieces[at])
        elif change == "exchange":
            other = rng.randrange(len(pieces))
            pieces[at], pieces[other] = pieces[other], pieces[at]
        else:
            pieces[at] = bytes(len(pieces[at]))
    return clip[0], b"".join(pieces)


ATOMS = (b"mvhd", b"tkhd", b"mdhd", b"stts", b"elst", b"stsd", b"stsz", b"stsc", b"stco", b"ctts", b"trun", b"tfhd")
MATROSKA = {
    "TimestampScale": bytes.fromhex("2ad7b1"),
    "Duration": bytes.fromhex("4489"),
    "DefaultDuration": bytes.fromhex("23e383"),
    "SamplingFrequency": bytes.fromhex("b584"),
    "PixelWidth": bytes.fromhex("b081"),
    "PixelHeight": bytes.fromhex("ba81"),
}
EXTREMES = (0, 1, 2, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1_000_000_000, 100_000)


def _numbers(rng: random.Random, clip: Clip, known: Sequence[Clip]) -> Clip:
    """Extreme values in header fields: durations, rates, sizes, counts, offsets."""
    data = bytearray(clip[1])
    marks = [*ATOMS, *MATROSKA.values(), b"strh", b"avih", b"strf", b"onMetaData"]
    places = [at + len(mark) for mark in marks if (at := bytes(data).find(mark)) >= 0]
    for _ in range(rng.randint(1, 3)):
        at = (rng.choice(places) if places else 0) + rng.randrange(0, 40)
        order = ">" if clip[0] not in (".avi", ".gif") else "<"
        value = struct.pack(f"{order}I", rng.choice(EXTREMES))[: rng.choice((2, 4))]
        data[at : at + len(value)] = value
    return clip[0], bytes(data)


def _zero_duration(rng: random.Random, clip: Clip, known: Sequence[Clip]) -> Clip:
    data = bytearray(rng.choice([c for c in known if c[0] in (".mp4", ".mov")])[1])
    for mark, skip, size in ((b"mvhd", 16, 4), (b"tkhd", 20, 4), (b"mdhd", 16, 4), (b"elst", 8, 4)):
        at = bytes(data).find(mark)
        while at >= 0:
            data[at + len(mark) + skip : at + len(mark) + skip + size] = bytes(size)
            at = bytes(data).find(mark, at + 1)
    if rng.random() < 0.5:
        at = bytes(data).find(b"stts") + 4  # number of entries, then (samples, ticks each)
        data[at + 12 : at + 16] = bytes(4)
    return ".mp4", bytes(data)


def _y4m(rng: random.Random, clip: Clip, known: Sequence[Clip]) -> Clip:
    """Raw frames with extreme values in the text header: 100,000 x 100,000 pixels, 10^9 fps."""
    width, height = rng.choice(
        ((100_000, 100_000), (20_000, 20_000), (65_535, 1), (1, 65_535), (64, 48), (8_000, 8_000))
    )
    rate = rng.choice(("1000000000:1", "1:1000000000", "0:0", "25:1", "2147483647:2147483646"))
    aspect = rng.choice(("1:1", "1:60000", "60000:1", "0:0"))
    head = f"YUV4MPEG2 W{width} H{height} F{rate} Ip A{aspect} C420\n".encode()
    picture = b"FRAME\n" + rng.randbytes(64 * 48 * 3 // 2)
    return rng.choice((".y4m", ".mp4", ".avi")), head + picture * rng.randint(1, 30)


def _huge_gif(rng: random.Random, clip: Clip, known: Sequence[Clip]) -> Clip:
    data = bytearray(next(c[1] for c in known if c[0] == ".gif"))
    width, height = rng.choice(((65_535, 65_535), (30_000, 30_000), (65_535, 1), (8_000, 8_000), (9_000, 200)))
    data[6:10] = struct.pack("<HH", width, height)
    if rng.random() < 0.5:
        at = bytes(data).find(b"\x21\xf9\x04")  # the delay of its first frame, in hundredths of a second
        data[at + 4 : at + 6] = rng.choice((b"\0\0", b"\xff\xff"))
    return rng.choice((".gif", ".mp4")), bytes(data)


def _raw_avi(rng: random.Random, clip: Clip, known: Sequence[Clip]) -> Clip:
    """An avi whose headers state another frame size or codec."""
    data = bytearray(next(c[1] for c in known if c[0] == ".avi"))
    at = bytes(data).find(b"strf") + 8
    size = rng.choice((100_000, 20_000, 65_000, 8_000, 1))
    data[at + 4 : at + 12] = struct.pack("<ii", size, rng.choice((size, -size, 1)))
    data[at + 16 : at + 20] = rng.choice((b"\0\0\0\0", b"MJPG", b"FFV1", b"HFYU", b"cvid", b"XVID", b"WHAM", b"tscc"))
    return ".avi", bytes(data)


def _one_frame(rng: random.Random, clip: Clip, known: Sequence[Clip]) -> Clip:
    return _encoded(rng, odd.noise_frames(1))


def _tiny(rng: random.Random, clip: Clip, known: Sequence[Clip]) -> Clip:
    return _encoded(rng, odd.noise_frames(3, width=rng.choice((2, 4, 16)), height=2))


def _encoded(rng: random.Random, pictures: list[np.ndarray]) -> Clip:
    import tempfile

    suffix = rng.choice((".mp4", ".mkv", ".avi", ".ts"))
    with tempfile.TemporaryDirectory() as folder:
        path = odd.write_video(
            Path(folder) / f"a{suffix}",
            pictures,
            container_options=EXACT,
            codec="mpeg4" if suffix != ".ts" else "mpeg2video",
            rate=25,
        )
        return suffix, path.read_bytes()


def _sound_only(rng: random.Random, clip: Clip, known: Sequence[Clip]) -> Clip:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        kind = rng.choice((".m4a", ".wav"))
        path = odd.write_sound_only(Path(folder) / f"a{kind}", odd.clicks(1, 16000, [0.5]))
        return rng.choice((".mp4", ".mkv", ".avi")), path.read_bytes()


def _image(rng: random.Random, clip: Clip, known: Sequence[Clip]) -> Clip:
    """An image with a video's extension; some state a huge size."""
    from PIL import Image

    kind = rng.choice(("PNG", "JPEG", "BMP", "WEBP", "TIFF", "GIF"))
    target = io.BytesIO()
    Image.fromarray(odd.noise_frames(1)[0]).save(target, kind)
    data = bytearray(target.getvalue())
    if kind == "PNG" and rng.random() < 0.5:
        data[16:24] = struct.pack(">II", 100_000, 100_000)
    if kind == "BMP" and rng.random() < 0.5:
        data[18:26] = struct.pack("<ii", 100_000, 100_000)
    if kind == "JPEG" and rng.random() < 0.5:
        at = bytes(data).find(b"\xff\xc0")
        data[at + 5 : at + 9] = struct.pack(">HH", 65_500, 65_500)
    return rng.choice((".mp4", ".avi", ".mjpeg", ".mkv")), bytes(data)


def _text(rng: random.Random, clip: Clip, known: Sequence[Clip]) -> Clip:
    """Text, tables, markup, playlists that refer to other files."""
    texts = (
        "just words\n" * 50,
        "video,labels\na,b\n",
        "<html><body>not found</body></html>",
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '/etc/passwd'\n",
        "ffconcat version 1.0\nfile 'a.mp4'\n" * 3,
        "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period/></MPD>',
        "1\n00:00:00,000 --> 00:00:01,000\na subtitle\n",
        "\x1b[31mred\x07\n" * 30,
        "",
    )
    return rng.choice((".mp4", ".avi", ".mkv", ".ts")), rng.choice(texts).encode()


def _noise(rng: random.Random, clip: Clip, known: Sequence[Clip]) -> Clip:
    """Noise, sometimes after a valid beginning."""
    keep = rng.choice((0, 16, 64, 200))
    return clip[0], clip[1][:keep] + rng.randbytes(rng.choice((10, 1000, 60_000)))


def _wild_transport(rng: random.Random, clip: Clip, known: Sequence[Clip]) -> Clip:
    """A transport stream with random time stamps in some packets."""
    data = bytearray(next(c[1] for c in known if c[0] == ".ts"))
    at = bytes(data).find(b"\x00\x00\x01\xe0")
    while at >= 0:
        if rng.random() < 0.3:
            data[at + 9 : at + 14] = bytes((0x21 | rng.randrange(8) << 1, rng.randrange(256), 1, rng.randrange(256), 1))
        at = bytes(data).find(b"\x00\x00\x01\xe0", at + 1)
    return ".ts", bytes(data)


KINDS: dict[str, Callable[[random.Random, Clip, Sequence[Clip]], Clip]] = {
    "flip": _flip,
    "flip-end": _flip_end,
    "cut": _cut,
    "cut-front": _cut_front,
    "header": _swap_header,
    "suffix": _wrong_suffix,
    "shuffle": _shuffle,
    "numbers": _numbers,
    "zero": _zero_duration,
    "y4m": _y4m,
    "gif": _huge_gif,
    "avi": _raw_avi,
    "one": _one_frame,
    "tiny": _tiny,
    "sound": _sound_only,
    "image": _image,
    "text": _text,
    "noise": _noise,
    "stamps": _wild_transport,
}

"""Whether a file is a video, by its content: for names that do not tell.

A file is opened only if its first bytes are those of a container or of a raw video stream, so that thousands of other
files cost one short read each.
"""

from __future__ import annotations

from pathlib import Path

from avloc.errors import MediaError

HEAD_BYTES = 4096
_BEGINNINGS = (
    b"\x1a\x45\xdf\xa3",  # Matroska, WebM
    *(b"FLV", b"OggS", b"GIF8", b".RMF", b"DKIF", b"YUV4MPEG2", b"NSV", b"nut/multimedia container"),
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF
    b"\x06\x0e\x2b\x34",  # MXF
    b"\x1f\x07\x00",  # DV
    *(b"\x00\x00\x01", b"\x00\x00\x00\x01"),  # MPEG program and elementary streams, H.264, H.265
)
_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
_IMAGES = (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif", b"avis")
"""Major brands of still images in the mp4 container."""

_TS_PACKETS = (188, 192, 204)
_TEXT_CONTROLS = b"\t\n\r\f\x1b"


def is_text(path: Path) -> bool:
    """Whether a file begins like text: no control characters, and not empty."""
    head = _head(path)
    return bool(head) and not any(byte < 32 and byte not in _TEXT_CONTROLS for byte in head)


def is_video(path: Path) -> bool:
    """Whether the content of a file is a video that ffmpeg opens; a file that cannot be read is none."""
    if not _begins_like_media(_head(path)):
        return False
    from avloc.media.container import choose_streams, open_container

    try:
        with open_container(path) as container:
            choose_streams(container, path)
    except MediaError:
        return False
    return True


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def _begins_like_media(head: bytes) -> bool:
    if head[4:8] in _ATOMS:
        return head[8:12] not in _IMAGES
    if head[:4] == b"RIFF":
        return head[8:12] in (b"AVI ", b"CDXA")
    return head.startswith(_BEGINNINGS) or _begins_like_transport_stream(head)


def _begins_like_transport_stream(head: bytes) -> bool:
    """A sync byte at the same place of four consecutive packets."""
    return any(
        all(head[first + k * size : first + k * size + 1] == b"G" for k in range(4))
        for size in _TS_PACKETS
        for first in range(size)
        if len(head) > first + 3 * size
    )

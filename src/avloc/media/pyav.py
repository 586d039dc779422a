"""What differs between the supported releases of PyAV, 17.1 to 19."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from typing import Any, cast

import av
import av.container
import av.error
import av.logging

_LENIENT: dict[str, Any] = {"metadata_errors": "ignore"} if hasattr(av.container.Container, "metadata_errors") else {}
"""PyAV 19 reads tags that are not UTF-8 as lone surrogates; earlier releases fail on them unless told otherwise."""


def open_input(path: object, options: Mapping[str, str]) -> av.container.InputContainer:
    """`av.open` for reading; old tags are often not UTF-8, and open all the same."""
    # "file:" prevents a colon in the name from being read as a protocol
    return av.open(f"file:{path}", options=dict(options), **_LENIENT)


def is_refused(error: Exception) -> bool:
    """Whether ffmpeg found no demuxer among the allowed ones (EINVAL), or has none yet for this kind of file."""
    # by its number: its class differs between releases
    return isinstance(error, av.error.PatchWelcomeError) or getattr(error, "errno", None) == errno.EINVAL


def late_streams(container: Any) -> int:
    """Number of streams that began in mid-file, after the file has been read.

    PyAV leaves them out of `container.streams` and skips their packets; ffmpeg's description of the file lists them.
    """
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        listed = re.findall(r"^ *Stream #0:\d+", cast(Any, container).dumps_format(), re.MULTILINE)
    finally:
        av.logging.set_level(level)
    return len(listed) - len(container.streams)


def tag(metadata: Mapping[str, str], name: str) -> str:
    """A tag without the bytes that are not UTF-8, "" if there is none."""
    return metadata.get(name, "").encode(errors="ignore").decode()

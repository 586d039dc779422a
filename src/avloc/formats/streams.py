"""The streams used of a media file, as text: in feature files, in videos.csv and as options."""

from __future__ import annotations

from avloc.mediafile import StreamChoice
from avloc.types import Provenance


def parse_streams(video: str | None, audio: str | None) -> StreamChoice:
    """From "2", "mix", or "" and None for the choice by flags. ValueError for anything else."""
    return StreamChoice(int(video) if video else None, "mix" if audio == "mix" else int(audio) if audio else None)


def recorded_streams(source: Provenance) -> StreamChoice:
    """Streams that features were made of, as far as recorded. ValueError if the record is damaged."""
    return parse_streams(source.details.get("video_stream"), source.details.get("audio_stream"))

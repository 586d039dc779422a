"""Names that several rooms share: subsets of a data set, extensions of video files."""

from __future__ import annotations

from enum import StrEnum

VIDEO_EXTENSIONS = frozenset(
    {
        *(".avi", ".divx", ".dv", ".mov", ".qt", ".mp4", ".m4v", ".f4v", ".3gp", ".3g2", ".mkv", ".webm", ".ogg"),
        *(".ogv", ".mpg", ".mpe", ".mpeg", ".m2v", ".vob", ".ts", ".mts", ".m2t", ".m2ts", ".mxf"),
        *(".wmv", ".asf", ".flv", ".rm", ".rmvb", ".gif", ".h264", ".hevc", ".mjpeg", ".y4m"),
    }
)
"""Extensions of video files, in lower case."""


class Subset(StrEnum):
    """A subset of a data set, by its name in ground truth (ActivityNet's)."""

    TRAINING = "training"
    VALIDATION = "validation"
    TESTING = "testing"

    @property
    def short(self) -> str:
        """Its name in labels.csv: train, validation or test."""
        return _SHORT[self]

    @classmethod
    def parse(cls, name: str) -> Subset | None:
        """The subset of that name in any common spelling ("Val", "test", "training"); None for other names."""
        return _BY_NAME.get(name.strip().lower())


_SHORT = {Subset.TRAINING: "train", Subset.VALIDATION: "validation", Subset.TESTING: "test"}
_BY_NAME = {
    **{name: subset for subset, short in _SHORT.items() for name in (subset.value, short)},
    **dict.fromkeys(("val", "valid"), Subset.VALIDATION),
}

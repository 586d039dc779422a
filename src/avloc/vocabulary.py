"""Names that several rooms share: subsets of a data set, extensions of files."""

from __future__ import annotations

from enum import StrEnum

VIDEO_EXTENSIONS = frozenset(
    {
        *(".avi", ".divx", ".xvid", ".dv", ".dif", ".mov", ".qt", ".mp4", ".m4v", ".mp4v", ".mj2", ".f4v", ".ismv"),
        *(".3gp", ".3gpp", ".psp", ".3g2", ".mkv", ".mk3d", ".webm", ".ogg", ".ogv", ".ogm", ".ogx"),
        *(".mpg", ".mpe", ".mpeg", ".m1v", ".m2v", ".mpv", ".m2p", ".vob", ".evo", ".vro"),
        *(".ts", ".tp", ".trp", ".mts", ".m2t", ".m2ts", ".mxf", ".gxf", ".wtv", ".nut", ".nsv"),
        *(".wmv", ".asf", ".flv", ".rm", ".rmvb", ".amv", ".gif"),
        *(".mod", ".tod", ".insv", ".360", ".lrv", ".lrf"),  # cameras
        *(
            ".264",
            ".h264",
            ".h26l",
            ".avc",
            ".265",
            ".h265",
            ".hevc",
            ".266",
            ".h266",
            ".vvc",
            ".h261",
            ".h263",
            ".vc1",
        ),
        *(".ivf", ".obu", ".av1", ".mjpg", ".mjpeg", ".y4m"),
    }
)
"""Extensions of video files, in lower case: of the formats in `media.container.CONTAINERS`."""

SHARED_EXTENSIONS = frozenset({".ts", ".mod", ".tod", ".360", ".tp", ".evo", ".nut", ".obu", ".avc", ".dif", ".mpv"})
"""Those of `VIDEO_EXTENSIONS` that text files use too: TypeScript, Go modules."""

PREVIEW_EXTENSIONS = frozenset({".lrv", ".lrf"})
"""Small copies that cameras write beside each video, under the same name."""

_OTHERS = (
    # tables, text, code
    "csv tsv json jsonl ndjson yaml yml toml xml html htm css js txt md rst rtf tex log ini cfg conf pdf doc docx odt",
    "xls xlsx ods ppt pptx py pyc ipynb sh bat ps1 r m c h cpp java go rs sql db sqlite url lnk",
    # subtitles, annotations, projects
    "srt vtt ass ssa sub idx sbv eaf pfsx etf boris otio textgrid anvil aup aup3 kdenlive prproj drp mlt xmp gpx",
    "mks ism",
    # images
    "jpg jpeg jpe jfif png bmp tif tiff webp heic heif avif svg ico psd xcf dng cr2 cr3 nef arw orf rw2 insp mpo thm",
    # audio
    "wav w64 bwf mp3 m4a m4b aac flac opus oga wma aif aiff aifc mka ac3 eac3 dts amr caf mid midi ape au",
    "mp2 m2a mpa ec3 isma",
    # arrays, weights, archives
    "npy npz h5 hdf5 pkl pickle pt pth ckpt bin onnx safetensors parquet feather arrow mat zip tar gz tgz bz2 xz zst",
    "7z rar md5 sha1 sha256",
)
OTHER_EXTENSIONS = frozenset(f".{name}" for names in _OTHERS for name in names.split())
"""Extensions of files that lie beside videos and are not meant as videos."""

GRID_FEATURES = "features_grid"
"""Folder of features whose visual rows are a flattened spatial grid, beside the pooled ones in features/."""


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

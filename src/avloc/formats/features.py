"""Snippet features on disk: one safetensors file per video, with its snippet grid.

A file holds the tensors `visual` (L, d_v) and/or `audio` (L, d_u), and in its header, as text:
    avloc_features   schema version, "1"
    video_id         name of the video
    duration_s       seconds, shortest decimal that round-trips
    grid             JSON: {"start_s": "0", "step_s": "16/25", "length_s": "16/25", "count": 200}; exact fractions
    source           JSON: {"visual": backbone, "audio": backbone or "none: reason", ...}; see `write_source`
safetensors is a length, a JSON header and raw numbers: it cannot contain code, and thousands of files can be summarized
from their headers alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np

from avloc.errors import FormatError, InputError, did_you_mean, reading
from avloc.formats.provenance import MODALITIES, read_source, write_source
from avloc.system.atomic import atomic_write, canonical_safetensors, check_safetensors
from avloc.system.outputs import first_bytes
from avloc.system.text import json_text, nfc
from avloc.types import FeatureSequence, Provenance, SnippetGrid, exact

SCHEMA = "1"
SUFFIX = ".safetensors"


def save_features(
    path: Path | str, features: FeatureSequence, dtype: Literal["float32", "float16"] = "float32"
) -> None:
    """Write a video's features, atomically.

    Args:
        dtype: on disk. float16 halves the file; its largest value is 65,504.

    Raises:
        InputError: the name does not end in .safetensors, another dtype, or a value too large for it.
    """
    from safetensors.numpy import save

    target = Path(path)
    if target.suffix != SUFFIX:
        raise InputError(f"{target}: a feature file's name ends in {SUFFIX}; got {target.suffix or 'no suffix'}")
    if dtype not in ("float32", "float16"):
        raise InputError(f"features are stored as float32 or float16, got {dtype!r}")
    tensors = {}
    for name in features.modalities:
        with np.errstate(over="ignore"):
            tensors[name] = np.ascontiguousarray(getattr(features, name), dtype=dtype)
        if not np.isfinite(tensors[name]).all():
            raise InputError(f"{features.video_id}: {name} has values too large for {dtype}; store it as float32")
    atomic_write(target, canonical_safetensors(save(tensors, metadata=_header(features))))


def load_features(path: Path | str) -> FeatureSequence:
    """Read a video's features as float32.

    Raises:
        InputError: no such file.
        FormatError: not safetensors, not written by avloc, or inconsistent.
    """
    with _Opened(path) as file:
        header, shapes = file.header(), file.shapes()
        video_id, duration_s, grid, source = _read_header(file.path, header)
        _check_rows(file.path, shapes, grid)
        arrays = file.arrays()
    try:
        return FeatureSequence(video_id, duration_s, grid, arrays.get("visual"), arrays.get("audio"), source)
    except ValueError as error:
        raise FormatError(f"{path}: {error}; extract this video's features again") from error


def read_provenance(path: Path | str) -> Provenance:
    """How a video's features were made, from the header alone. Raises as `load_features`."""
    with _Opened(path) as file:
        return _read_header(file.path, file.header())[3]


@dataclass(frozen=True)
class StoreDescription:
    """Contents of a folder of features, read from the headers.

    Args:
        lengths: {video_id: L}.
        durations_s: {video_id: seconds}.
        visual_dim, audio_dim: d_v and d_u; None if no file has the modality.
        visual_source, audio_source: backbone names, "" if unknown.
        versions: {modality: version of its backbone}.
        visual_rate_hz: requested fps; "" if the backbone's own or unknown.
        without_visual, without_audio: videos without the modality.
        steps_s: all snippet steps.
    """

    lengths: Mapping[str, int]
    durations_s: Mapping[str, float]
    visual_dim: int | None
    audio_dim: int | None
    visual_source: str
    audio_source: str
    versions: Mapping[str, str]
    visual_rate_hz: str
    without_visual: tuple[str, ...]
    without_audio: tuple[str, ...]
    steps_s: tuple[Fraction, ...]


def feature_files(folder: Path) -> list[Path]:
    """Feature files below a folder, sorted. Scores of detections that were written into it are none."""
    found = sorted(folder.rglob(f"*{SUFFIX}"))
    return [path for path in found if "scores" not in path.relative_to(folder).parts[:-1] or not _is_scores(path)]


def _is_scores(path: Path) -> bool:
    return b'"avloc_activations":' in (first_bytes(path, 1 << 12) or b"")


class FeatureStore:
    """A folder of feature files, read one at a time by video id.

    A file's id is its path below the folder without the suffix ("a/b" for a/b.safetensors), in Unicode's form NFC. The
    header's video_id must be that path or its last part.

    Raises:
        InputError: no such folder, or no feature file in it. FormatError: two names that differ only in Unicode form.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise InputError(f"{self.folder}: expected a folder of feature files; it does not exist")
        found = feature_files(self.folder)
        self._paths: dict[str, Path] = {}
        for path in found:
            other = self._paths.setdefault(nfc(path.relative_to(self.folder).as_posix().removesuffix(SUFFIX)), path)
            if other is not path:
                raise FormatError(
                    f"{self.folder}: {nfc(path.name)} is there twice, the name written in two Unicode forms; keep one"
                )
        if not self._paths:
            others = sorted({path.suffix or path.name for path in self.folder.iterdir()})[:5]
            raise InputError(
                f"{self.folder}: no *{SUFFIX} in this folder, found {', '.join(others) or 'nothing'}; "
                "create them with `avloc extract` or `avloc convert`"
            )

    @property
    def ids(self) -> tuple[str, ...]:
        """All video ids, sorted."""
        return tuple(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def __contains__(self, video_id: object) -> bool:
        return isinstance(video_id, str) and nfc(video_id) in self._paths

    def path(self, video_id: str) -> Path:
        """A video's feature file.

        Raises:
            InputError: unknown video.
        """
        video_id = nfc(video_id)
        if video_id not in self._paths:
            hint = did_you_mean(video_id, self.ids) if len(self) <= 1000 else ""
            raise InputError(f"{self.folder}: no features of {video_id!r} among {len(self)} videos.{hint}")
        return self._paths[video_id]

    def load(self, video_id: str) -> FeatureSequence:
        """A video's features. Raises as `load_features`, and FormatError if the file holds another video's."""
        features = load_features(self.path(video_id))
        self._check_name(nfc(video_id), features.video_id)
        return features

    def describe(self) -> StoreDescription:
        """Summarize all headers without reading features.

        Raises:
            FormatError: a file not written by avloc, or files whose feature sizes, backbones or fps differ.
        """
        facts: dict[tuple[str, str], tuple[Any, str]] = {}
        having: dict[str, set[str]] = {name: set() for name in MODALITIES}
        lengths, durations, steps = {}, {}, set()
        for video_id, path in self._paths.items():
            with _Opened(path) as file:
                header, shapes = file.header(), file.shapes()
            own_id, durations[video_id], grid, source = _read_header(path, header)
            self._check_name(video_id, own_id)
            _check_rows(path, shapes, grid)
            lengths[video_id] = grid.count
            steps.add(grid.step_s)
            for name, shape in shapes.items():
                having[name].add(video_id)
                self._agree(facts, (name, "size"), shape[1], video_id)
                self._agree(facts, (name, "backbone"), source.backbones.get(name, ""), video_id)
                self._agree(facts, (name, "version"), source.version(name), video_id)
                self._agree(facts, (name, "rate_hz"), source.details.get(f"{name}_rate_hz", ""), video_id)
        return StoreDescription(
            lengths=lengths,
            durations_s=durations,
            visual_dim=facts.get(("visual", "size"), (None,))[0],
            audio_dim=facts.get(("audio", "size"), (None,))[0],
            visual_source=facts.get(("visual", "backbone"), ("",))[0],
            audio_source=facts.get(("audio", "backbone"), ("",))[0],
            versions={name: facts[name, "version"][0] for name in MODALITIES if having[name]},
            visual_rate_hz=facts.get(("visual", "rate_hz"), ("",))[0],
            without_visual=tuple(v for v in self._paths if v not in having["visual"]),
            without_audio=tuple(v for v in self._paths if v not in having["audio"]),
            steps_s=tuple(sorted(steps)),
        )

    def _agree(
        self, facts: dict[tuple[str, str], tuple[Any, str]], key: tuple[str, str], value: Any, video_id: str
    ) -> None:
        first_value, first_id = facts.setdefault(key, (value, video_id))
        if value != first_value:
            raise FormatError(
                f"{self.folder}: expected one {key[0]} {key[1]} per folder, but {self._paths[first_id].name} has "
                f"{first_value!r} and {self._paths[video_id].name} has {value!r}; extract them with the same settings"
            )

    def _check_name(self, video_id: str, own_id: str) -> None:
        if own_id not in (video_id, video_id.rpartition("/")[2]):
            raise FormatError(
                f"{self._paths[video_id]}: expected features of {video_id!r}, as the file is named, got those of "
                f"{own_id!r}; rename it"
            )


class _Opened:
    """An open feature file; its errors name it."""

    def __init__(self, path: Path | str) -> None:
        from safetensors import SafetensorError, safe_open

        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(f"{self.path}: expected a feature file; it does not exist")
        check_safetensors(self.path)
        try:
            self._file = safe_open(self.path, framework="numpy")
        except (SafetensorError, OSError) as error:
            raise FormatError(
                f"{self.path}: expected a safetensors file, got another format or a truncated file ({error}); "
                "extract this video's features again"
            ) from error

    def __enter__(self) -> _Opened:
        self._file.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.__exit__(*exception)

    def header(self) -> dict[str, str]:
        return self._file.metadata() or {}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        names = sorted(self._file.keys())
        unknown = [name for name in names if name not in MODALITIES]
        if unknown or not names:
            got = ", ".join(names) or "none"
            raise FormatError(f"{self.path}: expected the tensors visual and/or audio, got {got}")
        shapes = {}
        for name in names:
            part = self._file.get_slice(name)
            if part.get_dtype() not in ("F16", "F32", "F64"):
                raise FormatError(f"{self.path}: {name} must be F16, F32 or F64, got {part.get_dtype()}")
            shapes[name] = tuple(part.get_shape())
        return shapes

    def arrays(self) -> dict[str, np.ndarray]:
        """All tensors as float32, not through a memory map: the process would end if the file shrinks meanwhile."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            with reading(self.path):
                return {name: np.asarray(array, np.float32) for name, array in load(self.path.read_bytes()).items()}
        except SafetensorError as error:
            raise FormatError(f"{self.path}: it changed while it was read ({error}); try again") from error


def _header(features: FeatureSequence) -> dict[str, str]:
    grid = features.grid
    times = {name: str(getattr(grid, name)) for name in ("start_s", "step_s", "length_s")}
    return {
        "avloc_features": SCHEMA,
        "video_id": features.video_id,
        "duration_s": repr(float(features.duration_s)),
        "grid": json_text({**times, "count": grid.count}),
        "source": json_text(write_source(features.source), ensure_ascii=False, sort_keys=True),
    }


def _read_header(path: Path, header: Mapping[str, str]) -> tuple[str, float, SnippetGrid, Provenance]:
    missing = [key for key in ("avloc_features", "video_id", "duration_s", "grid", "source") if key not in header]
    if missing:
        raise FormatError(
            f"{path}: not a feature file of avloc: expected {', '.join(missing)} in its header, got "
            f"{', '.join(sorted(header)) or 'nothing'}; convert other features with `avloc convert`"
        )
    if header["avloc_features"] != SCHEMA:
        raise FormatError(
            f"{path}: expected schema {SCHEMA!r}, got {header['avloc_features']!r}; "
            "use the avloc version that wrote it, or extract again"
        )
    try:
        parts = json.loads(header["grid"])
        times = {name: exact(parts[name]) for name in ("start_s", "step_s", "length_s")}
        grid = SnippetGrid(**times, count=parts["count"])
        source = read_source({str(key): str(value) for key, value in json.loads(header["source"]).items()})
        duration_s = float(header["duration_s"])
        if not 0 < duration_s < float("inf"):
            raise ValueError(f"duration {duration_s} s")
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise FormatError(f"{path}: its header cannot be read ({error!r}); extract this video again") from error
    return nfc(header["video_id"]), duration_s, grid, source


def _check_rows(path: Path, shapes: Mapping[str, tuple[int, ...]], grid: SnippetGrid) -> None:
    for name, shape in shapes.items():
        if len(shape) != 2 or shape[0] != grid.count or not shape[1]:
            raise FormatError(
                f"{path}: expected {name} of shape ({grid.count}, size), as its grid has {grid.count} snippets, got "
                f"{shape}; extract this video again"
            )

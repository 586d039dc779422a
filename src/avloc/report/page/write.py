"""Write the interactive page: a static folder that opens from disk, without a server or network.

    PAGE/index.html             the page; assets/ holds its script and style
    PAGE/data/index.js          the list of videos
    PAGE/data/v0001.js          a video, loaded when selected, by a <script> tag (fetch does not work from file://)
    PAGE/thumbs/v0001.jpg       its thumbnails
    PAGE/media/                 proxies, and copies if requested

Untrusted text (file names, labels) is stored as JSON with <, >, &, U+2028 and U+2029 escaped, and reaches the page by
textContent only. Activations are stored as base64 of uint8: p = byte / 255, to within 0.002.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from avloc.report.corrections import statements
from avloc.report.page.views import ListEntry, PageInfo, RunView, VideoView
from avloc.system.atomic import atomic_write, claim, make_folder
from avloc.system.outputs import discard
from avloc.system.text import json_text
from avloc.types import ActivationSequence, Instance

ASSETS = (
    "page.css",
    "core.js",
    "predictions.js",
    "list.js",
    "draw.js",
    "timeline.js",
    "player.js",
    "statements.js",
    "edit.js",
    "saving.js",
    "teach.js",
    "keys.js",
    "main.js",
    "decode.js",
    "LICENSE.txt",
)
"""Files of the page in load order (decode.js only where needed); all are ours (Apache-2.0), none is third-party."""

MAX_COLUMNS = 7200
"""Maximum length of a strip: two hours of one-second snippets. Longer ones are max-pooled."""

MAX_CLASSES = 20
"""Maximum number of strips: of true and detected classes, then of those with the highest video scores."""


def write_assets(page: Path, count: int = 0) -> None:
    """Create the folder and write the files that are the same for every page.

    Args:
        count: number of videos.

    Raises:
        InputError: the folder is not writable, or a file of others is where the page's will be.
    """
    source = resources.files("avloc.report.page") / "assets"
    for folder in ("assets", "data", "thumbs", "media"):
        make_folder(page / folder, "the page")
    named = [page / "index.html", page / "data" / "index.js", *(page / "assets" / name for name in ASSETS)]
    claim([*named, *(page / folder for stem in map(data_name, range(count)) for folder in _files_of(stem))])
    discard(page / "data" / "index.js")  # the list of an earlier page, whose data files are about to change
    for name in ASSETS:
        atomic_write(page / "assets" / name, (source / name).read_bytes())
    atomic_write(page / "index.html", (source / "index.html").read_bytes())


def _files_of(stem: str) -> tuple[str, ...]:
    return f"data/{stem}.js", f"thumbs/{stem}.jpg"


def write_index(page: Path, info: PageInfo, entries: Sequence[ListEntry]) -> None:
    """Write the list of videos. Called last, so that an incomplete page is never listed."""
    content = {**asdict(info), "videos": [asdict(entry) for entry in entries]}
    atomic_write(page / "data" / "index.js", f"avlocPage.receive('index', {script_json(content)});\n".encode())


def write_video(page: Path, file: str, video: VideoView) -> None:
    """Write one video's data and thumbnails."""
    content: dict[str, Any] = {
        "video_id": video.video_id,
        "duration_s": video.duration_s,
        "media": video.media_url,
        "note": video.note,
        "subset": video.subset,
        "truth": _instances(video.truth),
        "corrections": None if video.corrections is None else statements(video.corrections),
        "look_at": [[span.start_s, span.end_s] for span in video.look_at],
        "frame_s": video.frame_s,
        "waveform": None if video.waveform is None else _base64(video.waveform),
        "thumbs": None,
        "runs": [_run(run, video) for run in video.runs],
    }
    if video.sprite is not None:
        atomic_write(page / "thumbs" / f"{file}.jpg", video.sprite.jpeg)
        facts = {key: value for key, value in asdict(video.sprite).items() if key != "jpeg"}
        content["thumbs"] = {"url": f"thumbs/{file}.jpg", **facts}
    atomic_write(page / "data" / f"{file}.js", f"avlocPage.receive({file!r}, {script_json(content)});\n".encode())


def data_name(number: int) -> str:
    """Stem of the data files of video `number`, from 0; never an external name."""
    return f"v{number + 1:04d}"


def script_json(value: Any) -> str:
    """JSON that is safe inside a script, whatever its content: ASCII without `<`, `>` and `&`."""
    text = json_text(value, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _instances(instances: Sequence[Instance] | None) -> list[list[Any]] | None:
    return None if instances is None else [[i.start_s, i.end_s, i.label] for i in instances]


def _run(run: RunView, video: VideoView) -> dict[str, Any]:
    found = [[d.start_s, d.end_s, d.label, d.score] for d in run.detections]
    result: dict[str, Any] = {"name": run.name, "found": found, "grid": None, "classes": []}
    a = run.activations
    if a is None:
        return result
    fold = -(-a.grid.count // MAX_COLUMNS)
    result["grid"] = [float(a.grid.edge_s(0)), float(a.grid.step_s) * fold, -(-a.grid.count // fold)]
    result["fold"] = fold
    result["gate"] = float(a.video_scores.mean())
    result["modalities"] = list(a.modalities)
    result["reliability"] = _strip(a.reliability, fold)
    result["classes"] = [_class(name, run, a, fold) for name in _shown_classes(run, video, a)]
    result["class_count"] = len(a.classes)
    return result


def _shown_classes(run: RunView, video: VideoView, a: ActivationSequence) -> list[str]:
    by_score = [a.classes[c] for c in np.argsort(-a.video_scores, kind="stable")]
    wanted = [i.label for i in video.truth or ()] + [d.label for d in run.detections] + by_score
    known = [label for label in dict.fromkeys(wanted) if label in a.classes]
    chosen = set(known[:MAX_CLASSES])
    return [label for label in by_score if label in chosen]


def _class(name: str, run: RunView, a: ActivationSequence, fold: int) -> dict[str, Any]:
    column = a.classes.index(name)
    strips = {"fused": _strip(a.probs[:, 1 + column], fold)}
    for key, other in (("audio", run.audio_only), ("visual", run.visual_only)):
        if other is not None and name in other.classes and other.grid.count == a.grid.count:
            strips[key] = _strip(other.probs[:, 1 + other.classes.index(name)], fold)
    return {"name": name, "score": float(a.video_scores[column]), **strips}


def _strip(values: Float[np.ndarray, " l"], fold: int = 1) -> str:
    """Probabilities as base64 of uint8, max-pooled over `fold` neighbours."""
    if fold > 1:
        padded = np.pad(values, (0, -len(values) % fold), constant_values=0.0)
        values = padded.reshape(-1, fold).max(axis=1)
    return _base64(np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8))


def _base64(values: UInt8[np.ndarray, " n"]) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")


def known_options(options: Mapping[str, object]) -> dict[str, object]:
    """The `localize` settings that the page's decoder uses."""
    names = ("decode", "class_gate", "threshold_factor", "min_snippets", "score_weight", "smooth_snippets")
    actions = options.get("actions")
    flat = {**options, **(actions if isinstance(actions, dict) else {})}  # no groups before `localize.actions` was one
    return {name: flat[name] for name in names if name in flat}

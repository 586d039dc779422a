"""The jobs of avloc on a small data set, for tests that disturb them: killed, out of space, under another clock."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import killing
import odd_clock
from avloc.config import ExtractConfig, preset
from avloc.datasets.convert import import_collection
from avloc.datasets.open import open_collection
from avloc.datasets.tracks import Clock
from avloc.errors import InputError
from avloc.features.folder import extract_all
from avloc.features.manifest import read_manifest
from avloc.formats.activations import load_activations
from avloc.formats.corrections import VideoCorrections, write_corrections
from avloc.formats.detections import write_segments_json
from avloc.formats.features import load_features
from avloc.media.encode import write_video
from avloc.media.find import find_media
from avloc.model.checkpoint import load_model
from avloc.model.files import STATE_FILE
from avloc.paper.cells import open_data
from avloc.paper.rows import rows_of
from avloc.paper.runner import cell_of, compute_all
from avloc.paper.show import fill, write_tables
from avloc.pipeline.folder import find_inputs, localize_all
from avloc.pipeline.localizer import load
from avloc.report.page.build import build_page
from avloc.report.sources import PageSources
from avloc.system.outputs import LOCK_FILE, MANIFEST, NEW_MANIFEST
from avloc.train.loop import fit
from avloc.train.state import load_state
from avloc.types import Detection
from feature_sets import make_videos, write_split_set
from test_tag_folder import DOG, PUG, RowsAsLogits, store
from test_zero_shot import Stand

KILLED = -signal.SIGKILL
SMALL = {"model.embed_dim": 16, "train.steps": 4, "train.eval_every": 2, "train.batch_size": 6}
SETS = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
WITHOUT_WEIGHTS = ExtractConfig(visual="appearance", audio="logmel")
VIDEOS = ("video_000", "video_001", "video_002")

Job = Callable[[Path, Path], None]
"""Does the work on the data in `home`, and writes to the folder `out`."""


def film(path: Path, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    frames = np.repeat(rng.integers(0, 255, (5, 1, 1, 3), dtype=np.uint8), 32, axis=1).repeat(48, axis=2)
    sound = rng.normal(0, 0.1, 16000).astype(np.float32)
    write_video(path, [frames[k // 2] for k in range(10)], 10, sound)
    return path


def make_home(home: Path) -> Path:
    """A data set with a run, features, videos, detections, corrections, and features for stand-ins of taggers."""
    write_split_set(home, count=18, tests=6)
    fit(home / "features", home / "labels.csv", home / "run", preset("default", SMALL))
    (home / "raw").mkdir()
    for k, name in enumerate(VIDEOS):
        film(home / "videos" / f"{name}.mp4", k)
        np.save(home / "raw" / f"v{k}.npy", np.random.default_rng(k).normal(size=(200, 20)).astype(np.float32))
        store(home / "tagged", f"v{k}", {DOG: slice(k, k + 6)}, {PUG: slice(k, k + 6)})
    (home / "video_labels.csv").write_text("video,labels\n" + "".join(f"{v},bark\n" for v in VIDEOS))
    write_segments_json(home / "found.json", {video: [Detection(0.1, 0.6, "bark", 0.9)] for video in VIDEOS})
    localize(home, home / "detections")
    truths = [truth for _, truth in make_videos()][:3]
    checked = [VideoCorrections(t.video_id, t.duration_s, t.instances, checked=True) for t in truths]
    write_corrections(home / "corrections.json", checked)
    return home


def avloc(*arguments: object) -> None:
    """The command, in this process."""
    from avloc.cli import main

    sys.argv = ["avloc", "-q", *map(str, arguments)]
    main()


def extract(home: Path, out: Path, workers: int = 1) -> None:
    extract_all(find_media(home / "videos"), out, WITHOUT_WEIGHTS, workers)


def extract_by_two(home: Path, out: Path) -> None:
    extract(home, out, workers=2)


def localize(home: Path, out: Path) -> None:
    inputs = [path for path in find_inputs([home / "features"]) if path.stem < "video_003"]
    localize_all(load(home / "run"), inputs, out, ("json", "csv", "vtt"))


def convert(home: Path, out: Path) -> None:
    import_collection(open_collection(home / "raw", clock=Clock(Fraction(1))), out)


def report(home: Path, out: Path) -> None:
    build_page(PageSources(home / "detections", home / "ground_truth.json"), out, proxy="always")


def tables(home: Path, out: Path) -> None:
    data = open_data(f"demo={home}")
    rows = {row: recipe for row, recipe in rows_of(["table1"])["table1"].items() if row in ("audio", "visual")}
    cells = {row: [cell_of(recipe, data, 0, SMALL, out)] for row, recipe in rows.items()}
    for reason in compute_all([cell for each in cells.values() for cell in each]).values():
        raise InputError(reason)
    write_tables([fill("table1", data, cells)], out)


def tag(home: Path, out: Path) -> None:
    from avloc.tagging import heads

    heads._tagger = lambda name, weights: RowsAsLogits()  # type: ignore[assignment]
    avloc("tag", home / "tagged", "-o", out / "tags.csv", "--words", "dog; rain", "--overwrite")


def prompts(home: Path, out: Path) -> None:
    from avloc.pipeline import scorers

    scorers.load_taggers = lambda features, *_: dict.fromkeys(features.modalities, Stand())  # type: ignore[assignment]
    avloc("localize", "--prompts", "dog; cat", home / "tagged", "-o", out, "-f", "json,csv,srt")


def suggest(home: Path, out: Path) -> None:
    avloc("suggest", home / "run", home / "features", "-n", "3", "-o", out / "suggest.csv")


def train(home: Path, out: Path, *more: object) -> None:
    data = ["--features", home / "features", "--labels", home / "labels.csv"]
    again = ["--resume"] if (out / "run" / STATE_FILE).exists() else ["--overwrite"]
    avloc("train", *data, "-o", out / "run", *SETS, *again, *more)


def corrected(home: Path, out: Path) -> None:
    train(home, out, "--corrections", home / "corrections.json")


def retrain(home: Path, out: Path) -> None:
    data = ["--run", home / "run", "--features", home / "features", "--labels", home / "labels.csv"]
    avloc("retrain", home / "detections", "--corrections", home / "corrections.json", "-o", out, *data)


def run(home: Path, out: Path) -> None:
    sets = [*SETS, "--set", "extract.visual=appearance", "--set", "extract.audio=logmel"]
    avloc("run", home / "videos", "--labels", home / "video_labels.csv", "-o", out, *sets, "-f", "json,vtt")


def save(home: Path, out: Path) -> None:
    from avloc.report.serve.corrections import save_corrections

    save_corrections((home / "corrections.json").read_bytes(), out / "corrections.json")


def review(home: Path, out: Path) -> None:
    avloc("review", home / "found.json", "--videos", home / "videos", "-o", out)


def plot(home: Path, out: Path) -> None:
    truth = home / "ground_truth.json"
    avloc("plot", home / "detections", "--ground-truth", truth, "-o", out, "--limit", "1", "-f", "pdf,png")


def export(home: Path, out: Path) -> None:
    avloc("export", home / "run", "-o", out / "model.pt2", "--overwrite")


def formats(home: Path, out: Path) -> None:
    """Formats of other tools, but those that state when they were written."""
    names = "parquet,srt,audacity,raven"
    avloc("localize", home / "run", home / "features" / "video_000.safetensors", "-o", out, "-f", names)


JOBS: dict[str, Job] = {
    "extract": extract,
    "convert": convert,
    "localize": localize,
    "report": report,
    "tables": tables,
}
TEACHING: dict[str, Job] = {
    "tag": tag,
    "prompts": prompts,
    "suggest": suggest,
    "corrected": corrected,
    "retrain": retrain,
}
OTHERS: dict[str, Job] = {
    "extract_by_two": extract_by_two,
    "train": train,
    "run": run,
    "save": save,
    "review": review,
    "plot": plot,
    "export": export,
    "formats": formats,
}
EVERY = JOBS | TEACHING | OTHERS

_TIMES = re.compile(rb'"(?:train_s|score_s|train/step_s|resumed|finished)": ["\w.e-]+,?|"corrections": \[[^]]*\]')


def contents(out: Path) -> dict[str, object]:
    """Contents of a folder, without run times, paths of corrections, and hidden files of a moment."""
    found: dict[str, object] = {}
    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        name = path.relative_to(out).as_posix()
        if path.name.startswith("manifest."):
            rows = read_manifest(path.parent).values()
            found[name] = sorted((row.video, row.status, row.snippets, row.bytes) for row in rows)
        elif path.name == MANIFEST:  # in any order after an interruption
            found[name] = sorted(path.read_bytes().splitlines())
        elif path.suffix == ".pt":
            found[name] = load_state(path)["step"]
        elif path.suffix in (".json", ".jsonl"):
            found[name] = _TIMES.sub(b"", path.read_bytes())
        elif "tensorboard" not in name and path.name not in (LOCK_FILE, NEW_MANIFEST, "config.yaml"):
            found[name] = path.read_bytes()
    return found


def assert_all_whole(out: Path) -> None:
    """Every file under a final name is complete."""
    for path in (p for p in out.rglob("[!.]*") if p.is_file()):
        if path.suffix == ".safetensors" and path.parent.name == "scores":
            load_activations(path)
        elif path.name == "model.safetensors":
            load_model(path)
        elif path.suffix == ".safetensors":
            load_features(path)
        elif path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".js" and path.parent.name == "data":
            assert path.read_text(encoding="utf-8").endswith(");\n")
        elif path.suffix == ".csv":
            rows = list(
                csv.reader(path.read_text(encoding="utf-16" if path.name == "found.csv" else "utf-8").splitlines())
            )
            assert len({len(row) for row in rows}) == 1


class Undisturbed:
    """Output folders of jobs that nothing disturbs, made when they are first asked for."""

    def __init__(self, home: Path, folder: Path) -> None:
        self.home, self.folder = home, folder

    def __call__(self, name: str) -> Path:
        out = self.folder / name / "out"
        if not out.exists():
            assert killing.run(EVERY[name], self.home, out) == 0
        return out


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Context manager: a file system of `size=200k` or `nr_inodes=5`; skips where mounting is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "avloc-test", folder], capture_output=True)
    if done.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def resize(disk: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{size}", disk], check=True)


def under_clock(job: Job, clock: str, home: Path, out: Path) -> None:
    """The job under an `odd_clock`, its worker processes too."""
    site = home.parent / "site"
    site.mkdir(exist_ok=True)
    shutil.copyfile(odd_clock.__file__, site / "sitecustomize.py")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    os.environ["AVLOC_TEST_CLOCK"] = clock
    odd_clock.install(clock)
    job(home, out)


def hurt(path: Path, how: str) -> None:
    """Do to a file or folder what people do: delete it, put another in its place, cut it off."""
    if not path.exists():
        return
    if how == "deleted":
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    elif how == "replaced" and path.is_dir():
        shutil.rmtree(path)
        path.mkdir()
    elif how == "replaced":
        other = path.with_name(f"{path.name}.new")
        other.write_bytes(b"quite another file\n" * 50)
        other.replace(path)
    elif how == "cut" and path.is_file():
        os.truncate(path, path.stat().st_size // 2)
    elif how == "unreadable" and path.is_file():
        path.unlink()
        path.mkdir()

"""Small data sets in the layouts in which they are published, named as docs/datasets.md names them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from field_sets import save_objects

RNG = np.random.default_rng(0)
LABELS = ("Diving", "Surfing")
LENGTHS_S = (12.8, 16.3, 19.0, 22.5, 25.4, 30.1, 14.9, 17.2, 21.3, 27.8)
"""Of ten videos: six to train on, four to test on."""

TRAIN, TEST = range(6), range(6, 10)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def rows_of(length_s: float, step_s: float) -> int:
    return int(length_s / step_s)


def make_ave(home: Path, visual: tuple[int, ...] = (7, 7, 64)) -> None:
    """AVE/data with 64 of its 512 visual channels: 8 videos to train on, 2 to validate, 2 to test, and 2 noisy ones."""
    folder = home / "AVE/data"
    folder.mkdir(parents=True)
    classes = ["Church bell", "Bark"]
    lines = [f"{classes[k % 2]}&{'abcdefghijkl'[k] * 11}&good&{k % 4}&{5 + k % 5}" for k in range(12)]
    (folder / "Annotations.txt").write_text("Category&VideoID&Quality&StartTime&EndTime\n" + "\n".join(lines) + "\n")
    arrays = {
        "audio_feature": normal(12, 10, 128).astype("f8"),
        "visual_feature": normal(12, 10, *visual),
        "audio_feature_noisy": normal(2, 10, 128).astype("f8"),
        "visual_feature_noisy": normal(2, 10, *visual),
    }
    for name, values in arrays.items():
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["avadataset"] = values
    for name, order in {"train": range(8), "val": (8, 9), "test": (10, 11)}.items():
        with h5py.File(folder / f"{name}_order.h5", "w") as file:
            file["order"] = np.array(order)


def database(names: list[str], subsets: tuple[str, str]) -> dict[str, dict]:
    """ActivityNet's `database` of ten videos, with an instance each."""
    return {
        name: {
            "subset": subsets[k in TEST],
            "duration": LENGTHS_S[k],
            "annotations": [{"label": LABELS[k % 2], "segment": [2.0, LENGTHS_S[k] - 3.0]}],
        }
        for k, name in enumerate(names)
    }


def write_json(path: Path, version: str, videos: Mapping[str, dict]) -> None:
    path.write_text(json.dumps({"version": version, "taxonomy": [], "database": videos}))


def make_wtalc(root: Path, features: Path, videos: Mapping[str, dict], urls: bool) -> None:
    """W-TALC's annotations and I3D features, 16 frames at 25 fps."""
    root.mkdir(parents=True)
    names = [f"video_{k + 4}" for k in range(len(videos))] if urls else list(videos)
    rows = [list(video["annotations"]) for video in videos.values()]
    texts = {"classlist": LABELS, "videoname": names, "subset": [video["subset"] for video in videos.values()]}
    texts |= {"url": [f"https://www.youtube.com/watch?v={name}" for name in videos]} if urls else {}
    for name, values in texts.items():
        np.save(root / f"{name}.npy", np.array([value.encode() for value in values]))
    np.save(root / "duration.npy", np.array([[video["duration"]] for video in videos.values()]))
    save_objects(root / "labels.npy", [[row["label"] for row in own] for own in rows])
    save_objects(root / "labels_all.npy", [[row["label"] for row in own] for own in rows])
    save_objects(root / "segments.npy", [[row["segment"] for row in own] for own in rows])
    save_objects(features, [normal(rows_of(video["duration"], 0.64), 2048) for video in videos.values()])


def youtube() -> list[str]:
    return [letter * 11 for letter in "qrstuvwxyz"]


def make_activitynet(home: Path) -> None:
    """W-TALC's folder and I3D features of 1.2; the JSON of both versions; i3d/ and vggish/ with a file per video."""
    videos = database(youtube(), ("training", "validation"))
    make_wtalc(home / "ActivityNet1.2-Annotations", home / "ActivityNet1.2-I3D-JOINTFeatures.npy", videos, urls=True)
    for version in ("2", "3"):
        write_json(home / f"activity_net.v1-{version}.min.json", f"VERSION 1.{version}", videos)
    for kind, size, step_s in (
        ("i3d/{}_rgb", 1024, 0.64),
        ("i3d/{}_flow", 1024, 0.64),
        ("vggish/{}_vggish", 128, 0.96),
    ):
        write_each(home, kind, size, step_s, videos)


def write_each(home: Path, pattern: str, size: int, step_s: float, videos: Mapping[str, dict]) -> None:
    for name, video in videos.items():
        path = home / f"{pattern.format(name)}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, normal(rows_of(video["duration"], step_s), size))


def thumos() -> dict[str, dict]:
    names = [f"video_{'test' if k in TEST else 'validation'}_{k:07d}" for k in range(10)]
    return database(names, ("validation", "test"))


def make_thumos(home: Path) -> None:
    """Thumos14reduced; the same as JSON with features/rgb and features/flow."""
    root = home / "Thumos14reduced-Annotations"
    make_wtalc(root, home / "Thumos14reduced-I3D-JOINTFeatures.npy", thumos(), urls=False)
    for folder in (root, home):
        (folder / "Ambiguous_test.txt").write_text("video_test_0000006  0.0 1.4\n")
    write_json(home / "thumos14.json", "THUMOS14", thumos())
    for kind in ("rgb", "flow"):
        write_each(home, f"features/{kind}/{{}}", 1024, 0.64, thumos())


def make_unav(home: Path) -> None:
    """UnAV-100's JSON and av_features/, whose files of a video differ by a few rows."""
    names = ("train", "test")
    videos = database(youtube(), names)
    for video in (youtube()[2], youtube()[3]):
        videos[video]["subset"] = "validation"
    write_json(home / "unav100_annotations.json", "unav100", videos)
    for kind, size in (("rgb", 1024), ("flow", 1024), ("vggish", 128)):
        write_each(home, f"av_features/{{}}_{kind}", size, 0.32 if kind != "vggish" else 0.33, videos)


def make_llp(home: Path) -> None:
    """LLP/data: tables, and vggish/, res152/ and r2plus1d_18/ beside them."""
    folder = home / "LLP/data"
    folder.mkdir(parents=True)
    names = [f"{name}_{k}_{k + 10}" for k, name in enumerate(youtube())]
    labels = ("Speech,Dog", "Car", "Speech", "Dog")
    parts = {"AVVP_train.csv": names[:6], "AVVP_val_pd.csv": names[6:8], "AVVP_test_pd.csv": names[8:]}
    for table, own in parts.items():
        lines = [f"{name}\t{labels[k % 4]}" for k, name in enumerate(own)]
        (folder / table).write_text("filename\tevent_labels\n" + "\n".join(lines) + "\n")
    for kind, end in (("audio", 6), ("visual", 9)):
        lines = [f"{name}\t1\t{end}\t{('Speech', 'Car')[k % 2]}" for k, name in enumerate(names[6:])]
        (folder / f"AVVP_eval_{kind}.csv").write_text(
            "filename\tonset\toffset\tevent_labels\n" + "\n".join(lines) + "\n"
        )
    for kind, shape in {"vggish": (10, 128), "res152": (80, 2048), "r2plus1d_18": (10, 512)}.items():
        (folder / kind).mkdir()
        for name in youtube():
            np.save(folder / kind / f"{name}.npy", normal(*shape))

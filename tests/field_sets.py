"""Small generated data sets in the layouts of public ones."""

from __future__ import annotations

import pickle
from pathlib import Path

import h5py
import numpy as np


def python2(value: object) -> bytes:
    """Pickled as by numpy on Python 2: protocol 2 and the old module names."""
    return pickle.dumps(value, 2, fix_imports=True).replace(b"numpy._core.", b"numpy.core.")


def save_objects(path: Path, items: list) -> None:
    """A .npy file of pickled objects."""
    values = np.empty(len(items), dtype=object)
    for k, item in enumerate(items):
        values[k] = item
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": (len(items),)})
        file.write(python2(values))


def make_wtalc(folder: Path, urls: bool = True) -> Path:
    """Four videos in W-TALC's layout, features next to the annotations; returns the annotations' folder."""
    root = folder / "Toy-Annotations"
    root.mkdir(parents=True)
    np.save(root / "classlist.npy", np.array([b"dive", b"jump"]))
    np.save(root / "videoname.npy", np.array([b"video_1", b"video_2", b"video_3", b"video_4"]))
    np.save(root / "subset.npy", np.array([b"training", b"training", b"validation", b"validation"]))
    np.save(root / "duration.npy", np.array([[12.8], [6.4], [19.2], [7.0]]))
    if urls:
        names = ["aaaaaaaaaaa", "bbbbbbb-_bb", "ccccccccccc", "ddddddddddd"]
        np.save(root / "url.npy", np.array([f"https://www.youtube.com/watch?v={n}" for n in names]).astype("S"))
    save_objects(root / "labels.npy", [["jump", "jump"], ["dive"], ["jump", "dive"], ["dive", "dive"]])
    segments = [[[1.0, 5.0], [6.0, 12.0]], [[0.0, 3.0]], [[2.0, 4.0], [5.5, 19.0]], [[1, 1], [2, 3]]]
    save_objects(root / "segments.npy", segments)
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(n, 16)).astype(np.float32) for n in (20, 10, 30, 11)]
    save_objects(folder / "Toy-I3D-JOINTFeatures.npy", arrays)
    return root


def make_llp(folder: Path) -> Path:
    """Five videos in LLP's layout with vggish and res152 features."""
    tables = {
        "AVVP_train.csv": "filename\tevent_labels\naaaaaaaaaaa_10_20\tSpeech,Dog\nbbbbbbbbbbb_0_10\tCar\n",
        "AVVP_val_pd.csv": "filename\tevent_labels\nccccccccccc_0_10\tSpeech\n",
        "AVVP_test_pd.csv": "filename\tevent_labels\nddddddddddd_5_15\tDog,Speech\neeeeeeeeeee_0_10\tCat\n",
        "AVVP_eval_audio.csv": (
            "filename\tonset\toffset\tevent_labels\nccccccccccc_0_10\t0\t4\tSpeech\nddddddddddd_5_15\t2\t6\tDog\n"
            "ddddddddddd_5_15\t9\t9\tSpeech\n"
        ),
        "AVVP_eval_visual.csv": (
            "filename\tonset\toffset\tevent_labels\nddddddddddd_5_15\t5\t8\tDog\neeeeeeeeeee_0_10\t0\t10\tCat\n"
        ),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in tables.items():
        (folder / name).write_text(text)
    rng = np.random.default_rng(1)
    for letter in "abcde":
        for kind, shape in {"vggish": (10, 6), "res152": (80, 8)}.items():
            (folder / kind).mkdir(exist_ok=True)
            np.save(folder / kind / f"{letter * 11}.npy", rng.normal(size=shape).astype(np.float32))
    return folder


def make_ave(folder: Path) -> Path:
    """Five videos in AVE's layout, with an id in train and test and a zero-length event, two noisy ones; labels."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["Bell&aaa&good&0&10", "Dog&bbb&good&2&5", "Dog&aaa&good&5&10", "Bell&ccc&good&0&0", "Cat&ddd&good&1&3"]
    (folder / "Annotations.txt").write_text("\n".join(lines) + "\n")
    rng = np.random.default_rng(0)
    seconds = np.full((5, 10), 28)
    for row, label, start, end in ((0, 0, 0, 10), (1, 1, 2, 5), (2, 1, 5, 10), (4, 2, 1, 3)):
        seconds[row, start:end] = label
    arrays = {
        "audio_feature.h5": rng.normal(size=(5, 10, 8)),
        "visual_feature.h5": rng.normal(size=(5, 10, 7, 7, 16)).astype(np.float32),
        "audio_feature_noisy.h5": rng.normal(size=(2, 10, 8)),
        "visual_feature_noisy.h5": rng.normal(size=(2, 10, 7, 7, 16)),
        "labels.h5": np.eye(29)[seconds],
        "labels_closs.h5": (seconds != 28).astype("f4"),
        "mil_labels.h5": np.eye(29, dtype="f4")[[0, 1, 1, 0, 2]],
    }
    for name, values in arrays.items():
        with h5py.File(folder / name, "w") as file:
            file["avadataset"] = values
    for name, order in {"train": [3, 0], "val": [1], "test": [2, 4]}.items():
        with h5py.File(folder / f"{name}_order.h5", "w") as file:
            file["order"] = np.array(order)
    return folder


def make_unav(folder: Path) -> Path:
    """Three videos with rgb, flow and vggish files of slightly different lengths; returns the JSON."""
    import json

    (folder / "av_features").mkdir(parents=True)
    rng = np.random.default_rng(2)
    database = {}
    for k, (video, subset) in enumerate((("-x_1", "train"), ("y_rgb2", "validation"), ("zz", "test"))):
        rows = 30 + k
        duration = 0.32 * rows + 0.64
        for name, size, extra in (("rgb", 6, 0), ("flow", 6, -1), ("vggish", 4, 2)):
            np.save(folder / "av_features" / f"{video}_{name}.npy", rng.normal(size=(rows + extra, size)))
        annotations = [{"segment": [1.0, 4.0], "label": "dog barking", "label_id": 0}]
        database[video] = {"duration": duration, "subset": subset, "annotations": annotations}
    (folder / "unav.json").write_text(json.dumps({"version": "unav100", "database": database}))
    return folder / "unav.json"

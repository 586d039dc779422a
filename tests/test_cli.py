"""The command line: exit codes, one-line errors, messages and --json, on good and bad input; --help."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import typer
from safetensors import safe_open
from safetensors.numpy import save_file

import avloc
from avloc.cli import app
from avloc.media.encode import write_video
from console import exit_code
from feature_sets import make_videos, write_set

QUICK = ("--set", "extract.visual=appearance", "--set", "extract.audio=logmel")
TRAIN = ["--set", "train.steps=4", "--set", "model.embed_dim=8", "--set", "train.eval_every=2"]


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout, stderr of `avloc ARGUMENTS`."""
    code = exit_code(*arguments)
    out, err = capsys.readouterr()
    return code, out, err


def table(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file."""
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def one_line(err: str) -> str:
    """The error message; fails unless it is one line without traceback."""
    lines = [line for line in err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, err
    assert "Traceback" not in err
    return lines[0]


def film(path: Path, seconds: float = 3.0, sound: bool = True, seed: int = 0) -> Path:
    """A small real mp4 with a moving square."""
    rng = np.random.default_rng(seed)
    frames = []
    for k in range(round(12 * seconds)):
        frame = np.full((72, 96, 3), 60, np.uint8)
        frame[20:40, (5 * k) % 70 : (5 * k) % 70 + 20] = rng.integers(100, 255, 3)
        frames.append(frame)
    samples = (0.1 * rng.normal(size=round(16000 * seconds))).astype(np.float32) if sound else None
    write_video(path, frames, 12, samples, 16000)
    return path


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for k in range(6):
        film(folder / f"clip_{k}.mp4", 3.0 + k / 2, sound=k != 5, seed=k)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with features/, labels.csv and run/."""
    from avloc.config import preset
    from avloc.train.loop import fit

    home = tmp_path_factory.mktemp("trained")
    features, labels = write_set(home, make_videos(count=9))
    settings = {"train.steps": 4, "train.eval_every": 2, "model.embed_dim": 8}
    fit(features, labels, home / "run", preset("auto", settings))
    return home


def test_the_whole_job_in_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path, videos: Path) -> None:
    labels = tmp_path / "labels.csv"
    rows = [f"clip_{k}.mp4,{'wave' if k % 2 else 'jump'}" for k in range(6)]
    labels.write_text("video,labels\n" + "\n".join(rows) + "\n")
    code, out, err = run(capsys, "run", videos, "--labels", labels, "-o", tmp_path / "out", *TRAIN)
    assert code == 0, err
    detections = tmp_path / "out" / "detections"
    tables = {"segments.csv", "segments.json", "found.xlsx", "found.csv", "videos.csv", "labels.csv"}
    assert tables | {"scores", "run.yaml"} == {p.name for p in detections.glob("[!.]*")}
    videos_table = table(detections / "videos.csv")
    assert "scoring at least 0.3" in out
    assert [row["modalities"] for row in videos_table] == ["audio+visual"] * 5 + ["visual"]
    assert set(json.loads((detections / "segments.json").read_text())["results"]) == {f"clip_{k}" for k in range(6)}
    code, out, err = run(capsys, "run", videos, "--labels", labels, "-o", tmp_path / "out", *TRAIN)
    assert code == 0
    assert "6 already done" in out
    assert "finished run" in out


def test_one_unreadable_video_costs_only_itself(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, videos: Path
) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "good.mp4").write_bytes((videos / "clip_0.mp4").read_bytes())
    (folder / "text.mp4").write_text("not a video")
    (folder / "empty.mp4").touch()
    (folder / "half.mp4").write_bytes((videos / "clip_1.mp4").read_bytes()[:2000])
    code, _, err = run(capsys, "extract", folder, "-o", tmp_path / "features", *QUICK)
    assert code == 3
    assert (tmp_path / "features" / "good.safetensors").exists()
    failures = table(tmp_path / "features" / "failures.csv")
    assert [row["video"] for row in failures] == ["empty", "half", "text"]
    for row in failures:
        assert f"failed: {row['video']}" in err
        assert "\n" not in row["reason"]
    for name in ("empty", "half", "text"):
        (folder / f"{name}.mp4").unlink()
    assert run(capsys, "extract", folder, "-o", tmp_path / "features", *QUICK)[0] == 0
    assert not (tmp_path / "features" / "failures.csv").exists()


def test_nothing_but_broken_videos_is_an_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    code, _, err = run(capsys, "extract", tmp_path / "text.mp4", "-o", tmp_path / "features")
    assert code == 2
    assert "no video could be extracted, 1 failed" in one_line(err)


def test_videos_of_one_name_in_two_folders_are_two_videos(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, videos: Path
) -> None:
    folder = tmp_path / "videos"
    for k, name in enumerate(("a/001.mp4", "b/001.mp4", "a/002.mp4", "b/003.mp4")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((videos / f"clip_{k}.mp4").read_bytes())
    labels = tmp_path / "labels.csv"
    labels.write_text("video,labels\na/001.mp4,wave\nb/001,jump\n002,wave\n003.mp4,jump\n")
    quick = (*QUICK, "--set", "train.holdout=0")
    code, _, err = run(capsys, "run", folder, "--labels", labels, "-o", tmp_path / "out", *TRAIN, *quick)
    assert code == 0, err
    assert {row["video"] for row in table(tmp_path / "out/detections/videos.csv")} == {"a/001", "b/001", "002", "003"}
    assert (tmp_path / "out/features/b/001.safetensors").exists()
    code, out, _ = run(capsys, "localize", tmp_path / "out/run", folder, "-o", tmp_path / "d", "-f", "csv,otio")
    assert code == 0
    assert "next: avloc report" in out
    noted = {row["video"]: Path(row["path"]).parent.name for row in table(tmp_path / "d/videos.csv")}
    assert noted == {"a/001": "a", "b/001": "b", "002": "a", "003": "b"}
    code, _, err = run(
        capsys, "localize", tmp_path / "out", tmp_path / "out/features", "-o", tmp_path / "e", "--videos", folder
    )
    assert (code, f"give {tmp_path / 'out/run'}" in one_line(err)) == (2, True)


def test_features_of_other_settings_are_not_mixed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, videos: Path
) -> None:
    one = videos / "clip_0.mp4"
    assert run(capsys, "extract", one, "-o", tmp_path, *QUICK)[0] == 0
    code, _, err = run(capsys, "extract", one, "-o", tmp_path, *QUICK, "--step-s", "0.5")
    assert code == 2
    assert "step_s=1" in one_line(err)
    assert "--overwrite" in one_line(err)
    assert run(capsys, "extract", one, "-o", tmp_path, *QUICK, "--step-s", "0.5", "--overwrite")[0] == 0


def test_a_dry_run_says_what_the_real_one_would_do(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, videos: Path
) -> None:
    assert run(capsys, "extract", videos / "clip_0.mp4", videos / "clip_1.mp4", "-o", tmp_path / "f", *QUICK)[0] == 0
    code, out, _ = run(capsys, "extract", videos, "-o", tmp_path / "f", *QUICK, "--dry-run", "--json")
    assert code == 0
    plan = json.loads(out)
    assert (plan["skipped"], len(plan["todo"]), plan["conflicts"]) == (["clip_0", "clip_1"], 4, [])
    code, out, err = run(capsys, "extract", videos, "-o", tmp_path / "f", *QUICK, "--dry-run", "--step-s", "0.5")
    assert code == 2
    assert "would extract 4 videos" in out
    assert "2 extracted with other options" in out
    assert "--overwrite" in one_line(err)
    again = run(capsys, "extract", videos, "-o", tmp_path / "f", *QUICK, "--dry-run", "--step-s", "0.5", "--overwrite")
    assert (again[0], "would extract 6 videos" in again[1]) == (0, True)


def test_labels_that_name_no_video_are_said_before_the_work(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, videos: Path
) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("video,labels\nclip0.mp4,jump\nclip1.mp4,wave\n")
    code, _, err = run(capsys, "run", videos, "--labels", labels, "-o", tmp_path / "out", *TRAIN)
    assert code == 2
    assert "did you mean 'clip_0'?" in one_line(err)
    assert not (tmp_path / "out").exists()


def test_labels_that_look_alike_are_said(capsys: pytest.CaptureFixture[str], tmp_path: Path, trained: Path) -> None:
    rows = (trained / "labels.csv").read_text().splitlines()
    first, second = (row.split(",") for row in rows[1:3])
    ghost = second[0][:-1] + "x"
    lines = [
        rows[0],
        ",".join([first[0], "Dog", *first[2:]]),
        ",".join([second[0], "dog|bark", *second[2:]]),
        *rows[3:],
    ]
    (tmp_path / "labels.csv").write_text("\n".join([*lines, ",".join([ghost, "dog", *second[2:]])]) + "\n")
    arguments = ["--features", trained / "features", "--labels", tmp_path / "labels.csv", "-o", tmp_path / "r", *TRAIN]
    code, out, err = run(capsys, "train", *arguments)
    assert code == 0, err
    said = " ".join(err.split())
    assert "'Dog' and 'dog' differ only in case or spaces and count as 2 classes" in said
    assert "'dog|bark' counts as one class" in said
    assert "dog;bark" in said
    assert f"1 video labelled but without features, left out: {ghost}" in said
    assert "classes (Dog, " in out


LABELS = {
    "no header": (b"clip_0,jump\n", "header"),
    "unknown subset": (b"video,labels,subset\nclip_0,jump,trian\n", "trian"),
    "not utf-8": ("video,labels\nclip_0,caf\xe9\n".encode("latin-1"), "UTF-8"),
    "contradiction": (b"video,labels,subset\nvideo_000,a,train\nvideo_000,a,test\n", "video_000"),
    "no such videos": (b"video,labels\nghost,jump\n", "none of the 1 videos"),
    "empty": (b"", "header"),
}


@pytest.mark.parametrize("name", LABELS)
def test_bad_labels_are_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path, trained: Path, name: str) -> None:
    content, expected = LABELS[name]
    labels = tmp_path / "labels.csv"
    labels.write_bytes(content)
    code, _, err = run(capsys, "train", "--features", trained / "features", "--labels", labels, "-o", tmp_path / "r")
    assert code == 2
    assert expected in one_line(err)
    assert not (tmp_path / "r" / "model.safetensors").exists()


def test_labelled_videos_that_are_missing_and_rows_twice_are_said(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trained: Path
) -> None:
    labels = tmp_path / "labels.csv"
    text = (trained / "labels.csv").read_text()
    labels.write_text(text + text.splitlines()[1] + "\nghost,bark\n")
    code, _, err = run(
        capsys, "train", "--features", trained / "features", "--labels", labels, "-o", tmp_path / "r", *TRAIN
    )
    assert code == 0
    assert "ghost" in err
    assert "duplicate" in err or "twice" in err or "repeat" in err or "merged" in err


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("model.num_stage=3", "Did you mean 'model.num_stages'"),
        ("num_stages=3", "Did you mean 'model.num_stages'"),
        ("model.num_stages=many", "model.num_stages"),
        ("model.dropout=1.5", "less than 1"),
        ("model.num_stages", "section.key=value"),
    ],
)
def test_a_misspelled_or_impossible_setting_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trained: Path, setting: str, expected: str
) -> None:
    arguments = ["--features", trained / "features", "--labels", trained / "labels.csv", "-o", tmp_path / "r"]
    code, _, err = run(capsys, "train", *arguments, "--set", setting)
    assert code == 2
    assert expected in one_line(err)


def test_unknown_presets_commands_and_options_name_neighbours(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trained: Path
) -> None:
    arguments = ["--features", trained / "features", "--labels", trained / "labels.csv", "-o", tmp_path / "r"]
    code, _, err = run(capsys, "train", *arguments, "--preset", "dem")
    assert code == 2
    assert "'demo'" in one_line(err)
    code, _, err = run(capsys, "trian")
    assert code == 2
    assert "train" in err
    code, _, err = run(capsys, "train", "--feature", "x")
    assert code == 2
    assert "--features" in err
    code, _, err = run(capsys, "extract", tmp_path, "-o", tmp_path / "f", "--visual", "apearance")
    assert code == 2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--set", "extract.step_s=0.5"), "set it in `avloc extract`"),
        (("--preset", "ave", "--config", "x.yaml"), "give one of them"),
        (("--set", "train.devices=9", "--set", "train.batch_size=8"), "over 9 processes"),
        (("--set", "localize.merge_gap_s=2"), "error: localize.merge_gap_s needs localize.decode=actions or events"),
        (
            ("--set", "localize.min_score=.nan"),
            "localize.min_score: expected a number from -1e+09 to 1e+09, got nan",
        ),
    ],
)
def test_settings_that_cannot_be_meant_are_one_plain_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trained: Path, arguments: tuple[str, ...], expected: str
) -> None:
    data = ["--features", trained / "features", "--labels", trained / "labels.csv", "-o", tmp_path / "r"]
    code, _, err = run(capsys, "train", *data, *arguments)
    assert code == 2
    assert expected in one_line(err)
    assert "Value error" not in err
    assert len(one_line(err)) < 250


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("banana", "expected auto, cpu, cuda, cuda:N or mps, got 'banana'"),
        ("cuda:99", "PyTorch sees"),
    ],
)
def test_a_device_that_is_not_there_is_said(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, videos: Path, device: str, expected: str
) -> None:
    code, _, err = run(capsys, "extract", videos / "clip_0.mp4", "-o", tmp_path, "--device", device)
    assert code == 2
    assert expected in one_line(err)


def test_what_is_typed_wrongly_gets_a_hint(capsys: pytest.CaptureFixture[str], tmp_path: Path, trained: Path) -> None:
    for arguments, expected in (
        (("extract", tmp_path, "-o", tmp_path, "-q"), "avloc -q extract ..."),
        (("report", tmp_path, "-o", tmp_path, "--proxy", "foo"), "'--proxy': 'foo' is not one of"),
        (
            ("evaluate", tmp_path / "nosuch", trained / "labels.csv"),
            "expected detections (a file or a folder); it does not exist",
        ),
        (("backbones", "--weights", "nosuch=foo"), "no backbone has weights of that name"),
    ):
        code, _, err = run(capsys, *arguments)
        assert code == 2
        assert expected in err
    assert run(capsys, "--version")[:2] == (0, f"avloc {avloc.__version__}\n")
    assert {"load", "Localizer", "Localization"} <= set(dir(avloc))
    code, out, _ = run(capsys, "tables", "table1", "-o", tmp_path, "--dry-run")
    assert (code, "--data" in out) == (0, True)


def test_json_is_one_document(capsys: pytest.CaptureFixture[str], tmp_path: Path, videos: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("video,labels\n" + "".join(f"clip_{k},{'wave' if k % 2 else 'jump'}\n" for k in range(6)))
    arguments = ("run", videos, "--labels", labels, "-o", tmp_path / "out", *TRAIN, *QUICK, "--json")
    for skipped in (0, 6):
        code, out, err = run(capsys, *arguments)
        assert code == 0, err
        facts = json.loads(out)
        done = ["extract", "train"] if skipped else ["extract", "train", "localize", "page"]
        assert list(facts) == [*done, "unchanged", "failures"]
        assert facts["unchanged"] == bool(skipped)
        assert (len(facts["extract"]["skipped"]), facts["train"]["classes"]) == (skipped, ["jump", "wave"])
    code, out, err = run(
        capsys, "localize", tmp_path / "out/run", videos / "clip_0.mp4", "-o", tmp_path / "d", "--json", "--clips",
        tmp_path / "clips", "--min-score", "0.05",
    )  # fmt: skip
    assert code == 0, err
    facts = json.loads(out)
    assert (facts["videos"], list(facts["clips"])) == (1, ["clips", "failed"])
    code, out, _ = run(capsys, "localize", tmp_path / "out/run", videos, "-o", tmp_path / "n", "--dry-run", "--json")
    assert json.loads(out)["videos"] == 6


def test_a_finished_run_is_left_and_an_unfinished_one_asks(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trained: Path
) -> None:
    arguments = ["--features", trained / "features", "--labels", trained / "labels.csv"]
    code, out, _ = run(capsys, "train", *arguments, "-o", trained / "run", *TRAIN)
    assert code == 0
    assert "left unchanged" in out
    code, _, err = run(capsys, "train", *arguments, "-o", trained / "run", *TRAIN, "--set", "train.steps=6")
    assert code == 2
    assert "train.steps was 4, is 6" in one_line(err)
    assert run(capsys, "train", *arguments, "-o", tmp_path / "r", *TRAIN)[0] == 0
    (tmp_path / "r" / "record.json").unlink()
    code, _, err = run(capsys, "train", *arguments, "-o", tmp_path / "r", *TRAIN)
    assert code == 2
    assert "--resume" in one_line(err)
    assert run(capsys, "train", *arguments, "-o", tmp_path / "r", *TRAIN, "--resume")[0] == 0


@pytest.mark.parametrize("command", ["extract", "train", "localize"])
def test_an_output_that_cannot_be_written_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trained: Path, videos: Path, command: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    out = tmp_path / "file" / "out"
    arguments = {
        "extract": [videos / "clip_0.mp4"],
        "train": ["--features", trained / "features", "--labels", trained / "labels.csv"],
        "localize": [trained / "run", trained / "features"],
    }[command]
    code, _, err = run(capsys, command, *arguments, "-o", out)
    assert code == 2
    assert "cannot" in one_line(err)


def test_localize_features_to_json_and_csv(capsys: pytest.CaptureFixture[str], tmp_path: Path, trained: Path) -> None:
    code, out, err = run(capsys, "localize", trained / "run", trained / "features", "-o", tmp_path, "--json")
    assert code == 0, err
    assert json.loads(out)["videos"] == 9
    rows = table(tmp_path / "segments.csv")
    results = json.loads((tmp_path / "segments.json").read_text())["results"]
    assert len(rows) == sum(map(len, results.values())) > 0
    assert list(rows[0]) == ["video", "start_s", "end_s", "label", "score"]
    none = run(capsys, "localize", trained / "run", trained / "features", "-o", tmp_path / "b", "--min-score", "99")
    assert none[0] == 0
    assert len((tmp_path / "b" / "segments.csv").read_text().splitlines()) == 1


def test_localize_refuses_what_it_cannot_do(capsys: pytest.CaptureFixture[str], tmp_path: Path, trained: Path) -> None:
    code, _, err = run(capsys, "localize", tmp_path, trained / "features", "-o", tmp_path / "o")
    assert code == 2
    assert "run folder" in one_line(err)
    code, _, err = run(capsys, "localize", trained / "run", tmp_path / "nothing.mp4", "-o", tmp_path / "o")
    assert code == 2
    assert "nothing.mp4" in one_line(err)
    code, _, err = run(
        capsys, "localize", trained / "run", trained / "features", "-o", tmp_path / "o", "--set", "model.dropout=0"
    )
    assert code == 2
    assert "fixed when the run was trained" in one_line(err)


def test_features_with_nan_or_of_another_backbone_cost_themselves(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trained: Path
) -> None:
    good = next((trained / "features").glob("*.safetensors"))
    folder = tmp_path / "features"
    folder.mkdir()
    with safe_open(good, "np") as file:
        header = dict(file.metadata())
        tensors = {name: file.get_tensor(name).copy() for name in file.keys()}  # noqa: SIM118
    save_file(tensors, folder / good.name, header)
    broken = {**tensors, "audio": np.full_like(tensors["audio"], np.nan)}
    save_file(broken, folder / "nan.safetensors", {**header, "video_id": "nan"})
    foreign = {**header, "video_id": "foreign", "source": json.dumps({"audio": "vggish", "visual": "made"})}
    save_file(tensors, folder / "foreign.safetensors", foreign)
    save_file(
        tensors,
        folder / "faster.safetensors",
        {**header, "video_id": "faster", "grid": header["grid"].replace('"step_s": "1"', '"step_s": "1/2"')},
    )
    (folder / "nested").mkdir()
    save_file(tensors, folder / "nested" / good.name, header)
    code, _, err = run(capsys, "localize", trained / "run", folder, "-o", tmp_path / "out")
    assert code == 3
    assert "NaN" in err
    assert "'vggish'" in err
    reasons = {row["video"]: row["reason"] for row in table(tmp_path / "out" / "failures.csv")}
    assert set(reasons) == {"nan", "foreign", "faster", good.stem}
    assert "0.5 s per snippet, the run was trained on 1 s" in reasons["faster"]
    assert "as an earlier one does" in reasons[good.stem]
    assert [row["video"] for row in table(tmp_path / "out" / "videos.csv")] == [good.stem]


def test_a_second_localization_leaves_no_exports_of_the_first(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trained: Path
) -> None:
    one, other = sorted((trained / "features").glob("*.safetensors"))[:2]
    assert run(capsys, "localize", trained / "run", one, "-o", tmp_path / "d", "-f", "vtt,parquet,csv")[0] == 0
    assert run(capsys, "localize", trained / "run", other, "-o", tmp_path / "d", "-f", "vtt,json")[0] == 0
    names = {path.name for path in (tmp_path / "d").rglob("*") if path.is_file()}
    written = {"segments.json", f"{other.stem}.vtt", "found.xlsx", "found.csv"}
    assert names == written | {other.name, "run.yaml", "videos.csv", ".avloc.lock", ".avloc.files"}


def ground_truth(path: Path, label: str = "bark") -> Path:
    database = {
        truth.video_id: {
            "subset": "validation",
            "duration": truth.duration_s,
            "annotations": [{"segment": [i.start_s, i.end_s], "label": i.label} for i in truth.instances],
        }
        for _, truth in make_videos(count=9)
    }
    database["video_000"]["annotations"].append({"segment": [1.0, 3.0], "label": label})
    path.write_text(json.dumps({"version": "1", "taxonomy": [], "database": database}))
    return path


def test_evaluate_prints_the_trivial_baseline_and_what_was_never_found(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trained: Path
) -> None:
    assert run(capsys, "localize", trained / "run", trained / "features", "-o", tmp_path / "d")[0] == 0
    truth = ground_truth(tmp_path / "gt.json", "never seen")
    code, out, err = run(capsys, "evaluate", tmp_path / "d", truth, "-o", tmp_path / "scores.json")
    assert code == 0, err
    assert "whole video, true class" in out
    assert "never seen" in out
    assert "background recall" in out
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["ap"]["never seen"] == [0.0] * 10
    assert len(scores["map"]) == 10
    empty = tmp_path / "empty.json"
    empty.write_text(json.dumps({"version": "1", "results": {}, "external_data": {}}))
    code, out, _ = run(capsys, "evaluate", empty, truth, "--json")
    assert code == 0
    assert json.loads(out.splitlines()[-1])["average_map"] == 0.0


def test_evaluate_bad_input_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    truth = ground_truth(tmp_path / "gt.json")
    (tmp_path / "bad.json").write_text("{")
    for detections, expected in ((tmp_path / "none.json", "none.json"), (tmp_path / "bad.json", "bad.json")):
        code, _, err = run(capsys, "evaluate", detections, truth)
        assert code == 2
        assert expected in one_line(err)


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str], tmp_path: Path, videos: Path) -> None:
    code, out, err = run(capsys, "-q", "extract", videos / "clip_0.mp4", "-o", tmp_path)
    assert (code, out, err) == (0, "", "")
    code, out, _ = run(capsys, "extract", videos, "-o", tmp_path / "new", "--dry-run")
    assert "would extract 6 videos" in out
    assert not (tmp_path / "new").exists()


PROGRAM = typer.main.get_command(app)
COMMANDS = PROGRAM.commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_fits_80_columns_and_breaks_no_word(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = run(capsys, *filter(None, [name]), "--help")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert not [line for line in out.splitlines() if line.endswith("-")]
    if not name:
        assert "..." not in out.partition("Commands:")[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example_per_line_and_each_parses(capsys: pytest.CaptureFixture[str], name: str) -> None:
    out = run(capsys, name, "--help")[1]
    examples = [line.strip() for line in out.splitlines() if line.startswith("    avloc ")]
    written = (COMMANDS[name].callback.__doc__ or "").splitlines()
    assert examples == [line.strip() for line in written if line.strip().startswith("avloc ")] != []
    for example in examples:
        _, command, *arguments = shlex.split(example)
        assert command == name
        COMMANDS[name].make_context(name, arguments)  # raises on unknown options and missing arguments

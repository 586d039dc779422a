"""The library as a caller sees it: wrong arguments, many videos, tables, clips, short reprs, loggers."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import avloc
from avloc.cli.app import app
from avloc.config import preset
from avloc.errors import ConfigError, InputError
from avloc.features.task import Progress, check_options
from avloc.figures import result_html
from avloc.formats.features import load_features
from avloc.media.encode import write_video
from avloc.media.probe import probe
from avloc.model.checkpoint import ModelCard
from avloc.model.files import METRICS_FILE
from avloc.pipeline.localization import Localization
from avloc.pipeline.localizer import Localizer
from avloc.pipeline.settings import with_options
from avloc.train.metrics_log import read_metrics
from avloc.types import ActivationSequence, Detection, DetectionScores, SnippetGrid
from feature_sets import make_videos, write_set

CLASSES = ("bark", "drum", "saw")
SETTINGS = {"model.embed_dim": 8, "train.steps": 4, "train.eval_every": 4, "train.batch_size": 4}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """features/, labels.csv and a run."""
    folder = tmp_path_factory.mktemp("api")
    features, labels = write_set(folder, make_videos(count=9))
    avloc.train(features, labels, folder / "run", "default", SETTINGS)
    return folder


@pytest.fixture(scope="module")
def localizer(home: Path) -> Localizer:
    return avloc.load(str(home / "run"), device="cpu")


def result(*detections: Detection, path: Path | None = None, duration_s: float = 4.0) -> Localization:
    grid = SnippetGrid.cover(duration_s, 1)
    probs = np.full((grid.count, 4), 0.25)
    activations = ActivationSequence("clip", duration_s, grid, CLASSES, probs, np.zeros(3))
    return Localization(detections, activations, path, 0.3)


FOUND = (Detection(0, 1, "drum", 0.2), Detection(2, 3, "bark", 0.9), Detection(1, 3, "drum", 0.5))


@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_answered_in_one_line(
    home: Path, localizer: Localizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = str(tmp_path / "clip.mp4")
    write_video(clip, iter(np.zeros((8, 32, 32, 3), np.uint8)), 4)
    run, features, labels = (str(home / name) for name in ("run", "features", "labels.csv"))
    found = localizer.localize(features + "/video_001.safetensors")
    wrong: Any = (
        lambda: localizer.localize(None),
        lambda: localizer.localize([clip]),
        lambda: localizer.localize(features),
        lambda: localizer.localize(clip, min_score="high"),
        lambda: localizer.localize(clip, contrast=3),
        lambda: localizer.localize_many(7),
        lambda: localizer.localize_many([features, None]),
        lambda: localizer.localize_many(features, workers="2"),
        lambda: localizer.localize_many(features, workers=0),
        lambda: localizer.export("model.bin"),
        lambda: localizer.save_pretrained(run),
        lambda: avloc.load(None),
        lambda: avloc.load(run, device="gpu"),
        lambda: avloc.load(run, device="cuda:99"),
        lambda: avloc.Localizer(localizer.model, localizer.card, device="cuda:99"),
        lambda: avloc.Localizer.from_pretrained(run, device="cuda:99"),
        lambda: avloc.extract(None, "out"),
        lambda: avloc.extract(clip, None),
        lambda: avloc.extract(clip, "out", device="cuda:99", visual="appearance", audio=None),
        lambda: avloc.extract(clip, "out", step_s="long"),
        lambda: avloc.train(None, labels, "new"),
        lambda: avloc.train(features, labels, "new", config=3),
        lambda: avloc.train(features, labels, "new", settings=["train.steps=3"]),
        lambda: avloc.train(features, labels, "new", config="nowhere.yaml"),
        lambda: found.to_dataframe(min_score="high"),
        lambda: found.to_dataframe(classes="bark"),
        lambda: replace(found, path=Path(clip)).clip("clips", cut="fast"),
        lambda: found.save("found.mp3"),
        lambda: found.plot("found.mp3"),
    )
    monkeypatch.chdir(tmp_path)
    for call in wrong:
        with pytest.raises(avloc.AvlocError) as caught:
            call()
        assert len(str(caught.value).splitlines()) == 1


def test_unknown_names_come_with_their_neighbours(home: Path, localizer: Localizer) -> None:
    features, labels = home / "features", home / "labels.csv"
    with pytest.raises(ConfigError, match=r"no argument 'min_scor'. Did you mean 'min_score'"):
        localizer.localize(features / "video_001.safetensors", min_scor=0.1)
    with pytest.raises(InputError, match=r"video_001.safetensor: no such file.*holds video_001.safetensors"):
        localizer.localize(features / "video_001.safetensor")
    with pytest.raises(InputError, match=r"no such file.*holds video_001.safetensors"):
        localizer.localize_many([features / "video_01.safetensors"])
    with pytest.raises(InputError, match=r"no class 'drums'. Did you mean 'drum'"):
        result(*FOUND).to_dataframe(classes=["drums"])
    with pytest.raises(ConfigError, match=r"'extract.visul'. Did you mean 'extract.visual'"):
        avloc.extract([home], home / "out", visul=None)
    with pytest.raises(ConfigError, match=r"It is a setting: settings={'train.steps': ...}"):
        avloc.train(features, labels, home / "new", steps=3)
    with pytest.raises(ConfigError, match=r"'overwrit'. Did you mean 'overwrite'"):
        avloc.train(features, labels, home / "new", overwrit=True)
    with pytest.raises(InputError, match=r"runn: expected a run folder.*holds run"):
        avloc.load(home / "runn")


def test_options_of_one_call_leave_the_localizer_as_it_is(home: Path, localizer: Localizer) -> None:
    video = home / "features" / "video_001.safetensors"
    every = localizer.localize(video)
    few = localizer.localize(video, min_score=0.1, **{"contrast.min_classes": 1})
    assert 0 < len(few.detections) < len(every.detections)
    assert few.likely_from == 0.1
    assert localizer.localize(video).detections == every.detections
    assert localizer.localize(video, decode="actions").detections != every.detections


def test_only_settings_of_this_machine_change_the_extraction(localizer: Localizer) -> None:
    other = with_options(localizer, {"extract.weights": {"i3d-rgb": "net.pt"}, "extract.precision": "float32"})
    assert other.card.config.extract.weights == {"i3d-rgb": "net.pt"}
    assert localizer.card.config.extract.weights == {}
    with pytest.raises(ConfigError, match=r"extract.step_s was fixed when the run was trained"):
        with_options(localizer, {"extract.step_s": 2})


def test_many_videos_come_one_by_one_and_a_failure_costs_itself(
    home: Path, tmp_path: Path, localizer: Localizer
) -> None:
    names = [f"video_{k:03d}" for k in range(3)]
    for name in names:
        (tmp_path / f"{name}.safetensors").write_bytes((home / "features" / f"{name}.safetensors").read_bytes())
    (tmp_path / "video_001.safetensors").write_bytes(b"broken")
    seen: list[tuple[int, int, str]] = []
    results = localizer.localize_many(tmp_path, progress=lambda *now: seen.append(now), min_score=0.2)
    assert isinstance(results, Iterator)
    assert seen == []
    first, failed, last = results
    assert isinstance(first, Localization)
    assert isinstance(last, Localization)
    assert (first.video_id, last.video_id) == ("video_000", "video_002")
    assert all(d.score >= 0.2 for d in first.detections)
    assert isinstance(failed, avloc.Failure)
    assert failed.path == str(tmp_path / "video_001.safetensors")
    assert failed.reason
    assert seen == [(k + 1, 3, f"{name}.safetensors") for k, name in enumerate(names)]


def test_videos_of_one_name_are_not_confused(home: Path, tmp_path: Path, localizer: Localizer) -> None:
    content = (home / "features" / "video_000.safetensors").read_bytes()
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "video_000.safetensors").write_bytes(content)
    one, other = localizer.localize_many(tmp_path)
    assert isinstance(one, Localization)
    assert isinstance(other, avloc.Failure)
    assert "as an earlier one does" in other.reason


def test_tables_have_the_same_types_when_they_are_empty() -> None:
    full, empty = result(*FOUND).to_dataframe(), result().to_dataframe()
    assert list(full.columns) == list(empty.columns) == ["video", "start_s", "end_s", "label", "score"]
    assert list(full.dtypes) == list(empty.dtypes)
    assert list(full["start_s"]) == [0, 1, 2]
    assert list(result(*FOUND).to_dataframe(min_score=0.5, classes=["drum"])["score"]) == [0.5]
    assert [d.score for d in result(*FOUND).select()] == [0.9, 0.5, 0.2]
    assert result(*FOUND).select(classes=["saw"]) == ()


def test_clips_of_detections(tmp_path: Path) -> None:
    video = tmp_path / "clip.mp4"
    write_video(video, iter(np.zeros((32, 32, 32, 3), np.uint8)), 8)
    clips = result(*FOUND, path=video).clip(tmp_path / "clips", margin_s=0.25)
    assert [path.name for path in clips] == ["0001_bark_0.900_clip.mp4", "0002_drum_0.500_clip.mp4"]
    assert [probe(path).duration_s for path in clips] == pytest.approx([1.5, 2.5], abs=0.13)
    assert result(path=video).clip(tmp_path / "none") == []
    with pytest.raises(InputError, match="made from features"):
        result(*FOUND).clip(tmp_path)


def test_notebooks_show_what_counts_as_found() -> None:
    html = result(*FOUND)._repr_html_()
    assert html.count("<tr><td>") == html.count("<title>") == 2
    assert "2 detections from score 0.3 and 1 weaker" in html
    assert "weaker" not in result_html(result(*FOUND).activations, FOUND)


def test_reprs_are_short(home: Path, localizer: Localizer) -> None:
    features = localizer.features(home / "features" / "video_001.safetensors")
    record = avloc.train(home / "features", home / "labels.csv", home / "run", "default", SETTINGS)
    many = replace(localizer.card, classes=tuple(f"class {k}" for k in range(500)))
    scores = DetectionScores(np.linspace(0.5, 0.95, 10), CLASSES, np.zeros((10, 3)))
    found = result(*FOUND * 40)
    shown = [features, record, record.record, many, scores, found, found.activations, localizer, preset("paper")]
    shown += [Localizer(localizer.model, many)]
    for value in shown:
        assert len(repr(value)) < 500, repr(value)
        assert "\n" not in repr(value)
        assert type(value).__name__ in repr(value)
    assert "probs=float64[4, 4]" in repr(found.activations)
    assert "clip" in repr(found)
    assert "bark 2.0-3.0 s (0.90)" in repr(found)
    assert repr(preset("default", {"train.steps": 7})) == "RunConfig(train=TrainConfig(steps=7))"
    assert "500 classes" in repr(Localizer(localizer.model, many))
    assert isinstance(many, ModelCard)


def test_loggers_get_every_row(home: Path) -> None:
    rows: list[dict[str, float]] = []
    out = home / "logged"
    avloc.train(
        *(home / "features", home / "labels.csv", out, "default", SETTINGS),
        on_metrics=lambda step, values: rows.append({"step": step, **values}),
    )
    assert rows == read_metrics(out / METRICS_FILE)
    assert len(rows) == 2
    assert "validation/video_ap" in rows[-1]


def test_the_weights_that_localizing_needs_are_fetched_first_with_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[Progress | None] = []
    monkeypatch.setattr("avloc.features.task.resolve", lambda weights, given, progress: fetched.append(progress))
    shown: Progress = lambda done, total, text: None  # noqa: E731
    options = preset("default", {"extract.visual": None, "extract.audio": "vggish-pca"}).extract
    check_options(options, load=False, progress=shown)
    assert fetched == [shown, shown]


def test_train_is_a_function_and_a_package() -> None:
    code = (
        "import avloc, sys; assert 'torch' not in sys.modules; assert callable(avloc.train), avloc.train; "
        "import avloc.train.metrics_log; assert callable(avloc.train) and avloc.train.metrics_log"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert callable(avloc.train)
    assert avloc.train.loop.fit
    assert "train" in dir(avloc)
    assert avloc.extract
    assert avloc.Failure
    assert avloc.About
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        avloc.trian  # noqa: B018


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--set", "extract.step_s=2", "--step-s", "1"), "--step-s and --set extract.step_s both set it"),
        (("--set", "extract.compile=true", "--compile"), "--compile and --set extract.compile both set it"),
        (("--set", "train.steps=2"), r"--set train.steps: only extract.\* can be set here"),
        (("--set", "extract.stepp_s=2"), "Did you mean 'extract.step_s'"),
        (
            ("--set", "extract.step_s=-1"),
            "extract.step_s: expected a number from 0.001 to 3600, got -1",
        ),
        (("--set", "extract.frames_per_snippet=16"), r"needs extract.fps"),
    ],
)
def test_wrong_settings_of_extract(words: tuple[str, ...], expected: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["extract", str(tmp_path), "-o", str(tmp_path / "out"), *words])
    assert isinstance(done.exception, ConfigError)
    assert re.search(expected, str(done.exception))


def test_settings_of_extract_act(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", iter(np.zeros((32, 32, 32, 3), np.uint8)), 8)
    sets = [f"--set=extract.{text}" for text in ("step_s=0.5", "visual=appearance", "audio=null", "device=cpu")]
    words = ["extract", str(tmp_path / "clip.mp4"), "-o", str(tmp_path / "out"), *sets]
    assert CliRunner().invoke(app, words).exit_code == 0
    features = load_features(tmp_path / "out" / "clip.safetensors")
    assert (features.grid.count, features.audio, features.source.backbones["visual"]) == (8, None, "appearance")


def test_wrong_settings_of_localize(home: Path, tmp_path: Path) -> None:
    words = ["localize", str(home / "run"), str(home / "features"), "-o", str(tmp_path)]
    both = CliRunner().invoke(app, [*words, "--min-score", "0.3", "--set", "localize.min_score=0.4"])
    assert "--min-score and --set localize.min_score both set it" in str(both.exception)
    fixed = CliRunner().invoke(app, [*words, "--set", "extract.step_s=2"])
    assert "extract.step_s was fixed when the run was trained" in str(fixed.exception)
    assert CliRunner().invoke(app, [*words, "--set", "extract.precision=float32"]).exit_code == 0

"""Training: it learns, resumes exactly, is the same on two processes, and warns of collapse."""

from __future__ import annotations

import json
import logging
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import avloc
from avloc.config import Normalization, RunConfig, TrainConfig, preset
from avloc.errors import ConfigError, FormatError, InputError
from avloc.evaluate.snippets import evaluate_snippets
from avloc.formats.features import save_features
from avloc.formats.results import find_results
from avloc.model.checkpoint import ModelCard, load_model, save_model
from avloc.model.files import CONFIG_FILE, METRICS_FILE, MODEL_FILE, RECORD_FILE, STATE_FILE, TENSORBOARD_FOLDER
from avloc.model.network import InputNorm
from avloc.pipeline.folder import localize_all
from avloc.train.loop import fit
from avloc.train.metrics_log import health, read_metrics, warnings_of
from avloc.train.prepare import hold_out, prepare
from avloc.train.record import read_record
from avloc.train.state import load_state
from avloc.train.step import term_weights
from avloc.train.validate import Validation
from avloc.types import Provenance, SnippetGrid
from feature_sets import make_videos, write_set

ALL = TrainConfig(holdout=0)

SMALL = {
    "model.embed_dim": 16,
    "train.steps": 30,
    "train.batch_size": 8,
    "train.learning_rate": 3e-3,
    "train.eval_every": 10,
}


def config(**changes: object) -> RunConfig:
    return preset("default", {**SMALL, **{key.replace("__", "."): value for key, value in changes.items()}})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_set(tmp_path_factory.mktemp("set"), make_videos())


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_model(run)[0].state_dict()


def test_a_run_learns_to_find_what_only_its_videos_labels_told(tmp_path: Path) -> None:
    features, labels = write_set(tmp_path, make_videos(count=30))
    changes = {"model__embed_dim": 64, "train__steps": 200, "train__learning_rate": 1e-3}
    fit(features, labels, tmp_path / "run", config(**changes, loss__mil_background_weight=1.0, loss__threshold=0.9))
    localizer = avloc.load(tmp_path / "run")
    unseen = make_videos(count=12, seed=7)
    found = [localizer.activations(video) for video, _ in unseen]
    scores = evaluate_snippets(found, [truth for _, truth in unseen])
    assert scores is not None
    assert scores.snippets.background_recall > 0.5
    assert scores.snippets.foreground_recall > 0.5
    assert scores.snippets.accuracy > 0.7


def test_a_run_folder_holds_what_a_person_needs(tmp_path: Path, data: tuple[Path, Path]) -> None:
    record = fit(*data, tmp_path, config())
    assert {CONFIG_FILE, METRICS_FILE, RECORD_FILE, MODEL_FILE, STATE_FILE} <= {p.name for p in tmp_path.iterdir()}
    assert read_record(tmp_path) == record
    rows = read_metrics(tmp_path / METRICS_FILE)
    assert [row["step"] for row in rows] == [1, 10, 20, 30]
    expected = {"loss/mil", "loss/coactivity", "loss/continuity", "loss/pseudo", "loss/total"}
    expected |= {"train/pseudo_rate", "train/reliability", "train/gradient_norm", "validation/video_ap"}
    assert expected <= set(rows[1])
    assert list((tmp_path / TENSORBOARD_FOLDER).iterdir())
    terms, loss = rows[0], config().loss
    total = terms["loss/mil"] + loss.coactivity_weight * terms["loss/coactivity"]
    total += loss.continuity_weight * terms["loss/continuity"] + loss.pseudo_weight * terms["loss/pseudo"]
    assert terms["loss/total"] == pytest.approx(total, rel=1e-5)


def test_resume_continues_exactly(tmp_path: Path, data: tuple[Path, Path]) -> None:
    whole = fit(*data, tmp_path / "whole", config())

    class Killed(Exception):
        pass

    def killer(step: int, steps: int, text: str) -> None:
        if step == 17:
            raise Killed

    with pytest.raises(Killed):
        fit(*data, tmp_path / "halves", config(), progress=killer)
    assert load_state(tmp_path / "halves" / STATE_FILE)["step"] == 10
    resumed = fit(*data, tmp_path / "halves", config(), resume=True)
    timeless = [{k: v for k, v in row.items() if k != "train/step_s"} for row in resumed.history]
    assert timeless == [{k: v for k, v in row.items() if k != "train/step_s"} for row in whole.history]
    for name, tensor in weights(tmp_path / "whole").items():
        assert torch.equal(tensor, weights(tmp_path / "halves")[name]), name


def test_the_same_seed_is_the_same_run_and_another_is_not(tmp_path: Path, data: tuple[Path, Path]) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        fit(*data, tmp_path / name, config(train__seed=seed, train__steps=5))
    a, b, c = (weights(tmp_path / name) for name in "abc")
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not torch.equal(a["action_head.weight"], c["action_head.weight"])


def test_resume_refuses_other_settings_and_other_videos(tmp_path: Path, data: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match="nothing to resume"):
        fit(*data, tmp_path / "none", config(), resume=True)
    fit(*data, tmp_path / "run", config(train__steps=10))
    with pytest.raises(ConfigError, match=r"train\.steps was 10, is 20"):
        fit(*data, tmp_path / "run", config(train__steps=20), resume=True)
    fewer = write_set(tmp_path / "fewer", make_videos(count=20))
    with pytest.raises(InputError, match=r"other data \(training videos, labels, validation videos\)"):
        fit(*fewer, tmp_path / "run", config(train__steps=10), resume=True)


def test_resume_refuses_other_labels_of_the_same_videos(tmp_path: Path, data: tuple[Path, Path]) -> None:
    features, labels = data
    fit(*data, tmp_path / "run", config(train__steps=10))
    before = weights(tmp_path / "run")
    told = labels.read_text(encoding="utf-8")
    for text, what in (
        (told.replace(",bark", ",?").replace(",drum", ",bark").replace(",?", ",drum"), "labels, validation videos"),
        (told.replace(",saw", ",zither"), "classes"),
        (told.replace("video_000,bark", "video_000,bark;new"), "classes, labels"),
    ):
        (tmp_path / "other.csv").write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=rf"other data \({what}"):
            fit(features, tmp_path / "other.csv", tmp_path / "run", config(train__steps=10), resume=True)
    assert all(torch.equal(before[name], tensor) for name, tensor in weights(tmp_path / "run").items())
    fit(*data, tmp_path / "run", config(train__steps=10), resume=True)


def launch(data: tuple[Path, Path], out: Path, processes: int, *sets: str) -> None:
    sets = (
        *(f"{key}={value}" for key, value in SMALL.items()),
        "model.dropout=0",
        "model.modality_dropout=0",
        "train.precision=64-true",
        *sets,
    )
    arguments = ["train", "--preset", "default", "--features", str(data[0]), "--labels", str(data[1]), "-o", str(out)]
    arguments += [word for pair in sets for word in ("--set", pair)]
    programs = Path(sys.executable).parent
    launcher = [programs / "fabric", "run", "--accelerator", "cpu", "--strategy", "ddp", "--devices", str(processes)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [*launcher, programs / "avloc", "--", "-q", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_two_processes_give_the_curve_of_one(tmp_path: Path, data: tuple[Path, Path]) -> None:
    launch(data, tmp_path / "two", 2, "train.steps=12")
    exact = config(model__dropout=0.0, model__modality_dropout=0.0, train__steps=12, train__precision="64-true")
    fit(*data, tmp_path / "one", exact)
    one, two = (read_metrics(tmp_path / name / METRICS_FILE) for name in ("one", "two"))
    assert [row["step"] for row in one] == [row["step"] for row in two]
    for a, b in zip(one, two, strict=True):
        for key in a:
            if key != "train/step_s":
                assert b[key] == pytest.approx(a[key], rel=1e-5, abs=1e-7), (a["step"], key)
    for name, tensor in weights(tmp_path / "one").items():
        torch.testing.assert_close(weights(tmp_path / "two")[name], tensor, rtol=1e-5, atol=1e-7)


def test_videos_will_be_extracted_as_the_features_were(tmp_path: Path) -> None:
    videos = [
        (replace(features, source=replace(features.source, details={"visual_rate_hz": "30000/1001"})), truth)
        for features, truth in make_videos(count=8)
    ]
    features, labels = write_set(tmp_path, videos)
    fit(features, labels, tmp_path / "run", config(**{"extract.frames_per_snippet": 16, "extract.fps": 16}))
    extract = load_model(tmp_path / "run")[1].config.extract
    assert (extract.step, extract.frames_per_snippet, extract.fps) == (1, None, 30000 / 1001)


def test_a_batch_that_cannot_be_split_evenly_is_named_before_processes_start(
    tmp_path: Path, data: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightning_fabric import Fabric

    monkeypatch.delattr(Fabric, "launch")
    with pytest.raises(ConfigError, match="8 videos cannot be split over 3 processes"):
        fit(*data, tmp_path, config(**{"train.devices": 3}))


def test_collapse_is_said_in_plain_words() -> None:
    everything = np.tile([0.01, 0.9, 0.09], (50, 1))
    nothing = np.tile([0.9, 0.05, 0.05], (50, 1))
    both = np.array([True, True])
    assert any("predicted as foreground" in s for s in warnings_of(health(everything, both)))
    assert any("predicted as one class" in s for s in warnings_of(health(everything, both)))
    assert any("predicted as background" in s for s in warnings_of(health(nothing, both)))
    healthy = np.eye(3)[np.arange(60) % 3]
    assert warnings_of(health(healthy, both)) == []


def test_a_collapsing_run_warns_while_it_trains(
    tmp_path: Path, data: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="avloc.train"):
        fit(*data, tmp_path, config(loss__mil_background="never", loss__pseudo_weight=0, train__steps=60))
    assert "predicted as foreground" in caplog.text


@pytest.mark.parametrize(
    "changes", [{"model__modality": "audio"}, {"model__modality": "visual"}, {"model__head": "soft-max"}]
)
@pytest.mark.parametrize("scores", ["open-max", "logits"])
def test_every_model_trains_and_localizes(
    tmp_path: Path, data: tuple[Path, Path], changes: dict[str, object], scores: str
) -> None:
    fit(*data, tmp_path, config(loss__mil_scores=scores, train__steps=4, train__eval_every=2, **changes))
    result = avloc.load(tmp_path).localize(make_videos(count=1)[0][0])
    np.testing.assert_allclose(result.activations.probs.sum(axis=1), 1, atol=1e-5)


def test_videos_that_lack_a_modality_train_beside_the_others(tmp_path: Path) -> None:
    videos = make_videos(count=12)
    mixed = []
    for i, (video, truth) in enumerate(videos):
        changes = {0: {}, 1: {"audio": None}, 2: {"visual": None}}[i % 3]
        mixed.append((type(video)(**{**vars(video), **changes}), truth))
    features, labels = write_set(tmp_path, mixed)
    fit(features, labels, tmp_path / "run", config(train__steps=6, model__modality_dropout=0.3))
    localizer = avloc.load(tmp_path / "run")
    assert [localizer.localize(v).modalities for v, _ in mixed[:3]] == [("audio", "visual"), ("visual",), ("audio",)]
    silent = prepare(features, labels, ALL, "audio")
    assert len(silent.train) == 8
    assert any("without audio features" in note for note in silent.notes)


def test_checkpoints_are_selected_by_high_precision_or_low_loss() -> None:
    found = Validation({"validation/mil": 2.0, "validation/video_ap": 0.5})
    assert [found.score(by) for by in ("video_ap", "mil", "last")] == [0.5, -2.0, None]
    assert Validation({"health/background": 0.5}).score("mil") is None


def test_consistency_losses_ramp_in_from_zero() -> None:
    changes = {"train.steps": 100, "loss.warmup": 0.5, "loss.pseudo_weight": 2.0}
    config = preset("default", changes)
    assert [term_weights(config, step)["pseudo"] for step in (0, 25, 50, 99)] == [0, 1, 2, 2]
    assert [term_weights(config, step)["continuity"] for step in (0, 25, 50)] == [0, 0.4, 0.8]
    assert [term_weights(config, step)["coactivity"] for step in (0, 50)] == [0.8, 0.8]
    assert term_weights(preset("default", {**changes, "model.head": "soft-max"}), 50)["continuity"] == 0
    assert term_weights(preset("default", {"loss.warmup": 0}), 0)["pseudo"] == 1


def test_hold_out_leaves_every_class_two_videos() -> None:
    labels = np.zeros((40, 4))
    labels[np.arange(40), np.r_[np.zeros(30), np.ones(6), 2, 2, 3, 3].astype(int)] = 1
    held = hold_out(labels, 0.1, seed=0)
    assert len(held) == 4
    assert (np.delete(labels, held, axis=0).sum(axis=0) >= 2).all()
    assert hold_out(labels[30:], 0.0, 0).tolist() == []


def test_no_more_is_held_out_than_one_process_can_validate(tmp_path: Path) -> None:
    features, labels = write_set(tmp_path, make_videos(count=40))
    assert len(prepare(features, labels, TrainConfig(holdout=0.2)).validation) == 8
    assert len(prepare(features, labels, TrainConfig(holdout=0.2, holdout_most=5)).validation) == 5


def test_labels_without_features_are_named_and_the_rest_is_used(tmp_path: Path) -> None:
    features, labels = write_set(tmp_path, make_videos(count=9))
    labels.write_text(labels.read_text() + "ghost,bark\n", encoding="utf-8")
    data = prepare(features, labels, ALL)
    assert len(data.train) == 9
    assert any("ghost" in note for note in data.notes)
    labels.write_text("video,labels\nghost,bark\n", encoding="utf-8")
    with pytest.raises(InputError, match="none of the 1 videos"):
        prepare(features, labels, ALL)
    labels.write_text("video,labels\nvideo_000,\n", encoding="utf-8")
    with pytest.raises(InputError, match="no training video with a label"):
        prepare(features, labels, ALL)


def test_validation_classes_that_training_never_saw_are_said(tmp_path: Path) -> None:
    features, labels = write_set(tmp_path, make_videos(count=4))
    labels.write_text(
        "video,labels,subset\nvideo_000,bark,train\nvideo_001,bark,train\nvideo_002,owl,validation\n", encoding="utf-8"
    )
    assert any("owl" in note for note in prepare(features, labels, TrainConfig()).notes)


def test_an_output_folder_that_cannot_be_written_is_said(tmp_path: Path, data: tuple[Path, Path]) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot write the run folder"):
        fit(*data, tmp_path / "file" / "run", config())


def test_features_with_nan_are_named(tmp_path: Path) -> None:
    videos = make_videos(count=6)
    features, labels = write_set(tmp_path, videos)
    path = features / "video_003.safetensors"
    with safe_open(path, "np") as file:
        header, audio = file.metadata(), torch.tensor(file.get_tensor("audio"))
    audio[2, 1] = torch.nan
    save_file({"audio": audio}, path, header)
    with pytest.raises(FormatError, match=r"video_003.*NaN"):
        fit(features, labels, tmp_path / "run", config())


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch /tmp/avloc_was_here",)


def test_state_and_weights_are_never_unpickled(tmp_path: Path) -> None:
    (tmp_path / STATE_FILE).write_bytes(pickle.dumps({"step": Evil()}))
    with pytest.raises(FormatError, match="state"):
        load_state(tmp_path / STATE_FILE)
    torch.save({"step": Evil()}, tmp_path / STATE_FILE)
    with pytest.raises(FormatError, match="state"):
        load_state(tmp_path / STATE_FILE)
    assert not Path("/tmp/avloc_was_here").exists()
    (tmp_path / MODEL_FILE).write_bytes(pickle.dumps({"weights": Evil()}))
    with pytest.raises(FormatError, match="safetensors"):
        avloc.load(tmp_path)
    with pytest.raises(InputError, match="run folder"):
        avloc.load(tmp_path / "nowhere")


def test_other_features_than_the_runs_are_refused(tmp_path: Path, data: tuple[Path, Path]) -> None:
    fit(*data, tmp_path, config(train__steps=2))
    localizer = avloc.load(tmp_path)
    video = make_videos(count=1)[0][0]
    other = type(video)(**{**vars(video), "source": Provenance({"audio": "vggish", "visual": "made"})})
    with pytest.raises(InputError, match="of backbone 'vggish', the run was trained on 'made'"):
        localizer.localize(other)
    wide = type(video)(**{**vars(video), "audio": np.zeros((video.grid.count, 9), dtype=np.float32)})
    with pytest.raises(InputError, match="9 channels, the run expects 6"):
        localizer.localize(wide)


def test_a_record_that_is_not_there_or_broken(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="finished run"):
        read_record(tmp_path)
    (tmp_path / RECORD_FILE).write_text(json.dumps({"config": {}}))
    with pytest.raises(FormatError, match="record"):
        read_record(tmp_path)


def test_a_record_with_counts_as_floats_is_read(tmp_path: Path, data: tuple[Path, Path]) -> None:
    """As earlier versions wrote them."""
    record = fit(*data, tmp_path, config(train__steps=2))
    fields = json.loads((tmp_path / RECORD_FILE).read_text(encoding="utf-8"))
    fields["scores"] = {name: float(value) for name, value in fields["scores"].items()}
    (tmp_path / RECORD_FILE).write_text(json.dumps(fields), encoding="utf-8")
    assert read_record(tmp_path) == record
    assert isinstance(read_record(tmp_path).train_videos, int)


def test_half_trained_features_save(tmp_path: Path) -> None:
    video = make_videos(count=1)[0][0]
    save_features(tmp_path / "video_000.safetensors", video, "float16")
    assert prepare_one(tmp_path).dtype == np.float32


def prepare_one(folder: Path) -> np.ndarray:
    from avloc.formats.features import FeatureStore

    audio = FeatureStore(folder).load("video_000").audio
    assert audio is not None
    return audio


def test_a_run_knows_the_step_of_its_features(tmp_path: Path) -> None:
    videos = []
    for video, truth in make_videos(count=9):
        grid = SnippetGrid.cover(video.grid.count / 2, 0.5)
        videos.append((type(video)(**{**vars(video), "grid": grid, "duration_s": video.grid.count / 2}), truth))
    features, labels = write_set(tmp_path, videos)
    fit(features, labels, tmp_path / "run", config(train__steps=2))
    extract = avloc.load(tmp_path / "run").card.config.extract
    assert (extract.step, extract.visual, extract.audio) == (Fraction(1, 2), "made", "made")
    save_features(features / "odd.safetensors", type(video)(**{**vars(make_videos(count=1)[0][0]), "video_id": "odd"}))
    with pytest.raises(InputError, match=r"expected one step, got features of 0.5, 1 s"):
        prepare(features, labels, ALL)


def test_features_of_one_kind_ask_for_a_model_of_that_kind(tmp_path: Path) -> None:
    videos = [(type(v)(**{**vars(v), "audio": None}), t) for v, t in make_videos(count=9)]
    data = write_set(tmp_path, videos)
    with pytest.raises(
        ConfigError, match=r"needs audio features.*the features have visual only: --set model.modality=visual"
    ):
        fit(*data, tmp_path / "run", config())
    fit(*data, tmp_path / "run", config(model__modality="visual", train__steps=2))


def test_validation_videos_of_background_only_do_not_stop_a_run(tmp_path: Path) -> None:
    features, labels = write_set(tmp_path, make_videos(count=8, background_videos=2))
    rows = [f"video_{i:03d},{('bark', 'drum', 'saw')[i % 3]},train" for i in range(6)]
    rows += ["video_006,,validation", "video_007,,validation"]
    labels.write_text("video,labels,subset\n" + "\n".join(rows) + "\n", encoding="utf-8")
    record = fit(features, labels, tmp_path / "run", config(train__steps=4, train__eval_every=2))
    assert record.validation_videos == 2
    assert (tmp_path / "run" / MODEL_FILE).exists()


def foreign(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package with a backbone "meter" whose card asks for "scale"."""
    info = folder / "meter-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: meter\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[avloc.backbones]\nmeter = meter:Meter\n")
    (folder / "meter.py").write_text("class Meter: name, normalize = 'meter', 'scale'")
    monkeypatch.syspath_prepend(folder)


MODES = [("appearance", "scale"), ("i3d", "l2"), ("nobody", "l2"), ("", "l2")]


@pytest.mark.parametrize(("backbone", "mode"), [*MODES, ("meter", "scale")])
def test_a_backbones_card_says_how_its_features_are_scaled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backbone: str, mode: str
) -> None:
    """The choice is saved with the run: the backbone's package is not needed later."""
    source = Provenance({"visual": backbone} if backbone else {})
    data = write_set(tmp_path, [(replace(features, source=source), truth) for features, truth in make_videos(count=8)])
    with monkeypatch.context() as patch:
        foreign(tmp_path / "site", patch)
        fit(*data, tmp_path / "run", config(train__steps=2))
    model, card = load_model(tmp_path / "run")
    assert card.config.model.visual_normalize == "auto"
    assert (card.visual_normalize, model.norms["visual"].mode) == (mode, mode)


@pytest.mark.parametrize(("backbone", "mode"), MODES)
def test_runs_that_do_not_say_how_features_are_scaled_are_read_as_before(
    tmp_path: Path, backbone: str, mode: str
) -> None:
    card = ModelCard(config(), ("a", "b"), 3, 4, {"visual": backbone} if backbone else {})
    save_model(tmp_path / MODEL_FILE, card, card.build().state_dict())
    with safe_open(tmp_path / MODEL_FILE, "pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    older = {name: value for name, value in metadata.items() if name not in ("backbone_normalize", "sha256")}
    save_file(tensors, tmp_path / MODEL_FILE, older)
    assert load_model(tmp_path)[0].norms["visual"].mode == mode


@pytest.mark.parametrize("mode", ["scale", "l2"])
def test_pictures_are_scaled_by_what_they_are(mode: Normalization) -> None:
    """l2 keeps the direction of a row only; "scale" also its length."""
    card = ModelCard(preset("default"), ("a", "b"), 3, 4, {}, backbone_normalize=mode)
    norm = card.build().norms["visual"]
    assert isinstance(norm, InputNorm)
    assert norm.mode == mode
    rows = torch.tensor([[3.0, 4, 0, 0], [6, 8, 0, 0]])
    norm.fit(torch.zeros(4), torch.tensor([3.0, 1, 1, 1]))
    one, two = norm(rows)
    if mode == "l2":
        torch.testing.assert_close(one, torch.tensor([0.6, 0.8, 0, 0]))
        torch.testing.assert_close(one, two)
    else:
        torch.testing.assert_close(one, rows[0] / 3**0.5)
        torch.testing.assert_close(two, 2 * one)


def test_a_video_whose_name_leads_out_of_the_folder_costs_itself(tmp_path: Path, data: tuple[Path, Path]) -> None:
    fit(*data, tmp_path / "run", config(train__steps=10))
    honest, _ = make_videos(count=1)[0]
    for name, video_id in (("a", "../../escaped"), ("b", str(tmp_path / "escaped")), ("c", "sub/video")):
        save_features(tmp_path / f"{name}.safetensors", replace(honest, video_id=video_id))
    inputs = [tmp_path / f"{name}.safetensors" for name in "abc"]
    found, failures = localize_all(avloc.load(tmp_path / "run"), inputs, tmp_path / "deep" / "out")
    assert set(found) == {"sub/video"}
    assert [f.video_id for f in failures] == ["a", "b"]
    assert all("leads out of" in f.reason for f in failures)
    assert not list(tmp_path.rglob("escaped*"))
    (kept,) = find_results(tmp_path / "deep" / "out").activations({"sub/video", "other"})
    assert kept.video_id == "sub/video"
    assert find_results(tmp_path / "deep" / "out").read().videos() == ("sub/video",)


def test_a_run_refuses_features_of_another_version_of_its_backbone(tmp_path: Path) -> None:
    source = Provenance({"visual": "appearance"})
    videos = [(replace(features, source=source), truth) for features, truth in make_videos(count=8)]
    data = write_set(tmp_path, videos)
    assert any("version 1 of appearance, this is version 2" in note for note in prepare(*data, TrainConfig()).notes)
    fit(*data, tmp_path / "run", config(train__steps=2))
    localizer = avloc.load(tmp_path / "run")
    assert localizer.localize(videos[0][0]).activations is not None
    newer = replace(videos[0][0], source=replace(source, details={"visual_version": "2"}))
    with pytest.raises(InputError, match="version 2 of appearance, the run was trained on version 1"):
        localizer.localize(newer)

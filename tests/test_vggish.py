"""VGGish: front end and network equal torchvggish's, and the published files load."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import odd_media as odd
from avloc.errors import InputError
from avloc.features.backbones import Setup, load_backbone
from avloc.features.backbones.logmel import log_mel, mel_bands
from avloc.features.backbones.vggish import SAMPLES, Vggish, VggishNet, postprocess
from avloc.features.video import extract_features
from avloc.media.probe import probe
from odd_weights import det_weights, quick_state, shapes

GOLDEN = Path(__file__).parent / "golden"
SHARED = Path(__file__).resolve().parents[2] / "shared" / "golden"
RATE_HZ = 16000


@pytest.fixture(scope="module")
def net() -> VggishNet:
    """VGGish with the deterministic weights of the golden values; 72 million, so built once for all tests."""
    module = VggishNet().eval()
    module.load_state_dict(det_weights(shapes(module), int(np.load(GOLDEN / "vggish.npz")["weights_seed"])))
    return module


@pytest.fixture(scope="module")
def weights(net: VggishNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "vggish-10086976.pth"
    torch.save(net.state_dict(), path)
    return path


def test_the_network_equals_torchvggish(net: VggishNet) -> None:
    golden = np.load(GOLDEN / "vggish.npz")
    with torch.inference_mode():
        rows = net(torch.from_numpy(golden["examples"])).numpy()
    assert (golden["embeddings"] > 0).sum() > 20
    np.testing.assert_allclose(rows, golden["embeddings"], rtol=1e-4, atol=1e-4 * golden["embeddings"].max())


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared golden files")
def test_everything_equals_torchvggish(net: VggishNet) -> None:
    keys = json.loads((SHARED / "torchvggish_keys.json").read_text())
    assert shapes(net) == [(key, tuple(shape)) for key, shape in keys]
    golden = np.load(SHARED / "torchvggish_net.npz")
    with torch.inference_mode():
        rows = net(torch.from_numpy(golden["examples"][:, 0])).numpy()
    np.testing.assert_allclose(rows, golden["embeddings"], rtol=1e-4, atol=1e-4 * golden["embeddings"].max())
    means = golden["pca_means"].reshape(128)
    np.testing.assert_array_equal(postprocess(rows, golden["pca_eigen_vectors"], means), golden["postprocessed"])


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared golden files")
@pytest.mark.parametrize("recording", ["test", "jfk", "dog"])
def test_the_front_end_equals_torchvggish(recording: str) -> None:
    golden = np.load(SHARED / "torchvggish_examples.npz")
    sound, expected = golden[f"{recording}_wave16k"], golden[f"{recording}_examples"]
    mel = log_mel(sound[None].astype(np.float64), mel_bands(np.float64))[0]
    np.testing.assert_allclose(mel[: len(expected) * 96].reshape(-1, 96, 64), expected, rtol=1e-4, atol=1e-7)
    windows = np.stack([sound[k * 15360 : k * 15360 + SAMPLES] for k in range(len(expected) - 1)])
    ours = Vggish.examples(_without_network(), windows)
    np.testing.assert_allclose(ours, expected[:-1], rtol=1e-4, atol=1e-6)


def _without_network() -> Vggish:
    bare = object.__new__(Vggish)
    bare._bands = mel_bands(np.float64)
    return bare


def test_a_window_is_ninety_six_frames_centred_on_its_snippet(weights: Path, tmp_path: Path) -> None:
    backbone = load_backbone("vggish", Setup({"vggish": str(weights)}))
    assert backbone.weights is not None
    assert backbone.weights.startswith("vggish-10086976.pth sha256:")
    assert (SAMPLES - 400) // 160 + 1 == 96
    sound = np.random.default_rng(0).normal(0, 0.1, (1, 3 * RATE_HZ)).astype(np.float32)
    path = odd.write_video(tmp_path / "a.mkv", odd.grey_frames(30), sound=sound)
    features = extract_features(probe(path), None, backbone)
    assert features.audio is not None
    assert features.audio.shape == (3, 128)
    assert features.audio.min() >= 0  # after ReLU, as in AVE's files
    heard = np.round(sound[0] * 32767).clip(-32768, 32767) / 32768
    first = round(1.5 * RATE_HZ) - SAMPLES // 2
    alone = backbone(heard[None, first : first + SAMPLES].astype(np.float32))
    np.testing.assert_allclose(features.audio[1], alone[0], rtol=2e-3, atol=2e-3 * alone.max())
    silent = backbone(np.zeros((1, SAMPLES), np.float32))
    short = backbone(np.zeros((1, 4800), np.float32))  # 0.3 s: padded with silence
    np.testing.assert_array_equal(silent, short)


def test_pca_and_eight_bits(weights: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(0, 0.2, (128, 128))
    means = random.normal(0, 0.1, (128, 1))
    params = tmp_path / "vggish_pca_params-970ea276.pth"
    torch.save({"pca_eigen_vectors": vectors, "pca_means": means}, params)  # numpy arrays, as in the published file
    given = {"vggish": str(weights), "vggish-pca": str(params)}
    sound = random.normal(0, 0.1, (2, SAMPLES)).astype(np.float32)
    raw = load_backbone("vggish", Setup(given))(sound)
    small = load_backbone("vggish-pca", Setup(given))(sound)
    for row, expected in zip(small, raw, strict=True):
        for channel in range(0, 128, 17):
            white = sum(vectors[channel, k] * (expected[k] - means[k, 0]) for k in range(128))
            assert row[channel] == pytest.approx(np.round((min(2.0, max(-2.0, white)) + 2) * 255 / 4), abs=1)
    assert set(np.unique(small)) <= set(np.arange(256.0))
    torch.save({"pca_means": means}, params)
    with pytest.raises(InputError, match=r"expected pca_eigen_vectors \(128, 128\)"):
        load_backbone("vggish-pca", Setup(given))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save(quick_state(torch.nn.Linear(3, 3)), path)
    with pytest.raises(InputError, match=r"other\.pth: expected weights of VggishNet: 18 missing.*2 unknown"):
        load_backbone("vggish", Setup({"vggish": str(path)}))

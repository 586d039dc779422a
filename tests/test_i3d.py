"""I3D: both networks equal pytorch-i3d's, the published parameter names load, and snippets have the usual frames."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import odd_media as odd
from avloc.features.backbones import Setup, VisualBackbone, load_backbone
from avloc.features.backbones.i3d import I3dNet, channels_first, same_padding, scale_flow
from avloc.features.flow import flow_fields, grey
from avloc.features.video import extract_features
from avloc.media.probe import probe
from odd_weights import det_weights, quick_state, shapes

GOLDEN = json.loads((Path(__file__).parent / "golden" / "i3d.json").read_text())
SHARED = Path(__file__).resolve().parents[2] / "shared" / "golden"


@pytest.mark.parametrize(("stream", "channels"), [("rgb", 3), ("flow", 2)])
def test_the_network_equals_pytorch_i3d(stream: str, channels: int) -> None:
    golden = GOLDEN[f"i3d_{stream}"]
    net = I3dNet(channels).eval()
    net.load_state_dict(det_weights(shapes(net), golden["weights_seed"]))
    clip = np.random.RandomState(golden["input_seed"]).uniform(-1, 1, golden["input_shape"]).astype(np.float32)
    with torch.inference_mode():
        features = net.features(torch.from_numpy(clip))
        logits = net.classify(features)[0].numpy()
    features = features[0].numpy()
    assert features.shape == (1024, 2)
    scale = 1e-4 * features.max()
    np.testing.assert_allclose(features[::64], golden["features_every_64"], rtol=1e-4, atol=scale)
    assert features.mean() == pytest.approx(golden["features_mean"], rel=1e-4)
    assert features.std() == pytest.approx(golden["features_std"], rel=1e-4)
    np.testing.assert_allclose(logits[::50], golden["logits_every_50"], rtol=1e-4, atol=1e-4 * np.abs(logits).max())
    if SHARED.is_dir():
        keys = json.loads((SHARED / "i3d_keys.json").read_text())[stream]
        assert shapes(net) == [(key, tuple(shape)) for key, shape in keys]
        whole = np.load(SHARED / f"i3d_{stream}.npz")["features"][0, :, :, 0, 0]
        np.testing.assert_allclose(features, whole, rtol=1e-4, atol=scale)


@pytest.mark.parametrize("size", [7, 8, 9, 15, 16])
@pytest.mark.parametrize(("kernel", "stride"), [(7, 2), (3, 2), (2, 2), (3, 1), (1, 1)])
def test_same_padding_is_tensorflows(size: int, kernel: int, stride: int) -> None:
    maps = torch.arange(1.0, size + 1).reshape(1, 1, size, 1, 1)
    padded = same_padding(maps, (kernel, 1, 1), (stride, 1, 1))[0, 0, :, 0, 0]
    assert (len(padded) - kernel) // stride + 1 == -(-size // stride)
    front = int((padded != 0).nonzero()[0])
    behind = len(padded) - size - front
    assert behind - front in (0, 1)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weight files with the published names, in PyTorch 0.3's format, without batch normalisation counters."""
    folder = tmp_path_factory.mktemp("i3d")
    for name, channels in (("rgb_imagenet.pt", 3), ("flow_imagenet.pt", 2)):
        torch.save(quick_state(I3dNet(channels)), folder / name, _use_new_zipfile_serialization=False)
    return folder


def clip_of(frames: int, height: int = 256, width: int = 300) -> np.ndarray:
    rng = np.random.default_rng(0)
    world = np.kron(rng.integers(0, 256, (40, 60, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    return np.stack([world[:height, k : k + width] for k in range(frames)])


def test_two_streams_side_by_side(files: Path) -> None:
    setup = Setup({"*": str(files)})
    batch = clip_of(10)[None]
    both = load_backbone("i3d-dis", setup)
    rows = both(batch)
    assert rows.shape == (1, both.size) == (1, 2048)
    assert both.weights is not None
    assert both.weights.count("sha256:") == 2

    crop = batch[0, :9, 16:240, 38:262].astype(np.float32) * (2 / 255) - 1
    net = I3dNet(3).eval()
    net.load_state_dict(quick_state(net), strict=False)
    with torch.inference_mode():
        plain = net(torch.from_numpy(crop.transpose(3, 0, 1, 2)[None].copy())).numpy()
    np.testing.assert_allclose(rows[:, :1024], plain, rtol=1e-4, atol=1e-5)

    fields = flow_fields(grey(batch[0]), "dis")[:, 16:240, 38:262]
    assert np.median(fields[..., 0]) == pytest.approx(-1, abs=0.2)  # the camera moves right, the image left
    net = I3dNet(2).eval()
    net.load_state_dict(quick_state(net), strict=False)
    scaled = np.clip(fields, -20, 20) / 20
    with torch.inference_mode():
        plain = net(torch.from_numpy(scaled.transpose(3, 0, 1, 2)[None].copy())).numpy()
    np.testing.assert_allclose(rows[:, 1024:], plain, rtol=1e-4, atol=1e-5)


def test_the_originals_clamp_and_scaling() -> None:
    fields = np.array([[-50, -20], [-10, 0], [5, 30]], np.float32)
    np.testing.assert_array_equal(scale_flow(fields), np.array([[-1, -1], [-0.5, 0], [0.25, 1]], np.float32))


def test_a_blink_of_a_clip_repeats_its_last_picture() -> None:
    few = torch.rand(2, 3, 4, 5, 3)
    clip = channels_first(few)
    assert clip.shape == (2, 3, 9, 4, 5)
    torch.testing.assert_close(clip[:, :, 2:], few[:, 2:].permute(0, 4, 1, 2, 3).expand(-1, -1, 7, -1, -1))
    assert channels_first(torch.rand(1, 16, 4, 5, 2)).shape == (1, 2, 16, 4, 5)


class Seen:
    """Returns the brightness of its input: 16 frames and one of the next snippet."""

    name, modality, licence, size = "seen", "visual", "none", 17
    weights: str | None = None
    frame_rate = odd.Fraction(25)
    frames_per_snippet: int | None = None
    frame_size: tuple[int, int] | int = (12, 16)
    frames_after = 1

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return batch.mean(axis=(2, 3, 4), dtype=np.float32)


@pytest.mark.parametrize("batch_snippets", [1, 2, 16])
def test_the_fields_snippets_and_the_picture_after(tmp_path: Path, batch_snippets: int) -> None:
    pictures = [np.full((48, 64, 3), 3 * i, np.uint8) for i in range(70)]
    path = odd.write_video(tmp_path / "a.mkv", pictures, rate=25, codec="ffv1")
    backbone = Seen()
    assert isinstance(backbone, VisualBackbone)
    features = extract_features(probe(path), backbone, step_s=odd.Fraction(16, 25), batch_snippets=batch_snippets)
    assert features.visual is not None
    assert features.visual.shape == (4, 17)  # 2.8 s: 4.375 steps
    expected = np.minimum(np.arange(4)[:, None] * 16 + np.arange(17), 69) * 3
    np.testing.assert_allclose(features.visual, expected, atol=2)
    end = odd.write_video(tmp_path / "b.mkv", pictures[:64], rate=25, codec="ffv1")
    features = extract_features(probe(end), backbone, step_s=odd.Fraction(16, 25), batch_snippets=batch_snippets)
    assert features.visual is not None
    assert features.visual[3, 16] == features.visual[3, 15]  # no next frame: the last one is repeated

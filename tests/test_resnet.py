"""ResNet-152: equals transformers' independent ResNet, and has torchvision's names and size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from avloc.features.backbones import Setup, load_backbone
from avloc.features.backbones.resnet import ResNet, with_torchvision_names
from odd_weights import quick_state, shapes


def test_the_network_equals_transformers() -> None:
    hf = pytest.importorskip("transformers")
    torch.manual_seed(0)
    theirs = hf.ResNetForImageClassification(hf.ResNetConfig(depths=[1, 2, 2, 1], num_labels=1000)).eval()
    for name, buffer in theirs.named_buffers():  # otherwise batch normalisation is the identity, and goes untested
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
        elif name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
    ours = ResNet((1, 2, 2, 1)).eval()
    ours.load_state_dict(with_torchvision_names(theirs.state_dict()))
    pictures = torch.randn(2, 3, 96, 80)
    with torch.inference_mode():
        expected = theirs.resnet(pictures).pooler_output[:, :, 0, 0]
        torch.testing.assert_close(ours(pictures), expected, rtol=1e-4, atol=1e-5)


def test_names_and_size_are_torchvisions() -> None:
    with torch.device("meta"):
        net = ResNet()
    assert sum(p.numel() for p in net.parameters()) == 60_192_808  # torchvision's documentation of resnet152
    named = dict(shapes(net))
    assert len(named) == 932
    assert named["conv1.weight"] == (64, 3, 7, 7)
    assert named["layer1.0.downsample.1.running_mean"] == (256,)
    assert named["layer2.0.conv2.weight"] == (128, 128, 3, 3)
    assert named["layer3.35.bn3.bias"] == (1024,)
    assert named["layer4.2.conv3.weight"] == (2048, 512, 1, 1)
    assert named["fc.weight"] == (1000, 2048)
    assert with_torchvision_names({"layer3.35.bn3.bias": torch.zeros(1)}).keys() == {"layer3.35.bn3.bias"}


def test_a_snippet_is_the_mean_of_its_pictures(tmp_path: Path) -> None:
    net = ResNet().eval()
    state = quick_state(net)
    path = tmp_path / "model.safetensors"
    save_file(state, path)
    backbone = load_backbone("resnet152", Setup({"resnet152": str(path)}))
    assert (backbone.size, backbone.weights is not None) == (2048, True)
    batch = np.random.default_rng(0).integers(0, 256, (1, 2, 256, 270, 3), np.uint8)
    rows = backbone(batch)
    net.load_state_dict(state, strict=False)
    plain = batch[0, :, 16:240, 23:247].astype(np.float32) / 255
    plain = (plain - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    with torch.inference_mode():
        expected = net(torch.from_numpy(plain.transpose(0, 3, 1, 2).astype(np.float32)))
    np.testing.assert_allclose(rows[0], expected.numpy().mean(axis=0), rtol=1e-3, atol=1e-3 * float(expected.max()))

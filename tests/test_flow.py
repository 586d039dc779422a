"""Optical flow: units, direction, and errors if OpenCV or its contrib modules are missing."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from avloc.errors import InputError
from avloc.features.flow import FlowMethod, flow_fields, grey, need_opencv

cv2 = pytest.importorskip("cv2")


def moved(dx: int, dy: int) -> np.ndarray:
    """Two grey frames of a smooth texture that moves right by `dx` and down by `dy` pixels."""
    coarse = np.random.default_rng(0).integers(0, 256, (20, 24)).astype(np.float32)
    world = cv2.GaussianBlur(cv2.resize(coarse, (192, 160), interpolation=cv2.INTER_CUBIC), (0, 0), 2)
    world = np.clip(world, 0, 255).astype(np.uint8)
    return np.stack([world[20:116, 20:148], world[20 - dy : 116 - dy, 20 - dx : 148 - dx]])


@pytest.mark.parametrize("method", ["tvl1", "dis"])
def test_flow_is_in_pixels_right_and_down(method: FlowMethod) -> None:
    fields = flow_fields(moved(3, -2), method)
    assert fields.shape == (1, 96, 128, 2)
    assert fields.dtype == np.float32
    inner = fields[0, 16:-16, 16:-16]
    assert np.median(inner[..., 0]) == pytest.approx(3, abs=0.15)
    assert np.median(inner[..., 1]) == pytest.approx(-2, abs=0.15)
    assert np.abs(flow_fields(moved(0, 0), method)).max() < 0.05


def test_no_pair_no_flow() -> None:
    assert flow_fields(moved(0, 0)[:1], "dis").shape == (0, 96, 128, 2)


def test_grey_is_luma() -> None:
    frame = np.zeros((1, 2, 2, 3), np.uint8)
    frame[0, 0, 0], frame[0, 0, 1], frame[0, 1, 0] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    assert grey(frame)[0].tolist() == [[76, 150], [29, 0]]


def test_missing_opencv_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", types.SimpleNamespace(__version__="4.0.0"))
    with pytest.raises(InputError, match=r"contrib modules.*4\.0\.0.*avloc\[flow\].*-dis"):
        need_opencv("tvl1")
    need_opencv("dis")
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(InputError, match=r"optical flow needs OpenCV.*pip install 'avloc\[flow\]'"):
        need_opencv("dis")

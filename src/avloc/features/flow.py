"""Optical flow between consecutive frames, with OpenCV (the "flow" extra). Unit: pixels per frame."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, UInt8

from avloc.errors import InputError

FlowMethod = Literal["tvl1", "dis"]


def need_opencv(method: FlowMethod = "tvl1") -> Any:
    """Import OpenCV with the modules `method` needs. Raises InputError, with what to install, if they are missing."""
    install = "install it with `pip install 'avloc[flow]'` (opencv-contrib-python-headless)"
    try:
        import cv2
    except ImportError as error:
        raise InputError(
            f"optical flow needs OpenCV, which is not installed or does not load ({error}); {install}"
        ) from error
    if method == "tvl1" and not hasattr(getattr(cv2, "optflow", None), "createOptFlow_DualTVL1"):
        raise InputError(
            f"TV-L1 flow needs OpenCV's contrib modules, which this OpenCV ({cv2.__version__}) lacks: remove "
            f"opencv-python and opencv-python-headless, then {install}; or use a backbone whose name ends in -dis"
        )
    return cv2


def grey(frames: UInt8[np.ndarray, "n h w 3"]) -> UInt8[np.ndarray, "n h w"]:
    """Luma of RGB frames (0.299, 0.587, 0.114), rounded."""
    cv2 = need_opencv("dis")
    return np.stack([cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY) for frame in frames])


def flow_fields(
    frames: UInt8[np.ndarray, "n h w"], method: FlowMethod = "tvl1"
) -> Float32[np.ndarray, "motions h w 2"]:
    """Flow from each frame to the next: (n - 1, h, w, 2), x to the right and y downwards, in pixels.

    Args:
        method: "tvl1" (Zach et al. 2007, OpenCV's defaults, as for the released I3D features) or "dis" (Kroeger et al.
            2016, OpenCV's medium preset).
    """
    cv2 = need_opencv(method)
    if method == "tvl1":
        solver = cv2.optflow.createOptFlow_DualTVL1()
    else:
        solver = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    fields = [solver.calc(before, after, None) for before, after in pairwise(frames)]
    return np.stack(fields) if fields else np.zeros((0, *frames.shape[1:], 2), np.float32)

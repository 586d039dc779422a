"""The synthetic demo data set: mp4 files with audio, rendered from a seed. See `plan` and `render`."""

from avloc.demo.plans import CLASSES, DemoPlan, VideoPlan, plan
from avloc.demo.studio import DemoSet, render, render_video

__all__ = ["CLASSES", "DemoPlan", "DemoSet", "VideoPlan", "plan", "render", "render_video"]

"""The embedded data set: real mp4 files with sound, rendered from a seed. `plan` decides, `render` makes the files."""

from avloc.demo.plans import CLASSES, DemoPlan, VideoPlan, plan
from avloc.demo.studio import DemoSet, render, render_video

__all__ = ["CLASSES", "DemoPlan", "DemoSet", "VideoPlan", "plan", "render", "render_video"]

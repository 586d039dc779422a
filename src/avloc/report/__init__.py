"""What a person looks at: pictures of a video, a run, a comparison. matplotlib loads when something is drawn."""

from avloc.report.notebook import result_html
from avloc.report.timeline import timeline

__all__ = ["result_html", "timeline"]

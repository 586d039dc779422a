"""What a person looks at: pictures of a video, a run, a comparison. matplotlib loads when something is drawn.

timeline    truth, detections and activations of a video, of one or several models (as Figs. 2-5)
curves      mAP against t-IoU, AP of each class, training curves, confusion of snippets
diagnosis   errors by rank, what each costs, which instances suffer
attention   Λ with thumbnails
notebook    what a notebook shows of a result
page        the interactive page
"""

from avloc.report.attention import attention_figure
from avloc.report.curves import class_ap_figure, confusion_figure, mean_ap_figure, training_figure
from avloc.report.diagnosis import diagnosis_figure
from avloc.report.notebook import result_html
from avloc.report.style import FIGURE_FORMATS, figure_format, save_figure
from avloc.report.timeline import timeline

__all__ = [
    "FIGURE_FORMATS",
    "attention_figure",
    "class_ap_figure",
    "confusion_figure",
    "diagnosis_figure",
    "figure_format",
    "mean_ap_figure",
    "result_html",
    "save_figure",
    "timeline",
    "training_figure",
]

"""Single figures. matplotlib is imported only when a figure is drawn.

timeline    ground truth, detections and activations of a video, for one or several models (as Figs. 2-5)
curves      mAP over t-IoU, AP per class, training curves, snippet confusion matrix
diagnosis   errors by rank, their cost in mAP, AP_N by kind of instance
attention   the cross-correlation matrix Λ with thumbnails
notebook    a result as HTML for notebooks
style       colours, sizes, file formats
"""

from avloc.figures.attention import attention_figure
from avloc.figures.curves import class_ap_figure, confusion_figure, mean_ap_figure, training_figure
from avloc.figures.diagnosis import diagnosis_figure
from avloc.figures.notebook import result_html
from avloc.figures.style import FIGURE_FORMATS, figure_format, save_figure
from avloc.figures.timeline import timeline

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

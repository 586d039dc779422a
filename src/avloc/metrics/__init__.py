"""Evaluation metrics as pure functions of detections and ground truth. numpy only.

Conventions
    Times are seconds; segments are half-open. Scores are fractions in [0, 1], never percent. A class without
    predictions scores 0 and stays in the mean; a class without ground truth is not in the mean.
    Column or index 0 of a class axis of size C+1 is background.
    Invalid input (a detection in an unknown video, a reversed segment, a NaN score) has a defined score and is counted
    by `detection_counts`; nothing is dropped silently.

Metrics
    t_iou                    temporal intersection over union of two lists of segments
    detection_scores         average precision per class and t-IoU threshold, ActivityNet's algorithm
    detection_counts         counts of invalid or unmatched input
    whole_video_detections   the trivial baseline: each true class over the whole video
    snippet_accuracy         argmax class per snippet against the true one, with both recalls and the confusion matrix
    event_f1                 runs of equal predicted class against true runs
    collar_f1                event F1 with collars on onset and offset, as sed_eval's
    open_vocabulary_scores   OV-AVEBench's accuracy, segment F1, event F1 and their mean
    calibration              expected calibration error and reliability diagram
    rasterise                ground truth in seconds -> class index per snippet
    diagnose                 error types, the mAP each costs, sensitivity to instance characteristics
    draw_videos, resampled_mean_ap, resampled_ratio, paired_difference
                             paired bootstrap over test videos: significance of a difference
    repeated_rows, empty_rows, touching_rows, without_videos
                             rows that OpenTAD, W-TALC and the ActivityNet toolkit remove beforehand
    wtalc_detection_map      W-TALC's own detection mAP, from activations, in snippets
    wtalc_classification_map W-TALC's own video-level mAP
    parsing_scores           LLP's segment- and event-level F1 for audio, visual and both
    video_average_precision  video-level classification; needs no boundaries, so training may use it

References
    ActivityNet: Caba Heilbron et al., "ActivityNet: a large-scale video benchmark for human activity understanding",
        CVPR 2015; `detection_scores` agrees with the toolkit's detection evaluator.
    AVE: Tian et al., "Audio-visual event localization in unconstrained videos", ECCV 2018 (snippet accuracy).
    AVVP: Tian et al., "Unified multisensory perception: weakly-supervised audio-visual video parsing", ECCV 2020
        (event-level F1 at IoU 0.5).
    VOC: Everingham et al., "The PASCAL visual object classes challenge: a retrospective", IJCV 2015 (the precision
        envelope of the 2010 and later challenges).
"""

from __future__ import annotations

from avloc.metrics.bootstrap import (
    Difference,
    draw_videos,
    paired_difference,
    resampled_mean_ap,
    resampled_ratio,
)
from avloc.metrics.calibration import CALIBRATION_BINS, Calibration, calibration, probabilities
from avloc.metrics.clean import empty_rows, repeated_rows, touching_rows, without_videos
from avloc.metrics.collars import COLLAR_S, OFFSET_SHARE, collar_f1
from avloc.metrics.detection import T_IOU_THRESHOLDS, detection_scores, whole_video_detections
from avloc.metrics.diagnosis import BINS, ERRORS, Diagnosis, Group, diagnose
from avloc.metrics.open_vocabulary import OpenVocabularyScores, open_vocabulary_scores
from avloc.metrics.overlap import t_iou
from avloc.metrics.parsing import LevelScores, ParsingScores, parsing_scores
from avloc.metrics.snippets import EventScores, SnippetScores, event_f1, rasterise, snippet_accuracy
from avloc.metrics.table import DetectionCounts, SegmentTable, detection_counts
from avloc.metrics.video import VideoScores, video_average_precision
from avloc.metrics.wtalc import WTALC_T_IOU, wtalc_classification_map, wtalc_detection_map

__all__ = [
    "BINS",
    "CALIBRATION_BINS",
    "COLLAR_S",
    "ERRORS",
    "OFFSET_SHARE",
    "T_IOU_THRESHOLDS",
    "WTALC_T_IOU",
    "Calibration",
    "DetectionCounts",
    "Diagnosis",
    "Difference",
    "EventScores",
    "Group",
    "LevelScores",
    "OpenVocabularyScores",
    "ParsingScores",
    "SegmentTable",
    "SnippetScores",
    "VideoScores",
    "calibration",
    "collar_f1",
    "detection_counts",
    "detection_scores",
    "diagnose",
    "draw_videos",
    "empty_rows",
    "event_f1",
    "open_vocabulary_scores",
    "paired_difference",
    "parsing_scores",
    "probabilities",
    "rasterise",
    "repeated_rows",
    "resampled_mean_ap",
    "resampled_ratio",
    "snippet_accuracy",
    "t_iou",
    "touching_rows",
    "video_average_precision",
    "whole_video_detections",
    "without_videos",
    "wtalc_classification_map",
    "wtalc_detection_map",
]

"""Everything on disk, in and out; one module a format. Importing it is light: h5py and others load when used."""

from __future__ import annotations

from avloc.formats.annotations import (
    AnnotationIssue,
    AnnotationReport,
    SegmentColumns,
    read_annotation_columns,
    read_annotations,
    write_annotations,
)
from avloc.formats.ave import AVE_BACKGROUND, AveData, read_ave, read_ave_audio
from avloc.formats.collection import Collection
from avloc.formats.detections import (
    read_detection_columns,
    read_detections,
    read_submission,
    videos_beside,
    write_segments_csv,
    write_segments_json,
)
from avloc.formats.features import FeatureStore, StoreDescription, load_features, save_features
from avloc.formats.labels import LabelRow, LabelTable, VideoMatch, match_videos, read_labels, write_labels
from avloc.formats.opening import open_collection
from avloc.formats.resample import resample

__all__ = [
    "AVE_BACKGROUND",
    "AnnotationIssue",
    "AnnotationReport",
    "AveData",
    "Collection",
    "FeatureStore",
    "LabelRow",
    "LabelTable",
    "SegmentColumns",
    "StoreDescription",
    "VideoMatch",
    "load_features",
    "match_videos",
    "open_collection",
    "read_annotation_columns",
    "read_annotations",
    "read_ave",
    "read_ave_audio",
    "read_detection_columns",
    "read_detections",
    "read_labels",
    "read_submission",
    "resample",
    "save_features",
    "videos_beside",
    "write_annotations",
    "write_labels",
    "write_segments_csv",
    "write_segments_json",
]

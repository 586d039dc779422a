"""Reports for visual inspection.

page     the interactive page, as files
serve    the page served on this machine, with corrections saved
plots    all figures of a run, as files
clips    short clips for manual review
sources  where the parts of a result are: detections, the trained run, features, videos, ground truth
"""

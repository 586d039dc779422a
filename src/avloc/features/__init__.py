"""A folder of videos to a folder of features: skip what is done, name what failed, lose nothing when killed.

work.py      one video: extract, save, and the row of the manifest that says how it went
spread.py    many videos over processes; a process that dies costs its video
cluster.py   many videos over a Ray cluster
layout.py    how features lie in a folder: ours, or the field's .npy files
manifest.py  the table of all videos, and failures.csv
folder.py    extract_all, which composes these
"""

from __future__ import annotations

from avloc.features.folder import Plan, Summary, extract_all, parse_shard, plan_all
from avloc.features.layout import load_npy
from avloc.features.manifest import Row, read_manifest
from avloc.features.task import check_options, extract_one
from avloc.formats.failures import Failure, write_failures

__all__ = [
    "Failure",
    "Plan",
    "Row",
    "Summary",
    "check_options",
    "extract_all",
    "extract_one",
    "load_npy",
    "parse_shard",
    "plan_all",
    "read_manifest",
    "write_failures",
]

"""The whole job: labelled videos -> features -> trained model -> detections -> page. `avloc run` and the demo use it.

steps    the job, step by step
memory   job.json: what the last run was made from, so that the next one does what has changed and names it
"""

from __future__ import annotations

from avloc.workflow.steps import Workflow, WorkflowResult, match_labels

__all__ = ["Workflow", "WorkflowResult", "match_labels"]

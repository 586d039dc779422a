"""Quality benchmarks: `python -m benchmarks.quality COMMAND --help`."""

from benchmarks.console import run_command

MODULES = {
    "table": "comparison",
    "collapse": "comparison",
    "calibration": "calibration",
    "recipe": "recipe",
    "simulated": "simulated",
    "demo": "demo",
    "learning-curve": "curve",
    "zero-shot": "zero_shot",
    "drafts": "drafts",
    "teach": "teach",
}

if __name__ == "__main__":
    run_command("benchmarks.quality", MODULES)

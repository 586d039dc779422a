"""Reliability benchmarks: `python -m benchmarks.reliability COMMAND --help`."""

from benchmarks.console import run_command
from benchmarks.reliability import hostile_media

if __name__ == "__main__":
    run_command("benchmarks.reliability", (hostile_media,))

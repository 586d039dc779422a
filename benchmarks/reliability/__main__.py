"""Reliability benchmarks: `python -m benchmarks.reliability COMMAND --help`."""

from benchmarks.console import run_command

if __name__ == "__main__":
    names = ("hostile-files", "hostile-media", "media-variants", "soak")
    run_command("benchmarks.reliability", {name: name.replace("-", "_") for name in names})

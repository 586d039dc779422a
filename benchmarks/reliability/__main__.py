"""Reliability benchmarks: `python -m benchmarks.reliability COMMAND --help`."""

from benchmarks.console import run_command

if __name__ == "__main__":
    run_command("benchmarks.reliability", {"hostile-media": "hostile_media", "media-variants": "media_variants"})

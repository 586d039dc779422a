"""Quality benchmarks: `python -m benchmarks.quality COMMAND --help`."""

from benchmarks.console import run_command
from benchmarks.quality import comparison, demo, recipe, simulated

MODULES = (comparison, recipe, simulated, demo)

if __name__ == "__main__":
    run_command("benchmarks.quality", MODULES)

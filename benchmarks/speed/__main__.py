"""Speed benchmarks: `python -m benchmarks.speed COMMAND --help`."""

from benchmarks.console import run_command

MODULES = {
    "all": "bench",
    "compare": "bench",
    "train-step": "training",
    "distributed": "training",
    "memory": "training",
    "long-videos": "localization",
    "serve": "localization",
    "extraction": "extraction",
    "decoding": "components",
    "evaluation": "components",
    "scale": "components",
    "gpu": "gpu",
}

if __name__ == "__main__":
    run_command("benchmarks.speed", MODULES)

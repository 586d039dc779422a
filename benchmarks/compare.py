"""Compare two results of `make bench`: which ratios fell by more than 15 percent?

    python benchmarks/compare.py OLD.json NEW.json [--tolerance 0.15]

Only ratios are compared: both sides of one were measured in the same run, so a slower machine does not matter. Exit
code 1 when one fell, or when one that was there is gone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path


def fallen(old: Mapping[str, float], new: Mapping[str, float], tolerance: float = 0.15) -> dict[str, str]:
    """{ratio: what happened} of those that fell by more than `tolerance` of what they were, or are gone."""
    found = {}
    for name, before in old.items():
        if name not in new:
            found[name] = f"{before:.3f} -> gone"
        elif new[name] < (1 - tolerance) * before:
            found[name] = f"{before:.3f} -> {new[name]:.3f} ({new[name] / before - 1:+.0%})"
    return found


def ratios(path: Path) -> dict[str, float]:
    """{"benchmark: ratio": value} of a file that `make bench` wrote."""
    results = json.loads(path.read_text(encoding="utf-8"))
    return {f"{name}: {key}": value for name, result in results.items() for key, value in result["ratios"].items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--tolerance", type=float, default=0.15)
    args = parser.parse_args()
    old, new = ratios(args.old), ratios(args.new)
    found = fallen(old, new, args.tolerance)
    for name, what in found.items():
        print(f"{name}: {what}")
    print(f"{len(found)} of {len(old)} ratios fell by more than {args.tolerance:.0%} or are gone")
    raise SystemExit(bool(found))


if __name__ == "__main__":
    main()

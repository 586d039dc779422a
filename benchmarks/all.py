"""Every speed benchmark, one after the other, into one JSON file; `make bench` calls this.

    python benchmarks/all.py OUT.json [--quick] [--only train_step serve]

Each runs in a process of its own. Compare two such files with benchmarks/compare.py.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
BENCHMARKS = ("train_step", "long_videos", "serve", "distributed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--quick", action="store_true", help="small sizes: do they run at all?")
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=BENCHMARKS)
    args = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory(prefix="avloc-bench-") as folder:
        for name in args.only:
            began, found = time.perf_counter(), Path(folder) / f"{name}.json"
            command = [sys.executable, str(HERE / f"{name}.py"), "--json", str(found)]
            subprocess.run(command + ["--quick"] * args.quick, check=True)
            results |= json.loads(found.read_text(encoding="utf-8"))
            args.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
            print(f"\n{name} took {time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()

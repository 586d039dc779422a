"""Does training ever collapse? Many seeds of every preset but `paper`; exit code 1 when one does.

    python benchmarks/collapse.py --sets ../shared/bench/long ../shared/bench/ave10 -o quality --seeds 20 --jobs 2

A run has collapsed when less than 5 % of the test's background snippets are called background, when less than 5 % of
its foreground snippets get their class, or when there is a NaN. Sets and options are those of benchmarks/quality.py,
whose runs are used when the output folder is the same. Presets keep all of their settings but d_x, steps, learning rate
and how often they validate (four times), which are alike for all of them: their own (25,000 steps and more) would take
days. Presets that differ in nothing else are one run. `paper` is left out: that its readings collapse is known.

Leaves collapse.json in the output folder.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence

from avloc.cli.console import Talk
from avloc.presets import PRESETS, RIVALS
from avloc.system.atomic import atomic_write
from quality_models import Answer, Model, config_of, decoder
from quality_report import text_table
from quality_run import add_options, compute_missing, overrides_of
from quality_sets import open_set

FLOOR = 0.05
RECALLS = ("background recall", "foreground recall")


def fate(answer: Answer) -> str:
    """What went wrong with a run, in words; "" for a sound one."""
    facts = answer.facts
    if facts is None:
        return "no result"
    scores = facts["scores"]
    if scores.get("finite", 0.0) < 1:
        return "NaN in its answers"
    low = [name for name in RECALLS if scores[name] < FLOOR]  # NaN, where the set has no such snippet, is not below
    return " and ".join(f"{name} {100 * scores[name]:.1f} %" for name in low)


def line_of(where: str, answers: Sequence[Answer]) -> list[str]:
    """Lowest and mean recalls over the seeds, and how many runs are not sound."""
    found = [facts["scores"] for answer in answers if (facts := answer.facts) is not None]
    cells = [where, str(len(found))]
    for name in RECALLS:
        values = [s[name] for s in found if not math.isnan(s[name])]
        cells.append(f"{100 * min(values):.1f} / {100 * sum(values) / len(values):.1f}" if values else "-")
    return [*cells, str(sum(bool(fate(answer)) for answer in answers))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    names = [name for name in PRESETS if name not in ("paper", *RIVALS)]
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="PRESET")
    given = parser.parse_args()
    talk = Talk()
    overrides = {"train.eval_every": max(1, given.steps // 4), **overrides_of(given)}
    runs: dict[str, list[Answer]] = {}
    for folder in given.sets:
        data = open_set(folder, given.out)
        for name in given.only:
            configs = [config_of(name, {}, overrides, seed) for seed in range(given.seeds)]
            models = [Model(data, config, given.out) for config in configs]
            runs[f"{data.name}, {name}"] = [Answer(data, model, decoder("ours"), given.out) for model in models]
    named = {f"{where}, seed {k}": answer for where, answers in runs.items() for k, answer in enumerate(answers)}
    failed = [] if given.report_only else compute_missing(named, given.jobs, talk)
    head = ["set, preset", "runs", *(f"{name}, lowest / mean" for name in RECALLS), "collapsed"]
    talk.say(text_table(head, [line_of(where, answers) for where, answers in runs.items()]))
    bad = [f"{name}: {reason}" for name, answer in named.items() if (reason := fate(answer))]
    facts = {"collapsed": bad, "scores": {name: a.facts["scores"] for name, a in named.items() if a.facts}}
    atomic_write(given.out / "collapse.json", json.dumps(facts, indent=1) + "\n")
    for sentence in dict.fromkeys([*failed, *bad]):
        talk.err.print(sentence, markup=False, soft_wrap=True)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()

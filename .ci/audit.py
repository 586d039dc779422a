"""What is known against the packages that are installed here, beside what was looked at and accepted.

    python .ci/audit.py PIP_AUDIT [--strict]        (`make audit` calls it)

pip-audit asks the advisory database of PyPI. Where that cannot be reached it finds nothing to say against anything; so
an old release with a well-known hole is asked about first, and if nothing is said against that either, nothing was
audited.

Exit code 1: an advisory that advisories.toml does not accept, or no longer. With --strict 3: nothing was audited, or
not all. Else 0.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

BASELINE = Path(__file__).with_name("advisories.toml")
CANARY = "requests==2.19.0"
"""Of 2018: it sends passwords to other hosts (CVE-2018-18074)."""

NEW, NOT_AUDITED = 1, 3


@dataclass(frozen=True)
class Accepted:
    """An advisory that was looked at: it does not concern us, or not before `until`."""

    id: str
    package: str
    reason: str
    since: date
    until: date


@dataclass(frozen=True)
class Verdict:
    """A report beside the baseline; each a line for a person.

    Args:
        new: advisories that nobody accepted, or whose acceptance has ended.
        gone: accepted ones that the report does not know: to be removed.
        unknown: packages that the database does not have.
        audited: how many packages it has.
    """

    new: tuple[str, ...]
    gone: tuple[str, ...]
    unknown: tuple[str, ...]
    audited: int


def read_baseline(path: Path) -> tuple[Accepted, ...]:
    """Entries of [[accepted]]. ValueError for one without a reason or dates, or accepted for more than a year."""
    rows = tomllib.loads(path.read_text(encoding="utf-8")).get("accepted", [])
    try:
        found = tuple(Accepted(**row) for row in rows)
    except TypeError as error:
        raise ValueError(f"{path}: an entry has id, package, reason, since, until ({error})") from error
    for entry in found:
        if not entry.reason.strip() or not 0 < (entry.until - entry.since).days <= 366:
            raise ValueError(f"{path}: {entry.id}: expected a reason, and an end within a year")
    return found


def compare(report: Mapping[str, Any], accepted: Sequence[Accepted], today: date) -> Verdict:
    """What a report of `pip-audit --format json` says, beside what is accepted."""
    known = {(name(entry.package), entry.id): entry for entry in accepted}
    new: list[str] = []
    met: set[str] = set()
    for package in report["dependencies"]:
        for found in package.get("vulns", ()):
            ids = (found["id"], *found.get("aliases", ()))
            entry = next((e for each in ids if (e := known.get((name(package["name"]), each)))), None)
            met |= {entry.id} if entry else set()
            if entry is None or entry.until < today:
                mended = ", ".join(found.get("fix_versions", ())) or "no release"
                ended = f"; was accepted until {entry.until}" if entry else ""
                new.append(f"{package['name']} {package['version']}: {' = '.join(ids)}, mended in {mended}{ended}")
    return Verdict(
        tuple(new),
        tuple(f"{e.package}: {e.id} is not reported any more" for e in accepted if e.id not in met),
        tuple(p["name"] for p in report["dependencies"] if "skip_reason" in p),
        sum("skip_reason" not in p for p in report["dependencies"]),
    )


def name(package: str) -> str:
    """As the index spells it."""
    return package.lower().replace("_", "-").replace(".", "-")


def installed() -> list[str]:
    """Requirements of what is installed here, but ourselves; without local parts of versions (+cpu)."""
    found = {name(d.metadata["Name"]): d.version.partition("+")[0] for d in distributions()}
    return [f"{package}=={version}" for package, version in sorted(found.items()) if package != "avloc"]


def ask(pip_audit: str, requirements: Sequence[str]) -> dict[str, Any] | None:
    """pip-audit's report on pinned requirements; None when it could not make one."""
    with tempfile.TemporaryDirectory() as folder:
        pins, answer = Path(folder) / "pins.txt", Path(folder) / "answer.json"
        pins.write_text("\n".join(requirements) + "\n", encoding="utf-8")
        command = [pip_audit, "--requirement", str(pins), "--no-deps", "--disable-pip", "--progress-spinner", "off"]
        command += ["--format", "json", "--output", str(answer)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        try:
            return json.loads(answer.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            print((done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1][:400], file=sys.stderr)
            return None


def audit(pip_audit: str, strict: bool, today: date) -> int:
    """Ask and say; the exit code."""
    canary = ask(pip_audit, [CANARY])
    if canary is None or not compare(canary, (), today).new:
        print(f"NOT AUDITED: the advisory database cannot be reached (it has nothing to say against {CANARY})")
        return NOT_AUDITED if strict else 0
    report = ask(pip_audit, installed())
    if report is None:
        print("NOT AUDITED: pip-audit made no report")
        return NOT_AUDITED if strict else 0
    verdict = compare(report, read_baseline(BASELINE), today)
    for line in verdict.gone:
        print(f"remove from {BASELINE.name}: {line}")
    for line in verdict.new:
        print(f"new: {line}")
    print(f"{verdict.audited} packages audited, {len(verdict.new)} advisories are new")
    if verdict.unknown:
        print(f"NOT AUDITED: the database does not have {', '.join(verdict.unknown)}")
    return NEW if verdict.new else NOT_AUDITED if strict and verdict.unknown else 0


if __name__ == "__main__":
    sys.exit(audit(sys.argv[1], "--strict" in sys.argv[2:], date.today()))

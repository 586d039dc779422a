"""Audit the installed packages against PyPI's advisory database, except for accepted advisories.

    python .ci/audit.py PIP_AUDIT [--strict]        (`make audit` calls it)

When the database cannot be reached, pip-audit reports no advisories. So an old release with a known vulnerability is
checked first; if it is not reported, nothing was audited.

Exit code 1: an advisory that advisories.toml does not accept, or no longer accepts. With --strict, 3: not all packages
were audited. Otherwise 0.
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
"""Released in 2018; leaks credentials to other hosts (CVE-2018-18074)."""

NEW, NOT_AUDITED = 1, 3


@dataclass(frozen=True)
class Accepted:
    """An advisory that was reviewed and is accepted until a date."""

    id: str
    package: str
    reason: str
    since: date
    until: date


@dataclass(frozen=True)
class Verdict:
    """A report compared with the baseline.

    Args:
        new: messages about advisories that are not accepted, or whose acceptance has expired.
        gone: messages about accepted advisories that are no longer reported.
        unknown: packages that are not in the database.
        audited: number of packages in the database.
    """

    new: tuple[str, ...]
    gone: tuple[str, ...]
    unknown: tuple[str, ...]
    audited: int


def read_baseline(path: Path) -> tuple[Accepted, ...]:
    """Entries of [[accepted]]. ValueError for one without reason or dates, or accepted for more than a year."""
    rows = tomllib.loads(path.read_text(encoding="utf-8")).get("accepted", [])
    try:
        found = tuple(Accepted(**row) for row in rows)
    except TypeError as error:
        raise ValueError(f"{path}: an entry needs id, package, reason, since, until ({error})") from error
    for entry in found:
        if not entry.reason.strip() or not 0 < (entry.until - entry.since).days <= 366:
            raise ValueError(f"{path}: {entry.id}: expected a reason, and an end date within a year")
    return found


def compare(report: Mapping[str, Any], accepted: Sequence[Accepted], today: date) -> Verdict:
    """Compare a report of `pip-audit --format json` with the accepted advisories."""
    known = {(name(entry.package), entry.id): entry for entry in accepted}
    new: list[str] = []
    reported: set[str] = set()
    for package in report["dependencies"]:
        for found in package.get("vulns", ()):
            ids = (found["id"], *found.get("aliases", ()))
            entry = next((e for each in ids if (e := known.get((name(package["name"]), each)))), None)
            reported |= {entry.id} if entry else set()
            if entry is None or entry.until < today:
                fixed = ", ".join(found.get("fix_versions", ())) or "no release"
                ended = f"; was accepted until {entry.until}" if entry else ""
                new.append(f"{package['name']} {package['version']}: {' = '.join(ids)}, fixed in {fixed}{ended}")
    return Verdict(
        tuple(new),
        tuple(f"{e.package}: {e.id} is no longer reported" for e in accepted if e.id not in reported),
        tuple(p["name"] for p in report["dependencies"] if "skip_reason" in p),
        sum("skip_reason" not in p for p in report["dependencies"]),
    )


def name(package: str) -> str:
    """Normalized package name."""
    return package.lower().replace("_", "-").replace(".", "-")


def installed() -> list[str]:
    """Pinned requirements of all installed packages but avloc, without local version parts (+cpu)."""
    found = {name(d.metadata["Name"]): d.version.partition("+")[0] for d in distributions()}
    return [f"{package}=={version}" for package, version in sorted(found.items()) if package != "avloc"]


def ask(pip_audit: str, requirements: Sequence[str]) -> dict[str, Any] | None:
    """pip-audit's report on pinned requirements; None when it failed."""
    with tempfile.TemporaryDirectory() as folder:
        pins, answer = Path(folder) / "pins.txt", Path(folder) / "answer.json"
        pins.write_text("\n".join(requirements) + "\n", encoding="utf-8")
        command = [pip_audit, "--requirement", str(pins), "--no-deps", "--disable-pip", "--progress-spinner", "off"]
        command += ["--format", "json", "--output", str(answer)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        try:
            return json.loads(answer.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            print(
                (done.stderr.strip().splitlines() or ["pip-audit failed without a message"])[-1][:400], file=sys.stderr
            )
            return None


def audit(pip_audit: str, strict: bool, today: date) -> int:
    """Run the audit, print the result and return the exit code."""
    canary = ask(pip_audit, [CANARY])
    if canary is None or not compare(canary, (), today).new:
        print(f"NOT AUDITED: the advisory database cannot be reached (it reports nothing for {CANARY})")
        return NOT_AUDITED if strict else 0
    report = ask(pip_audit, installed())
    if report is None:
        print("NOT AUDITED: pip-audit failed")
        return NOT_AUDITED if strict else 0
    verdict = compare(report, read_baseline(BASELINE), today)
    for line in verdict.gone:
        print(f"remove from {BASELINE.name}: {line}")
    for line in verdict.new:
        print(f"new: {line}")
    print(f"packages audited: {verdict.audited}, new advisories: {len(verdict.new)}")
    if verdict.unknown:
        print(f"NOT AUDITED: not in the database: {', '.join(verdict.unknown)}")
    return NEW if verdict.new else NOT_AUDITED if strict and verdict.unknown else 0


if __name__ == "__main__":
    sys.exit(audit(sys.argv[1], "--strict" in sys.argv[2:], date.today()))

"""`make audit`: reports compared with accepted advisories; an empty answer does not count as a clean audit."""

from __future__ import annotations

import importlib.util
import json
import sys
from datetime import date
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
_spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
assert _spec is not None
assert _spec.loader is not None
audit = importlib.util.module_from_spec(_spec)
sys.modules["audit"] = audit
_spec.loader.exec_module(audit)

TODAY = date(2027, 1, 1)
HOLE = {"id": "PYSEC-1", "fix_versions": ["2.0"], "aliases": ["CVE-1"], "description": "long"}
REPORT = {
    "dependencies": [
        {"name": "Good", "version": "1.0", "vulns": []},
        {"name": "bad_one", "version": "1.0", "vulns": [HOLE]},
        {"name": "worse", "version": "3", "vulns": [{"id": "GHSA-9", "fix_versions": []}]},
        {"name": "ours", "skip_reason": "Dependency not found on PyPI"},
    ],
    "fixes": [],
}
CANARY = {"dependencies": [{"name": "requests", "version": "2.19.0", "vulns": [HOLE]}], "fixes": []}


def accepted(id: str = "PYSEC-1", package: str = "bad-one", until: date = date(2027, 5, 1)) -> object:
    return audit.Accepted(id, package, "does not concern us", date(2026, 11, 24), until)


def test_what_nobody_accepted_is_new() -> None:
    verdict = audit.compare(REPORT, (), TODAY)
    assert verdict.new == (
        "bad_one 1.0: PYSEC-1 = CVE-1, fixed in 2.0",
        "worse 3: GHSA-9, fixed in no release",
    )
    assert (verdict.unknown, verdict.audited) == (("ours",), 3)


@pytest.mark.parametrize("id", ["PYSEC-1", "CVE-1"])
def test_what_is_accepted_is_not_new_under_any_of_its_names(id: str) -> None:
    verdict = audit.compare(REPORT, (accepted(id),), TODAY)
    assert [line[:5] for line in verdict.new] == ["worse"]
    assert verdict.gone == ()


def test_an_acceptance_is_of_one_package_ends_and_is_removed_when_it_is_over() -> None:
    assert len(audit.compare(REPORT, (accepted(package="good"),), TODAY).new) == 2
    ended = audit.compare(REPORT, (accepted(until=date(2026, 12, 31)),), TODAY)
    assert ended.new[0].endswith("was accepted until 2026-12-31")
    assert audit.compare(REPORT, (accepted("PYSEC-7"),), TODAY).gone == ("bad-one: PYSEC-7 is no longer reported",)


def test_the_baseline_can_be_read_and_its_example_is_an_entry(tmp_path: Path) -> None:
    assert audit.read_baseline(audit.BASELINE) == ()
    lines = audit.BASELINE.read_text(encoding="utf-8").splitlines()
    example = "\n".join(line.removeprefix("#").strip() for line in lines if line.startswith("#     "))
    (tmp_path / "b.toml").write_text(example, encoding="utf-8")
    (entry,) = audit.read_baseline(tmp_path / "b.toml")
    assert (entry.id, entry.until) == ("PYSEC-2026-1", date(2027, 5, 24))
    for bad in (example.replace("2027-05-24", "2028-05-24"), example.replace("reason", "x"), example + "\nmore = 1"):
        (tmp_path / "b.toml").write_text(bad, encoding="utf-8")
        with pytest.raises(ValueError, match=r"expected a reason, and an end|an entry needs id"):
            audit.read_baseline(tmp_path / "b.toml")


def test_what_is_installed_is_asked_about_but_not_ourselves() -> None:
    pins = dict(pin.split("==") for pin in audit.installed())
    assert pins.keys() >= {"numpy", "torch", "av"}
    assert "avloc" not in pins
    assert "+" not in "".join(pins.values())


def pretended(tmp_path: Path, canary: object, report: object) -> str:
    """A fake pip-audit with these reports."""
    (tmp_path / "answers.json").write_text(json.dumps({"canary": canary, "report": report}))
    program = tmp_path / "pip-audit"
    program.write_text(
        f"#!{sys.executable}\nimport json, sys\nfrom pathlib import Path\n"
        "word = dict(zip(sys.argv[1:], sys.argv[2:]))\n"
        f"answers = json.loads(Path({str(tmp_path / 'answers.json')!r}).read_text())\n"
        f"first = Path(word['--requirement']).read_text() == {audit.CANARY!r} + chr(10)\n"
        "answer = answers['canary' if first else 'report']\n"
        "if answer is None:\n    sys.exit('no route to host')\n"
        "Path(word['--output']).write_text(json.dumps(answer))\n"
        "sys.exit(1)\n"
    )
    program.chmod(0o755)
    return str(program)


SILENT = {"dependencies": [{"name": "requests", "skip_reason": "Dependency not found on PyPI"}], "fixes": []}
CLEAN = {"dependencies": [{"name": "good", "version": "1.0", "vulns": []}], "fixes": []}


@pytest.mark.parametrize(
    ("canary", "report", "codes", "said"),
    [
        (CANARY, CLEAN, (0, 0), "packages audited: 1, new advisories: 0"),
        (CANARY, REPORT, (1, 1), "new: bad_one 1.0: PYSEC-1"),
        (CANARY, SILENT, (0, 3), "NOT AUDITED: not in the database: requests"),
        (CANARY, None, (0, 3), "NOT AUDITED: pip-audit failed"),
        (SILENT, CLEAN, (0, 3), "NOT AUDITED: the advisory database cannot be reached"),
        (None, CLEAN, (0, 3), "NOT AUDITED: the advisory database cannot be reached"),
    ],
)
def test_silence_is_no_good_answer(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    canary: object,
    report: object,
    codes: tuple[int, int],
    said: str,
) -> None:
    program = pretended(tmp_path, canary, report)
    assert (audit.audit(program, False, TODAY), audit.audit(program, True, TODAY)) == codes
    assert said in capsys.readouterr().out

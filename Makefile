# Targets for developers and CI, also named in the README. Requires Python 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
AUDIT := .venv-audit

# Tests of what the libraries underneath do, in a few minutes; and what they need beside avloc's own requirements.
LIBRARY_TESTS := $(addprefix tests/test_,dependencies.py arguments.py config.py encode.py media.py media_clock.py streams.py formats.py \
    guard.py train_steps.py exports.py cli.py look.py)
EXTRAS := media,pretrained,report,tb,frames,export
TEST_TOOLS := pytest hypothesis beartype scipy pympi-ling webvtt-py pysubs2 OpenTimelineIO

.PHONY: demo test test-all check check-floors check-newest bench audit docs demo-page format lint types install clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "avloc needs Python 3.11 or newer; choose it with make PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

demo: install
	$(BIN)/avloc demo demo-out

test: install
	$(BIN)/python -m pytest -n 2

test-all: install
	$(BIN)/python -m pytest -n 2 -m ''

check: install  # mypy keeps one core busy for minutes where it has no cache; the tests, which wait at times, run beside it
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy & types=$$!; $(BIN)/python -m pytest -n 2; tests=$$?; wait $$types && exit $$tests

# The lowest permitted releases of all libraries, and the newest; `make check-newest PYTHON=python3.13`.
check-floors:
	test -x .venv-floors/bin/python || $(PYTHON) -m venv .venv-floors
	.venv-floors/bin/python -m pip install --quiet --constraint constraints-floors.txt torch
	.venv-floors/bin/python -m pip install --quiet --constraint constraints-floors.txt --editable '.[$(EXTRAS)]' $(TEST_TOOLS)
	.venv-floors/bin/python -m pytest -W default $(LIBRARY_TESTS)

check-newest:
	test -x .venv-newest/bin/python || $(PYTHON) -m venv .venv-newest
	.venv-newest/bin/python -m pip install --quiet --upgrade torch
	.venv-newest/bin/python -m pip install --quiet --upgrade --editable '.[$(EXTRAS)]' $(TEST_TOOLS)
	.venv-newest/bin/python -m pytest $(LIBRARY_TESTS)

docs: install
	$(BIN)/mkdocs build --strict --quiet

demo-page: install
	$(BIN)/python docs/make_demo_page.py docs/demo

bench: install
	$(BIN)/python -m benchmarks.speed all bench.json

# Audit the installed packages; STRICT=--strict also fails when the advisory database cannot be reached.
audit: install $(AUDIT)/.installed
	$(BIN)/python .ci/audit.py $(AUDIT)/bin/pip-audit $(STRICT)

$(AUDIT)/.installed: Makefile
	test -x $(AUDIT)/bin/python || $(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet pip-audit==2.10.1
	touch $@

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .venv-floors .venv-newest $(AUDIT) demo-out site

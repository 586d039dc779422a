# Targets for developers and CI, also named in the README. Requires Python 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
AUDIT := .venv-audit

.PHONY: demo test test-all check bench audit format lint types install clean

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

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2

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
	rm -rf $(VENV) $(AUDIT) demo-out

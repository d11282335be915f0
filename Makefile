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
# The tests that `make package` runs on the wheel: what a file that is missing in it would break.
WHEEL_TESTS := tests/unit tests/tooling/test_public.py tests/request/test_interface.py \
	tests/admin/test_cli_users.py tests/devices/test_devices_failure.py

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check --no-input
CHECKED := flask_redis_session tests

.DEFAULT_GOAL := help
.PHONY: help demo test test-cluster soak matrix check format bench flask-suite neighbours coverage docs \
	package clean

help:
	@echo "make demo         serve the demo on http://127.0.0.1:5000"
	@echo "make test         run the tests, on servers they start themselves"
	@echo "make test-cluster run them on a cluster of three primaries"
	@echo "make soak         run the tests that take minutes, one after another: half an hour"
	@echo "make matrix       run the tests with every pair of a server, a client and its options"
	@echo "make check        check format, style, types and workflows"
	@echo "make bench        run the benchmarks"
	@echo "make flask-suite  run Flask's own tests on these sessions"
	@echo "make neighbours   run other projects' own tests with Flask's sessions and with these"
	@echo "make coverage     run the tests, and fail if they leave out a line or a branch"
	@echo "make docs         build the site into docs/_build/html, and check its links"
	@echo "make package      build sdist and wheel into dist, check them, and test the wheel"
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
	$(BIN)/zizmor --offline --quiet .github

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.bench
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

# Always from scratch: a page that was not read again would not warn again.
docs: $(VENV)/.dev
	@$(BIN)/python -m sphinx --fresh-env --write-all --fail-on-warning --keep-going --quiet \
		-b html docs docs/_build/html
	@echo "The site is in docs/_build/html"

package: $(VENV)/.dev
	@rm -rf dist
	@$(BIN)/python -m build --no-isolation >/dev/null
	@$(BIN)/python -m twine check --strict dist/*
	@.ci/test-wheel $(BIN)/python -q -n $(WORKERS) $(or $(PYTEST_ARGS),$(WHEEL_TESTS))

clean:
	rm -rf $(VENV) docs/_build .matrix build dist .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
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

$(VENV)/.bench: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing what the benchmarks compare with into $(VENV)"
	@$(PIP) install -c constraints.txt -e ".[benchmarks]"
	@touch $(VENV)/.demo $(VENV)/.dev $@

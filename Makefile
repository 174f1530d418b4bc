# The two commands of a newcomer are `make quickstart` and `make test`; CI runs `make lint` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: quickstart test test-all lint format docs performance performance-training mutation clean

quickstart: .venv/base.stamp
	$(BIN)/rlaif train quickstart

test: .venv/test.stamp
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal

# Also kills processes at each of their events, not at some: it takes much longer.
test-all: .venv/test.stamp
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal -m ""

lint: .venv/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/test.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The site is build/site/index.html; its warnings are errors.
docs: .venv/test.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

performance: .venv/test.stamp
	HF_HUB_OFFLINE=1 $(BIN)/python performance/startup.py
	$(BIN)/python performance/streaming.py
	HF_HUB_OFFLINE=1 $(BIN)/python performance/classifier.py
	$(BIN)/python performance/remote.py

# The last trains six models, and needs ../shared. performance/ppo.py is not here: it needs environments of TRL's.
performance-training: .venv/test.stamp
	HF_HUB_OFFLINE=1 $(BIN)/python -m performance.overlap
	HF_HUB_OFFLINE=1 $(BIN)/python -m performance.evaluate
	HF_HUB_OFFLINE=1 $(BIN)/python -m performance.scaling
	HF_HUB_OFFLINE=1 $(BIN)/python -m performance.detox

# Tries the mutants that have no line in performance/results/mutation.jsonl yet; its --again also tries those that survived.
mutation: .venv/test.stamp
	$(PIP) 'cosmic-ray>=8.7,<9'
	$(BIN)/python -m performance.mutation

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "rlaif needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv

# torch goes first and pinned: asked for by another package, pip would take its newest release.
.venv/base.stamp: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) torch
	$(PIP) --editable .
	@touch $@

.venv/test.stamp: .venv/base.stamp
	$(PIP) --editable '.[test,docs]'
	@touch $@

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache

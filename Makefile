# One word each. Everything is installed into .venv; nothing else of the machine is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SEEDS ?= 3000

.PHONY: demo test check prove lint types layers docs bench help
.DEFAULT_GOAL := help

help:  ## these words
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(VENV)/local  ## classify 240 real articles with a real model through our own batch server
	$(BIN)/python demo/demo.py

test: $(VENV)/dev  ## every test
	$(BIN)/python -m pytest

check: lint types layers docs test  ## all that must hold

prove: $(VENV)/dev  ## thousands of histories, and real kills of the real command (SEEDS=3000)
	$(BIN)/python -m overnight.testing.prove --seeds $(SEEDS)

lint: $(VENV)/dev  ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev  ## mypy --strict
	$(BIN)/mypy

layers: $(VENV)/dev  ## who may import whom
	$(BIN)/lint-imports --no-logo

docs: $(VENV)/dev  ## write the generated docs, or say which are stale (CI=true)
	$(BIN)/python docs/generate.py $(if $(CI),--check)

bench: $(VENV)/dev  ## speed and memory beside the floor of the same run
	$(BIN)/python bench/run.py

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'

$(VENV)/local: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[local]'
	@touch $@

$(VENV)/dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[local,parquet,pydantic]' --group dev
	@touch $@

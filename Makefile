# make demo: the main job on a dataset that needs no download. make test: the tests. Both make .venv first.
PYTHON ?= python3
BIN := .venv/bin
OUTPUTS ?= outputs
export TDATTR_OUTPUTS := $(OUTPUTS)

.PHONY: install demo test lint clean

install: .venv/installed

.venv/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

demo: install
	$(BIN)/tdattr -m experiment=demo method=random,pixel,mucs $(DEMO)
	$(BIN)/tdattr-report

test: install
	$(BIN)/python -m pytest

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv build dist

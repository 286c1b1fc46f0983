# make demo: the main job on a dataset that needs no download. make test: all tests. make test-fast: those that take no
# more than 90 seconds on two cores. All make .venv first.
PYTHON ?= python3
BIN := .venv/bin
OUTPUTS ?= outputs
WORKERS ?= 2
export TDATTR_OUTPUTS := $(OUTPUTS)

# a file of tests stays with one worker, so that what its tests share is made once
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile

.PHONY: install demo test test-fast lint clean

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
	$(PYTEST)

test-fast: install
	$(PYTEST) -m "not e2e and not slow"

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv build dist

# make demo: the main job on a dataset that needs no download. make test: all tests. make test-fast: those that take
# about two minutes on two cores. make docs: the documentation as a site, its links checked. make schemas: what editors
# know of the YAML files, after a change of conf or of a config node. make shell: a shell in which `tdattr` is a command.
# All make .venv first.
# CPU=1: PyTorch without CUDA (Linux and Windows), 2 GB instead of 7.
PYTHON ?= python3
BIN := .venv/bin
OUTPUTS ?= outputs
WORKERS ?= 2
export TDATTR_OUTPUTS := $(OUTPUTS)

# a file of tests stays with one worker, so that what its tests share is made once
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile

# PyTorch's own builds without CUDA; they need none of the packages of NVIDIA's that PyPI's build asks for
CPU_WHEELS ?= https://download.pytorch.org/whl/cpu
CUDA_PACKAGES = ^(nvidia|cuda|triton)

.PHONY: install shell demo test test-fast lint schemas docs clean

install: .venv/installed

.venv/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
ifdef CPU
	@echo "Installing into .venv: about 0.6 GB to download, 2 GB on the disk."
	grep -E "^torch(vision)?==" requirements.txt > .venv/torch.txt
	grep -v -E "$(CUDA_PACKAGES)" requirements.txt > .venv/requirements.txt
	$(BIN)/python -m pip install --index-url $(CPU_WHEELS) --requirement .venv/torch.txt
	$(BIN)/python -m pip install --requirement .venv/requirements.txt
else
	@echo "Installing into .venv: about 3 GB to download, 7 GB on the disk; on a machine without a GPU, make CPU=1 takes less."
	$(BIN)/python -m pip install --requirement requirements.txt
endif
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

shell: install
	@echo "tdattr is a command here; leave with exit. (In a shell of your own: . .venv/bin/activate)"
	@PATH="$(CURDIR)/$(BIN):$$PATH" VIRTUAL_ENV="$(CURDIR)/.venv" $${SHELL:-bash}

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

schemas: install
	$(BIN)/python -m tdattr.schemas

docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "The documentation: build/site/index.html"

clean:
	rm -rf .venv build dist

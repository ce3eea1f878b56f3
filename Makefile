# `make demo` and `make test` do all the set-up on a fresh machine; both need only Python and a package index.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo test lint wheels paper clean

$(VENV)/.demo: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	# for their photographs alone: neither is imported
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps 'scikit-image>=0.22' 'gradio>=5'
	touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch torchvision
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

demo: $(VENV)/.demo           ## match two real photographs, write a picture, say where
	$(BIN)/python examples/demo.py

test: $(VENV)/.dev            ## all tests and doctests, two files at a time
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/.dev            ## formatting, lint, types, layers, spelling
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell src tests docs configs benchmarks scripts examples *.md

wheels: $(VENV)/.dev          ## the source distribution, and one wheel per platform
	$(BIN)/python -m pip install --quiet --disable-pip-version-check ziglang==0.17.1
	$(BIN)/python scripts/build_wheels.py --sdist

paper: $(VENV)/.dev           ## reproduce the paper's table in the folder ROOT, with the options PAPER
	test -n "$(ROOT)" || { echo "give a folder: make paper ROOT=FOLDER" >&2; exit 2; }
	$(BIN)/semcorr paper --root "$(ROOT)" $(PAPER)

clean:
	rm -rf $(VENV) demo .pytest_cache .mypy_cache .ruff_cache

# Both commands work on a fresh machine with Python 3.11 or newer and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# uv, ruff and mypy keep their own caches; installing is redone only when what is installed changes.
BASE := $(VENV)/.installed
DEV := $(VENV)/.installed-dev

# One thread per process: the tests run side by side, and torch would take every core in each.
export OMP_NUM_THREADS := 1
# The tests start hundreds of processes, each of which would compile the package for itself.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: quickstart install dev test test-slow test-night test-image format-check lint types unit bench format clean

quickstart: $(BASE)
	$(BIN)/indian-tune search studies/quickstart.toml

install: $(BASE)

dev: $(DEV)

# Types are checked beside the tests, which often wait.
test: format-check lint
	$(MAKE) --jobs 2 types unit

format-check: $(DEV)
	$(BIN)/ruff format --check .

lint: $(DEV)
	$(BIN)/ruff check .

types: $(DEV)
	$(BIN)/mypy

unit: $(DEV)
	$(BIN)/pytest -n 2 --dist worksteal -m "not slow and not night and not image"

test-slow: $(DEV)
	$(BIN)/pytest -n 2 --dist worksteal -m "slow and not night and not image"

# Hours. Each finished job is noted in build/night: the same command goes on with what is left.
test-night: $(DEV)
	$(BIN)/python -m tests.night $(if $(JOBS),--jobs $(JOBS))

# Builds the container image, 7 GB, in ten minutes, and forty beside other work. It needs root, buildah and debootstrap.
test-image: $(DEV)
	$(BIN)/pytest -m image

# Hours, on a machine that does nothing else; QUICK=1 takes minutes and only shows that all work.
bench: $(DEV)
	$(BIN)/python -m tests.benchmarks $(if $(QUICK),--quick --out build/bench-quick)

format: $(DEV)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "indian-tune needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": name another with make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(BASE): pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing 6.6 GB, most of it torch with CUDA's libraries: a few minutes"
	$(BIN)/python -m pip install --constraint constraints.txt --editable .
	touch $(BASE)

$(DEV): pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing 7 GB, most of it torch with CUDA's libraries: a few minutes"
	$(BIN)/python -m pip install --constraint constraints.txt --editable ".[dev]"
	touch $(BASE) $(DEV)

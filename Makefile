# `make demo`, `make test`: need Python 3.11 or later and nothing else; everything is installed into .venv with pip.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test test-all check bench clean

VENV := .venv
BIN := $(VENV)/bin
MADE := $(VENV)/.made
CORE := $(VENV)/.installed-core
DEV := $(VENV)/.installed-dev
# Two at a time: more would only compete with the workers that the tests themselves start.
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal

help:
	@echo 'make demo      build, verify and replay a dataset from the documentation that Python carries (a few minutes the first time)'
	@echo 'make test      the tests, without the minutes-long ones'
	@echo 'make test-all  all tests'
	@echo 'make check     ruff, mypy and the tests: what a change must pass'
	@echo 'make bench     measure builds and loading on this machine'
	@echo 'make clean     remove .venv, caches and the demo'

demo: $(CORE)
	@$(BIN)/python examples/demo.py

test: $(DEV)
	$(PYTEST) -m 'not slow'

test-all: $(DEV)
	$(PYTEST)

check: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy tokenreel transforms pipelines
	$(PYTEST) -m 'not slow'

bench: $(DEV)
	@for name in tokenization build loader packing objectives; do echo "== benchmarks.$$name"; $(BIN)/python -m "benchmarks.$$name"; done

clean:
	rm -rf $(VENV) demo build dist *.egg-info tokenreel/build tokenreel/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is touched last, so an interrupted installation is taken up again; a changed setup.py asks for a new one.
$(CORE): setup.py | $(MADE)
	@echo 'Installing tokenreel and Apache Beam into $(VENV) (first time only)'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(DEV): setup.py | $(MADE)
	@echo 'Installing tokenreel and what its tests need (TensorFlow, JAX, Torch, ...) into $(VENV) (several minutes, first time only)'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(CORE) $@

$(MADE):
	@found=''; \
	for candidate in $(PYTHON) python3.11 python3; do \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$candidate; break; fi; \
	done; \
	if [[ -z $$found ]]; then \
	  echo 'tokenreel needs Python 3.11 or later, and neither python3.11 nor python3 is one. Install it, or name it: make PYTHON=/path/to/python3.11' >&2; \
	  exit 1; \
	fi; \
	"$$found" -m venv $(VENV) || { \
	  echo "$$found cannot make a virtual environment (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@touch $@

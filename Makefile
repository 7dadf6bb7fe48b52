# Everything a developer does often is one target; `make` lists them.
# The environment is .venv in this checkout, made by the first target that needs it.

PYTHON ?= python3
# Where pip looks for PyTorch besides its usual index, for example the one with CPU-only builds.
TORCH_INDEX ?=
# Worker processes of the tests and of the conformance runner.
JOBS ?= 2
ARGS ?=

VENV := .venv
PY := $(VENV)/bin/python
STAMPS := $(VENV)/stamps
PIP := $(PY) -m pip --disable-pip-version-check install --quiet
CORE_SOURCES := setup.py $(wildcard flambeau/core/*.pyx flambeau/core/*.pxi flambeau/core/*.hpp)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup build demo test parity parity-full names warm bench docs lint format typecheck clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMPS)/build ## create .venv and build the core

build: $(STAMPS)/build ## build the core after a change of its sources

demo: $(STAMPS)/demo ## train the small CNN on handwritten digits and write a report
	$(PY) examples/digits_demo.py $(ARGS)

test: $(STAMPS)/test ## run the tests (no PyTorch needed)
	$(PY) -m pytest -n $(JOBS) -m "not parity" $(ARGS)

parity: $(STAMPS)/parity ## compare a sample of the tables with PyTorch: the fixed list must pass
	$(PY) -m tests.conformance --max-samples 5 --jobs $(JOBS) --list tests/conformance/must_pass.txt $(ARGS)
	$(PY) -m pytest -n $(JOBS) -m parity

parity-full: $(STAMPS)/parity ## compare all of PyTorch's tables with it
	$(PY) -m tests.conformance --max-samples 0 --timeout 300 --jobs $(JOBS) $(ARGS)

names: $(STAMPS)/parity ## compare the public names of namespaces with PyTorch's
	$(PY) tools/api_names.py $(ARGS)

warm: $(STAMPS)/build ## compile the common kernels and the benchmarks' into the kernel cache
	$(PY) -m flambeau.cli warm $(ARGS) tools/run_workloads.py

bench: $(STAMPS)/parity ## time Flambeau beside PyTorch
	$(PY) -m benchmarks $(ARGS)

docs: $(STAMPS)/docs ## build the site with the API reference in docs/_build; a warning is an error
	$(PY) -m sphinx -q -W --keep-going -j $(JOBS) -b html docs docs/_build

lint: $(STAMPS)/dev ## check style and formatting
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

format: $(STAMPS)/dev ## format the code and fix what can be fixed
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

typecheck: $(STAMPS)/dev ## check the types
	$(PY) -m mypy

clean: ## remove what was built, keep .venv
	rm -rf build dist docs/_build docs/reference *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	rm -f flambeau/core/_core.cpp flambeau/core/_core*.so flambeau/core/_core*.pyd $(STAMPS)/build
	find flambeau tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean ## remove .venv too
	rm -rf $(VENV)

$(STAMPS)/venv: tools/make-venv
	./tools/make-venv $(PYTHON) $(VENV)
	mkdir -p $(STAMPS) && touch $@

# The editable install is a plain path entry (compat): an import hook would slow every import.
$(STAMPS)/install: pyproject.toml $(STAMPS)/venv
	$(PIP) "setuptools>=77" "Cython>=3.1"
	$(PIP) --no-build-isolation --config-settings editable_mode=compat --editable .
	touch $@

# Incremental: Cython and the compiler run only where a source is newer than its product.
$(STAMPS)/build: $(CORE_SOURCES) $(STAMPS)/install
	$(PY) setup.py --quiet build_ext --inplace
	touch $@

# The extras are read from pyproject.toml, so that each requirement is written once.
$(STAMPS)/demo: tools/extras.py $(STAMPS)/build
	$(PIP) $$($(PY) tools/extras.py vision)
	touch $@

$(STAMPS)/test: tools/extras.py $(STAMPS)/build
	$(PIP) $$($(PY) tools/extras.py test vision)
	touch $@

$(STAMPS)/parity: tools/extras.py $(STAMPS)/test
	$(PIP) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) $$($(PY) tools/extras.py parity)
	touch $@

$(STAMPS)/docs: tools/extras.py $(STAMPS)/build
	$(PIP) $$($(PY) tools/extras.py docs vision)
	touch $@

$(STAMPS)/dev: tools/extras.py $(STAMPS)/build
	$(PIP) $$($(PY) tools/extras.py dev)
	touch $@

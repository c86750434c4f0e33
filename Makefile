# Every job of this checkout. It needs make and CPython 3.10 or newer, nothing else: each target
# makes the environment it works in (.venv), and makes it again when pyproject.toml changes.
#
#   make quickstart PYTHON=python3.12    chooses the interpreter for a new .venv
#   make bench BENCH=--publish           writes the figures into docs/ as well

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

export PIP_DISABLE_PIP_VERSION_CHECK = 1
PIP_INSTALL := $(BIN)/python -m pip install --quiet

FUZZERS := $(sort $(wildcard fuzz/fuzz_*.py))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help quickstart test docs-test site fuzz bench check lint types contract generate \
	generate-check dropin pyright dist dist-check compat compat-lowest format clean

help:
	@echo 'make quickstart   run the main job against a local server'
	@echo 'make test         run the tests, the documented examples among them'
	@echo 'make check        lint, types, contract, generated files, drop-in surface, site, packages'
	@echo 'make generate     write the generated files from openapi.yaml and templates/'
	@echo 'make docs-test    run every example of README.md and docs/'
	@echo 'make site         build the site of the documentation: build/site/index.html'
	@echo 'make fuzz         search longer for inputs that break the parser'
	@echo 'make bench        measure this client beside its peers, in one run'
	@echo 'make compat       the suite on each interpreter with the oldest and newest dependencies'
	@echo 'make format       format the code'
	@echo 'make clean        remove what these targets made'

quickstart: $(VENV)/.installed-testing
	@$(BIN)/python examples/quickstart.py

# pytest's closing line is the last thing that `make test` prints.
test: $(VENV)/.installed-dev
	@$(BIN)/pytest

docs-test: $(VENV)/.installed-dev
	@$(BIN)/pytest test/project/test_documentation.py

# A dead link, or a page that the navigation lacks, ends it with an error.
site: $(VENV)/.installed-site
	$(BIN)/python tools/build_site.py

check: lint types pyright contract generate-check dropin site dist-check compat-lowest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.installed-dev
	$(BIN)/mypy

# pyright asks the first `python` on the path where packages are.
pyright: $(VENV)/.installed-pyright
	PATH="$(BIN):$$PATH" $(BIN)/pyright
	PATH="$(BIN):$$PATH" PYTHONPATH=. $(BIN)/pyright --verifytypes acp_client_v0_1 --ignoreexternal

contract: $(VENV)/.installed-dev
	$(BIN)/openapi-spec-validator openapi.yaml

generate: $(VENV)/.installed-generate
	$(BIN)/python tools/generate.py

# Generates elsewhere and compares, so that it judges uncommitted work as well.
generate-check: $(VENV)/.installed-generate
	$(BIN)/python tools/generate.py --check

# What users of openapi-generator's own Python client find here as well.
dropin: $(VENV)/.installed-generate
	$(BIN)/python tools/check_dropin.py

dist: $(VENV)/.installed-dev
	$(BIN)/python tools/packages.py build

dist-check: $(VENV)/.installed-dev
	$(BIN)/python tools/packages.py check

compat-lowest: $(VENV)/.installed-dev
	$(BIN)/python tools/compat.py --here --versions lowest

compat: $(VENV)/.installed-dev
	$(BIN)/python tools/compat.py

format: $(VENV)/.installed-dev
	$(BIN)/ruff format

bench: $(VENV)/.installed-bench
	@$(BIN)/python -m benchmarks $(BENCH)

fuzz: $(VENV)/.installed-dev
	@for script in $(FUZZERS); do echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .cache .hypothesis

# One environment; a stamp for each set of packages in it. The quickstart's set is small, so that
# a newcomer's first command is quick; the generator's brings a Java of its own.

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo 'CPython 3.10 or newer is needed; name one with: make PYTHON=python3.12 ...' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo '$(PYTHON) cannot make virtual environments (no ensurepip).' >&2; \
		echo 'On Debian and Ubuntu: apt install python3-venv. Or: make PYTHON=python3.12 ...' >&2; \
		exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed-testing: $(VENV)/.made pyproject.toml
	$(PIP_INSTALL) --editable '.[testing]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.made pyproject.toml
	$(PIP_INSTALL) --editable '.[dev]'
	@touch $@ $(VENV)/.installed-testing

# Each peer by itself, so that one that cannot be had leaves the others; next time it is tried again.
$(VENV)/.installed-bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.peers && touch $@ || true

$(VENV)/.installed-generate: $(VENV)/.installed-dev
	$(PIP_INSTALL) --editable '.[dev,generate]'
	@touch $@

$(VENV)/.installed-site: $(VENV)/.installed-dev
	$(PIP_INSTALL) --editable '.[dev,site]'
	@touch $@

$(VENV)/.installed-pyright: $(VENV)/.installed-dev
	$(PIP_INSTALL) --editable '.[dev,pyright]'
	@touch $@

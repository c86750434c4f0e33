# Every task of this checkout. It needs only make and CPython 3.10 or newer: each target creates the
# environment that it works in (.venv), and updates it when pyproject.toml changes.
#
#   make quickstart PYTHON=python3.12    choose the interpreter for a new .venv
#   make bench BENCH=--publish           also write the figures into docs/
#   make compat COMPAT='--force-python /opt/python3.14t/bin/python3'    test on one that is not on the path

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RECIPES := build/recipes

export PIP_DISABLE_PIP_VERSION_CHECK = 1
# Without bytecode, each of the many processes that the tests start compiles the package again.
unexport PYTHONDONTWRITEBYTECODE
PIP_INSTALL := $(BIN)/python -m pip install --quiet
# A worker that is done takes half of what the busiest one has left.
PARALLEL := --numprocesses=auto --dist=worksteal
QUICK := 'not slow and not load and not guides'

SEEDS ?= 0:50
N ?= 40
SEED ?= 1
SITE_PORT ?= 8080
FUZZERS := $(sort $(wildcard fuzz/fuzz_*.py))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help quickstart test test-quick coverage docs-test pictures recipes site site-serve search-check site-check fuzz chaos \
	mutants bench check lint types contract generate generate-check dropin pyright dist dist-check compat compat-lowest \
	compat-newest format clean

help:
	@echo 'make quickstart   run an agent on a local server: the first example'
	@echo 'make test         run the tests and the documented examples: two minutes'
	@echo 'make test-quick   run what is quick of them, for the hour of work: half a minute'
	@echo 'make check        all of these, each a target too: lint types pyright contract generate-check dropin'
	@echo '                  recipes site dist-check chaos coverage compat-lowest compat-newest'
	@echo 'make generate     write the generated files from openapi.yaml and templates/'
	@echo 'make docs-test    run only the examples of README.md and docs/'
	@echo 'make coverage     run the tests under coverage.py: fails below the floors'
	@echo 'make pictures     draw the pictures of the guides: tools/pictures.py'
	@echo 'make recipes      run the programs of docs/guides/recipes.md, with LangGraph, FastAPI, ...'
	@echo 'make site         build the documentation: build/site/index.html'
	@echo 'make site-serve   build it and serve it, with its search: http://127.0.0.1:8080'
	@echo 'make search-check ask its search what users type, with an installed Node.js'
	@echo 'make site-check   read it in an installed Chromium or Chrome'
	@echo 'make fuzz         search for inputs that break the parser'
	@echo 'make chaos        break servers, sockets and processes at random: SEEDS=0:1000'
	@echo 'make mutants      draw mistakes in the package that a test must find: ROOM=handles N=40 SEED=1'
	@echo 'make bench        measure speed and memory, next to other clients'
	@echo 'make compat       test on every installed Python, with the oldest and newest dependencies'
	@echo 'make dist         build the wheel and the source package: dist/'
	@echo 'make format       format the code'
	@echo 'make clean        remove everything that these targets create'

quickstart: $(VENV)/.installed-testing
	@$(BIN)/python examples/quickstart.py

# The last line of both is pytest's summary, so they say first what they leave out.
test: $(VENV)/.compiled
	@echo 'Every test and documented example, on this interpreter. Left out: docs/guides/recipes.md (make'
	@echo 'recipes), other interpreters and the oldest dependencies (make compat), a browser (make site-check).'
	@$(BIN)/pytest $(PARALLEL)

test-quick: $(VENV)/.compiled
	@echo 'Left out: the tests marked slow, load and guides, which `make test` runs.'
	@$(BIN)/pytest $(PARALLEL) -m $(QUICK)

# CPython 3.12 and newer have a tracer that is quicker, and measures no branches before 3.14.
coverage: $(VENV)/.compiled
	@rm -rf build/coverage && mkdir -p build/coverage
	@COVERAGE_CORE=ctrace $(BIN)/coverage run -m pytest $(PARALLEL)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report --skip-covered --sort=cover
	@for room in _http handles batch; do echo "$$room, in per cent:"; \
		$(BIN)/coverage report --format=total --include="acp_client_v0_1/$$room/*" --fail-under=97 || exit; done

docs-test: $(VENV)/.installed-dev
	@$(BIN)/pytest test/project/test_documentation.py

# A test compares the files with what this draws.
pictures: $(VENV)/.installed-dev
	$(BIN)/python tools/pictures.py
	$(BIN)/python tools/record.py

# In an environment of its own: what the recipes need may want other versions than the checks do.
recipes: $(RECIPES)/.installed
	$(RECIPES)/bin/pytest test/project/recipes.py

# Fails if a link is dead or a page is missing from the navigation.
site: $(VENV)/.installed-site
	$(BIN)/python tools/build_site.py

# Its search needs a server: a browser lets no page of a folder read the index.
site-serve: site
	@$(BIN)/python tools/serve_site.py $(SITE_PORT)

# Asks its search what users have typed, without a browser; needs Node.js.
search-check: site
	$(BIN)/python tools/check_search.py

# Reads the site in the Chromium or Chrome that is installed; on Debian: apt install chromium.
site-check: site $(VENV)/.installed-browser
	$(BIN)/python tools/check_search.py
	$(BIN)/python tools/check_site.py

# The longest job starts first, for `make --jobs=2 check`, and the other run of the suite last. All
# extras are installed before any job.
check: $(VENV)/.installed-check
	@$(MAKE) --no-print-directory compat-lowest lint types pyright contract generate-check dropin \
		recipes site dist-check compat-newest chaos coverage

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.installed-dev
	$(BIN)/mypy

# pyright finds the packages through the first `python` on the path.
pyright: $(VENV)/.installed-pyright
	PATH="$(BIN):$$PATH" $(BIN)/pyright
	PATH="$(BIN):$$PATH" PYTHONPATH=. $(BIN)/pyright --verifytypes acp_client_v0_1 --ignoreexternal

contract: $(VENV)/.installed-dev
	$(BIN)/openapi-spec-validator openapi.yaml

generate: $(VENV)/.installed-generate
	$(BIN)/python tools/generate.py

# Generates into another folder and compares, so that it also checks uncommitted work.
generate-check: $(VENV)/.installed-generate
	$(BIN)/python tools/generate.py --check

# Compares with openapi-generator's own Python client, whose scripts must run here.
dropin: $(VENV)/.installed-generate
	$(BIN)/python tools/check_dropin.py

dist: $(VENV)/.installed-dev
	$(BIN)/python tools/packages.py build

dist-check: $(VENV)/.installed-dev
	$(BIN)/python tools/packages.py check

compat-lowest: $(VENV)/.installed-dev
	$(BIN)/nox -k lowest --force-python $(BIN)/python

# What is quick, with the versions that users get, of which the tools of $(VENV) hold some back.
compat-newest: $(VENV)/.installed-dev
	$(BIN)/nox -k newest --force-python $(BIN)/python -- -m $(QUICK)

compat: $(VENV)/.installed-dev
	$(BIN)/nox $(COMPAT)

format: $(VENV)/.installed-dev
	$(BIN)/ruff format

bench: $(VENV)/.installed-bench
	@$(BIN)/python -m benchmarks $(BENCH)

fuzz: $(VENV)/.installed-dev
	@for script in $(FUZZERS); do echo "== $$script"; $(BIN)/python $$script || exit 1; done

# The last line counts the seeds that do not hold; each is printed with its schedule.
chaos: $(VENV)/.installed-dev
	@PYTHONPATH=tools $(BIN)/python -m chaos $(SEEDS) $(CHAOS)

# A test must find 95 % of them; each mutant that none finds is printed as SURVIVED.
mutants: $(VENV)/.installed-dev
	@PYTHONPATH=tools $(BIN)/python -m mutants $(ROOM) -n $(N) --seed $(SEED) $(MUTANTS)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# One environment, with a stamp file for each set of packages in it. The quickstart's set is small,
# so that the first command is quick; the generator's set brings a Java of its own.

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
	@echo 'Installing the package and its local server into $(VENV): once, less than a minute.'
	@$(PIP_INSTALL) --editable '.[testing]'
	@touch $@

# The pip that comes with CPython 3.11 takes three times as long as a newer one.
$(VENV)/.installed-dev: $(VENV)/.made pyproject.toml
	@echo 'Updating the pip of $(VENV).'
	@$(PIP_INSTALL) --upgrade pip
	@echo 'Installing the developer tools into $(VENV), some 150 packages: once, one to several minutes.'
	@$(PIP_INSTALL) --editable '.[dev]'
	@touch $@ $(VENV)/.installed-testing

# pytest compiles the tests and its plugins itself: once, rather than in each of its processes at once.
$(VENV)/.compiled: $(VENV)/.installed-dev
	@$(BIN)/pytest --collect-only -qqq >/dev/null || true
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed-dev
	@echo 'Installing the clients to compare with, and the generator with its Java, into $(VENV): once.'
	@$(PIP_INSTALL) --editable '.[dev,generate,bench]'
	@touch $@

$(VENV)/.installed-generate: $(VENV)/.installed-dev
	@echo 'Installing the generator and its Java, 140 MB, into $(VENV): once.'
	@$(PIP_INSTALL) --editable '.[dev,generate]'
	@touch $@

$(VENV)/.installed-site: $(VENV)/.installed-dev
	@echo 'Installing what builds the site, into $(VENV): once.'
	@$(PIP_INSTALL) --editable '.[dev,site]'
	@touch $@

$(VENV)/.installed-browser: $(VENV)/.installed-site
	@echo 'Installing the driver of a browser, into $(VENV): once.'
	@$(PIP_INSTALL) --editable '.[dev,site,browser]'
	@touch $@

$(VENV)/.installed-pyright: $(VENV)/.installed-dev
	@echo 'Installing pyright and its Node.js, 60 MB, into $(VENV): once.'
	@$(PIP_INSTALL) --editable '.[dev,pyright]'
	@touch $@

# Made from $(VENV), whose pip it uses, and which says whether PYTHON is new enough.
$(RECIPES)/.installed: $(VENV)/.installed-dev
	@echo 'Installing what the recipes need into $(RECIPES), some 120 packages: once, some minutes.'
	@$(BIN)/python -m venv --without-pip $(RECIPES)
	@$(BIN)/python -m pip --python $(RECIPES)/bin/python install --quiet --editable '.[recipes]'
	@touch $@

$(VENV)/.installed-check: $(VENV)/.made pyproject.toml
	@echo 'Updating the pip of $(VENV).'
	@$(PIP_INSTALL) --upgrade pip
	@echo 'Installing all tools of the checks into $(VENV), 200 packages with a Java and a Node.js: once,'
	@echo 'some minutes.'
	@$(PIP_INSTALL) --editable '.[dev,generate,site,pyright]'
	@touch $(VENV)/.installed-testing $(VENV)/.installed-dev
	@touch $(VENV)/.installed-generate $(VENV)/.installed-site $(VENV)/.installed-pyright $@

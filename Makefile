# Needs Python 3.11 (or 3.12, 3.13), make and git; everything else comes from the package registries.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || echo python3)
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.set-up
DEMO_STAMP := $(VENV)/.set-up-demo
KILLS   ?= 20
FREEZES ?= $(KILLS)
# No file of these packages may have fewer of its statements run by the tests, in per cent.
FLOOR  ?= 90
FLOORED = ingest processors schemas
# All that the targets below and the tools make; .gitignore lists the same.
MADE   := $(VENV) .tapeline dist htmlcov .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache \
	.mutants .pytest_cache .ruff_cache *.egg-info

.PHONY: help setup demo test check coverage bench chaos mutants lock dist clean

help: ## What can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

# Without bytecode each process would compile all that it imports, seconds of it.
unexport PYTHONDONTWRITEBYTECODE

# bash, since what pip says goes through a pipe, and its status must not be lost there.
SHELL := bash
.SHELLFLAGS := -o pipefail -c

# Of what pip says: how many packages it has got to.
PROGRESS = awk -v all="$$(grep -c '==' $(1))" '/^Collecting/ && ++n % 10 == 0 { print "  " n " of " all " packages"; fflush() } \
	/^Installing collected/ { print "  unpacking them"; fflush() }'
# Without bytecode: Python compiles what is used, when it is used.
INSTALL = $(BIN)/python -m pip install --no-compile --disable-pip-version-check --require-hashes -r $(1) \
	| $(call PROGRESS,$(1))

define SET_UP
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else f"Tapeline needs Python 3.11 to 3.13; {sys.executable} is {v[0]}.{v[1]} (make PYTHON=…)")'
	@echo "setting up $(VENV), of $(1)"
	@$(PYTHON) -m venv $(VENV)
	@$(call INSTALL,$(1))
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@# The kernels are compiled meanwhile, for the agents' first start.
	@$(BIN)/python -c 'from processors.core.measure.frames import warm_up; warm_up()' & \
		$(BIN)/tapeline kafka --fetch-only $(2) && wait $$!
endef

setup: $(STAMP) ## Set up .venv: locked dependencies, the developers' tools, the Java runtime, Kafka's jars
$(STAMP): requirements.lock pyproject.toml
	$(call SET_UP,requirements.lock,--archive)
	@touch $(STAMP) $(DEMO_STAMP)

# What the demo needs to run, and no more: no charts, no Parquet, no developers' tools.
$(DEMO_STAMP): requirements-demo.lock pyproject.toml
	$(call SET_UP,requirements-demo.lock,)
	@touch $@

demo: $(DEMO_STAMP) ## Eight calls through the whole pipeline, compared byte for byte
	@$(BIN)/tapeline demo

test: setup ## Every test, four files at a time
	@# In the order of the folders: those that wait for processes come first, and not one by one at the end.
	@$(BIN)/pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder

check: setup ## Style, types, layers, known vulnerabilities
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python tests/known_vulnerabilities.py requirements-runtime.lock $(AUDIT)

coverage: setup ## Every test, and how much of each package they run; htmlcov/ shows the lines
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest
	@# numba's compiled code runs unseen by coverage: the kernels once more, as plain Python.
	@NUMBA_DISABLE_JIT=1 $(BIN)/coverage run -m pytest tests/processors/core/measure
	@$(BIN)/coverage combine --quiet
	@# The wheel's test ran files that are gone.
	@$(BIN)/coverage html --quiet --ignore-errors
	@$(BIN)/coverage json --quiet --ignore-errors
	@$(BIN)/python tests/coverage_floor.py htmlcov/coverage.json $(FLOOR) $(FLOORED)

bench: setup ## What a message costs, and how many calls fit; docs/performance.md has the other benchmarks
	@$(BIN)/python -m benchmarks speed capacity growth-cost workers measuring

chaos: setup ## Calls while processes are killed and frozen: make chaos KILLS=20 FREEZES=20 CALLS=40 SEED=1
	@$(BIN)/python -m benchmarks.chaos --kills $(KILLS) --freezes $(FREEZES) \
		$(if $(CALLS),--calls $(CALLS)) $(if $(SEED),--seed $(SEED))

mutants: setup ## Mutation testing of the pure core, all or make mutants FILES=processors/core/partition.py
	@$(BIN)/python -m benchmarks.mutants $(FILES)

COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --no-header pyproject.toml

lock: ## Renew the locks: of everything, of what the gateway and the agents need to run, of what the demo needs
	@test -x $(BIN)/uv || $(MAKE) setup
	@$(COMPILE) --upgrade --all-extras --output-file requirements.lock
	@$(COMPILE) --constraint requirements.lock --output-file requirements-runtime.lock
	@# hatchling makes the editable installation.
	@echo hatchling | $(COMPILE) - --extra kafka --extra play --constraint requirements.lock \
		--output-file requirements-demo.lock

dist: setup ## The source distribution and the wheel, into dist/, with the wheel's content tested
	@rm -rf dist
	@$(BIN)/pytest tests/deploy/test_wheel.py
	@$(BIN)/uv build --quiet --offline --no-build-isolation --python $(BIN)/python --out-dir dist
	@ls dist

clean: ## Remove what make, the demo and the tools made; settings, tokens and pages stay
	rm -rf $(MADE)
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

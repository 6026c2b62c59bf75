# One command per intention; `make help` lists them. Everything lives in .venv and .stamps: a second run skips what
# is done, and `make clean` takes it all away. Needs Python 3.11+, make and git, nothing else.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The first interpreter that is new enough; `make PYTHON=python3.13 venv` chooses another.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := .stamps/installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

SOURCES := proto node cluster chaos tests

# What the simulator explores in CI; `make sim SEEDS=0:20000` explores further.
SEEDS ?= 0:2000
# The same for worlds with committed offsets and groups of consumers.
CONSUMER_SEEDS ?= 0:1000
SIM_OPTIONS ?=
SIM_OUTPUT ?= chaos-runs/sim
# Where `make run` keeps its cluster.
DATA ?= data
# `make demo FILES="a.txt b.txt"` feeds these instead of the standard library's source.
FILES ?=
IMAGE ?= quorumlog:dev

.PHONY: help venv run test demo demo-offsets sim sim-long chaos chaos-full mutants bench stubs stubs-check lint types contract format clean image

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(INSTALLED) ## set up .venv with everything that development needs

# The build back ends first (PySyncObj comes as source and needs setuptools), and no build isolation: they are then pinned
# like everything else.
$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer found; name one: make PYTHON=/path/to/python" >&2; exit 1; }
	@test -x $(BIN)/python || { echo "setting up $(VENV) with $$($(PYTHON) --version)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing quorumlog and its tools into $(VENV)"
	@$(PIP) install --constraint constraints.txt hatchling setuptools
	@$(PIP) install --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	@mkdir -p $(@D) && touch $@

run: $(INSTALLED) ## a three-node cluster in the foreground, data under ./data; Ctrl-C stops it
	@$(BIN)/quorumlog up --data $(DATA)

test: $(INSTALLED) ## all tests
	$(BIN)/python -m pytest

demo: $(INSTALLED) ## real text through a cluster whose leader is killed half way; every line compared
	@$(BIN)/python -m quorumlog.cluster.demo $(FILES)

demo-offsets: $(INSTALLED) ## a consumer group at work while nodes and consumers are killed in turn; every record accounted for
	@$(BIN)/python -m quorumlog.cluster.demo_offsets $(FILES)

sim: $(INSTALLED) ## the simulator over many seeds, five minutes on two cores
	$(BIN)/quorumlog sim run --seeds $(SEEDS) $(SIM_OPTIONS)
	$(BIN)/quorumlog sim run --seeds $(CONSUMER_SEEDS) --workload consumers $(SIM_OPTIONS)

sim-long: ## the simulator over 20,000 seeds; SIM_OUTPUT keeps each that fails as a run
	$(MAKE) sim SEEDS=0:14000 CONSUMER_SEEDS=0:6000 SIM_OPTIONS="--keep-going --output $(SIM_OUTPUT)"

chaos: $(INSTALLED) ## real faults on real nodes: the smoke suite, a few minutes
	$(BIN)/quorumlog chaos run --suite smoke

chaos-full: $(INSTALLED) ## the same, all scenarios but the longest
	$(BIN)/quorumlog chaos run --suite full

mutants: $(INSTALLED) ## plant known bugs one by one: each must be caught; writes docs/mutants.md
	$(BIN)/quorumlog chaos mutants --write docs/mutants.md

bench: $(INSTALLED) ## every benchmark, each figure beside the limit measured in the same run
	@$(BIN)/quorumlog bench all

stubs: $(INSTALLED) ## make the gRPC stubs from the .proto files
	$(BIN)/python proto/generate.py

stubs-check: $(INSTALLED) ## the committed stubs are what the .proto files yield
	$(BIN)/python proto/generate.py --check

lint: $(INSTALLED) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED) ## mypy, strict
	$(BIN)/mypy

contract: $(INSTALLED) ## who may import whom
	$(BIN)/lint-imports

format: $(INSTALLED) ## put the source into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

image: ## the container image, also where no image registry is reached
	docker/image $(IMAGE)

clean: ## remove the environment, caches and builds; cluster data under ./data stays
	rm -rf $(VENV) .stamps dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

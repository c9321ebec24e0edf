# heald: every target works on a machine that has only Python (3.11 or newer) and make.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
FUZZER := $(VENV)/.fuzzer-installed
JOBS   ?= 2

.DEFAULT_GOAL := help
.PHONY: help install demo trial test check lint format types chaos fuzz bench bench-long eval clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("heald needs Python 3.11 or newer, this is %d.%d; name another one with: make PYTHON=python3.12" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[embedded,dev]'
	@touch $@

install: $(STAMP) ## make the virtual environment in .venv

demo: $(STAMP) ## let four real commands fail and watch heald mend them
	$(BIN)/python tests/demo/demo.py

trial: $(STAMP) ## replay a day of failures against real processes and print what heald did about them (JSON=file)
	$(BIN)/python tests/trial/run.py $(if $(JSON),--json $(JSON))

test: $(STAMP) ## run the test suite
	$(BIN)/python -m pytest -q -n $(JOBS) --dist loadgroup

check: lint types test ## lint, type-check and test: what CI runs

lint: $(STAMP) ## ruff: lint and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP) ## ruff: mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP) ## mypy, strict
	$(BIN)/mypy

RUNS ?= 1000
SEED ?= 1
FAULTS ?=
chaos: $(STAMP) ## let everything go wrong while runs heal, then check the books (RUNS=, SEED=, FAULTS=kill,redis)
	$(BIN)/python tests/chaos/run.py --runs $(RUNS) --seed $(SEED) --faults "$(FAULTS)"

$(FUZZER): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fuzz]'
	@touch $@

SECONDS ?= 600
TARGET ?=
fuzz: $(FUZZER) ## feed every parser whatever breaks it, led by coverage; Linux only (SECONDS=, TARGET=)
	$(BIN)/python tests/fuzz/run.py --seconds $(SECONDS) $(if $(TARGET),--target $(TARGET))

PEERS ?=
PEER_ENVIRONMENTS ?= .
bench: $(STAMP) ## measure the service, as medians and ratios (PEERS=folder that runs other queues)
	$(BIN)/python tests/bench/bench.py $(if $(PEERS),--peers $(PEERS) --peer-environments $(PEER_ENVIRONMENTS))

bench-long: $(STAMP) ## work a backlog of a million runs off; takes 10 to 20 minutes and 15 GB
	$(BIN)/python tests/bench/bench.py --long

DATA ?= ../shared/eval
JSON ?=
eval: $(STAMP) ## measure diagnosis and extraction on labelled failures (DATA=folder, JSON=file)
	$(BIN)/python tests/eval/evaluate.py $(DATA) $(if $(JSON),--json $(JSON))

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .fuzz .mypy_cache .ruff_cache .pytest_cache .hypothesis

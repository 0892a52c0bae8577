# Everything a developer runs; `make` alone lists it. Needs python3 >= 3.11 with venv; `make e2e` says what else it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Code that decides: pure, so every branch of it is tested.
DECISIONS := fairlead_engine.batch_time fairlead_engine.batching fairlead_engine.blocks fairlead_engine.draft fairlead_engine.kv_memory fairlead_engine.limits fairlead_engine.prefix_cache fairlead_engine.schedulers fairlead_engine.sequences fairlead_engine.state fairlead_engine.waiting fairlead_router.decisions fairlead_router.identity fairlead_router.relay.sse fairlead_operator.plan fairlead_simulator.calibrate.fit fairlead_simulator.lengths
BRANCH_COVERAGE := 95

.DEFAULT_GOAL := help
.PHONY: help install up test lint types imports unit docs api e2e vllm bench soak fuzz format lock crd images cluster cluster-down clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## Development environment in .venv, dependencies by hash

$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Fairlead needs Python 3.11 or newer and $(PYTHON) is $$($(PYTHON) --version 2>&1); name another: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo "$(PYTHON) cannot make virtual environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip --disable-pip-version-check install --quiet --require-hashes --requirement requirements/dev.txt
	$(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

up: install ## Serve the quickstart pool on this machine, without a cluster; Ctrl-C stops it
	@$(BIN)/fairlead up manifests/samples/quickstart.yaml $(UP_ARGS)

test: install ## Everything that gates, stage by stage, with the time each took
	@.ci/stages lint types imports unit docs api e2e

lint: install ## Style and spelling
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/codespell

types: install ## mypy --strict
	@$(BIN)/mypy

imports: install ## Which package may import which
	@$(BIN)/lint-imports

unit: install ## Tests without a cluster, and branch coverage of the decision code
	@$(BIN)/pytest tests/unit -q $(DECISIONS:%=--cov=%) --cov-branch --cov-report=term-missing:skip-covered --cov-fail-under=$(BRANCH_COVERAGE)

docs: install ## The documentation in docs/_build/html; warnings are errors
	@$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html

api: install ## Tests against a real API server (built once where envtest's variables name none)
	@.ci/with-api-server $(BIN)/pytest tests/api -q

e2e: install ## Tests on kind (the first run where no image registry answers takes about 12 minutes longer)
	@$(BIN)/pytest tests/e2e -q

vllm: install ## Tests of the router in front of real vLLM: 5 minutes (the first time up to 5 more, and 6 GB)
	@echo "about 5 minutes on two cores; the first time up to 5 more, and 6 GB in .cache/vllm"
	@tests/vllm/install
	@$(BIN)/pytest tests/vllm -q

bench: install ## The router's data path beside other routers, into docs/performance.md: over an hour, says first how long
	@$(BIN)/python tests/bench/router run --publish $(BENCH_ARGS)

soak: install ## The router under load while engines, clients, files and workers fail: 12 minutes (SOAK_SECONDS=600)
	@$(BIN)/python tests/soak

fuzz: install ## Clients and engines that send the router anything: 10 minutes (FUZZ_SECONDS=600)
	@$(BIN)/python tests/fuzz

format: install ## Let ruff format and mend what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: install ## Renew the locked requirements from pyproject.toml
	@.ci/lock $(BIN)/uv

crd: install ## Write the CustomResourceDefinition from the typed model
	@$(BIN)/fairlead crd --output manifests/crd/fairlead.dev_inferencepools.yaml
	@$(BIN)/fairlead crd --output helm/fairlead/files/inferencepools.yaml

images: install ## Build the images of engine, router, operator and test client
	@$(BIN)/python tests/e2e/cluster.py images

cluster: install ## The kind cluster of the end-to-end tests, with our images in it
	@$(BIN)/python tests/e2e/cluster.py up

cluster-down: install ## Delete that cluster
	@$(BIN)/python tests/e2e/cluster.py down

clean: ## Remove what was built here: .venv, caches, documentation
	@rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage docs/_build dist build
	@find engine router operator simulator tests -name __pycache__ -exec rm -rf {} +

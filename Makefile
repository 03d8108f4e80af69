# Everything runs from .venv, which each target makes when it is missing or when its requirements have changed.
PYTHON ?= $(shell for name in python3.13 python3.12 python3.11 python3; do \
	$$name -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --quiet
CHROMIUM := $(shell command -v chromedriver >/dev/null && { command -v chromium || command -v google-chrome; })
BROWSER := $(if $(CHROMIUM),,-m "not browser")
# A file stays with one process: many files share runs among their tests. Most of those wait for a run to end, so four
# processes suit two cores. In the order of tests/conftest.py: the small tests of single modules come last.
PYTEST_ARGS ?= -n 4 --dist loadfile --no-loadscope-reorder
# Each process of ours would compile all of it anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test check format ui simulator bench torture azure-bundle clean
.DELETE_ON_ERROR:

help:
	@echo "make demo          both exercises against the simulator, with verdicts and a report (under 4 minutes)"
	@echo "make test          all tests"
	@echo "make check         formatting, lint, types and bandit"
	@echo "make ui            Locust's web UI for a scenario: make ui SCENARIO=smoke HOST=http://127.0.0.1:8000"
	@echo "make simulator     the stand-in targets on port 8000"
	@echo "make bench         what the load generator costs and how exact it is"
	@echo "make torture       faults, crashes, leaks, a soak of SOAK_MINUTES (10): what docs/reliability.md is about"
	@echo "make azure-bundle  a folder to upload to Azure Load Testing: make azure-bundle KIND=rag SCENARIO=rag-peak"
	@echo "make clean         remove .venv and everything that was made; results/ stays"

demo: .venv/runtime.stamp
	@$(BIN)/python -m tokenswarm demo

test: .venv/dev.stamp
	@$(if $(CHROMIUM),,echo "No Chromium with its driver here: tests marked 'browser' are left out.")
	$(BIN)/python -m pytest $(PYTEST_ARGS) $(BROWSER)

check: .venv/dev.stamp
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/mypy --explicit-package-bases benchmarks scripts
	$(BIN)/mypy deploy/azure-load-testing/*.py deploy/docker/pin.py
	$(BIN)/bandit -q -r tokenswarm analysis simulator benchmarks deploy scripts -ll

format: .venv/dev.stamp
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

SCENARIO ?= smoke
ui: .venv/runtime.stamp
	$(BIN)/locust --config scenarios/$(SCENARIO).conf $(if $(HOST),--host $(HOST)) $(if $(wildcard .env),--env-file .env) $(ARGS)

simulator: .venv/runtime.stamp
	$(BIN)/python -m simulator $(ARGS)

bench: .venv/dev.stamp
	$(BIN)/python -m benchmarks $(ARGS)

SOAK_MINUTES ?= 10
TORTURE_SEEDS ?= 500
torture: .venv/dev.stamp
	$(BIN)/python -m pytest tests/faults
	$(BIN)/python -m tests.faults.torture --seeds $(TORTURE_SEEDS)
	$(BIN)/python -m benchmarks.soak --minutes $(SOAK_MINUTES)
	$(BIN)/python -m benchmarks.soak --minutes $(SOAK_MINUTES) --workers 2

KIND ?= chat
azure-bundle: .venv/dev.stamp
	$(BIN)/python deploy/azure-load-testing/bundle.py $(KIND) --scenario scenarios/$(SCENARIO).conf $(ARGS)

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Tokenswarm needs Python 3.11 or later with the venv module; none was found." >&2; exit 2; }
	@echo "Setting up .venv with $(PYTHON) ..."
	@$(PYTHON) -m venv .venv

.venv/runtime.stamp: requirements.txt | .venv/bin/python
	@echo "Installing what requirements.txt names ..."
	@$(PIP) -r requirements.txt
	@touch $@

.venv/dev.stamp: requirements.txt requirements-azure.txt requirements-dev.txt | .venv/bin/python
	@echo "Installing what requirements-dev.txt names ..."
	@$(PIP) -r requirements-dev.txt
	@touch $@

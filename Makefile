# Everything happens in .venv; the first command sets it up, later ones find it ready.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DO_NOT_TRACK := 1
# apart from .venv: nothing else needs it
MKDOCS := $(BIN)/uv tool run --quiet --from mkdocs==1.6.1 --with mkdocs-material==9.8.2 --with mkdocstrings==1.0.8 --with mkdocstrings-python==2.0.11 mkdocs

.PHONY: help setup run compare test test-platform docs lint clean services deploy

help:  ## Show the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

setup: $(READY)  ## Make the virtual environment (other commands do it by themselves)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "echodistill needs Python 3.11 or newer; name one: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@echo "installing the packages of requirements.lock ..."
	@# compiled once here: every stage is a process of its own, and some environments keep Python from doing it
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python $(if $(PIP_FIND_LINKS),--find-links $(PIP_FIND_LINKS)) -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $(READY)

run: $(READY)  ## Run the pipeline, print the table, register the model
	@echodistill run
	@echodistill register

compare: $(READY)  ## Train the methods and their controls with several seeds, print and plot them side by side
	@echodistill compare

services: $(READY)  ## Start S3, MLflow, Prefect and workers on this machine
	@echodistill services up

deploy: $(READY)  ## Make the deployments known to the Prefect server
	@eval "$$(echodistill services env)" && prefect --no-prompt deploy --prefect-file infra/prefect.yaml --all

test: $(READY)  ## Run the tests, one small run of the whole pipeline among them
	@python -m pytest -n 6 --dist loadfile --no-loadscope-reorder

test-platform: $(READY)  ## Run the long tests too: a comparison, and the whole platform with kill, cancel, side by side
	@python -m pytest -m "long or not long" tests/test_platform.py tests/test_compare_run.py

docs: $(READY)  ## Build the documentation into build/site; a broken link is an error
	@if $(MKDOCS) --version >/dev/null 2>&1; then NO_MKDOCS_2_WARNING=1 $(MKDOCS) build --quiet --strict; \
	else echo "MkDocs cannot be installed here: the documentation is not built and not checked"; test -n "$(DOCS_OPTIONAL)"; fi

lint: $(READY)  ## Check style and types
	@ruff check .
	@ruff format --check .
	@mypy

clean:  ## Remove what runs made in data, models and reports (caches, MLflow's store and .venv stay)
	rm -rf data/corpus data/mixes data/references data/answers data/compared data/evaluation models reports .echodistill/runs .echodistill/logs
	rm -rf build .echodistill/workspaces .echodistill/experiments .echodistill/remote
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis

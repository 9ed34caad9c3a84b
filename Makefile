# Everything is done in .venv, which the first target that needs it makes. `make help` lists all.

PYTHON ?= python3
EXPERIMENT ?= standard
BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help install study bench lab test lint types contract sync check-sync ci clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Make .venv with the pinned packages (done by the others when needed)

study: $(INSTALLED) ## Run the main study and write its report; EXPERIMENT=name runs another
	@$(BIN)/statecache study run $(EXPERIMENT)

bench: $(INSTALLED) ## Measure the managers against what they are to beat (about 15 minutes)
	@$(BIN)/statecache study bench

lab: $(INSTALLED) ## Open JupyterLab on the notebooks, with the servers running
	@$(BIN)/statecache study lab

# Bytecode is kept, whatever the environment says: otherwise each of many processes compiles it all.
test: $(INSTALLED) ## Run all tests, notebooks included
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

lint: $(INSTALLED) ## Check style, and that notebooks hold no outputs
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/nbstripout --verify notebooks/*.ipynb

types: $(INSTALLED) ## Check types
	@$(BIN)/mypy

contract: $(INSTALLED) ## Check that the core never imports the study
	@$(BIN)/lint-imports

sync: $(INSTALLED) ## Generate the synchronous managers from the asynchronous ones
	@$(BIN)/python tools/async_to_sync.py

check-sync: $(INSTALLED) ## Check that the generated managers are up to date
	@$(BIN)/python tools/async_to_sync.py --check

ci: ## Run what CI runs
	@bash .ci/run

clean: ## Remove .venv and everything that was built
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# Made anew only where what is to be installed has changed.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) tools/make_venv.py .venv
	@touch $@

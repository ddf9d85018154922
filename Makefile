# Two commands: `make run` and `make test`. Everything lives in .venv and data/run; nothing needs root, Docker or an account.
.DEFAULT_GOAL := help
SHELL := /bin/bash

# The first Python from 3.11 on; override with `make PYTHON=…`.
PYTHON ?= $(firstword $(foreach candidate,python3 python3.13 python3.12 python3.11,$(shell $(candidate) -c 'import sys; sys.version_info >= (3, 11) and print("$(candidate)")' 2>/dev/null)))
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
WORKERS ?= 2
# SQL over Shopify's JSON keeps its names in their own case, which sqlfmt does only in this dialect.
RAW_SQL := --dialect clickhouse commerce_assets

.PHONY: help run demo test check format bench lock clean setup setup-dev
help: ## Show the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(VENV)/pyvenv.cfg:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and none was found on PATH; install it or pass PYTHON=/path/to/python3"; exit 1; }
	@echo "creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

# One stamp a lock: a lock that has not changed is not installed again. dev holds run, bench holds dev.
$(VENV)/.installed-%: requirements/%.lock pyproject.toml | $(VENV)/pyvenv.cfg
	@echo "installing requirements/$*.lock (hashed) into $(VENV); the first time takes a minute or two"
	@$(PIP) install --quiet --require-hashes --no-deps -r requirements/$*.lock
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

setup: $(VENV)/.installed-run
setup-dev: $(VENV)/.installed-dev

run: setup ## Set up, run the main job on the sandbox or the configured shop, serve the Dagster UI on port 3000
	@$(BIN)/commerce run

demo: setup ## The same without the UI: run once, print the summary, exit non-zero when anything failed
	@$(BIN)/commerce demo

test: setup-dev ## Set up, run the whole test suite
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder --durations=25 --durations-min=5

check: setup-dev ## Format, lint, types, SQL format, import rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/sqlfmt --check --quiet dbt_project
	@$(BIN)/sqlfmt --check --quiet $(RAW_SQL)
	@$(BIN)/lint-imports

format: setup-dev ## Format Python and SQL, fix what the linter can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .
	@$(BIN)/sqlfmt --quiet dbt_project
	@$(BIN)/sqlfmt --quiet $(RAW_SQL)

bench: $(VENV)/.installed-bench ## Side-by-side ratios: landing, incremental build, ledger diff, import, demo
	@$(BIN)/python -m benchmarks

lock: ## Resolve pyproject.toml into requirements/*.lock (needs uv)
	@scripts/lock

clean: ## Remove what was made at run time and the virtual environment
	rm -rf $(VENV) data/run dbt_project/target dbt_project/logs .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache

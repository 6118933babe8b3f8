# Everything from a bare checkout: each target makes .venv and installs what it needs, in the versions of
# constraints.txt. Needs Python 3.11 or newer, make and git.

# The first of these that runs and is new enough: a name on the PATH may be a version manager's empty shim.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
# For the building of our own wheel too, which pip does in an environment of its own.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_BUILD_CONSTRAINT := $(PIP_CONSTRAINT)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
PIP := $(BIN)/python -m pip install --quiet

# pytest's own arguments, for example: make test ARGS="tests/cli -x"
ARGS ?=
# Two processes: more gain little, the servers that tests start share the machine.
WORKERS ?= 2
# Customers of the bench: make bench SIZE=1000000
SIZE ?= 100000

.PHONY: help demo test lint bench clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    see the whole job on real orders, in about three minutes"
	@echo "make test    run every test, and check the layers"
	@echo "make lint    ruff, mypy, import-linter"
	@echo "make bench   measure imports and plans at 100,000 customers (SIZE=1000000 for more)"
	@echo "make clean   remove .venv and what tests and tools left"

$(VENV)/.runtime: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; name one: make PYTHON=/path/to/python"; exit 1; }
	@echo "Setting up $(VENV) with $(PYTHON) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --upgrade pip
	@$(PIP) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	@echo "Adding the tools for development ..."
	@$(PIP) --group dev
	@touch $@

demo: $(VENV)/.runtime
	@rm -rf demo-out
	@$(BIN)/drumbeat demo --keep demo-out $(ARGS)

test: $(VENV)/.dev
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

lint: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(VENV)/.dev
	@$(BIN)/python -m bench --size $(SIZE) $(ARGS)

clean:
	rm -rf $(VENV) dist build .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache demo-out

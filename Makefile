# Everything a visitor or a developer runs; `make help` lists it. Needs make and Python 3.11 or newer, no root.

PYTHON ?= python3
# More words for the command behind a target: make serve ARGS="--port 9000", make test ARGS="-k tiles -x"
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
# The stamps carry a checksum of this folder's path: a moved or copied checkout is set up anew instead of silently
# running the code of the place that its environment came from.
HERE := $(shell pwd | cksum | cut -d' ' -f1)
EMPTY := $(VENV)/.made-$(HERE)
SERVICE := $(VENV)/.service-$(HERE)
EVERYTHING := $(VENV)/.everything-$(HERE)
PEERS := $(VENV)-peers/.made-$(HERE)
INSTALL := $(BIN)/python -m pip --disable-pip-version-check install -qq -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup demo serve test check format configuration samples bench train-smoke clean

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

setup: $(EVERYTHING) ## Install the service, the trainer and the tools into .venv, and nothing else

demo: $(SERVICE) ## Refine the bundled samples through a real server; prints where the pictures are
	@$(BIN)/python -m app.demo $(ARGS)

serve: $(SERVICE) ## Run the service with the bundled refiner until Ctrl-C
	@$(BIN)/simtrue serve $(ARGS)

test: $(EVERYTHING) ## Run the tests
	$(BIN)/python -m pytest $(ARGS)

check: $(EVERYTHING) ## Check format, lint, types, import contracts and compose files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/integration/test_deployment_compose.py

format: $(EVERYTHING) ## Format the code and repair what lint can repair
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

configuration: $(EVERYTHING) ## Write CONFIGURATION.md anew from the code
	$(BIN)/python tests/architecture/configuration_page.py > CONFIGURATION.md

samples: $(SERVICE) ## Draw the bundled samples anew
	$(BIN)/python -m trainer.simulators.digit_cells samples app/bundled/samples

bench: $(SERVICE) $(PEERS) ## Measure the service beside other servers and the bare session (some minutes)
	$(BIN)/python tests/benchmarks/bench.py --peers $(VENV)-peers/bin/python --html bench.html $(ARGS)

train-smoke: $(EVERYTHING) ## Train, export, serve and refine once, very small
	$(BIN)/python tests/acceptance/train_smoke.py $(ARGS)

clean: ## Remove caches and demo pictures; .venv and training runs stay
	rm -rf demo-output build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info
	find app model trainer tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(EMPTY):
	@command -v "$(PYTHON)" >/dev/null || { echo "There is no command $(PYTHON) here; name a Python 3.11 or newer: make setup PYTHON=/path/to/python3"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Simtrue needs Python 3.11 or newer, but $(PYTHON) is $$("$(PYTHON)" --version 2>&1 | cut -d' ' -f2); name another: make setup PYTHON=python3.12"; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments; install its venv package (Debian and Ubuntu: apt install python3-venv) or name another: make setup PYTHON=python3.12"; exit 1; }
	@echo "Making $(VENV) with $$("$(PYTHON)" --version 2>&1)"
	@"$(PYTHON)" -m venv --clear $(VENV)
	@$(INSTALL) pip setuptools
	@touch $@

$(SERVICE): pyproject.toml constraints.txt | $(EMPTY)
	@echo "Installing the service into $(VENV)"
	@$(INSTALL) --no-build-isolation -e .
	@touch $@

$(PEERS): tests/benchmarks/peers/requirements.txt | $(EMPTY)
	@echo "Installing other servers into $(VENV)-peers; what cannot be installed is left out of the comparison"
	@"$(PYTHON)" -m venv --clear $(VENV)-peers
	-@$(VENV)-peers/bin/python -m pip --disable-pip-version-check install -qq -r $<
	@touch $@

$(EVERYTHING): $(SERVICE)
	@echo "Installing the trainer and the tools into $(VENV) (once, some minutes: torch is large)"
	@$(INSTALL) --no-build-isolation -e '.[train,dev]'
	@touch $@

# The two commands that matter: `make demo` and `make test`. Both are safe to repeat.
.DEFAULT_GOAL := help
.PHONY: help demo test lint format setup setup-dev browser requirements clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

help: ## Show what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

demo: setup ## Import, enrich, fail, recover, look: the whole system on this machine
	@VENUE_IMAGES_HOME="$(CURDIR)/.demo" $(BIN)/venue-images demo $(ARGS)

test: setup-dev browser lint ## Check style and types, then run every test
	@$(BIN)/python -X dev -m pytest $(ARGS)

lint: setup-dev ## Check style (ruff) and types (mypy --strict)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@VENUE_IMAGES_SECRET_KEY=lint DATABASE_URL=postgresql:///lint $(BIN)/mypy venue_images tests

format: setup-dev ## Rewrite the code in house style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

setup: $(VENV)/.installed

setup-dev: $(VENV)/.installed-dev

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Venue Images needs Python 3.11 or newer: make PYTHON=python3.11 …"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null && \
			$(PYTHON) -m venv $(VENV); \
		else echo "Python's venv module is missing: sudo apt-get install python3-venv"; exit 1; fi; }

$(VENV)/.installed: requirements.txt pyproject.toml | $(BIN)/python
	@echo "Installing Venue Images into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

browser: ## Install Debian's Chromium for the browser tests
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "Installing Chromium …"; apt-get update -qq && \
			DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; \
		else \
			echo "The browser tests need Chromium: sudo apt-get install chromium"; exit 1; \
		fi; }

requirements: setup-dev ## Pin the dependencies again, with hashes
	@$(BIN)/pip-compile --quiet --strip-extras --allow-unsafe --generate-hashes --no-header --no-emit-index-url \
		--no-emit-trusted-host --no-emit-find-links --output-file=requirements.txt pyproject.toml requirements-build.in
	@$(BIN)/pip-compile --quiet --strip-extras --allow-unsafe --generate-hashes --no-header --no-emit-index-url \
		--no-emit-trusted-host --no-emit-find-links --extra=dev --constraint=requirements.txt \
		--output-file=requirements-dev.txt pyproject.toml requirements-build.in

clean: ## Remove what was built: the environment and the demo's data
	@rm -rf $(VENV) .demo .test-home build *.egg-info

# `make run` and `make test` install what is missing and go. `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run test check lint format docs generate lock setup clean

BIN := .venv/bin
ARGS ?=

help: ## This list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)$$/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null \
	  || sed -n 's/^\([a-z]*\):.*## \(.*\)$$/  make \1   \2/p' $(MAKEFILE_LIST)

run: ## Broker, placement and an emulated fleet; ARGS="--duration 30 --json" for a short one
	@tools/setup.sh run
	@exec $(BIN)/ladle up $(ARGS)

test: ## All tests, against a real RabbitMQ and both databases; ARGS goes to pytest
	@tools/setup.sh test
	@exec $(BIN)/python -m pytest $(ARGS)

check: ## All that continuous integration does
	@exec .ci/run

lint: ## Style and types
	@tools/setup.sh test
	$(BIN)/ruff check contracts services tests tools
	$(BIN)/ruff format --check contracts services tests tools
	$(BIN)/mypy

format: ## Rewrite the code in the project's style
	@tools/setup.sh test
	$(BIN)/ruff check --fix contracts services tests tools
	$(BIN)/ruff format contracts services tests tools

docs: ## Build the documentation into site/
	@tools/setup.sh test
	$(BIN)/mkdocs build --strict --quiet
	@echo "docs: open site/index.html"

generate: ## Write anew what is made from the code: the contract, the table of settings, Compose's users
	@tools/setup.sh test
	$(BIN)/python -m ladle_contracts.asyncapi
	$(BIN)/python tools/settings_table.py
	$(BIN)/python tools/compose_users.py

lock: ## Lock the requirements anew after a change of pyproject.toml; ARGS=--upgrade for new versions
	@tools/setup.sh test
	$(BIN)/python tools/lock.py $(ARGS)

setup: ## Install what running and testing need, and do no more
	@tools/setup.sh test

clean: ## Remove what was built or run here, the virtual environment included
	rm -rf .venv .run site dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -name node_modules -type d -prune -exec rm -rf {} +

# What a developer does with this project; `make` alone lists it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header

.DEFAULT_GOAL := help
.PHONY: help install run test bdd bench lint format lock clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

$(VENV)/run.stamp: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	@echo "Installing what the service needs into $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt $(VENV)/run.stamp
	@echo "Installing what tests and linters need into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(VENV)/bench.stamp: requirements-bench.txt $(VENV)/run.stamp
	@echo "Installing what the benchmark needs into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

benchmarks/fastify/node_modules: benchmarks/fastify/package-lock.json
	@if command -v node npm >/dev/null; then cd benchmarks/fastify && npm ci --silent && touch node_modules; fi

install: $(VENV)/dev.stamp ## Install everything for development into .venv

# Made under another name first, so that an interrupted run leaves no half of a catalogue.
instance/products.db: export DATABASE_URI = sqlite:///products.new.db
instance/products.db: | $(VENV)/run.stamp
	@$(BIN)/flask db-create
	@$(BIN)/flask db-seed
	@mv instance/products.new.db $@

DATABASE := $(if $(DATABASE_URI)$(shell grep -s '^DATABASE_URI=' .env),,instance/products.db)

run: $(VENV)/run.stamp $(DATABASE) ## Serve on port 8000; a demo catalogue is made if there is none
	@exec $(BIN)/gunicorn wsgi:app

test: $(VENV)/dev.stamp ## Run all tests, on SQLite and on PostgreSQL
	$(BIN)/pytest -n 2 --cov

bdd: $(VENV)/dev.stamp ## Do on the page in a browser what staff do; BASE_URL says where else than here
	$(BIN)/behave --format progress3

bench: $(VENV)/bench.stamp benchmarks/fastify/node_modules ## Measure the service beside its peers, in ten minutes
	@exec $(BIN)/python -m benchmarks.run

lint: $(VENV)/dev.stamp $(VENV)/bench.stamp ## Check style, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/dev.stamp ## Mend style and format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lock: $(VENV)/dev.stamp ## Lock the newest fitting packages with their hashes
	$(LOCK) --upgrade --output-file requirements.txt pyproject.toml
	$(LOCK) --upgrade --output-file requirements-dev.txt --extra dev \
		--constraint requirements.txt pyproject.toml
	$(LOCK) --upgrade --output-file requirements-bench.txt --extra bench \
		--constraint requirements-dev.txt pyproject.toml

clean: ## Remove the virtual environment and every cache; the data in instance/ stays
	rm -rf $(VENV) build *.egg-info .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

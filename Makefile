# What a developer does with this project; `make` alone lists it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A lock is complete: pip has nothing to resolve, and must not when a newer release comes out.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header

# Its tag is in k8s/kustomization.yaml alone.
IMAGE = prod:$(shell sed -n 's/^ *newTag: *"\(.*\)"$$/\1/p' k8s/kustomization.yaml)
# What the cluster pulls as cluster-registry:32000 is pushed from outside as:
REGISTRY := localhost:32000
CLUSTER := products
# The volume, its claim and the secret stay: all that cannot be made anew.
DEPLOYED := ingress hpa pdb networkpolicy service deployment postgresql

.DEFAULT_GOAL := help
.PHONY: FORCE help install run test bdd screenshots bench lint format lock clean \
	schemas cluster cluster-rm build push context secret deploy deploy-ha undeploy

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

# Whether an earlier install was interrupted, or its Python is gone, or the checkout was moved: the
# scripts of a virtual environment name its Python by the full path.
BROKEN := $(shell test ! -e $(VENV) || { test -e $(VENV)/run.stamp && $(BIN)/python -c 'import gunicorn' && \
	grep -qF "$$(cd $(VENV) && pwd -P)/bin/python" $(BIN)/flask; } 2>/dev/null || echo yes)

$(VENV)/run.stamp: requirements.txt $(if $(BROKEN),FORCE)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	@$(if $(BROKEN),echo "$(VENV) is incomplete or was made in another place: it is made anew.")
	@echo "Installing what the service needs into $(VENV) ..."
	@$(PYTHON) -m venv $(if $(BROKEN),--clear) $(VENV)
	@$(INSTALL) $<
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt $(VENV)/run.stamp
	@echo "Installing what tests and linters need into $(VENV) ..."
	@$(INSTALL) $<
	@touch $@

$(VENV)/bench.stamp: requirements-bench.txt $(VENV)/run.stamp
	@echo "Installing what the benchmark needs into $(VENV) ..."
	@$(INSTALL) $<
	@touch $@

%/node_modules: %/package-lock.json
	@if command -v node >/dev/null && command -v npm >/dev/null; then cd $* && npm ci --silent && touch node_modules; fi

install: $(VENV)/dev.stamp ## Install everything for development into .venv

# Made under another name first, so that an interrupted run leaves no half of a catalogue.
instance/products.db: export DATABASE_URI = sqlite:///products.new.db
instance/products.db: | $(VENV)/run.stamp
	@$(BIN)/flask db-create
	@$(BIN)/flask db-seed
	@mv instance/products.new.db $@

run: $(VENV)/run.stamp ## Serve on HOST and PORT; the default database begins with a demo catalogue
	@uri=$$($(BIN)/python -c 'from service.config import read_settings; print(read_settings().DATABASE_URI)') && \
	case $$uri in sqlite:///products.db) $(MAKE) --silent instance/products.db ;; esac
	@exec $(BIN)/python -m service.server

test: $(VENV)/dev.stamp tests/clients/node_modules ## Run all tests, on SQLite and on PostgreSQL
	$(BIN)/pytest -n 2 --dist worksteal $(if $(CI),--cov)

bdd: $(VENV)/dev.stamp ## Do on the page in a browser what staff do; BASE_URL says where else than here
	$(BIN)/behave --format progress3

screenshots: $(VENV)/dev.stamp ## Make the pictures of the page in docs/ anew
	$(BIN)/python -m features.screenshots

bench: $(VENV)/bench.stamp benchmarks/fastify/node_modules ## Measure the service beside its peers, in ten minutes; then searches, workers and large files
	@$(BIN)/python -m benchmarks.run
	@$(BIN)/python -m benchmarks.beyond
	@exec $(BIN)/python -m benchmarks.files

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

schemas: ## Fetch the schemas of custom resources, with which the tests check k8s-ha/
	@mkdir -p tests/schemas
	@while read -r hash url; do \
		file=tests/schemas/$${url##*/} && \
		curl --fail --silent --show-error --location --output $$file.new $$url && \
		echo "$$hash  $$file.new" | sha256sum --check --quiet && \
		mv $$file.new $$file || exit 1; \
	done < tests/schemas.txt

cluster: ## Make a local Kubernetes cluster (k3d) with registry and secret; port 8080 leads in
	@k3d cluster list $(CLUSTER) >/dev/null 2>&1 || \
	k3d cluster create $(CLUSTER) --registry-create cluster-registry:0.0.0.0:32000 \
		--port '8080:80@loadbalancer'
	kubectl config use-context k3d-$(CLUSTER)
	@k8s/secret.sh
	kubectl config set-context --current --namespace=products
	@$(PYTHON) -c 'import socket; socket.gethostbyname("cluster-registry")' 2>/dev/null || { \
		echo "The name cluster-registry, to which images are pushed, is unknown here. To add it:"; \
		echo "  echo '127.0.0.1 cluster-registry' | sudo tee -a /etc/hosts"; }

cluster-rm: ## Remove that cluster, its registry and all its data
	k3d cluster delete $(CLUSTER)

build: ## Build the image
	docker build --pull -t $(IMAGE) .

push: ## Push the image to the cluster's registry
	docker tag $(IMAGE) $(REGISTRY)/$(IMAGE)
	docker push $(REGISTRY)/$(IMAGE)

context:
	@k8s/context.sh k3d-$(CLUSTER)

secret: context ## Make random passwords and a token in the cluster, unless they are there
	@k8s/secret.sh

deploy: secret ## Deploy or upgrade, and wait until all is served
	kubectl apply -k k8s
	kubectl -n products rollout status statefulset/postgresql --timeout=10m
	kubectl -n products rollout status deployment/products --timeout=10m

deploy-ha: context ## The same with CloudNativePG: three PostgreSQL, two poolers, backups, alerts
	@k8s-ha/prepare.sh
	kubectl apply -k k8s-ha
	kubectl -n products wait --for=condition=Ready clusters.postgresql.cnpg.io/products-db --timeout=20m
	kubectl -n products rollout status deployment/products --timeout=10m

undeploy: context ## Take the service and its PostgreSQL away; the data and the secret stay
	kubectl delete --ignore-not-found $(DEPLOYED:%=-f k8s/%.yaml)

clean: ## Remove the virtual environment and every cache; the data in instance/ stays
	rm -rf $(VENV) build *.egg-info .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

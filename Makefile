# Everything a developer does with Asgard. `make` alone says what there is.
# Needs python3 (3.11 to 3.13) with venv and pip, make and git; all else is brought by `make setup`
# into .venv, .cache and the node_modules folders, and a second `make` finds it there.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory

PORT ?= 8000
STORAGE ?= ./storage
WORKERS ?= 2
MINUTES ?= 60

# One Node for everybody: the system's when it is 20 or newer, else the one in .venv.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# What the lock names, by its hashes. Not `npm ci`: that refuses a lock made where the registry lacks
# the binaries of other platforms; tests/unit/project/test_requirements.py compares lock and package.json.
NPM_INSTALL := npm install --no-save --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error

TYPED := clients/python/src services tests protos/generate.py deploy/docker .ci/lock.py .ci/soak.py .ci/checks
PAGE := clients/dashboard
PAGE_SOURCES := $(shell find $(PAGE) -type f -not -path '*/node_modules/*' -not -path '*/dist/*' 2>/dev/null)
PAGE_BUILT := services/asgard_server/gateway/static

.PHONY: help setup run test check bench soak gen format lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  Variables: PORT=$(PORT) STORAGE=$(STORAGE) (run), WORKERS=$(WORKERS) ARGS= (test), MINUTES=$(MINUTES) (soak)"

setup: .cache/made/python .cache/made/page ## bring everything: .venv with both distributions, the built page

run: setup ## all examples computing live into STORAGE, the page on PORT
	@ASGARD_SIM_DATA=$${ASGARD_SIM_DATA:-local} exec asgard example --all --monitor --storage "$(STORAGE)" --port "$(PORT)"

# Not loadgroup or loadscope: of tests with one id, as schemathesis makes them, they run only one.
test: setup .cache/made/buf .cache/made/chromium .cache/made/engines .cache/made/unpacked .cache/made/kubernetes ## the whole suite; ARGS= goes to pytest (ARGS="-k append")
	@exec python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

check: setup .cache/made/buf .cache/made/kubernetes ## lint, types, imports, protos, generated code, page, manifests, hygiene
	ruff check .
	ruff format --check .
	mypy $(TYPED)
	python .ci/checks/imports.py
	python .ci/checks/protos.py
	python .ci/checks/generated.py
	python -m asgard_server.settings.reference | diff docs/operate/environment.md - || { echo "run make gen"; exit 1; }
	cd $(PAGE) && npm run --silent check
	python .ci/checks/dockerfile.py
	python .ci/checks/kubernetes.py
	python .ci/checks/hygiene.py

bench: setup .cache/made/chromium ## every promised number, measured here (docs/benchmarks.md)
	@exec python tests/benchmarks $(ARGS)

soak: setup .cache/made/engines .cache/made/chromium .cache/made/keycloak ## the tests that live on chance, again and again for MINUTES
	@exec python .ci/soak.py $(MINUTES) $(ARGS)

gen: .cache/made/python .cache/made/buf ## generated code from protos/, the environment reference
	protos/node_modules/@bufbuild/buf-*/bin/buf format --write protos
	python protos/generate.py
	python -m asgard_server.settings.reference > docs/operate/environment.md

format: setup ## format and mend what can be mended
	ruff check --fix .
	ruff format .
	cd $(PAGE) && npm run --silent format

lock: .cache/made/python ## pin every dependency anew, with hashes and without addresses
	python .ci/lock.py

clean: ## remove what make made (never STORAGE)
	rm -rf .venv .cache $(PAGE_BUILT) $(PAGE)/node_modules $(PAGE)/dist protos/node_modules
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- what the targets need, each made once ---------------------------------------------------

.cache/made/python: requirements.txt clients/python/pyproject.toml services/pyproject.toml
	@bash .ci/setup-python
	@mkdir -p $(@D) && touch $@

.cache/made/node: .cache/made/python .ci/requirements-node.txt
	@bash .ci/setup-node
	@mkdir -p $(@D) && touch $@

.cache/made/chromium: .cache/made/python .ci/setup-chromium
	@bash .ci/setup-chromium
	@mkdir -p $(@D) && touch $@

.cache/made/engines: .cache/made/python .ci/setup-engines
	@bash .ci/setup-engines
	@mkdir -p $(@D) && touch $@

.cache/made/buf: .cache/made/node protos/package-lock.json
	cd protos && $(NPM_INSTALL)
	@mkdir -p $(@D) && touch $@

.cache/made/keycloak: .cache/made/python .ci/setup-keycloak
	@bash .ci/setup-keycloak
	@mkdir -p $(@D) && touch $@

.cache/made/unpacked: .ci/setup-unpacked
	@bash .ci/setup-unpacked
	@mkdir -p $(@D) && touch $@

.cache/made/kubernetes: .cache/made/python .ci/setup-kubernetes .ci/checks/kubernetes_schemas.py
	@bash .ci/setup-kubernetes
	@mkdir -p $(@D) && touch $@

$(PAGE)/node_modules/.made: .cache/made/node $(PAGE)/package.json $(PAGE)/package-lock.json
	cd $(PAGE) && $(NPM_INSTALL)
	@touch $@

.cache/made/page: $(PAGE)/node_modules/.made $(PAGE_SOURCES)
	cd $(PAGE) && npm run --silent build
	@mkdir -p $(@D) && touch $@

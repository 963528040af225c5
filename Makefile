# Every word a developer or a newcomer needs. `make demo` and `make test` do all their own set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DURATION ?= 60
SOAK ?= 0

RENDER := grafana/render
PICTURES ?=

.PHONY: demo test lint bench packages audit lock generate charts image schema pictures clean help

help:
	@echo "make demo      simulated accelerators, real pipeline: watch a job overrun (Ctrl-C ends it)"
	@echo "make test      everything: lint, unit, property and integration tests"
	@echo "make lint      ruff format and check, mypy --strict"
	@echo "make bench     what agent and accounting cost: 8 fake GPUs, an attack, 20,000 jobs; one JSON object (DURATION=seconds; SOAK=1800 for half an hour of soak)"
	@echo "make generate  dashboards and the pages of metrics and commands from their sources"
	@echo "make charts    the Helm chart: lint, render, and keep what was rendered; compose.yaml parsed (builds both tools with Go)"
	@echo "make image     the build stage of the container image, run without an engine, and what it makes (a minute)"
	@echo "make schema    are the dashboards some to Grafana's own types? (npm)"
	@echo "make pictures  the pictures of the documentation (npm, Chromium; ten minutes; PICTURES=statement for some)"
	@echo "make packages  dist/: wheel, sdist, deb and (where rpmbuild is) rpm (INTERPRETER=folder packs that Python, GLIBC=2.28 is for RHEL 8)"
	@echo "make audit     asks for known weaknesses of all that is pinned, and what is out of date"
	@echo "make lock      pin the requirements again"

$(VENV)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "gpuwatch needs Python 3.11 or later; set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed; on Debian install python3-venv"; exit 1; }
	@touch $@

$(VENV)/runtime: $(VENV)/python requirements.lock pyproject.toml
	@echo "installing gpuwatch into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

$(VENV)/dev: $(VENV)/runtime requirements-dev.lock
	@echo "installing the development tools into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

demo: $(VENV)/runtime
	@exec $(BIN)/gpuwatch up --demo

lint: $(VENV)/dev
	$(BIN)/ruff format --check gpuwatch client tests grafana docs deploy
	$(BIN)/ruff check gpuwatch client tests grafana docs deploy
	$(BIN)/mypy
	$(BIN)/mypy deploy/packages

# Beside lint: what is to be fetched, and each test module compiled by one process and not by every worker, also where
# the environment says that nothing compiled is to be kept.
test: export PYTHONDONTWRITEBYTECODE :=
test:
	@$(MAKE) --no-print-directory --jobs fetched compiled lint
	$(BIN)/python -m pytest -n auto --dist loadgroup

.PHONY: fetched compiled

fetched:
	@sh tests/integration/packages.sh

compiled: $(VENV)/dev
	@$(BIN)/python -m pytest --collect-only -qq >/dev/null 2>&1 || true

bench: $(VENV)/dev
	@$(BIN)/python -m tests.benchmarks --duration $(DURATION) --soak $(SOAK)

generate: $(VENV)/dev
	$(BIN)/python -m grafana
	$(BIN)/gpuwatch metrics --markdown > docs/metrics.md
	$(BIN)/python docs/generate.py
	$(BIN)/python deploy/helm/generate.py

# Helm is built from its source: three minutes, once.
HELM := .cache/helm/helm

$(HELM):
	@command -v go >/dev/null || { echo "no go: Helm cannot be built; put helm into the path and run python -m tests.deploy.chart"; exit 1; }
	@GOBIN=$(CURDIR)/.cache/helm GOFLAGS=-trimpath go install -ldflags "-s -w" helm.sh/helm/v3/cmd/helm@v3.18.4

.cache/compose/cmd:
	@GOBIN=$(CURDIR)/.cache/compose GOFLAGS=-trimpath go install github.com/compose-spec/compose-go/v2/cmd@v2.16.2

charts: $(VENV)/dev $(HELM) .cache/compose/cmd
	$(BIN)/python deploy/helm/generate.py
	$(BIN)/python -m tests.deploy.chart
	$(BIN)/python -m pytest tests/deploy -k "chart or helm or compose" -n 0

image: $(VENV)/dev
	GPUWATCH_IMAGE=1 $(BIN)/python -m pytest tests/deploy/test_container.py -n 0

$(RENDER)/node_modules/.package-lock.json: $(RENDER)/package-lock.json
	@command -v npm >/dev/null || { echo "no npm: nothing of Grafana's to check or draw dashboards with"; exit 1; }
	@cd $(RENDER) && npm ci --silent

schema: $(RENDER)/node_modules/.package-lock.json
	@node $(RENDER)/types.mjs grafana/dashboards/*.json
	@echo "Grafana's types accept every dashboard"

pictures: $(VENV)/dev
	-@$(MAKE) --no-print-directory $(RENDER)/node_modules/.package-lock.json
	@sh tests/integration/packages.sh
	@$(BIN)/python -m docs.pictures $(PICTURES)

packages: $(VENV)/dev
	@$(BIN)/hatchling build -d dist
	@formats="--format deb"; if command -v rpmbuild >/dev/null; then formats="$$formats --format rpm"; else echo "no rpmbuild here: no rpm"; fi; \
		$(BIN)/python deploy/packages/build.py $$formats $(if $(INTERPRETER),--python $(INTERPRETER)) $(if $(GLIBC),--glibc $(GLIBC))

# In an environment of its own, as it brings another pip. Fails, too, where the service that knows cannot be asked.
audit: $(VENV)/runtime
	@test -x .cache/audit/bin/pip-audit || { $(PYTHON) -m venv .cache/audit && .cache/audit/bin/pip install --quiet --disable-pip-version-check "pip-audit>=2.9,<3"; }
	@for lock in requirements.lock requirements-dev.lock deploy/packages/requirements.lock; do \
		echo "$$lock:"; timeout 300 .cache/audit/bin/pip-audit --strict --disable-pip --require-hashes --progress-spinner off -r $$lock \
			|| { echo "$$lock: not known to be clean: a weakness is named above, or the service could not be asked"; exit 1; }; done
	@$(BIN)/python -m pip list --outdated --disable-pip-version-check

lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --upgrade pyproject.toml --group dev -o requirements-dev.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate -c requirements-dev.lock pyproject.toml --group build -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate -c requirements-dev.lock pyproject.toml --extra all -o deploy/packages/requirements.lock

clean:
	rm -rf $(VENV) .cache build dist

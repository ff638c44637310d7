# One command each; `make` alone lists them. Everything lives in .venv, on bare Python.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TOOLS := $(VENV)/tools
PIP := $(BIN)/python -m pip --disable-pip-version-check
# A comma in the words of a call would end one.
CYCLONEDX := 'cyclonedx-bom>=7.1,<8'
ARGS ?=
ENGINE ?= docker
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

# Hundreds of processes start in the tests; each would compile our own modules again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test long check format bench bench-demo bench-all peers kills orphans chaos matrix brokers journals mutants simulation model recovery hosts newcomer soak charts docs sbom audit image image-check compose-check cluster-check wheel clean
.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready ## prepare everything in .venv (again only when the dependencies change)

demo: setup ## a thousand runs against a real server, undone where they fail, and the proof
	@$(BIN)/orchestrator demo $(ARGS)

test: setup $(TOOLS)/.ready ## run all tests
	@$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

ui-test: setup ## the tests of the console in a real browser (Chromium)
	@$(BIN)/python -m pytest -q tests/acceptance/console $(ARGS)

screenshots: setup ## pictures of the console for docs/images, from a running demo
	@$(BIN)/python docs/screenshots.py $(ARGS)

long: setup ## what `make test` leaves out for its length, and of its sweeps the whole
	@WHOLE_SWEEPS=1 $(BIN)/python -m pytest -m "long or sweep" $(ARGS)

check: setup ## formatting, lint, types, import arrows, generated documents, each operation by each role
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive orchestrator tasks
	$(BIN)/python docs/state_diagram.py --check
	$(BIN)/python docs/check_rules.py --check
	$(BIN)/python docs/metrics_page.py --check
	$(BIN)/python docs/scaling_page.py --check
	$(BIN)/python -m tests.faults.matrix --check
	$(BIN)/python -m tests.faults.brokers --check
	$(BIN)/python docs/reference_pages.py --check
	$(BIN)/python -m tests.faults.soak.page --check
	$(BIN)/python docs/security_page.py
	$(PIP) install --quiet 'pip-audit>=2.9,<3'
	$(BIN)/python docs/audit.py
	$(BIN)/python -m pytest -q --no-header -n 0 tests/integration/api/test_access.py -k by_every_role

format: setup ## rewrite the sources in the house's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup ## the engine beside an ordinary Celery chain on this machine (ARGS="--load io20")
	@$(BIN)/orchestrator bench engine $(ARGS)

bench-all: setup ## the same, one work load after the other: about a quarter of an hour
	@for load in noop io20 fail submit latency inflight history; do \
		$(BIN)/orchestrator bench engine --load $$load $(ARGS) || exit 1; done

bench-demo: setup ## throughput of ten thousand checkouts against a real server
	@$(BIN)/orchestrator demo --runs 10000 --concurrency 5000 $(ARGS)

peers: setup ## the engine beside DBOS, Restate and Temporal, which are installed for it
	$(PIP) install --quiet --constraint constraints.txt --editable '.[peers]'
	@$(BIN)/orchestrator bench peers $(ARGS)

kills: setup ## workers and servers of ours, DBOS, Restate and Temporal killed at the same times
	$(PIP) install --quiet --constraint constraints.txt --editable '.[peers]'
	@$(BIN)/orchestrator bench kills $(ARGS)

orphans: setup ## what a declined checkout leaves behind, beside other Arazzo runners, installed for it
	@$(BIN)/orchestrator bench orphans --install $(ARGS)

chaos: setup ## real processes under seeded faults, healed, drained and judged
	@$(BIN)/orchestrator bench chaos --runs 5000 --seconds 120 $(ARGS)

matrix: setup ## the tests of each fault, and docs/fault-matrix.md with what came of them (ARGS="F1 F2", ARGS="--rest")
	@$(BIN)/python -m tests.faults.matrix --run $(ARGS)

brokers: setup ## the fault suite on another broker, and docs/brokers.md (ARGS="--run redis7")
	@$(BIN)/python -m tests.faults.brokers $(ARGS)

journals: setup ## keep the journals of this release, which later ones have to decide alike
	@$(BIN)/python -m tests.faults.journals

mutants: setup ## planted faults of the engine: the judge has to catch each of them
	@$(BIN)/orchestrator bench mutants $(ARGS)

simulation: setup ## thousands of runs with random faults on a virtual clock, and all crash points
	@$(BIN)/orchestrator bench simulation $(ARGS)
	@$(BIN)/orchestrator bench cells

model: setup ## every interleaving of two workers, sweeps, people and faults, over the real core
	@$(BIN)/python -m tests.faults.model $(ARGS)

hosts: setup ## ten thousand runs over hosts that get lost, as network namespaces; needs root (Linux)
	@$(BIN)/orchestrator bench hosts $(ARGS)

recovery: setup ## how soon work goes on after a worker or the broker is gone
	@$(BIN)/orchestrator bench recovery $(ARGS)

newcomer: setup ## README and tutorial to the letter in a bare Debian; needs root, mmdebstrap and a network
	@$(BIN)/python -m tests.packaging.newcomer $(ARGS)

soak: setup ## chaos in parts until 100,000 runs were judged; goes on where it was interrupted
	@$(BIN)/python -m tests.faults.soak $(ARGS)

charts: setup ## the plain manifests of deploy/kubernetes, from the chart
	@$(BIN)/python -m tests.packaging.charts

docs: setup ## the documentation as a site, into dist/site; it needs no network to be read
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --config-file .mkdocs.yml
	@echo "dist/site; to look at it: $(BIN)/python -m http.server --directory dist/site --bind 127.0.0.1 8000"

sbom: setup $(TOOLS)/.ready ## what is installed, as CycloneDX, into dist/
	@mkdir -p dist
	@$(TOOLS)/bin/cyclonedx-py environment $(VENV) --pyproject pyproject.toml --output-reproducible --output-file dist/sbom.cdx.json
	@echo dist/sbom.cdx.json

audit: setup ## known vulnerabilities of what is pinned; asks a service (ARGS="--advisories FOLDER" asks none)
	$(PIP) install --quiet 'pip-audit>=2.9,<3'
	@$(BIN)/python docs/audit.py --must-reach $(ARGS)

image: ## the container image, tagged with the version (ENGINE=podman)
	@$(ENGINE) build -f deploy/Dockerfile -t orchestrator:$(VERSION) .

image-check: setup ## build the image, start it as compose does, send a run through it; needs docker or podman
	@$(BIN)/python -m tests.packaging.image $(ARGS)

compose-check: setup ## deploy/compose.yaml started as it is, a worker killed, all judged (ARGS=--stand-ins without a registry)
	@$(BIN)/python -m tests.packaging.compose_up $(ARGS)

cluster-check: setup ## the chart in the cluster of KUBECONFIG: upgraded, drained, judged (ARGS="--image …")
	@$(BIN)/python -m tests.packaging.cluster $(ARGS)

wheel: setup ## build the wheel into dist/
	@$(PIP) wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

clean: ## remove .venv, caches and local state
	rm -rf $(VENV) .orchestrator build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

# uv installs in a fifth of the time; where it cannot (a pip-only index, say), pip does it. Both
# compile what they install: without, each process compiles a thousand modules again wherever
# PYTHONDONTWRITEBYTECODE is set, for nearly two seconds of CPU.
define install
{ $(BIN)/uv pip install --quiet --compile-bytecode --python $(or $(2),$(BIN)/python) -c constraints.txt $(1) \
	|| $(PIP) --python $(or $(2),$(BIN)/python) install --quiet --progress-bar off -c constraints.txt $(1); }
endef

# The stamp is made last: a set-up that was interrupted starts again.
# Not beside the project: with its checks of formats every process that validates anything would
# compile 39 grammars (rfc3987-syntax) first, two seconds of a processor.
$(TOOLS)/.ready: constraints.txt $(VENV)/.ready
	@test -x $(TOOLS)/bin/python || $(BIN)/python -m venv --without-pip $(TOOLS)
	@$(call install,$(CYCLONEDX),$(TOOLS)/bin/python)
	@touch $@

$(VENV)/.ready: pyproject.toml constraints.txt Makefile
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
		rm -rf $(VENV); echo "$(PYTHON) has no venv; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 setup")'
	@echo "Setting up $(VENV) …"
	@$(PIP) install --quiet --progress-bar off -c constraints.txt uv || true
	@$(call install,setuptools hatchling editables)
	@$(call install,--no-build-isolation -e '.[dev]')
	@touch $@

# What a person types; CI and README call the same targets. Needs python3 (3.11 or newer) and make, nothing else.
#
#   make run    a hub on https://localhost:8443 with a first certificate issued through it; Ctrl-C stops it;
#               make run PORT=9443 where that port is in use
#   make demo   the whole story on this machine: device -> hub -> CA -> DNS, then everything is stopped
#   make check  lint and the fast tests, in a minute       make lint   ruff, mypy, import-linter, figures of the map
#   make test   every test that this machine can run; with PYTEST_ARGS=tests/…, those alone
#   make nightly the long forms of what `make test` has short: every verb over the API, load for a minute each, a busy hub for an hour
#   make mutants breaks the code in 400 places, one at a time, and names the breaks that no test notices (an hour)
#   make bench  speed beside Pebble in the same run       make dist   wheels and sdist in dist/
#   make bench-proxied  what an order costs that a CA signs; BENCH_ARGS='--base TREE --kills 20' also compares and kills
#   make matrix every ACME client at three upstream speeds; writes docs/clients.md (half an hour); with
#               MATRIX_SOURCES=DIR also those that are built from checkouts in DIR
#   make docs   check the documentation's links and run its commands
#   make audit  known vulnerabilities of what uv.lock names   make sbom   CycloneDX list of it in dist/
#   make format, make clean

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
CERTBOT := .run/certbot/bin/certbot
PORT   := 8443
PYTEST_ARGS ?=
MATRIX_ARGS ?=
MUTANTS_ARGS ?=
MATRIX_SOURCES ?=

.DEFAULT_GOAL := help
.PHONY: help run demo check test nightly mutants lint bench bench-proxied matrix docs dist audit sbom format clean provision can-run

help:
	@sed -n 's/^#   //p' Makefile

run: can-run $(CERTBOT)
	@exec $(BIN)/python -u -m scripts.run --port $(PORT)

can-run: $(BIN)/.stamp
	@$(BIN)/python -m scripts.run --port $(PORT) --check

demo: $(BIN)/.stamp $(CERTBOT)
	@$(BIN)/python -u -m scripts.demo

check: $(BIN)/.stamp
	@scripts/check

# Single tests start at once; those whose server is not here skip, and say what is missing.
test: $(BIN)/.stamp $(if $(PYTEST_ARGS),,$(CERTBOT) provision)
	@scripts/test $(PYTEST_ARGS)

nightly: $(BIN)/.stamp $(CERTBOT) provision
	CLI_OVER_API=1 $(BIN)/pytest -q tests/cli
	SCHEMATHESIS_EXAMPLES=20 SCHEMATHESIS_PHASES=examples,coverage,fuzzing $(BIN)/pytest -s tests/e2e/test_rest_api.py
	LOAD_SECONDS=60 $(BIN)/pytest -s tests/load tests/load/fresh_clone.py --ignore tests/load/test_busy_hub.py
	LOAD_SECONDS=3600 $(BIN)/pytest -s tests/load/test_busy_hub.py
	@$(MAKE) --no-print-directory matrix
	@$(MAKE) --no-print-directory mutants

mutants: $(BIN)/.stamp $(if $(MUTANTS_ARGS),,provision)
	@$(BIN)/python -m scripts.mutants $(MUTANTS_ARGS)

lint: $(BIN)/.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m tests.map | sed -n 1,6p

bench: $(BIN)/.stamp provision
	@$(BIN)/python -m bench.compare $(BENCH_ARGS)

bench-proxied: $(BIN)/.stamp provision
	@$(BIN)/python -m bench.proxied $(BENCH_ARGS)

matrix: $(BIN)/.stamp $(CERTBOT) provision
	@MATRIX_SOURCES='$(abspath $(MATRIX_SOURCES))' $(BIN)/python -m tests.matrix $(MATRIX_ARGS)
	$(if $(MATRIX_ARGS),,@$(BIN)/python -m tests.matrix.ari)

docs: $(BIN)/.stamp
	$(BIN)/pytest -q tests/test_docs.py

dist: $(BIN)/.stamp
	rm -rf dist
	ACMEHUB_RELEASE=1 $(BIN)/uv build --all-packages --out-dir dist
	@ls -1 dist

# Asks PyPI's advisory service; where that cannot be reached it says so and exits with 2.
audit: $(BIN)/.stamp
	@$(BIN)/python -m scripts.audit

sbom: $(BIN)/.stamp
	@mkdir -p dist
	@$(BIN)/uv export --quiet --frozen --all-packages --no-dev --format cyclonedx1.5 --output-file dist/acmehub.cdx.json
	@ls -1 dist/acmehub.cdx.json

format: $(BIN)/.stamp
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .run dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*

provision:
	@scripts/provision

# The environment, exactly as uv.lock says. Debian's python3 comes without ensurepip: scripts/venv has the cure.
$(BIN)/.stamp: pyproject.toml uv.lock hatch_build.py $(wildcard plugins/*/pyproject.toml) scripts/venv scripts/pip-install
	@scripts/venv $(PYTHON) $(VENV)
	@scripts/pip-install $(BIN)/python 'uv>=0.13.9,<1'
	@echo 'acmehub: installing what uv.lock names into $(VENV)'
	@$(BIN)/uv sync --quiet --frozen --inexact --python $(BIN)/python
	@touch $@

# A real client that lives in an environment of its own, as on a device.
$(CERTBOT): tests/pypi-clients.txt scripts/venv scripts/pip-install
	@scripts/venv $(PYTHON) .run/certbot
	@echo 'acmehub: installing certbot from PyPI into .run/certbot'
	@scripts/pip-install .run/certbot/bin/python -r tests/pypi-clients.txt
	@touch $@

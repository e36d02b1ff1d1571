# The one door: `make help` lists what is behind it.
.DEFAULT_GOAL := help
.PHONY: help setup develop serve image packages test test-fast lint format bench docs soak audit lock clean

VENV := .venv
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check
LISTEN ?= 127.0.0.1:5000
OPS_LISTEN ?= 127.0.0.1:5001
DATA ?= ./data
# One more than the processors: tests also wait, for servers, leases and clocks.
JOBS ?= $(shell expr $$(nproc) + 1)

# A virtual environment knows its own path and its Python's: where the clone was moved, or that Python is gone, it is
# made again.
ifneq ($(wildcard $(VENV)/.runtime),)
ifneq ($(shell deploy/make-venv --is-usable $(VENV) && echo yes),yes)
$(shell rm -f $(VENV)/.runtime $(VENV)/.dev)
endif
endif

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1|\2/' | column -t -s '|'

$(VENV)/.runtime: requirements/build.lock requirements/runtime.lock pyproject.toml
	@deploy/make-venv $(VENV)
	@echo "installing roadstead and its locked dependencies into $(VENV)"
	@$(PIP) --require-hashes -r requirements/build.lock -r requirements/runtime.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements/dev.lock
	@echo "installing what the tests need into $(VENV)"
	@$(PIP) --require-hashes -r requirements/dev.lock
	@touch $@

setup: $(VENV)/.runtime ## make .venv with roadstead in it, from the lock

develop: $(VENV)/.dev ## the same with everything that tests and linters need

serve: $(VENV)/.runtime ## serve the registry at http://127.0.0.1:5000, data in ./data
	@exec $(VENV)/bin/roadstead serve --started-by-make --listen $(LISTEN) --ops-listen $(OPS_LISTEN) --data $(DATA)

image: $(VENV)/.runtime ## build an OCI image into ./dist, and load it into docker or podman where one runs
	@$(VENV)/bin/python -m deploy.build image $(ARGS)

packages: $(VENV)/.runtime ## build a wheel and a Debian package with a systemd unit into ./dist
	@$(VENV)/bin/python -m deploy.build packages $(ARGS)

test: $(VENV)/.dev ## run all tests; installs the real clients they drive where it can
	@$(VENV)/bin/python tests/system/provision.py
	@$(VENV)/bin/python -m pytest -n $(JOBS) --dist loadgroup --quiet $(ARGS)

test-fast: $(VENV)/.dev ## run what needs no real client: seconds
	@$(VENV)/bin/python -m pytest -n $(JOBS) --dist loadgroup --quiet tests/unit tests/contract tests/api $(ARGS)

lint: $(VENV)/.dev ## check style, types and walls
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check --quiet
	@$(VENV)/bin/mypy
	@$(VENV)/bin/basedpyright --level error
	@$(VENV)/bin/lint-imports
	@$(VENV)/bin/deptry src

format: $(VENV)/.dev ## put every file into shape
	@$(VENV)/bin/ruff check --fix
	@$(VENV)/bin/ruff format

bench: $(VENV)/.dev ## compare with other registries in one run and write the table into the docs
	@$(VENV)/bin/python tests/system/provision.py
	@$(VENV)/bin/python -m benchmarks $(ARGS)

docs: $(VENV)/.dev ## write the generated pages of the reference again
	@$(VENV)/bin/python docs/generate.py

soak: $(VENV)/.dev ## the long forms: hundreds of crashes, thousands of examples
	@$(VENV)/bin/python tests/system/provision.py
	@ROADSTEAD_CRASH_CYCLES=500 ROADSTEAD_MIGRATED_TAGS=200000 $(VENV)/bin/python -m pytest --hypothesis-profile nightly \
		--timeout 14400 tests/system/faults tests/api/test_protocol_model.py \
		tests/system/database/test_statements_fail.py \
		tests/unit/database/test_projects_migration.py $(ARGS)

audit: $(VENV)/.dev ## ask whether a locked dependency has a known vulnerability
	@$(VENV)/bin/pip-audit --require-hashes --disable-pip -r requirements/runtime.lock

lock: $(VENV)/.dev ## resolve the dependencies again, with hashes
	@$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade \
		requirements/build.in -o requirements/build.lock
	@$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade \
		pyproject.toml -o requirements/runtime.lock
	@$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade \
		pyproject.toml --extra dev -c requirements/runtime.lock -o requirements/dev.lock

clean: ## remove the environment and caches (never the data)
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis dist

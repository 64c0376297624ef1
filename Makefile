# `make up` runs EverQuant on this machine, `make test` tests it; both need only Python 3.11 or newer.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help interpreter up test test-faults lint format bench fuzz openapi clean check-production check-openapi

UV := $(or $(shell command -v uv 2>/dev/null),.uv/bin/uv)
BIN := .venv/bin
PYTHON := $(BIN)/python
SYNCED := .venv/.synced
# Tests wait for processes and sockets more than they compute.
JOBS ?= $(shell cores=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); echo $$((cores + 1)))
PYTEST_ARGS ?=
SYSTEM_PYTHON ?= /usr/bin/python3
IS_OPTIMIZED := import sys, sysconfig; sys.exit("--enable-optimizations" not in (sysconfig.get_config_var("CONFIG_ARGS") or ""))
IS_NEW := import sys; sys.exit(sys.version_info < (3, 11))
# Three dozen processes of ours start during the tests: each would compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

help:
	@echo "make up       start everything here: database, cache, web, worker, demo data (PORT=8080)"
	@echo "make test     all tests, on PostgreSQL and Valkey of their own (JOBS=$(JOBS), PYTEST_ARGS=)"
	@echo "make test-faults  kill, cut off and starve the running product, then read its books (about seven minutes)"
	@echo "make lint     formatting, lints, types, import chain, migrations, production checks, OpenAPI"
	@echo "make format   format and fix what can be fixed"
	@echo "make bench    measure against a plain reference on this machine"
	@echo "make fuzz     try every operation against openapi.yaml for ten minutes (FUZZ_S=600)"
	@echo "make openapi  write openapi.yaml anew"
	@echo "make clean    remove caches (your data in .everquant stays)"

.uv/bin/uv:
	@python3 -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "Needs uv, or the venv module of Python to install it (Debian: apt-get install python3-venv)." >&2; exit 1; }
	python3 -m venv .uv
	.uv/bin/pip install --quiet --disable-pip-version-check uv

# The interpreter for .venv: the one that uv finds, unless it was built without optimizations, as pyenv builds them, and
# the system has a new one, which its makers have optimized: a fifth faster. UV_PYTHON overrules both.
interpreter: | $(UV)
	@found=$$($(UV) python find --system 2>/dev/null) || exit 0; \
	if ! "$$found" -c '$(IS_OPTIMIZED)' && $(SYSTEM_PYTHON) -c '$(IS_NEW)' 2>/dev/null; then found=$(SYSTEM_PYTHON); fi; \
	echo "$${UV_PYTHON:-$$found}"

$(SYNCED): pyproject.toml uv.lock | $(UV)
	@python=$$($(MAKE) --silent --no-print-directory interpreter) && \
	$(UV) sync --locked --quiet --compile-bytecode $${python:+--python "$$python"}
	@touch $@

up: $(SYNCED)
	@exec $(PYTHON) manage.py up

test: $(SYNCED)
	$(PYTHON) -m pytest -n $(JOBS) --dist worksteal $(PYTEST_ARGS)

test-faults: $(SYNCED)
	$(PYTHON) -m tests.faults

lint: $(SYNCED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTHON) manage.py makemigrations --check --dry-run
	@$(MAKE) --no-print-directory check-production check-openapi

# Secrets made up for this one command: the settings refuse to start without strong ones.
check-production: $(SYNCED)
	@echo "manage.py check --deploy"
	@secret() { $(PYTHON) -c 'import secrets; print(secrets.token_urlsafe(48))'; }; \
	SECRET_KEY=$$(secret) JWT_SECRET=$$(secret) \
	ENCRYPTION_KEYS=$$($(PYTHON) -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())') \
	ENVIRONMENT=production ALLOWED_HOSTS=everquant.example \
	DATABASE_URL=postgresql://nobody@localhost/nothing REDIS_URL=redis://localhost \
	$(PYTHON) manage.py check --deploy --fail-level WARNING

check-openapi: $(SYNCED)
	@echo "manage.py spectacular --validate"
	@fresh=$$(mktemp) && trap 'rm -f "$$fresh"' EXIT && \
	$(PYTHON) manage.py spectacular --validate --fail-on-warn --file "$$fresh" && \
	diff -u openapi.yaml "$$fresh" || { echo "openapi.yaml is not what the code says: run make openapi" >&2; exit 1; }

format: $(SYNCED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

openapi: $(SYNCED)
	$(PYTHON) manage.py spectacular --validate --fail-on-warn --file openapi.yaml

bench: $(SYNCED)
	$(PYTHON) -m benchmarks

fuzz: $(SYNCED)
	$(PYTHON) -m benchmarks.fuzz $(or $(FUZZ_S),600)

clean:
	find . \( -name .venv -o -name .uv -o -name .git -o -name .everquant \) -prune -o -name __pycache__ -type d -exec rm -rf {} +
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .schemathesis staticfiles

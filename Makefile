# Energo. `make` prints the menu. Stamps in .venv keep anything from being done twice.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SEEDS ?= 1..1000
FUZZ_COMMANDS ?= 10000000
FUZZ_NETWORKS ?= 100000
FUZZ_INPUTS ?= 1000000
HOMES ?= 4
C_SOURCES := $(wildcard matcher_c/*.c matcher_c/*.h matcher_c/build_matcher.py)
METADATA := setup.py pyproject.toml

.DEFAULT_GOAL := menu
.PHONY: menu setup demo test check sim sim-mutants fuzz bench portability sanitize mesh image clean
.DELETE_ON_ERROR:

menu:
	@echo 'make setup   make .venv and build the C code'
	@echo 'make demo    set up, then run a street of five homes for one day (about three minutes)'
	@echo 'make test    set up, then style, types and the whole default suite'
	@echo 'make check   style and types alone'
	@echo 'make sim     deterministic simulation of many seeds (SEEDS=1..1000)'
	@echo 'make sim-mutants  plant bugs in the running code and print what notices each, and within how many seeds'
	@echo 'make fuzz    the C against the reference, and every parser, on random input (FUZZ_COMMANDS=10000000'
	@echo '             FUZZ_NETWORKS=100000 FUZZ_INPUTS=1000000)'
	@echo 'make bench   how fast the matchers are, beside others that do the same job (some minutes)'
	@echo 'make portability  the same results on arm64 and 32-bit ARM, under qemu-user'
	@echo 'make sanitize  the C under sanitizers and the analyzer, and its branches counted (also part of make test)'
	@echo 'make clean   remove .venv and everything that was built'
	@echo 'make mesh    real nodes on a LAN of their own, cut, parted, killed and filled (about two minutes; HOMES=4)'
	@echo 'not yet: make image'

$(VENV)/.stamp-venv:
	@PYTHON='$(PYTHON)' sh tools/preflight.sh
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.stamp-runtime: $(VENV)/.stamp-venv requirements.lock
	$(PIP) install --quiet -r requirements.lock
	@touch $@

$(VENV)/.stamp-development: $(VENV)/.stamp-runtime requirements-dev.lock
	$(PIP) install --quiet -r requirements-dev.lock
	@touch $@

$(VENV)/.stamp-bench: $(VENV)/.stamp-development requirements-bench.lock
	$(PIP) install --quiet -r requirements-bench.lock
	@touch $@

# An editable install builds the C beside its sources. Nothing rebuilds C on edit by itself, so its files are named here;
# the tools' folders too, because each is mapped by name.
$(VENV)/.stamp-build: $(VENV)/.stamp-runtime $(METADATA) $(C_SOURCES) $(wildcard tools/*/__init__.py)
	@PYTHON='$(PYTHON)' sh tools/preflight.sh
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

setup: $(VENV)/.stamp-build

demo: setup
	$(BIN)/energoctl demo

check: setup $(VENV)/.stamp-development
	$(BIN)/ruff check .
	$(BIN)/mypy

test: check
	$(BIN)/python -m pytest

sim: setup
	$(BIN)/energoctl sim --seeds $(SEEDS)

sim-mutants: setup $(VENV)/.stamp-development
	$(BIN)/python -m tests.sim_mutants

fuzz: setup $(VENV)/.stamp-development
	$(BIN)/python -m tests.fuzz --commands $(FUZZ_COMMANDS) --networks $(FUZZ_NETWORKS) --inputs 0
	$(BIN)/python -m tests.fuzz --commands $(FUZZ_COMMANDS) --networks $(FUZZ_NETWORKS) --tight
	$(BIN)/python -m tests.fuzz --commands 0 --networks 0 --inputs $(FUZZ_INPUTS)

bench: setup $(VENV)/.stamp-bench
	$(BIN)/energoctl bench matcher
	$(BIN)/energoctl bench clearing

portability: setup
	$(BIN)/python -m tests.portability

mesh: setup $(VENV)/.stamp-development
	$(BIN)/python -m tests.mesh --homes $(HOMES)

sanitize: setup $(VENV)/.stamp-development
	$(BIN)/python -m pytest tests/matcher_c/test_sanitizers.py tests/matcher_c/test_coverage.py

image:
	@echo 'not yet: make $@ comes with a later issue' >&2; exit 1

clean:
	rm -rf $(VENV) build dist *.egg-info matcher_c/_matcher*.so matcher_c/_matcher*.c matcher_c/_matcher*.o
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find firmware ledger matcher_c tools tests -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

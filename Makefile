# The two commands for a newcomer: `make run` and `make test`. Both install what is missing (Debian, as root).

SHELL := /bin/bash
VENV := .venv
SIGMA := build/sigma
AUDIT := build/audit
FUZZ := build/fuzz-env
BIN := $(VENV)/bin
# The lock files name every package. Without --no-deps pip may want a newer release than the one they pin, where a package
# asks for another one's extra (`coverage[toml]`), and then refuses it for having no hash.
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps
# bcc is the distribution's, for the distribution's Python.
PYTHON := /usr/bin/python3

# Set by callers for tools of their own; not ours.
unexport PYTHONPATH PYTHONHOME

# Two steps that install packages must not meet.
.NOTPARALLEL:

.PHONY: help run test test-thorough torture coverage test-vm fuzz check lint format docs bench wheel test-wheel deb test-deb lock clean

help:
	@echo 'make run      run the detector in the foreground; Ctrl-C ends it'
	@echo 'make test     lint, types, import contracts, tests (real kernel, Postgres, SMTP)'
	@echo 'make coverage the same, and which lines and branches the tests reach; takes longer'
	@echo 'make lint     lint, types, import contracts, known weaknesses of what is locked'
	@echo 'make test-thorough  the same, with the tests that take long'
	@echo 'make torture  break a running detector in every way at random, for 20 minutes (MINUTES=2 SEED=7), and balance its books'
	@echo 'make test-vm  the capture tests on the stock kernel of Debian, in an emulated machine; takes minutes'
	@echo 'make fuzz     look for inputs that are not taken well; MINUTES=10 for all surfaces together'
	@echo 'make format   format the code'
	@echo 'make docs     write the pages that are made from code'
	@echo 'make bench    measure; prints one table for each benchmark'
	@echo 'make wheel    build the wheel into dist/'
	@echo 'make test-wheel  try that wheel on a fresh Debian 12 and 13, with their Python and bcc; as root, takes minutes'
	@echo 'make deb      build the Debian package into dist/, for the Debian that this is'
	@echo 'make test-deb install, upgrade and purge that package on a fresh Debian, and boot it; as root, takes minutes'
	@echo 'make lock     bring requirements/*.txt up to date with pyproject.toml'
	@echo 'make clean    remove what these made'

run: machine-run $(VENV)/runtime.stamp
	@exec $(BIN)/detector run

# Three phases, of which each says how it went: what needs no kernel, on all processors, and one worker more since some of
# it mostly waits; what loads programs into the kernel, of which one worker has all that look at what is counted; and,
# alone, what connects by the thousand.
FIRST_COVERED := $(if $(COVERED),--cov --cov-report= --cov-fail-under=0)
NEXT_COVERED := $(if $(COVERED),$(FIRST_COVERED) --cov-append)
LAST_COVERED := $(if $(COVERED),--cov --cov-append)
test: machine-test check $(SIGMA)/stamp
	@code=0; \
	$(BIN)/pytest $(THOROUGH) -m 'not kernel' -n $$((1 + $$(nproc))) --maxprocesses 5 --dist worksteal $(FIRST_COVERED) || code=$$?; \
	$(BIN)/pytest -m 'kernel and not alone' -n logical --maxprocesses 3 --dist loadfile $(NEXT_COVERED) || code=$$?; \
	$(BIN)/pytest -m alone $(LAST_COVERED) tests/system || code=$$?; \
	exit $$code

# What takes long as well: some tests for longer, and those that are marked so.
test-thorough:
	@$(MAKE) --no-print-directory test THOROUGH=--thorough

# On a machine on which nothing else loads kernel programs meanwhile.
torture: machine-test $(VENV)/dev.stamp
	@$(BIN)/python -m tests.torture $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

# Takes a quarter longer. What all phases covered is put together at the end.
coverage:
	@$(MAKE) --no-print-directory test COVERED=yes

test-vm: machine-test $(VENV)/dev.stamp
	packaging/test-vm

# Ends with 1 if something was found; what it was stands in build/fuzz, with the command that shows it again.
fuzz: machine-run $(FUZZ)/stamp
	@$(FUZZ)/bin/python -P -m tests.fuzz --minutes $(or $(MINUTES),10) $(SURFACES)
fuzz: export PYTHONPATH := $(CURDIR)

# What others find out about a library tomorrow must not keep today's tests from running: that is a matter of `lint` alone.
lint: check $(AUDIT)/stamp
	$(AUDIT)/bin/python packaging/audit.py requirements/runtime.txt

check: $(VENV)/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/dev.stamp
	$(BIN)/python -m detector.ruleset.field_page > docs/rule-fields.md
	$(BIN)/python -m detector.ruleset.rules_page > docs/shipped-rules.md
	$(BIN)/python -m detector.service.metrics.page > docs/metrics.md

bench: machine-bench $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks

wheel: $(VENV)/dev.stamp
	$(BIN)/uv build --wheel --out-dir dist

test-wheel: wheel
	packaging/test-wheel

deb: $(VENV)/dev.stamp $(AUDIT)/stamp
	DETECTOR_PYTHON=$(CURDIR)/$(BIN)/python DETECTOR_AUDIT=$(CURDIR)/$(AUDIT)/bin packaging/build-deb

test-deb: deb
	packaging/test-deb

LOCK := $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-header
lock: $(VENV)/dev.stamp
	$(LOCK) pyproject.toml -o requirements/runtime.txt
	$(LOCK) --group build -o requirements/build.txt
	$(LOCK) pyproject.toml --group build --group dev -o requirements/dev.txt
	$(LOCK) --group sigma -o requirements/sigma.txt
	$(LOCK) --group audit -o requirements/audit.txt
	$(LOCK) pyproject.toml --group build --group dev --group fuzz -c requirements/dev.txt -o requirements/fuzz.txt

clean:
	rm -rf $(VENV) $(SIGMA) $(AUDIT) $(FUZZ) build/fuzz build/deb dist .coverage* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

MACHINES := machine-run machine-test machine-bench
.PHONY: $(MACHINES)
$(MACHINES): machine-%:
	@packaging/prepare-machine $*

# The environment is made once, and again when the locked versions change. It sees the distribution's packages, for bcc.
$(VENV)/bin/python:
	@$(MAKE) --no-print-directory machine-run
	$(PYTHON) -m venv --system-site-packages $(VENV)

$(VENV)/runtime.stamp: $(VENV)/bin/python requirements/runtime.txt requirements/build.txt pyproject.toml
	@echo 'preparing the Python environment (once) …'
	@$(PIP) --require-hashes -r requirements/runtime.txt -r requirements/build.txt
	@$(PIP) --no-build-isolation --editable .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/runtime.stamp requirements/dev.txt
	@echo 'preparing the tools for development (once) …'
	@$(PIP) --require-hashes -r requirements/dev.txt
	@touch $@

# Of the same Python, and of nothing else.
define environment
	@echo 'preparing the tools of $< (once) …'
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r $<
	@touch $@
endef
$(SIGMA)/stamp $(AUDIT)/stamp: build/%/stamp: requirements/%.txt
	$(environment)
$(FUZZ)/stamp: requirements/fuzz.txt
	$(environment)
	@$(@D)/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation --editable .

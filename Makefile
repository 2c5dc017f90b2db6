# `make run` supervises a real program and installs what that needs, `make` installs what testing needs as well,
# `make test` tests.  README.md and CONTRIBUTING.md say more.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SOURCES := setup.cfg pyproject.toml README.md $(shell find supervise conf docs/man docs/completion -type f ! -name '*.pyc')
NAME ?= demo
CMD ?=

.PHONY: all run test unit lint bench chaos clean debian

all: $(VENV)/.installed $(VENV)/.tools

# What running needs, and what installing does.
$(VENV)/.needed: setup.cfg
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -q "setuptools>=64" wheel
	$(BIN)/python bench/extras.py | xargs -d '\n' $(PIP) install -q
	touch $@

# What testing needs beside that.
$(VENV)/.tools: $(VENV)/.needed
	$(BIN)/python bench/extras.py test lint | xargs -d '\n' $(PIP) install -q
	touch $@

# What is measured beside it.
$(VENV)/.bench: $(VENV)/.needed
	$(BIN)/python bench/extras.py bench | xargs -d '\n' $(PIP) install -q
	touch $@

# Installed as users install it, not in place: start-up time and memory are part of what is tested.
$(VENV)/.installed: $(VENV)/.needed $(SOURCES)
	rm -rf build
	$(PIP) install -q --no-deps --no-build-isolation --force-reinstall .
	rm -rf build
	touch $@

run: $(VENV)/.installed
	@PATH="$(CURDIR)/$(BIN):$$PATH" NAME='$(subst ','\'',$(NAME))' CMD='$(subst ','\'',$(CMD))' sh bench/run.sh

# With THOROUGH=1 more rounds of what finds more the more often it is done.  Most of the time is waiting, so there are
# more workers than processors; what all of them load is compiled once, even where Python is told to keep nothing.
# What has failed there is run once more, alone, and has to pass: that a busy machine breaks it stays in sight.
test: all debian
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -qq --collect-only >$(VENV)/collected || true
	$(BIN)/python -m pytest -n 8 --dist worksteal || { \
	    echo "once more, alone, what has failed beside seven others:"; \
	    $(BIN)/python -m pytest --last-failed --last-failed-no-failures none; }

# Those of them that start no supervise, package by package: seconds, for after each change.  Compiled once, as above.
unit: all
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -qq -n 3 --dist worksteal tests/unit

# What some tests need from Debian; without it (or without the right to install it) they say what they skipped.
debian:
	@sh tests/debian.sh

lint: all
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports setup.cfg --no-cache
	sh -n tests/debian.sh
	for script in bench/*.sh; do sh -n "$$script" || exit 1; done

bench: all $(VENV)/.bench
	sh bench/memory.sh $(CURDIR)/$(BIN)/python3 $(CURDIR)/$(BIN)/supervise "$$(mktemp -d)" >$(VENV)/memory
	$(BIN)/python bench/bench.py --memory $(VENV)/memory
	$(BIN)/python bench/tools.py
	$(BIN)/python bench/readiness.py --memory $(VENV)/memory
	$(BIN)/python bench/adoption.py
	$(BIN)/python bench/many.py --services 1,10,100 --rounds 2 --idle 5
	$(BIN)/python bench/endurance.py

# supervise is killed before each of its system calls, and each of them fails: half an hour or more; `make test` has
# samples.  docs/reliability.md
chaos: all debian
	$(BIN)/python tests/chaos.py
	$(BIN)/python tests/faults.py

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

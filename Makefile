# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

BENCHES := banking77 judgement throughput lora leaks label_errors check active_learning augment methods settings few fit_verdict sequence prefer language rank kills overhead profile plan gpu

.PHONY: help demo install test test-all test-gpu lint browser bench-tools $(BENCHES:%=bench-%) clean

help:
	@echo "make demo        set up, then run the main job on examples/support-triage"
	@echo "make test        set up for tests and run the quick ones"
	@echo "make test-all    run every test, slow ones too"
	@echo "make test-gpu    the numbers on a GPU"
	@echo "make lint        ruff and mypy"
	@echo "make bench-NAME   of: $(BENCHES) (docs/results.md)"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# A stamp keeps a second `make demo` from installing again.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet -c constraints.txt -e '.[test]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-bench: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet -c constraints.txt -e '.[test,bench]'
	@touch $@ $(VENV)/.installed $(VENV)/.installed-test

install: $(VENV)/.installed

demo: $(VENV)/.installed
	$(BIN)/luthier run examples/support-triage

# Browser tests want Chromium from the system; without it they are skipped and say so.
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	    { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; }; } || \
	  echo "notice: no Chromium here and it cannot be installed; browser tests are skipped"

test: $(VENV)/.installed-test browser
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

test-all: $(VENV)/.installed-test browser
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.installed-test
	$(BIN)/ruff check luthier tests bench recipes
	$(BIN)/mypy

test-gpu: $(VENV)/.installed-test
	$(BIN)/python -m pytest tests/gpu

bench-tools: $(VENV)/.installed-bench

$(BENCHES:%=bench-%): bench-%: bench-tools
	$(BIN)/python -m bench.$*

clean:
	rm -rf runs build *.egg-info .pytest_cache .ruff_cache .mypy_cache

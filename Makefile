# Everything runs from a fresh clone with nothing but Python 3.11 and git installed.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help install demo test test-slow test-kernels lint bench clean

help:
	@echo "make demo          the whole story on simulated cameras: memory or none (about 10 minutes)"
	@echo "make test          the fast tests"
	@echo "make test-slow     the long tests: XLA, several processes, killed runs"
	@echo "make test-kernels  the numeric tests, as other processors compute"
	@echo "make lint          ruff"
	@echo "make bench         side-by-side measurements"

$(VENV)/.installed: setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	touch $@

install: $(VENV)/.installed

demo: install
	$(BIN)/python -m context_rcnn.cli demo --output_dir demo

test: install
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -q

test-slow: install
	$(BIN)/python -m pytest -m slow -q

test-kernels: install
	$(BIN)/python -m tests.kernels

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: install
	$(BIN)/python -m benchmarks.run
	$(BIN)/python -m benchmarks.memory_join
	$(BIN)/python -m benchmarks.bank_build
	$(BIN)/python -m benchmarks.bank_scale
	$(BIN)/python -m benchmarks.context
	$(BIN)/python -m benchmarks.serving
	$(BIN)/python -m benchmarks.detect_scale

clean:
	rm -rf demo build *.egg-info

# Everything runs from a fresh clone with nothing but Python 3.11 and git installed; other Pythons,
# 3.10 to 3.13, by `make PYTHON=python3.13 test`.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help install demo test test-whole test-slow test-cluster test-kernels lint bench resolve constraints clean

help:
	@echo "make demo          everything on simulated cameras, with and without a memory (about 8 minutes on two quiet cores)"
	@echo "make test          the fast tests"
	@echo "make test-whole    what trains, exports and runs a model, from beginning to end"
	@echo "make test-slow     the long tests: XLA, several processes, killed runs"
	@echo "make test-cluster  the pipelines on a real Flink and a real Spark (Java and Maven; fetches 800 MB once)"
	@echo "make test-kernels  the numeric tests again, as other processors compute"
	@echo "make lint          ruff and mypy"
	@echo "make bench         side-by-side measurements"
	@echo "make resolve       on which systems and Pythons the core and the extras can be installed"
	@echo "make constraints   pins again what setup.py asks for, for all of them"

$(VENV)/.installed: setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[all]"
	touch $@

install: $(VENV)/.installed

demo: install
	$(BIN)/python -m context_rcnn.cli demo --output_dir demo

# Most of the time goes into tracing and compiling: nothing is optimised here, by XLA or by Grappler, and each of
# two workers computes in one thread.
PYTEST := TESTS_GRAPPLER=off XLA_FLAGS=--xla_backend_optimization_level=0 TF_NUM_INTRAOP_THREADS=1 \
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -q

# oneDNN makes a kernel for every new shape, which takes longer than what these tests run on it. Whole runs have it.
test: install
	TF_ENABLE_ONEDNN_OPTS=0 $(PYTEST)

test-whole: install
	$(PYTEST) -m "whole and not slow"

test-slow: install
	$(BIN)/python -m pytest -m slow -q

# What is fetched stays in CONTEXT_RCNN_CLUSTER_CACHE, by default ~/.cache/context_rcnn/cluster.
test-cluster: install
	$(BIN)/python -m pytest -m cluster -v -s tests/cluster

test-kernels: install
	$(BIN)/python -m tests.kernels

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: install
	$(BIN)/python -m benchmarks.run
	$(BIN)/python -m benchmarks.memory_join
	$(BIN)/python -m benchmarks.bank_build
	$(BIN)/python -m benchmarks.bank_scale
	$(BIN)/python -m benchmarks.context
	$(BIN)/python -m benchmarks.serving
	$(BIN)/python -m benchmarks.detect_scale
	$(BIN)/python -m benchmarks.match_trans
	$(BIN)/python -m benchmarks.video_frames --models=stmn
	$(BIN)/python -m benchmarks.video_frames --models=memory_warps

resolve: install
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/python tests/installs/resolve.py

# Versions that are pinned already stay, where they fit.
constraints: install
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile setup.py --extra all --universal --python-version 3.10 --strip-extras \
		--no-annotate --no-header --quiet --output-file constraints.txt

clean:
	rm -rf demo build *.egg-info

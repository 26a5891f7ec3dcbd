# make demo: install, then the main job on an embedded default, offline.   make test: install, then every check.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2

.PHONY: demo test lint types unit test-isa test-threads smoke releases docs coverage claims hooks clean

demo: $(VENV)/.runtime
	$(BIN)/tubelet demo --out runs/demo

test: lint types unit

lint: $(VENV)/.dev
	$(BIN)/ruff check src tests benchmarks examples scripts
	$(BIN)/ruff format --check src tests benchmarks examples scripts

types: $(VENV)/.dev
	$(BIN)/mypy

# One thread a worker: the two cores are taken by the workers already.
unit: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist worksteal

# The numeric tests as on processors with fewer instruction sets.
ISAS ?= AVX2 AVX512_CORE AVX512_CORE_BF16 DEFAULT
NUMERIC := tests/unit/test_numerics.py tests/unit/test_memory_training.py tests/unit/test_train_system.py \
	tests/unit/test_people_small.py tests/contract/test_models_backbones.py tests/golden/test_models_parity.py
test-isa: $(VENV)/.dev
	for isa in $(ISAS); do echo "ONEDNN_MAX_CPU_ISA=$$isa"; \
	ONEDNN_MAX_CPU_ISA=$$isa OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist worksteal $(NUMERIC) || exit 1; \
	done

# Without spinning: sixteen threads on two cores would wait for one another most of the time.
test-threads: $(VENV)/.dev
	for threads in 2 16; do echo "OMP_NUM_THREADS=$$threads"; \
	OMP_WAIT_POLICY=passive OMP_NUM_THREADS=$$threads $(BIN)/pytest $(NUMERIC) || exit 1; done

# Every recipe of the papers, shrunk, in a few minutes; `unit` runs a third of them.
smoke: $(VENV)/.dev
	TUBELET_SMOKE=all OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) tests/unit/test_recipes.py -k test_smoke

# Every published checkpoint in its own layout, served on loopback, converted and run; `unit` runs ten of them.
releases: $(VENV)/.dev
	TUBELET_RELEASES=all OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) tests/e2e/test_published_weights.py

# The documentation site, in build/docs/site/index.html; a warning or a dead link is an error.
docs: $(VENV)/.docs
	$(BIN)/python scripts/docs.py build/docs
	$(BIN)/zensical build --strict --clean --config-file build/docs/zensical.toml
	$(BIN)/python scripts/docs.py build/docs --finish

# Branch coverage of src over the whole suite, command line and worker processes included.
coverage: $(VENV)/.dev
	rm -f .coverage .coverage.*
	OMP_NUM_THREADS=1 $(BIN)/coverage run -m pytest -n $(WORKERS) --dist worksteal
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# The papers' claims on small nets: runs what has no result yet, then writes docs/claims.md. CLAIMS=--quick: few seeds, only printed;
# CLAIMS="--results FOLDER": from nothing.
claims: $(VENV)/.dev
	$(BIN)/python -m benchmarks.claims --jobs $(WORKERS) $(CLAIMS)

# Lint, format and types before every commit.
hooks: $(VENV)/.dev
	$(BIN)/pre-commit install

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# The constraints lock every dependency; without them a newer torch would bring gigabytes of CUDA.
$(VENV)/.runtime: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.dev: $(VENV)/.runtime pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

$(VENV)/.docs: $(VENV)/.runtime pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) build runs .mypy_cache .ruff_cache .pytest_cache .hypothesis

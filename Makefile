# Every target sets up all that it needs on a bare Debian 12 (python3, git, make; root or sudo). A second run is fast.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# One thread per library: stage threads beat spinning pools, and two cores are shared with the rest of the machine.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export NUMBA_NUM_THREADS ?= 1

TESTS ?= tests
PYTEST_ARGS ?= -n 2 --dist loadfile
SECONDS ?=
DEMO_ARGS ?= $(if $(SECONDS),--seconds $(SECONDS))

.PHONY: demo test check bench e2e soak clean setup format

setup: $(STAMP)

$(STAMP): pyproject.toml tools/setup.sh
	PYTHON=$(PYTHON) VENV=$(VENV) bash tools/setup.sh
	@touch $@

# The address to watch at is printed; make demo SECONDS=20 stops by itself.
demo: $(STAMP)
	$(BIN)/f2fcam warmup
	$(BIN)/f2fcam start --profile alice --source synthetic --sink preview --foreground $(DEMO_ARGS)

# Kernels are compiled once before, not by every worker for itself.
test: check
	$(BIN)/f2fcam warmup
	$(BIN)/python -m pytest $(PYTEST_ARGS) $(TESTS)

check: $(STAMP)
	$(BIN)/ruff check f2fcam tests tools
	$(BIN)/ruff format --check f2fcam tests tools
	$(BIN)/basedpyright --level error
	$(BIN)/python -m pytest tests/test_layering.py

format: $(STAMP)
	$(BIN)/ruff check --fix f2fcam tests tools
	$(BIN)/ruff format f2fcam tests tools

# Rewrites the measured part of docs/performance.md and docs/plots; the rest of that page is written by hand.
bench: $(STAMP)
	$(BIN)/f2fcam warmup
	$(BIN)/f2fcam bench --docs docs $(BENCH_ARGS)

# Real browsers play the camera in a session of their own, and v4l2loopback is used in an emulated machine; results go to
# build/e2e. What is not there is installed, and what is skipped nevertheless has failed.
E2E_SETUP ?=
E2E_TESTS ?= tests/test_pipewire.py tests/e2e
e2e: $(STAMP)
	-bash tools/e2e_setup.sh $(E2E_SETUP)
	$(BIN)/f2fcam warmup
	F2FCAM_E2E_STRICT=1 $(BIN)/python -m pytest -rsx $(E2E_TESTS)

# Thirty minutes on the air: nothing grows, drifts or slows down.
soak: $(STAMP)
	-bash tools/e2e_setup.sh session
	$(BIN)/f2fcam warmup
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m tests.e2e.soak --minutes 30

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find f2fcam tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

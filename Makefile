# Two commands do everything: `make` judges the claims, `make test` tests the harness.
# `make UV=1` sets up with uv where it is installed; TORCH=cpu or TORCH=cu128 then chooses the wheels.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SETUP := $(shell cat pyproject.toml setup.py constraints.txt | cksum | cut -d' ' -f1)
# What is needed for judging, for tests and for linters is installed when it is first needed, and anew when a version changes.
JUDGING := $(VENV)/.assay-judging-$(SETUP)
TESTING := $(VENV)/.assay-testing-$(SETUP)
LINTING := $(VENV)/.assay-linting-$(SETUP)
$(TESTING): EXTRAS := [test,report-tests,notebook]
# mypy reads the tests, and what they import.
$(LINTING): EXTRAS := [lint,test,report-tests,notebook]

ifeq ($(UV),1)
CREATE = uv venv -q --python $(PYTHON) --allow-existing $(VENV)
INSTALL = VIRTUAL_ENV=$(VENV) uv pip install -q $(if $(TORCH),--torch-backend=$(TORCH))
else
ifdef TORCH
$(error TORCH=$(TORCH) chooses wheels through uv; call make UV=1 TORCH=$(TORCH))
endif
CREATE = $(PYTHON) -m venv $(VENV)
INSTALL = $(BIN)/python -m pip install -q --disable-pip-version-check
endif

.DEFAULT_GOAL := report
.PHONY: report sample notebook truth truth-all test test-all nightly soak lint calibrate bench bench-peers organisms constraints clean

report: $(JUDGING)
	@status=0; $(BIN)/python -m pytest hypotheses --html=reports/pytest.html --self-contained-html || status=$$?; \
	case $$status in 0|1|10) ;; *) exit $$status;; esac # a refuted claim is a finding; broken (12), unfit (13) and unmeasured (14) are none

# The sample report of the docs and its screenshots, of the last run.
sample: $(TESTING)
	$(BIN)/python -m tests.tools.pictures

# The outputs that are kept in notebooks/.
notebook: $(TESTING)
	$(BIN)/python -m tests.tools.notebook

# Tests of the harness in three sizes: what to run after every change, before a change lands, and once a night.
TEST = $(BIN)/python -m pytest tests --strict-markers -rs -n auto --maxprocesses 4 --dist worksteal

test: $(TESTING)
	$(TEST) -m "not slow"

test-all: $(TESTING)
	$(TEST)

nightly: truth-all soak calibrate

# Twenty kills at moments drawn over a run, each followed by a second run that must come to the same.
soak: $(JUDGING)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.tools.soak 21

lint: $(LINTING)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(JUDGING) $(TESTING) $(LINTING):
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else \
	"Assay needs Python 3.11 to 3.13, $(PYTHON) is %d.%d; try make PYTHON=python3.12" % v)'
	@echo "setting up $(VENV) for $(word 2,$(subst -, ,$(@F))); the first time this downloads PyTorch"
	@$(CREATE)
	@$(INSTALL) -c constraints.txt -e '.$(EXTRAS)'
	@rm -f $(@:$(SETUP)=*) && touch $@

# How often every rule errs at its bar, and claims on placebos: some hours of one core. Interrupted, it goes on.
calibrate: $(JUDGING)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.tools.calibrate

# Every claim on the organisms where it is true and where it is false: data/truth.json and docs/truth.md.
truth: $(JUDGING)
	$(BIN)/python -m harness truth

# Every claim on every organism, as the organisms' plans say it must come out.
truth-all: $(JUDGING)
	$(BIN)/python -m harness truth --all

# Side by side with TransformerLens and the published procedure, about ten minutes of one core.
bench: $(JUDGING)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks

# nnsight and pyvene, each in an environment of its own; one that cannot be installed is said and left out.
PEERS := nnsight pyvene
bench-peers: $(JUDGING) $(PEERS:%=build/peers/%/.installed)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks peers

build/peers/%/.installed:
	@echo "setting up build/peers/$*"
	@{ $(PYTHON) -m venv build/peers/$* && build/peers/$*/bin/python -m pip install -q --disable-pip-version-check \
	  -c constraints.txt torch $* && touch $@; } || { rm -rf build/peers/$*; echo "$* cannot be installed here"; }

# Remakes and re-proves every organism from its seeds, about two hours on one core; interrupted, it goes on.
organisms: $(JUDGING)
	$(BIN)/python -m organisms make

# Every version, for every Python and system at once; torch stands without a local tag.
constraints: $(JUDGING)
	$(BIN)/python -m pip install -q uv
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --all-extras --no-annotate --no-header \
	  --no-emit-index-url --upgrade -o constraints.txt pyproject.toml

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# Everything runs in .venv, which is made from requirements.lock when it is missing, unfinished or
# older than the lock. The full study needs no make: .venv/bin/snakemake --cores 8 all

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
CORES ?= all
# The first of these that is new enough; make PYTHON=/path/to/python3.11 takes another.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; \
	done)

.PHONY: help setup smoke test test-slow test-gpu gpu test-slurm mutants bench bench-smax lint docs lock

help:
	@echo "make setup       install into $(VENV); the other targets do it when it is needed"
	@echo "make smoke       a small study from training to report, minutes on two cores"
	@echo "make test        the tests"
	@echo "make test-slow   the tests that take minutes"
	@echo "make test-gpu    the tests that need a CUDA device"
	@echo "make gpu         what a GPU makes of the methods, in nine minutes (PYTHON's packages)"
	@echo "make test-slurm  the workflow on a Slurm cluster of this machine alone (root; minutes)"
	@echo "make mutants     mutation testing of one module: MODULE=benchmark/training/rollout.py SAMPLE=40"
	@echo "make bench       speeds of the simulator and the learners on this machine"
	@echo "make bench-smax  the simulator next to SMAX (installs jaxmarl)"
	@echo "make lint        style of the Python and Snakemake files, types, directions of imports"
	@echo "make docs        the documentation site, in build/site"
	@echo "make lock        renew requirements.lock"

setup: $(READY)

# The mark is written last, so that an interrupted set-up is begun again from an empty folder.
$(READY): requirements.lock pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	echo "error: Python 3.11 or newer is needed; install it, or say where it is:" \
	"make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "installing into $(VENV) (a minute or two) ..."
	@test -e $@ || "$(PYTHON)" -m venv --clear $(VENV)
	@rm -f $@
	@$(PIP) install -c requirements.lock -e '.[dev,docs,slurm]'
	@touch $@

smoke: $(READY)
	$(BIN)/snakemake --cores $(CORES) all --configfile config/smoke.yaml \
	--quiet host reason
	@echo
	@echo "tables   results/smoke/tables/"
	@echo "figures  results/smoke/figures/"
	@echo "report   results/smoke/report.html"

# One process more than cores, because some tests wait.
test: $(READY)
	$(BIN)/python -m pytest --numprocesses $$(($$(nproc) + 1)) --maxprocesses 8 --dist worksteal --durations 12 -m "not slow and not gpu and not slurm"

test-slow: $(READY)
	$(BIN)/python -m pytest -m "slow and not gpu"

test-gpu: $(READY)
	$(BIN)/python -m pytest -rs -m gpu

# With the packages of PYTHON itself, so that it runs where nothing can be installed.
gpu:
	"$(PYTHON)" speed/gpu.py

test-slurm: $(READY)
	{ command -v slurmd && command -v munged; } > /dev/null || \
	apt-get install -y --no-install-recommends slurm-wlm munge
	$(BIN)/python -m pytest -m slurm tests/workflow/test_slurm.py

mutants: $(READY)
	$(PIP) install -c requirements.lock -e '.[mutants]'
	$(BIN)/python tests/mutants.py $(MODULE) $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(SEED),--seed $(SEED)) $(if $(AGAIN),--again)

bench: $(READY)
	@set -e; for script in $(filter-out speed/gpu.py,$(sort $(wildcard speed/*.py))); do \
	echo "== $$script"; $(BIN)/python $$script; done

bench-smax: $(READY)
	$(PIP) install -c requirements.lock -e '.[smax]'
	$(BIN)/python speed/simulator.py --smax

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo --no-cache
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

# build/docs is the repository's pages and pictures under their own paths, see mkdocs.yml.
docs: $(READY)
	rm -rf build/docs build/site
	mkdir -p build/docs
	git ls-files -z -co --exclude-standard -- '*.md' '*.yaml' '*.png' '*.gif' '*.pdf' '*.csv' '*.sh' | \
	xargs -0 cp --parents -t build/docs
	mv build/docs/README.md build/docs/index.md
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "build/site/index.html"

# The torch version is chosen here: an unpinned one would be the newest CUDA build. So is triton's,
# which is the one that this torch's CUDA build asks for.
lock:
	"$(PYTHON)" -m venv --clear build/lock
	build/lock/bin/python -m pip install --quiet torch==2.13.0 triton==3.7.1 \
	-e '.[dev,docs,slurm,tensorboard,wandb]'
	{ grep '^#' requirements.lock; build/lock/bin/python -m pip freeze --all \
	--exclude pip --exclude-editable | grep -v '^#' | sed 's/+cpu$$//'; } > build/requirements.lock
	mv build/requirements.lock requirements.lock

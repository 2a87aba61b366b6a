# Everything sets itself up: `make demo` and `make test` work on a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev

.PHONY: install dev demo test test-long mps-check check format clean schema docs which-mac pictures structure

# What a user needs, and no more; `dev` adds the tools of whoever changes the program.
install: $(STAMP)

dev: $(DEV_STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info[:2] <= (3, 14) else \
		f"sana-wm needs Python 3.11 to 3.14, got {sys.version.split()[0]}: make PYTHON=python3.12")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $(STAMP)

$(DEV_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,studio]'
	touch $(DEV_STAMP)

demo: install
	$(BIN)/sana-wm demo

# Two test processes share two cores: more threads than that would only wait for each other. Files in their order: by
# the number of their tests, those whose tests are whole runs would come last, one after the other.
check: dev
	$(BIN)/ruff format --check src tests patches docs
	$(BIN)/ruff check src tests patches docs
	$(BIN)/pyright
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "not long" --numprocesses 2 --dist loadfile --no-loadscope-reorder

test: check

test-long: dev
	$(BIN)/pytest -m long -s

# Every operation of our networks at full size, held against the limits of MPS: minutes, on any machine (docs/mps.md).
# Options: make mps-check ARGS="--frames 321 --json FILE".
mps-check: dev
	PYTHONPATH=tests/mps $(BIN)/python -m mps_check $(ARGS)

format: dev
	$(BIN)/ruff format src tests patches docs
	$(BIN)/ruff check --fix src tests patches docs

# A site under build/site; fails on a broken link.
docs: dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# docs/which-mac.md and the short table of README.md, from the table of Macs (configs/macs.json) and the plan.
which-mac: install
	$(BIN)/python docs/make_which_mac.py

# Every picture of README.md and docs/, from the program itself; some only: make pictures ARGS="moves preview".
pictures: install
	$(BIN)/python docs/make_pictures.py $(ARGS)

clean:
	rm -rf $(VENV) dist build

schema: dev
	$(BIN)/python -c "from sana_wm.manifest.schema import write_schema; write_schema()"

# Figures of the sources and of the road of a manifest (reports/structure).
structure: dev
	$(BIN)/python tests/architecture/measure.py

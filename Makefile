# Every target makes the virtual environment first if it is missing, or if what it is made from has changed.
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The first Python that is new enough; `make PYTHON=/path/to/python3.12 …` chooses another.
PYTHON ?= $(shell for python in python3 python3.11 python3.12 python3.13; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

# After installation nothing needs a network: models come from the package, and the hub is not asked.
export HF_HUB_OFFLINE ?= 1
export HF_HUB_DISABLE_TELEMETRY ?= 1
export TOKENIZERS_PARALLELISM ?= false
export MPLBACKEND ?= Agg

.PHONY: help install demo test check format bench gpu notebooks report docs pictures findings release clean
.DEFAULT_GOAL := help

help:
	@echo "make demo       train and compare eight adapters on the embedded world, write runs/demo/report.html"
	@echo "make report     rebuild that report from its files"
	@echo "make test       check, then all tests"
	@echo "make check      ruff (lint, format), import-linter (who may import whom) and pyright"
	@echo "make format     let ruff mend what it can"
	@echo "make bench      measurements: FLOPs, bytes, calls, and times as ratios"
	@echo "make gpu        on an accelerator: its tests, the budgets on FLUX's true layout, the demo; eight minutes"
	@echo "make notebooks  open the notebooks in JupyterLab (make test runs them from the top)"
	@echo "make docs       run every block of the documentation and every notebook, and build site/"
	@echo "make pictures   make the pictures of README and findings again, from the models that ship; takes long"
	@echo "make findings   ask microworld the questions of the findings again (six ablations, three seeds) and write their tables; hours"
	@echo "make release    build wheel and sdist, and use the wheel in an empty environment"

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python …"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt -e ".[dev]"
	@touch $@

demo: $(STAMP)
	$(BIN)/dynaip ablate microworld/demo -o runs/demo --resume
	@echo "open file://$(CURDIR)/runs/demo/report.html"

report: $(STAMP)
	$(BIN)/dynaip report runs/demo

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/pyright --pythonpath $(BIN)/python -p pyright.standard.json

# Tests run beside each other in two processes with one thread each, which is faster here than one process with two threads.
test: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

gpu: $(STAMP)
	$(BIN)/python -m tests.gpu

bench: $(STAMP)
	$(BIN)/python -m pytest tests/benchmarks/test_counts.py tests/benchmarks/bench_growth.py tests/benchmarks/bench_times.py tests/benchmarks/bench_training.py tests/benchmarks/bench_recording.py tests/benchmarks/bench_tables.py -s -q -p no:cacheprovider

# Without the backend that tests draw with: a notebook shows what pyplot draws.
notebooks: $(STAMP)
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[notebooks]"
	env -u MPLBACKEND $(BIN)/jupyter lab notebooks

docs: $(STAMP)
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[docs]"
	DYNAIP_DOCS_RUN=1 NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The findings' figures with their tables lie in runs/pictures afterwards: the text quotes them.
pictures: $(STAMP)
	for what in decoupling attention routing granularity; do \
		$(BIN)/dynaip analyze microworld $$what -o runs/pictures || exit 1; done
	PYTHONPATH=docs $(BIN)/python -m dynaip_site.pictures runs/pictures

# Broken off, it goes on where it was.
findings: $(STAMP)
	for what in fusion decoupling controls steering routers encoders; do \
		$(BIN)/dynaip ablate microworld/$$what -o runs/$$what --resume && \
		PYTHONPATH=docs $(BIN)/python -m dynaip_site.findings $$what runs/$$what || exit 1; done
	PYTHONPATH=docs $(BIN)/python -m dynaip_site.findings sweep runs/steering
	PYTHONPATH=docs $(BIN)/python -m dynaip_site.findings sweep-of-labels runs/controls

# The wheel in an environment of its own: what is imported there comes from the wheel alone.
release: $(STAMP)
	rm -rf dist
	$(BIN)/python -m hatchling build -d dist
	$(BIN)/python -m tests.release dist

clean:
	rm -rf build dist site .pytest_cache .ruff_cache

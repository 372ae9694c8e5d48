# Two commands matter: `make demo` and `make test`. Both build .venv first when it is missing or stale.

# A version-manager shim may be on PATH and still refuse to run, so each candidate is executed, not just found.
CANDIDATES := python3.13 python3.12 python3.14 python3 $(wildcard $(HOME)/.pyenv/versions/3.1[2-9]*/bin/python3)
ifndef PYTHON
PYTHON := $(shell for p in $(CANDIDATES); do \
	$$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && { echo $$p; break; }; done)
endif
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -ec
VENV := .venv
STAMP := $(VENV)/.installed
RUN := $(VENV)/bin
# Demo and tests start hundreds of processes: none of them should compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint docs lock clean

demo: $(STAMP)
	@$(RUN)/cocoon demo

test: $(STAMP) lint
	@$(RUN)/cocoon contracts build --check
	@$(RUN)/python -m pytest --contract-coverage -n auto --dist worksteal

lint: $(STAMP)
	@$(RUN)/ruff check --quiet .
	@$(RUN)/ruff format --quiet --check .
	@$(RUN)/mypy

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "no Python >= 3.12 found: install one or run 'make PYTHON=/path/to/python3.12'" >&2; exit 1; }
	@echo "creating $(VENV) with $(PYTHON) (one minute, once)"
	@$(PYTHON) -m venv $(VENV)
	@$(RUN)/python -m pip install --disable-pip-version-check --progress-bar off \
		-c constraints.txt -e '.[dev]' \
		| sed -un 's/^Collecting \([^ ;(]*\).*/  \1/p; s/^Installing collected.*/  installing/p'
	@touch $@

# Every page that is made from sources or measurements.
docs: $(STAMP)
	@$(RUN)/python -m cocoon.exit_codes > docs/errors.md
	@$(RUN)/python -m cocoon.getters > docs/getters.md
	@$(RUN)/cocoon bench gas --markdown > docs/fees.md
	@PYTHONPATH=tests/contracts:tests/differential:tests/docs $(RUN)/python -m message_flows > docs/flows.md
	@$(RUN)/cocoon audit-map

# Takes the newest versions that pyproject.toml allows; run the tests before committing the result.
lock:
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install -e '.[dev]'
	{ head -n 1 constraints.txt; $(RUN)/pip freeze --exclude-editable; } > constraints.new
	mv constraints.new constraints.txt

clean:
	rm -rf $(VENV)

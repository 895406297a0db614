# SPDX-License-Identifier: MIT
# Each target below sets up all that it needs; see ./bootstrap.

export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin
PYTHON := .venv/bin/python
READY := .venv/bootstrapped

.PHONY: demo test unit integration claims lint bench clean

demo: $(READY)
	$(PYTHON) -m btcp.cli lab demo

test: lint
	$(PYTHON) -m tests unit properties integration claims

unit: $(READY)
	$(PYTHON) -m tests unit properties

integration: $(READY)
	$(PYTHON) -m tests integration

# A line for each claim: shown, or not and why.
claims: $(READY)
	$(PYTHON) -m tests --claims

lint: $(READY)
	$(PYTHON) -m ruff check
	$(PYTHON) -m mypy
	.venv/bin/lint-imports

# How fast the raw datapath is; prints, asserts nothing.
bench: $(READY)
	$(PYTHON) -m tests.bench.raw

clean:
	rm -rf .venv build dist *.egg-info .hypothesis .import_linter_cache .mypy_cache .ruff_cache _trial_temp*
	find btcp tests twisted -name __pycache__ -exec rm -rf {} +
	rm -f twisted/plugins/dropin.cache

$(READY): bootstrap setup.cfg pyproject.toml
	./bootstrap

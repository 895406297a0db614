# SPDX-License-Identifier: MIT
# Each target below sets up all that it needs; see ./bootstrap.

export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin
PYTHON := .venv/bin/python
READY := .venv/bootstrapped
NODE := .venv/node
DEBIAN := build/debian
PLOTS := .venv/plots
BPF := btcp/datapath/bpf
OBJECTS := $(addprefix $(BPF)/,btcp.bpf.o adopt.bpf.o express.bpf.o)
BUILT := $(READY) $(OBJECTS)

.PHONY: demo build test unit integration field kernels load claims lint bench fleet clean dist

demo: $(BUILT)
	$(PYTHON) -m btcp.cli lab demo

# What a host needs that runs a node, and no more.
build: $(NODE) $(OBJECTS)

# A wheel for this platform, an sdist and a Debian package, in dist/; docs/installation.md.
dist: $(BUILT)
	./packaging/build

# Two minutes, before a commit; needs no root.
check: lint unit

test: lint api $(OBJECTS) dist $(DEBIAN)
	$(PYTHON) -m tests --jobs 2 unit properties integration field claims

unit: $(BUILT)
	$(PYTHON) -m tests unit properties

# MODE=ebpf+cookie is one of the modes that tests/modes.py lists.
integration: $(BUILT)
	$(PYTHON) -m tests integration $(if $(MODE),--mode $(MODE))

# Symptoms from the field, by name; tests/field/.
field: $(BUILT)
	$(PYTHON) -m tests field $(if $(MODE),--mode $(MODE))

# Which of the kernel programs Debian's kernels take; boots each of them in QEMU.
kernels: $(BUILT)
	./bootstrap kernels
	$(PYTHON) -m tests.kernels $(SERIES)

# The long loads, of which the other targets run a part; see tests/amounts.py.
load: $(BUILT)
	BTCP_WHOLE_LOAD=1 $(PYTHON) -m tests integration.test_load integration.test_takeover \
	    integration.test_membership integration.test_ebpf_following integration.test_ebpf_malformed $(if $(MODE),--mode $(MODE))

# A line for each claim in each mode, or in MODE: shown, or not and why.
claims: $(BUILT)
	$(PYTHON) -m tests.claims $(if $(MODE),--mode $(MODE))

lint: $(READY)
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m mypy
	.venv/bin/lint-imports
	$(PYTHON) -m tools.prose

# Findings that no longer exist leave tools/prose.ratchet.
prose: $(READY)
	$(PYTHON) -m tools.prose --shrink

# Branches of the Python code, and of the C headers compiled natively, that unit and property tests
# take; the pages are in build/coverage.
coverage: $(BUILT)
	rm -rf build/coverage
	mkdir -p build/coverage/native build/coverage/c
	BTCP_NATIVE_COVERAGE=$(CURDIR)/build/coverage/native \
	    $(PYTHON) -m coverage run -m tests unit properties
	$(PYTHON) -m coverage html --quiet
	$(PYTHON) -m coverage report
	.venv/bin/gcovr --root . --filter $(BPF)/ --object-directory build/coverage/native \
	    --gcov-ignore-parse-errors --txt-metric branch --html-nested build/coverage/c/index.html --txt

# API documentation in build/api; a reference that does not resolve is an error.
api: $(READY)
	.venv/bin/pydoctor --quiet

# The changelog that a release would have now.
changelog: $(READY)
	$(PYTHON) -m towncrier build --draft --version next

# VERSION=0.2.0: version, changelog, commit, artefacts in dist/, tag.  Nothing leaves the machine.
ifeq ($(MAKECMDGOALS)$(VERSION),release)
$(error make release VERSION=0.2.0)
endif
release: check
	$(PYTHON) -m tools.prose --strict
	$(PYTHON) -m tools.release $(VERSION)

# Git hooks that check each commit; see .pre-commit-config.yaml.
hooks: $(READY)
	.venv/bin/pre-commit install

# BTCP beside nginx, HAProxy and a direct connection; docs/benchmark.md.  WORK=short is one of the
# works, BASELINE=results.json an earlier result to compare with.  Without WORK, docs/ is rewritten.
# RESULT=results.json measures nothing and reports that result anew.
# WORK=wan puts the client at a distance, and rewrites its own part of docs/; WAN=all takes hours.
bench: $(BUILT) $(PLOTS)
	$(if $(filter wan,$(WORK)),$(PYTHON) -m tests.bench wan --write $(if $(WAN),--$(WAN)),\
		$(PYTHON) -m tests.bench $(WORK) $(if $(BASELINE),--baseline $(BASELINE)) \
		$(if $(RESULT),--result $(RESULT)))

# Policies, the control channel and deaths at a scale that nobody has; writes docs/scale.md.
# PART=costs, or another that python -m tests.fleet --help names, computes that alone.
fleet: $(READY)
	$(PYTHON) -m tests.fleet $(PART)

clean:
	rm -rf .venv build dist packaging/generated *.egg-info .hypothesis .import_linter_cache .mypy_cache .ruff_cache _trial_temp*
	find btcp tests twisted -name __pycache__ -exec rm -rf {} +
	rm -f twisted/plugins/dropin.cache $(OBJECTS)

# The kernel's part; dual MIT/GPL.
$(BPF)/%.bpf.o: $(BPF)/%.bpf.c $(wildcard $(BPF)/*.h)
	./bootstrap compiler
	./packaging/compile-bpf $< $@

# A clean Debian 12, into which tests install the package.
$(DEBIAN): packaging/debian-root | $(READY)
	./packaging/debian-root $@

# Only pictures need matplotlib.
$(PLOTS): setup.cfg | $(READY)
	.venv/bin/python -m pip install -qq --disable-pip-version-check --editable '.[bench]'
	touch $@

$(READY): bootstrap setup.cfg pyproject.toml
	./bootstrap developer

# What developers have includes what a node needs.
$(NODE): bootstrap setup.cfg pyproject.toml
	$(if $(wildcard $(READY)),./bootstrap developer,./bootstrap node)

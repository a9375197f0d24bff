# make demo     the main job: a Flower project that trains without a server
# make test     the tests           (make test ARGS="-k ring" passes arguments on to pytest; they
#               run in three processes, ARGS="-n 0" runs them in one)
#
# Both make .venv when it is missing. Another Python: make PYTHON=/path/to/python3.12 test

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
PIP := $(BIN)/python -m pip
INSTALL := $(PIP) install -qq --disable-pip-version-check
NEW_ENOUGH := 'import sys; sys.exit(sys.version_info < (3, 11))'
ARGS ?=

BENCHMARKS := codecs deployment faults fuzz_peer hospitals import_time in_process peer_throughput \
    segment_round simulator soak topology_scale

# mypy looks at a copy as users install it: not editable, found through py.typed.
TYPES := build/types
WHEELS := build/wheels

.PHONY: help demo deploy-demo test bench reproduce docs lint format types install clean distclean

help:
	@echo "make demo         train without a server in Flower's simulation, print a table"
	@echo "make deploy-demo  the same app on a real SuperLink, 4 SuperNodes and 4 peers"
	@echo "make test         run the tests"
	@echo "make lint         ruff, formatting and mypy over an ordinary install"
	@echo "make format       let ruff fix what it can"
	@echo "make bench        run the benchmarks, one table each (ARGS=--quick: small ones)"
	@echo "make reproduce    the experiments of both papers: tables, and figures in runs/"
	@echo "make docs         the documentation, as pages in site/"
	@echo "make clean        remove what was built (make distclean: .venv too)"

demo: $(STAMP)
	@$(BIN)/python examples/demo.py $(ARGS)

deploy-demo: $(STAMP)
	@$(BIN)/python examples/deploy_demo.py $(ARGS)

test: $(STAMP)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --durations=10 -n 3 --dist loadfile $(ARGS)

bench: $(STAMP)
	@set -e; for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py $(ARGS); done

reproduce: $(STAMP)
	@$(BIN)/python benchmarks/reproduce_beyond_spectral_gap.py $(ARGS)
	@$(BIN)/python benchmarks/reproduce_teleportation.py quadratics $(ARGS)
	@$(BIN)/python benchmarks/reproduce_teleportation.py networks $(ARGS)
	@$(BIN)/python benchmarks/reproduce_teleportation.py networks --data mnist5k $(ARGS)
	@$(BIN)/python benchmarks/reproduce_teleportation.py clocks $(ARGS)

# mkdocstrings reads the sources in the form in which they are imported.
docs: $(STAMP)
	@mkdir -p build/docs/flwr_gossip
	@for part in clients server_free strategies src/flwr_gossip/__init__.py; do \
	    ln -sfn "$(CURDIR)/$$part" build/docs/flwr_gossip/; done
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
	@echo "site/index.html"

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(MAKE) --no-print-directory types

format: $(STAMP)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: $(STAMP)
	@rm -rf build
	@$(PIP) wheel -qq --disable-pip-version-check --no-deps --no-build-isolation -w $(WHEELS) .
	@$(BIN)/python -m venv --without-pip $(TYPES)
	@$(PIP) --python $(TYPES)/bin/python install -qq --disable-pip-version-check --no-deps \
	    --no-index $(WHEELS)/flwr_gossip-*.whl
	@$(BIN)/python -c 'import pathlib, sysconfig; site = sysconfig.get_path("purelib"); \
	    [p.joinpath("pinned.pth").write_text(site) \
	    for p in pathlib.Path("$(TYPES)").glob("lib/python*/site-packages")]'
	@$(BIN)/mypy --python-executable $(TYPES)/bin/python -p flwr_gossip

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -c $(NEW_ENOUGH) 2>/dev/null || { \
	    echo "flwr-gossip needs Python 3.11 or newer, and '$(PYTHON)' is" \
	    "$$(command -v $(PYTHON) >/dev/null && $(PYTHON) --version 2>&1 || echo not found):" \
	    "name another with make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || { echo "Creating .venv with $$($(PYTHON) --version)"; \
	    $(PYTHON) -m venv .venv; }
	@echo "Installing flwr-gossip and the packages pinned in constraints.txt into .venv" \
	    "(minutes the first time)"
	@$(INSTALL) -c constraints.txt setuptools
	@$(INSTALL) -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $@

clean:
	rm -rf build dist runs site *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv

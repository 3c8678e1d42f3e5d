VENV := .venv
BIN := $(VENV)/bin
DEV := dev
RUN := $(BIN)/python -m
INSTALL := $(RUN) pip install --quiet --disable-pip-version-check --no-input
ARGS ?=

# Without this pyright asks the network for a newer version of itself each time it starts.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

# The tests start many processes, and each would compile all of Onward again.
unexport PYTHONDONTWRITEBYTECODE

.DELETE_ON_ERROR:
.PHONY: help demo test test-long test-pythons test-lowest lint format docs bench lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/core.stamp ## run the example pipeline in-process, and on workers of which one is killed
	$(RUN) examples.ingest $(ARGS)
	$(RUN) examples.ingest.durable

test: $(VENV)/dev.stamp ## run the tests: make test ARGS="-k laws"
	$(RUN) pytest --numprocesses 4 --dist loadfile $(ARGS)

test-long: $(VENV)/dev.stamp ## run the tests that take minutes each
	$(RUN) pytest -m long $(ARGS)

# One Python of each minor version, from the PATH or from pyenv. `true`, because make drops what a
# command prints whose status says that the last program was not found.
PYTHONS = $(shell for minor in 11 12 13 14 15; do \
	for python in python3.$$minor "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.$$minor.*/bin/python; do \
		"$$python" -c 'import sys; print(sys.executable)' 2>/dev/null && break; \
	done; \
done; true)
PORTABLE := src tests/unit tests/local tests/typing \
	tests/conformance/test_local.py tests/conformance/test_sqlite.py tests/conformance/test_teeth.py

test-pythons: $(VENV)/dev.stamp ## run the tests that need no engine on every Python from 3.11 up
	@for python in $(PYTHONS); do \
		minor=$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') && \
		echo "Python $$minor: $$python" && \
		$(MAKE) --no-print-directory VENV="$(VENV)/$$minor" PYTHON="$$python" ARGS="$(PORTABLE) $(ARGS)" test || exit; \
	done

test-lowest: $(VENV)/dev.stamp ## run them with the oldest dependencies that pyproject.toml allows
	$(MAKE) --no-print-directory VENV=$(VENV)/lowest DEV=lowest ARGS="$(PORTABLE) $(ARGS)" test

lint: $(VENV)/dev.stamp ## check style, types and layers
	$(RUN) ruff format --check
	$(RUN) ruff check
	$(RUN) mypy
	$(RUN) pyright --pythonpath $(BIN)/python
	PATH="$(abspath $(BIN)):$$PATH" $(RUN) pyright --verifytypes onward --ignoreexternal >$(VENV)/types.log || { cat $(VENV)/types.log; exit 1; }
	$(RUN) pyrefly check --python-interpreter-path $(BIN)/python tests/typing/accepted.py
	$(RUN) ty check --python $(VENV) tests/typing/accepted.py
	$(BIN)/lint-imports --no-logo

format: $(VENV)/dev.stamp ## format the code and mend what ruff can
	$(RUN) ruff check --fix-only
	$(RUN) ruff format

docs: $(VENV)/dev.stamp ## build the pages into docs/_build/html
	$(RUN) sphinx --fail-on-warning --keep-going --quiet docs docs/_build/html

bench: $(VENV)/dev.stamp ## run the benchmarks
	$(RUN) benchmarks $(ARGS)

# The core lock is cut from the dev one, so that the two never disagree.
COMPILE := $(RUN) uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

lock: $(VENV)/pyvenv.cfg ## refresh requirements/: make lock ARGS=--upgrade
	$(INSTALL) uv
	$(COMPILE) $(ARGS) --group dev --output-file requirements/dev.txt pyproject.toml
	$(COMPILE) $(ARGS) --group build --constraints requirements/dev.txt \
		--output-file requirements/core.txt pyproject.toml
	$(COMPILE) $(ARGS) --group pyproject.toml:rivals --output-file requirements/rivals.txt
	cp requirements/dev.txt requirements/lowest.txt  # what has no lower bound stays as it is
	$(COMPILE) --all-extras --resolution lowest-direct --no-annotate --no-header pyproject.toml | \
		$(COMPILE) --all-extras --group dev --constraints - --output-file requirements/lowest.txt pyproject.toml

clean: ## remove everything that make made
	rm -rf $(VENV) build dist docs/_build weather.db .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/pyvenv.cfg:
	@for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11); do \
		if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			exec "$$python" -m venv --clear $(VENV); \
		fi; \
	done; \
	echo 'Onward needs Python 3.11 or newer. Install one, or name it: make PYTHON=/path/to/python3' >&2; \
	exit 1

$(VENV)/core.stamp: $(VENV)/pyvenv.cfg requirements/core.txt pyproject.toml
	$(INSTALL) --require-hashes -r requirements/core.txt
	$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/core.stamp requirements/$(DEV).txt
	$(INSTALL) --require-hashes -r requirements/$(DEV).txt
	@touch $@

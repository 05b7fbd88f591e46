# Works from a fresh clone, as root or as anybody. Everything it makes stays in this directory.
# Run `make` for the list of targets; ARGS="..." is passed on, PYTHON=/path/to/python chooses the interpreter.

.DEFAULT_GOAL := help
SHELL := /bin/sh
# A command that fails half-way must not leave a target that looks made.
.DELETE_ON_ERROR:

VENV := .venv
VENV_PROTO := .venv-proto
BIN := $(VENV)/bin
PYTHON ?=
ARGS ?=
PROTO_OUT ?= .
CSI_SANITY := github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity@v5.6.0

export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Sets `python` to an interpreter that can make our virtual environment, or says what is missing.
define find_python
python=; \
for candidate in $(if $(PYTHON),"$(PYTHON)",python3 python3.14 python3.13 python3.12 python3.11 python); do \
    if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
    then python=$$candidate; break; fi; \
done; \
if [ -z "$$python" ]; then \
    echo "make: no Python 3.11 or newer with the venv module $(if $(PYTHON),at $(PYTHON),on PATH)." >&2; \
    echo "      Install one (Debian, Ubuntu: apt install python3 python3-venv), or name it: make PYTHON=/path/to/python" >&2; \
    exit 1; \
fi
endef

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "make %-10s %s\n", $$1, $$2 }'

.PHONY: demo
demo: $(VENV)/.made-test ## see a secret arrive in a volume, change and go, without a cluster (ARGS: see sscsi demo --help)
	@$(BIN)/sscsi demo $(ARGS)

.PHONY: test
test: $(VENV)/.made-test ## run the tests (ARGS: pytest's)
	$(BIN)/python -m pytest $(ARGS)

.PHONY: bench
bench: $(VENV)/.made-test ## measure publish and unpublish against the floor (ARGS: see tests/bench/run.py)
	$(BIN)/python tests/bench/run.py $(ARGS)

.PHONY: sanity
sanity: $(VENV)/.made-test $(BIN)/csi-sanity ## run the public CSI conformance suite on the real node room
	PATH="$(CURDIR)/$(BIN):$$PATH" SSCSI_REQUIRE=csi-sanity $(BIN)/python -m pytest tests/system -k sanity $(ARGS)

.PHONY: lint
lint: $(VENV)/.made-dev ## formatting, lint rules, import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

.PHONY: types
types: $(VENV)/.made-dev ## strict types, tests included
	$(BIN)/mypy

.PHONY: proto
proto: $(VENV_PROTO)/.made ## generate sscsi/pb from proto/ (PROTO_OUT=DIR: somewhere else)
	mkdir -p "$(PROTO_OUT)"
	PATH="$(abspath $(VENV_PROTO))/bin:$$PATH" $(VENV_PROTO)/bin/python -m grpc_tools.protoc -Isscsi/pb=proto \
	    --python_out="$(PROTO_OUT)" --grpc_python_out="$(PROTO_OUT)" \
	    --mypy_out="$(PROTO_OUT)" --mypy_grpc_out="$(PROTO_OUT)" proto/*.proto

.PHONY: wheel
wheel: $(VENV)/.made-dev ## build sdist and wheel into dist/
	$(BIN)/python -m build

.PHONY: clean
clean: ## remove what was built and cached, the virtual environments too
	rm -rf $(VENV) $(VENV_PROTO) build dist sscsi.egg-info .hypothesis .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps: an environment is made anew only when what it is made from has changed.
$(BIN)/python:
	@$(find_python); echo "making $(VENV) with $$python"; "$$python" -m venv --clear $(VENV)

$(VENV)/.made-test: setup.cfg | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@

$(VENV)/.made-dev: $(VENV)/.made-test
	$(BIN)/python -m pip install --quiet --editable '.[test,dev]'
	@touch $@

# The exact versions of the [proto] extra, and nothing of ours: generating code must not need generated code.
$(VENV_PROTO)/.made: setup.cfg
	@$(find_python); "$$python" -m venv --clear $(VENV_PROTO)
	$(VENV_PROTO)/bin/python -c 'import configparser as c; p = c.ConfigParser(); p.read("setup.cfg"); print(p["options.extras_require"]["proto"])' \
	    > $(VENV_PROTO)/requirements.txt
	$(VENV_PROTO)/bin/python -m pip install --quiet --requirement $(VENV_PROTO)/requirements.txt
	@touch $@

$(BIN)/csi-sanity: | $(BIN)/python
	@command -v go >/dev/null || { echo "make: csi-sanity is built from source: install Go 1.24 or newer" >&2; exit 1; }
	GOBIN="$(CURDIR)/$(BIN)" go install $(CSI_SANITY)

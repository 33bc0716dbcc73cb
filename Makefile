# Two commands: `make demo` and `make test`. Both make .venv when it is not there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= mmstream-data

.PHONY: demo test servers lint types unit clean

demo: $(VENV)/.demo
	$(BIN)/mmstream demo --data $(DATA)

test: $(VENV)/.test servers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

# Without servers, Ray or a browser: seconds.
unit: $(VENV)/.test
	$(BIN)/python -m pytest -m "not rtsp and not cluster and not browser and not redis"

lint: $(VENV)/.test
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(VENV)/.test
	$(BIN)/mypy

# The servers that users have: a camera server, Redis, a browser. Says what is missing where it cannot install.
servers:
	@bash tests/install_servers.sh

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "Installing mmstream into $(VENV) (a few minutes the first time; PyTorch is the large part)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.test: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "Installing mmstream and its test tools into $(VENV) (a few minutes the first time)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info

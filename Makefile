# Each target sets itself up from nothing into .venv and does nothing twice.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo test lint format bench clean

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install
	$(BIN)/foldrace run demo --workers 2
	$(BIN)/foldrace export demo --output runs/demo/final.toml
	$(BIN)/foldrace final runs/demo/final.toml --workers 2

test: install
	$(BIN)/pytest

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

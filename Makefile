PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format bench bench-edge fuzz load results images-check clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## make the virtual environment with everything in it

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY) ## start a server on loopback and ask it about an example picture
	$(BIN)/python -m examples.demo

test: check ## run all checks and tests
	$(BIN)/python -m pytest

check: $(READY) ## format, lint, types, rules of the house
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## measure speed against Pillow's formats and CompressAI
	$(BIN)/python -m evaluation bench

bench-edge: $(READY) ## measure the base install in a fresh environment (needs a package index)
	$(BIN)/python -m evaluation bench --edge

fuzz: $(READY) ## read 100,000 damaged streams; goes on where it stopped
	$(BIN)/python -m evaluation fuzz

load: $(READY) ## put a local server under load (half an hour on idle cores)
	$(BIN)/python -m evaluation load

results: $(READY) ## remake the tables and plots of docs/results.md from the shipped bundle
	$(BIN)/python -m evaluation codec
	$(BIN)/python -m evaluation scenes --variant joint=tiny-joint
	$(BIN)/python -m evaluation rate_accuracy --variant joint=tiny-joint
	$(BIN)/python -m evaluation ablations
	$(BIN)/python -m evaluation guidance
	$(BIN)/python -m evaluation sheet
	$(BIN)/python -m evaluation information_flow

images-check: ## build both container images for real and try them (needs buildah, debootstrap, root)
	docker/images_check.sh

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info

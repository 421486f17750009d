# Everything works from a fresh clone with python3.11+ and make: the first target that needs it makes .venv.
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(if $(shell command -v $(p) 2>/dev/null),$(p))))
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help install install-peers demo test test-deep test-stack audit fuzz mutants model lint format bench docs clean
help: ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

install: $(VENV)/.installed ## .venv with everything that the project can use

$(VENV)/.installed: pyproject.toml .constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c .constraints.txt torch==2.13.0 -e '.[llm,he,dp,flower,nvflare,dev]'
	@touch $@

install-peers: install ## also what benchmarks alone compare against
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c .constraints.txt -e '.[peers]'

# The stage of round 3 in which one client is lost: advertise, share, input, consent, release or none; with
# ARGS='--set aggregation.scheme=bfv --set aggregation.corrupt=0': advertise, keys, input, open or none.
LOSE ?= input

demo: install ## eight parties improve one language model and show each other nothing (about four minutes)
	$(BIN)/securefed run --name demo --lose $(LOSE) $(ARGS)

# A file's tests stay together: fixtures of a module start deployments and simulators once.
test: install ## all tests, on two cores
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

test-deep: install ## the random tests of the core with twenty times as many examples
	SECUREFED_TEST_DEPTH=deep $(BIN)/python -m pytest --timeout=7200 \
		tests/crypto tests/encoding tests/wire tests/secagg tests/differential tests/audit $(ARGS)

test-stack: install ## faults on a real Flower SuperLink: kills, a slow node, a wrong server (about half an hour)
	$(BIN)/python -m pytest -m stack tests/integrations $(ARGS)

audit: install ## ten thousand rounds under a simulated adversary (a few minutes, nightly)
	$(BIN)/securefed audit protocol --seeds 10000

FUZZ_RUNS ?= 1000000

fuzz: install ## coverage-guided fuzzing of decoders, state machines and files (hours; FUZZ_RUNS for fewer)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c .constraints.txt -e '.[fuzz]'
	FUZZ_RUNS=$(FUZZ_RUNS) $(BIN)/python -m tests.fuzz

mutants: install ## break the core in one place at a time: does a test notice? (hours; ARGS='--sample 40' in ten minutes)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c .constraints.txt -e '.[mutants]'
	$(BIN)/python -m tests.mutants $(ARGS)

model: ## the Promela model of the masking protocol, checked by spin (needs spin and a C compiler)
	$(PYTHON) -m protocols.pairwise_masking.model.check $(ARGS)

lint: install ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install ## rewrite the code's layout
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install ## all benchmarks, as tables
	for name in masking he scale dp exchange memory demo; do $(BIN)/python -m bench $$name || exit 1; done

docs: install ## check the documentation: links, and every example run as a test
	$(BIN)/python -m pytest tests/docs

clean: ## remove what was made, .venv included
	rm -rf $(VENV) runs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

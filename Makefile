# Everything a contributor runs; .ci/run calls the same targets.
#   make demo [BACKEND=python] [ARGS="--json"]   make dev   make test [ARGS="-k qos1"]   make lint   make fmt
#   make wheels   make test-wheel   make test-pure   make test-brokers [BROKERS=nats,mochi]   make fuzz [FUZZ=topics SECONDS=600]
#   make soak [HOURS=8]   make bench [REPORT=build]   make bench-peers   make instructions [UPDATE=1]   make clean

PYTHON ?= python3
VENV ?= .venv
BACKEND ?= native
# Tests mostly wait for brokers and processes: more of them at once than there are processors.
WORKERS ?= 4
BROKERS ?= all
ARGS ?=

BIN := $(VENV)/bin
DEV := $(VENV)/.dev
DEMO := $(VENV)/.demo
CORE := Cargo.toml $(wildcard Cargo.lock) rust-toolchain.toml rust/Cargo.toml $(shell find rust/src -name '*.rs')
HAVE_CARGO := $(shell command -v cargo)
# The crates see the interpreter they are built for, by one name, so that nothing is compiled twice.
CARGO := PYO3_PYTHON=$(abspath $(BIN)/python) cargo
export PIP_QUIET = 1
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo dev test test-python test-rust test-wheel test-pure test-brokers soak lint fmt wheels fuzz bench bench-peers instructions clean
.DELETE_ON_ERROR:

# --- environments: each has a stamp file, newer than what it was made from

$(BIN)/maturin:
	@echo "==> making $(VENV) with $$($(PYTHON) --version)" >&2
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --upgrade pip 'maturin>=1.9,<2'

$(DEV): pyproject.toml $(CORE) | $(BIN)/maturin
	@echo "==> compiling the core (release) and installing it editable into $(VENV)" >&2
	@VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --quiet --release --extras cli,broker,test,bench >&2
	@touch $(DEMO) $(DEV)

dev: $(DEV)

ifdef HAVE_CARGO
$(DEMO): pyproject.toml $(CORE) | $(BIN)/maturin
	@echo "==> compiling the core, once (a minute or two), and installing it into $(VENV)" >&2
	@VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --quiet --release --extras cli,broker >&2
	@touch $@
else
DEMO_FLAGS := --backend python
$(DEMO): pyproject.toml $(shell find python -name '*.py') packaging/pure/hatch_build.py
	@echo "==> no cargo here, so no compiled core: the demo runs on the pure wheel" >&2
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --upgrade pip
	@$(PIP) install --force-reinstall "./packaging/pure[cli,broker]"
	@touch $@
endif
DEMO_FLAGS ?= --backend $(BACKEND)

demo: $(DEMO)
	@$(BIN)/cascade-mqtt demo $(DEMO_FLAGS) $(ARGS)

# --- checks

test: test-python test-rust

test-python: $(DEV)
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

test-rust: $(DEV)
	cargo test --quiet

# New seeds of the simulation until the time is over: make soak HOURS=8, or SECONDS=60.
soak: SECONDS ?= $(if $(HOURS),$(shell expr $(HOURS) \* 3600),600)
soak:
	CASCADE_SIM_SECONDS=$(SECONDS) cargo test --quiet --package cascade-mqtt-core --test simulation -- --ignored --nocapture soak

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cargo fmt --all --check
	cd rust/fuzz && cargo fmt --check
	$(CARGO) clippy --quiet --workspace --all-targets -- -D warnings
	$(CARGO) clippy --quiet --all-targets --features python -- -D warnings

fmt: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	cargo fmt --all
	cd rust/fuzz && cargo fmt

wheels: $(BIN)/maturin
	rm -rf dist
	$(BIN)/maturin build --quiet --release --out dist --interpreter $(BIN)/python
	$(PIP) wheel --no-deps --wheel-dir dist ./packaging/pure
	$(BIN)/python packaging/check_wheels.py dist

# The same suite on a wheel, in an environment that has never seen the editable install.
# $(1): the environment; $(2): the wheel; $(3): what else to install; $(4): variables
define suite_on
	rm -rf $(1)
	$(BIN)/python -m venv $(1)
	$(1)/bin/python -m pip --disable-pip-version-check --quiet install "$$(echo $(2))[cli,broker,test]" $(3)
	$(4) $(1)/bin/python -m pytest -n $(WORKERS) $(ARGS)
endef

test-wheel: wheels
	$(call suite_on,build/wheel,dist/*-cp3*.whl)

# With the oldest versions of what the fallback stands on; every other suite has the newest.
test-pure: wheels
	$(call suite_on,build/pure,dist/*-none-any.whl,aiomqtt==2.4.0 paho-mqtt==2.1.0,CASCADE_TEST_BACKENDS=python)

FUZZ ?= packets outbox session topics json_encode json_decode batches

# Each of them for so long.
fuzz: SECONDS ?= 60
fuzz: | $(BIN)/maturin
	@for target in $(FUZZ); do \
	    PYO3_PYTHON=$(abspath $(BIN)/python) rust/fuzz/run $$target -max_total_time=$(SECONDS) || exit 1; \
	done

# Brokers of other ecosystems too, into build/brokers, one at a time; those that cannot be had here are named.
test-brokers: $(DEV)
	@nice $(BIN)/python tests/brokers/install.py
	CASCADE_TEST_BROKERS=$(BROKERS) $(BIN)/python -m pytest tests/brokers $(ARGS)

# The first compiles the far end. Each writes benchmarks.md and benchmarks.svg there; what is committed is from bench-peers on a quiet machine.
REPORT ?= docs

bench: $(DEV)
	$(BIN)/python -m pytest --benchmark --timeout=600 --benchmark-report=$(REPORT) $(ARGS)

bench-peers: $(DEV)
	$(BIN)/python -m pytest --benchmark --timeout=600 --peers --benchmark-report=$(REPORT) $(ARGS)

# Instructions of the hot paths beside the committed ones; UPDATE=1 commits new ones.
instructions: $(DEV)
	$(BIN)/python -m benches.instructions $(if $(UPDATE),--update)

clean:
	rm -rf build dist target .mypy_cache .pytest_cache .ruff_cache .benchmarks $(VENV)
	find python -name '*.so' -delete

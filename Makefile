# The commands of the README. All is built in one profile and one directory outside the checkout, so that RocksDB's C++, twenty minutes on two
# cores, is compiled once.
CARGO_TARGET_DIR ?= $(HOME)/.cache/resolvent/target
RESOLVENT_TOOLS ?= $(HOME)/.cache/resolvent/tools
PATH := $(RESOLVENT_TOOLS)/bin:$(PATH)
export CARGO_TARGET_DIR RESOLVENT_TOOLS PATH

# Cases of each property test in a soak; a usual run has 256.
SOAK_CASES ?= 20000
# A usual run has the same cases each time, so that it fails for the change that it tests; a soak has new ones.
TEST_SEED ?= 2026

# Tests run with debug assertions and overflow checks in our own crates; everything else is the build's. Binaries that they start are put into a
# directory of their own: release/ always holds what is shipped.
CHECKED_TEST = CARGO_BUILD_BUILD_DIR='$(CARGO_TARGET_DIR)' CARGO_TARGET_DIR='$(CARGO_TARGET_DIR)/checked' \
	cargo test --release --locked --workspace --config .cargo/checked.toml

.DEFAULT_GOAL := help
.PHONY: help setup build optimized demo demo-kafka test bench bench-speed bench-maintained bench-kafka lint soak

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' Makefile

setup: ## Install what is missing to build
	@.ci/setup build

build: setup ## Build the jobs
	cargo build --release --locked --bins

optimized: setup ## Build them once more, for how they run: about a tenth faster (six minutes more; into optimized/release)
	@.ci/optimize

demo: EVENTS ?= 2000000
demo: setup ## Resolve one disordered stream in each of the three modes, and compare (EVENTS=2000000)
	cargo build --release --locked --bins --example demo
	@'$(CARGO_TARGET_DIR)/release/examples/demo' --events $(EVENTS)

demo-kafka: EVENTS ?= 1000000
demo-kafka: ## The same from topic to topic, on a real Apache Kafka that is started for it (EVENTS=1000000)
	@.ci/setup kafka
	cargo build --release --locked --bins --example demo
	@'$(CARGO_TARGET_DIR)/release/examples/demo' --kafka --events $(EVENTS)

test: ## Run all tests
	@.ci/setup test
	$(CHECKED_TEST) --doc
	PROPTEST_RNG_SEED=$(TEST_SEED) $(CHECKED_TEST) --lib --tests

# With OPTIMIZED=yes, benchmarks measure what `make optimized` has built.
MEASURED = $(if $(OPTIMIZED),.ci/optimize)

bench: setup ## Compare the modes: what each costs, and what it buys (ARGS=--quick for one minute instead of ten)
	$(MEASURED) cargo bench --locked --bench modes -- $(ARGS)

bench-speed: setup ## Measure the speed of each mode beside hand-written Rust (ARGS=--quick to try it)
	$(MEASURED) cargo bench --locked --bench speed -- $(ARGS)

bench-maintained: setup ## Measure what maintained results cost beside results that are told once (ARGS=--quick to try it, --memory for memory over time)
	$(MEASURED) cargo bench --locked --bench maintained -- $(ARGS)

bench-kafka: ## Measure the jobs from topic to topic beside a loop on the bare client (ARGS=--quick to try it)
	@.ci/setup kafka
	$(MEASURED) cargo bench --locked --bench kafka -- $(ARGS)

lint: ## Check format, lints, docs, licences, and where dependencies come from
	@.ci/setup lint
	cargo fmt --all --check
	cargo clippy --release --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --release --locked --workspace --no-deps
	cargo deny check --hide-inclusion-graph bans licenses sources
	@if curl --silent --fail --head --max-time 5 --output /dev/null https://github.com/RustSec/advisory-db; then \
		cargo deny check advisories; \
	else \
		echo 'lint: the advisory database cannot be reached from here: advisories were not checked'; \
	fi

soak: ## Run the long form of the tests: 100 kills a mode, every order in every mode, many more cases of each property (SOAK_CASES=20000)
	@.ci/setup test
	RESOLVENT_SOAK=1 PROPTEST_CASES=$(SOAK_CASES) $(CHECKED_TEST) --lib --tests

# Two commands do everything on a fresh machine: `make demo` and `make test`.
.DELETE_ON_ERROR:
CARGO ?= cargo

.PHONY: demo test test-slow bench lint setup media build help

help:
	@echo "make demo       install what is missing, build, ground a real clip into out/"
	@echo "make test       install what is missing, lint, build, run all tests"
	@echo "make test-slow  tests that take longer"
	@echo "make bench      speed, against a baseline measured in the same run"
	@echo "make lint       formatting, clippy, documentation"

setup:
	@bash scripts/setup.sh

media: setup
	@bash scripts/fetch-media.sh

build: setup
	$(CARGO) build --release --locked

demo: build media
	@bash scripts/demo.sh

test: lint media
	$(CARGO) test --release --locked --workspace

# The full-size model's compiled path against its plain one, and a hundred times as many random cases.
test-slow: media
	PROPTEST_CASES=200000 $(CARGO) test --release --locked -p qrnet --test parity preprocess
	$(CARGO) test --release --locked -p qrnet --test slow

bench: setup
	$(CARGO) bench --locked --workspace

lint: setup
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --locked --workspace --no-deps

# pagesight. `make help` lists the targets.

# Outside the clone, so that a second clone is warm. One profile (dev, tuned in Cargo.toml)
# serves demo, tests and benches.
CACHE := $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)
export CARGO_TARGET_DIR ?= $(CACHE)/pagesight/target
PAGESIGHT := $(CARGO_TARGET_DIR)/debug/pagesight
LIBRARY := .tools/pdfium/lib

.PHONY: help setup build demo test check bench eval robustness parity python-check clean-demo

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "%-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## fetch protoc and libpdfium (pinned) into .tools
	@cargo xtask setup

build: setup ## the program, with libpdfium beside it
	cargo build --workspace
	@cp -f $(LIBRARY)/* $(CARGO_TARGET_DIR)/debug/

demo: build ## index fixtures/pdf and ask three questions
	@PAGESIGHT=$(PAGESIGHT) sh tests/demo.sh

test: setup ## every test
	cargo test --workspace

check: setup ## formatting, lints and docs, warnings denied
	cargo fmt --all -- --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items

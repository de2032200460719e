#!/bin/sh
# Builds the comparison in five ways and runs them in turn; writes raw.csv.
# Needs: a C compiler, libssl-dev and pkg-config (for the openssl reference only).
set -eu
passes=${1:-12}

build() { # name, then variables for the environment and arguments for cargo
    name=$1
    shift
    env CARGO_TARGET_DIR="target-$name" "$@"
}
build default cargo build --release
build blake3-intrinsics cargo build --release --features blake3-intrinsics
build blake3-pure cargo build --release --features blake3-pure
build native RUSTFLAGS='-C target-cpu=native' CFLAGS='-march=native' cargo build --release
build sha2-soft RUSTFLAGS='--cfg sha2_backend="soft"' cargo build --release

run() { # name, then extra arguments for the program
    name=$1
    shift
    "target-$name/release/compare" --rounds 60 --label "$name" "$@" | sed "s/^/$pass,/; s/^$pass,build/pass,build/"
}
for pass in $(seq "$passes"); do
    run default
    run blake3-intrinsics --filter blake3
    run blake3-pure --filter blake3
    run native
    run sha2-soft --filter sha2
done | awk 'NR == 1 || !/^pass,/' > raw.csv

#!/bin/sh
# Our crates with libFuzzer's coverage (RUSTC_WORKSPACE_WRAPPER; their dependencies are those of any other build), and the
# program without the static C library, which libFuzzer's start-up cannot do with.
for argument; do
    shift
    case $argument in
        target-feature=+crt-static) argument=target-feature=-crt-static ;;
    esac
    set -- "$@" "$argument"
done
exec "$@" -C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=4 \
    -C llvm-args=-sanitizer-coverage-inline-8bit-counters -C llvm-args=-sanitizer-coverage-pc-table \
    -C llvm-args=-sanitizer-coverage-trace-compares

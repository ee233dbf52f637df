//! libFuzzer's program for all targets; `cargo xtask fuzz` builds it with coverage and says by `FUZZ_TARGET` which one.

#![no_main]

use std::sync::OnceLock;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();
    let run = TARGET.get_or_init(|| {
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        fuzz::find(&name).unwrap_or_else(|| panic!("FUZZ_TARGET={name:?} is no target"))
    });
    run(data);
});

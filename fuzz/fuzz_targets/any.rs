//! One binary for all targets; ONENIPD_FUZZ_TARGET names the one.
#![no_main]

#[path = "../inputs/mod.rs"]
mod inputs;

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static TARGET: LazyLock<inputs::Target> = LazyLock::new(|| {
    let name = std::env::var("ONENIPD_FUZZ_TARGET").unwrap_or_default();
    let names: Vec<&str> = inputs::TARGETS.iter().map(|target| target.0).collect();
    let target = inputs::TARGETS.iter().find(|target| target.0 == name);
    target.unwrap_or_else(|| panic!("ONENIPD_FUZZ_TARGET is {name:?}, not one of {names:?}")).1
});

fuzz_target!(|bytes: &[u8]| (*TARGET)(bytes));

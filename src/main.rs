//! The binary; everything is in the library.

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;

/// The system's allocator, counting: `onenipd bench` shows what a part allocates. A part allocates
/// next to nothing, so the count costs nothing.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() -> std::process::ExitCode {
    onenipd::commands::main()
}

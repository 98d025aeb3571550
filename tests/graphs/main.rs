//! Bundle and engine together: graphs made from weights, run by ONNX Runtime.
//!
//! Needs the library in `runtime/` (`make setup`).

// Helpers of tests are outside `#[test]`, where the lints do not know them as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

mod engine;
mod forward;
mod half;
mod memory;
mod store;
mod support;

//! Nothing: see headers-*/Cargo.toml.

//! Files of torch.save: the published backbones, official checkpoints and hostile ones.
//!
//! Needs the library in `runtime/` (`make setup`).

#![cfg(feature = "train")]
// Helpers of tests are outside `#[test]`, where the lints do not know them as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

mod hostile;
mod official;
mod published;
mod writer;

//! onenipd: a picture of every part, a verdict from one good example, the reject at the right moment.
//!
//! The rooms, lowest floor first; a room imports only from floors below it (docs/design/house.md).

pub mod part; // 0: the vocabulary

pub mod bundle; // 1: the engine bundle
pub mod config; // 1: typed configuration
#[cfg(feature = "cuda")]
pub mod cuda; // 1: the GPU
pub mod dataset; // 1: MVTec layout
pub mod judge; // 1: map and thresholds to verdict
pub mod line; // 1: the line, pure
pub mod simulator; // 1: drawn parts on a belt

pub mod camera; // 2: frames
pub mod engine; // 2: maps
pub mod line_io; // 2: wires
pub mod preprocess; // 2: tensors
pub mod records; // 2: what is kept

pub mod product; // 3: what is taught

pub mod evaluation; // 4: how good it is

pub mod daemon; // 5: the way at run time
#[cfg(feature = "train")]
pub mod model; // 5: the network in burn

pub mod commands; // 7: the command line

//! The network in burn: features, training, proof. The only room that imports burn.

pub mod bundling;
pub mod checkpoint;
pub mod data;
pub mod export;
pub mod features;
pub mod feed;
pub mod fusion;
pub mod held_out;
pub mod import;
pub mod initialise;
pub mod losses;
pub mod network;
pub mod optimiser;
pub mod prompts;
pub mod pseudo_anomaly;
pub mod sampling;
pub mod step;
pub mod torch_file;
pub mod train;
pub mod training_log;
pub mod verify;

mod interpolation;
mod nearest;
mod random;
mod trainer;

//! The network in burn: features, training, proof. The only room that imports burn.

pub mod bundling;
pub mod checkpoint;
pub mod data;
pub mod export;
pub mod features;
pub mod fusion;
pub mod held_out;
pub mod initialise;
pub mod losses;
pub mod network;
pub mod optimiser;
pub mod pseudo_anomaly;
pub mod step;
pub mod torch_file;
pub mod train;
pub mod verify;

mod interpolation;
mod random;

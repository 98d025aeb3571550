//! The engine bundle: read, check, write (architecture, "The bundle").

pub mod efficientnet;
mod error;
mod files;
mod graphs;
mod manifest;
mod onnx;
pub mod rule;
mod store;
mod write;

pub use error::BundleError;
pub use graphs::{
    check_weights, inspector_graph, inspector_inputs, prompt_encoder_graph, weight_shapes,
};
pub use manifest::{
    Backbone, CheckpointSource, Fusion, Geometry, InspectorInput, Manifest, Normalisation,
    OnePicture, Recipe, TrainingPrompt, TrainingRecord,
};
pub use store::{Bundle, GraphFiles};
pub use write::{Precision, write};

/// Version of the bundle format that this program reads and writes.
pub const FORMAT_VERSION: u32 = 1;

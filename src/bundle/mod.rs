//! The engine bundle: read, check, write (architecture, "The bundle").

mod manifest;

pub use manifest::{
    Backbone, Fusion, Geometry, InspectorInput, Manifest, Normalisation, OnePicture, Recipe,
    TrainingRecord,
};

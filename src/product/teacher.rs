//! What teaching needs of a bundle: features of a picture, and its inspection.

use crate::bundle::Manifest;
use crate::dataset::DatasetError;
use crate::engine::{EngineError, Inspection};
use crate::part::{NamedTensors, RegionOfInterest, Tensor, TensorShapeError};
use image::RgbImage;
use thiserror::Error;

/// What the prompt encoder says of a picture.
#[derive(Clone, Debug)]
pub struct Encoding {
    /// Prompt memory [L,256] (specification 5.2); none for a bundle without a network.
    pub prompt_memory: Option<Tensor>,
    /// Neck features f [L,C] (specification 2.5).
    pub features: Tensor,
}

/// A bundle at work: prompt encoder, inspector and the preprocessing of both.
pub trait Teacher {
    /// The bundle's manifest.
    fn manifest(&self) -> &Manifest;

    /// The region of interest of a picture, brought to S x S as the line's preprocessing does.
    fn resize(&mut self, picture: &RgbImage, region: Option<RegionOfInterest>) -> RgbImage;

    /// The network input [3,S,S] of an S x S picture.
    fn normalise(&mut self, resized: &RgbImage) -> Vec<f32>;

    /// Prompt memory and features of a network input.
    fn encode(&mut self, input: &[f32]) -> Result<Encoding, EngineError>;

    /// Binds the inspector's product tensors.
    fn set_product(&mut self, tensors: &NamedTensors) -> Result<(), EngineError>;

    /// Inspects a network input as the product last set.
    fn inspect(&mut self, input: &[f32]) -> Result<Inspection<'_>, EngineError>;
}

/// Why a product cannot be taught.
#[derive(Debug, Error)]
pub enum TeachError {
    /// No picture was given.
    #[error("no picture of a good part was given; 8 or more give a measured threshold")]
    NoPictures,
    /// A picture cannot be read.
    #[error(transparent)]
    Picture(#[from] DatasetError),
    /// The engine cannot answer.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The prompt encoder's answer does not fit the manifest.
    #[error("the prompt encoder gave {what}; the manifest asks for {expected}")]
    Encoding {
        /// What was given.
        what: String,
        /// What was expected.
        expected: String,
    },
    /// The manifest asks for a product tensor nobody here can make.
    #[error("the bundle asks for the product tensor `{0}`, which this version cannot make")]
    UnknownInput(String),
    /// A tensor's declared shape does not fit its content.
    #[error("product tensor `{name}`: {source}; the bundle's manifest is wrong")]
    Shape {
        /// The tensor.
        name: String,
        /// What does not fit.
        source: TensorShapeError,
    },
    /// A map says nothing about good parts.
    #[error(
        "the {map} map of the good parts has a 99th percentile of {percentile}, which gives no \
         scale; check that the pictures show parts"
    )]
    NoScale {
        /// The map.
        map: &'static str,
        /// Its percentile.
        percentile: f32,
    },
    /// The share of false rejects makes no sense.
    #[error("a false-reject share of {0} was asked for; it must be above 0 and below 0.5")]
    FalseRejectShare(f64),
    /// A score of a good part is not a number.
    #[error("a good part got a score that is not a finite number; the bundle is unusable")]
    ScoreNotFinite,
}

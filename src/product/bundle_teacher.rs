//! A bundle at work on ONNX Runtime, for teaching and evaluation.

use super::teacher::{Encoding, Teacher};
use crate::bundle::{GraphFiles, Manifest};
use crate::engine::{Engine, EngineError, Inspection, Inspector, OnnxRuntime, PromptEncoder};
use crate::part::{NamedTensors, RegionOfInterest};
use crate::preprocess::{normalise_picture, resize_picture};
use image::RgbImage;

/// Prompt encoder, inspector and preprocessing of one bundle.
pub struct BundleTeacher {
    manifest: Manifest,
    encoder: PromptEncoder,
    inspector: Inspector,
}

impl BundleTeacher {
    /// Opens both graphs with `threads` threads each.
    pub fn open(
        runtime: &OnnxRuntime,
        graphs: &GraphFiles,
        manifest: &Manifest,
        threads: usize,
    ) -> Result<Self, EngineError> {
        Ok(Self {
            manifest: manifest.clone(),
            encoder: PromptEncoder::open(runtime, &graphs.prompt_encoder, manifest, threads)?,
            inspector: Inspector::open(runtime, &graphs.inspector, manifest, threads)?,
        })
    }

    /// Other fusion constants than the bundle's own (training measures them last).
    pub fn manifest_mut(&mut self) -> &mut Manifest {
        &mut self.manifest
    }
}

impl Teacher for BundleTeacher {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn resize(&mut self, picture: &RgbImage, region: Option<RegionOfInterest>) -> RgbImage {
        let side = self.manifest.side;
        match region {
            Some(r) => {
                let view = image::imageops::crop_imm(picture, r.x, r.y, r.width, r.height);
                resize_picture(&view.to_image(), side)
            }
            None => resize_picture(picture, side),
        }
    }

    fn normalise(&mut self, resized: &RgbImage) -> Vec<f32> {
        normalise_picture(resized, &self.manifest.normalisation)
    }

    fn encode(&mut self, input: &[f32]) -> Result<Encoding, EngineError> {
        let encoding = self.encoder.encode(input)?;
        Ok(Encoding { prompt_memory: encoding.prompt_memory, features: encoding.features })
    }

    fn set_product(&mut self, tensors: &NamedTensors) -> Result<(), EngineError> {
        self.inspector.set_product(tensors)
    }

    fn inspect(&mut self, input: &[f32]) -> Result<Inspection<'_>, EngineError> {
        let slot = self.inspector.input();
        if slot.len() != input.len() {
            let (given, needed) = (input.len(), slot.len());
            let reason = format!("{given} input values were given, {needed} are needed");
            return Err(EngineError::Run(reason));
        }
        slot.copy_from_slice(input);
        self.inspector.run()
    }
}

//! A product: what was taught of its good parts, and how it is kept on the box.
//!
//! Source: architecture, "The inspector's inputs and outputs", calibration and one picture.

mod bundle_teacher;
mod calibrate;
mod copies;
mod folds;
mod golden_product;
mod k_center;
mod one_picture;
mod separate_maps;
mod spread;
mod store;
mod teacher;
mod tensor_file;
mod thresholds;
mod tokens;

pub use bundle_teacher::BundleTeacher;
pub use calibrate::{CalibrationRequest, Progress, Prompt, Stage, calibrate};
pub use golden_product::golden_product;
pub(crate) use k_center::dot;
pub use one_picture::{measure_one_picture, median_one_picture, teach_one_picture};
pub use separate_maps::{PictureMaps, SeparateMaps, separate_maps};
pub use spread::{PromptPlace, Spread};
pub use store::{Identity, Listing, ProductStore, StoreError};
pub use teacher::{Encoding, TeachError, Teacher};
pub use thresholds::{Thresholds, image_threshold};
pub use tokens::{TokenSizes, unit_tokens};

use crate::part::{NamedTensors, RegionOfInterest};
use serde::{Deserialize, Serialize};

/// Seed of every draw of the teaching: the same parts always give the same product.
pub const TEACHING_SEED: u64 = 0;

/// What is known of a product without its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProductInfo {
    /// The number a PLC asks for, 1 to 65535.
    pub number: u16,
    /// Its name: letters, digits, `_`, `-`, at most 64.
    pub name: String,
    /// Hash of the bundle it was taught under; under another it is refused.
    pub bundle_hash: String,
    /// 1 when first taught, one more each time it is taught again.
    pub revision: u32,
    /// False when it was taught by one picture and its thresholds are the bundle's medians.
    pub calibrated: bool,
    /// Number of good pictures it was taught from.
    pub good_pictures: usize,
    /// Share of good parts its image threshold was set to reject (a fraction).
    pub false_reject_share: f64,
    /// The part of the camera picture that is inspected; all of it when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region_of_interest: Option<RegionOfInterest>,
    /// When it rejects, and where it draws.
    pub thresholds: Thresholds,
    /// What a person should know of how it was taught.
    pub notes: Vec<String>,
}

/// A product: everything needed to judge a part as it.
#[derive(Clone, Debug, PartialEq)]
pub struct Product {
    /// What is known of it.
    pub info: ProductInfo,
    /// The inspector's product inputs, by the names of the bundle's manifest.
    pub tensors: NamedTensors,
}

/// What teaching gives; with an [`Identity`] it is a product.
#[derive(Clone, Debug)]
pub struct Taught {
    /// The inspector's product inputs.
    pub tensors: NamedTensors,
    /// When it rejects, and where it draws.
    pub thresholds: Thresholds,
    /// False when taught by one picture.
    pub calibrated: bool,
    /// Number of good pictures it was taught from.
    pub good_pictures: usize,
    /// Share of good parts the image threshold was set to reject (a fraction).
    pub false_reject_share: f64,
    /// Image scores of the good parts held back; empty when taught by one picture.
    pub held_back_scores: Vec<f32>,
    /// Where the prompt lies among the good parts; nothing when taught by one picture.
    pub prompt: Option<PromptPlace>,
    /// What a person should know of how it was taught.
    pub notes: Vec<String>,
}

impl Taught {
    /// The product of this name, number and revision.
    pub fn into_product(self, identity: Identity) -> Product {
        let info = ProductInfo {
            number: identity.number,
            name: identity.name,
            bundle_hash: identity.bundle_hash,
            revision: identity.revision,
            calibrated: self.calibrated,
            good_pictures: self.good_pictures,
            false_reject_share: self.false_reject_share,
            region_of_interest: identity.region_of_interest,
            thresholds: self.thresholds,
            notes: self.notes,
        };
        Product { info, tensors: self.tensors }
    }
}

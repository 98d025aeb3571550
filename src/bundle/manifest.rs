//! `bundle.toml`.

use super::{FORMAT_VERSION, inspector_inputs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Backbones of the specification (2.3, 2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backbone {
    /// EfficientNet-Lite0.
    Lite0,
    /// EfficientNet-Lite1.
    Lite1,
    /// EfficientNet-Lite2.
    Lite2,
    /// EfficientNet-B4, the paper's.
    B4,
}

impl Backbone {
    /// All of them, the smallest first.
    pub const ALL: [Self; 4] = [Self::Lite0, Self::Lite1, Self::Lite2, Self::B4];

    /// The name used in manifests, golden files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lite0 => "lite0",
            Self::Lite1 => "lite1",
            Self::Lite2 => "lite2",
            Self::B4 => "b4",
        }
    }

    /// Channels of the taps at strides 2, 4, 8, 16.
    pub const fn tap_channels(self) -> [usize; 4] {
        match self {
            Self::Lite0 | Self::Lite1 => [16, 24, 40, 112],
            Self::Lite2 => [16, 24, 48, 120],
            Self::B4 => [24, 32, 56, 160],
        }
    }
}

/// How the network reads its features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recipe {
    /// No network: search and cell only (`train --steps 0`).
    Untrained,
    /// The paper's network and losses; maps fused with search and cell by measured weights.
    Default,
    /// The paper exactly: network alone, scale 1.
    Paper,
}

/// Sizes that follow from backbone and input side (specification 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Input side S, a multiple of 16.
    pub side: usize,
    /// Token grid side G = S/16.
    pub grid: usize,
    /// Tokens L = G*G.
    pub tokens: usize,
    /// Neck channels C.
    pub channels: usize,
    /// Channels E of the memory tokens: strides 8 and 16, the last E of the C.
    pub token_channels: usize,
}

impl Geometry {
    /// Sizes of `backbone` at input side `side`.
    pub const fn new(backbone: Backbone, side: usize) -> Self {
        let [a, b, c, d] = backbone.tap_channels();
        let grid = side / 16;
        Self { side, grid, tokens: grid * grid, channels: a + b + c + d, token_channels: c + d }
    }
}

/// Pixel normalisation: (v/255 - mean) / deviation per channel.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalisation {
    /// Red, green, blue.
    pub mean: [f32; 3],
    /// Red, green, blue.
    pub deviation: [f32; 3],
}

impl Normalisation {
    /// EfficientNet-Lite: (pixel - 127) / 128 (specification 2.4).
    pub const LITE: Self = Self { mean: [127.0 / 255.0; 3], deviation: [128.0 / 255.0; 3] };
    /// EfficientNet-B4: mean and deviation of ImageNet (specification 2.1).
    pub const IMAGENET: Self =
        Self { mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225] };

    /// What the published weights of `backbone` were trained with.
    pub const fn of(backbone: Backbone) -> Self {
        match backbone {
            Backbone::Lite0 | Backbone::Lite1 | Backbone::Lite2 => Self::LITE,
            Backbone::B4 => Self::IMAGENET,
        }
    }
}

/// How the maps become one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fusion {
    /// K of specification 5.3; 0 without a network.
    pub constant_k: f32,
    /// Weights of network, search and cell (0, 1/2 or 1), chosen at training.
    pub weights: [f32; 3],
}

/// What a product taught by one picture uses (median over the training products).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnePicture {
    /// Fusion scales of network, search and cell.
    pub scales: [f32; 3],
    /// Image threshold.
    pub threshold: f32,
    /// Pixel threshold.
    pub pixel_threshold: f32,
}

/// A product tensor the inspector takes, besides `image`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InspectorInput {
    /// Name in the graph.
    pub name: String,
    /// Static shape.
    pub shape: Vec<usize>,
}

/// The checkpoint an imported bundle was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointSource {
    /// Name of the file, without its folder.
    pub file: String,
    /// SHA-256 of the file.
    pub sha256: String,
    /// What nobody can tell from the file.
    pub warning: String,
}

/// The picture a training product was prompted with wherever something was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingPrompt {
    /// Name of the file.
    pub picture: String,
    /// Its distance to the middle of the good parts trained on.
    pub distance: f32,
    /// Their median distance.
    pub median: f32,
    /// Their largest distance.
    pub largest: f32,
}

/// How the bundle came to be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingRecord {
    /// The command, as typed.
    pub command: String,
    /// Seed of every generator.
    pub seed: u64,
    /// Steps trained.
    pub steps: u64,
    /// Wall time of the whole training.
    pub seconds: f64,
    /// SHA-256 over the training pictures.
    pub data_sha256: String,
    /// Names of the training products.
    pub products: Vec<String>,
    /// Losses and held-out figures, by name.
    pub metrics: BTreeMap<String, f64>,
    /// The prompt of each training product and how typical it is, by product.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub prompts: BTreeMap<String, TrainingPrompt>,
    /// Where the weights come from, if they were not trained here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<CheckpointSource>,
}

/// `bundle.toml`, whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this format: 1.
    pub format_version: u32,
    /// Backbone.
    pub backbone: Backbone,
    /// Input side S.
    pub side: usize,
    /// Recipe.
    pub recipe: Recipe,
    /// Number of good tokens N a product's memory holds (4096; 1 for `paper`).
    pub good_tokens: usize,
    /// Number of cell pictures M a product's memory holds (64; 1 for `paper`).
    pub cell_pictures: usize,
    /// Pixel normalisation.
    pub normalisation: Normalisation,
    /// Fusion.
    pub fusion: Fusion,
    /// Uncalibrated products.
    pub one_picture: OnePicture,
    /// Product tensors of the inspector.
    pub inputs: Vec<InspectorInput>,
    /// Scores of the rule images (golden/README section 1), by image name; `verify` compares.
    pub golden_scores: BTreeMap<String, f32>,
    /// How it came to be.
    pub training: TrainingRecord,
    /// SPDX expression or licence name, by file.
    pub licences: BTreeMap<String, String>,
    /// SHA-256 by file name; graphs are derived and not listed.
    pub files: BTreeMap<String, String>,
}

impl Manifest {
    /// A manifest of which nothing is measured yet: memories of one token and one picture, K = 1,
    /// the network alone where there is one, and nothing that one picture lets pass.
    pub fn new(backbone: Backbone, side: usize, recipe: Recipe) -> Self {
        let network = recipe != Recipe::Untrained;
        let weights = if network { [1.0, 0.0, 0.0] } else { [0.0, 1.0, 1.0] };
        let inputs = inspector_inputs(recipe, Geometry::new(backbone, side), 1, 1);
        Self {
            format_version: FORMAT_VERSION,
            backbone,
            side,
            recipe,
            good_tokens: 1,
            cell_pictures: 1,
            normalisation: Normalisation::of(backbone),
            fusion: Fusion { constant_k: if network { 1.0 } else { 0.0 }, weights },
            one_picture: OnePicture { scales: weights, threshold: 0.0, pixel_threshold: 0.0 },
            inputs,
            golden_scores: BTreeMap::new(),
            training: TrainingRecord::default(),
            licences: BTreeMap::new(),
            files: BTreeMap::new(),
        }
    }

    /// Sizes.
    pub const fn geometry(&self) -> Geometry {
        Geometry::new(self.backbone, self.side)
    }

    /// Whether the graphs hold the network.
    pub fn has_network(&self) -> bool {
        self.recipe != Recipe::Untrained
    }
}

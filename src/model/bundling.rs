//! The last stage of training: weights and figures become a bundle.

use super::data::Sources;
use super::export::TrainOutcome;
use super::fusion::{Choice, ProductMaps, choose};
use super::train::{TrainError, TrainSettings};
use crate::bundle::{
    self, Bundle, BundleError, FORMAT_VERSION, Fusion, Geometry, GraphFiles, Manifest,
    Normalisation, OnePicture, Precision, Recipe, inspector_graph, inspector_inputs,
    prompt_encoder_graph, rule,
};
use crate::engine::{EngineError, OnnxRuntime};
use crate::product::{
    BundleTeacher, TeachError, Teacher, golden_product, measure_one_picture, median_one_picture,
    separate_maps,
};
use image::RgbImage;
use std::collections::BTreeMap;
use std::path::Path;

/// Good tokens and cell pictures of a product's memory (architecture, "Calibration").
const GOOD_TOKENS: usize = 4096;
const CELL_PICTURES: usize = 64;
/// Share of good parts the one-picture threshold may reject.
const ONE_PICTURE_FALSE_REJECTS: f64 = 0.005;
/// Fewest good pictures of a product that say something about fusion.
const FEWEST_PICTURES: usize = 8;
/// Fusion where nothing could be measured: both memories, not the network.
const UNMEASURED: [f32; 3] = [0.0, 1.0, 1.0];

/// File name of the backbone's licence in a bundle.
pub const BACKBONE_LICENCE: &str = "LICENSE-backbone";

/// Why a trained network does not become a bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundlingError {
    /// Writing or graphs.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The engine cannot run the graphs.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Measuring fusion or one-picture constants failed.
    #[error(transparent)]
    Teach(#[from] TeachError),
    /// Pictures cannot be read.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// Working files cannot be written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Measures fusion and one-picture constants, proves the graphs and writes the bundle.
pub fn write_bundle(
    settings: &TrainSettings,
    sources: &Sources,
    mut outcome: TrainOutcome,
    runtime: &OnnxRuntime,
    precision: Precision,
    threads: usize,
) -> Result<Bundle, BundlingError> {
    if let Precision::F16 = precision {
        // Everything is measured with the numbers that are stored.
        for tensor in outcome.weights.values_mut() {
            for value in tensor.values_mut() {
                *value = half::f16::from_f32(*value).to_f32();
            }
        }
    }
    let mut manifest = first_manifest(settings, &outcome);
    let working = super::train::partial_directory(&settings.output);
    let graphs = write_graphs(&working, &outcome, &manifest)?;
    let mut teacher = BundleTeacher::open(runtime, &graphs, &manifest, threads)?;
    // The paper's map is the network's own; without a network both memories count alike.
    if manifest.recipe == Recipe::Default {
        let (best, without) = measure_fusion(&mut teacher, settings, sources)?;
        manifest.fusion.weights = best.weights;
        note(&mut manifest, "held_out_image_auroc", best.image_auroc);
        note(&mut manifest, "held_out_pixel_ap", best.pixel_ap);
        note(&mut manifest, "held_out_image_auroc_untrained", without.image_auroc);
        note(&mut manifest, "held_out_pixel_ap_untrained", without.pixel_ap);
    }
    teacher.manifest_mut().fusion = manifest.fusion;
    manifest.one_picture = measure_one_pictures(&mut teacher, sources, &manifest)?;
    manifest.golden_scores = golden_scores(&mut teacher, manifest.side)?;
    drop(teacher);
    let licence = settings.backbone_licence.as_bytes();
    let extra = [(BACKBONE_LICENCE, licence)];
    let bundle =
        bundle::write(&settings.output, manifest, &outcome.weights, precision, &extra, true)?;
    // Nothing in the working directory is needed any more.
    let _ = std::fs::remove_dir_all(&working);
    Ok(bundle)
}

fn first_manifest(settings: &TrainSettings, outcome: &TrainOutcome) -> Manifest {
    let paper = outcome.recipe == Recipe::Paper;
    let (good_tokens, cell_pictures) = if paper { (1, 1) } else { (GOOD_TOKENS, CELL_PICTURES) };
    let geometry = Geometry::new(settings.backbone, settings.side);
    let licence = "Apache-2.0".to_owned();
    Manifest {
        format_version: FORMAT_VERSION,
        backbone: settings.backbone,
        side: settings.side,
        recipe: outcome.recipe,
        good_tokens,
        cell_pictures,
        normalisation: Normalisation::LITE,
        fusion: Fusion {
            constant_k: outcome.constant_k,
            weights: if paper { [1.0, 0.0, 0.0] } else { UNMEASURED },
        },
        one_picture: OnePicture { scales: UNMEASURED, threshold: 1.0, pixel_threshold: 1.0 },
        inputs: inspector_inputs(outcome.recipe, geometry, good_tokens, cell_pictures),
        golden_scores: BTreeMap::new(),
        training: outcome.record.clone(),
        licences: BTreeMap::from([("weights.safetensors".to_owned(), licence)]),
        files: BTreeMap::new(),
    }
}

fn note(manifest: &mut Manifest, name: &str, value: f64) {
    manifest.training.metrics.insert(name.to_owned(), value);
}

fn write_graphs(
    working: &Path,
    outcome: &TrainOutcome,
    manifest: &Manifest,
) -> Result<GraphFiles, BundlingError> {
    let write = |name: &str, bytes: Vec<u8>| {
        let path = working.join(name);
        let written = std::fs::create_dir_all(working).and_then(|()| std::fs::write(&path, bytes));
        written.map(|()| path.clone()).map_err(|source| BundlingError::File { path, source })
    };
    let inspector = inspector_graph(&outcome.weights, manifest, &[], &[])?;
    let encoder = prompt_encoder_graph(&outcome.weights, manifest, &[], &[])?;
    Ok(GraphFiles {
        inspector: write("inspector.onnx", inspector)?,
        prompt_encoder: write("prompt_encoder.onnx", encoder)?,
    })
}

/// Best fusion, and the best without the network.
fn measure_fusion(
    teacher: &mut BundleTeacher,
    settings: &TrainSettings,
    sources: &Sources,
) -> Result<(Choice, Choice), BundlingError> {
    let side = settings.side;
    let held_out = sources.held_out(settings.seed)?;
    let mut products = Vec::new();
    for (index, product) in sources.products.iter().enumerate() {
        if product.good.len() < FEWEST_PICTURES {
            continue;
        }
        let read = product.good.iter().map(|path| (sources.picture)(path));
        let good = read.collect::<Result<Vec<RgbImage>, TrainError>>()?;
        let (mut pseudo, mut masks) = (Vec::new(), Vec::new());
        for picture in held_out.iter().filter(|picture| picture.product == index) {
            // A pseudo-anomaly may be empty; then it is a good part.
            if picture.mask.iter().any(|value| *value > 0) {
                pseudo.push(picture.pseudo.clone());
                masks.push(picture.mask.clone());
            }
        }
        let maps = separate_maps(teacher, &good, &pseudo)?;
        products.push(ProductMaps { maps, masks, side });
    }
    if products.is_empty() {
        let unmeasured = Choice { weights: UNMEASURED, image_auroc: 0.0, pixel_ap: 0.0 };
        return Ok((unmeasured, unmeasured));
    }
    Ok(choose(&products, teacher.manifest().has_network()))
}

fn measure_one_pictures(
    teacher: &mut BundleTeacher,
    sources: &Sources,
    manifest: &Manifest,
) -> Result<OnePicture, BundlingError> {
    let mut measured = Vec::new();
    for product in &sources.products {
        let Some(prompt) = product.good.first() else { continue };
        if product.good.len() < FEWEST_PICTURES {
            continue;
        }
        measured.push(measure_one_picture(
            teacher,
            prompt,
            &product.good,
            manifest.fusion.weights,
            ONE_PICTURE_FALSE_REJECTS,
        )?);
    }
    // Without any measurement nothing taught by one picture may pass.
    let unknown = OnePicture { threshold: 0.0, pixel_threshold: 0.0, ..manifest.one_picture };
    Ok(median_one_picture(&measured).unwrap_or(unknown))
}

/// Scores of the rule image `image` under the product made of the rule image `prompt`.
pub fn golden_scores(
    teacher: &mut dyn Teacher,
    side: usize,
) -> Result<BTreeMap<String, f32>, TeachError> {
    let tensors = golden_product(teacher, rule::rule_image("prompt", side).values())?;
    teacher.set_product(&tensors)?;
    let mut scores = BTreeMap::new();
    for name in ["image", "prompt"] {
        let score = teacher.inspect(rule::rule_image(name, side).values())?.score;
        scores.insert(name.to_owned(), score);
    }
    Ok(scores)
}

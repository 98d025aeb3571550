//! The last stage of training: weights and figures become a bundle.

use super::data::{ProductPictures, Sources};
use super::export::TrainOutcome;
use super::fusion::{ProductMaps, choose, rate, rate_nearest};
use super::nearest::nearest_maps;
use super::train::{TrainError, TrainSettings};
use super::training_log::TRAINING_LOG;
use crate::bundle::{
    self, Bundle, BundleError, GraphFiles, Manifest, OnePicture, Precision, Recipe, TrainingRecord,
    inspector_graph, inspector_inputs, prompt_encoder_graph, rule,
};
use crate::engine::{EngineError, OnnxRuntime};
use crate::part::NamedTensors;
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
    let graphs = write_graphs(&working, &outcome.weights, &manifest)?;
    let mut teacher = BundleTeacher::open(runtime, &graphs, &manifest, threads)?;
    // The paper's map is the network's own; without a network both memories count alike.
    if manifest.has_network() {
        let products = held_out_maps(&mut teacher, settings, sources, &manifest.training)?;
        if !products.is_empty() {
            note_held_out(&mut manifest, &products);
        }
    }
    teacher.manifest_mut().fusion = manifest.fusion;
    manifest.one_picture =
        measure_one_pictures(&mut teacher, &sources.products, &manifest, &mut |_| true)?;
    manifest.golden_scores = golden_scores(&mut teacher, manifest.side)?;
    drop(teacher);
    let licence = settings.backbone_licence.as_bytes();
    let log = std::fs::read(working.join(TRAINING_LOG)).unwrap_or_default();
    let mut extra = vec![(BACKBONE_LICENCE, licence)];
    if !log.is_empty() {
        extra.push((TRAINING_LOG, &log));
    }
    let bundle =
        bundle::write(&settings.output, manifest, &outcome.weights, precision, &extra, true)?;
    // Nothing in the working directory is needed any more.
    let _ = std::fs::remove_dir_all(&working);
    Ok(bundle)
}

fn first_manifest(settings: &TrainSettings, outcome: &TrainOutcome) -> Manifest {
    let paper = outcome.recipe == Recipe::Paper;
    let (good_tokens, cell_pictures) = if paper { (1, 1) } else { (GOOD_TOKENS, CELL_PICTURES) };
    let mut manifest = Manifest::new(settings.backbone, settings.side, outcome.recipe);
    manifest.good_tokens = good_tokens;
    manifest.cell_pictures = cell_pictures;
    manifest.fusion.constant_k = outcome.constant_k;
    if !paper {
        manifest.fusion.weights = UNMEASURED;
    }
    manifest.one_picture = OnePicture { scales: UNMEASURED, threshold: 1.0, pixel_threshold: 1.0 };
    let geometry = manifest.geometry();
    manifest.inputs = inspector_inputs(outcome.recipe, geometry, good_tokens, cell_pictures);
    manifest.training = outcome.record.clone();
    manifest.licences = BTreeMap::from([("weights.safetensors".into(), "Apache-2.0".into())]);
    manifest
}

fn note(manifest: &mut Manifest, name: &str, value: f64) {
    manifest.training.metrics.insert(name.to_owned(), value);
}

/// Both graphs in the folder `working`, made where missing.
pub(super) fn write_graphs(
    working: &Path,
    weights: &NamedTensors,
    manifest: &Manifest,
) -> Result<GraphFiles, BundlingError> {
    let write = |name: &str, bytes: Vec<u8>| {
        let path = working.join(name);
        let written = std::fs::create_dir_all(working).and_then(|()| std::fs::write(&path, bytes));
        written.map(|()| path.clone()).map_err(|source| BundlingError::File { path, source })
    };
    let inspector = inspector_graph(weights, manifest, &[], &[])?;
    let encoder = prompt_encoder_graph(weights, manifest, &[], &[])?;
    Ok(GraphFiles {
        inspector: write("inspector.onnx", inspector)?,
        prompt_encoder: write("prompt_encoder.onnx", encoder)?,
    })
}

/// Chooses the fusion, but for the paper's recipe, and records what engine, untrained maps and
/// plain nearest neighbours are worth on the held-out pictures.
fn note_held_out(manifest: &mut Manifest, products: &[ProductMaps]) {
    let engine = if manifest.recipe == Recipe::Paper {
        rate(products, manifest.fusion.weights)
    } else {
        let (best, untrained) = choose(products, true);
        manifest.fusion.weights = best.weights;
        note(manifest, "held_out_image_auroc_untrained", untrained.image_auroc);
        note(manifest, "held_out_pixel_ap_untrained", untrained.pixel_ap);
        best
    };
    note(manifest, "held_out_image_auroc", engine.image_auroc);
    note(manifest, "held_out_pixel_ap", engine.pixel_ap);
    let (image_auroc, pixel_ap) = rate_nearest(products);
    note(manifest, "held_out_image_auroc_nearest", image_auroc);
    note(manifest, "held_out_pixel_ap_nearest", pixel_ap);
}

/// Index of the product's prompt among its good pictures; the first where none is recorded.
fn prompt_of(product: &ProductPictures, training: &TrainingRecord) -> usize {
    let recorded = training.prompts.get(&product.name).map(|prompt| prompt.picture.as_str());
    let named = |path: &std::path::PathBuf| path.file_name().and_then(|n| n.to_str()) == recorded;
    recorded.and_then(|_| product.good.iter().position(named)).unwrap_or(0)
}

/// Maps of the held-out pictures of every product that has enough good ones.
fn held_out_maps(
    teacher: &mut BundleTeacher,
    settings: &TrainSettings,
    sources: &Sources,
    training: &TrainingRecord,
) -> Result<Vec<ProductMaps>, BundlingError> {
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
        let maps = separate_maps(teacher, &good, &pseudo, prompt_of(product, training))?;
        let nearest = nearest_maps(teacher, &good, &pseudo)?;
        products.push(ProductMaps { maps, nearest, masks, side });
    }
    Ok(products)
}

/// Median over the products of what one picture each needs. `go_on` is asked before each of them by
/// its index; after a no, what is measured so far counts.
pub(super) fn measure_one_pictures(
    teacher: &mut BundleTeacher,
    products: &[ProductPictures],
    manifest: &Manifest,
    go_on: &mut dyn FnMut(usize) -> bool,
) -> Result<OnePicture, BundlingError> {
    let mut measured = Vec::new();
    for (index, product) in products.iter().enumerate() {
        if !go_on(index) {
            break;
        }
        let prompt = prompt_of(product, &manifest.training);
        let Some(prompt) = product.good.get(prompt) else { continue };
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

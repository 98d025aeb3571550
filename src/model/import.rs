//! An official checkpoint becomes a bundle (specification 7).

use super::bundling::{BundlingError, golden_scores, measure_one_pictures, write_graphs};
use super::data::ProductPictures;
use super::pseudo_anomaly::{PseudoAnomalyMaker, TextureSource};
use super::random::stream;
use super::torch_file::{KeyProblems, TorchFileError, parse_contents, read_bytes};
use crate::bundle::{
    self, Backbone, Bundle, BundleError, CheckpointSource, Manifest, Precision, Recipe, rule,
    weight_shapes,
};
use crate::dataset::{DatasetError, read_picture};
use crate::engine::{EngineError, OnnxRuntime};
use crate::part::NamedTensors;
use crate::product::{BundleTeacher, TEACHING_SEED, TeachError, Teacher, golden_product};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use thiserror::Error;

/// What no key and no shape tells (specification 9.1).
pub const WARNING: &str = "a checkpoint does not tell whether it was trained before the decoder fix \
     of the official code (commit a6e80fa); one from before loads all the same and gives wrong \
     scores. Evaluate the bundle on data with known figures before a reject is trusted to it";
/// Before every key that a distributed training has saved.
const DISTRIBUTED: &str = "module.";
/// The key whose shape tells the grid.
const ROWS: &str = "reconstruction.pos_embed.row_embed.weight";
/// Grids of the networks that the layout makes sense for: 14, 16, 20 are published; under 14 the
/// attention mask may hide everything (specification 3.2).
const GRIDS: std::ops::RangeInclusive<usize> = 14..=64;
/// Pictures of each product that K and the one-picture constants are measured on.
const MOST_PICTURES: usize = 32;
/// An official checkpoint names no licence, nor does its repository.
const LICENCE: &str = "NOASSERTION";

/// Why a checkpoint does not become a bundle.
#[derive(Debug, Error)]
pub enum ImportError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] TorchFileError),
    /// Keys or shapes are not those of the layout; all are named.
    #[error("{}: not the official layout with EfficientNet-B4 ({problems})", path.display())]
    Layout {
        /// The file.
        path: PathBuf,
        /// Every difference.
        problems: Box<KeyProblems>,
    },
    /// The position tables fit no input size.
    #[error(
        "{}: position tables for a grid of {grid}, that is an input side of {}; sides from 224 to \
         1024 are possible",
        path.display(),
        16 * grid
    )]
    Size {
        /// The file.
        path: PathBuf,
        /// Token grid side.
        grid: usize,
    },
    /// K cannot be measured.
    #[error(
        "K = {0} was measured, which no map can be weighed by; check the pictures, or give \
         --fusion-constant"
    )]
    ConstantK(f32),
    /// A picture cannot be read.
    #[error(transparent)]
    Picture(#[from] DatasetError),
    /// The engine cannot answer.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A product cannot be taught.
    #[error(transparent)]
    Teach(#[from] TeachError),
    /// The bundle cannot be written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Graphs cannot be made.
    #[error(transparent)]
    Bundling(#[from] BundlingError),
    /// Ctrl-C.
    #[error("stopped; nothing is kept")]
    Stopped,
}

/// The network of an official checkpoint.
#[derive(Clone, Debug)]
pub struct OfficialCheckpoint {
    /// Input side S, from the position tables.
    pub side: usize,
    /// What the network uses, by official name without `module.`.
    pub weights: NamedTensors,
    /// File, hash, warning.
    pub source: CheckpointSource,
}

/// Reads a checkpoint of the official layout, of either container, with or without `state_dict`
/// around it and `module.` before every key.
///
/// # Errors
/// Every key that is unknown, missing or misshapen is named, the unused ones too: a file that
/// differs anywhere is another network's.
pub fn read_checkpoint(path: &Path) -> Result<OfficialCheckpoint, ImportError> {
    let (bytes, sha256) = read_bytes(path)?;
    let contents = parse_contents(&bytes)?;
    drop(bytes);
    let mut shapes = contents.shapes();
    let mut weights = contents.tensors;
    let distributed = !shapes.is_empty() && shapes.keys().all(|key| key.starts_with(DISTRIBUTED));
    if distributed {
        shapes = bare(shapes);
        weights = bare(weights);
    }
    let grid = match shapes.get(ROWS).map(Vec::as_slice) {
        Some([grid, _]) if GRIDS.contains(grid) => *grid,
        Some([grid, _]) => return Err(ImportError::Size { path: path.to_owned(), grid: *grid }),
        _ => *GRIDS.start(),
    };
    let problems = KeyProblems::between(&shapes, &rule::official_shapes(Backbone::B4, grid));
    if !problems.is_empty() {
        let (path, problems) = (path.to_owned(), Box::new(problems));
        return Err(ImportError::Layout { path, problems });
    }
    let side = 16 * grid;
    let used = weight_shapes(&Manifest::new(Backbone::B4, side, Recipe::Paper));
    let used: BTreeSet<String> = used.into_iter().map(|(key, _)| key).collect();
    weights.retain(|key, _| used.contains(key));
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let source = CheckpointSource { file, sha256, warning: WARNING.to_owned() };
    Ok(OfficialCheckpoint { side, weights, source })
}

/// The same without `module.`.
fn bare<T>(named: BTreeMap<String, T>) -> BTreeMap<String, T> {
    let strip = |key: String| key.strip_prefix(DISTRIBUTED).map(str::to_owned).unwrap_or(key);
    named.into_iter().map(|(key, value)| (strip(key), value)).collect()
}

/// Where K comes from, which a checkpoint lacks (specification 5.3).
#[derive(Clone, Copy, Debug)]
pub enum FusionConstant<'a> {
    /// Given.
    Given(f32),
    /// (max + min)/2 of the distance maps of these good parts and pseudo-anomalies made from them,
    /// each product prompted by its first picture.
    Measured(&'a [ProductPictures]),
}

/// How to import.
pub struct ImportSettings<'a> {
    /// Directory of the bundle, which must not exist.
    pub output: &'a Path,
    /// Where K comes from.
    pub constant: FusionConstant<'a>,
    /// The command, as typed.
    pub command: String,
    /// Threads of the engine.
    pub threads: usize,
    /// Set from outside to stop after the running picture.
    pub stop: &'a AtomicBool,
}

/// How far an import is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportProgress {
    /// With what it is busy.
    pub stage: &'static str,
    /// Steps done.
    pub done: usize,
    /// Steps in all.
    pub total: usize,
}

/// Measures what the checkpoint lacks and writes the bundle (recipe `paper`): whole, or not at all.
pub fn write_bundle(
    checkpoint: OfficialCheckpoint,
    settings: &ImportSettings,
    runtime: &OnnxRuntime,
    progress: &mut dyn FnMut(ImportProgress),
) -> Result<Bundle, ImportError> {
    if settings.output.exists() {
        return Err(BundleError::Exists { directory: settings.output.to_owned() }.into());
    }
    let working = Working::new(settings.output);
    let mut manifest = Manifest::new(Backbone::B4, checkpoint.side, Recipe::Paper);
    manifest.training.command = settings.command.clone();
    manifest.training.source = Some(checkpoint.source);
    manifest.licences = BTreeMap::from([("weights.safetensors".into(), LICENCE.into())]);
    let weights = &checkpoint.weights;
    let open = |manifest: &Manifest| -> Result<BundleTeacher, ImportError> {
        let graphs = write_graphs(&working.0, weights, manifest)?;
        Ok(BundleTeacher::open(runtime, &graphs, manifest, settings.threads)?)
    };
    let mut products = Vec::new();
    manifest.fusion.constant_k = match settings.constant {
        FusionConstant::Given(constant_k) => constant_k,
        FusionConstant::Measured(all) => {
            products = all.iter().map(few).collect();
            let names = products.iter().map(|product| product.name.clone());
            manifest.training.products = names.collect();
            let pictures = products.iter().map(|product| product.good.len()).sum::<usize>();
            let figure = ("constant_k_pictures".to_owned(), pictures as f64);
            manifest.training.metrics.extend([figure]);
            measure_constant(&mut open(&manifest)?, &products, settings.stop, progress)?
        }
    };
    let mut teacher = open(&manifest)?;
    let stopped = || settings.stop.load(Ordering::Relaxed);
    manifest.one_picture = measure_one_pictures(&mut teacher, &products, &manifest, &mut |done| {
        progress(ImportProgress { stage: "thresholds", done, total: products.len() });
        !stopped()
    })?;
    if stopped() {
        return Err(ImportError::Stopped);
    }
    manifest.golden_scores = golden_scores(&mut teacher, manifest.side)?;
    drop(teacher);
    progress(ImportProgress { stage: "writing", done: 0, total: 1 });
    Ok(bundle::write(settings.output, manifest, weights, Precision::F32, &[], false)?)
}

/// The folder of the graphs that things are measured with; goes with the import.
struct Working(PathBuf);

impl Working {
    fn new(output: &Path) -> Self {
        let mut name = output.as_os_str().to_owned();
        name.push(".partial-import");
        Self(name.into())
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        // Nothing more can be done about a folder that stays.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// At most [`MOST_PICTURES`] of a product's pictures, spread over all.
fn few(product: &ProductPictures) -> ProductPictures {
    let step = product.good.len().div_ceil(MOST_PICTURES).max(1);
    let good = product.good.iter().step_by(step).cloned().collect();
    ProductPictures { name: product.name.clone(), good }
}

/// K of specification 5.3 on good parts and pseudo-anomalies.
fn measure_constant(
    teacher: &mut BundleTeacher,
    products: &[ProductPictures],
    stop: &AtomicBool,
    progress: &mut dyn FnMut(ImportProgress),
) -> Result<f32, ImportError> {
    let maker = PseudoAnomalyMaker::new(
        teacher.manifest().side,
        TextureSource { procedural: true, ..TextureSource::default() },
    );
    let total = products.iter().map(|product| product.good.len()).sum();
    let (mut lowest, mut highest) = (f32::INFINITY, f32::NEG_INFINITY);
    let mut done = 0;
    for product in products {
        for (index, path) in product.good.iter().enumerate() {
            if stop.load(Ordering::Relaxed) {
                return Err(ImportError::Stopped);
            }
            let good = teacher.resize(&read_picture(path)?, None);
            let mut random = stream(TEACHING_SEED, "import", done as u64);
            let (pseudo, _) = maker.make(&good, &mut random);
            let good = teacher.normalise(&good);
            if index == 0 {
                let prompted = golden_product(teacher, &good)?;
                teacher.set_product(&prompted)?;
            }
            for input in [good, teacher.normalise(&pseudo)] {
                for value in teacher.inspect(&input)?.reconstruction_map {
                    lowest = lowest.min(*value);
                    highest = highest.max(*value);
                }
            }
            done += 1;
            progress(ImportProgress { stage: "fusion constant", done, total });
        }
    }
    let constant_k = (highest + lowest) / 2.0;
    if constant_k.is_finite() && constant_k > 0.0 {
        Ok(constant_k)
    } else {
        Err(ImportError::ConstantK(constant_k))
    }
}

//! How good a bundle is on a data set: the products are taught, the test pictures inspected, and
//! the metrics taken per product and as their mean.

mod baseline;
mod gathered;
mod loss_plot;
pub mod metrics;
pub mod neighbours;
mod network_maps;
mod page;
mod report;

pub use gathered::{Details, Example};
pub use loss_plot::loss_plot_svg;
pub use network_maps::window_means;
pub use page::{EngineFacts, page};
pub use report::{
    EvaluationReport, FALSE_REJECT_SHARES, MapRows, Metrics, Milliseconds, ProductMetrics, Rows,
};

use crate::dataset::{DatasetError, ProductData, read_picture};
use crate::part::LineTime;
use crate::product::{
    CalibrationRequest, Progress, Prompt, Spread, Taught, TeachError, Teacher, calibrate,
    image_threshold, teach_one_picture,
};
use gathered::Gathered;
use std::path::PathBuf;
use thiserror::Error;

/// How to evaluate.
#[derive(Clone, Copy, Debug)]
pub struct EvaluationRequest<'a> {
    /// The products.
    pub products: &'a [ProductData],
    /// The prompt of every product.
    pub prompt: Prompt<'a>,
    /// Teach by so many good pictures, the prompt and then the first by name; by all when `None`.
    pub pictures: Option<usize>,
    /// Whether plain nearest neighbours are evaluated beside the bundle.
    pub baseline: bool,
    /// Whether the parts of the network's map are evaluated each by itself.
    pub network_maps: bool,
    /// How many of the worst misses and false alarms of a product are kept as pictures.
    pub examples: usize,
    /// The clock, for the times of the report.
    pub now: fn() -> LineTime,
}

/// What the evaluation is busy with.
#[derive(Clone, Copy, Debug)]
pub enum EvaluationStage {
    /// Teaching the product.
    Teach(Progress),
    /// Inspecting test pictures: done, of so many.
    Test(usize, usize),
    /// Nearest neighbours of test pictures: done, of so many.
    Baseline(usize, usize),
    /// The network's maps of test pictures, twice: done, of so many.
    NetworkMaps(usize, usize),
}

/// Why an evaluation cannot be finished.
#[derive(Debug, Error)]
pub enum EvaluationError {
    /// There is no network to take apart.
    #[error("the bundle holds no network whose maps could be taken apart; train one")]
    NoNetwork,
    /// The data set is empty.
    #[error("the data set holds no product; expected PRODUCT/train/good and PRODUCT/test/good")]
    NoProducts,
    /// A product cannot be taught or inspected.
    #[error("product `{product}`: {source}")]
    Product {
        /// Its name.
        product: String,
        /// Why.
        source: TeachError,
    },
    /// A mask cannot be read.
    #[error(transparent)]
    Mask(#[from] DatasetError),
    /// A picture's map or score is not a number.
    #[error("{0}: the engine's answer is not a finite number")]
    NotFinite(PathBuf),
}

/// Evaluates a bundle: every product is taught from its `train/good`, then its `test` is
/// inspected. The report's `engine`, `data` and `seconds` are left empty for the caller, who knows
/// the names. Memory is bounded by one product: four bytes for each pixel of its test pictures.
pub fn evaluate(
    teacher: &mut dyn Teacher,
    request: &EvaluationRequest<'_>,
    progress: &mut dyn FnMut(&str, EvaluationStage),
) -> Result<EvaluationReport, EvaluationError> {
    if request.products.is_empty() {
        return Err(EvaluationError::NoProducts);
    }
    if request.network_maps && !teacher.manifest().has_network() {
        return Err(EvaluationError::NoNetwork);
    }
    let mut products = Vec::with_capacity(request.products.len());
    let mut baseline = Vec::new();
    let mut network_products = Vec::new();
    for pictures in request.products {
        let mut here = |stage| progress(&pictures.name, stage);
        let named = |source| EvaluationError::Product { product: pictures.name.clone(), source };
        let started = (request.now)();
        let teaching = Teaching::choose(teacher, request, pictures).map_err(named)?;
        let taught = teaching.teach(teacher, &mut here).map_err(named)?;
        let teach_seconds = (request.now)().since(started).as_secs_f64();
        let mut product = inspect_all(teacher, request, pictures, &taught, &mut here)?;
        product.teach_seconds = Some(teach_seconds);
        products.push(product);
        if request.baseline {
            let run = baseline::Run::new(teacher, pictures, &teaching.good_parts, &mut here);
            baseline.push(run.evaluate(request.now)?);
        }
        if request.network_maps {
            network_products.push((pictures, taught.tensors));
        }
    }
    let mut report = EvaluationReport::new(products, request.baseline.then_some(baseline));
    if request.network_maps {
        report.network_maps = network_maps::evaluate(teacher, &network_products, progress)?;
    }
    Ok(report)
}

/// What a product is taught by.
struct Teaching<'a> {
    prompt: Prompt<'a>,
    good_parts: Vec<PathBuf>,
}

impl<'a> Teaching<'a> {
    fn choose(
        teacher: &mut dyn Teacher,
        request: &EvaluationRequest<'a>,
        pictures: &ProductData,
    ) -> Result<Self, TeachError> {
        let mut good_parts = pictures.train_good.clone();
        if let Some(count) = request.pictures {
            if let Prompt::Auto = request.prompt {
                let spread = Spread::of_pictures(teacher, &good_parts, None, &mut |_| ())?;
                good_parts[..=spread.nearest()].rotate_right(1);
            }
            good_parts.truncate(count);
        }
        Ok(Self { prompt: request.prompt, good_parts })
    }

    fn teach(
        &self,
        teacher: &mut dyn Teacher,
        progress: &mut dyn FnMut(EvaluationStage),
    ) -> Result<Taught, TeachError> {
        let share = FALSE_REJECT_SHARES[1];
        if let (Prompt::Picture(picture), [_]) = (self.prompt, self.good_parts.as_slice()) {
            return teach_one_picture(teacher, picture, None, share);
        }
        let request = CalibrationRequest {
            prompt: self.prompt,
            good_parts: &self.good_parts,
            region_of_interest: None,
            false_reject_share: share,
        };
        calibrate(teacher, &request, &mut |step| progress(EvaluationStage::Teach(step)))
    }
}

fn inspect_all(
    teacher: &mut dyn Teacher,
    request: &EvaluationRequest<'_>,
    pictures: &ProductData,
    taught: &Taught,
    progress: &mut dyn FnMut(EvaluationStage),
) -> Result<ProductMetrics, EvaluationError> {
    let named = |source| EvaluationError::Product { product: pictures.name.clone(), source };
    teacher.set_product(&taught.tensors).map_err(|e| named(e.into()))?;
    let side = teacher.manifest().side;
    let mut gathered = Gathered::new(request.examples);
    for (index, test) in pictures.test.iter().enumerate() {
        let picture = read_picture(&test.path).map_err(|e| named(e.into()))?;
        let started = (request.now)();
        let resized = teacher.resize(&picture, None);
        let input = teacher.normalise(&resized);
        let inspection = teacher.inspect(&input).map_err(|e| named(e.into()))?;
        gathered.took((request.now)().since(started));
        gathered.add(test, inspection.score, inspection.anomaly_map, &resized, side)?;
        progress(EvaluationStage::Test(index + 1, pictures.test.len()));
    }
    let threshold = |share| match taught.held_back_scores.as_slice() {
        [] => taught.thresholds.image,
        scores => image_threshold(scores, share),
    };
    let mut product = gathered.metrics(&pictures.name, Some(&threshold));
    product.taught_by = taught.good_pictures;
    product.prompt = taught.prompt;
    product.notes.extend(taught.notes.iter().cloned());
    if let Some(details) = &mut product.details {
        details.pixel_threshold = taught.thresholds.pixel;
        details.held_back_scores.clone_from(&taught.held_back_scores);
    }
    Ok(product)
}

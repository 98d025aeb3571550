//! How good a bundle is on a data set: the products are taught, the test pictures inspected, and
//! the metrics taken per product and as their mean.

mod baseline;
pub mod metrics;
pub mod neighbours;
mod report;

pub use report::{Baseline, EvaluationReport, FALSE_REJECT_SHARES, Metrics, ProductMetrics};

use crate::dataset::{DatasetError, ProductData, TestPicture, read_mask, read_picture};
use crate::product::{
    CalibrationRequest, Progress, Prompt, TeachError, Teacher, calibrate, image_threshold,
};
use metrics::{Pixels, escape_rate, ranking};
use std::collections::BTreeMap;
use std::path::PathBuf;
use thiserror::Error;

/// How to evaluate.
#[derive(Clone, Copy, Debug)]
pub struct EvaluationRequest<'a> {
    /// The products.
    pub products: &'a [ProductData],
    /// The prompt of every product.
    pub prompt: Prompt<'a>,
    /// Whether plain nearest neighbours are evaluated beside the bundle.
    pub baseline: bool,
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
}

/// Why an evaluation cannot be finished.
#[derive(Debug, Error)]
pub enum EvaluationError {
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
/// the names and has the clock.
pub fn evaluate(
    teacher: &mut dyn Teacher,
    request: &EvaluationRequest<'_>,
    progress: &mut dyn FnMut(&str, EvaluationStage),
) -> Result<EvaluationReport, EvaluationError> {
    if request.products.is_empty() {
        return Err(EvaluationError::NoProducts);
    }
    let mut products = Vec::with_capacity(request.products.len());
    let mut baseline = Vec::new();
    for pictures in request.products {
        let mut here = |stage| progress(&pictures.name, stage);
        products.push(one_product(teacher, request.prompt, pictures, &mut here)?);
        if request.baseline {
            let run = baseline::Run::new(teacher, pictures, &mut here);
            baseline.push(run.evaluate()?);
        }
    }
    Ok(EvaluationReport::new(products, request.baseline.then_some(baseline)))
}

fn one_product(
    teacher: &mut dyn Teacher,
    prompt: Prompt<'_>,
    pictures: &ProductData,
    progress: &mut dyn FnMut(EvaluationStage),
) -> Result<ProductMetrics, EvaluationError> {
    let named = |source| EvaluationError::Product { product: pictures.name.clone(), source };
    let request = CalibrationRequest {
        prompt,
        good_parts: &pictures.train_good,
        region_of_interest: None,
        false_reject_share: FALSE_REJECT_SHARES[1],
    };
    let mut teaching = |step| progress(EvaluationStage::Teach(step));
    let taught = calibrate(teacher, &request, &mut teaching).map_err(named)?;
    teacher.set_product(&taught.tensors).map_err(|e| named(e.into()))?;
    let side = teacher.manifest().side;
    let mut gathered = Gathered::default();
    for (index, test) in pictures.test.iter().enumerate() {
        let picture = read_picture(&test.path).map_err(|e| named(e.into()))?;
        let resized = teacher.resize(&picture, None);
        let input = teacher.normalise(&resized);
        let inspection = teacher.inspect(&input).map_err(|e| named(e.into()))?;
        gathered.add(test, inspection.score, inspection.anomaly_map, side)?;
        progress(EvaluationStage::Test(index + 1, pictures.test.len()));
    }
    let threshold = |share| match taught.held_back_scores.as_slice() {
        [] => taught.thresholds.image,
        scores => image_threshold(scores, share),
    };
    Ok(gathered.metrics(&pictures.name, Some(&threshold)))
}

/// Scores and pixels of one product's test pictures.
#[derive(Default)]
struct Gathered {
    scores: Vec<f32>,
    defective: Vec<bool>,
    pixels: Pixels,
    without_mask: usize,
}

impl Gathered {
    fn add(
        &mut self,
        test: &TestPicture,
        score: f32,
        map: &[f32],
        side: usize,
    ) -> Result<(), EvaluationError> {
        if !score.is_finite() || map.iter().any(|value| !value.is_finite()) {
            return Err(EvaluationError::NotFinite(test.path.clone()));
        }
        self.scores.push(score);
        self.defective.push(test.defect.is_some());
        match (&test.defect, &test.mask) {
            (None, _) => self.pixels.add_good(map),
            (Some(_), None) => self.without_mask += 1,
            (Some(_), Some(path)) => {
                let mask = read_mask(path, side)?;
                self.pixels.add(map, &mask, side);
            }
        }
        Ok(())
    }

    fn metrics(self, product: &str, threshold: Option<&dyn Fn(f64) -> f32>) -> ProductMetrics {
        let images = ranking(&self.scores, &self.defective);
        let escape_rate = threshold.map(|threshold| {
            let rate = |share| escape_rate(&self.scores, &self.defective, threshold(share));
            let named = |share: f64| Some((share.to_string(), rate(share)?));
            FALSE_REJECT_SHARES.into_iter().filter_map(named).collect::<BTreeMap<_, _>>()
        });
        let defective = self.defective.iter().filter(|defective| **defective).count();
        let good = self.scores.len() - defective;
        let pixels = self.pixels.ranking();
        let metrics = Metrics {
            image_auroc: images.map(|images| images.auroc),
            image_ap: images.map(|images| images.average_precision),
            pixel_auroc: pixels.map(|pixels| pixels.auroc),
            pixel_ap: pixels.map(|pixels| pixels.average_precision),
            aupro: pixels.map(|pixels| pixels.aupro),
            escape_rate: escape_rate.unwrap_or_default(),
        };
        let without_mask = self.without_mask;
        ProductMetrics { product: product.into(), good, defective, without_mask, metrics }
    }
}

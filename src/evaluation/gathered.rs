//! What the test pictures of one product gave.

use super::EvaluationError;
use super::metrics::{Curves, Pixels, escape_rate, false_reject_rate, ranking_with_curves};
use super::report::{FALSE_REJECT_SHARES, Metrics, Milliseconds, ProductMetrics};
use crate::dataset::{TestPicture, read_mask};
use crate::part::Duration;
use image::RgbImage;
use std::collections::BTreeMap;

/// What the page shows of a product beside its figures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Details {
    /// Curves of the image scores, where both classes are there.
    pub image_curves: Option<Curves>,
    /// Curves of the pixels.
    pub pixel_curves: Option<Curves>,
    /// Scores of good test pictures.
    pub good_scores: Vec<f32>,
    /// Scores of defective ones.
    pub defective_scores: Vec<f32>,
    /// Scores of the good training parts held back, which the thresholds come from.
    pub held_back_scores: Vec<f32>,
    /// Image threshold at each of the false-reject shares.
    pub thresholds: [f32; 3],
    /// Where a region is drawn.
    pub pixel_threshold: f32,
    /// Defective pictures with the lowest scores, lowest first.
    pub misses: Vec<Example>,
    /// Good pictures with the highest scores, highest first.
    pub false_alarms: Vec<Example>,
}

/// A test picture worth looking at.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// Folder and file name.
    pub name: String,
    /// Its score.
    pub score: f32,
    /// The picture as the network sees it, S x S.
    pub picture: RgbImage,
    /// Its mask, where there is one.
    pub mask: Option<Vec<u8>>,
    /// Its map.
    pub map: Vec<f32>,
}

/// Scores, pixels and times of one product's test pictures.
#[derive(Default)]
pub(super) struct Gathered {
    scores: Vec<f32>,
    defective: Vec<bool>,
    pixels: Pixels,
    without_mask: usize,
    masks_lost: usize,
    times: Vec<f64>,
    examples: usize,
    misses: Vec<Example>,
    false_alarms: Vec<Example>,
}

impl Gathered {
    /// Keeps `examples` of the worst pictures of either class.
    pub fn new(examples: usize) -> Self {
        Self { examples, ..Self::default() }
    }

    /// How long a picture took, from camera pixels to score.
    pub fn took(&mut self, time: Duration) {
        self.times.push(time.as_secs_f64() * 1e3);
    }

    pub fn add(
        &mut self,
        test: &TestPicture,
        score: f32,
        map: &[f32],
        picture: &RgbImage,
        side: usize,
    ) -> Result<(), EvaluationError> {
        if !score.is_finite() || map.iter().any(|value| !value.is_finite()) {
            return Err(EvaluationError::NotFinite(test.path.clone()));
        }
        self.scores.push(score);
        self.defective.push(test.defect.is_some());
        let mut shown = None;
        match (&test.defect, &test.mask) {
            (None, _) => self.pixels.add_good(map),
            (Some(_), None) => self.without_mask += 1,
            (Some(_), Some(path)) => {
                let mask = read_mask(path, side)?;
                self.masks_lost += usize::from(!mask.contains(&1));
                self.pixels.add(map, &mask, side);
                shown = Some(mask);
            }
        }
        let misses = test.defect.is_some();
        let worst = if misses { &mut self.misses } else { &mut self.false_alarms };
        let worse = |than: &Example| if misses { score < than.score } else { score > than.score };
        let place = worst.iter().position(worse).unwrap_or(worst.len());
        if place < self.examples {
            let picture = picture.clone();
            let map = map.to_vec();
            worst.insert(place, Example { name: name(test), score, picture, mask: shown, map });
            worst.truncate(self.examples);
        }
        Ok(())
    }

    pub fn metrics(self, product: &str, threshold: Option<&dyn Fn(f64) -> f32>) -> ProductMetrics {
        let Self { scores, defective, .. } = &self;
        let rates = |rate: fn(&[f32], &[bool], f32) -> Option<f64>| -> BTreeMap<String, f64> {
            let Some(threshold) = threshold else { return BTreeMap::new() };
            let named =
                |share: f64| Some((share.to_string(), rate(scores, defective, threshold(share))?));
            FALSE_REJECT_SHARES.into_iter().filter_map(named).collect()
        };
        let escape_rate = rates(escape_rate);
        let false_reject_rate = rates(false_reject_rate);
        let images = ranking_with_curves(scores, defective);
        let of_class = |wanted: bool| -> Vec<f32> {
            let pairs = scores.iter().zip(defective);
            pairs.filter(|(_, defective)| **defective == wanted).map(|(score, _)| *score).collect()
        };
        let (good_scores, defective_scores) = (of_class(false), of_class(true));
        let notes = self.notes();
        let pixels = self.pixels.ranking();
        let metrics = Metrics {
            image_auroc: images.as_ref().map(|(images, _)| images.auroc),
            image_ap: images.as_ref().map(|(images, _)| images.average_precision),
            pixel_auroc: pixels.as_ref().map(|(pixels, _)| pixels.auroc),
            pixel_ap: pixels.as_ref().map(|(pixels, _)| pixels.average_precision),
            aupro: pixels.as_ref().map(|(pixels, _)| pixels.aupro),
            escape_rate,
            false_reject_rate,
        };
        let (good, defective) = (good_scores.len(), defective_scores.len());
        let details = Details {
            image_curves: images.map(|(_, curves)| curves),
            pixel_curves: pixels.map(|(_, curves)| curves),
            good_scores,
            defective_scores,
            held_back_scores: Vec::new(),
            thresholds: FALSE_REJECT_SHARES.map(|share| threshold.map_or(f32::NAN, |t| t(share))),
            pixel_threshold: f32::NAN,
            misses: self.misses,
            false_alarms: self.false_alarms,
        };
        ProductMetrics {
            product: product.into(),
            good,
            defective,
            without_mask: self.without_mask,
            taught_by: 0,
            prompt: None,
            teach_seconds: None,
            inspect_ms: Milliseconds::of(self.times),
            metrics,
            notes,
            details: Some(details),
        }
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.scores.is_empty() {
            notes.push("no test pictures: put some into test/good and test/DEFECT".into());
        }
        if self.without_mask > 0 {
            let count = self.without_mask;
            notes.push(format!(
                "{count} defective pictures have no mask: left out of the pixel figures"
            ));
        }
        if self.masks_lost > 0 {
            let count = self.masks_lost;
            notes.push(format!(
                "{count} masks show nothing at the network's input size: their pictures stay \
                 defective, their pixels count as good"
            ));
        }
        notes
    }
}

/// Folder and file name.
fn name(test: &TestPicture) -> String {
    let file = test.path.file_name().unwrap_or_default().to_string_lossy();
    format!("{}/{file}", test.defect.as_deref().unwrap_or("good"))
}

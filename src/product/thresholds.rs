//! Thresholds from the scores of good parts that were held back.

use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// Share of good parts that may show a region: few, and not so few that a defect's outline shrinks
/// to its peak.
const REGION_SHARE: f64 = 0.05;
/// Euler's constant, the mean of the standard Gumbel distribution.
const EULER: f64 = 0.577_215_664_901_532_9;

/// When a product rejects, and where it draws.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// A part with this image score or more is rejected.
    pub image: f32,
    /// A pixel of the map with this value or more belongs to a region.
    pub pixel: f32,
}

impl Thresholds {
    /// Thresholds from the held-back parts' image scores and the largest values of their maps.
    ///
    /// The pixel threshold lets one good part in twenty show a region. It is never above the
    /// image threshold: a score is a mean of map values, so every part rejected by its score
    /// shows at least one region.
    pub(super) fn measure(scores: &[f32], peaks: &[f32], false_reject_share: f64) -> Self {
        let image = image_threshold(scores, false_reject_share);
        Self { image, pixel: image_threshold(peaks, REGION_SHARE).min(image) }
    }
}

/// Whether a share is smaller than one held-back part, so that its threshold is extrapolated.
pub(super) fn is_extrapolated(parts: usize, false_reject_share: f64) -> bool {
    false_reject_share * (parts as f64) < 1.0
}

/// The score at or above which `false_reject_share` of good parts are rejected; infinite without
/// scores.
///
/// From 1/n upwards it lies half way between two of the n scores. Below, no score says anything,
/// and the tail is taken to be Gumbel's with the scores' mean and deviation: an image score is
/// the largest of many local means, and that is the law such maxima approach. Tried on 25 values
/// each of normal, Gumbel, gamma and lognormal laws at 0.5 %: mean share met 0.1 to 0.9 % (a
/// heavy lognormal one 1.7 %), while mean + 2.6 deviations gave 0.9 to 3.9 %, and an exponential
/// tail on the upper half the same share as Gumbel's with a third more spread. Never below the
/// largest score seen: none of n was rejected.
pub fn image_threshold(scores: &[f32], false_reject_share: f64) -> f32 {
    let mut sorted: Vec<f32> = scores.to_vec();
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    let Some(&largest) = sorted.first() else { return f32::INFINITY };
    if is_extrapolated(sorted.len(), false_reject_share) {
        return (gumbel_quantile(&sorted, false_reject_share) as f32).max(largest.next_up());
    }
    let rejects = (false_reject_share * sorted.len() as f64).floor() as usize;
    let lowest_rejected = sorted[rejects.min(sorted.len()) - 1];
    match sorted.get(rejects) {
        Some(&highest_passed) => {
            f32::midpoint(highest_passed, lowest_rejected).max(highest_passed.next_up())
        }
        None => lowest_rejected,
    }
}

/// Quantile at 1 - `share` of the Gumbel law with these scores' mean and deviation.
fn gumbel_quantile(scores: &[f32], share: f64) -> f64 {
    let count = scores.len() as f64;
    let mean = scores.iter().map(|&s| f64::from(s)).sum::<f64>() / count;
    let squares = scores.iter().map(|&s| (f64::from(s) - mean).powi(2)).sum::<f64>();
    let deviation = (squares / (count - 1.0).max(1.0)).sqrt();
    let scale = deviation * 6.0f64.sqrt() / PI;
    // ln_1p keeps the share's digits when it is tiny.
    mean - scale * (EULER + (-(-share).ln_1p()).ln())
}

/// The value below which `share` of the values lie, between two of them linearly; reorders them.
pub(super) fn percentile(values: &mut [f32], share: f64) -> Option<f32> {
    let last = values.len().checked_sub(1)?;
    let position = share * last as f64;
    let below = (position.floor() as usize).min(last);
    let (_, &mut low, above) = values.select_nth_unstable_by(below, f32::total_cmp);
    let high = above.iter().copied().min_by(f32::total_cmp).unwrap_or(low);
    Some(low + (high - low) * (position - below as f64) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_distr::{Distribution, Gumbel};

    #[test]
    fn percentile_agrees_with_numpy() {
        // numpy.percentile([3, 1, 2, 10, 5], [0, 50, 99, 100])
        for (share, expected) in [(0.0, 1.0), (0.5, 3.0), (0.99, 9.8), (1.0, 10.0)] {
            let mut values = [3.0, 1.0, 2.0, 10.0, 5.0];
            assert!((percentile(&mut values, share).unwrap() - expected).abs() < 1e-5);
        }
        assert_eq!(percentile(&mut [], 0.5), None);
    }

    #[test]
    fn the_tail_of_maxima_is_met() {
        let law = Gumbel::new(3.0f64, 0.5).unwrap();
        let mut generator = rand_pcg::Pcg64::seed_from_u64(1);
        let mean: f64 = (0..300)
            .map(|_| {
                let scores: Vec<f32> = (0..25).map(|_| law.sample(&mut generator) as f32).collect();
                f64::from(image_threshold(&scores, 0.005))
            })
            .sum::<f64>()
            / 300.0;
        let exact = 3.0 - 0.5 * (-(1.0f64 - 0.005).ln()).ln();
        assert!((mean - exact).abs() < 0.1, "{mean} {exact}");
    }

    #[test]
    fn equal_scores_all_pass() {
        assert!(image_threshold(&[2.0; 9], 0.005) > 2.0);
        assert!(image_threshold(&[2.0; 9], 0.2) > 2.0);
        assert_eq!(image_threshold(&[], 0.005), f32::INFINITY);
    }

    proptest! {
        #[test]
        fn no_more_are_rejected_than_asked(
            scores in prop::collection::vec(0.0f32..100.0, 1..80),
            share in 0.0001f64..0.4,
        ) {
            let threshold = image_threshold(&scores, share);
            let rejected = scores.iter().filter(|&&s| s >= threshold).count();
            prop_assert!(rejected as f64 <= share * scores.len() as f64);
            prop_assert!(threshold.is_finite());
        }

        #[test]
        fn a_smaller_share_never_lowers_the_threshold(
            scores in prop::collection::vec(0.0f32..100.0, 2..80),
        ) {
            let of = |share| image_threshold(&scores, share);
            prop_assert!(of(0.001) >= of(0.005));
            prop_assert!(of(0.005) >= of(0.01));
            prop_assert!(of(0.1) >= of(0.3));
        }

        #[test]
        fn a_part_rejected_by_its_score_shows_a_region(
            scores in prop::collection::vec(0.0f32..100.0, 2..80),
            margin in 1.0f32..1.5,
        ) {
            let peaks: Vec<f32> = scores.iter().map(|s| s * margin).collect();
            let thresholds = Thresholds::measure(&scores, &peaks, 0.005);
            prop_assert!(thresholds.pixel <= thresholds.image);
        }
    }
}

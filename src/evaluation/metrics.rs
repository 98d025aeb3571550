//! Metrics, exact: every distinct score is a threshold, nothing is binned (specification 6.1).

use rayon::prelude::*;

/// False-positive rate up to which AUPRO is taken.
pub const AUPRO_LIMIT: f64 = 0.3;

/// How well scores rank defective above good.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranking {
    /// Area under the ROC; ties count half.
    pub auroc: f64,
    /// Sum over thresholds of (R_n - R_{n-1}) P_n.
    pub average_precision: f64,
}

/// How well maps rank defective pixels above good ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PixelRanking {
    /// Area under the ROC of the pixels.
    pub auroc: f64,
    /// Average precision of the pixels.
    pub average_precision: f64,
    /// Mean overlap with the defect regions over the false-positive rate, up to [`AUPRO_LIMIT`],
    /// divided by it; linear between thresholds, regions 8-connected.
    pub aupro: f64,
}

/// Curves of a ranking, for people: points of the exact curve, thinned to a thousandth of the axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Curves {
    /// False-positive rate, true-positive rate.
    pub roc: Curve,
    /// Recall, precision; the precision of a point reaches back to the recall of the one before.
    pub precision_recall: Curve,
}

/// Ranking of image scores; `None` when a class is empty or a score is not a number.
pub fn ranking(scores: &[f32], defective: &[bool]) -> Option<Ranking> {
    Some(ranking_with_curves(scores, defective)?.0)
}

/// The same with its curves.
pub fn ranking_with_curves(scores: &[f32], defective: &[bool]) -> Option<(Ranking, Curves)> {
    let mut gathered = Pixels::default();
    for (&score, &defective) in scores.iter().zip(defective) {
        gathered.push(score, u32::from(defective));
    }
    Some(gathered.sorted()?.ranking())
}

/// Share of the parts of one class whose score is below the threshold: escapes among defective
/// ones. `None` without any.
pub fn escape_rate(scores: &[f32], defective: &[bool], threshold: f32) -> Option<f64> {
    share(scores, defective, |defective, score| defective.then_some(score < threshold))
}

/// Share of the good parts that are rejected: score at or above the threshold. `None` without any.
pub fn false_reject_rate(scores: &[f32], defective: &[bool], threshold: f32) -> Option<f64> {
    share(scores, defective, |defective, score| (!defective).then_some(score >= threshold))
}

/// Share of yes among the parts that are asked.
fn share(
    scores: &[f32],
    defective: &[bool],
    asked: impl Fn(bool, f32) -> Option<bool>,
) -> Option<f64> {
    let pairs = scores.iter().zip(defective);
    let answers = pairs.filter_map(|(&score, &defective)| asked(defective, score));
    let (yes, all) =
        answers.fold((0u64, 0u64), |(yes, all), answer| (yes + u64::from(answer), all + 1));
    (all > 0).then(|| yes as f64 / all as f64)
}

/// Pixels of many pictures of one product, gathered for [`PixelRanking`]: four bytes for a good
/// one, eight for a defective one, sorted where they lie.
#[derive(Debug, Default)]
pub struct Pixels {
    /// Falling keys.
    good: Vec<u32>,
    /// Falling key in the upper half, region number (from 1) in the lower.
    defective: Vec<u64>,
    /// Pixels of each defect region; region number r is at r - 1.
    region_areas: Vec<u64>,
    not_a_number: bool,
}

impl Pixels {
    /// Adds a picture: its map and its mask (0 good, else defective), both `side` x `side`.
    pub fn add(&mut self, map: &[f32], mask: &[u8], side: usize) {
        let first = self.region_areas.len() as u32;
        let (regions, areas) = components(mask, side);
        self.region_areas.extend(areas);
        for (&value, region) in map.iter().zip(regions) {
            self.push(value, if region == 0 { 0 } else { first + region });
        }
    }

    /// Adds a picture of a good part.
    pub fn add_good(&mut self, map: &[f32]) {
        for &value in map {
            self.push(value, 0);
        }
    }

    fn push(&mut self, value: f32, region: u32) {
        self.not_a_number |= value.is_nan();
        match region {
            0 => self.good.push(falling_key(value)),
            _ => self.defective.push(u64::from(falling_key(value)) << 32 | u64::from(region)),
        }
    }

    /// The ranking of all pixels added, with its curves; `None` when a class is empty or a value is
    /// not a number.
    pub fn ranking(self) -> Option<(PixelRanking, Curves)> {
        let sorted = self.sorted()?;
        let (Ranking { auroc, average_precision }, curves) = sorted.ranking();
        Some((PixelRanking { auroc, average_precision, aupro: sorted.aupro() }, curves))
    }

    fn sorted(mut self) -> Option<Sorted> {
        if self.not_a_number || self.good.is_empty() || self.defective.is_empty() {
            return None;
        }
        rayon::join(|| self.good.par_sort_unstable(), || self.defective.par_sort_unstable());
        Some(Sorted(self))
    }
}

/// 8-connected regions of a mask: their number at each pixel (0 outside), and their areas.
fn components(mask: &[u8], side: usize) -> (Vec<u32>, Vec<u64>) {
    let mut regions = vec![0u32; mask.len()];
    let mut areas = Vec::new();
    let mut waiting = Vec::new();
    for start in 0..mask.len() {
        if mask[start] == 0 || regions[start] != 0 {
            continue;
        }
        let number = areas.len() as u32 + 1;
        let mut area = 0;
        regions[start] = number;
        waiting.push(start);
        while let Some(pixel) = waiting.pop() {
            area += 1;
            let (x, y) = (pixel % side, pixel / side);
            for y in y.saturating_sub(1)..(y + 2).min(mask.len() / side) {
                for x in x.saturating_sub(1)..(x + 2).min(side) {
                    let neighbour = y * side + x;
                    if mask[neighbour] != 0 && regions[neighbour] == 0 {
                        regions[neighbour] = number;
                        waiting.push(neighbour);
                    }
                }
            }
        }
        areas.push(area);
    }
    (regions, areas)
}

/// Both classes sorted, highest score first, neither empty. One sort serves every metric.
struct Sorted(Pixels);

/// What one more distinct threshold adds.
struct Threshold<'a> {
    /// Good values at this threshold.
    new_good: u64,
    /// Defective ones, with their regions.
    new_defective: &'a [u64],
    /// Good values at this threshold or above.
    good: u64,
    /// Defective ones.
    defective: u64,
}

impl Sorted {
    /// Every distinct threshold, highest first, until `see` has seen enough.
    fn thresholds(&self, mut see: impl FnMut(&Threshold<'_>) -> bool) {
        let Self(Pixels { good, defective, .. }) = self;
        let (mut g, mut d) = (0, 0);
        loop {
            let key = match (good.get(g), defective.get(d).map(|item| (item >> 32) as u32)) {
                (None, None) => return,
                (Some(&key), None) | (None, Some(key)) => key,
                (Some(&a), Some(b)) => a.min(b),
            };
            let new_good = good[g..].iter().take_while(|item| **item == key).count();
            let same = |item: &&u64| (**item >> 32) as u32 == key;
            let new_defective = &defective[d..][..defective[d..].iter().take_while(same).count()];
            (g, d) = (g + new_good, d + new_defective.len());
            let new_good = new_good as u64;
            let enough =
                see(&Threshold { new_good, new_defective, good: g as u64, defective: d as u64 });
            if enough {
                return;
            }
        }
    }

    fn ranking(&self) -> (Ranking, Curves) {
        let all_good = self.0.good.len() as f64;
        let all_defective = self.0.defective.len() as f64;
        // Twice the area in units of one good times one defective: a whole number.
        let mut doubled_area = 0u128;
        let mut average_precision = Sum::default();
        let mut roc = Curve::from((0.0, 0.0));
        let mut precision_recall = Curve::default();
        self.thresholds(|threshold| {
            let Threshold { new_good, good, defective, .. } = *threshold;
            let new_defective = threshold.new_defective.len() as u64;
            let before = defective - new_defective;
            doubled_area += u128::from(new_good) * u128::from(2 * before + new_defective);
            let precision = defective as f64 / (good + defective) as f64;
            average_precision.add(new_defective as f64 * precision);
            let true_rate = defective as f64 / all_defective;
            roc.push((good as f64 / all_good, true_rate));
            precision_recall.push((true_rate, precision));
            false
        });
        let ranking = Ranking {
            auroc: doubled_area as f64 / (2.0 * all_good * all_defective),
            average_precision: average_precision.value() / all_defective,
        };
        (ranking, Curves { roc, precision_recall })
    }

    fn aupro(&self) -> f64 {
        let areas = self.0.region_areas.iter();
        let weights: Vec<f64> = areas.map(|&area| 1.0 / area as f64).collect();
        let (count, all_good) = (weights.len() as f64, self.0.good.len() as f64);
        let (mut covered, mut area) = (Sum::default(), 0.0);
        let (mut last_rate, mut last_overlap) = (0.0, 0.0);
        self.thresholds(|threshold| {
            for item in threshold.new_defective {
                covered.add(weights[(*item as u32 - 1) as usize]);
            }
            let rate = threshold.good as f64 / all_good;
            let overlap = covered.value() / count;
            let enough = rate >= AUPRO_LIMIT;
            if enough {
                let part = (AUPRO_LIMIT - last_rate) / (rate - last_rate);
                let at_limit = last_overlap + (overlap - last_overlap) * part;
                area += (AUPRO_LIMIT - last_rate) * (last_overlap + at_limit) / 2.0;
            } else {
                area += (rate - last_rate) * (last_overlap + overlap) / 2.0;
            }
            (last_rate, last_overlap) = (rate, overlap);
            enough
        });
        area / AUPRO_LIMIT
    }
}

/// Points of a curve in the unit square, thinned: every point left out lies within a thousandth of
/// the one kept before it, so a drawn line is nowhere off by more.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    kept: Vec<(f64, f64)>,
    last: Option<(f64, f64)>,
}

impl Curve {
    const STEP: f64 = 1e-3;

    fn push(&mut self, point: (f64, f64)) {
        let far = self.kept.last().is_none_or(|kept| {
            (kept.0 - point.0).abs() >= Self::STEP || (kept.1 - point.1).abs() >= Self::STEP
        });
        if far {
            self.kept.push(point);
        }
        self.last = (!far).then_some(point);
    }

    /// The points, from the highest threshold to the lowest.
    pub fn points(&self) -> impl Iterator<Item = (f64, f64)> + Clone + '_ {
        self.kept.iter().copied().chain(self.last)
    }
}

impl From<(f64, f64)> for Curve {
    fn from(start: (f64, f64)) -> Self {
        Self { kept: vec![start], last: None }
    }
}

/// A sum that keeps what rounding loses (Neumaier): millions of small weights.
#[derive(Default)]
struct Sum {
    sum: f64,
    lost: f64,
}

impl Sum {
    fn add(&mut self, value: f64) {
        let next = self.sum + value;
        self.lost +=
            if self.sum >= value { (self.sum - next) + value } else { (value - next) + self.sum };
        self.sum = next;
    }

    fn value(&self) -> f64 {
        self.sum + self.lost
    }
}

/// Orders as the score does, falling: the highest score has the smallest key.
fn falling_key(score: f32) -> u32 {
    // -0 and 0 are one score.
    let bits = (score + 0.0).to_bits();
    let rising = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    !rising
}

#[cfg(test)]
mod tests;

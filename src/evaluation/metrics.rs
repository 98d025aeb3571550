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

/// Ranking of image scores; `None` when a class is empty or a score is not a number.
pub fn ranking(scores: &[f32], defective: &[bool]) -> Option<Ranking> {
    let labels = defective.iter().map(|&defective| u32::from(defective));
    let sorted = Sorted::new(scores.iter().copied().zip(labels).collect())?;
    sorted.ranking()
}

/// Share of the defective parts that pass: score below the threshold. `None` without any.
pub fn escape_rate(scores: &[f32], defective: &[bool], threshold: f32) -> Option<f64> {
    let of_defective = scores.iter().zip(defective).filter(|(_, defective)| **defective);
    let (passed, all) = of_defective.fold((0u64, 0u64), |(passed, all), (&score, _)| {
        (passed + u64::from(score < threshold), all + 1)
    });
    (all > 0).then(|| passed as f64 / all as f64)
}

/// Pixels of many pictures of one product, gathered for [`PixelRanking`].
#[derive(Debug, Default)]
pub struct Pixels {
    scored: Vec<(f32, u32)>,
    /// Pixels of each defect region; region number r is at r - 1.
    region_areas: Vec<u64>,
}

impl Pixels {
    /// Adds a picture: its map and its mask (0 good, else defective), both `side` x `side`.
    pub fn add(&mut self, map: &[f32], mask: &[u8], side: usize) {
        let first = self.region_areas.len() as u32;
        let (regions, areas) = components(mask, side);
        self.region_areas.extend(areas);
        let numbered = regions.into_iter().map(|r| if r == 0 { 0 } else { first + r });
        self.scored.extend(map.iter().copied().zip(numbered));
    }

    /// Adds a picture of a good part.
    pub fn add_good(&mut self, map: &[f32]) {
        self.scored.extend(map.iter().map(|&value| (value, 0)));
    }

    /// The ranking of all pixels added; `None` when a class is empty or a value is not a number.
    pub fn ranking(self) -> Option<PixelRanking> {
        let sorted = Sorted::new(self.scored)?;
        let Ranking { auroc, average_precision } = sorted.ranking()?;
        Some(PixelRanking { auroc, average_precision, aupro: sorted.aupro(&self.region_areas) })
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

/// Scores with region numbers (0 good), highest score first. One sort serves every metric.
struct Sorted {
    /// Falling key of the score in the upper half, region number in the lower.
    items: Vec<u64>,
    good: u64,
    defective: u64,
}

impl Sorted {
    fn new(scored: Vec<(f32, u32)>) -> Option<Self> {
        if scored.iter().any(|(score, _)| score.is_nan()) {
            return None;
        }
        let mut items: Vec<u64> = scored
            .into_par_iter()
            .map(|(score, region)| u64::from(falling_key(score)) << 32 | u64::from(region))
            .collect();
        items.par_sort_unstable();
        let good = items.iter().filter(|&&item| item as u32 == 0).count() as u64;
        let defective = items.len() as u64 - good;
        (good > 0 && defective > 0).then_some(Self { items, good, defective })
    }

    /// Groups of equal scores, highest first.
    fn groups(&self) -> impl Iterator<Item = &[u64]> {
        self.items.chunk_by(|a, b| a >> 32 == b >> 32)
    }

    fn ranking(&self) -> Option<Ranking> {
        let (mut good, mut defective) = (0u64, 0u64);
        // Twice the area in units of one good times one defective: a whole number.
        let mut doubled_area = 0u128;
        let mut average_precision = 0.0;
        for group in self.groups() {
            let new_good = group.iter().filter(|&&item| item as u32 == 0).count() as u64;
            let new_defective = group.len() as u64 - new_good;
            doubled_area += u128::from(new_good) * u128::from(2 * defective + new_defective);
            good += new_good;
            defective += new_defective;
            let precision = defective as f64 / (good + defective) as f64;
            average_precision += new_defective as f64 * precision;
        }
        let pairs = 2.0 * self.good as f64 * self.defective as f64;
        Some(Ranking {
            auroc: doubled_area as f64 / pairs,
            average_precision: average_precision / self.defective as f64,
        })
    }

    fn aupro(&self, region_areas: &[u64]) -> f64 {
        let weights: Vec<f64> = region_areas.iter().map(|&area| 1.0 / area as f64).collect();
        let count = weights.len() as f64;
        let (mut good, mut covered, mut area) = (0u64, Sum::default(), 0.0);
        let (mut last_rate, mut last_overlap) = (0.0, 0.0);
        for group in self.groups() {
            for item in group {
                match (*item as u32 as usize).checked_sub(1) {
                    None => good += 1,
                    Some(region) => covered.add(weights[region]),
                }
            }
            let rate = good as f64 / self.good as f64;
            let overlap = covered.value() / count;
            if rate >= AUPRO_LIMIT {
                let part = (AUPRO_LIMIT - last_rate) / (rate - last_rate);
                let at_limit = last_overlap + (overlap - last_overlap) * part;
                area += (AUPRO_LIMIT - last_rate) * (last_overlap + at_limit) / 2.0;
                break;
            }
            area += (rate - last_rate) * (last_overlap + overlap) / 2.0;
            (last_rate, last_overlap) = (rate, overlap);
        }
        area / AUPRO_LIMIT
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

//! Weights of the three maps, chosen on held-out good parts with pseudo-anomalies.

use super::nearest::NearestMaps;
use crate::evaluation::metrics::ranking;
use crate::evaluation::window_means;
use crate::product::{PictureMaps, SeparateMaps};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Weights a map may get.
const CHOICES: [f32; 3] = [0.0, 0.5, 1.0];
/// Every so many-th pixel and row counts for the pixel figure: it only ranks 26 candidates.
const PIXEL_STRIDE: usize = 3;
/// The network was trained on pseudo-anomalies and is judged on pseudo-anomalies, so it must win by
/// more than this to be used at all (baseline: such judges flatter it).
const NETWORK_MARGIN: f64 = 0.01;

/// Loss against another row that is noise.
const NOISE: f64 = 0.005;

/// What held-out pictures of one product say.
pub struct ProductMaps {
    /// Maps of the good parts and of the pseudo-anomalies.
    pub maps: SeparateMaps,
    /// Maps of the same by plain nearest neighbours.
    pub nearest: NearestMaps,
    /// Masks of the pseudo-anomalies, S*S, not 0 where anomalous.
    pub masks: Vec<Vec<u8>>,
    /// S.
    pub side: usize,
}

/// A choice of weights and what it is worth on the held-out pictures: mean over the products.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Weights of network, search and cell.
    pub weights: [f32; 3],
    /// Image AUROC.
    pub image_auroc: f64,
    /// Pixel average precision.
    pub pixel_ap: f64,
}

impl Choice {
    fn worth(&self) -> f64 {
        self.image_auroc + self.pixel_ap
    }
}

/// What the maps are worth under `weights`.
pub fn rate(products: &[ProductMaps], weights: [f32; 3]) -> Choice {
    let pooled: Vec<PooledProduct> = products.iter().map(PooledProduct::new).collect();
    rate_pooled(products, &pooled, weights)
}

fn rate_pooled(products: &[ProductMaps], pooled: &[PooledProduct], weights: [f32; 3]) -> Choice {
    let count = products.len().max(1) as f64;
    let figures = products.iter().zip(pooled).map(|(p, pooled)| p.figures(weights, pooled));
    let (image, pixel) = figures.fold((0.0, 0.0), |sum, f| (sum.0 + f.0, sum.1 + f.1));
    Choice { weights, image_auroc: image / count, pixel_ap: pixel / count }
}

/// Image AUROC and pixel average precision of plain nearest neighbours, mean over the products.
pub fn rate_nearest(products: &[ProductMaps]) -> (f64, f64) {
    let count = products.len().max(1) as f64;
    let figures = products.iter().map(|product| {
        let peak = |map: &Vec<f32>| map.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let NearestMaps { good, others } = &product.nearest;
        let scores = (good.iter().map(peak).collect(), others.iter().map(peak).collect());
        let good: Vec<&[f32]> = good.iter().map(Vec::as_slice).collect();
        product.rank(scores, good.into_iter(), others.iter().map(Vec::as_slice))
    });
    let (image, pixel) = figures.fold((0.0, 0.0), |sum, f| (sum.0 + f.0, sum.1 + f.1));
    (image / count, pixel / count)
}

/// What a person must know of an engine whose held-out figures lose to simpler ones; `metrics` are
/// those of the bundle's training record.
pub fn warnings(metrics: &BTreeMap<String, f64>) -> Vec<String> {
    let rows = [
        ("nearest", "plain nearest neighbours"),
        ("untrained", "its own maps without the network"),
    ];
    let figures = [("image_auroc", "image AUROC"), ("pixel_ap", "pixel AP")];
    let mut warnings = Vec::new();
    for (row, who) in rows {
        for (figure, what) in figures {
            let name = format!("held_out_{figure}");
            let own = metrics.get(&name);
            let Some((own, other)) = own.zip(metrics.get(&format!("{name}_{row}"))) else {
                continue;
            };
            if *own < other - NOISE {
                warnings.push(format!(
                    "on held-out pseudo-anomalies this engine loses to {who}: {what} {own:.3} \
                     against {other:.3}"
                ));
            }
        }
    }
    warnings
}

/// The best weights, and the best without the network beside them.
pub fn choose(products: &[ProductMaps], has_network: bool) -> (Choice, Choice) {
    let pooled: Vec<PooledProduct> = products.iter().map(PooledProduct::new).collect();
    let rate = |weights: [f32; 3]| rate_pooled(products, &pooled, weights);
    let mut candidates = Vec::new();
    for network in CHOICES {
        for search in CHOICES {
            for cell in CHOICES {
                let weights = [network, search, cell];
                // Multiples of a candidate are the same map.
                if weights.contains(&1.0) && (has_network || network == 0.0) {
                    candidates.push(weights);
                }
            }
        }
    }
    let rated: Vec<Choice> = candidates.into_par_iter().map(rate).collect();
    // Among equals the sum of both memories: the pick of measurements on real parts.
    let favourite = Choice { weights: [0.0, 1.0, 1.0], image_auroc: 0.0, pixel_ap: 0.0 };
    let best_of = |network: bool| {
        rated.iter().filter(|c| (c.weights[0] > 0.0) == network).copied().fold(
            None,
            |best: Option<Choice>, choice| match best {
                Some(best) if best.worth() > choice.worth() + 1e-3 => Some(best),
                Some(best)
                    if best.weights == favourite.weights
                        && best.worth() + 1e-3 >= choice.worth() =>
                {
                    Some(best)
                }
                _ => Some(choice),
            },
        )
    };
    let without = best_of(false).unwrap_or(favourite);
    let with = best_of(true).filter(|with| with.worth() > without.worth() + NETWORK_MARGIN);
    (with.unwrap_or(without), without)
}

/// The 16x16 means of every map: the score of a sum is the maximum of the sum of these.
struct PooledProduct {
    good: Vec<PictureMaps>,
    others: Vec<PictureMaps>,
}

impl PooledProduct {
    fn new(product: &ProductMaps) -> Self {
        let side = product.side;
        let pool = |maps: &PictureMaps| maps.each_ref().map(|map| window_means(map, side));
        Self {
            good: product.maps.good.par_iter().map(pool).collect(),
            others: product.maps.others.par_iter().map(pool).collect(),
        }
    }
}

impl ProductMaps {
    /// Image AUROC and pixel average precision under `weights`.
    fn figures(&self, weights: [f32; 3], pooled: &PooledProduct) -> (f64, f64) {
        let peak =
            |maps: &PictureMaps| fused(maps, weights).into_iter().fold(f32::NEG_INFINITY, f32::max);
        let scores =
            (pooled.good.iter().map(peak).collect(), pooled.others.iter().map(peak).collect());
        let maps = |maps: &PictureMaps| fused(maps, weights);
        self.rank(scores, self.maps.good.iter().map(maps), self.maps.others.iter().map(maps))
    }

    /// Image AUROC of the scores and pixel average precision of the maps, of good parts and of
    /// pseudo-anomalies each.
    fn rank<M: AsRef<[f32]>>(
        &self,
        (good_scores, other_scores): (Vec<f32>, Vec<f32>),
        good: impl Iterator<Item = M>,
        others: impl Iterator<Item = M>,
    ) -> (f64, f64) {
        let count = good_scores.len();
        let scores = [good_scores, other_scores].concat();
        let defective: Vec<bool> = (0..scores.len()).map(|index| index >= count).collect();
        let image = ranking(&scores, &defective).map_or(0.0, |ranking| ranking.auroc);
        let (mut pixels, mut marked) = (Vec::new(), Vec::new());
        for map in good {
            let values = self.thinned(map.as_ref());
            marked.resize(marked.len() + values.len(), false);
            pixels.extend(values);
        }
        for (map, mask) in others.zip(&self.masks) {
            pixels.extend(self.thinned(map.as_ref()));
            marked.extend(self.thinned(mask).into_iter().map(|value| value > 0));
        }
        let pixel = ranking(&pixels, &marked).map_or(0.0, |ranking| ranking.average_precision);
        (image, pixel)
    }

    fn thinned<T: Copy>(&self, map: &[T]) -> Vec<T> {
        let rows = map.chunks_exact(self.side).step_by(PIXEL_STRIDE);
        rows.flat_map(|row| row.iter().step_by(PIXEL_STRIDE).copied()).collect()
    }
}

fn fused(maps: &PictureMaps, weights: [f32; 3]) -> Vec<f32> {
    let length = maps.iter().map(Vec::len).max().unwrap_or(0);
    let mut sum = vec![0.0; length];
    for (map, weight) in maps.iter().zip(weights).filter(|(_, weight)| *weight > 0.0) {
        for (sum, value) in sum.iter_mut().zip(map) {
            *sum += weight * value;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDE: usize = 32;

    /// A map of `noise` with a square of `peak`.
    fn map(noise: f32, peak: f32) -> Vec<f32> {
        let mut map = vec![noise; SIDE * SIDE];
        for y in 4..20 {
            map[y * SIDE + 4..y * SIDE + 20].fill(peak);
        }
        map
    }

    fn product(network: f32, search: f32, cell: f32) -> ProductMaps {
        let good = vec![[map(1.0, 1.0), map(1.0, 1.0), map(1.0, 1.0)]; 4];
        let bad = [map(1.0, network), map(1.0, search), map(1.0, cell)];
        let mask = map(0.0, 1.0).into_iter().map(|v| v as u8).collect::<Vec<u8>>();
        let nearest =
            NearestMaps { good: vec![map(1.0, 1.0); 4], others: vec![map(1.0, search); 4] };
        let maps = SeparateMaps { good, others: vec![bad; 4] };
        ProductMaps { maps, nearest, masks: vec![mask; 4], side: SIDE }
    }

    #[test]
    fn a_map_that_sees_nothing_is_left_out() {
        let (best, without) = choose(&[product(1.0, 3.0, 1.0)], true);
        assert_eq!(best.weights[0], 0.0, "{best:?}");
        assert!(best.image_auroc > 0.99 && best.pixel_ap > 0.99, "{best:?}");
        assert_eq!(best, without);
    }

    #[test]
    fn a_network_that_alone_sees_is_used() {
        let (best, without) = choose(&[product(4.0, 1.0, 1.0)], true);
        assert!(best.weights[0] > 0.0, "{best:?}");
        assert!(without.image_auroc < 0.6, "{without:?}");
        assert_eq!(choose(&[product(4.0, 1.0, 1.0)], false).0.weights[0], 0.0);
    }

    #[test]
    fn an_engine_that_loses_is_warned_of() {
        // The network alone sees nothing; nearest neighbours see everything.
        let products = [product(1.0, 3.0, 1.0)];
        let engine = rate(&products, [1.0, 0.0, 0.0]);
        let (image, pixel) = rate_nearest(&products);
        assert!(image > 0.99 && pixel > 0.99, "{image} {pixel}");
        let mut metrics = BTreeMap::from([
            ("held_out_image_auroc".to_owned(), engine.image_auroc),
            ("held_out_pixel_ap".to_owned(), engine.pixel_ap),
            ("held_out_image_auroc_nearest".to_owned(), image),
            ("held_out_pixel_ap_nearest".to_owned(), pixel),
        ]);
        let said = warnings(&metrics);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(
            said[0].contains("nearest neighbours: image AUROC 0.500 against 1.000"),
            "{said:?}"
        );
        metrics.insert("held_out_image_auroc_untrained".to_owned(), 0.9);
        assert!(warnings(&metrics)[2].contains("without the network"));
        metrics.insert("held_out_image_auroc".to_owned(), 0.999);
        metrics.insert("held_out_pixel_ap".to_owned(), 0.999);
        assert!(warnings(&metrics).is_empty());
    }
}

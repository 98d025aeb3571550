//! `tests/metrics/expected.json` is what scikit-learn (1.9.1) says of the data that the small
//! generator below makes again and, for AUPRO, a sum over all distinct thresholds with scipy's
//! (8-connected) `label`; `tests/metrics/make.py` made it.

use super::*;
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    images: Vec<ImageCase>,
    pixels: Vec<PixelCase>,
}

#[derive(Deserialize)]
struct ImageCase {
    count: usize,
    levels: u64,
    seed: u64,
    defective: usize,
    auroc: f64,
    average_precision: f64,
    roc: Option<Vec<(f64, f64)>>,
    precision_recall: Option<Vec<(f64, f64)>>,
}

#[derive(Deserialize)]
struct PixelCase {
    levels: u64,
    seed: u64,
    side: usize,
    pictures: usize,
    /// Picture, first row, row after, first column, column after.
    rectangles: Vec<[usize; 5]>,
    regions: usize,
    auroc: f64,
    average_precision: f64,
    aupro: f64,
}

fn expected() -> Expected {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/metrics/expected.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Knuth's linear congruential generator, upper 31 bits: easy to repeat elsewhere.
fn numbers(count: usize, seed: u64) -> Vec<u64> {
    let mut state = seed;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    (0..count).map(|_| next()).collect()
}

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-9, "{found} {expected}");
}

#[test]
fn images_agree_with_scikit_learn() {
    for case in expected().images {
        let random = numbers(2 * case.count, case.seed);
        let level = |i: usize| random[i] % case.levels;
        let scores: Vec<f32> = (0..case.count).map(|i| level(i) as f32 / 8.0 - 2.0).collect();
        let labels: Vec<bool> = (0..case.count)
            .map(|i| random[case.count + i] % 7 + level(i) * 4 / case.levels >= 6)
            .collect();
        assert_eq!(labels.iter().filter(|label| **label).count(), case.defective);
        let (found, curves) = ranking_with_curves(&scores, &labels).unwrap();
        close(found.auroc, case.auroc);
        close(found.average_precision, case.average_precision);
        // Few points: none is thinned out.
        let pairs = [(&curves.roc, case.roc), (&curves.precision_recall, case.precision_recall)];
        for (curve, expected) in pairs {
            let Some(expected) = expected else { continue };
            assert_eq!(curve.points().count(), expected.len());
            for (found, expected) in curve.points().zip(expected) {
                close(found.0, expected.0);
                close(found.1, expected.1);
            }
        }
    }
}

#[test]
fn pixels_agree_with_scikit_learn_and_scipy() {
    for case in expected().pixels {
        let pixels_of_picture = case.side * case.side;
        let mut masks = vec![vec![0u8; pixels_of_picture]; case.pictures];
        for [picture, top, bottom, left, right] in case.rectangles {
            for y in top..bottom {
                masks[picture][y * case.side..][left..right].fill(1);
            }
        }
        let random = numbers(case.pictures * pixels_of_picture, case.seed);
        let mut pixels = Pixels::default();
        for (mask, random) in masks.iter().zip(random.chunks_exact(pixels_of_picture)) {
            let value = |(&random, &mask): (&u64, &u8)| {
                (random % case.levels) as f32 / case.levels as f32 + 0.25 * f32::from(mask)
            };
            let map: Vec<f32> = random.iter().zip(mask).map(value).collect();
            if mask.contains(&1) {
                pixels.add(&map, mask, case.side);
            } else {
                pixels.add_good(&map);
            }
        }
        assert_eq!(pixels.region_areas.len(), case.regions);
        let (found, _) = pixels.ranking().unwrap();
        close(found.auroc, case.auroc);
        close(found.average_precision, case.average_precision);
        close(found.aupro, case.aupro);
    }
}

#[test]
fn a_thinned_curve_keeps_its_shape() {
    let random = numbers(40_000, 9);
    let scores: Vec<f32> = random[..20_000].iter().map(|n| (n % 100_000) as f32).collect();
    let labels: Vec<bool> = random[20_000..].iter().map(|n| n % 2 == 0).collect();
    let (found, curves) = ranking_with_curves(&scores, &labels).unwrap();
    let points: Vec<_> = curves.roc.points().collect();
    assert!((500..3000).contains(&points.len()), "{}", points.len());
    assert_eq!((points[0], points[points.len() - 1]), ((0.0, 0.0), (1.0, 1.0)));
    let area: f64 = points.windows(2).map(|p| (p[1].0 - p[0].0) * (p[0].1 + p[1].1) / 2.0).sum();
    assert!((area - found.auroc).abs() < 1e-3, "{area} {found:?}");
}

#[test]
fn what_cannot_be_ranked_gives_nothing() {
    assert_eq!(ranking(&[1.0, 2.0], &[true, true]), None);
    assert_eq!(ranking(&[1.0, 2.0], &[false, false]), None);
    assert_eq!(ranking(&[1.0, f32::NAN], &[true, false]), None);
    assert_eq!(ranking(&[], &[]), None);
    assert_eq!(escape_rate(&[1.0], &[false], 0.5), None);
}

#[test]
fn escapes_are_defective_parts_below_the_threshold() {
    let scores = [0.5, 1.0, 1.5, 0.1];
    let defective = [true, true, true, false];
    assert_eq!(escape_rate(&scores, &defective, 1.0), Some(1.0 / 3.0));
    assert_eq!(escape_rate(&scores, &defective, f32::INFINITY), Some(1.0));
    assert_eq!(escape_rate(&scores, &defective, 0.0), Some(0.0));
    assert_eq!(false_reject_rate(&scores, &defective, 0.1), Some(1.0));
    assert_eq!(false_reject_rate(&scores, &defective, 0.2), Some(0.0));
    assert_eq!(false_reject_rate(&[1.0], &[true], 0.5), None);
}

#[test]
fn signed_zeros_tie_and_infinities_rank() {
    let found = ranking(&[0.0, -0.0], &[true, false]).unwrap();
    assert_eq!(found.auroc, 0.5);
    let found = ranking(&[f32::INFINITY, f32::NEG_INFINITY, -1.0], &[true, false, false]);
    assert_eq!(found.unwrap().auroc, 1.0);
}

fn parts() -> impl Strategy<Value = (Vec<f32>, Vec<bool>)> {
    prop::collection::vec((-5i8..5, any::<bool>()), 2..60)
        .prop_filter("both classes", |parts| {
            parts.iter().any(|part| part.1) && parts.iter().any(|part| !part.1)
        })
        .prop_map(|parts| parts.into_iter().map(|(score, bad)| (f32::from(score), bad)).unzip())
}

proptest! {
    #[test]
    fn auroc_is_the_share_of_pairs_in_order((scores, defective) in parts()) {
        let mut won = 0.0;
        let mut pairs = 0.0;
        for (i, a) in scores.iter().enumerate().filter(|(i, _)| defective[*i]) {
            for (j, b) in scores.iter().enumerate().filter(|(j, _)| !defective[*j]) {
                assert_ne!(i, j);
                won += if a > b { 1.0 } else if a == b { 0.5 } else { 0.0 };
                pairs += 1.0;
            }
        }
        let found = ranking(&scores, &defective).unwrap();
        prop_assert!((found.auroc - won / pairs).abs() < 1e-12);
    }

    #[test]
    fn reversed_scores_reverse_the_auroc((scores, defective) in parts()) {
        let reversed: Vec<f32> = scores.iter().map(|score| -score).collect();
        let there = ranking(&scores, &defective).unwrap().auroc;
        let back = ranking(&reversed, &defective).unwrap().auroc;
        prop_assert!((there + back - 1.0).abs() < 1e-12);
    }

    #[test]
    fn order_of_pixels_does_not_matter(
        map in prop::collection::vec(-3i8..3, 36),
        mask in prop::collection::vec(0u8..2, 36),
    ) {
        prop_assume!(mask.contains(&0) && mask.contains(&1));
        let map: Vec<f32> = map.into_iter().map(f32::from).collect();
        let (mut plain, mut turned) = (Pixels::default(), Pixels::default());
        plain.add(&map, &mask, 6);
        let flip = |values: &[f32]| values.iter().rev().copied().collect::<Vec<_>>();
        let flipped_mask: Vec<u8> = mask.iter().rev().copied().collect();
        turned.add(&flip(&map), &flipped_mask, 6);
        let (plain, turned) = (plain.ranking().unwrap().0, turned.ranking().unwrap().0);
        prop_assert!((plain.aupro - turned.aupro).abs() < 1e-12);
        prop_assert!((plain.average_precision - turned.average_precision).abs() < 1e-12);
        prop_assert!(plain.aupro <= 1.0 + 1e-12);
    }
}

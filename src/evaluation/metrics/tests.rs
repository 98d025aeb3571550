//! Stored numbers are scikit-learn's (1.9.1) and, for AUPRO, a sum over all distinct thresholds
//! with scipy's (8-connected) `label`, on the data the small generator below makes.

use super::*;
use proptest::prelude::*;

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
    let stored = [
        (500, 40, 1, 171, 0.6970706909116764, 0.5275536515025725),
        (20_000, 1000, 2, 7207, 0.6957714014091083, 0.5213298975447613),
        (300, 3, 3, 87, 0.6485348874858345, 0.38030978662715426),
    ];
    for (count, levels, seed, defective, auroc, average_precision) in stored {
        let random = numbers(2 * count, seed);
        let level = |i: usize| random[i] % levels;
        let scores: Vec<f32> = (0..count).map(|i| level(i) as f32 / 8.0 - 2.0).collect();
        let labels: Vec<bool> =
            (0..count).map(|i| random[count + i] % 7 + level(i) * 4 / levels >= 6).collect();
        assert_eq!(labels.iter().filter(|label| **label).count(), defective);
        let found = ranking(&scores, &labels).unwrap();
        close(found.auroc, auroc);
        close(found.average_precision, average_precision);
    }
}

const SIDE: usize = 24;

/// Six masks: good ones, regions that touch by a corner only, regions at the border.
fn masks() -> Vec<Vec<u8>> {
    let mut masks = vec![vec![0u8; SIDE * SIDE]; 6];
    let mut fill =
        |picture: usize, rows: std::ops::Range<usize>, columns: std::ops::Range<usize>| {
            for y in rows {
                masks[picture][y * SIDE..][columns.clone()].fill(1);
            }
        };
    fill(1, 2..6, 3..9);
    fill(1, 6..7, 9..10);
    fill(1, 15..18, 15..20);
    fill(2, 0..3, 0..2);
    fill(2, 3..4, 2..3);
    fill(2, 20..24, 22..24);
    fill(4, 10..11, 0..24);
    fill(4, 12..13, 5..6);
    masks
}

#[test]
fn pixels_agree_with_scikit_learn_and_scipy() {
    let stored = [
        (64, 0.7511940906398105, 0.288638006684193, 0.33833279623654094),
        (1_000_000, 0.6877999111374409, 0.24246956404501516, 0.4080282150379899),
        (5, 0.7570497630331754, 0.44185692339025223, 0.4274597689260012),
    ];
    let random = numbers(6 * SIDE * SIDE, 7);
    for (levels, auroc, average_precision, aupro) in stored {
        let mut pixels = Pixels::default();
        for (mask, random) in masks().iter().zip(random.chunks_exact(SIDE * SIDE)) {
            let value = |(&random, &mask): (&u64, &u8)| {
                (random % levels) as f32 / levels as f32 + 0.25 * f32::from(mask)
            };
            let map: Vec<f32> = random.iter().zip(mask).map(value).collect();
            if mask.contains(&1) {
                pixels.add(&map, mask, SIDE);
            } else {
                pixels.add_good(&map);
            }
        }
        assert_eq!(pixels.region_areas.len(), 6);
        let found = pixels.ranking().unwrap();
        close(found.auroc, auroc);
        close(found.average_precision, average_precision);
        close(found.aupro, aupro);
    }
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
        let (plain, turned) = (plain.ranking().unwrap(), turned.ranking().unwrap());
        prop_assert!((plain.aupro - turned.aupro).abs() < 1e-12);
        prop_assert!((plain.average_precision - turned.average_precision).abs() < 1e-12);
        prop_assert!(plain.aupro <= 1.0 + 1e-12);
    }
}

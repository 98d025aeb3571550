//! Tests of the drawn parts as a whole.

use image::RgbImage;

use super::*;

fn each_defect() -> impl Iterator<Item = (ProductKind, DefectKind)> {
    products()
        .iter()
        .flat_map(|&kind| kind.defect_kinds().iter().map(move |&defect| (kind, defect)))
}

#[test]
fn names_and_numbers_find_their_product() {
    for &kind in products() {
        assert_eq!(ProductKind::from_name(kind.name()), Some(kind));
        assert_eq!(ProductKind::from_number(kind.number()), Some(kind));
        assert!(kind.defect_kinds().len() >= 4);
    }
    assert_eq!(ProductKind::from_name("teapot"), None);
    assert_eq!(ProductKind::from_number(0), None);
    for kind in DefectKind::ALL {
        assert!(each_defect().any(|(_, defect)| defect == kind), "no product has {kind:?}");
    }
}

#[test]
fn a_part_is_drawn_the_same_each_time_and_others_differ() {
    for &kind in products() {
        let part = draw(kind, 11, 5, None);
        assert_eq!(part, draw(kind, 11, 5, None));
        assert_eq!(part.picture.dimensions(), kind.picture_size());
        assert_eq!((part.mask, part.defect), (None, None));
        assert_ne!(part.picture, draw(kind, 11, 6, None).picture);
        assert_ne!(part.picture, draw(kind, 12, 5, None).picture);
        let defect = kind.defect_kinds()[0];
        assert_eq!(draw(kind, 11, 5, Some(defect)), draw(kind, 11, 5, Some(defect)));
    }
}

#[test]
fn a_defect_the_product_cannot_have_leaves_it_good() {
    let part = draw(ProductKind::MagnetTile, 1, 1, Some(DefectKind::BentPin));
    assert_eq!(part, draw(ProductKind::MagnetTile, 1, 1, None));
}

#[test]
fn the_mask_is_exactly_what_the_defect_changed() {
    for (kind, defect) in each_defect() {
        for part in 0..3 {
            let clean = draw(kind, 4, part, None);
            let spoiled = draw(kind, 4, part, Some(defect));
            assert_eq!(spoiled.defect, Some(defect));
            let mask = spoiled.mask.unwrap();
            for ((before, after), marked) in
                clean.picture.pixels().zip(spoiled.picture.pixels()).zip(mask.pixels())
            {
                assert!(matches!(marked.0[0], 0 | 255));
                assert_eq!(before != after, marked.0[0] == 255, "{kind:?} {defect:?} part {part}");
            }
        }
    }
}

#[test]
fn every_defect_is_drawn_large_enough_to_see() {
    for (kind, defect) in each_defect() {
        for part in 100..112 {
            let drawn = draw(kind, 21, part, Some(defect));
            let mask = drawn.mask.unwrap_or_else(|| panic!("{kind:?} {defect:?} part {part}"));
            let area = mask.as_raw().iter().filter(|&&value| value == 255).count();
            assert!((40..9000).contains(&area), "{kind:?} {defect:?} part {part}: {area} pixels");
        }
    }
}

#[test]
fn a_data_set_spreads_defects_evenly_over_disjoint_parts() {
    let kind = ProductKind::MagnetTile;
    let parts: Vec<_> = data_set_parts(kind, 8, 3, 2, 7).collect();
    let folders: Vec<_> =
        parts.iter().map(|part| format!("{}/{}", part.split.folder(), part.index)).collect();
    assert_eq!(
        folders[..5],
        ["train/good/0", "train/good/1", "train/good/2", "test/good/0", "test/good/1"]
    );
    assert_eq!(folders[5..7], ["test/scratch/0", "test/dent/0"]);
    assert_eq!(folders[10..], ["test/scratch/1", "test/dent/1"]);
    for (index, part) in parts.iter().enumerate() {
        assert_eq!(part.drawn.defect.is_some(), matches!(part.split, Split::TestDefect(_)));
        for other in &parts[..index] {
            assert_ne!(part.drawn.picture, other.drawn.picture);
        }
    }
    assert_ne!(parts[0].drawn.picture, draw(kind, 8, FIRST_LIVE_PART, None).picture);
}

/// Grey values of a picture, counted.
fn histogram(picture: &RgbImage) -> [u32; 256] {
    let mut counts = [0; 256];
    for pixel in picture.pixels() {
        let [r, g, b] = pixel.0.map(u32::from);
        counts[((r * 77 + g * 150 + b * 29) >> 8) as usize] += 1;
    }
    counts
}

/// What a grey threshold can measure: the mean, both extremes, and how many pixels are darker
/// than each of fifteen thresholds (the brighter ones are the rest).
fn grey_measures(picture: &RgbImage) -> Vec<f64> {
    let counts = histogram(picture);
    let total: f64 = counts.iter().map(|&count| f64::from(count)).sum();
    let weighted: f64 =
        counts.iter().zip(0..).map(|(&count, grey)| f64::from(count) * f64::from(grey)).sum();
    let darkest = counts.iter().position(|&count| count > 0).unwrap();
    let brightest = counts.iter().rposition(|&count| count > 0).unwrap();
    let mut measures = vec![weighted / total, darkest as f64, brightest as f64];
    for threshold in (16..256).step_by(16) {
        measures.push(counts[..threshold].iter().map(|&count| f64::from(count)).sum());
    }
    measures
}

/// Share of pairs (good, defective) a measure orders rightly, in its better direction.
fn auroc(good: &[f64], defective: &[f64]) -> f64 {
    let mut right = 0.0;
    for a in good {
        for b in defective {
            right += if b > a {
                1.0
            } else if b == a {
                0.5
            } else {
                0.0
            };
        }
    }
    let share = right / (good.len() * defective.len()) as f64;
    share.max(1.0 - share)
}

fn best_threshold_auroc(kind: ProductKind) -> f64 {
    let kinds = kind.defect_kinds();
    let good: Vec<_> =
        (0..90).map(|part| grey_measures(&draw(kind, 31, part, None).picture)).collect();
    let defective: Vec<_> = (0..90)
        .map(|part| {
            let defect = kinds[part as usize % kinds.len()];
            grey_measures(&draw(kind, 31, 500 + part, Some(defect)).picture)
        })
        .collect();
    let column =
        |rows: &[Vec<f64>], index: usize| rows.iter().map(|row| row[index]).collect::<Vec<_>>();
    let best = (0..good[0].len())
        .map(|index| auroc(&column(&good, index), &column(&defective, index)))
        .fold(0.0, f64::max);
    println!("{}: best grey threshold AUROC {best:.3}", kind.name());
    best
}

#[test]
fn no_grey_threshold_sorts_flanges_and_boards() {
    assert!(best_threshold_auroc(ProductKind::Flange) < 0.75);
    assert!(best_threshold_auroc(ProductKind::CircuitBoard) < 0.75);
}

#[test]
fn no_grey_threshold_sorts_blisters_and_tiles() {
    assert!(best_threshold_auroc(ProductKind::Blister) < 0.75);
    assert!(best_threshold_auroc(ProductKind::MagnetTile) < 0.75);
}

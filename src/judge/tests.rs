use super::*;
use proptest::prelude::*;

const WHOLE: RegionOfInterest = RegionOfInterest { x: 0, y: 0, width: 8, height: 8 };
const LIMITS: Thresholds = Thresholds { image: 0.5, pixel: 0.5 };

fn judge_one(score: f32, map: &[f32], thresholds: Thresholds) -> Verdict {
    let side = map.len().isqrt();
    Judge::new(side).judge(SequenceNumber::FIRST, score, map, WHOLE, &thresholds, None)
}

#[test]
fn a_score_at_the_threshold_fails_and_one_below_passes() {
    let map = [0.0; 64];
    let reason = |score| judge_one(score, &map, LIMITS).reason;
    assert_eq!(reason(0.5), Reason::ScoreAtOrAboveThreshold);
    assert_eq!(reason(0.499), Reason::Good);
    assert_eq!(reason(f32::NAN), Reason::ScoreNotFinite);
    assert_eq!(reason(f32::NEG_INFINITY), Reason::ScoreNotFinite);
    let endless = Thresholds { image: f32::INFINITY, ..LIMITS };
    assert_eq!(judge_one(0.1, &map, endless).reason, Reason::ScoreNotFinite);
    let mut broken = map;
    broken[17] = f32::NAN;
    assert_eq!(judge_one(0.1, &broken, LIMITS).reason, Reason::ScoreNotFinite);
}

#[test]
fn a_map_of_another_size_is_an_engine_error() {
    let mut judge = Judge::new(8);
    let verdict = judge.judge(SequenceNumber::FIRST, 0.1, &[0.0; 63], WHOLE, &LIMITS, None);
    assert_eq!(verdict.reason, Reason::EngineError);
    assert!(judge.regions().is_empty());
}

#[test]
fn regions_are_scaled_to_the_camera_and_the_rule_fails_large_ones() {
    let mut map = [0.0; 16]; // 4 x 4
    map[5] = 0.9; // column 1, row 1, and its diagonal neighbour: one region
    map[10] = 0.7;
    map[3] = 0.6; // alone in the corner
    let inspected = RegionOfInterest { x: 100, y: 50, width: 40, height: 20 };
    let mut judge = Judge::new(4);
    let rule = RegionRule { min_area_pixels: 101 };
    let first = SequenceNumber::FIRST;
    let verdict = judge.judge(first, 0.1, &map, inspected, &LIMITS, Some(&rule));
    assert_eq!((verdict.reason, verdict.regions), (Reason::Good, 2));
    let region = Region { x: 110, y: 55, width: 20, height: 10, area_pixels: 100, peak: 0.9 };
    assert_eq!(verdict.largest, Some(region));
    let corner = Region { x: 130, y: 50, width: 10, height: 5, area_pixels: 50, peak: 0.6 };
    assert_eq!(judge.regions(), [region, corner]);
    let rule = RegionRule { min_area_pixels: 100 };
    let verdict = judge.judge(first, 0.1, &map, inspected, &LIMITS, Some(&rule));
    assert_eq!(verdict.reason, Reason::RegionRule);
}

#[test]
fn a_judge_remembers_nothing_of_the_part_before() {
    let mut judge = Judge::new(8);
    let first = SequenceNumber::FIRST;
    judge.judge(first, 0.9, &[1.0; 64], WHOLE, &LIMITS, None);
    assert_eq!(judge.regions().len(), 1);
    let verdict = judge.judge(first, 0.1, &[0.0; 64], WHOLE, &LIMITS, None);
    assert_eq!((verdict.reason, verdict.regions, verdict.largest), (Reason::Good, 0, None));
}

/// The obvious way, to hold the quick one against: components by flood fill, in raster order.
fn flood_fill(map: &[f32], side: usize, threshold: f32) -> Vec<Component> {
    let mut open: Vec<bool> = map.iter().map(|v| *v >= threshold).collect();
    let mut found = Vec::new();
    for start in 0..map.len() {
        if !open[start] {
            continue;
        }
        let mut cells = Vec::new();
        let mut stack = vec![start];
        open[start] = false;
        while let Some(cell) = stack.pop() {
            cells.push(cell);
            for (other, is_open) in open.iter_mut().enumerate() {
                let near = (other % side).abs_diff(cell % side) <= 1
                    && (other / side).abs_diff(cell / side) <= 1;
                if near && *is_open {
                    *is_open = false;
                    stack.push(other);
                }
            }
        }
        let columns = || cells.iter().map(|c| (c % side) as u32);
        let rows = || cells.iter().map(|c| (c / side) as u32);
        found.push(Component {
            left: columns().min().unwrap(),
            right: columns().max().unwrap(),
            top: rows().min().unwrap(),
            bottom: rows().max().unwrap(),
            cells: cells.len() as u32,
            peak: cells.iter().map(|c| map[*c]).fold(f32::MIN, f32::max),
        });
    }
    found
}

fn maps() -> impl Strategy<Value = (usize, Vec<f32>)> {
    (1_usize..14, 1_u8..10).prop_flat_map(|(side, density)| {
        let cell = (0_u8..10, 0.0_f32..1.0);
        let values = proptest::collection::vec(cell, side * side);
        values.prop_map(move |cells| {
            let lift = |(chance, v): &(u8, f32)| if *chance < density { 1.0 + v } else { *v };
            (side, cells.iter().map(lift).collect())
        })
    })
}

fn any_number() -> impl Strategy<Value = f32> {
    prop_oneof![
        3 => -1.0_f32..2.0,
        1 => Just(f32::NAN),
        1 => Just(f32::INFINITY),
        1 => Just(f32::NEG_INFINITY),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn components_are_those_of_a_flood_fill(maps in proptest::collection::vec(maps(), 1..3)) {
        for (side, map) in maps {
            let mut components = Components::new(side);
            for threshold in [1.0, 0.5, 1.5] {
                let expected = flood_fill(&map, side, threshold);
                prop_assert_eq!(components.find(&map, threshold), &expected[..]);
            }
        }
    }

    #[test]
    fn nothing_but_finite_numbers_below_the_threshold_passes(
        score in any_number(), image in any_number(), pixel in any_number(), value in any_number(),
    ) {
        let mut map = vec![0.0; 64];
        map[9] = value;
        let verdict = judge_one(score, &map, Thresholds { image, pixel });
        let finite = [score, image, pixel, value].iter().all(|v| v.is_finite());
        prop_assert_eq!(verdict.reason == Reason::Good, finite && score < image);
    }

    #[test]
    fn regions_lie_inside_the_inspected_rectangle_largest_first(
        (side, map) in maps(), x in 0_u32..3000, y in 0_u32..3000,
        width in 1_u32..3000, height in 1_u32..3000,
    ) {
        let inspected = RegionOfInterest { x, y, width, height };
        let mut judge = Judge::new(side);
        let limits = Thresholds { image: 9.0, pixel: 1.0 };
        let verdict = judge.judge(SequenceNumber::FIRST, 0.0, &map, inspected, &limits, None);
        let all = flood_fill(&map, side, 1.0).len();
        prop_assert_eq!(usize::from(verdict.regions), all);
        prop_assert_eq!(judge.regions().len(), all.min(REGIONS_KEPT));
        prop_assert_eq!(verdict.largest, judge.regions().first().copied());
        for r in judge.regions() {
            let (left, top) = (u32::from(r.x), u32::from(r.y));
            let (right, bottom) = (left + u32::from(r.width), top + u32::from(r.height));
            prop_assert!(left >= x && top >= y && right <= x + width && bottom <= y + height);
            prop_assert!(r.width >= 1 && r.height >= 1 && r.area_pixels >= 1);
        }
        prop_assert!(judge.regions().is_sorted_by(|a, b| a.area_pixels >= b.area_pixels));
    }
}

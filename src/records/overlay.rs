//! The anomaly map for people: over the picture, and as a mask.
//!
//! Colours are relative to the pixel threshold t: nothing below t/2, then yellow fading in, orange
//! at t, red at 2 t and beyond. Regions are boxed in white with a black edge, which shows on any
//! ground.

use crate::part::{AnomalyMap, Region, RegionOfInterest};
use image::{GrayImage, Luma, Rgb, RgbImage};

const WHITE: Rgb<u8> = Rgb([255, 255, 255]);
const BLACK: Rgb<u8> = Rgb([0, 0, 0]);

/// Value relative to the pixel threshold, colour, how much of it covers the picture.
const SCALE: [(f32, [f32; 3], f32); 4] = [
    (0.5, [255.0, 240.0, 60.0], 0.0),
    (1.0, [255.0, 150.0, 0.0], 0.45),
    (1.5, [255.0, 50.0, 0.0], 0.6),
    (2.0, [215.0, 0.0, 40.0], 0.7),
];

/// `picture` under the heat of `map`, which covers `inspected`, with `regions` boxed. A map
/// without values, or one that does not fit its side, gives boxes only.
pub fn overlay(
    picture: &RgbImage,
    map: &AnomalyMap,
    inspected: RegionOfInterest,
    pixel_threshold: f32,
    regions: &[Region],
) -> RgbImage {
    let mut drawn = picture.clone();
    if is_usable(map) {
        let scale = relative_to(pixel_threshold, map);
        let (columns, rows) = (
            Interpolation::new(inspected.x, inspected.width, map.side),
            Interpolation::new(inspected.y, inspected.height, map.side),
        );
        for (x, y, pixel) in drawn.enumerate_pixels_mut() {
            if let Some((column, row)) = columns.at(x).zip(rows.at(y)) {
                heat(pixel, scale * interpolated(map, column, row));
            }
        }
    }
    let thickness = 1 + picture.width().max(picture.height()) / 640;
    for region in regions {
        draw_box(&mut drawn, region, thickness);
    }
    drawn
}

/// White where `map` is at or above the pixel threshold, black elsewhere; `size` (width, height)
/// of the camera. A pixel takes the value of the map's cell it lies in, as the judge counts.
pub fn mask(
    size: (u32, u32),
    map: &AnomalyMap,
    inspected: RegionOfInterest,
    pixel_threshold: f32,
) -> GrayImage {
    let side = map.side as u64;
    let usable = is_usable(map);
    let cell = |position: u32, origin: u32, extent: u32| {
        let inside = u64::from(position.checked_sub(origin).filter(|inside| *inside < extent)?);
        Some(((2 * inside + 1) * side / (2 * u64::from(extent))) as usize)
    };
    GrayImage::from_fn(size.0, size.1, |x, y| {
        let column = cell(x, inspected.x, inspected.width);
        let row = cell(y, inspected.y, inspected.height);
        let value =
            column.zip(row).and_then(|(column, row)| map.values.get(row * map.side + column));
        let white = usable && value.is_some_and(|value| *value >= pixel_threshold);
        Luma([if white { 255 } else { 0 }])
    })
}

fn is_usable(map: &AnomalyMap) -> bool {
    map.side > 0 && map.values.len() == map.side * map.side
}

/// Factor that makes the pixel threshold 1. Without a usable threshold the map's maximum is red.
fn relative_to(pixel_threshold: f32, map: &AnomalyMap) -> f32 {
    if pixel_threshold.is_finite() && pixel_threshold > 0.0 {
        return 1.0 / pixel_threshold;
    }
    let peak = map.values.iter().copied().fold(0.0, f32::max);
    if peak > 0.0 { 2.0 / peak } else { 0.0 }
}

/// Camera positions of one axis to positions between the centres of the map's cells.
struct Interpolation {
    origin: u32,
    extent: u32,
    side: usize,
}

impl Interpolation {
    fn new(origin: u32, extent: u32, side: usize) -> Self {
        Self { origin, extent, side }
    }

    /// Lower cell, upper cell, weight of the upper one; `None` outside.
    fn at(&self, position: u32) -> Option<(usize, usize, f32)> {
        let inside = position.checked_sub(self.origin).filter(|inside| *inside < self.extent)?;
        let scaled = (inside as f32 + 0.5) * self.side as f32 / self.extent as f32 - 0.5;
        let last = self.side - 1;
        let bounded = scaled.clamp(0.0, last as f32);
        let lower = bounded as usize;
        Some((lower, (lower + 1).min(last), bounded - lower as f32))
    }
}

fn interpolated(
    map: &AnomalyMap,
    (left, right, to_right): (usize, usize, f32),
    (upper, lower, to_lower): (usize, usize, f32),
) -> f32 {
    let value = |row: usize, column: usize| map.values[row * map.side + column];
    let mix = |a: f32, b: f32, share: f32| a + (b - a) * share;
    let above = mix(value(upper, left), value(upper, right), to_right);
    let below = mix(value(lower, left), value(lower, right), to_right);
    mix(above, below, to_lower)
}

/// Blends the colour of `value` (1: the pixel threshold) into `pixel`; not a number is left alone.
fn heat(pixel: &mut Rgb<u8>, value: f32) {
    let Some(above) = SCALE.iter().rposition(|(start, _, _)| value >= *start) else { return };
    let (start, colour, cover) = SCALE[above];
    let (end, next_colour, next_cover) = SCALE[(above + 1).min(SCALE.len() - 1)];
    let share = if end > start { (value - start) / (end - start) } else { 0.0 };
    let mix = |a: f32, b: f32| a + (b - a) * share;
    let cover = mix(cover, next_cover);
    for ((channel, a), b) in pixel.0.iter_mut().zip(colour).zip(next_colour) {
        let kept = f32::from(*channel) * (1.0 - cover);
        *channel = (kept + mix(a, b) * cover).round() as u8;
    }
}

/// A frame just outside the region, so that the region itself stays visible.
fn draw_box(picture: &mut RgbImage, region: &Region, thickness: u32) {
    let (left, top) = (i64::from(region.x), i64::from(region.y));
    let (right, bottom) = (left + i64::from(region.width) - 1, top + i64::from(region.height) - 1);
    for distance in 1..=i64::from(2 * thickness) {
        let colour = if distance <= i64::from(thickness) { WHITE } else { BLACK };
        let (left, right) = (left - distance, right + distance);
        let (top, bottom) = (top - distance, bottom + distance);
        for x in left..=right {
            put(picture, x, top, colour);
            put(picture, x, bottom, colour);
        }
        for y in top..=bottom {
            put(picture, left, y, colour);
            put(picture, right, y, colour);
        }
    }
}

fn put(picture: &mut RgbImage, x: i64, y: i64, colour: Rgb<u8>) {
    if let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y))
        && let Some(pixel) = picture.get_pixel_mut_checked(x, y)
    {
        *pixel = colour;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GREY: Rgb<u8> = Rgb([120, 120, 120]);
    const INSPECTED: RegionOfInterest = RegionOfInterest { x: 10, y: 20, width: 40, height: 80 };

    fn picture() -> RgbImage {
        RgbImage::from_pixel(100, 120, GREY)
    }

    fn map_of(cells: &[(usize, usize, f32)]) -> AnomalyMap {
        let mut values = vec![0.0; 64];
        for (column, row, value) in cells {
            values[row * 8 + column] = *value;
        }
        AnomalyMap { side: 8, values }
    }

    #[test]
    fn heat_lies_over_its_cell_of_the_inspected_rectangle_only() {
        let drawn = overlay(&picture(), &map_of(&[(2, 3, 4.0)]), INSPECTED, 1.0, &[]);
        // The cell is 5 x 10 pixels from (20, 50); interpolation reaches one cell further.
        let reach = |x: u32, y: u32| (15..30).contains(&x) && (40..70).contains(&y);
        for (x, y, pixel) in drawn.enumerate_pixels() {
            assert!(reach(x, y) || *pixel == GREY, "({x}, {y}) is {pixel:?}");
        }
        let centre = drawn.get_pixel(22, 54).0;
        assert!(centre[0] > 150 && centre[1] < 60, "{centre:?} is not red");
    }

    #[test]
    fn colours_start_at_half_the_threshold_and_grow() {
        let shade = |value: f32| {
            let mut pixel = GREY;
            heat(&mut pixel, value);
            pixel.0
        };
        assert_eq!(shade(0.49), GREY.0);
        assert_eq!(shade(f32::NAN), GREY.0);
        assert_eq!(shade(2.0), shade(1e9));
        assert_eq!(shade(2.0), shade(f32::INFINITY));
        let distance = |value| shade(value)[1].abs_diff(GREY.0[1]);
        assert!(distance(2.0) > distance(1.4) && shade(2.0)[0] > 150);
    }

    #[test]
    fn boxes_surround_regions_and_are_cut_at_the_border() {
        let inner = Region { x: 30, y: 40, width: 10, height: 10, ..Region::default() };
        let corner = Region { x: 0, y: 0, width: 100, height: 120, ..Region::default() };
        let beyond = Region { x: 65_000, y: 65_000, width: 600, height: 600, ..Region::default() };
        let drawn = overlay(&picture(), &map_of(&[]), INSPECTED, 1.0, &[inner, corner, beyond]);
        assert_eq!([*drawn.get_pixel(29, 45), *drawn.get_pixel(28, 45)], [WHITE, BLACK]);
        assert_eq!([*drawn.get_pixel(30, 45), *drawn.get_pixel(40, 45)], [GREY, WHITE]);
        assert_eq!(*drawn.get_pixel(0, 0), GREY);
    }

    #[test]
    fn a_map_without_values_leaves_the_picture() {
        let none = AnomalyMap { side: 0, values: Vec::new() };
        assert_eq!(overlay(&picture(), &none, INSPECTED, 1.0, &[]), picture());
        let short = AnomalyMap { side: 8, values: vec![9.0; 3] };
        assert_eq!(overlay(&picture(), &short, INSPECTED, 1.0, &[]), picture());
        assert!(mask((100, 120), &short, INSPECTED, 1.0).pixels().all(|p| p.0 == [0]));
        assert!(mask((100, 120), &none, INSPECTED, 1.0).pixels().all(|p| p.0 == [0]));
    }

    #[test]
    fn the_mask_holds_the_cells_at_or_above_the_threshold() {
        let drawn = mask((100, 120), &map_of(&[(2, 3, 1.0), (7, 7, 0.99)]), INSPECTED, 1.0);
        for (x, y, pixel) in drawn.enumerate_pixels() {
            let inside = (20..25).contains(&x) && (50..60).contains(&y);
            assert_eq!(pixel.0 == [255], inside, "({x}, {y})");
        }
    }

    proptest! {
        #[test]
        fn nothing_a_caller_gives_is_out_of_bounds(
            (width, height) in (1_u32..40, 1_u32..40), side in 0_usize..6,
            (x, y) in (0_u32..50, 0_u32..50), (w, h) in (0_u32..50, 0_u32..50), value in any::<f32>(),
        ) {
            let picture = RgbImage::from_pixel(width, height, GREY);
            let map = AnomalyMap { side, values: vec![value; side * side] };
            let inspected = RegionOfInterest { x, y, width: w, height: h };
            let region = Region { x: x as u16, y: y as u16, width: w as u16, height: h as u16,
                ..Region::default() };
            let drawn = overlay(&picture, &map, inspected, value, &[region]);
            prop_assert_eq!(drawn.dimensions(), (width, height));
            prop_assert_eq!(mask((width, height), &map, inspected, value).dimensions(), (width, height));
        }
    }
}

//! The twelve copies of the one picture a product may be taught by.

use image::{RgbImage, imageops};

/// Side at which the copies were tried (baseline, "Few pictures").
const TRIED_SIDE: f32 = 224.0;
/// Shift at that side, in pixels.
const SHIFT_PIXELS: f32 = 5.0;
const TURN_DEGREES: f32 = 4.0;
const BRIGHTNESS_SHARE: f32 = 0.12;

/// The picture (S x S) itself, both flips, the half turn, turned by 4 degrees either way, 12 %
/// brighter and darker, and shifted by 5 pixels (at S = 224) in four directions.
pub(super) fn twelve_copies(picture: &RgbImage) -> [RgbImage; 12] {
    let shift = (SHIFT_PIXELS * picture.width() as f32 / TRIED_SIDE).round();
    [
        picture.clone(),
        imageops::flip_horizontal(picture),
        imageops::flip_vertical(picture),
        imageops::rotate180(picture),
        turned(picture, TURN_DEGREES),
        turned(picture, -TURN_DEGREES),
        brighter(picture, 1.0 + BRIGHTNESS_SHARE),
        brighter(picture, 1.0 - BRIGHTNESS_SHARE),
        sampled(picture, |x, y| (x - shift, y)),
        sampled(picture, |x, y| (x + shift, y)),
        sampled(picture, |x, y| (x, y - shift)),
        sampled(picture, |x, y| (x, y + shift)),
    ]
}

fn turned(picture: &RgbImage, degrees: f32) -> RgbImage {
    let (sine, cosine) = degrees.to_radians().sin_cos();
    let centre_x = (picture.width() as f32 - 1.0) / 2.0;
    let centre_y = (picture.height() as f32 - 1.0) / 2.0;
    sampled(picture, |x, y| {
        let (x, y) = (x - centre_x, y - centre_y);
        (centre_x + cosine * x - sine * y, centre_y + sine * x + cosine * y)
    })
}

fn brighter(picture: &RgbImage, factor: f32) -> RgbImage {
    let mut copy = picture.clone();
    for value in copy.iter_mut() {
        *value = (f32::from(*value) * factor).round().clamp(0.0, 255.0) as u8;
    }
    copy
}

/// Every pixel taken, bilinearly, from where `source` says; the border goes on outside.
fn sampled(picture: &RgbImage, source: impl Fn(f32, f32) -> (f32, f32)) -> RgbImage {
    let (width, height) = picture.dimensions();
    let last_x = width.saturating_sub(1) as f32;
    let last_y = height.saturating_sub(1) as f32;
    RgbImage::from_fn(width, height, |x, y| {
        let (x, y) = source(x as f32, y as f32);
        let (x, y) = (x.clamp(0.0, last_x), y.clamp(0.0, last_y));
        let (left, top) = (x.floor(), y.floor());
        let (right, bottom) = ((left + 1.0).min(last_x) as u32, (top + 1.0).min(last_y) as u32);
        let (part_x, part_y) = (x - left, y - top);
        let (left, top) = (left as u32, top as u32);
        let corners = [(left, top), (right, top), (left, bottom), (right, bottom)];
        let pixels = corners.map(|(x, y)| picture.get_pixel(x, y).0);
        image::Rgb([0, 1, 2].map(|channel| {
            let [a, b, c, d] = pixels.map(|pixel| f32::from(pixel[channel]));
            let upper = a + (b - a) * part_x;
            let lower = c + (d - c) * part_x;
            (upper + (lower - upper) * part_y).round() as u8
        }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    #[test]
    fn copies_are_what_they_are_called() {
        let picture = RgbImage::from_fn(224, 224, |x, y| Rgb([x as u8, y as u8, 100]));
        let copies = twelve_copies(&picture);
        let at = |copy: usize, x, y| copies[copy].get_pixel(x, y).0;
        assert_eq!(copies[0], picture);
        assert_eq!(at(1, 0, 7), [223, 7, 100]);
        assert_eq!(at(2, 7, 0), [7, 223, 100]);
        assert_eq!(at(3, 0, 0), [223, 223, 100]);
        assert_eq!(at(6, 100, 50), [112, 56, 112]);
        assert_eq!(at(7, 100, 50), [88, 44, 88]);
        assert_eq!(at(8, 100, 50), [95, 50, 100]);
        assert_eq!(at(9, 100, 50), [105, 50, 100]);
        assert_eq!(at(10, 100, 50), [100, 45, 100]);
        assert_eq!(at(11, 100, 50), [100, 55, 100]);
        assert_eq!(at(8, 2, 50), [0, 50, 100], "the border goes on");
    }

    #[test]
    fn turns_go_round_the_centre_and_differ() {
        let picture = RgbImage::from_fn(225, 225, |x, y| Rgb([x as u8, y as u8, 0]));
        let copies = twelve_copies(&picture);
        for copy in [4, 5] {
            assert_eq!(copies[copy].get_pixel(112, 112).0, [112, 112, 0]);
        }
        // 100 pixels right of the centre, 4 degrees are 7 pixels down or up.
        assert_eq!(copies[4].get_pixel(212, 112).0, [212, 119, 0]);
        assert_eq!(copies[5].get_pixel(212, 112).0, [212, 105, 0]);
    }
}

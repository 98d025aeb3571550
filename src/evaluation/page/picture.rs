//! Pictures within the page.

use crate::part::{AnomalyMap, RegionOfInterest};
use crate::records::overlay;
use image::codecs::jpeg::JpegEncoder;
use image::{GrayImage, ImageFormat, Luma, Rgb, RgbImage};
use std::fmt::{self, Write as _};
use std::io::Cursor;

const QUALITY: u8 = 85;

/// A photograph as an `img` element; `words` say what it shows (made of escaped text).
pub(super) fn photograph(html: &mut String, picture: &RgbImage, words: &str) -> fmt::Result {
    let mut bytes = Vec::new();
    let encoded = JpegEncoder::new_with_quality(&mut bytes, QUALITY).encode_image(picture);
    element(html, "jpeg", encoded.is_ok().then_some(&bytes), words)
}

/// A square mask as an `img` element, white where it is set.
pub(super) fn truth(html: &mut String, mask: &[u8], words: &str) -> fmt::Result {
    let side = mask.len().isqrt();
    let picture = GrayImage::from_fn(side as u32, side as u32, |x, y| {
        Luma([if mask[y as usize * side + x as usize] == 0 { 0 } else { 255 }])
    });
    let mut bytes = Cursor::new(Vec::new());
    let encoded = picture.write_to(&mut bytes, ImageFormat::Png);
    element(html, "png", encoded.is_ok().then_some(bytes.get_ref()), words)
}

fn element(html: &mut String, kind: &str, bytes: Option<&Vec<u8>>, words: &str) -> fmt::Result {
    let Some(bytes) = bytes else { return write!(html, "<span class=\"nothing\">{words}</span>") };
    write!(html, "<img src=\"data:image/{kind};base64,")?;
    base64(html, bytes)?;
    writeln!(html, "\" alt=\"{words}\">")
}

/// The map over the picture, outlined in black and white where it reaches the pixel threshold: that
/// is seen without colour, and on any ground.
pub(super) fn outlined(picture: &RgbImage, map: &[f32], pixel_threshold: f32) -> RgbImage {
    let (width, height) = picture.dimensions();
    let whole = RegionOfInterest { x: 0, y: 0, width, height };
    let side = map.len().isqrt();
    let anomaly_map = AnomalyMap { side, values: map.to_vec() };
    let mut drawn = overlay(picture, &anomaly_map, whole, pixel_threshold, &[]);
    let above = |x: i64, y: i64| {
        let side = side as i64;
        (0..side).contains(&x)
            && (0..side).contains(&y)
            && map[(y * side + x) as usize] >= pixel_threshold
    };
    for (x, y, pixel) in drawn.enumerate_pixels_mut() {
        let (x, y) = (i64::from(x), i64::from(y));
        let beside = [(x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1)];
        let around = beside.iter().filter(|(x, y)| above(*x, *y)).count();
        if above(x, y) && around < 4 {
            *pixel = Rgb([255; 3]);
        } else if !above(x, y) && around > 0 {
            *pixel = Rgb([0; 3]);
        }
    }
    drawn
}

fn base64(text: &mut String, bytes: &[u8]) -> fmt::Result {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for three in bytes.chunks(3) {
        let at = |index: usize| u32::from(three.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            if digit > three.len() {
                text.write_char('=')?;
            } else {
                let index = bits >> (18 - 6 * digit) & 63;
                text.write_char(char::from(DIGITS[index as usize]))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_the_standard() {
        // RFC 4648, section 10.
        let pairs =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (plain, encoded) in pairs {
            let mut text = String::new();
            base64(&mut text, plain.as_bytes()).unwrap();
            assert_eq!(text, encoded);
        }
    }

    #[test]
    fn regions_are_outlined() {
        let picture = RgbImage::from_pixel(8, 8, Rgb([100; 3]));
        let mut map = vec![0.0; 64];
        for y in 2..5 {
            map[y * 8 + 2..][..3].fill(1.0);
        }
        let drawn = outlined(&picture, &map, 0.9);
        assert_eq!(drawn.get_pixel(2, 2).0, [255; 3]);
        assert_eq!(drawn.get_pixel(1, 2).0, [0; 3]);
        assert_ne!(drawn.get_pixel(3, 3).0, [255; 3], "the middle shows the heat");
        assert_eq!(drawn.get_pixel(7, 7).0, [100; 3]);
    }
}

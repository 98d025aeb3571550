//! Colour spaces on 8-bit values, and the colour jitter of a cut piece.

use image::RgbImage;
use rand::Rng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;
use std::sync::LazyLock;

/// torchvision's colour jitter: brightness, contrast, saturation 0.6 to 1.4, hue ±0.1 of the
/// circle, in random order.
pub(super) fn jitter(picture: &mut RgbImage, random: &mut Pcg64Mcg) {
    let mut order = [0, 1, 2, 3];
    order.shuffle(random);
    let factors: [f32; 3] = std::array::from_fn(|_| random.random_range(0.6..1.4));
    let turn: f32 = random.random_range(-0.1..0.1);
    for step in order {
        match step {
            0 => blend(picture, factors[0], |_| 0.0),
            1 => {
                let greys = picture.pixels().map(|pixel| f64::from(grey(pixel.0)));
                let mean =
                    greys.sum::<f64>() / f64::from(picture.width() * picture.height()).max(1.0);
                let mean = (mean + 0.5).floor() as f32;
                blend(picture, factors[1], |_| mean);
            }
            2 => blend(picture, factors[2], |pixel| f32::from(grey(pixel))),
            _ => {
                for pixel in picture.pixels_mut() {
                    let [h, s, v] = to_hsv(pixel.0);
                    pixel.0 = from_hsv([(h + turn).rem_euclid(1.0), s, v]);
                }
            }
        }
    }
}

/// Away from (or towards) a grey value per pixel, as Pillow blends: clipped, truncated.
fn blend(picture: &mut RgbImage, factor: f32, from: impl Fn([u8; 3]) -> f32) {
    for pixel in picture.pixels_mut() {
        let from = from(pixel.0);
        pixel.0 = pixel.0.map(|v| (from + factor * (f32::from(v) - from)) as u8);
    }
}

/// Pillow's luma (ITU-R 601).
fn grey([r, g, b]: [u8; 3]) -> u8 {
    let sum = u32::from(r) * 19_595 + u32::from(g) * 38_470 + u32::from(b) * 7_471;
    ((sum + 0x8000) >> 16) as u8
}

/// A colour space with a channel for brightness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ColourSpace {
    YCrCb,
    Hsv,
    Hls,
    Lab,
    Luv,
    Yuv,
}

impl ColourSpace {
    pub(super) const ALL: [Self; 6] =
        [Self::YCrCb, Self::Hsv, Self::Hls, Self::Lab, Self::Luv, Self::Yuv];

    /// Which channel is brightness.
    const fn brightness(self) -> usize {
        match self {
            Self::YCrCb | Self::Lab | Self::Luv | Self::Yuv => 0,
            Self::Hls => 1,
            Self::Hsv => 2,
        }
    }

    /// Channels as OpenCV scales them to 0..255 (hue to 0..180).
    fn channels(self, rgb: [u8; 3]) -> [u8; 3] {
        let [r, g, b] = rgb.map(f32::from);
        let y = 0.299 * r + 0.587 * g + 0.114 * b;
        match self {
            Self::YCrCb => [y, (r - y) * 0.713 + 128.0, (b - y) * 0.564 + 128.0],
            Self::Yuv => [y, (b - y) * 0.492 + 128.0, (r - y) * 0.877 + 128.0],
            Self::Hsv => {
                let [h, s, v] = to_hsv(rgb);
                [h * 180.0, s * 255.0, v * 255.0]
            }
            Self::Hls => {
                let [h, l, s] = to_hls(rgb);
                [h * 180.0, l * 255.0, s * 255.0]
            }
            Self::Lab => {
                let [x, y, z] = to_xyz(rgb).map(lab_curve);
                let l = 116.0 * y - 16.0;
                [l * 2.55, 500.0 * (x - y) + 128.0, 200.0 * (y - z) + 128.0]
            }
            Self::Luv => {
                let xyz = to_xyz(rgb);
                let l = 116.0 * lab_curve(xyz[1]) - 16.0;
                let [u, v] = chroma(xyz);
                let (u, v) = (13.0 * l * (u - WHITE_U), 13.0 * l * (v - WHITE_V));
                [l * 2.55, (u + 134.0) * 255.0 / 354.0, (v + 140.0) * 255.0 / 262.0]
            }
        }
        .map(|value| value.round() as u8)
    }

    fn rgb(self, channels: [u8; 3]) -> [u8; 3] {
        let [a, b, c] = channels.map(f32::from);
        match self {
            Self::YCrCb => {
                let (red, blue) = (b - 128.0, c - 128.0);
                bytes([a + 1.403 * red, a - 0.714 * red - 0.344 * blue, a + 1.773 * blue])
            }
            Self::Yuv => {
                let (blue, red) = (b - 128.0, c - 128.0);
                bytes([a + 1.14 * red, a - 0.395 * blue - 0.581 * red, a + 2.032 * blue])
            }
            Self::Hsv => from_hsv([(a / 180.0).rem_euclid(1.0), b / 255.0, c / 255.0]),
            Self::Hls => from_hls([(a / 180.0).rem_euclid(1.0), b / 255.0, c / 255.0]),
            Self::Lab => {
                let y = (a / 2.55 + 16.0) / 116.0;
                from_xyz(
                    [y + (b - 128.0) / 500.0, y, y - (c - 128.0) / 200.0].map(inverse_lab_curve),
                )
            }
            Self::Luv => {
                let l = a / 2.55;
                if l <= 0.0 {
                    return [0; 3];
                }
                let u = (b * 354.0 / 255.0 - 134.0) / (13.0 * l) + WHITE_U;
                let v = (c * 262.0 / 255.0 - 140.0) / (13.0 * l) + WHITE_V;
                let y = inverse_lab_curve((l + 16.0) / 116.0);
                let v = v.max(1e-3);
                let x = y * 9.0 * u / (4.0 * v);
                let z = y * (12.0 - 3.0 * u - 20.0 * v) / (4.0 * v);
                from_xyz([x / WHITE[0], y, z / WHITE[2]])
            }
        }
    }

    /// Changes the brightness channel by a table.
    pub(super) fn change_brightness(self, picture: &mut RgbImage, table: &[u8; 256]) {
        let channel = self.brightness();
        for pixel in picture.pixels_mut() {
            let mut channels = self.channels(pixel.0);
            channels[channel] = table[usize::from(channels[channel])];
            pixel.0 = self.rgb(channels);
        }
    }
}

fn bytes(values: [f32; 3]) -> [u8; 3] {
    values.map(|value| value.round() as u8)
}

/// Hue (0 to 1), saturation, value.
pub(super) fn to_hsv(rgb: [u8; 3]) -> [f32; 3] {
    let (hue, low, high) = hue(rgb);
    let saturation = if high > 0.0 { (high - low) / high } else { 0.0 };
    [hue, saturation, high]
}

/// The inverse of [`to_hsv`].
pub(super) fn from_hsv([hue, saturation, value]: [f32; 3]) -> [u8; 3] {
    let channel = |shift: f32| {
        let k = (shift + hue * 6.0) % 6.0;
        255.0 * (value - value * saturation * k.min(4.0 - k).clamp(0.0, 1.0))
    };
    bytes([channel(5.0), channel(3.0), channel(1.0)])
}

fn to_hls(rgb: [u8; 3]) -> [f32; 3] {
    let (hue, low, high) = hue(rgb);
    let lightness = (high + low) / 2.0;
    let room = 1.0 - (2.0 * lightness - 1.0).abs();
    [hue, lightness, if room > 0.0 { (high - low) / room } else { 0.0 }]
}

fn from_hls([hue, lightness, saturation]: [f32; 3]) -> [u8; 3] {
    let value = lightness + saturation * lightness.min(1.0 - lightness);
    let saturation = if value > 0.0 { 2.0 * (1.0 - lightness / value) } else { 0.0 };
    from_hsv([hue, saturation, value])
}

/// Hue (0 to 1), smallest and largest channel.
fn hue(rgb: [u8; 3]) -> (f32, f32, f32) {
    let [r, g, b] = rgb.map(|v| f32::from(v) / 255.0);
    let (low, high) = (r.min(g).min(b), r.max(g).max(b));
    let range = high - low;
    let sixths = if range <= 0.0 {
        0.0
    } else if high == r {
        (g - b) / range
    } else if high == g {
        (b - r) / range + 2.0
    } else {
        (r - g) / range + 4.0
    };
    ((sixths / 6.0).rem_euclid(1.0), low, high)
}

/// D65.
const WHITE: [f32; 3] = [0.950_456, 1.0, 1.088_754];
const WHITE_U: f32 = 0.197_939_43;
const WHITE_V: f32 = 0.468_310_96;

static LINEAR: LazyLock<[f32; 256]> = LazyLock::new(|| {
    std::array::from_fn(|value| {
        let v = value as f32 / 255.0;
        if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
    })
});

/// CIE XYZ relative to the white point.
fn to_xyz(rgb: [u8; 3]) -> [f32; 3] {
    let [r, g, b] = rgb.map(|value| LINEAR[usize::from(value)]);
    [
        (0.412_453 * r + 0.357_58 * g + 0.180_423 * b) / WHITE[0],
        0.212_671 * r + 0.715_16 * g + 0.072_169 * b,
        (0.019_334 * r + 0.119_193 * g + 0.950_227 * b) / WHITE[2],
    ]
}

fn from_xyz([x, y, z]: [f32; 3]) -> [u8; 3] {
    let (x, z) = (x * WHITE[0], z * WHITE[2]);
    let linear = [
        3.240_479 * x - 1.537_15 * y - 0.498_535 * z,
        -0.969_256 * x + 1.875_991 * y + 0.041_556 * z,
        0.055_648 * x - 0.204_043 * y + 1.057_311 * z,
    ];
    bytes(linear.map(|v| {
        let curved = if v <= 0.003_130_8 { 12.92 * v } else { 1.055 * v.powf(1.0 / 2.4) - 0.055 };
        255.0 * curved
    }))
}

fn lab_curve(t: f32) -> f32 {
    if t > 0.008_856 { t.cbrt() } else { 7.787 * t + 16.0 / 116.0 }
}

fn inverse_lab_curve(t: f32) -> f32 {
    if t > 0.206_893 { t * t * t } else { (t - 16.0 / 116.0) / 7.787 }
}

/// u', v' of CIE 1976.
fn chroma([x, y, z]: [f32; 3]) -> [f32; 2] {
    let (x, z) = (x * WHITE[0], z * WHITE[2]);
    let sum = x + 15.0 * y + 3.0 * z;
    if sum > 0.0 { [4.0 * x / sum, 9.0 * y / sum] } else { [WHITE_U, WHITE_V] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;
    use proptest::prelude::*;
    use rand::SeedableRng;

    proptest! {
        #[test]
        fn spaces_return_nearly_the_same_colour(rgb in any::<[u8; 3]>()) {
            for space in ColourSpace::ALL {
                let channels = space.channels(rgb);
                let ends = [0, 255].iter().any(|end| channels[1..].contains(end));
                if matches!(space, ColourSpace::YCrCb | ColourSpace::Yuv) && ends {
                    continue; // Strong colours are cut off, in OpenCV as here.
                }
                let back = space.rgb(channels);
                for (a, b) in rgb.iter().zip(back) {
                    // As light: close to black a step of Lab or Luv is many steps of a byte.
                    let lost = (LINEAR[usize::from(*a)] - LINEAR[usize::from(b)]).abs();
                    prop_assert!(lost <= 0.05, "{space:?}: {rgb:?} became {back:?}");
                }
            }
            prop_assert_eq!(from_hsv(to_hsv(rgb)), rgb);
            prop_assert_eq!(from_hls(to_hls(rgb)), rgb);
        }
    }

    #[test]
    fn known_colours() {
        // As OpenCV converts them.
        let cases = [
            (ColourSpace::YCrCb, [76, 255, 85]),
            (ColourSpace::Hsv, [0, 255, 255]),
            (ColourSpace::Hls, [0, 128, 255]),
            (ColourSpace::Lab, [136, 208, 195]),
            (ColourSpace::Luv, [136, 223, 173]),
            (ColourSpace::Yuv, [76, 91, 255]),
        ];
        for (space, expected) in cases {
            let found = space.channels([255, 0, 0]);
            let near = found.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 1);
            assert!(near, "{space:?}: {found:?}");
            assert!(space.channels([255; 3])[space.brightness()] == 255, "{space:?}");
        }
        assert_eq!(ColourSpace::Hsv.channels([0, 0, 255]), [120, 255, 255]);
        assert_eq!(grey([255; 3]), 255);
    }

    #[test]
    fn jitter_changes_colours_within_bounds() {
        let start = Rgb([120, 130, 110]);
        for seed in 0..100 {
            let mut picture = RgbImage::from_pixel(3, 3, start);
            jitter(&mut picture, &mut Pcg64Mcg::seed_from_u64(seed));
            let [r, g, b] = picture.get_pixel(1, 1).0.map(f32::from);
            let brightness = (r + g + b) / 360.0;
            assert!((0.58..1.42).contains(&brightness), "{brightness}");
        }
    }
}

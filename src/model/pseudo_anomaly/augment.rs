//! Three of ten changes of a texture, as imgaug and Pillow define them.

use super::colour::{ColourSpace, from_hsv, to_hsv};
use image::RgbImage;
use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_pcg::Pcg64Mcg;

type Augmentation = fn(&mut RgbImage, &mut Pcg64Mcg);

const AUGMENTATIONS: [Augmentation; 10] = [
    gamma,
    brightness,
    sharpness,
    hue_and_saturation,
    solarise,
    posterise,
    flip,
    |picture, _| by_table(picture, &table(|v| 255 - v)),
    autocontrast,
    |picture, _| equalise(picture),
];

/// Three different ones, in random order.
pub(super) fn three_of_ten(picture: &mut RgbImage, random: &mut Pcg64Mcg) {
    let mut order: [usize; AUGMENTATIONS.len()] = std::array::from_fn(|index| index);
    let (chosen, _) = order.partial_shuffle(random, 3);
    for index in chosen {
        AUGMENTATIONS[*index](picture, random);
    }
}

fn table(change: impl Fn(u8) -> u8) -> [u8; 256] {
    std::array::from_fn(|value| change(value as u8))
}

fn by_table(picture: &mut RgbImage, table: &[u8; 256]) {
    by_tables(picture, &[*table; 3]);
}

fn by_tables(picture: &mut RgbImage, tables: &[[u8; 256]; 3]) {
    for pixel in picture.pixels_mut() {
        for (value, table) in pixel.0.iter_mut().zip(tables) {
            *value = table[usize::from(*value)];
        }
    }
}

fn gamma(picture: &mut RgbImage, random: &mut Pcg64Mcg) {
    let tables = std::array::from_fn(|_| {
        let exponent: f32 = random.random_range(0.5..2.0);
        table(|v| (255.0 * (f32::from(v) / 255.0).powf(exponent)) as u8)
    });
    by_tables(picture, &tables);
}

/// Scales and shifts brightness, in random order, in a colour space drawn at random.
fn brightness(picture: &mut RgbImage, random: &mut Pcg64Mcg) {
    let factor: f32 = random.random_range(0.8..1.2);
    let shift = random.random_range(-30..=30);
    let scaled = |v: u8| (f32::from(v) * factor) as u8;
    let shifted = |v: u8| (i32::from(v) + shift).clamp(0, 255) as u8;
    let table = if random.random_bool(0.5) {
        table(|v| shifted(scaled(v)))
    } else {
        table(|v| scaled(shifted(v)))
    };
    if let Some(space) = ColourSpace::ALL.choose(random) {
        space.change_brightness(picture, &table);
    }
}

/// Pillow's sharpness: away from (or towards) the picture smoothed by a 3x3 filter.
fn sharpness(picture: &mut RgbImage, random: &mut Pcg64Mcg) {
    let factor: f32 = random.random_range(0.0..2.0);
    let source = picture.clone();
    let (width, height) = source.dimensions();
    // The border has no full neighbourhood and stays.
    for y in 1..height.saturating_sub(1) {
        for x in 1..width.saturating_sub(1) {
            let mut sums = source.get_pixel(x, y).0.map(|v| 4 * u32::from(v));
            for (row, column) in (y - 1..=y + 1).flat_map(|r| (x - 1..=x + 1).map(move |c| (r, c)))
            {
                let neighbour = source.get_pixel(column, row).0;
                sums.iter_mut().zip(neighbour).for_each(|(sum, v)| *sum += u32::from(v));
            }
            for (value, sum) in picture.get_pixel_mut(x, y).0.iter_mut().zip(sums) {
                let smooth = (sum as f32 / 13.0 + 0.5).floor();
                *value = (smooth + factor * (f32::from(*value) - smooth)) as u8;
            }
        }
    }
}

fn hue_and_saturation(picture: &mut RgbImage, random: &mut Pcg64Mcg) {
    let mut drawn = || random.random_range(-50_i32..=50);
    let (hue, saturation) = (drawn() * 180 / 255, drawn());
    for pixel in picture.pixels_mut() {
        let [h, s, v] = to_hsv(pixel.0);
        let h = (h + hue as f32 / 180.0).rem_euclid(1.0);
        let s = (s + saturation as f32 / 255.0).clamp(0.0, 1.0);
        pixel.0 = from_hsv([h, s, v]);
    }
}

fn solarise(picture: &mut RgbImage, random: &mut Pcg64Mcg) {
    let threshold: f32 = random.random_range(32.0..128.0);
    if random.random_bool(0.5) {
        by_table(picture, &table(|v| if f32::from(v) >= threshold { 255 - v } else { v }));
    }
}

fn posterise(picture: &mut RgbImage, random: &mut Pcg64Mcg) {
    let bits = random.random_range(1..=8);
    let kept = (0xff_u32 << (8 - bits)) as u8;
    by_table(picture, &table(|v| v & kept));
}

fn flip(picture: &mut RgbImage, random: &mut Pcg64Mcg) {
    if random.random_bool(0.5) {
        image::imageops::flip_horizontal_in_place(picture);
    }
}

fn histogram(picture: &RgbImage, channel: usize) -> [usize; 256] {
    let mut counts = [0; 256];
    picture.pixels().for_each(|pixel| counts[usize::from(pixel.0[channel])] += 1);
    counts
}

/// Stretches each channel after cutting up to 20 % off both of its ends.
fn autocontrast(picture: &mut RgbImage, random: &mut Pcg64Mcg) {
    let cutoff = random.random_range(0..=20);
    let pixels = (picture.width() * picture.height()) as usize;
    let tables = std::array::from_fn(|channel| {
        let counts = histogram(picture, channel);
        let mut left = [pixels * cutoff / 100; 2];
        // The first value that is not cut off whole.
        let end = |value: &usize, left: &mut usize| {
            let cut = counts[*value].min(*left);
            *left -= cut;
            counts[*value] > cut
        };
        let low = (0..256).find(|value| end(value, &mut left[0]));
        let high = (0..256).rev().find(|value| end(value, &mut left[1]));
        match (low, high) {
            (Some(low), Some(high)) if high > low => {
                let scale = 255.0 / (high - low) as f32;
                table(|v| ((f32::from(v) - low as f32) * scale) as u8)
            }
            _ => table(|v| v),
        }
    });
    by_tables(picture, &tables);
}

/// Pillow's histogram equalisation, per channel.
fn equalise(picture: &mut RgbImage) {
    let tables = std::array::from_fn(|channel| {
        let counts = histogram(picture, channel);
        let last = counts.iter().rev().find(|count| **count > 0).copied().unwrap_or(0);
        let step = (counts.iter().sum::<usize>() - last) / 255;
        if step == 0 {
            return table(|v| v);
        }
        let mut sum = step / 2;
        counts.map(|count| {
            let value = (sum / step).min(255) as u8;
            sum += count;
            value
        })
    });
    by_tables(picture, &tables);
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;
    use rand::SeedableRng;

    fn ramp() -> RgbImage {
        RgbImage::from_fn(64, 64, |x, y| {
            Rgb([(50 + x * 2) as u8, (y * 3) as u8, (x * y % 256) as u8])
        })
    }

    #[test]
    fn each_works_on_any_picture_and_keeps_its_size() {
        for (index, augmentation) in AUGMENTATIONS.iter().enumerate() {
            let mut changed = 0;
            for seed in 0..40 {
                let mut random = Pcg64Mcg::seed_from_u64(seed);
                let mut picture = ramp();
                augmentation(&mut picture, &mut random);
                changed += usize::from(picture != ramp());
                let mut flat = RgbImage::from_pixel(2, 1, Rgb([7, 7, 7]));
                augmentation(&mut flat, &mut random);
                assert_eq!((picture.dimensions(), flat.dimensions()), ((64, 64), (2, 1)));
            }
            assert!(changed >= 8, "number {index} changed {changed} of 40");
        }
    }

    #[test]
    fn equalisation_and_contrast_use_the_whole_range() {
        let mut picture = ramp();
        equalise(&mut picture);
        let red = histogram(&picture, 0);
        assert!(red[..8].iter().sum::<usize>() > 0 && red[248..].iter().sum::<usize>() > 0);
        let mut picture = ramp();
        autocontrast(&mut picture, &mut Pcg64Mcg::seed_from_u64(1));
        let red = histogram(&picture, 0);
        assert!(red[0] > 0 && red[255] > 0);
    }

    #[test]
    fn three_differ_from_one_another() {
        let mut random = Pcg64Mcg::seed_from_u64(9);
        let mut different = 0;
        for _ in 0..50 {
            let mut picture = ramp();
            three_of_ten(&mut picture, &mut random);
            different += usize::from(picture != ramp());
        }
        assert!(different > 40, "{different} of 50");
    }
}

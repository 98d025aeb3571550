//! A texture pasted through Perlin noise.

use image::RgbImage;
use rand::Rng;
use rand_pcg::Pcg64Mcg;
use std::f32::consts::{SQRT_2, TAU};

/// Where the noise is higher, the texture is pasted.
const THRESHOLD: f32 = 0.5;

/// Blends `texture` into `picture` where the noise is high; `mask` gets 255 there.
pub(super) fn paste(
    picture: &mut RgbImage,
    mask: &mut [u8],
    texture: &RgbImage,
    random: &mut Pcg64Mcg,
) {
    let side = picture.width() as usize;
    let down = 1 << random.random_range(1..=5);
    let across = 1 << random.random_range(1..=5);
    let noise = noise(side, down, across, random);
    let noise = rotated(&noise, side, random.random_range(-5.0_f32..5.0).to_radians());
    let keep = 0.8 * random.random::<f32>();
    let pixels = picture.pixels_mut().zip(texture.pixels()).zip(mask.iter_mut());
    for (((pixel, texture), mask), noise) in pixels.zip(&noise) {
        if *noise > THRESHOLD {
            *mask = 255;
            for (value, texture) in pixel.0.iter_mut().zip(texture.0) {
                *value = ((1.0 - keep) * f32::from(texture) + keep * f32::from(*value)) as u8;
            }
        }
    }
}

/// Perlin noise with `down` x `across` cells, about -1 to 1.
fn noise(side: usize, down: usize, across: usize, random: &mut Pcg64Mcg) -> Vec<f32> {
    let gradients: Vec<(f32, f32)> =
        (0..(down + 1) * (across + 1)).map(|_| (TAU * random.random::<f32>()).sin_cos()).collect();
    let rows: Vec<Place> = (0..side).map(|y| Place::new(y, side, down)).collect();
    let columns: Vec<Place> = (0..side).map(|x| Place::new(x, side, across)).collect();
    let mut noise = Vec::with_capacity(side * side);
    for row in &rows {
        for column in &columns {
            // The gradient of a cell's corner times the way from that corner.
            let corner = |y: usize, x: usize| {
                let (gy, gx) = gradients[(row.cell + y) * (across + 1) + column.cell + x];
                gy * (row.within - y as f32) + gx * (column.within - x as f32)
            };
            let left = mix(corner(0, 0), corner(1, 0), row.fade);
            let right = mix(corner(0, 1), corner(1, 1), row.fade);
            noise.push(SQRT_2 * mix(left, right, column.fade));
        }
    }
    noise
}

fn mix(a: f32, b: f32, share: f32) -> f32 {
    a + (b - a) * share
}

/// A row or column in the grid of cells.
struct Place {
    cell: usize,
    /// 0 to 1 within the cell.
    within: f32,
    fade: f32,
}

impl Place {
    fn new(index: usize, side: usize, cells: usize) -> Self {
        let scaled = index * cells;
        let t = (scaled % side) as f32 / side as f32;
        let fade = t * t * t * (t * (t * 6.0 - 15.0) + 10.0);
        Self { cell: scaled / side, within: t, fade }
    }
}

/// Turned about the middle, bilinear, 0 from outside.
fn rotated(noise: &[f32], side: usize, angle: f32) -> Vec<f32> {
    let (sin, cos) = angle.sin_cos();
    let middle = (side as f32 - 1.0) / 2.0;
    let at = |x: i64, y: i64| {
        let inside = 0..side as i64;
        if inside.contains(&x) && inside.contains(&y) {
            noise[y as usize * side + x as usize]
        } else {
            0.0
        }
    };
    let mut turned = Vec::with_capacity(noise.len());
    for y in 0..side {
        for x in 0..side {
            let (dx, dy) = (x as f32 - middle, y as f32 - middle);
            let (from_x, from_y) = (cos * dx + sin * dy + middle, cos * dy - sin * dx + middle);
            let (left, top) = (from_x.floor(), from_y.floor());
            let (column, row) = (left as i64, top as i64);
            let upper = mix(at(column, row), at(column + 1, row), from_x - left);
            let lower = mix(at(column, row + 1), at(column + 1, row + 1), from_x - left);
            turned.push(mix(upper, lower, from_y - top));
        }
    }
    turned
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn noise_is_zero_at_the_corners_of_cells_and_smooth() {
        let mut random = Pcg64Mcg::seed_from_u64(3);
        let noise = noise(64, 4, 8, &mut random);
        for y in (0..64).step_by(16) {
            for x in (0..64).step_by(8) {
                assert!(noise[y * 64 + x].abs() < 1e-6);
            }
        }
        assert!(noise.iter().all(|v| v.abs() <= 1.0 + 1e-5));
        let steps = noise.chunks(64).flat_map(|row| row.windows(2)).map(|w| (w[1] - w[0]).abs());
        assert!(steps.fold(0.0, f32::max) < 0.5);
        let largest = noise.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
        assert!(largest > 0.4, "{largest}");
    }

    #[test]
    fn rotation_keeps_the_middle_and_empties_the_corners() {
        let flat = vec![1.0; 33 * 33];
        let turned = rotated(&flat, 33, 5_f32.to_radians());
        assert!((turned[16 * 33 + 16] - 1.0).abs() < 1e-6);
        assert!(turned[0] < 0.5);
        let same = rotated(&[1.0, 2.0, 3.0, 4.0], 2, 0.0);
        assert_eq!(same, [1.0, 2.0, 3.0, 4.0]);
        let quarter = rotated(&[1.0, 2.0, 3.0, 4.0], 2, 90_f32.to_radians());
        let expected = [3.0, 1.0, 4.0, 2.0];
        assert!(quarter.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{quarter:?}");
    }
}

//! A piece of the picture, its colours changed, at another place of it.

use super::colour::jitter;
use image::RgbImage;
use image::imageops::crop_imm;
use rand::Rng;
use rand_pcg::Pcg64Mcg;

/// A rectangle of 2 to 15 % of the picture.
pub(super) fn patch(picture: &mut RgbImage, mask: &mut [u8], random: &mut Pcg64Mcg) {
    let side = picture.width();
    let area = random.random_range(0.02..0.15) * f64::from(side) * f64::from(side);
    let aspect: f64 = if random.random_bool(0.5) {
        random.random_range(0.3..1.0)
    } else {
        random.random_range(1.0..3.3)
    };
    let width = ((area * aspect).sqrt() as u32).clamp(1, side);
    let height = ((area / aspect).sqrt() as u32).clamp(1, side);
    let crop = jittered_crop(picture, width, height, random);
    let (left, top) = corner(side, width, height, random);
    for (x, y, pixel) in crop.enumerate_pixels() {
        picture.put_pixel(left + x, top + y, *pixel);
        mask[((top + y) * side + left + x) as usize] = 255;
    }
}

/// A small strip, turned by up to 45 degrees; its size is in pixels at every side.
pub(super) fn scar(picture: &mut RgbImage, mask: &mut [u8], random: &mut Pcg64Mcg) {
    let side = picture.width();
    let width = random.random_range(2..=16).min(side);
    let height = random.random_range(10..=25).min(side);
    let crop = jittered_crop(picture, width, height, random);
    let angle: f64 = random.random_range(-45.0..45.0);
    // The corner belongs to the strip before it is turned: the turned one may be cut off.
    let (left, top) = corner(side, width, height, random);
    let turned = Turned::new(width, height, angle.to_radians());
    for y in 0..turned.height.min(side - top) {
        for x in 0..turned.width.min(side - left) {
            if let Some((from_x, from_y)) = turned.source(x, y) {
                picture.put_pixel(left + x, top + y, *crop.get_pixel(from_x, from_y));
                mask[((top + y) * side + left + x) as usize] = 255;
            }
        }
    }
}

fn corner(side: u32, width: u32, height: u32, random: &mut Pcg64Mcg) -> (u32, u32) {
    (random.random_range(0..=side - width), random.random_range(0..=side - height))
}

fn jittered_crop(picture: &RgbImage, width: u32, height: u32, random: &mut Pcg64Mcg) -> RgbImage {
    let (left, top) = corner(picture.width(), width, height, random);
    let mut crop = crop_imm(picture, left, top, width, height).to_image();
    jitter(&mut crop, random);
    crop
}

/// A rectangle turned about its centre, in the box that just holds it; nearest neighbour.
struct Turned {
    width: u32,
    height: u32,
    size: (u32, u32),
    sin: f64,
    cos: f64,
}

impl Turned {
    fn new(width: u32, height: u32, angle: f64) -> Self {
        let (sin, cos) = angle.sin_cos();
        let extent = |a: u32, b: u32| {
            (f64::from(a) * cos.abs() + f64::from(b) * sin.abs() - 1e-9).ceil() as u32
        };
        let (wide, high) = (extent(width, height), extent(height, width));
        Self { width: wide.max(1), height: high.max(1), size: (width, height), sin, cos }
    }

    /// The pixel of the rectangle that lies under a pixel of the box.
    fn source(&self, x: u32, y: u32) -> Option<(u32, u32)> {
        let dx = f64::from(x) + 0.5 - f64::from(self.width) / 2.0;
        let dy = f64::from(y) + 0.5 - f64::from(self.height) / 2.0;
        let from_x = self.cos * dx - self.sin * dy + f64::from(self.size.0) / 2.0;
        let from_y = self.sin * dx + self.cos * dy + f64::from(self.size.1) / 2.0;
        let inside = (0.0..f64::from(self.size.0)).contains(&from_x)
            && (0.0..f64::from(self.size.1)).contains(&from_y);
        inside.then_some((from_x as u32, from_y as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;
    use rand::SeedableRng;

    #[test]
    fn patches_have_the_size_and_shape_drawn() {
        let side = 224;
        for seed in 0..200 {
            let mut random = Pcg64Mcg::seed_from_u64(seed);
            let mut picture = RgbImage::new(side, side);
            let mut mask = vec![0; (side * side) as usize];
            patch(&mut picture, &mut mask, &mut random);
            let set = mask.iter().filter(|v| **v == 255).count() as f64;
            let share = set / f64::from(side * side);
            assert!((0.018..0.151).contains(&share), "{share}");
            let row = mask.chunks(224).find(|row| row.contains(&255)).unwrap();
            let width = row.iter().filter(|v| **v == 255).count() as f64;
            let aspect = width / (set / width);
            assert!((0.28..3.5).contains(&aspect), "{aspect}");
        }
    }

    #[test]
    fn scars_keep_their_area_when_turned() {
        for degrees in [-44.0_f64, -20.0, 0.0, 13.0, 45.0] {
            let turned = Turned::new(12, 25, degrees.to_radians());
            let pixels = (0..turned.height).flat_map(|y| (0..turned.width).map(move |x| (x, y)));
            let set = pixels.filter(|(x, y)| turned.source(*x, *y).is_some()).count() as f64;
            assert!((set - 300.0).abs() < 15.0, "{set} at {degrees}");
        }
        let turned = Turned::new(3, 2, 0.0);
        assert_eq!((turned.width, turned.height), (3, 2));
        assert_eq!(turned.source(2, 1), Some((2, 1)));
    }

    #[test]
    fn a_scar_is_always_seen() {
        for seed in 0..300 {
            let mut random = Pcg64Mcg::seed_from_u64(seed);
            let mut picture = RgbImage::from_pixel(64, 64, Rgb([90, 120, 40]));
            let mut mask = vec![0; 64 * 64];
            scar(&mut picture, &mut mask, &mut random);
            let set = mask.iter().filter(|v| **v == 255).count();
            assert!((8..=440).contains(&set), "{set}");
        }
    }
}

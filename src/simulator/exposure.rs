//! From relief to picture: light, lens and sensor.

use std::ops::Range;

use image::{Rgb, RgbImage};
use rand::{Rng, RngCore};
use rand_pcg::Pcg64Mcg;

use super::canvas::{Canvas, Colour, SIDE, Shadow};

/// One lamp over the belt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Light {
    /// Unit vector towards the lamp, picture axes (x right, y down, z up).
    towards: [f32; 3],
    colour: Colour,
    /// Change of brightness over the picture's width and height.
    gradient: (f32, f32),
    vignette: f32,
}

/// Share of the light that comes from everywhere.
const AMBIENT: f32 = 0.42;

impl Light {
    /// The lamp as it is for one part: it flickers, warms up and is mounted with some play.
    pub fn vary(random: &mut Pcg64Mcg) -> Self {
        let azimuth_rad = (-135.0 + random.random_range(-7.0..7.0_f32)).to_radians();
        let elevation_rad = (53.0 + random.random_range(-4.0..4.0_f32)).to_radians();
        let brightness: f32 = random.random_range(0.86..1.12);
        let warmth: f32 = random.random_range(-0.03..0.03);
        Self {
            towards: [
                azimuth_rad.cos() * elevation_rad.cos(),
                azimuth_rad.sin() * elevation_rad.cos(),
                elevation_rad.sin(),
            ],
            colour: [brightness * (1.0 + warmth), brightness, brightness * (1.0 - warmth)],
            gradient: (random.random_range(-0.14..0.14), random.random_range(-0.14..0.14)),
            vignette: random.random_range(0.05..0.16),
        }
    }

    /// The horizontal part of the vector halfway between lamp and camera, picture axes.
    pub fn half_way(&self) -> (f32, f32) {
        let half = self.half_vector();
        (half[0], half[1])
    }

    fn half_vector(&self) -> [f32; 3] {
        let [x, y, z] = self.towards;
        let length = (x * x + y * y + (z + 1.0) * (z + 1.0)).sqrt();
        [x / length, y / length, (z + 1.0) / length]
    }

    /// The shadow of something `height` pixels high, in picture axes.
    pub fn shadow(&self, height: f32, strength: f32) -> Shadow {
        let reach = height / self.towards[2];
        let offset = (-self.towards[0] * reach, -self.towards[1] * reach);
        Shadow { offset, softness: 2.0 + height * 0.8, strength }
    }

    /// Light arriving at the camera from every texel of these rows.
    pub fn shade(&self, canvas: &Canvas, rows: Range<usize>) -> Vec<Colour> {
        let texels = canvas.texels();
        let [lx, ly, lz] = self.towards;
        let [hx, hy, hz] = self.half_vector();
        let mut picture = Vec::with_capacity(rows.len() * SIDE);
        for y in rows {
            let above = y.saturating_sub(1) * SIDE;
            let below = (y + 1).min(SIDE - 1) * SIDE;
            let across_y = y as f32 / SIDE as f32 - 0.5;
            for x in 0..SIDE {
                let texel = &texels[y * SIDE + x];
                let left = texels[y * SIDE + x.saturating_sub(1)].height;
                let right = texels[y * SIDE + (x + 1).min(SIDE - 1)].height;
                let slope_x = soften((right - left) * 0.5);
                let slope_y = soften((texels[below + x].height - texels[above + x].height) * 0.5);
                let inverse = 1.0 / (1.0 + slope_x * slope_x + slope_y * slope_y).sqrt();
                let facing = ((lz - slope_x * lx - slope_y * ly) * inverse).max(0.0) / lz;
                let mirrored = ((hz - slope_x * hx - slope_y * hy) * inverse).max(0.0);
                let diffuse = AMBIENT + (1.0 - AMBIENT) * facing;
                let specular = texel.gloss * power_32(mirrored) + texel.shine;
                let across_x = x as f32 / SIDE as f32 - 0.5;
                let falloff = 1.0 + self.gradient.0 * across_x + self.gradient.1 * across_y
                    - self.vignette * 2.0 * (across_x * across_x + across_y * across_y);
                let out = std::array::from_fn(|channel| {
                    let own = texel.colour[channel] * diffuse + specular;
                    falloff * self.colour[channel] * own
                });
                picture.push(out);
            }
        }
        picture
    }
}

/// Steep steps (a part's side) must not look steeper than a camera from above sees them.
fn soften(slope: f32) -> f32 {
    slope / (1.0 + 0.5 * slope.abs())
}

fn power_32(value: f32) -> f32 {
    let squared = value * value;
    let fourth = squared * squared;
    let eighth = fourth * fourth;
    let sixteenth = eighth * eighth;
    sixteenth * sixteenth
}

/// Lens and sensor for one part.
#[derive(Clone, Debug)]
pub(super) struct Exposure {
    /// Share of light that goes to the neighbours left and right (motion included), above and
    /// below.
    blur: (f32, f32),
    /// Standard deviation of the sensor noise at full scale.
    noise: f32,
    noise_source: Pcg64Mcg,
}

impl Exposure {
    pub fn vary(random: &mut Pcg64Mcg, noise_source: Pcg64Mcg) -> Self {
        let focus: f32 = random.random_range(0.10..0.20);
        let motion: f32 = random.random_range(0.0..0.05);
        Self {
            blur: (focus + motion, focus),
            noise: random.random_range(0.008..0.014),
            noise_source,
        }
    }

    /// The rows from `first_row` on as the camera delivers them. The noise of a pixel is the same
    /// at every call; the outermost rows lack the blur of neighbours that were not given.
    pub fn expose(&self, light: &[Colour], first_row: usize) -> RgbImage {
        let blurred = blur(light, self.blur);
        let mut noise_source = self.noise_source.clone();
        noise_source.advance((first_row * SIDE) as u128);
        let mut picture = RgbImage::new(SIDE as u32, (light.len() / SIDE) as u32);
        for (pixel, colour) in picture.pixels_mut().zip(&blurred) {
            let bits = noise_source.next_u64();
            let mut channels = [0_u8; 3];
            for (index, channel) in channels.iter_mut().enumerate() {
                // Four bytes summed are close enough to a bell curve (deviation 147.8).
                let shared = (bits & 0xff) + ((bits >> 8) & 0xff);
                let own =
                    ((bits >> (16 + 16 * index)) & 0xff) + ((bits >> (24 + 16 * index)) & 0xff);
                let bell = ((shared + own) as f32 - 510.0) / 147.8;
                let value = tone(colour[index]);
                let noisy = value + self.noise * bell * (0.6 + 0.6 * value);
                *channel = (noisy * 255.0 + 0.5).clamp(0.0, 255.0) as u8;
            }
            *pixel = Rgb(channels);
        }
        picture
    }
}

/// Gamma 2 with a shoulder: bright metal saturates softly.
fn tone(linear: f32) -> f32 {
    let value = linear.max(0.0).sqrt();
    if value < 0.8 { value } else { 0.8 + (value - 0.8) / (1.0 + 1.4 * (value - 0.8)) }
}

fn blur(light: &[Colour], (share_x, share_y): (f32, f32)) -> Vec<Colour> {
    let mix = |before: &Colour, middle: &Colour, after: &Colour, share: f32| -> Colour {
        std::array::from_fn(|channel| {
            middle[channel] * (1.0 - 2.0 * share) + share * (before[channel] + after[channel])
        })
    };
    let mut sideways = Vec::with_capacity(light.len());
    for row in light.chunks_exact(SIDE) {
        for x in 0..SIDE {
            let (left, right) = (x.saturating_sub(1), (x + 1).min(SIDE - 1));
            sideways.push(mix(&row[left], &row[x], &row[right], share_x));
        }
    }
    let mut out = Vec::with_capacity(light.len());
    let rows = light.len() / SIDE;
    for y in 0..rows {
        let (above, below) = (y.saturating_sub(1) * SIDE, (y + 1).min(rows - 1) * SIDE);
        for x in 0..SIDE {
            let middle = &sideways[y * SIDE + x];
            out.push(mix(&sideways[above + x], middle, &sideways[below + x], share_y));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::canvas::{Material, Pose};
    use rand::SeedableRng;

    #[test]
    fn the_side_of_a_bump_that_faces_the_lamp_is_brighter() {
        let mut canvas = Canvas::new(&Material { colour: [0.3; 3], gloss: 0.1 });
        let pose = Pose::new((160.0, 160.0), 0.0, 1.0);
        canvas.paint(&pose, (0.0, 0.0), (40.0, 40.0), |u, v, texel| {
            texel.height = (40.0 - u.hypot(v)).max(0.0) * 0.4;
        });
        let light = Light::vary(&mut Pcg64Mcg::seed_from_u64(1)).shade(&canvas, 0..SIDE);
        let (lit, dark) = (light[145 * SIDE + 145][1], light[175 * SIDE + 175][1]);
        assert!(lit > dark * 1.3, "{lit} against {dark}");
    }

    #[test]
    fn noise_repeats_and_stays_small() {
        let mut random = Pcg64Mcg::seed_from_u64(2);
        let noise_source = Pcg64Mcg::seed_from_u64(3);
        let exposure = Exposure::vary(&mut random, noise_source);
        let flat = vec![[0.25; 3]; SIDE * SIDE];
        let picture = exposure.expose(&flat, 0);
        let lower = exposure.expose(&flat[200 * SIDE..], 200);
        assert_eq!(&picture.as_raw()[200 * SIDE * 3..], lower.as_raw().as_slice());
        let mean = picture.as_raw().iter().map(|&v| f64::from(v)).sum::<f64>()
            / picture.as_raw().len() as f64;
        assert!((mean - 127.5).abs() < 1.0, "{mean}");
        assert!(picture.as_raw().iter().all(|&v| (110..146).contains(&v)));
    }
}

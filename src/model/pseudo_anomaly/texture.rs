//! What is pasted: pieces of other products, pictures of a folder, drawn textures.

use crate::dataset::read_picture;
use image::{Rgb, RgbImage};
use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_pcg::Pcg64Mcg;
use std::f32::consts::{PI, TAU};
use std::path::PathBuf;

/// Files of a folder tried before a texture is drawn instead.
const ATTEMPTS: usize = 8;

/// Where textures come from; one kind of those available is drawn uniformly each time.
#[derive(Clone, Debug, Default)]
pub struct TextureSource {
    /// Draw textures; also done when nothing else is given.
    pub procedural: bool,
    /// Pieces of the other products' good pictures, of any size.
    pub crops: Vec<RgbImage>,
    /// Pictures of textures; unreadable ones are passed over.
    pub folder: Vec<PathBuf>,
}

impl TextureSource {
    /// A texture of `side` x `side`.
    pub(super) fn draw(&self, side: u32, random: &mut Pcg64Mcg) -> RgbImage {
        let mut kinds = Vec::with_capacity(3);
        if !self.crops.is_empty() {
            kinds.push(Kind::Crop);
        }
        if !self.folder.is_empty() {
            kinds.push(Kind::File);
        }
        if self.procedural || kinds.is_empty() {
            kinds.push(Kind::Drawn);
        }
        let found = match kinds.choose(random) {
            Some(Kind::Crop) => self.crops.choose(random).map(|crop| resized(crop, side)),
            Some(Kind::File) => self.file(side, random),
            _ => None,
        };
        found.unwrap_or_else(|| drawn(side, random))
    }

    fn file(&self, side: u32, random: &mut Pcg64Mcg) -> Option<RgbImage> {
        for _ in 0..ATTEMPTS {
            if let Ok(picture) = read_picture(self.folder.choose(random)?) {
                let mut texture = resized(&picture, side);
                // The reference leaves OpenCV's order, blue first.
                texture.pixels_mut().for_each(|pixel| pixel.0.reverse());
                return Some(texture);
            }
        }
        None
    }
}

enum Kind {
    Crop,
    File,
    Drawn,
}

/// Bilinear without smoothing, as OpenCV resizes; black for an empty picture.
pub(super) fn resized(picture: &RgbImage, side: u32) -> RgbImage {
    if picture.dimensions() == (side, side) {
        return picture.clone();
    }
    let mut result = RgbImage::new(side, side);
    let (width, height) = picture.dimensions();
    if width == 0 || height == 0 {
        return result;
    }
    let place = |index: u32, size: u32| {
        let position = (index as f32 + 0.5) * size as f32 / side as f32 - 0.5;
        let position = position.clamp(0.0, (size - 1) as f32);
        let low = position as u32;
        (low, (low + 1).min(size - 1), position - low as f32)
    };
    let columns: Vec<_> = (0..side).map(|x| place(x, width)).collect();
    for y in 0..side {
        let (top, bottom, down) = place(y, height);
        for (x, (left, right, across)) in columns.iter().enumerate() {
            let pixel = |x: u32, y: u32| picture.get_pixel(x, y).0.map(f32::from);
            let upper = mix(pixel(*left, top), pixel(*right, top), *across);
            let lower = mix(pixel(*left, bottom), pixel(*right, bottom), *across);
            let value = mix(upper, lower, down).map(|v| v.round() as u8);
            result.put_pixel(x as u32, y, Rgb(value));
        }
    }
    result
}

fn mix(a: [f32; 3], b: [f32; 3], share: f32) -> [f32; 3] {
    std::array::from_fn(|channel| a[channel] + (b[channel] - a[channel]) * share)
}

/// A shade between 0 and 1 for every point of the unit square.
type Shade = Box<dyn Fn(f32, f32) -> f32>;

const SHADES: [fn(&mut Pcg64Mcg) -> Shade; 7] =
    [clouds, stripes, cells, weave, spots, gradient, marble];

/// A texture of a kind and of colours drawn at random, often a little grainy.
fn drawn(side: u32, random: &mut Pcg64Mcg) -> RgbImage {
    let kind = random.random_range(0..SHADES.len());
    let shade = SHADES[kind](random);
    let colours = Colours::new(random);
    let grain = if random.random_bool(0.5) { random.random_range(4.0..30.0) } else { 0.0 };
    let mut texture = RgbImage::new(side, side);
    for (x, y, pixel) in texture.enumerate_pixels_mut() {
        let scale = 1.0 / side as f32;
        let colour = colours.at(shade(x as f32 * scale, y as f32 * scale));
        let noise = grain * (random.random::<f32>() - 0.5);
        pixel.0 = colour.map(|value| (value + noise).round() as u8);
    }
    texture
}

/// A row of colours with everything between them.
struct Colours(Vec<[f32; 3]>);

impl Colours {
    fn new(random: &mut Pcg64Mcg) -> Self {
        let mut colour = || std::array::from_fn(|_| random.random_range(0.0..255.0_f32));
        let mut colours: Vec<[f32; 3]> = (0..4).map(|_| colour()).collect();
        colours.truncate(random.random_range(2..=4));
        if random.random_bool(0.5) {
            // Shades of one colour, as most materials have.
            let first = colours[0];
            colours.iter_mut().for_each(|colour| *colour = mix(first, *colour, 0.45));
        }
        let faded = random.random_range(0.0..1.0);
        for colour in &mut colours {
            let grey = colour.iter().sum::<f32>() / 3.0;
            *colour = mix(*colour, [grey; 3], faded);
        }
        Self(colours)
    }

    fn at(&self, shade: f32) -> [f32; 3] {
        let last = self.0.len() - 1;
        let position = shade.clamp(0.0, 1.0) * last as f32;
        let low = (position as usize).min(last.saturating_sub(1));
        mix(self.0[low], self.0[(low + 1).min(last)], position - low as f32)
    }
}

/// Value noise: random numbers on a lattice, smooth between them, repeating every 256 cells.
struct Noise {
    values: Vec<f32>,
    order: Vec<u8>,
}

impl Noise {
    fn new(random: &mut Pcg64Mcg) -> Self {
        let mut order: Vec<u8> = (0..=255).collect();
        order.shuffle(random);
        Self { values: (0..256).map(|_| random.random()).collect(), order }
    }

    fn lattice(&self, x: i64, y: i64) -> f32 {
        let row = i64::from(self.order[(y & 255) as usize]);
        self.values[usize::from(self.order[((x + row) & 255) as usize])]
    }

    fn at(&self, x: f32, y: f32) -> f32 {
        let (left, top) = (x.floor(), y.floor());
        let smooth = |t: f32| t * t * (3.0 - 2.0 * t);
        let (across, down) = (smooth(x - left), smooth(y - top));
        let (left, top) = (left as i64, top as i64);
        let row = |y| {
            let (a, b) = (self.lattice(left, y), self.lattice(left + 1, y));
            a + (b - a) * across
        };
        row(top) + (row(top + 1) - row(top)) * down
    }

    /// Octaves of halving size, each `rough` times as strong as the one before; 0 to 1.
    fn octaves(&self, x: f32, y: f32, count: usize, rough: f32) -> f32 {
        let (mut sum, mut whole, mut weight, mut scale) = (0.0, 0.0, 1.0, 1.0);
        for octave in 0..count {
            let shift = 17.3 * octave as f32;
            sum += weight * self.at(x * scale + shift, y * scale + shift);
            whole += weight;
            weight *= rough;
            scale *= 2.0;
        }
        sum / whole
    }
}

/// Steeper around the middle: value noise rarely reaches its ends.
fn contrast(shade: f32, factor: f32) -> f32 {
    0.5 + (shade - 0.5) * factor
}

/// Along and across a random direction.
fn direction(random: &mut Pcg64Mcg) -> impl Fn(f32, f32) -> (f32, f32) + use<> {
    let (sin, cos) = random.random_range(0.0..PI).sin_cos();
    move |x, y| (cos * x + sin * y, cos * y - sin * x)
}

fn clouds(random: &mut Pcg64Mcg) -> Shade {
    let noise = Noise::new(random);
    let turned = direction(random);
    let scale = random.random_range(2.0..30.0_f32);
    // Fibres and brushed metal are clouds drawn out in one direction.
    let stretch = if random.random_bool(0.3) { random.random_range(4.0..20.0) } else { 1.0 };
    let count = random.random_range(1..=5);
    let rough = random.random_range(0.4..0.8);
    Box::new(move |x, y| {
        let (along, across) = turned(x, y);
        contrast(noise.octaves(along * scale, across * scale * stretch, count, rough), 1.7)
    })
}

fn stripes(random: &mut Pcg64Mcg) -> Shade {
    let noise = Noise::new(random);
    let turned = direction(random);
    let count = random.random_range(3.0..40.0_f32);
    let hard = random.random_range(0.6..6.0_f32);
    let wobble = random.random_range(0.0..1.5_f32);
    Box::new(move |x, y| {
        let (along, across) = turned(x, y);
        let shift = wobble * noise.octaves(along * 3.0, across * 3.0, 2, 0.5);
        contrast(0.5 + 0.5 * (TAU * (across * count + shift)).sin(), hard)
    })
}

fn cells(random: &mut Pcg64Mcg) -> Shade {
    let noise = Noise::new(random);
    let second = Noise::new(random);
    let scale = random.random_range(4.0..24.0_f32);
    let edge = random.random_range(0.0..0.25_f32);
    let own_shades = random.random_bool(0.6);
    Box::new(move |x, y| {
        let (x, y) = (x * scale, y * scale);
        let (cell_x, cell_y) = (x.floor() as i64, y.floor() as i64);
        let (mut nearest, mut next, mut shade) = (f32::MAX, f32::MAX, 0.0);
        for (column, row) in (-1..=1).flat_map(|row| (-1..=1).map(move |column| (column, row))) {
            let (column, row) = (cell_x + column, cell_y + row);
            let centre_x = column as f32 + noise.lattice(column, row);
            let centre_y = row as f32 + second.lattice(column, row);
            let distance = (centre_x - x).hypot(centre_y - y);
            if distance < nearest {
                (next, nearest) = (nearest, distance);
                shade = noise.lattice(column + 101, row + 53);
            } else {
                next = next.min(distance);
            }
        }
        match (next - nearest < edge, own_shades) {
            (true, _) => 0.0,
            (false, true) => shade,
            (false, false) => nearest,
        }
    })
}

fn weave(random: &mut Pcg64Mcg) -> Shade {
    let turned = direction(random);
    let count = random.random_range(6.0..40.0_f32);
    let thread = random.random_range(0.6..1.0_f32);
    let contrast = random.random_range(0.2..1.0_f32);
    Box::new(move |x, y| {
        let (u, v) = turned(x, y);
        let (u, v) = (u * count, v * count);
        let over = (u.floor() as i64 + v.floor() as i64).rem_euclid(2) == 0;
        // Across the thread on top, and along it from where it comes up to where it goes down.
        let (across, along) = if over { (v, u) } else { (u, v) };
        let across = 2.0 * (across.rem_euclid(1.0) - 0.5).abs();
        if across > thread {
            return 0.0;
        }
        let round = (1.0 - (across / thread).powi(2)).sqrt();
        let rise = (PI * along.rem_euclid(1.0)).sin();
        let shade = if over { 1.0 } else { 1.0 - 0.6 * contrast };
        shade * (1.0 - contrast * (1.0 - round * rise))
    })
}

fn spots(random: &mut Pcg64Mcg) -> Shade {
    let noise = Noise::new(random);
    let second = Noise::new(random);
    let scale = random.random_range(4.0..30.0_f32);
    let largest = random.random_range(0.15..0.5_f32);
    let regular = random.random_bool(0.4);
    let soft = random.random_range(0.02..0.3_f32);
    Box::new(move |x, y| {
        let (x, y) = (x * scale, y * scale);
        let (column, row) = (x.floor() as i64, y.floor() as i64);
        let radius = if regular { largest } else { largest * noise.lattice(column + 31, row + 7) };
        let place = |value: f32| if regular { 0.5 } else { radius + (1.0 - 2.0 * radius) * value };
        let centre_x = column as f32 + place(noise.lattice(column, row));
        let centre_y = row as f32 + place(second.lattice(column, row));
        ((radius - (centre_x - x).hypot(centre_y - y)) / (soft * radius.max(0.01))).clamp(0.0, 1.0)
    })
}

fn gradient(random: &mut Pcg64Mcg) -> Shade {
    let turned = direction(random);
    let (centre_x, centre_y): (f32, f32) = (random.random(), random.random());
    let round = random.random_bool(0.5);
    let times = random.random_range(0.7..4.0_f32);
    Box::new(move |x, y| {
        let (x, y) = (x - centre_x, y - centre_y);
        let way = if round { x.hypot(y) } else { turned(x, y).0 + 1.0 };
        // There and back, without a jump.
        let there = (way * times).rem_euclid(2.0);
        there.min(2.0 - there)
    })
}

fn marble(random: &mut Pcg64Mcg) -> Shade {
    let noise = Noise::new(random);
    let turned = direction(random);
    let count = random.random_range(1.0..6.0_f32);
    let turbulence = random.random_range(1.0..5.0_f32);
    let sharp = random.random_range(0.3..1.5_f32);
    Box::new(move |x, y| {
        let (along, across) = turned(x, y);
        let shift = turbulence * noise.octaves(along * 4.0, across * 4.0, 5, 0.55);
        (PI * (across * count + shift)).sin().abs().powf(sharp)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn every_kind_is_a_texture() {
        for (kind, make) in SHADES.iter().enumerate() {
            for seed in 0..20 {
                let shade = make(&mut Pcg64Mcg::seed_from_u64(seed));
                let points =
                    (0..64 * 64).map(|i| shade((i % 64) as f32 / 64.0, (i / 64) as f32 / 64.0));
                let shades: Vec<f32> = points.collect();
                assert!(shades.iter().all(|v| v.is_finite()), "kind {kind}, seed {seed}");
                let low = shades.iter().copied().fold(f32::MAX, f32::min);
                let high = shades.iter().copied().fold(f32::MIN, f32::max);
                assert!(high - low > 0.15, "kind {kind}, seed {seed}: {low} to {high}");
            }
        }
    }

    #[test]
    fn resizing_is_bilinear() {
        let ramp = RgbImage::from_fn(4, 4, |x, y| Rgb([(x * 40) as u8, (y * 40) as u8, 9]));
        let larger = resized(&ramp, 8);
        assert_eq!(larger.get_pixel(0, 0).0, [0, 0, 9]);
        assert_eq!(larger.get_pixel(3, 4).0, [50, 70, 9]);
        assert_eq!(larger.get_pixel(7, 7).0, [120, 120, 9]);
        assert_eq!(resized(&ramp, 4), ramp);
    }

    #[test]
    fn kinds_available_are_all_used_and_bad_files_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let good = folder.path().join("texture.png");
        RgbImage::from_pixel(3, 3, Rgb([1, 2, 3])).save(&good).unwrap();
        let source = TextureSource {
            procedural: true,
            crops: vec![RgbImage::from_pixel(2, 9, Rgb([4, 5, 6]))],
            folder: vec![good, folder.path().join("missing.png")],
        };
        let mut random = Pcg64Mcg::seed_from_u64(5);
        let mut counts = [0; 3];
        for _ in 0..300 {
            let texture = source.draw(16, &mut random);
            let all = |colour| texture.pixels().all(|pixel| pixel.0 == colour);
            let kind = if all([3, 2, 1]) {
                0
            } else if all([4, 5, 6]) {
                1
            } else {
                2
            };
            counts[kind] += 1;
        }
        assert!(counts.iter().all(|count| (70..130).contains(count)), "{counts:?}");
        let unreadable = TextureSource {
            procedural: false,
            crops: Vec::new(),
            folder: vec![folder.path().join("missing.png")],
        };
        assert_eq!(unreadable.draw(16, &mut random).dimensions(), (16, 16));
    }
}

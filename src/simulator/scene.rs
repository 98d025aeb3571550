//! One part's scene: how it lies, how it is lit, and the belt under it.

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::canvas::{Canvas, Colour, Material, Pose, coverage, length, ramp};
use super::defects::DefectKind;
use super::exposure::{Exposure, Light};
use super::noise::Grain;
use super::products::ProductKind;

/// What a stream of random numbers is for. Every purpose has its own, so that a defect never
/// shifts anything else in the picture.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    Variation,
    Belt,
    Tolerance,
    Noise,
    Defect(DefectKind),
}

/// The stream for one purpose of one part.
pub(super) fn stream(kind: ProductKind, seed: u64, part: u64, purpose: Purpose) -> Pcg64Mcg {
    let purpose = match purpose {
        Purpose::Variation => 1,
        Purpose::Belt => 2,
        Purpose::Tolerance => 3,
        Purpose::Noise => 4,
        Purpose::Defect(defect) => 100 + defect as u64,
    };
    let mut state = 0;
    for word in [u64::from(kind.number()), seed, part, purpose] {
        state = mix(state ^ word);
    }
    Pcg64Mcg::seed_from_u64(state)
}

/// One step of splitmix64.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// How far a product's position may vary on the belt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placement {
    /// Middle of the part in the picture.
    pub centre: (f32, f32),
    /// Largest shift in pixels, each way.
    pub shift_px: f32,
    /// Largest turn in degrees, each way.
    pub turn_deg: f32,
}

/// The belt a product travels on.
#[derive(Clone, Copy, Debug)]
pub(super) struct BeltLook {
    pub colour: Colour,
    /// Distance of the ribs that run along the belt, in pixels.
    pub rib_px: f32,
}

/// The scene a product is painted into.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub canvas: Canvas,
    pub pose: Pose,
    pub light: Light,
    pub exposure: Exposure,
    /// Texture of this part.
    pub grain: Grain,
    /// The part's own tolerances.
    pub tolerance: Pcg64Mcg,
}

impl Scene {
    /// The scene with its belt, before the part lies on it.
    pub fn new(kind: ProductKind, seed: u64, part: u64) -> Self {
        let placement = kind.placement();
        let mut random = stream(kind, seed, part, Purpose::Variation);
        let shift = placement.shift_px;
        let mut shifted = |middle: f32| middle + random.random_range(-shift..=shift);
        let centre = (shifted(placement.centre.0), shifted(placement.centre.1));
        let angle_deg: f32 = random.random_range(-placement.turn_deg..=placement.turn_deg);
        let scale = random.random_range(0.988..1.012);
        let mut tolerance = stream(kind, seed, part, Purpose::Tolerance);
        Self {
            canvas: belt(&kind.belt_look(), &mut stream(kind, seed, part, Purpose::Belt)),
            pose: Pose::new(centre, angle_deg.to_radians(), scale),
            light: Light::vary(&mut random),
            exposure: Exposure::vary(&mut random, stream(kind, seed, part, Purpose::Noise)),
            grain: Grain::new(&mut tolerance),
            tolerance,
        }
    }

    /// The shadow something `height` pixels high throws, in part coordinates.
    pub fn shadow(&self, height: f32, strength: f32) -> super::canvas::Shadow {
        let mut shadow = self.light.shadow(height, strength);
        shadow.offset = self.pose.direction_to_part(shadow.offset);
        shadow
    }
}

/// A stretch of ribbed belt, worn along its run, with the dust of a working line.
fn belt(look: &BeltLook, random: &mut Pcg64Mcg) -> Canvas {
    let mut canvas = Canvas::new(&Material { colour: look.colour, gloss: 0.05 });
    let grain = Grain::new(random);
    let wander: f32 = random.random_range(-0.8..0.8);
    for (y, row) in canvas.rows_mut().enumerate() {
        // Ribs and wear run along the belt, that is across the picture; the belt wanders a little.
        let place = (y as f32 + wander) / look.rib_px;
        let across = (place - place.floor() - 0.5).abs() * 2.0;
        let groove = ramp(across, 0.5, 0.8);
        let worn = 1.0 + 0.05 * grain.at(3.5, y as f32 * 0.06) - 0.5 * groove;
        for (x, texel) in row.iter_mut().enumerate() {
            let cloud = grain.at(x as f32 * 0.021 + 40.0, y as f32 * 0.033);
            texel.dim(worn * (1.0 + 0.05 * cloud + 0.10 * grain.raw(x, y)));
            texel.height = -1.6 * groove;
        }
    }
    let flat = Pose::new((0.0, 0.0), 0.0, 1.0);
    for _ in 0..random.random_range(6..15) {
        let at = (random.random_range(0.0..320.0_f32), random.random_range(0.0..320.0_f32));
        let radius = random.random_range(0.4..0.9_f32);
        let bright = random.random_bool(0.3);
        let tint = if bright { [0.16, 0.155, 0.145] } else { [0.006, 0.006, 0.007] };
        let strength = random.random_range(0.25..0.55);
        canvas.paint(&flat, at, (radius + 1.0, radius + 1.0), |u, v, texel| {
            let d = length(u - at.0, (v - at.1) * 1.3) - radius;
            texel.tint(tint, strength * coverage(d));
        });
    }
    canvas
}

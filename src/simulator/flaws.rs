//! Flaws any surface can have, painted in part coordinates: scratch, dent, crack, stain, bite.

use rand::Rng;
use rand_pcg::Pcg64Mcg;

use super::canvas::{Colour, Texel, chain_box, chain_distance, coverage, length, ramp};
use super::scene::Scene;

/// Where a flaw lies and how the surface there answers to it.
pub(super) struct Site<'a> {
    /// Middle of the flaw in part coordinates.
    pub at: (f32, f32),
    /// Direction of long flaws in radians.
    pub heading_rad: f32,
    /// 0 outside the surface that can carry the flaw, 1 on it.
    pub surface: &'a dyn Fn(f32, f32) -> f32,
}

/// Long side of a flaw: many are middling, few small, few large.
pub(super) fn size(random: &mut Pcg64Mcg, smallest: f32, largest: f32) -> f32 {
    let share: f32 = (random.random_range(0.0..1.0_f32) + random.random_range(0.0..1.0_f32)) / 2.0;
    smallest + (largest - smallest) * share
}

/// What scratched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tool {
    /// Colour of what lies under the surface.
    pub bare: Colour,
    pub half_width_px: (f32, f32),
}

/// A drawn-out groove in the colour of what lies under the surface.
pub(super) fn scratch(scene: &mut Scene, random: &mut Pcg64Mcg, site: &Site, tool: &Tool) {
    let length = size(random, 26.0, 86.0);
    let bend = random.random_range(-0.18..0.18_f32);
    let half_width = random.random_range(tool.half_width_px.0..tool.half_width_px.1);
    let strength = random.random_range(0.6..0.95);
    let depth = random.random_range(0.5..1.2);
    let mut points = Vec::with_capacity(9);
    for step in -4..=4 {
        let along = step as f32 / 8.0;
        let (dx, dy) = (along * length, bend * length * (0.25 - along * along));
        let (sin, cos) = site.heading_rad.sin_cos();
        points.push((site.at.0 + dx * cos - dy * sin, site.at.1 + dx * sin + dy * cos));
    }
    let (middle, half) = chain_box(&points, half_width + 3.0);
    let Scene { canvas, pose, grain, .. } = scene;
    canvas.paint(pose, middle, half, |u, v, texel| {
        let (d, along) = chain_distance(u, v, &points);
        let surface = (site.surface)(u, v);
        if d > half_width + 2.5 || surface == 0.0 {
            return;
        }
        // The tool bites in, skips a little, and lifts off.
        let pressure = ramp(along, 0.0, 0.12)
            * ramp(1.0 - along, 0.0, 0.25)
            * (0.8 + 0.2 * grain.at(along * 9.0, 61.5));
        texel.tint(tool.bare, surface * strength * pressure * coverage(d - half_width));
        texel.height -= surface * depth * pressure * (-d * d / (half_width * half_width)).exp();
    });
}

/// A hollow: smooth where the part was hit, dark and sharp where gas left a blowhole.
pub(super) fn dent(scene: &mut Scene, random: &mut Pcg64Mcg, site: &Site, blowhole: bool) {
    let radius = if blowhole { size(random, 4.5, 9.5) } else { size(random, 8.0, 16.0) };
    let stretch = random.random_range(0.6..0.95_f32);
    let depth = radius * if blowhole { 0.8 } else { random.random_range(0.55..0.8) };
    let (sin, cos) = (site.heading_rad + random.random_range(-0.6..0.6_f32)).sin_cos();
    let at = site.at;
    let Scene { canvas, pose, grain, .. } = scene;
    let reach = radius * 1.5 + 2.0;
    canvas.paint(pose, at, (reach, reach), |u, v, texel| {
        let (du, dv) = (u - at.0, v - at.1);
        let (along, across) = (du * cos + dv * sin, (dv * cos - du * sin) / stretch);
        let ragged = if blowhole { 0.25 } else { 0.1 };
        let wobble = 1.0 + ragged * grain.at(at.0 + du * 2.2 / radius, at.1 + dv * 2.2 / radius);
        let d = length(along, across) / (radius * wobble);
        let surface = (site.surface)(u, v);
        if d > 1.3 || surface == 0.0 {
            return;
        }
        let bowl = (1.0 - d * d).max(0.0);
        texel.height -= surface * depth * bowl.powi(if blowhole { 1 } else { 2 });
        // What was pushed away stands up around the hollow.
        texel.height += surface * depth * 0.12 * (1.0 - (d - 1.08).abs() / 0.22).max(0.0);
        if blowhole {
            texel.dim(1.0 - surface * 0.72 * coverage((d - 0.92) * radius));
            texel.gloss *= 1.0 - surface * 0.8 * coverage((d - 0.92) * radius);
        } else {
            texel.dim(1.0 - surface * 0.32 * bowl);
        }
    });
}

/// A jagged dark line, thinning out.
pub(super) fn crack(scene: &mut Scene, random: &mut Pcg64Mcg, site: &Site) {
    let length = size(random, 36.0, 88.0);
    let half_width = random.random_range(0.75..1.3_f32);
    let strength = random.random_range(0.7..0.95);
    let mut heading = site.heading_rad;
    let mut points = vec![site.at];
    let mut walked = 0.0;
    while walked < length {
        let step = random.random_range(3.5..8.0_f32);
        let (u, v) = points[points.len() - 1];
        points.push((u + step * heading.cos(), v + step * heading.sin()));
        heading = site.heading_rad + random.random_range(-0.75..0.75_f32);
        walked += step;
    }
    let (middle, half) = chain_box(&points, half_width + 3.0);
    let Scene { canvas, pose, .. } = scene;
    canvas.paint(pose, middle, half, |u, v, texel| {
        let (d, along) = chain_distance(u, v, &points);
        let surface = (site.surface)(u, v);
        let width = half_width * (1.25 - 0.75 * along);
        if d > width + 2.5 || surface == 0.0 {
            return;
        }
        texel.tint([0.004, 0.004, 0.004], surface * strength * coverage(d - width));
        texel.shine *= 1.0 - surface * strength * coverage(d - width);
        texel.height -= surface * 0.8 * (-d * d / (width * width)).exp();
    });
}

/// What soils a surface.
#[derive(Clone, Copy, Debug)]
pub(super) struct Soil {
    pub colour: Colour,
    /// Share of the surface hidden under a thick spot.
    pub cover: (f32, f32),
    pub gloss: f32,
    /// Radius of the spot in pixels.
    pub radius_px: (f32, f32),
}

/// A ragged spot with a few splashes beside it.
pub(super) fn stain(scene: &mut Scene, random: &mut Pcg64Mcg, site: &Site, soil: &Soil) {
    let radius = size(random, soil.radius_px.0, soil.radius_px.1);
    let hide = random.random_range(soil.cover.0..soil.cover.1);
    let mut spots = vec![(site.at, radius)];
    for _ in 0..random.random_range(0..4) {
        let (angle, away) = (random.random_range(0.0..6.3_f32), random.random_range(1.0..1.7_f32));
        let at = (site.at.0 + radius * away * angle.cos(), site.at.1 + radius * away * angle.sin());
        spots.push((at, radius * random.random_range(0.12..0.35_f32)));
    }
    let Scene { canvas, pose, grain, .. } = scene;
    let reach = radius * 2.2 + 3.0;
    canvas.paint(pose, site.at, (reach, reach), |u, v, texel| {
        let ragged = grain.at(u * 0.16, v * 0.16) * 0.30 + grain.at(u * 0.45, v * 0.45) * 0.13;
        let mut d = f32::MAX;
        for &((su, sv), spot) in &spots {
            d = d.min(length(u - su, v - sv) - spot * (1.0 + ragged));
        }
        let surface = (site.surface)(u, v);
        if d > 1.5 || surface == 0.0 {
            return;
        }
        let uneven = 0.85 + 0.15 * grain.at(u * 0.3 + 7.0, v * 0.3);
        // Liquids dry to a darker rim.
        let rim = 1.0 - 0.25 * (1.0 - (d + 1.8).abs() / 1.8).max(0.0);
        lay(texel, soil, surface * hide * uneven * (0.5 - d / 3.0).clamp(0.0, 1.0), rim);
    });
}

fn lay(texel: &mut Texel, soil: &Soil, share: f32, rim: f32) {
    texel.tint(soil.colour.map(|channel| channel * rim), share);
    texel.gloss += (soil.gloss - texel.gloss) * share;
    texel.shine *= 1.0 - 0.8 * share;
}

/// A piece broken out of an edge.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bite {
    pub at: (f32, f32),
    radius: f32,
    lobes: [f32; 4],
}

impl Bite {
    /// A bite at a point of the outline; `smallest` and `largest` are radii in pixels.
    pub fn new(random: &mut Pcg64Mcg, at: (f32, f32), smallest: f32, largest: f32) -> Self {
        let radius = size(random, smallest, largest);
        let lobes = std::array::from_fn(|_| random.random_range(-1.0..1.0));
        Self { at, radius, lobes }
    }

    /// Distance outside the whole bite (negative within).
    pub fn distance(&self, u: f32, v: f32) -> f32 {
        let (du, dv) = (u - self.at.0, v - self.at.1);
        let away = length(du, dv);
        if away > self.radius * 1.8 + 4.0 {
            return away - self.radius;
        }
        let angle = dv.atan2(du);
        let lobes = 0.13 * (3.0 * angle + 3.0 * self.lobes[0]).sin() * self.lobes[1]
            + 0.10 * (5.0 * angle + 3.0 * self.lobes[2]).sin()
            + 0.05 * (11.0 * angle + 3.0 * self.lobes[3]).sin();
        away - self.radius * (1.0 + lobes)
    }

    /// Distance outside what broke away to the ground; the rest of the bite is a slope.
    pub fn through(&self, u: f32, v: f32) -> f32 {
        self.distance(u, v) + self.radius * 0.52
    }

    /// Shapes the broken slope: from nothing at the rim to `depth` where the piece is gone.
    pub fn break_surface(&self, u: f32, v: f32, texel: &mut Texel, depth: f32, fresh: Colour) {
        let d = self.distance(u, v);
        if d < 0.5 {
            let share = coverage(d);
            let rough = 1.0
                + 0.2 * (u * 0.83 + 2.0 * (v * 0.57 + self.lobes[0]).sin()).sin()
                + 0.12 * (v * 1.31 - u * 0.4).cos();
            texel.tint(fresh.map(|channel| channel * rough), 0.85 * share);
            texel.gloss *= 1.0 - 0.7 * share;
            texel.shine *= 1.0 - 0.9 * share;
            texel.height -= depth * ramp(-d, 0.0, self.radius * 0.52) * (0.8 + 0.2 * rough);
        }
    }
}

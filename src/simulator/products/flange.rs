//! A turned steel flange: hub, face with turning marks, groove, chamfers, six bolt holes.

use std::f32::consts::TAU;

use rand::Rng;
use rand_pcg::Pcg64Mcg;

use super::Fault;
use crate::simulator::canvas::{Material, colour, coverage, length, ramp};
use crate::simulator::defects::DefectKind;
use crate::simulator::flaws::{self, Bite, Site, Soil, Tool};
use crate::simulator::noise::Strip;
use crate::simulator::scene::Scene;

const STEEL: Material = Material { colour: colour(116, 119, 124), gloss: 0.22 };
const HUB_RADIUS: f32 = 64.0;
const HOLE_CIRCLE: f32 = 89.0;
const COUNTERSINK: f32 = 3.6;
const FACE_HEIGHT: f32 = 5.0;

struct Hole {
    at: (f32, f32),
    /// 0: not drilled.
    radius: f32,
}

struct Flange {
    outer: f32,
    bore: f32,
    groove: f32,
    holes: [Hole; 6],
    rings: Strip,
    /// Strength of the mirror the turning marks make.
    brushed: f32,
    bite: Option<Bite>,
}

pub(super) fn paint(scene: &mut Scene, fault: Option<Fault>) {
    let mut flange = Flange::with_tolerances(&mut scene.tolerance);
    let Some(Fault { kind, mut random }) = fault else {
        flange.paint(scene);
        return;
    };
    flange.spoil(kind, &mut random);
    flange.paint(scene);
    flange.damage(scene, kind, &mut random);
}

impl Flange {
    fn with_tolerances(random: &mut Pcg64Mcg) -> Self {
        let mut near = |nominal: f32, play: f32| nominal + random.random_range(-play..play);
        let outer = near(121.0, 0.8);
        let bore = near(43.0, 0.7);
        let groove = near(105.5, 0.6);
        let brushed = near(0.46, 0.08);
        let holes = std::array::from_fn(|index| {
            let angle = index as f32 * TAU / 6.0;
            let circle = near(HOLE_CIRCLE, 0.4);
            Hole { at: (circle * angle.cos(), circle * angle.sin()), radius: near(12.0, 0.3) }
        });
        Self { outer, bore, groove, holes, rings: Strip::new(random), brushed, bite: None }
    }

    /// Changes the shape itself.
    fn spoil(&mut self, kind: DefectKind, random: &mut Pcg64Mcg) {
        let hole = &mut self.holes[random.random_range(0..6)];
        match kind {
            DefectKind::Missing => hole.radius = 0.0,
            DefectKind::Misplaced => {
                // Too near the axis or too near the edge; along the circle it would look turned.
                let outwards = if random.random_bool(0.5) { 1.0 } else { -1.0 };
                let share = 1.0 + outwards * random.random_range(12.0..17.0) / HOLE_CIRCLE;
                hole.at = (hole.at.0 * share, hole.at.1 * share);
            }
            DefectKind::ChippedEdge => {
                let angle = random.random_range(0.0..TAU);
                let edge = if random.random_bool(0.7) { self.outer } else { self.bore };
                let at = (edge * angle.cos(), edge * angle.sin());
                self.bite = Some(Bite::new(random, at, 13.0, 22.0));
            }
            _ => {}
        }
    }

    /// Distance outside the nearest hole's wall.
    fn hole_distance(&self, u: f32, v: f32) -> f32 {
        let away = |hole: &Hole| {
            if hole.radius == 0.0 {
                f32::MAX
            } else {
                length(u - hole.at.0, v - hole.at.1) - hole.radius
            }
        };
        self.holes.iter().map(away).fold(f32::MAX, f32::min)
    }

    /// Distance outside the steel, given the distance from the axis and from the holes.
    fn outline(&self, u: f32, v: f32, r: f32, hole: f32) -> f32 {
        let ring = (r - self.outer).max(self.bore - r).max(-hole);
        match &self.bite {
            Some(bite) => ring.max(-bite.through(u, v)),
            None => ring,
        }
    }

    fn height(&self, r: f32, hole: f32) -> f32 {
        let hub =
            2.6 * (ramp(r, self.bore, self.bore + 3.5) - ramp(r, HUB_RADIUS, HUB_RADIUS + 3.0));
        let chamfer = 3.6 * ramp(r, self.outer - 5.5, self.outer);
        let groove = 1.3 * (1.0 - (r - self.groove).abs() / 1.7).max(0.0);
        let sink = 3.0 * (1.0 - ramp(hole, 0.0, COUNTERSINK));
        FACE_HEIGHT + hub - chamfer - groove - sink
    }

    fn paint(&self, scene: &mut Scene) {
        let (deep, cast) = (scene.shadow(5.0, 0.78), scene.shadow(6.0, 0.6));
        let reach = (self.outer + 12.0, self.outer + 12.0);
        let disc = self.outer;
        scene.canvas.shadow(&scene.pose, reach, &cast, |u, v| length(u, v) - disc);
        let half_way = scene.pose.direction_to_part(scene.light.half_way());
        let Scene { canvas, pose, grain, .. } = scene;
        canvas.paint(pose, (0.0, 0.0), reach, |u, v, texel| {
            let r = length(u, v);
            if r < self.bore - 2.0 || r > self.outer + 2.0 {
                return;
            }
            let hole =
                if (r - HOLE_CIRCLE).abs() < 34.0 { self.hole_distance(u, v) } else { f32::MAX };
            if hole < 0.5 {
                // Looking down the hole: the wall away from the lamp catches some light.
                let (su, sv) = (u + deep.offset.0 * 0.6, v + deep.offset.1 * 0.6);
                let inner = self.hole_distance(su, sv);
                texel.dim(0.05 + 0.35 * ramp(inner, -2.0, 2.0));
            }
            let share = coverage(self.outline(u, v, r, hole));
            if share == 0.0 {
                return;
            }
            let ring = self.rings.at(r * 3.0);
            let mut steel = STEEL;
            let patch = grain.at(u * 0.05 + 11.0, v * 0.05);
            let tone = 1.0 + 0.20 * ring + 0.09 * patch + 0.05 * grain.at(u * 0.9, v * 0.9);
            // A step or chamfer left a duller ring; oil film and wear do the rest.
            let dull = if r > HUB_RADIUS && r < HUB_RADIUS + 3.0 { 0.75 } else { 1.0 };
            steel.colour = steel.colour.map(|channel| channel * tone * dull);
            texel.cover(&steel, self.height(r, hole), share);
            // Turning marks mirror the lamp where they run across its direction.
            let across = (u * half_way.1 - v * half_way.0) / r.max(1.0);
            let mirror = (1.0 - across * across).powi(64);
            texel.shine += share * self.brushed * mirror * (0.75 + 0.45 * ring) * dull;
            if let Some(bite) = &self.bite {
                bite.break_surface(u, v, texel, 3.0, colour(140, 139, 138));
            }
        });
        self.centre_marks(scene);
    }

    /// A hole that was forgotten still shows the mark of the centre punch.
    fn centre_marks(&self, scene: &mut Scene) {
        for hole in self.holes.iter().filter(|hole| hole.radius == 0.0) {
            scene.canvas.paint(&scene.pose, hole.at, (4.0, 4.0), |u, v, texel| {
                let d = length(u - hole.at.0, v - hole.at.1);
                texel.height -= 1.4 * (1.0 - d / 2.6).max(0.0);
                texel.dim(1.0 - 0.35 * coverage(d - 1.6));
            });
        }
    }

    fn damage(&self, scene: &mut Scene, kind: DefectKind, random: &mut Pcg64Mcg) {
        let surface = |u: f32, v: f32| {
            coverage(self.outline(u, v, length(u, v), self.hole_distance(u, v)) + 1.0)
        };
        let angle: f32 = random.random_range(0.0..TAU);
        let at = |radius: f32| (radius * angle.cos(), radius * angle.sin());
        let between_holes = (angle / (TAU / 6.0)).floor() * TAU / 6.0
            + TAU / 12.0
            + random.random_range(-0.28..0.28_f32);
        let clear = |radius: f32| (radius * between_holes.cos(), radius * between_holes.sin());
        let heading_rad = angle + random.random_range(-0.9..0.9_f32);
        match kind {
            DefectKind::Scratch => {
                let at = clear(random.random_range(56.0..108.0));
                let site = Site { at, heading_rad, surface: &surface };
                let tool = Tool { bare: colour(226, 228, 230), half_width_px: (0.6, 1.2) };
                flaws::scratch(scene, random, &site, &tool);
            }
            DefectKind::Dent => {
                let at = clear(random.random_range(72.0..108.0));
                let blowhole = random.random_bool(0.5);
                flaws::dent(scene, random, &Site { at, heading_rad, surface: &surface }, blowhole);
            }
            DefectKind::Contamination => {
                let at = at(random.random_range(60.0..104.0));
                let oil = Soil {
                    colour: colour(44, 30, 16),
                    cover: (0.55, 0.88),
                    gloss: 0.08,
                    radius_px: (9.0, 19.0),
                };
                flaws::stain(scene, random, &Site { at, heading_rad, surface: &surface }, &oil);
            }
            DefectKind::Crack => {
                let (start, turned) = if random.random_bool(0.5) {
                    (at(self.bore + 0.5), 0.0)
                } else {
                    (at(self.outer - 0.5), TAU / 2.0)
                };
                let lean = random.random_range(-0.5..0.5_f32);
                let site =
                    Site { at: start, heading_rad: angle + turned + lean, surface: &surface };
                flaws::crack(scene, random, &site);
            }
            _ => {}
        }
    }
}

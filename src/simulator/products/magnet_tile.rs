//! A ground ferrite magnet tile: an arc segment, grinding marks along it, small pores, rough ends.

use rand::Rng;
use rand_pcg::Pcg64Mcg;

use super::Fault;
use crate::simulator::canvas::{Material, box_distance, colour, coverage, length, ramp};
use crate::simulator::defects::DefectKind;
use crate::simulator::flaws::{self, Bite, Site, Soil, Tool};
use crate::simulator::noise::Strip;
use crate::simulator::scene::Scene;

const FERRITE: Material = Material { colour: colour(92, 93, 96), gloss: 0.10 };
const HEIGHT: f32 = 6.0;

struct Tile {
    half: (f32, f32),
    marks: Strip,
    chatter: Strip,
    /// Strength of the ground surface's mirror, and where across the arc it lies.
    glare: f32,
    glare_at: f32,
    pores: Vec<((f32, f32), f32)>,
    bite: Option<Bite>,
}

pub(super) fn paint(scene: &mut Scene, fault: Option<Fault>) {
    let mut tile = Tile::with_tolerances(&mut scene.tolerance);
    let Some(Fault { kind, mut random }) = fault else {
        tile.paint(scene);
        return;
    };
    if kind == DefectKind::ChippedEdge {
        let at = tile.edge_point(&mut random);
        tile.bite = Some(Bite::new(&mut random, at, 14.0, 28.0));
    }
    tile.paint(scene);
    tile.damage(scene, kind, &mut random);
}

impl Tile {
    fn with_tolerances(random: &mut Pcg64Mcg) -> Self {
        let half = (104.0 + random.random_range(-1.0..1.0), 122.0 + random.random_range(-1.0..1.0));
        let pores = (0..random.random_range(18..46))
            .map(|_| {
                let u = random.random_range(-1.0..1.0_f32) * (half.0 - 7.0);
                let v = random.random_range(-1.0..1.0_f32) * (half.1 - 7.0);
                let share: f32 = random.random_range(0.0..1.0);
                ((u, v), 0.5 + 0.9 * share * share)
            })
            .collect();
        Self {
            half,
            marks: Strip::new(random),
            chatter: Strip::new(random),
            glare: random.random_range(0.07..0.19),
            glare_at: random.random_range(-48.0..-12.0),
            pores,
            bite: None,
        }
    }

    fn edge_point(&self, random: &mut Pcg64Mcg) -> (f32, f32) {
        let along: f32 = random.random_range(-1.0..1.0);
        match random.random_range(0..6) {
            0 => (self.half.0, along * self.half.1),
            1 => (-self.half.0, along * self.half.1),
            2 => (along * self.half.0, self.half.1),
            3 => (along * self.half.0, -self.half.1),
            4 => (self.half.0 - 3.0, self.half.1 - 3.0),
            _ => (3.0 - self.half.0, self.half.1 - 3.0),
        }
    }

    fn outline(&self, u: f32, v: f32) -> f32 {
        let tile = box_distance(u, v, self.half, 4.0);
        match &self.bite {
            Some(bite) => tile.max(-bite.through(u, v)),
            None => tile,
        }
    }

    fn paint(&self, scene: &mut Scene) {
        let cast = scene.shadow(7.0, 0.6);
        let half = self.half;
        scene.canvas.shadow(&scene.pose, half, &cast, |u, v| box_distance(u, v, half, 4.0));
        let Scene { canvas, pose, grain, .. } = scene;
        canvas.paint(pose, (0.0, 0.0), (half.0 + 2.0, half.1 + 2.0), |u, v, texel| {
            let d = box_distance(u, v, half, 4.0);
            let share = coverage(self.outline(u, v));
            if share == 0.0 {
                return;
            }
            // Grinding marks run along the tile and drift a little sideways.
            let drift = 1.6 * grain.at(3.0, v * 0.012);
            let mark = self.marks.at((u + drift) * 2.2 + 300.0);
            let fade = 0.75 + 0.5 * grain.at(u * 0.11 + 20.0, v * 0.016);
            let chatter = self.chatter.at(v * 0.55 + 300.0);
            let speckle = grain.at(u * 0.75, v * 0.75);
            let cloud = grain.at(u * 0.024 + 60.0, v * 0.024);
            // The arc turns its flanks away from the lamp.
            let flank = (u / half.0).abs().powi(3);
            let tone = 1.0 + 0.26 * mark * fade + 0.05 * chatter + 0.11 * speckle + 0.10 * cloud
                - 0.30 * flank;
            let mut ferrite = FERRITE;
            ferrite.colour = ferrite.colour.map(|channel| channel * tone);
            let arc = 5.0 * (1.0 - (u / half.0) * (u / half.0));
            let rough_edge = 1.2 * grain.at(u * 0.35, v * 0.35);
            let chamfer = 3.2 * ramp(d + rough_edge * 0.7, -4.2, 0.0);
            texel.cover(&ferrite, HEIGHT + arc - chamfer, share);
            let off = (u - self.glare_at) / 34.0;
            let streaks = (0.55 + 0.8 * mark * fade).max(0.0);
            texel.shine += share * self.glare * streaks / (1.0 + off * off);
            if let Some(bite) = &self.bite {
                bite.break_surface(u, v, texel, 3.5, colour(126, 124, 121));
            }
        });
        for &(at, radius) in &self.pores {
            canvas.paint(pose, at, (radius + 1.0, radius + 1.0), |u, v, texel| {
                let share = 0.75 * coverage(length(u - at.0, v - at.1) - radius);
                texel.dim(1.0 - share);
            });
        }
    }

    fn damage(&self, scene: &mut Scene, kind: DefectKind, random: &mut Pcg64Mcg) {
        let surface = |u: f32, v: f32| coverage(self.outline(u, v) + 1.0);
        let at = (
            random.random_range(-0.86..0.86_f32) * self.half.0,
            random.random_range(-0.86..0.86_f32) * self.half.1,
        );
        let heading_rad = random.random_range(0.35..2.79_f32) - std::f32::consts::FRAC_PI_2;
        let site = Site { at, heading_rad, surface: &surface };
        match kind {
            DefectKind::Scratch => {
                let bare = if random.random_bool(0.6) { 196 } else { 32 };
                let bare = colour(bare, bare, bare);
                let tool = Tool { bare, half_width_px: (0.6, 1.2) };
                flaws::scratch(scene, random, &site, &tool);
            }
            DefectKind::Dent => flaws::dent(scene, random, &site, true),
            DefectKind::Contamination => {
                let rust = Soil {
                    colour: colour(120, 92, 66),
                    cover: (0.5, 0.85),
                    gloss: 0.02,
                    radius_px: (7.0, 18.0),
                };
                flaws::stain(scene, random, &site, &rust);
            }
            DefectKind::Crack => {
                let turned = if random.random_bool(0.5) { 0.0 } else { std::f32::consts::PI };
                let site = Site { heading_rad: heading_rad + turned, ..site };
                flaws::crack(scene, random, &site);
            }
            _ => {}
        }
    }
}

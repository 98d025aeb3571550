//! An aluminium blister: embossed foil, six domes with a tablet each, an ink-jet code.

use std::f32::consts::TAU;

use rand::Rng;
use rand_pcg::Pcg64Mcg;

use super::Fault;
use crate::simulator::canvas::{Material, box_distance, colour, coverage, length, ramp};
use crate::simulator::defects::DefectKind;
use crate::simulator::flaws::{self, Bite, Site, Soil, Tool};
use crate::simulator::lettering::{Misprint, Print, Style};
use crate::simulator::scene::Scene;

const FOIL: Material = Material { colour: colour(158, 161, 166), gloss: 0.34 };
const TABLET: Material = Material { colour: colour(214, 205, 186), gloss: 0.05 };
const INK: Material = Material { colour: colour(24, 24, 34), gloss: 0.02 };
const HALF: (f32, f32) = (94.0, 134.0);
const DOME_RADIUS: f32 = 34.0;
const COLUMNS: [f32; 2] = [-45.0, 45.0];
const ROWS: [f32; 3] = [-92.0, -18.0, 56.0];
const CODE: [&str; 2] = ["LOT 5273B", "EXP 08.27"];
const CODE_AT: [f32; 2] = [104.0, 119.5];

#[derive(Clone, Copy)]
struct Tablet {
    at: (f32, f32),
    radius: f32,
    /// Width over length: below 1 the tablet stands on its edge.
    aspect: f32,
    turn_rad: f32,
    tint: f32,
    bite: Option<Bite>,
}

struct Blister {
    tablets: [Option<Tablet>; 6],
    emboss_phase: (f32, f32),
    code_shift: (f32, f32),
    code: [String; 2],
    misprint: Option<Misprint>,
    bite: Option<Bite>,
}

fn dome(index: usize) -> (f32, f32) {
    (COLUMNS[index % 2], ROWS[index / 2])
}

pub(super) fn paint(scene: &mut Scene, fault: Option<Fault>) {
    let mut blister = Blister::with_tolerances(&mut scene.tolerance);
    let Some(Fault { kind, mut random }) = fault else {
        blister.paint(scene);
        return;
    };
    let index = random.random_range(0..6);
    blister.spoil(kind, index, &mut random);
    blister.paint(scene);
    blister.damage(scene, kind, index, &mut random);
}

impl Blister {
    fn with_tolerances(random: &mut Pcg64Mcg) -> Self {
        let tablets = std::array::from_fn(|index| {
            let (u, v) = dome(index);
            Some(Tablet {
                at: (u + random.random_range(-2.0..2.0), v + random.random_range(-2.0..2.0)),
                radius: 25.5 + random.random_range(-0.3..0.3),
                aspect: 1.0,
                turn_rad: random.random_range(0.0..TAU),
                tint: random.random_range(0.97..1.03),
                bite: None,
            })
        });
        Self {
            tablets,
            emboss_phase: (random.random_range(-0.8..0.8), random.random_range(-0.8..0.8)),
            code_shift: (random.random_range(-1.2..1.2), random.random_range(-1.0..1.0)),
            code: CODE.map(str::to_owned),
            misprint: None,
            bite: None,
        }
    }

    fn spoil(&mut self, kind: DefectKind, index: usize, random: &mut Pcg64Mcg) {
        match kind {
            DefectKind::Missing => self.tablets[index] = None,
            DefectKind::Misplaced => {
                if let Some(tablet) = &mut self.tablets[index] {
                    tablet.aspect = random.random_range(0.36..0.6);
                    let (u, v) = dome(index);
                    tablet.at =
                        (u + random.random_range(-5.0..5.0), v + random.random_range(-5.0..5.0));
                }
            }
            DefectKind::ChippedEdge => {
                let angle: f32 = random.random_range(0.0..TAU);
                if random.random_bool(0.75) {
                    if let Some(tablet) = &mut self.tablets[index] {
                        let (u, v) = tablet.at;
                        let edge = tablet.radius;
                        let at = (u + edge * angle.cos(), v + edge * angle.sin());
                        tablet.bite = Some(Bite::new(random, at, 14.0, 23.0));
                    }
                } else {
                    let side = if random.random_bool(0.5) { HALF.0 } else { -HALF.0 };
                    let at = (side, random.random_range(-0.9..0.9) * HALF.1);
                    self.bite = Some(Bite::new(random, at, 15.0, 24.0));
                }
            }
            DefectKind::WrongPrint => self.misprint(random),
            _ => {}
        }
    }

    fn misprint(&mut self, random: &mut Pcg64Mcg) {
        match random.random_range(0..3) {
            0 => {
                let angle: f32 = random.random_range(-0.5..0.5);
                let direction = (angle.cos(), angle.sin());
                let length = random.random_range(12.0..24.0);
                self.misprint = Some(Misprint::Smear { direction, length });
            }
            1 => {
                let from = random.random_range(0.0..0.4);
                let to = from + random.random_range(0.45..0.65);
                self.misprint = Some(Misprint::Gap { from, to });
            }
            _ => self.code = ["BATCH 881".to_owned(), "08 PMA.27".to_owned()],
        }
    }

    fn outline(&self, u: f32, v: f32) -> f32 {
        let card = box_distance(u, v, HALF, 11.0);
        match &self.bite {
            Some(bite) => card.max(-bite.through(u, v)),
            None => card,
        }
    }

    fn paint(&self, scene: &mut Scene) {
        let cast = scene.shadow(4.0, 0.5);
        scene.canvas.shadow(&scene.pose, HALF, &cast, |u, v| box_distance(u, v, HALF, 11.0));
        self.paint_foil(scene);
        for (index, tablet) in self.tablets.iter().enumerate() {
            hollow(scene, index);
            if let Some(tablet) = tablet {
                tablet.paint(scene);
            }
            cover_dome(scene, index);
        }
        for (line, text) in self.code.iter().enumerate() {
            let at = (self.code_shift.0, CODE_AT[line] + self.code_shift.1);
            let print =
                Print { text, at, pitch: 1.75, style: Style::Dots, ink: INK, density: 0.92 };
            print.paint(&mut scene.canvas, &scene.pose, self.misprint);
        }
    }

    fn paint_foil(&self, scene: &mut Scene) {
        let Scene { canvas, pose, grain, .. } = scene;
        let (phase_u, phase_v) = self.emboss_phase;
        canvas.paint(pose, (0.0, 0.0), (HALF.0 + 2.0, HALF.1 + 2.0), |u, v, texel| {
            let share = coverage(self.outline(u, v));
            if share == 0.0 {
                return;
            }
            // Sealing rollers emboss a diamond grid; the foil is never quite flat.
            let ridge = |place: f32| ((place / 11.0).rem_euclid(1.0) - 0.5).abs() * 2.0;
            let printed = ramp(v, 91.0, 94.0);
            let grid = ridge(u + v + phase_u) + ridge(u - v + phase_v);
            let emboss = 1.3 * (grid - 1.0) * (1.0 - 0.9 * printed);
            let buckle = 1.3 * grain.at(u * 0.045, v * 0.045) + 0.3 * grain.at(u * 0.17, v * 0.17);
            let buckle = buckle * (1.0 - 0.5 * printed);
            let rolled = grain.at(u * 0.9 + 30.0, v * 0.05);
            let mut foil = FOIL;
            let tone = 1.0 + 0.07 * rolled + 0.08 * grain.at(u * 0.03 + 50.0, v * 0.03);
            foil.colour = foil.colour.map(|channel| channel * tone);
            texel.cover(&foil, 2.0 + emboss + buckle, share);
            // A perforation parts the rows.
            let tear = (v + 55.0).abs().min((v - 19.0).abs());
            if tear < 1.6 && (u * 0.125).rem_euclid(1.0) < 0.55 {
                texel.dim(1.0 - 0.65 * coverage(tear - 0.6) * share);
            }
            if let Some(bite) = &self.bite {
                bite.break_surface(u, v, texel, 1.0, colour(196, 197, 200));
            }
        });
    }

    fn damage(&self, scene: &mut Scene, kind: DefectKind, index: usize, random: &mut Pcg64Mcg) {
        let surface = |u: f32, v: f32| coverage(self.outline(u, v) + 1.0);
        let angle: f32 = random.random_range(0.0..TAU);
        let (u, v) = dome(index);
        let away = random.random_range(0.0..14.0_f32);
        let at = (u + away * angle.cos(), v + away * angle.sin());
        let heading_rad = random.random_range(0.0..TAU);
        match kind {
            DefectKind::Scratch => {
                let site = Site { at, heading_rad, surface: &surface };
                let tool = Tool { bare: colour(16, 16, 20), half_width_px: (1.4, 2.4) };
                flaws::scratch(scene, random, &site, &tool);
            }
            DefectKind::Dent => {
                flaws::dent(scene, random, &Site { at, heading_rad, surface: &surface }, false);
            }
            DefectKind::Contamination => {
                let soils = [colour(96, 52, 30), colour(44, 44, 46), colour(84, 110, 60)];
                let soil = Soil {
                    colour: soils[random.random_range(0..3)],
                    cover: (0.6, 0.92),
                    gloss: 0.05,
                    radius_px: (7.0, 13.0),
                };
                flaws::stain(scene, random, &Site { at, heading_rad, surface: &surface }, &soil);
            }
            _ => {}
        }
    }
}

impl Tablet {
    fn paint(&self, scene: &mut Scene) {
        let shadow = scene.shadow(4.0, 0.5);
        let turned = scene.pose.child(self.at, self.turn_rad);
        let outline = |u: f32, v: f32| self.outline(u, v);
        let half = (self.radius + 1.0, self.radius + 1.0);
        let child_shadow = shadow.turned(self.turn_rad);
        scene.canvas.shadow(&turned, half, &child_shadow, outline);
        let (sin, cos) = self.turn_rad.sin_cos();
        let Scene { canvas, grain, .. } = scene;
        canvas.paint(&turned, (0.0, 0.0), half, |u, v, texel| {
            let d = outline(u, v);
            let (bite_u, bite_v) = (self.at.0 + u * cos - v * sin, self.at.1 + u * sin + v * cos);
            let broken = self.bite.map_or(f32::MAX, |bite| bite.through(bite_u, bite_v));
            let share = coverage(d.max(-broken));
            if share == 0.0 {
                return;
            }
            let chalk = 1.0 + 0.06 * grain.at(u * 0.8 + self.at.0, v * 0.8 + self.at.1);
            let mut material = TABLET;
            material.colour = material.colour.map(|channel| channel * chalk * self.tint);
            let crown = 3.4 * (1.0 - (1.0 + d / self.radius).clamp(0.0, 1.0).powi(2));
            let bevel = 3.0 * (1.0 - ramp(d, -3.0, 0.0));
            texel.cover(&material, 3.0 + crown + bevel, share);
            if let Some(bite) = &self.bite {
                bite.break_surface(bite_u, bite_v, texel, 4.0, colour(190, 182, 164));
            }
        });
    }

    fn outline(&self, u: f32, v: f32) -> f32 {
        // Lying flat a disc; on its edge a narrow slab with round ends.
        if self.aspect > 0.99 {
            length(u, v) - self.radius
        } else {
            box_distance(
                u,
                v,
                (self.radius, self.radius * self.aspect),
                self.radius * self.aspect * 0.7,
            )
        }
    }
}

/// The formed pocket: a flange around it and shade inside.
fn hollow(scene: &mut Scene, index: usize) {
    let at = dome(index);
    let reach = DOME_RADIUS + 4.0;
    let deep = scene.shadow(5.0, 0.0).offset;
    scene.canvas.paint(&scene.pose, at, (reach, reach), |u, v, texel| {
        let (du, dv) = (u - at.0, v - at.1);
        let d = length(du, dv) - DOME_RADIUS;
        let rim = (1.0 - (d / 2.4).abs()).max(0.0);
        let inside = coverage(d / 2.0);
        // The emboss does not reach under the dome.
        texel.height += (2.0 - texel.height) * inside;
        texel.height += 2.0 * rim;
        // The wall on the lamp's side throws its shadow into the pocket.
        let shaded = ramp(length(du - deep.0, dv - deep.1), DOME_RADIUS - 6.0, DOME_RADIUS);
        texel.dim(1.0 - inside * (0.36 + 0.25 * shaded));
    });
}

/// Clear film over pocket and tablet: a haze and the lamp's reflections.
fn cover_dome(scene: &mut Scene, index: usize) {
    let at = dome(index);
    let (hx, hy) = scene.pose.direction_to_part(scene.light.half_way());
    let norm = length(hx, hy).max(1e-3);
    let (hx, hy) = (hx / norm, hy / norm);
    scene.canvas.paint(&scene.pose, at, (DOME_RADIUS, DOME_RADIUS), |u, v, texel| {
        let (du, dv) = (u - at.0, v - at.1);
        let r = length(du, dv);
        let inside = coverage(r - DOME_RADIUS + 1.0);
        if inside == 0.0 {
            return;
        }
        let facing = (du * hx + dv * hy) / r.max(1.0);
        let crescent =
            (1.0 - (r - DOME_RADIUS + 4.5).abs() / 2.6).max(0.0) * ramp(facing, 0.80, 0.97);
        let back = (1.0 - (r - DOME_RADIUS + 4.0).abs() / 2.2).max(0.0) * ramp(-facing, 0.75, 0.98);
        let spot = length(du - hx * 18.0, dv - hy * 18.0);
        let glint = (1.0 - spot / 4.0).clamp(0.0, 1.0);
        texel.shine += inside * (0.62 * crescent + 0.25 * back + 0.5 * glint + 0.008);
    });
}

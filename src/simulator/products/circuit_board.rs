//! A small control board: traces, vias, screen print, fourteen components and a pin header.

use std::f32::consts::{FRAC_PI_2, PI, TAU};

use rand::Rng;
use rand_pcg::Pcg64Mcg;

use super::Fault;
use super::components::{self, Component, GOLD, Marking, Package, SOLDER};
use crate::simulator::canvas::{
    Canvas, Material, Pose, Texel, box_distance, chain_box, chain_distance, colour, coverage,
    length, ramp,
};
use crate::simulator::defects::DefectKind;
use crate::simulator::flaws::{self, Bite, Site, Soil, Tool};
use crate::simulator::lettering::{Misprint, Print, Style};
use crate::simulator::scene::Scene;

const MASK: Material = Material { colour: colour(30, 92, 60), gloss: 0.10 };
const TRACE: Material = Material { colour: colour(46, 118, 76), gloss: 0.14 };
const SCREEN: Material = Material { colour: colour(196, 200, 196), gloss: 0.02 };
const NYLON: Material = Material { colour: colour(186, 182, 168), gloss: 0.10 };
const HALF: (f32, f32) = (118.0, 102.0);
const BOARD_HEIGHT: f32 = 2.5;
const HEADER: ((f32, f32), (f32, f32)) = ((103.0, 0.0), (12.0, 60.0));
const HEADER_PITCH: f32 = 18.0;

const fn component(package: Package, u: f32, v: f32, angle_rad: f32) -> Component {
    Component { package, at: (u, v), angle_rad }
}

const COMPONENTS: [Component; 12] = [
    component(Package::Circuit, -6.0, -14.0, 0.0),
    component(Package::Can { radius: 21.0 }, -86.0, -30.0, 0.0),
    component(Package::Can { radius: 17.0 }, -86.0, 30.0, FRAC_PI_2),
    component(Package::Resistor("103"), -62.0, -80.0, 0.0),
    component(Package::Resistor("472"), -16.0, -80.0, 0.0),
    component(Package::Capacitor, 29.0, -80.0, 0.0),
    component(Package::Resistor("220"), 66.0, -77.0, FRAC_PI_2),
    component(Package::Capacitor, -50.0, 60.0, FRAC_PI_2),
    component(Package::Resistor("681"), -24.0, 60.0, FRAC_PI_2),
    component(Package::Diode, 14.0, 52.0, 0.0),
    component(Package::Transistor, 62.0, 34.0, 0.0),
    component(Package::Diode, 60.0, 76.0, PI),
];

const TRACES: [&[(f32, f32)]; 11] = [
    &[(-38.0, -44.0), (-38.0, -58.0), (-62.0, -72.0)],
    &[(-27.0, -44.0), (-27.0, -60.0), (-16.0, -72.0)],
    &[(-6.0, -44.0), (-6.0, -58.0), (29.0, -72.0)],
    &[(15.0, -44.0), (15.0, -54.0), (50.0, -54.0), (66.0, -64.0)],
    &[(26.0, -44.0), (34.0, -48.0), (80.0, -45.0)],
    &[(26.0, 16.0), (34.0, 22.0), (44.0, 22.0), (80.0, 9.0)],
    &[(15.0, 16.0), (15.0, 36.0), (2.0, 50.0)],
    &[(-6.0, 16.0), (-6.0, 34.0), (-24.0, 48.0)],
    &[(-27.0, 16.0), (-27.0, 32.0), (-50.0, 48.0)],
    &[(-86.0, -8.0), (-66.0, 2.0), (-38.0, 14.0)],
    &[(30.0, 52.0), (44.0, 66.0), (60.0, 72.0), (84.0, 60.0), (86.0, 45.0)],
];

const VIAS: [(f32, f32); 7] = [
    (46.0, 4.0),
    (54.0, -30.0),
    (64.0, -2.0),
    (-104.0, 62.0),
    (-72.0, 62.0),
    (-58.0, -50.0),
    (38.0, 20.0),
];

const MOUNTING_HOLES: [(f32, f32); 4] =
    [(-105.0, -89.0), (-105.0, 89.0), (102.0, -87.0), (102.0, 87.0)];

struct Board {
    components: [Option<Component>; 12],
    marking: Marking,
    /// Turn of every header pin.
    pins_rad: [f32; 6],
    bite: Option<Bite>,
}

pub(super) fn paint(scene: &mut Scene, fault: Option<Fault>) {
    let mut board = Board::with_tolerances(&mut scene.tolerance);
    let Some(Fault { kind, mut random }) = fault else {
        board.paint(scene);
        return;
    };
    board.spoil(kind, &mut random);
    board.paint(scene);
    board.damage(scene, kind, &mut random);
}

impl Board {
    fn with_tolerances(random: &mut Pcg64Mcg) -> Self {
        let components = COMPONENTS.map(|nominal| {
            let mut play = |most: f32| random.random_range(-most..most);
            Some(Component {
                at: (nominal.at.0 + play(0.8), nominal.at.1 + play(0.8)),
                angle_rad: nominal.angle_rad + play(0.025),
                ..nominal
            })
        });
        Self {
            components,
            marking: Marking { lines: ["LM2574N".to_owned(), "K2438A".to_owned()], misprint: None },
            pins_rad: std::array::from_fn(|_| random.random_range(-0.03..0.03)),
            bite: None,
        }
    }

    fn spoil(&mut self, kind: DefectKind, random: &mut Pcg64Mcg) {
        match kind {
            DefectKind::Missing => self.components[random.random_range(0..COMPONENTS.len())] = None,
            DefectKind::Misplaced => self.misplace(random),
            DefectKind::BentPin => {
                let turn: f32 = random.random_range(0.2..0.48);
                let turn = if random.random_bool(0.5) { turn } else { -turn };
                self.pins_rad[random.random_range(0..6)] = turn;
            }
            DefectKind::WrongPrint => match random.random_range(0..3) {
                0 => {
                    let angle: f32 = random.random_range(0.0..TAU);
                    let direction = (angle.cos(), angle.sin());
                    let length = random.random_range(6.0..13.0);
                    self.marking.misprint = Some(Misprint::Smear { direction, length });
                }
                1 => {
                    let from = random.random_range(0.0..0.35);
                    let to = from + random.random_range(0.5..0.65);
                    self.marking.misprint = Some(Misprint::Gap { from, to });
                }
                _ => self.marking.lines = ["TDA7052".to_owned(), "B91X5".to_owned()],
            },
            DefectKind::ChippedEdge => {
                let (u, v) = match random.random_range(0..4) {
                    0 => (-HALF.0, random.random_range(-0.95..0.95) * HALF.1),
                    1 => (random.random_range(-0.95..0.6) * HALF.0, -HALF.1),
                    2 => (random.random_range(-0.95..0.6) * HALF.0, HALF.1),
                    _ => (3.0 - HALF.0, HALF.1 - 3.0),
                };
                self.bite = Some(Bite::new(random, (u, v), 11.0, 20.0));
            }
            _ => {}
        }
    }

    fn misplace(&mut self, random: &mut Pcg64Mcg) {
        let index = random.random_range(0..COMPONENTS.len());
        let Some(component) = &mut self.components[index] else { return };
        let angle: f32 = random.random_range(0.0..TAU);
        let away = random.random_range(5.0..10.0);
        let turn: f32 = random.random_range(0.3..0.9);
        component.at.0 += away * angle.cos();
        component.at.1 += away * angle.sin();
        component.angle_rad += match component.package {
            // Round and long ones: the wrong way round, or clearly askew.
            Package::Can { .. } => random.random_range(1.2..2.6),
            Package::Circuit => turn * 0.25,
            _ => turn,
        };
    }

    fn outline(&self, u: f32, v: f32) -> f32 {
        let board = box_distance(u, v, HALF, 5.0);
        match &self.bite {
            Some(bite) => board.max(-bite.through(u, v)),
            None => board,
        }
    }

    fn paint(&self, scene: &mut Scene) {
        let cast = scene.shadow(4.0, 0.55);
        scene.canvas.shadow(&scene.pose, HALF, &cast, |u, v| box_distance(u, v, HALF, 5.0));
        self.paint_header_pins(scene);
        self.paint_laminate(scene);
        let Scene { canvas, pose, .. } = scene;
        for points in TRACES {
            trace(canvas, pose, points);
        }
        for at in VIAS {
            ring(canvas, pose, at, (2.0, 4.0));
        }
        for at in MOUNTING_HOLES {
            ring(canvas, pose, at, (6.0, 9.5));
        }
        paint_pads(canvas, pose);
        paint_screen_print(canvas, pose);
        let pose = scene.pose;
        for component in self.components.iter().flatten() {
            let at = component.pose(&pose);
            let Component { package, angle_rad, .. } = *component;
            components::paint(scene, &at, angle_rad, package, &self.marking);
        }
        paint_header(scene);
        if let Some(bite) = &self.bite {
            let reach = (40.0, 40.0);
            scene.canvas.paint(&pose, bite.at, reach, |u, v, texel| {
                if self.outline(u, v) < 0.0 {
                    bite.break_surface(u, v, texel, 1.5, colour(176, 164, 122));
                }
            });
        }
    }

    fn paint_laminate(&self, scene: &mut Scene) {
        let Scene { canvas, pose, grain, .. } = scene;
        canvas.paint(pose, (0.0, 0.0), (HALF.0 + 1.0, HALF.1 + 1.0), |u, v, texel| {
            let d = self.outline(u, v);
            let share = coverage(d);
            if share == 0.0 {
                return;
            }
            let fibre = 0.05 * grain.at(u * 0.5, v * 0.08) + 0.05 * grain.at(u * 0.08, v * 0.5);
            let cloud = 0.07 * grain.at(u * 0.03 + 9.0, v * 0.03);
            let mut mask = MASK;
            // The routed edge shows the bare laminate.
            let edge = ramp(d, -2.2, -1.4);
            for (channel, bare) in mask.colour.iter_mut().zip(colour(134, 138, 92)) {
                *channel = (*channel + (bare - *channel) * edge) * (1.0 + fibre + cloud);
            }
            texel.cover(&mask, BOARD_HEIGHT, share);
        });
    }

    fn paint_header_pins(&self, scene: &mut Scene) {
        let shadow = scene.shadow(4.0, 0.5);
        for (index, &turn_rad) in self.pins_rad.iter().enumerate() {
            let v = (index as f32 - 2.5) * HEADER_PITCH;
            let root = scene.pose.child((HEADER.0.0 + 10.0, v), turn_rad);
            let pin = |u: f32, v: f32| box_distance(u - 18.0, v, (18.0, 3.0), 1.0);
            scene.canvas.paint(&root, (20.0, 0.0), (26.0, 10.0), |u, v, texel| {
                let d = pin(u - shadow.offset.0, v - shadow.offset.1);
                texel.dim(1.0 - 0.5 * (0.5 - d / 4.0).clamp(0.0, 1.0));
            });
            scene.canvas.paint(&root, (18.0, 0.0), (19.0, 4.0), |u, v, texel| {
                let tip = 1.6 * ramp(u, 31.0, 36.0);
                texel.cover(&GOLD, 4.0 - tip - 0.5 * v.abs(), coverage(pin(u, v)));
            });
        }
    }

    fn damage(&self, scene: &mut Scene, kind: DefectKind, random: &mut Pcg64Mcg) {
        let surface = |u: f32, v: f32| coverage(self.outline(u, v) + 1.0);
        let at = (random.random_range(-96.0..76.0), random.random_range(-86.0..86.0));
        let site = Site { at, heading_rad: random.random_range(0.0..TAU), surface: &surface };
        match kind {
            DefectKind::Scratch => {
                let tool = Tool { bare: colour(222, 178, 124), half_width_px: (0.9, 1.6) };
                flaws::scratch(scene, random, &site, &tool);
            }
            DefectKind::Contamination => {
                let soils = [colour(150, 108, 46), colour(190, 184, 170), colour(60, 40, 26)];
                let soil = Soil {
                    colour: soils[random.random_range(0..3)],
                    cover: (0.7, 0.94),
                    gloss: 0.35,
                    radius_px: (10.0, 19.0),
                };
                flaws::stain(scene, random, &site, &soil);
            }
            _ => {}
        }
    }
}

fn trace(canvas: &mut Canvas, pose: &Pose, points: &[(f32, f32)]) {
    let (middle, half) = chain_box(points, 3.0);
    canvas.paint(pose, middle, half, |u, v, texel| {
        let (d, _) = chain_distance(u, v, points);
        texel.tint(TRACE.colour, coverage(d - 1.3));
        texel.height += 0.5 * coverage(d - 1.3);
    });
}

/// A plated hole: `radii` of the drill and of the ring around it.
fn ring(canvas: &mut Canvas, pose: &Pose, at: (f32, f32), radii: (f32, f32)) {
    let reach = radii.1 + 1.0;
    canvas.paint(pose, at, (reach, reach), |u, v, texel| {
        let r = length(u - at.0, v - at.1);
        texel.cover(&GOLD, BOARD_HEIGHT + 0.6, coverage(r - radii.1));
        let hole = Material { colour: colour(28, 26, 24), gloss: 0.0 };
        texel.cover(&hole, BOARD_HEIGHT - 1.5, coverage(r - radii.0));
    });
}

fn solder_joint(texel: &mut Texel, d: f32, height: f32) {
    texel.cover(&SOLDER, BOARD_HEIGHT + height * ramp(-d, 0.0, 2.5), coverage(d));
}

fn paint_pads(canvas: &mut Canvas, pose: &Pose) {
    for component in &COMPONENTS {
        let at = component.pose(pose);
        for (middle, half) in component.package.pads() {
            canvas.paint(&at, middle, (half.0 + 1.0, half.1 + 1.0), |u, v, texel| {
                let d = box_distance(u - middle.0, v - middle.1, half, 1.2);
                solder_joint(texel, d, 0.9);
            });
        }
    }
}

fn paint_screen_print(canvas: &mut Canvas, pose: &Pose) {
    let labels = [
        ("U1", (-6.0, -54.0)),
        ("C1", (-86.0, -60.0)),
        ("C2", (-86.0, 58.0)),
        ("D1", (14.0, 70.0)),
        ("Q1", (40.0, 36.0)),
        ("CTRL-24V", (-42.0, 91.0)),
    ];
    for (text, at) in labels {
        let pitch = if text.len() > 2 { 1.5 } else { 1.25 };
        let print =
            Print { text, at: (0.0, 0.0), pitch, style: Style::Closed, ink: SCREEN, density: 0.85 };
        print.paint(canvas, &pose.child(at, 0.0), None);
    }
    for component in &COMPONENTS {
        let half = match component.package {
            Package::Circuit => (44.0, 19.0),
            Package::Can { radius } => (radius + 3.5, radius + 3.5),
            Package::Transistor => (12.5, 13.5),
            _ => (17.0, 9.0),
        };
        let at = component.pose(pose);
        canvas.paint(&at, (0.0, 0.0), (half.0 + 1.0, half.1 + 1.0), |u, v, texel| {
            let d = match component.package {
                Package::Can { radius } => length(u, v) - radius - 3.0,
                _ => box_distance(u, v, half, 1.5),
            };
            texel.tint(SCREEN.colour, 0.8 * coverage(d.abs() - 0.3));
        });
    }
}

fn paint_header(scene: &mut Scene) {
    let (middle, half) = HEADER;
    let shadow = scene.shadow(6.0, 0.55);
    let outline = |u: f32, v: f32| box_distance(u - middle.0, v, half, 1.5);
    scene.canvas.shadow(&scene.pose, (middle.0 + half.0, half.1), &shadow, outline);
    let Scene { canvas, pose, grain, .. } = scene;
    canvas.paint(pose, middle, (half.0 + 14.0, half.1 + 1.0), |u, v, texel| {
        let pitch = (v / HEADER_PITCH).rem_euclid(1.0);
        let across = (pitch - 0.5) * HEADER_PITCH;
        // Soldered tails left of the body.
        let tail = box_distance(u - (middle.0 - 18.0), across, (5.0, 4.2), 3.0);
        if v.abs() < 3.0 * HEADER_PITCH {
            solder_joint(texel, tail, 2.4);
        }
        let d = outline(u, v);
        let share = coverage(d);
        if share > 0.0 {
            let rib = 0.8 * coverage(across.abs() - 6.5);
            let mut nylon = NYLON;
            let rough = 1.0 + 0.05 * grain.at(u * 0.6, v * 0.6);
            nylon.colour = nylon.colour.map(|channel| channel * rough);
            texel.cover(&nylon, 8.0 + rib - 2.5 * ramp(d, -2.0, 0.0), share);
        }
    });
}

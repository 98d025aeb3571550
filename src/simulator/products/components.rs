//! Components of the drawn circuit board, each in its own coordinates.

use crate::simulator::canvas::{
    Canvas, Material, Pose, box_distance, colour, coverage, length, ramp,
};
use crate::simulator::lettering::{Misprint, Print, Style};
use crate::simulator::scene::Scene;

pub(super) const SOLDER: Material = Material { colour: colour(150, 152, 156), gloss: 0.75 };
pub(super) const GOLD: Material = Material { colour: colour(176, 140, 66), gloss: 0.6 };
const EPOXY: Material = Material { colour: colour(40, 40, 43), gloss: 0.10 };
const CERAMIC: Material = Material { colour: colour(150, 118, 84), gloss: 0.08 };
const RESISTIVE: Material = Material { colour: colour(34, 34, 40), gloss: 0.22 };
const ALUMINIUM: Material = Material { colour: colour(168, 170, 174), gloss: 0.3 };
const LASER: Material = Material { colour: colour(168, 168, 164), gloss: 0.02 };

/// Kinds of component, with what is printed on them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Package {
    Resistor(&'static str),
    Capacitor,
    Diode,
    Transistor,
    Can { radius: f32 },
    Circuit,
}

/// A component on the board.
#[derive(Clone, Copy, Debug)]
pub(super) struct Component {
    pub package: Package,
    pub at: (f32, f32),
    pub angle_rad: f32,
}

impl Component {
    /// Where it sits on a board that lies at `board`.
    pub fn pose(&self, board: &Pose) -> Pose {
        board.child(self.at, self.angle_rad).scaled(self.package.scale())
    }
}

/// What the circuit is marked with, and how well.
#[derive(Clone, Debug)]
pub(super) struct Marking {
    pub lines: [String; 2],
    pub misprint: Option<Misprint>,
}

/// Half length and half width of a circuit's body.
const CIRCUIT: (f32, f32) = (40.0, 22.0);

impl Package {
    /// How much larger than its own coordinates it is drawn.
    pub fn scale(self) -> f32 {
        match self {
            Self::Can { .. } | Self::Circuit => 1.0,
            _ => 1.28,
        }
    }

    /// Height over the board in pixels, for the shadow.
    fn height(self) -> f32 {
        match self {
            Self::Can { .. } => 9.0,
            Self::Circuit => 4.0,
            _ => 2.5,
        }
    }

    /// Distance outside the body.
    fn outline(self, u: f32, v: f32) -> f32 {
        match self {
            Self::Resistor(_) => box_distance(u, v, (10.0, 5.4), 0.6),
            Self::Capacitor => box_distance(u, v, (8.5, 5.4), 0.8),
            Self::Diode => box_distance(u, v, (11.0, 6.0), 0.8),
            Self::Transistor => box_distance(u, v, (9.5, 5.6), 0.8),
            Self::Can { radius } => length(u, v) - radius,
            Self::Circuit => box_distance(u, v, CIRCUIT, 1.0),
        }
    }

    /// Half size of a box around body and leads.
    fn reach(self) -> (f32, f32) {
        match self {
            Self::Can { radius } => (radius + 2.0, radius + 2.0),
            Self::Circuit => (CIRCUIT.0 + 2.0, CIRCUIT.1 + 13.0),
            _ => (16.0, 13.0),
        }
    }

    /// Centre and half size of every pad on the board.
    pub fn pads(self) -> Vec<((f32, f32), (f32, f32))> {
        match self {
            Self::Resistor(_) | Self::Diode => {
                vec![((-10.5, 0.0), (4.0, 6.0)), ((10.5, 0.0), (4.0, 6.0))]
            }
            Self::Capacitor => vec![((-9.0, 0.0), (3.6, 6.0)), ((9.0, 0.0), (3.6, 6.0))],
            Self::Transistor => {
                vec![((-6.0, 8.5), (2.8, 3.4)), ((6.0, 8.5), (2.8, 3.4)), ((0.0, -8.5), (2.8, 3.4))]
            }
            Self::Can { radius } => {
                vec![((-radius * 0.7, 0.0), (5.0, 3.0)), ((radius * 0.7, 0.0), (5.0, 3.0))]
            }
            Self::Circuit => (0..14).map(|lead| (lead_at(lead, 29.0), (2.9, 4.6))).collect(),
        }
    }

    fn leads(self) -> Vec<((f32, f32), (f32, f32))> {
        match self {
            Self::Transistor => {
                vec![((-6.0, 7.4), (1.9, 3.2)), ((6.0, 7.4), (1.9, 3.2)), ((0.0, -7.4), (1.9, 3.2))]
            }
            Self::Circuit => (0..14).map(|lead| (lead_at(lead, 26.5), (2.0, 5.4))).collect(),
            _ => Vec::new(),
        }
    }
}

/// Middle of a lead of the circuit, `v` pixels from its long axis.
fn lead_at(lead: usize, v: f32) -> (f32, f32) {
    let u = (lead % 7) as f32 * 10.6 - 31.8;
    (u, if lead < 7 { v } else { -v })
}

/// Paints a component that sits at `pose`.
pub(super) fn paint(
    scene: &mut Scene,
    pose: &Pose,
    turn_rad: f32,
    package: Package,
    mark: &Marking,
) {
    let reach = package.reach();
    let shadow = scene.shadow(package.height(), 0.55).turned(turn_rad);
    scene.canvas.shadow(pose, reach, &shadow, |u, v| package.outline(u, v));
    for (at, half) in package.leads() {
        let sign = if at.1 > 0.0 { 1.0 } else { -1.0 };
        let root = pose.child((at.0, at.1 - sign * half.1), 0.0);
        lead(&mut scene.canvas, &root, half, sign);
    }
    body(scene, pose, package);
    match package {
        Package::Circuit => marking(&mut scene.canvas, pose, mark),
        Package::Resistor(text) => {
            print(text, (0.0, 0.0), 0.85).paint(&mut scene.canvas, pose, None);
        }
        _ => {}
    }
}

/// A gull-wing lead from its root at the body outwards.
fn lead(canvas: &mut Canvas, root: &Pose, half: (f32, f32), sign: f32) {
    canvas.paint(root, (0.0, sign * half.1), (half.0 + 1.0, half.1 + 1.0), |u, v, texel| {
        let d = box_distance(u, v - sign * half.1, half, 0.8);
        let out = (v * sign / (2.0 * half.1)).clamp(0.0, 1.0);
        texel.cover(&SOLDER, 3.6 - 2.2 * ramp(out, 0.25, 0.7), coverage(d));
    });
}

fn body(scene: &mut Scene, pose: &Pose, package: Package) {
    let reach = package.reach();
    let Scene { canvas, grain, .. } = scene;
    canvas.paint(pose, (0.0, 0.0), reach, |u, v, texel| {
        let d = package.outline(u, v);
        let share = coverage(d);
        if share == 0.0 {
            return;
        }
        let bevel = ramp(d, -2.2, 0.0);
        let (material, height) = match package {
            Package::Resistor(_) if u.abs() > 6.8 => (SOLDER, 2.4 - 1.4 * ramp(u.abs(), 7.5, 10.0)),
            Package::Resistor(_) => (RESISTIVE, 2.5),
            Package::Capacitor if u.abs() > 5.6 => (SOLDER, 2.8 - 1.6 * ramp(u.abs(), 6.0, 8.5)),
            Package::Capacitor => (CERAMIC, 3.2 - bevel),
            Package::Diode if (-8.0..-4.5).contains(&u) => (LASER, 3.5 - 1.4 * bevel),
            Package::Diode | Package::Transistor => (EPOXY, 3.5 - 1.4 * bevel),
            Package::Circuit => {
                let dot = length(u + 34.0, v - 16.0) - 2.0;
                (EPOXY, 4.5 - 1.6 * bevel - 0.8 * coverage(dot))
            }
            Package::Can { radius } => {
                let sector = u < -0.52 * radius && d < -2.5;
                let dome = 1.6 * ramp(d, -4.5, -1.0) - 2.4 * ramp(d, -1.6, 0.0);
                (if sector { EPOXY } else { ALUMINIUM }, 9.0 + dome)
            }
        };
        let rough = 1.0 + 0.07 * grain.at(u * 0.9 + reach.0, v * 0.9);
        let material = Material { colour: material.colour.map(|c| c * rough), ..material };
        texel.cover(&material, height, share);
    });
}

fn print(text: &str, at: (f32, f32), pitch: f32) -> Print<'_> {
    Print { text, at, pitch, style: Style::Closed, ink: LASER, density: 0.9 }
}

fn marking(canvas: &mut Canvas, pose: &Pose, mark: &Marking) {
    for (line, text) in mark.lines.iter().enumerate() {
        let at = (1.0, line as f32 * 15.0 - 7.5);
        print(text, at, 1.6).paint(canvas, pose, mark.misprint);
    }
}

//! The products the simulator can draw: what they are called, how they lie, what can go wrong.

mod blister;
mod circuit_board;
mod components;
mod flange;
mod magnet_tile;

use rand_pcg::Pcg64Mcg;

use super::canvas::colour;
use super::defects::DefectKind;
use super::scene::{BeltLook, Placement, Scene};

/// A drawn product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProductKind {
    /// A turned steel flange with six bolt holes, lying as it comes (any rotation).
    Flange,
    /// A small assembled circuit board with a pin header.
    CircuitBoard,
    /// An aluminium blister with six tablets and an ink-jet code.
    Blister,
    /// A ground ferrite magnet tile: hardly any structure, all surface.
    MagnetTile,
}

/// Every product, by number.
pub fn products() -> &'static [ProductKind] {
    &[ProductKind::Flange, ProductKind::CircuitBoard, ProductKind::Blister, ProductKind::MagnetTile]
}

impl ProductKind {
    /// Name as used for folders and in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flange => "flange",
            Self::CircuitBoard => "circuit_board",
            Self::Blister => "blister",
            Self::MagnetTile => "magnet_tile",
        }
    }

    /// The product called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        products().iter().copied().find(|kind| kind.name() == name)
    }

    /// Number a PLC asks for, from 1.
    pub fn number(self) -> u16 {
        match self {
            Self::Flange => 1,
            Self::CircuitBoard => 2,
            Self::Blister => 3,
            Self::MagnetTile => 4,
        }
    }

    /// The product with this number.
    pub fn from_number(number: u16) -> Option<Self> {
        products().iter().copied().find(|kind| kind.number() == number)
    }

    /// Width and height of its pictures in pixels.
    pub fn picture_size(self) -> (u32, u32) {
        (super::canvas::SIDE as u32, super::canvas::SIDE as u32)
    }

    /// The defects it can have.
    pub fn defect_kinds(self) -> &'static [DefectKind] {
        use DefectKind::*;
        match self {
            Self::Flange => &[Scratch, Dent, ChippedEdge, Missing, Misplaced, Contamination, Crack],
            Self::CircuitBoard => {
                &[Scratch, ChippedEdge, Missing, Misplaced, Contamination, WrongPrint, BentPin]
            }
            Self::Blister => {
                &[Scratch, Dent, ChippedEdge, Missing, Misplaced, Contamination, WrongPrint]
            }
            Self::MagnetTile => &[Scratch, Dent, ChippedEdge, Contamination, Crack],
        }
    }

    pub(super) fn placement(self) -> Placement {
        let (centre, shift_px, turn_deg) = match self {
            Self::Flange => ((160.0, 160.0), 3.0, 15.0),
            Self::CircuitBoard => ((149.0, 160.0), 3.0, 1.8),
            Self::Blister => ((160.0, 160.0), 2.5, 1.0),
            Self::MagnetTile => ((160.0, 160.0), 4.0, 2.5),
        };
        Placement { centre, shift_px, turn_deg }
    }

    pub(super) fn belt_look(self) -> BeltLook {
        let (colour, rib_px) = match self {
            Self::Flange => (colour(58, 66, 74), 12.0),
            Self::CircuitBoard => (colour(98, 100, 104), 9.0),
            Self::Blister => (colour(36, 72, 112), 11.0),
            Self::MagnetTile => (colour(44, 84, 66), 10.0),
        };
        BeltLook { colour, rib_px }
    }

    pub(super) fn paint(self, scene: &mut Scene, fault: Option<Fault>) {
        match self {
            Self::Flange => flange::paint(scene, fault),
            Self::CircuitBoard => circuit_board::paint(scene, fault),
            Self::Blister => blister::paint(scene, fault),
            Self::MagnetTile => magnet_tile::paint(scene, fault),
        }
    }
}

/// What is to go wrong with a part, and the random numbers that say where and how.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub kind: DefectKind,
    pub random: Pcg64Mcg,
}

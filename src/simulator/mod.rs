//! Drawn products with defects and masks, a belt with trigger and encoder; truth by trigger time.
//!
//! Everything is a function of its seeds: no thread, no clock, no global state. The daemon's
//! simulated camera and in-memory wires play what [`Belt`] schedules and [`draw`] shows;
//! [`data_set_parts`] gives the same parts as a data set.

mod belt;
mod canvas;
mod data_set;
mod defects;
mod exposure;
mod flaws;
mod lettering;
mod noise;
mod products;
mod scene;
#[cfg(test)]
mod tests;
mod truth;

pub use belt::{Belt, BeltSettings, ScheduledPart};
pub use data_set::{DataSetPart, FIRST_LIVE_PART, Split, data_set_parts};
pub use defects::DefectKind;
pub use products::{ProductKind, products};
pub use truth::{Truth, TruthLog};

use image::{GrayImage, RgbImage};
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

use canvas::SIDE;
use products::Fault;
use scene::{Purpose, Scene, stream};

/// A picture of a part, and the truth about it.
#[derive(Clone, Debug, PartialEq)]
pub struct DrawnPart {
    /// The picture, RGB.
    pub picture: RgbImage,
    /// Same size: 255 where the defect changed the picture, 0 elsewhere; `None` for a good part.
    pub mask: Option<GrayImage>,
    /// The defect in the picture.
    pub defect: Option<DefectKind>,
}

/// Tries at a defect before it is drawn elsewhere; a defect may land where it hardly shows.
const TRIES: u64 = 24;

/// Draws part number `part` of the run `seed`.
///
/// The same (kind, seed, part) is the same part with and without a defect: outside the mask the
/// pictures are equal in every pixel. A defect the product cannot have
/// ([`ProductKind::defect_kinds`]) draws a good part.
pub fn draw(kind: ProductKind, seed: u64, part: u64, defect: Option<DefectKind>) -> DrawnPart {
    let ground = Scene::new(kind, seed, part);
    let mut good = ground.clone();
    kind.paint(&mut good, None);
    let clean = good.exposure.expose(&good.light.shade(&good.canvas, 0..SIDE), 0);
    let wanted = defect.filter(|wanted| kind.defect_kinds().contains(wanted));
    let spoiled = wanted.and_then(|wanted| {
        let mut source = stream(kind, seed, part, Purpose::Defect(wanted));
        (0..TRIES).find_map(|_| {
            let random = Pcg64Mcg::seed_from_u64(source.random());
            let mut bad = ground.clone();
            kind.paint(&mut bad, Some(Fault { kind: wanted, random }));
            let spoiled = expose_changes(&clean, &good, &bad)?;
            defects::visible_change(&clean, &spoiled).map(|mask| (spoiled, mask))
        })
    });
    let Some((spoiled, mask)) = spoiled else {
        return DrawnPart { picture: clean, mask: None, defect: None };
    };
    let mut picture = clean;
    for ((pixel, &changed), &marked) in
        picture.pixels_mut().zip(spoiled.pixels()).zip(mask.as_raw())
    {
        if marked == 255 {
            *pixel = changed;
        }
    }
    DrawnPart { picture, mask: Some(mask), defect: wanted }
}

/// The picture of `bad`, whose clean counterpart `good` has the picture `clean`: only the rows
/// that a difference can reach are lit and exposed again. `None` when nothing differs.
fn expose_changes(clean: &RgbImage, good: &Scene, bad: &Scene) -> Option<RgbImage> {
    let differs = |row: &usize| good.canvas.row(*row) != bad.canvas.row(*row);
    let first = (0..SIDE).find(differs)?;
    let last = (0..SIDE).rfind(differs)?;
    // Slope and blur each reach one row further; one more gives the blur its neighbours.
    let given = first.saturating_sub(3)..(last + 4).min(SIDE);
    let wanted = first.saturating_sub(2)..(last + 3).min(SIDE);
    let strip = bad.exposure.expose(&bad.light.shade(&bad.canvas, given.clone()), given.start);
    let mut picture = clean.clone();
    let row_bytes = SIDE * 3;
    let from = (wanted.start - given.start) * row_bytes;
    picture.as_mut()[wanted.start * row_bytes..wanted.end * row_bytes]
        .copy_from_slice(&strip.as_raw()[from..from + wanted.len() * row_bytes]);
    Some(picture)
}

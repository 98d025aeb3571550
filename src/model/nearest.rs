//! Plain nearest neighbours on held-out good parts and pseudo-anomalies: the row that a trained
//! engine must not lose to (baseline: distance to the nearest of 20,000 random good patches).

use super::data::is_held_out;
use crate::evaluation::neighbours::{search_grid, smooth_map};
use crate::product::{TEACHING_SEED, TeachError, Teacher, TokenSizes, unit_tokens};
use image::RgbImage;
use rand::SeedableRng;
use rand_pcg::Pcg64;

/// Patches remembered.
const PATCHES: usize = 20_000;

/// Distance maps, S·S each; the score of a picture is its map's maximum.
pub struct NearestMaps {
    /// Of every good part held back, in order of name.
    pub good: Vec<Vec<f32>>,
    /// Of the other pictures, in their order.
    pub others: Vec<Vec<f32>>,
}

/// Remembers those of `good` (S x S, in order of name) that are not held back and looks at the
/// held-back ones and at `others`.
pub fn nearest_maps(
    teacher: &mut dyn Teacher,
    good: &[RgbImage],
    others: &[RgbImage],
) -> Result<NearestMaps, TeachError> {
    let (sizes, side) = (TokenSizes::of(teacher.manifest()), teacher.manifest().side);
    let mut tokens = |picture: &RgbImage| {
        let input = teacher.normalise(picture);
        unit_tokens(&teacher.encode(&input)?.features, &sizes)
    };
    let width = sizes.width();
    let mut memory = Vec::new();
    for (_, picture) in good.iter().enumerate().filter(|(index, _)| !is_held_out(*index)) {
        memory.extend(tokens(picture)?);
    }
    let count = memory.len() / width;
    if count > PATCHES {
        let mut random = Pcg64::seed_from_u64(TEACHING_SEED);
        let drawn = rand::seq::index::sample(&mut random, count, PATCHES);
        memory =
            drawn.iter().flat_map(|patch| &memory[patch * width..][..width]).copied().collect();
    }
    let mut map = |picture: &RgbImage| {
        let grid = search_grid(&tokens(picture)?, &memory, width);
        Ok(smooth_map(&grid, &sizes, side))
    };
    let held_back = good.iter().enumerate().filter(|(index, _)| is_held_out(*index));
    Ok(NearestMaps {
        good: held_back.map(|(_, picture)| map(picture)).collect::<Result<_, TeachError>>()?,
        others: others.iter().map(map).collect::<Result<_, TeachError>>()?,
    })
}

//! Each map by itself, of good parts a memory has not seen and of other pictures beside them: what
//! training needs to weigh the maps against each other.

use super::folds::folds;
use super::teacher::{TeachError, Teacher};
use super::thresholds::percentile;
use super::tokens::{Memory, TokenSizes, round_to_half, unit_tokens};
use image::RgbImage;

/// Maps of network, search and cell, [S,S] each, divided by the 99th percentile of the good
/// parts' pixels; zeros where the bundle has no such map.
pub type PictureMaps = [Vec<f32>; 3];

/// What came out.
pub struct SeparateMaps {
    /// Of every good part held back, in order of name.
    pub good: Vec<PictureMaps>,
    /// Of the other pictures, in their order.
    pub others: Vec<PictureMaps>,
}

/// Teaches by those of `good` (S x S, in order of name) that are not held back (index mod 4 = 3)
/// and inspects the held-back ones and `others`, once per map. `prompt` is an index of `good`.
pub fn separate_maps(
    teacher: &mut dyn Teacher,
    good: &[RgbImage],
    others: &[RgbImage],
    prompt: usize,
) -> Result<SeparateMaps, TeachError> {
    let sizes = TokenSizes::of(teacher.manifest());
    let (Some(fold), Some(prompt)) = (folds(good.len()).pop(), good.get(prompt)) else {
        return Err(TeachError::NoPictures);
    };
    let mut tokens = Vec::with_capacity(fold.memory.len());
    for &part in &fold.memory {
        let input = teacher.normalise(&good[part]);
        let mut token = unit_tokens(&teacher.encode(&input)?.features, &sizes)?;
        round_to_half(&mut token);
        tokens.push(token);
    }
    let seen: Vec<&[f32]> = tokens.iter().map(Vec::as_slice).collect();
    let memory = Memory::of_pictures(&seen, &sizes);
    let prompt = teacher.normalise(prompt);
    let prompt_memory = teacher.encode(&prompt)?.prompt_memory;
    let held_back: Vec<&RgbImage> = fold.held_back.iter().map(|&part| &good[part]).collect();
    let others: Vec<&RgbImage> = others.iter().collect();
    let mut maps = SeparateMaps {
        good: vec![PictureMaps::default(); held_back.len()],
        others: vec![PictureMaps::default(); others.len()],
    };
    for map in 0..3 {
        let mut scales = [0.0; 3];
        scales[map] = 1.0;
        let memory = memory.clone();
        let prompt = prompt_memory.as_ref();
        teacher.set_product(&memory.into_tensors(teacher.manifest(), prompt, scales)?)?;
        inspect(teacher, &held_back, map, &mut maps.good)?;
        inspect(teacher, &others, map, &mut maps.others)?;
        let mut pixels: Vec<f32> = maps.good.iter().flat_map(|maps| &maps[map]).copied().collect();
        let scale = percentile(&mut pixels, 0.99).filter(|scale| *scale > 0.0).unwrap_or(1.0);
        for maps in maps.good.iter_mut().chain(&mut maps.others) {
            maps[map].iter_mut().for_each(|value| *value /= scale);
        }
    }
    Ok(maps)
}

fn inspect(
    teacher: &mut dyn Teacher,
    pictures: &[&RgbImage],
    map: usize,
    into: &mut [PictureMaps],
) -> Result<(), TeachError> {
    for (picture, maps) in pictures.iter().zip(into) {
        let input = teacher.normalise(picture);
        maps[map] = teacher.inspect(&input)?.anomaly_map.to_vec();
    }
    Ok(())
}

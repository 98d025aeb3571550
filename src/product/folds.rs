//! Which good parts make a memory and which are held back to measure it; and the measuring.

use super::teacher::{TeachError, Teacher};
use super::thresholds::percentile;
use super::tokens::Memory;
use crate::bundle::Recipe;
use crate::part::Tensor;
use image::RgbImage;

/// From so many good parts on each quarter is held back in turn; below, each part by itself.
pub(super) const FEWEST_FOR_QUARTERS: usize = 8;
/// From so many on one quarter says enough, and the search needs no copies. Chosen on simulated parts
/// (docs/reference/accuracy.md, "What few pictures are worth").
pub(super) const MANY: usize = 32;
/// A map's scale is taken at this share of the held-back pixels.
const SCALE_PERCENTILE: f64 = 0.99;
const MAP_NAMES: [&str; 3] = ["network", "search", "cell"];

/// One split of the good parts, by index.
#[derive(Debug, PartialEq)]
pub(super) struct Fold {
    pub memory: Vec<usize>,
    pub held_back: Vec<usize>,
}

/// The splits of `parts` good parts in order of name (at least 2). Of few, every part is held back
/// once, so that each gives a score by a memory that has not seen it.
pub(super) fn folds(parts: usize) -> Vec<Fold> {
    let split = |held: &dyn Fn(usize) -> bool| {
        let (held_back, memory) = (0..parts).partition(|&part| held(part));
        Fold { memory, held_back }
    };
    let quarter = |turn| split(&|part| part % 4 == turn);
    match parts {
        ..FEWEST_FOR_QUARTERS => {
            (0..parts).map(|left_out| split(&|part| part == left_out)).collect()
        }
        FEWEST_FOR_QUARTERS..MANY => (0..4).map(quarter).collect(),
        _ => vec![quarter(3)],
    }
}

/// A memory and good parts it has not seen, S x S.
pub(super) struct Trial<'a> {
    pub memory: Memory,
    pub held_back: Vec<&'a RgbImage>,
}

/// What the held-back parts say.
pub(super) struct Measured {
    /// Fusion scales of network, search and cell.
    pub scales: [f32; 3],
    /// Image scores under these scales.
    pub scores: Vec<f32>,
    /// Largest values of the fused maps.
    pub peaks: Vec<f32>,
}

/// Inspects every held-back part once per map that counts, for its scale, and once with all of
/// them, for its score.
pub(super) fn measure(
    teacher: &mut dyn Teacher,
    trials: &[Trial<'_>],
    prompt_memory: Option<&Tensor>,
    weights: [f32; 3],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Measured, TeachError> {
    let held_back: usize = trials.iter().map(|trial| trial.held_back.len()).sum();
    let paper = teacher.manifest().recipe == Recipe::Paper;
    let counting: Vec<usize> = (0..3).filter(|&map| weights[map] > 0.0 && !paper).collect();
    let total = held_back * (counting.len() + 1);
    let mut done = 0;
    let mut step = || {
        done += 1;
        progress(done, total);
    };
    // The paper's map is the network's own.
    let mut scales = if paper { [1.0, 0.0, 0.0] } else { [0.0; 3] };
    for map in counting {
        let mut alone = [0.0; 3];
        alone[map] = 1.0;
        let mut pixels = Vec::new();
        inspect_all(teacher, trials, prompt_memory, alone, &mut |_, anomaly_map| {
            pixels.extend_from_slice(anomaly_map);
            step();
        })?;
        let percentile = percentile(&mut pixels, SCALE_PERCENTILE).unwrap_or(f32::NAN);
        if !percentile.is_finite() || percentile <= 0.0 {
            return Err(TeachError::NoScale { map: MAP_NAMES[map], percentile });
        }
        scales[map] = weights[map] / percentile;
    }
    if scales == [0.0; 3] {
        // Without a map every part would score 0 and pass.
        return Err(TeachError::NoScale { map: "fused", percentile: 0.0 });
    }
    let (mut scores, mut peaks) = (Vec::new(), Vec::new());
    inspect_all(teacher, trials, prompt_memory, scales, &mut |score, anomaly_map| {
        scores.push(score);
        peaks.push(anomaly_map.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        step();
    })?;
    if scores.iter().chain(&peaks).any(|value| !value.is_finite()) {
        return Err(TeachError::ScoreNotFinite);
    }
    Ok(Measured { scales, scores, peaks })
}

fn inspect_all(
    teacher: &mut dyn Teacher,
    trials: &[Trial<'_>],
    prompt_memory: Option<&Tensor>,
    scales: [f32; 3],
    see: &mut dyn FnMut(f32, &[f32]),
) -> Result<(), TeachError> {
    for trial in trials {
        let tensors =
            trial.memory.clone().into_tensors(teacher.manifest(), prompt_memory, scales)?;
        teacher.set_product(&tensors)?;
        for picture in &trial.held_back {
            let input = teacher.normalise(picture);
            let inspection = teacher.inspect(&input)?;
            see(inspection.score, inspection.anomaly_map);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_few_every_part_is_held_back_once() {
        let quarters = folds(9);
        assert_eq!(quarters.len(), 4);
        assert_eq!(quarters[0].held_back, [0, 4, 8]);
        assert_eq!(quarters[3].held_back, [3, 7]);
        assert_eq!(quarters[3].memory, [0, 1, 2, 4, 5, 6, 8]);
        let [fold] = &folds(32)[..] else { panic!("one fold") };
        assert_eq!((fold.memory.len(), &fold.held_back[..2]), (24, &[3, 7][..]));
        let left_out = folds(3);
        assert_eq!(left_out.len(), 3);
        assert_eq!(left_out[1], Fold { memory: vec![0, 2], held_back: vec![1] });
    }
}

//! Teaching by several pictures of good parts: memory, scales and thresholds, measured.

use super::folds::{Trial, folds, measure};
use super::one_picture::teach_one_picture;
use super::teacher::{TeachError, Teacher};
use super::thresholds::{Thresholds, is_extrapolated};
use super::tokens::{Memory, TokenSizes, round_to_half, unit_tokens};
use super::{Taught, k_center::dot};
use crate::dataset::read_picture;
use crate::part::{RegionOfInterest, Tensor};
use image::RgbImage;
use std::path::PathBuf;

/// Which picture the network compares a part with.
#[derive(Clone, Copy, Debug)]
pub enum Prompt<'a> {
    /// This one.
    Picture(&'a RgbImage),
    /// The first good part by name.
    First,
    /// The good part nearest to the mean of all.
    Auto,
}

/// What to teach a product by.
#[derive(Clone, Copy, Debug)]
pub struct CalibrationRequest<'a> {
    /// The prompt.
    pub prompt: Prompt<'a>,
    /// Pictures of good parts, in any order; they are taken by name.
    pub good_parts: &'a [PathBuf],
    /// The part of the picture that is inspected; all of it when `None`.
    pub region_of_interest: Option<RegionOfInterest>,
    /// Share of good parts that may be rejected, a fraction above 0 and below 0.5.
    pub false_reject_share: f64,
}

/// What teaching is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Features of the good parts.
    Encode,
    /// Choosing what to remember.
    Remember,
    /// Inspecting the parts held back.
    Inspect,
}

/// How far teaching is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// With what it is busy.
    pub stage: Stage,
    /// Steps of the stage that are done.
    pub done: usize,
    /// Steps of the stage.
    pub total: usize,
}

/// Teaches a product by good parts: memory from some, scales and thresholds from the others, then
/// the memory again from all. One part alone is taught as one picture.
pub fn calibrate(
    teacher: &mut dyn Teacher,
    request: &CalibrationRequest<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Taught, TeachError> {
    let share = request.false_reject_share;
    if !(share > 0.0 && share < 0.5) {
        return Err(TeachError::FalseRejectShare(share));
    }
    let mut paths = request.good_parts.to_vec();
    paths.sort_by(|a, b| (a.file_name(), a).cmp(&(b.file_name(), b)));
    let [first, _, ..] = paths.as_slice() else {
        let only = read_picture(paths.first().ok_or(TeachError::NoPictures)?)?;
        return teach_one_picture(teacher, &only, request.region_of_interest, share);
    };
    let sizes = TokenSizes::of(teacher.manifest());
    let folds = folds(paths.len());
    let is_held_back = |part| folds.iter().any(|fold| fold.held_back.contains(&part));
    let parts = encode(teacher, request, &paths, &is_held_back, progress)?;
    let tokens: Vec<&[f32]> = parts.iter().map(|part| part.tokens.as_slice()).collect();

    let region = request.region_of_interest;
    let prompt_memory = match request.prompt {
        Prompt::Picture(picture) => prompt_memory(teacher, picture, region)?,
        Prompt::First => prompt_memory(teacher, &read_picture(first)?, region)?,
        Prompt::Auto => {
            let path = &paths[nearest_to_mean(&tokens)];
            prompt_memory(teacher, &read_picture(path)?, region)?
        }
    };

    let total = folds.len() + 1;
    let mut remembered = |done| progress(Progress { stage: Stage::Remember, done, total });
    let mut trials = Vec::with_capacity(folds.len());
    for fold in &folds {
        let seen: Vec<&[f32]> = fold.memory.iter().map(|&part| tokens[part]).collect();
        let held_back = fold.held_back.iter().map(|&part| parts[part].input.as_slice());
        let memory = Memory::of_pictures(&seen, &sizes);
        trials.push(Trial { memory, held_back: held_back.collect() });
        remembered(trials.len());
    }
    let memory = Memory::of_pictures(&tokens, &sizes);
    remembered(total);

    let weights = teacher.manifest().fusion.weights;
    let mut inspected = |done, total| progress(Progress { stage: Stage::Inspect, done, total });
    let measured = measure(teacher, &trials, prompt_memory.as_ref(), weights, &mut inspected)?;
    let tensors =
        memory.into_tensors(teacher.manifest(), prompt_memory.as_ref(), measured.scales)?;
    Ok(Taught {
        tensors,
        thresholds: Thresholds::measure(&measured.scores, &measured.peaks, share),
        calibrated: true,
        good_pictures: paths.len(),
        false_reject_share: share,
        notes: notes(paths.len(), measured.scores.len(), share),
        held_back_scores: measured.scores,
    })
}

/// A good part as teaching keeps it.
struct EncodedPart {
    /// k, rounded to FP16.
    tokens: Vec<f32>,
    /// The network input; empty for a part that is not held back.
    input: Vec<f32>,
}

fn encode(
    teacher: &mut dyn Teacher,
    request: &CalibrationRequest<'_>,
    paths: &[PathBuf],
    is_held_back: &dyn Fn(usize) -> bool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<EncodedPart>, TeachError> {
    let sizes = TokenSizes::of(teacher.manifest());
    let mut parts = Vec::with_capacity(paths.len());
    for (index, path) in paths.iter().enumerate() {
        let resized = teacher.resize(&read_picture(path)?, request.region_of_interest);
        let mut input = teacher.normalise(&resized);
        let mut tokens = unit_tokens(&teacher.encode(&input)?.features, &sizes)?;
        round_to_half(&mut tokens);
        if !is_held_back(index) {
            input = Vec::new();
        }
        parts.push(EncodedPart { tokens, input });
        progress(Progress { stage: Stage::Encode, done: index + 1, total: paths.len() });
    }
    Ok(parts)
}

fn prompt_memory(
    teacher: &mut dyn Teacher,
    picture: &RgbImage,
    region: Option<RegionOfInterest>,
) -> Result<Option<Tensor>, TeachError> {
    if !teacher.manifest().has_network() {
        return Ok(None);
    }
    let resized = teacher.resize(picture, region);
    let input = teacher.normalise(&resized);
    Ok(teacher.encode(&input)?.prompt_memory)
}

/// The picture whose tokens agree best with the mean tokens, cell by cell.
fn nearest_to_mean(pictures: &[&[f32]]) -> usize {
    let mut mean = vec![0.0f32; pictures.first().map_or(0, |picture| picture.len())];
    for picture in pictures {
        for (mean, value) in mean.iter_mut().zip(*picture) {
            *mean += value;
        }
    }
    let agreement = |picture: &usize| dot(pictures[*picture], &mean);
    let all = 0..pictures.len();
    all.max_by(|a, b| agreement(a).total_cmp(&agreement(b)).then(b.cmp(a))).unwrap_or(0)
}

fn notes(parts: usize, held_back: usize, share: f64) -> Vec<String> {
    let mut notes = Vec::new();
    if held_back == parts {
        notes.push(format!(
            "only {parts} good parts: each was left out once; 8 or more measure more steadily"
        ));
    }
    if is_extrapolated(held_back, share) {
        let percent = share * 100.0;
        let needed = (4.0 / share).ceil();
        notes.push(format!(
            "image threshold extrapolated: {percent} % is less than one of the {held_back} good \
             parts held back; from {needed} good parts on it is measured"
        ));
    }
    notes
}

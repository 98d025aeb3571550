//! Teaching by several pictures of good parts: memory, scales and thresholds, measured.

use super::folds::{FEWEST_FOR_QUARTERS, MANY, Trial, folds, measure};
use super::one_picture::{encode_copies, teach_one_picture};
use super::teacher::{TeachError, Teacher};
use super::thresholds::{Thresholds, is_extrapolated};
use super::tokens::{Memory, TokenSizes, round_to_half, unit_tokens};
use super::{PromptPlace, Spread, Taught};
use crate::dataset::read_picture;
use crate::part::{RegionOfInterest, Tensor};
use image::RgbImage;
use std::path::{Path, PathBuf};

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

/// Teaches a product by good parts: scales and thresholds from parts held back by a memory of the
/// others, then the memory of all. One part alone is taught as one picture.
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
    let [_, _, ..] = paths.as_slice() else {
        let only = read_picture(paths.first().ok_or(TeachError::NoPictures)?)?;
        return teach_one_picture(teacher, &only, request.region_of_interest, share);
    };
    let sizes = TokenSizes::of(teacher.manifest());
    let folds = folds(paths.len());
    let parts = encode(teacher, request, &paths, progress)?;
    let tokens: Vec<&[f32]> = parts.iter().map(|part| part.tokens.as_slice()).collect();

    let spread = Spread::of_tokens(&tokens, &sizes);
    let chosen = choose_prompt(teacher, request, &paths, &tokens, &spread)?;
    let prompt_memory = chosen.memory;

    let total = folds.len() + 1;
    let mut remembered = |done| progress(Progress { stage: Stage::Remember, done, total });
    let mut trials = Vec::with_capacity(folds.len());
    for fold in &folds {
        let held_back = fold.held_back.iter().map(|&part| &parts[part].picture);
        let memory = memory_of(&parts, &fold.memory, &sizes);
        trials.push(Trial { memory, held_back: held_back.collect() });
        remembered(trials.len());
    }
    let all: Vec<usize> = (0..parts.len()).collect();
    let memory = memory_of(&parts, &all, &sizes);
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
        notes: notes(paths.len(), measured.scores.len(), share, &chosen.place),
        held_back_scores: measured.scores,
        prompt: Some(chosen.place),
    })
}

/// A good part as teaching keeps it.
struct EncodedPart {
    /// k, rounded to FP16.
    tokens: Vec<f32>,
    /// As the network sees it, S x S: a quarter of its input's size.
    picture: RgbImage,
    /// k of the copies, where there are so few parts that copies help.
    copies: Vec<Vec<f32>>,
}

/// Memory of some of the parts: of few, copies stand in for the variation that is not seen yet.
fn memory_of(parts: &[EncodedPart], chosen: &[usize], sizes: &TokenSizes) -> Memory {
    let copies: Vec<_> = chosen.iter().map(|&part| parts[part].copies.as_slice()).collect();
    if parts.len() < FEWEST_FOR_QUARTERS {
        return Memory::of_copies(&copies, sizes);
    }
    let pictures: Vec<_> = chosen.iter().map(|&part| parts[part].tokens.as_slice()).collect();
    if parts.len() < MANY {
        return Memory::of_pictures_and_copies(&pictures, &copies, sizes);
    }
    Memory::of_pictures(&pictures, sizes)
}

fn encode(
    teacher: &mut dyn Teacher,
    request: &CalibrationRequest<'_>,
    paths: &[PathBuf],
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<EncodedPart>, TeachError> {
    let mut parts = Vec::with_capacity(paths.len());
    for (index, path) in paths.iter().enumerate() {
        let (picture, tokens) = read_tokens(teacher, path, request.region_of_interest)?;
        let mut copies = Vec::new();
        if paths.len() < MANY {
            copies = encode_copies(teacher, &picture)?.0;
        }
        parts.push(EncodedPart { tokens, picture, copies });
        progress(Progress { stage: Stage::Encode, done: index + 1, total: paths.len() });
    }
    Ok(parts)
}

/// The prompt as teaching needs it.
struct ChosenPrompt {
    memory: Option<Tensor>,
    place: PromptPlace,
}

fn choose_prompt(
    teacher: &mut dyn Teacher,
    request: &CalibrationRequest<'_>,
    paths: &[PathBuf],
    tokens: &[&[f32]],
    spread: &Spread,
) -> Result<ChosenPrompt, TeachError> {
    let part = match request.prompt {
        Prompt::First => Some(0),
        Prompt::Auto => Some(spread.nearest()),
        Prompt::Picture(_) => None,
    };
    let read;
    let picture = match (request.prompt, part.and_then(|part| paths.get(part))) {
        (Prompt::Picture(picture), _) => picture,
        (_, Some(path)) => {
            read = read_picture(path)?;
            &read
        }
        (_, None) => return Err(TeachError::NoPictures),
    };
    let sizes = TokenSizes::of(teacher.manifest());
    let resized = teacher.resize(picture, request.region_of_interest);
    let input = teacher.normalise(&resized);
    let encoding = teacher.encode(&input)?;
    let mut own = unit_tokens(&encoding.features, &sizes)?;
    round_to_half(&mut own);
    // A picture that is given may be one of the good parts.
    let part = part.or_else(|| tokens.iter().position(|tokens| *tokens == own.as_slice()));
    let place = part.map_or_else(|| spread.place(&own), |part| spread.place_of_part(part));
    Ok(ChosenPrompt { memory: encoding.prompt_memory, place })
}

/// A picture on disk, S x S, and its tokens (rounded to FP16).
pub(super) fn read_tokens(
    teacher: &mut dyn Teacher,
    path: &Path,
    region: Option<RegionOfInterest>,
) -> Result<(RgbImage, Vec<f32>), TeachError> {
    let sizes = TokenSizes::of(teacher.manifest());
    let resized = teacher.resize(&read_picture(path)?, region);
    let input = teacher.normalise(&resized);
    let mut tokens = unit_tokens(&teacher.encode(&input)?.features, &sizes)?;
    round_to_half(&mut tokens);
    Ok((resized, tokens))
}

fn notes(parts: usize, held_back: usize, share: f64, prompt: &PromptPlace) -> Vec<String> {
    let mut notes: Vec<String> = prompt.warning().into_iter().collect();
    if parts < FEWEST_FOR_QUARTERS {
        notes.push(format!(
            "only {parts} good parts: each was left out once; 8 or more measure more steadily"
        ));
    }
    if is_extrapolated(held_back, share) {
        let percent = share * 100.0;
        let needed = (4.0 / share).ceil().max(MANY as f64);
        notes.push(format!(
            "image threshold extrapolated: {percent} % is less than one of the {held_back} good \
             parts held back; from {needed} good parts on it is measured"
        ));
    }
    notes
}

//! Teaching by one picture of a good part.

use super::Taught;
use super::copies::twelve_copies;
use super::folds::{Trial, measure};
use super::teacher::{TeachError, Teacher};
use super::thresholds::Thresholds;
use super::tokens::{Memory, TokenSizes, round_to_half, unit_tokens};
use crate::bundle::OnePicture;
use crate::dataset::read_picture;
use crate::part::{RegionOfInterest, Tensor};
use image::RgbImage;
use std::path::{Path, PathBuf};

/// Teaches a product by one picture; scales and thresholds are the bundle's `[one_picture]`, so the
/// product is uncalibrated.
pub fn teach_one_picture(
    teacher: &mut dyn Teacher,
    picture: &RgbImage,
    region: Option<RegionOfInterest>,
    false_reject_share: f64,
) -> Result<Taught, TeachError> {
    let known = teacher.manifest().one_picture;
    let (memory, prompt_memory) = one_picture_memory(teacher, picture, region)?;
    let tensors = memory.into_tensors(teacher.manifest(), prompt_memory.as_ref(), known.scales)?;
    Ok(Taught {
        tensors,
        thresholds: Thresholds { image: known.threshold, pixel: known.pixel_threshold },
        calibrated: false,
        good_pictures: 1,
        false_reject_share,
        held_back_scores: Vec::new(),
        prompt: None,
        notes: vec![
            "uncalibrated: taught by one picture, thresholds are medians over other products"
                .into(),
        ],
    })
}

/// Scales and thresholds a product taught by `prompt` alone would need, measured on every fourth
/// of its other good parts. The median of these over the training products is the manifest's
/// `[one_picture]`.
pub fn measure_one_picture(
    teacher: &mut dyn Teacher,
    prompt: &Path,
    good_parts: &[PathBuf],
    weights: [f32; 3],
    false_reject_share: f64,
) -> Result<OnePicture, TeachError> {
    let picture = read_picture(prompt)?;
    let (memory, prompt_memory) = one_picture_memory(teacher, &picture, None)?;
    let mut pictures = Vec::new();
    for path in good_parts.iter().skip(3).step_by(4).filter(|path| *path != prompt) {
        pictures.push(teacher.resize(&read_picture(path)?, None));
    }
    if pictures.is_empty() {
        return Err(TeachError::NoPictures);
    }
    let trial = Trial { memory, held_back: pictures.iter().collect() };
    let measured = measure(teacher, &[trial], prompt_memory.as_ref(), weights, &mut |_, _| ())?;
    let thresholds = Thresholds::measure(&measured.scores, &measured.peaks, false_reject_share);
    Ok(OnePicture {
        scales: measured.scales,
        threshold: thresholds.image,
        pixel_threshold: thresholds.pixel,
    })
}

/// The median of each number; `None` without products.
pub fn median_one_picture(products: &[OnePicture]) -> Option<OnePicture> {
    let median = |number: &dyn Fn(&OnePicture) -> f32| {
        let mut values: Vec<f32> = products.iter().map(number).collect();
        super::thresholds::percentile(&mut values, 0.5)
    };
    Some(OnePicture {
        scales: [median(&|p| p.scales[0])?, median(&|p| p.scales[1])?, median(&|p| p.scales[2])?],
        threshold: median(&|p| p.threshold)?,
        pixel_threshold: median(&|p| p.pixel_threshold)?,
    })
}

fn one_picture_memory(
    teacher: &mut dyn Teacher,
    picture: &RgbImage,
    region: Option<RegionOfInterest>,
) -> Result<(Memory, Option<Tensor>), TeachError> {
    let sizes = TokenSizes::of(teacher.manifest());
    let resized = teacher.resize(picture, region);
    let (copies, prompt_memory) = encode_copies(teacher, &resized)?;
    Ok((Memory::of_copies(&[&copies], &sizes), prompt_memory))
}

/// Tokens (rounded to FP16) of the twelve copies of an S x S picture, and its own prompt memory.
pub(super) fn encode_copies(
    teacher: &mut dyn Teacher,
    resized: &RgbImage,
) -> Result<(Vec<Vec<f32>>, Option<Tensor>), TeachError> {
    let sizes = TokenSizes::of(teacher.manifest());
    let mut copies = Vec::with_capacity(12);
    let mut prompt_memory = None;
    for (index, copy) in twelve_copies(resized).iter().enumerate() {
        let input = teacher.normalise(copy);
        let encoding = teacher.encode(&input)?;
        let mut tokens = unit_tokens(&encoding.features, &sizes)?;
        round_to_half(&mut tokens);
        copies.push(tokens);
        // The first copy is the picture itself.
        if index == 0 {
            prompt_memory = encoding.prompt_memory;
        }
    }
    Ok((copies, prompt_memory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_taken_number_by_number() {
        let of = |a, b| OnePicture { scales: [a, b, 0.0], threshold: b, pixel_threshold: a };
        let median = median_one_picture(&[of(1.0, 9.0), of(2.0, 5.0), of(30.0, 1.0)]).unwrap();
        assert_eq!(median, of(2.0, 5.0));
        assert_eq!(median_one_picture(&[]), None);
    }
}

//! The preprocessor of the CPU: crop, resize, normalise, into the engine's own memory.

use super::resize::Resizer;
use crate::bundle::Normalisation;
use crate::part::{Frame, PixelFormat, RegionOfInterest};
use thiserror::Error;

/// Why a frame could not be brought into the engine's input slot.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PreprocessError {
    /// The product's region of interest does not lie inside the camera's picture.
    #[error(
        "the region of interest x={} y={} {}x{} does not lie inside the camera's {width}x{height} \
         picture; teach the product again or restore the camera's picture size",
        region.x, region.y, region.width, region.height
    )]
    RegionOutsideFrame {
        /// The region asked for.
        region: RegionOfInterest,
        /// Frame, pixels across.
        width: u32,
        /// Frame, pixels down.
        height: u32,
    },
    /// The slot is not `[3, side, side]`.
    #[error("the engine's input slot holds {found} values, this preprocessor writes {expected}")]
    SlotSize {
        /// 3 x side x side.
        expected: usize,
        /// What was given.
        found: usize,
    },
}

/// Frames of any size to normalised planes `[3, side, side]` (specification 2.1).
///
/// Allocates only when the size or format of what is inspected changes.
#[derive(Debug)]
pub struct CpuPreprocessor {
    side: usize,
    /// Normalised value of every byte, per channel.
    normalised: Box<[[f32; 256]; 3]>,
    resizer: Option<Resizer>,
    /// What is inspected, red first, of frames whose memory is not that already.
    colours: Vec<u8>,
}

impl CpuPreprocessor {
    /// `side`: the engine's input side S, at least 1.
    pub fn new(side: usize, normalisation: &Normalisation) -> Self {
        let normalised = Box::new(normalised_values(normalisation));
        Self { side, normalised, resizer: None, colours: Vec::new() }
    }

    /// Writes `frame`, or the part of it in `roi`, to `out` (`[3, side, side]`, red plane first).
    ///
    /// # Errors
    /// A region outside the frame, a slot of another size; `out` is then untouched.
    pub fn run(
        &mut self,
        frame: &Frame,
        roi: Option<RegionOfInterest>,
        out: &mut [f32],
    ) -> Result<(), PreprocessError> {
        let side = self.side;
        let region = checked_region(frame, roi, 3 * side * side, out.len())?;
        let channels = if frame.format.is_grey() { 1 } else { 3 };
        let source = (region.width as usize, region.height as usize);
        let resizer = match self.resizer.take() {
            Some(resizer) if resizer.fits(source, channels) => resizer,
            _ => Resizer::new(source, (side, side), channels),
        };
        let resizer = self.resizer.insert(resizer);

        let row_bytes = source.0 * channels;
        let as_it_lies = matches!(frame.format, PixelFormat::Rgb8 | PixelFormat::Gray8);
        if !as_it_lies {
            self.colours.resize(row_bytes * source.1, 0);
            let rows = self.colours.chunks_exact_mut(row_bytes);
            (region.y..).zip(rows).for_each(|(y, row)| frame.copy_rgb(region.x, y, row));
        }
        let (bytes, stride, first) = if as_it_lies {
            let first = region.y as usize * frame.stride_bytes + region.x as usize * channels;
            (frame.plane(0), frame.stride_bytes, first)
        } else {
            (&self.colours[..], row_bytes, 0)
        };
        let row = |y: usize| {
            let start = first + y * stride;
            &bytes[start..start + row_bytes]
        };
        let tables = &self.normalised;
        let (red, rest) = out.split_at_mut(side * side);
        let (green, blue) = rest.split_at_mut(side * side);
        resizer.run(row, |y, values| {
            let planes = [&mut *red, &mut *green, &mut *blue];
            for (channel, (plane, table)) in planes.into_iter().zip(tables.iter()).enumerate() {
                let plane = &mut plane[y * side..(y + 1) * side];
                // One channel: the grey value is replicated.
                let values = values.iter().skip(channel % channels).step_by(channels);
                for (normalised, &value) in plane.iter_mut().zip(values) {
                    *normalised = table[usize::from(value)];
                }
            }
        });
        Ok(())
    }
}

/// The normalised value of every byte, per channel (specification 2.1).
pub(super) fn normalised_values(normalisation: &Normalisation) -> [[f32; 256]; 3] {
    let mut values = [[0.0; 256]; 3];
    let channels = normalisation.mean.iter().zip(&normalisation.deviation);
    for (table, (mean, deviation)) in values.iter_mut().zip(channels) {
        for (byte, value) in table.iter_mut().enumerate() {
            *value = (byte as f32 / 255.0 - mean) / deviation;
        }
    }
    values
}

/// The region of the frame to be inspected, the whole of it by default.
///
/// # Errors
/// It does not lie inside the frame.
pub fn check_region(
    frame: &Frame,
    roi: Option<RegionOfInterest>,
) -> Result<RegionOfInterest, PreprocessError> {
    let whole = RegionOfInterest { x: 0, y: 0, width: frame.width, height: frame.height };
    let region = roi.unwrap_or(whole);
    if !lies_inside(region, frame) {
        let (width, height) = (frame.width, frame.height);
        return Err(PreprocessError::RegionOutsideFrame { region, width, height });
    }
    Ok(region)
}

/// As [`check_region`]; the slot must have the expected size too.
pub(super) fn checked_region(
    frame: &Frame,
    roi: Option<RegionOfInterest>,
    expected: usize,
    found: usize,
) -> Result<RegionOfInterest, PreprocessError> {
    if found != expected {
        return Err(PreprocessError::SlotSize { expected, found });
    }
    check_region(frame, roi)
}

fn lies_inside(region: RegionOfInterest, frame: &Frame) -> bool {
    let fits = |start: u32, length: u32, whole: u32| {
        length > 0 && start.checked_add(length).is_some_and(|end| end <= whole)
    };
    fits(region.x, region.width, frame.width) && fits(region.y, region.height, frame.height)
}

#[cfg(test)]
mod tests {
    use super::super::resize_picture;
    use super::*;
    use crate::part::LineTime;
    use image::RgbImage;
    use proptest::prelude::*;

    const IMAGENET: Normalisation =
        Normalisation { mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225] };

    /// Every `step`th value of a golden tensor, the step, and the mean of the whole tensor
    /// (tests/golden/README.md section 2).
    fn golden(name: &str) -> (Vec<f32>, usize, f64) {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/real-224.safetensors");
        let bytes = std::fs::read(path).unwrap();
        let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let info = metadata.metadata().as_ref().unwrap()["info"].as_str();
        let info: serde_json::Value = serde_json::from_str(info).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let data = file.tensor(name).unwrap().data().chunks_exact(4);
        let values = data.map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        let step = info[name]["step"].as_u64().unwrap() as usize;
        (values, step, info[name]["mean"].as_f64().unwrap())
    }

    fn mean(values: &[f32]) -> f64 {
        values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64
    }

    fn photo() -> RgbImage {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/photo.png");
        image::open(path).unwrap().to_rgb8()
    }

    fn frame(picture: RgbImage) -> Frame {
        Frame::from_picture(picture, 0, LineTime::ZERO).unwrap()
    }

    fn preprocess(frame: &Frame, roi: Option<RegionOfInterest>, side: usize) -> Vec<f32> {
        let mut out = vec![f32::NAN; 3 * side * side];
        CpuPreprocessor::new(side, &Normalisation::LITE).run(frame, roi, &mut out).unwrap();
        out
    }

    #[test]
    fn resizes_the_golden_photo_exactly() {
        let resized = resize_picture(&photo(), 224);
        let values: Vec<f32> = resized.as_raw().iter().map(|v| f32::from(*v)).collect();
        let (expected, step, expected_mean) = golden("resized_u8");
        assert!(values.iter().step_by(step).eq(&expected));
        assert!((mean(&values) - expected_mean).abs() < 1e-9);
    }

    #[test]
    fn normalises_the_golden_photo_to_the_last_bit_or_the_one_before() {
        for (normalisation, name) in
            [(Normalisation::LITE, "lite.input"), (IMAGENET, "imagenet.input")]
        {
            let mut out = vec![f32::NAN; 3 * 224 * 224];
            let mut preprocessor = CpuPreprocessor::new(224, &normalisation);
            preprocessor.run(&frame(photo()), None, &mut out).unwrap();
            let (expected, step, expected_mean) = golden(name);
            assert_eq!(out.iter().step_by(step).len(), expected.len());
            for (found, expected) in out.iter().step_by(step).zip(expected) {
                let apart = (i64::from(found.to_bits()) - i64::from(expected.to_bits())).abs();
                assert!(apart <= 1, "{name}: {found} and {expected}");
            }
            assert!((mean(&out) - expected_mean).abs() < 1e-6);
        }
    }

    #[test]
    fn refuses_regions_outside_and_slots_of_another_size() {
        let frame = frame(RgbImage::new(10, 8));
        let mut preprocessor = CpuPreprocessor::new(4, &Normalisation::LITE);
        let mut out = vec![0.0; 48];
        for (x, y, width, height) in
            [(6, 0, 5, 8), (0, 0, 0, 8), (0, 1, 10, 8), (9, 0, u32::MAX, 1)]
        {
            let region = RegionOfInterest { x, y, width, height };
            let error = preprocessor.run(&frame, Some(region), &mut out).unwrap_err();
            assert_eq!(error, PreprocessError::RegionOutsideFrame { region, width: 10, height: 8 });
        }
        let error = preprocessor.run(&frame, None, &mut out[..47]).unwrap_err();
        assert_eq!(error, PreprocessError::SlotSize { expected: 48, found: 47 });
        assert!(out.iter().all(|v| *v == 0.0));
    }

    #[test]
    fn one_preprocessor_serves_changing_sizes_and_formats() {
        let mut one = CpuPreprocessor::new(16, &IMAGENET);
        for size in [(40, 30), (16, 16), (5, 70), (40, 30)] {
            let picture = RgbImage::from_fn(size.0, size.1, |x, y| {
                image::Rgb([(x * 7) as u8, (y * 5) as u8, (x * y) as u8])
            });
            let grey: Vec<u8> = picture.pixels().map(|p| p.0[0]).collect();
            let width = size.0 as usize;
            let grey =
                Frame::new(size, width, PixelFormat::Gray8, 0, LineTime::ZERO, Box::new(grey));
            for frame in [frame(picture), grey.unwrap()] {
                let (mut reused, mut fresh) = (vec![0.0; 768], vec![0.0; 768]);
                one.run(&frame, None, &mut reused).unwrap();
                CpuPreprocessor::new(16, &IMAGENET).run(&frame, None, &mut fresh).unwrap();
                assert_eq!(reused, fresh);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn a_region_of_interest_equals_the_cropped_picture(
            seed in any::<u32>(), x in 0_u32..30, y in 0_u32..30, width in 1_u32..40, height in 1_u32..40,
        ) {
            let picture = RgbImage::from_fn(70, 70, |x, y| {
                let v = seed.wrapping_add(x * 31 + y * 57).wrapping_mul(2_654_435_761);
                image::Rgb([(v >> 8) as u8, (v >> 16) as u8, (v >> 24) as u8])
            });
            let crop = image::imageops::crop_imm(&picture, x, y, width, height).to_image();
            let region = RegionOfInterest { x, y, width, height };
            let by_region = preprocess(&frame(picture), Some(region), 16);
            prop_assert_eq!(by_region, preprocess(&frame(crop), None, 16));
        }

        #[test]
        fn grey_with_padded_rows_equals_the_replicated_colour_picture(
            bytes in prop::collection::vec(any::<u8>(), 13 * 11), padding in 0_usize..5,
        ) {
            let padded: Vec<u8> = bytes
                .chunks_exact(13)
                .flat_map(|row| row.iter().copied().chain(std::iter::repeat_n(99, padding)))
                .collect();
            let colour = RgbImage::from_fn(13, 11, |x, y| {
                image::Rgb([bytes[(y * 13 + x) as usize]; 3])
            });
            let time = LineTime::ZERO;
            let grey =
                Frame::new((13, 11), 13 + padding, PixelFormat::Gray8, 0, time, Box::new(padded));
            prop_assert_eq!(
                preprocess(&grey.unwrap(), None, 8),
                preprocess(&frame(colour), None, 8)
            );
        }
    }
}

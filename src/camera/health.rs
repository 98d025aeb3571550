//! Whether a camera still sees: pure checks on its frames, cheap enough for every one.
//!
//! A problem makes a frame a bad one (reason 202), so the limits are such that no picture of a
//! part trips them: a camera's noise makes any two frames differ, and a lit part is neither all
//! dark nor all white.

use crate::part::{Duration, Frame, LineTime};
use thiserror::Error;

/// Rows looked at, spread evenly over the frame.
const ROWS: u32 = 64;
/// Pixels looked at in each of these rows for the brightness.
const PIXELS_PER_ROW: usize = 64;

/// What is wrong with a frame or the stream.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
pub enum FrameProblem {
    /// No frame for too long.
    #[error("no frame for {} ms; check the camera's cable, power and trigger", .0.as_millis())]
    Stalled(Duration),
    /// The same picture again and again.
    #[error("{0} frames in a row are identical; restart the camera")]
    Frozen(u32),
    /// Nothing to see.
    #[error("the picture is black; check light, lens cap and exposure")]
    Black,
    /// Everything white.
    #[error("the picture is saturated; check light and exposure")]
    Saturated,
}

/// When a frame counts as bad.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HealthLimits {
    /// Longest time without a frame.
    pub frame_timeout: Duration,
    /// Identical frames in a row, this one included, that make a frozen camera.
    pub identical_frames: u32,
    /// A sample no brighter than this (0 to 255) is dark.
    pub dark_level: u8,
    /// A sample at least this bright in every channel is white.
    pub white_level: u8,
    /// Share of dark or of white samples beyond which a frame is black or saturated.
    pub share: f32,
}

impl Default for HealthLimits {
    fn default() -> Self {
        Self {
            frame_timeout: Duration::from_millis(100), // line-io 1.2, row 1
            identical_frames: 3,
            dark_level: 16,
            white_level: 252,
            share: 0.995,
        }
    }
}

/// Looks at one frame after the other.
#[derive(Debug)]
pub struct HealthCheck {
    limits: HealthLimits,
    last_frame: Option<LineTime>,
    last_digest: Option<u64>,
    identical: u32,
}

impl HealthCheck {
    /// A check that has seen nothing yet.
    pub fn new(limits: HealthLimits) -> Self {
        Self { limits, last_frame: None, last_digest: None, identical: 0 }
    }

    /// What is wrong with `frame`, if anything.
    pub fn observe(&mut self, frame: &Frame) -> Option<FrameProblem> {
        self.last_frame = Some(frame.captured);
        let digest = digest(frame);
        self.identical = if self.last_digest == Some(digest) { self.identical + 1 } else { 1 };
        self.last_digest = Some(digest);
        let (dark, white) = self.shares(frame);
        if dark > self.limits.share {
            Some(FrameProblem::Black)
        } else if white > self.limits.share {
            Some(FrameProblem::Saturated)
        } else if self.identical >= self.limits.identical_frames {
            Some(FrameProblem::Frozen(self.identical))
        } else {
            None
        }
    }

    /// Whether the stream has stalled: no frame since `since` (start of the stream, or the moment
    /// a frame was due) or the last one, whichever is later. Only for streams that run freely;
    /// a triggered camera is silent between parts.
    pub fn stalled(&self, since: LineTime, now: LineTime) -> Option<FrameProblem> {
        let last = self.last_frame.map_or(since, |frame| frame.max(since));
        let silence = now.since(last);
        (silence > self.limits.frame_timeout).then_some(FrameProblem::Stalled(silence))
    }

    /// Shares of dark and of white samples.
    fn shares(&self, frame: &Frame) -> (f32, f32) {
        let step = (frame.width as usize).div_ceil(PIXELS_PER_ROW).max(1);
        let (mut samples, mut dark, mut white) = (0_u32, 0_u32, 0_u32);
        for y in sampled_rows(frame) {
            for x in (0..frame.width).step_by(step) {
                let mut pixel = [0; 3];
                frame.copy_rgb(x, y, &mut pixel);
                samples += 1;
                dark += u32::from(pixel.iter().all(|v| *v <= self.limits.dark_level));
                white += u32::from(pixel.iter().all(|v| *v >= self.limits.white_level));
            }
        }
        let all = samples.max(1) as f32;
        (dark as f32 / all, white as f32 / all)
    }
}

fn sampled_rows(frame: &Frame) -> impl Iterator<Item = u32> {
    let step = frame.height.div_ceil(ROWS).max(1);
    (0..frame.height).step_by(step as usize)
}

/// A number that differs whenever the sampled rows do, but for chance (one in 2^64).
fn digest(frame: &Frame) -> u64 {
    const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
    let geometry = u64::from(frame.width) << 32 | u64::from(frame.height);
    let mix = |state: u64, word: u64| (state ^ word).wrapping_mul(FACTOR).rotate_left(29);
    sampled_rows(frame).fold(geometry, |state, y| {
        let (words, rest) = frame.row(y).as_chunks::<8>();
        let state = words.iter().fold(state, |state, word| mix(state, u64::from_le_bytes(*word)));
        rest.iter().fold(state, |state, byte| mix(state, u64::from(*byte)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::part::PixelFormat;
    use image::RgbImage;

    fn check() -> HealthCheck {
        HealthCheck::new(HealthLimits::default())
    }

    fn frame(picture: RgbImage, captured: LineTime) -> Frame {
        Frame::from_picture(picture, 0, captured).unwrap()
    }

    fn plain(value: u8) -> Frame {
        frame(RgbImage::from_pixel(97, 131, image::Rgb([value; 3])), LineTime::ZERO)
    }

    fn noisy(seed: u32) -> Frame {
        let picture = RgbImage::from_fn(97, 131, |x, y| {
            let v = (x * 131 + y).wrapping_add(seed).wrapping_mul(2_654_435_761) >> 27;
            image::Rgb([100 + v as u8; 3])
        });
        frame(picture, LineTime::ZERO)
    }

    #[test]
    fn differing_frames_are_healthy() {
        let mut check = check();
        for seed in 0..20 {
            assert_eq!(check.observe(&noisy(seed)), None);
        }
    }

    #[test]
    fn the_third_identical_frame_is_frozen_and_another_one_thaws() {
        let mut check = check();
        let problems: Vec<_> = [1, 1, 1, 1, 2].map(|seed| check.observe(&noisy(seed))).into();
        let frozen = |n| Some(FrameProblem::Frozen(n));
        assert_eq!(problems, [None, None, frozen(3), frozen(4), None]);
    }

    #[test]
    fn one_changed_pixel_in_a_sampled_row_is_another_picture() {
        let mut check = check();
        for x in 0..97 {
            let mut picture = RgbImage::from_pixel(97, 64, image::Rgb([90; 3]));
            picture.put_pixel(x, 63, image::Rgb([90, 90, 91]));
            assert_eq!(check.observe(&frame(picture, LineTime::ZERO)), None, "x = {x}");
        }
    }

    #[test]
    fn black_and_white_are_told_from_dark_and_bright_parts() {
        let mut check = check();
        assert_eq!(check.observe(&plain(3)), Some(FrameProblem::Black));
        assert_eq!(check.observe(&plain(255)), Some(FrameProblem::Saturated));
        for (ground, part) in [(2, 90), (255, 200)] {
            let picture = RgbImage::from_fn(200, 100, |x, y| {
                let inside = (90..110).contains(&x) && (40..60).contains(&y);
                image::Rgb([if inside { part } else { ground }; 3])
            });
            assert_eq!(check.observe(&frame(picture, LineTime::ZERO)), None);
        }
        let grey = vec![1_u8; 40 * 30];
        let grey = Frame::new((40, 30), 40, PixelFormat::Gray8, 0, LineTime::ZERO, Box::new(grey));
        assert_eq!(check.observe(&grey.unwrap()), Some(FrameProblem::Black));
    }

    #[test]
    fn silence_counts_from_the_last_frame_or_the_start() {
        let mut check = check();
        let at = LineTime::from_millis;
        assert_eq!(check.stalled(at(1000), at(1100)), None);
        let silent = Some(FrameProblem::Stalled(Duration::from_millis(101)));
        assert_eq!(check.stalled(at(1000), at(1101)), silent);
        check.observe(&frame(RgbImage::new(4, 4), at(1090)));
        assert_eq!(check.stalled(at(1000), at(1190)), None);
        assert_eq!(check.stalled(at(1000), at(1191)), silent);
    }
}

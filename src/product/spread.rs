//! How typical pictures of good parts are, and whether a prompt is one of them.

use super::calibrate::read_tokens;
use super::k_center::dot;
use super::teacher::{TeachError, Teacher};
use super::tokens::{TokenSizes, unit_tokens};
use crate::part::RegionOfInterest;
use image::RgbImage;
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;

/// A prompt farther out than the farthest good part by this factor does not look like one of them.
///
/// Set on good parts of three real products (docs/reference/accuracy.md): every picture of another
/// product lay at 1.17 to 1.56 times the farthest good part, and of good parts that were not among
/// the first 30, at most 2 % beyond 1.1.
const OUTSIDE: f32 = 1.1;

/// Distances of good parts to their middle: the mean of their tokens, cell by cell. A distance is
/// the root of the mean square over cells; 2 would be as far as features can be apart.
#[derive(Clone, Debug)]
pub struct Spread {
    middle: Vec<f32>,
    cells: f32,
    distances: Vec<f32>,
}

/// Where a prompt lies among the good parts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PromptPlace {
    /// Its distance to their middle.
    pub distance: f32,
    /// Theirs: the median,
    pub median: f32,
    /// and the largest.
    pub largest: f32,
    /// Share of the good parts that are nearer.
    pub nearer: f64,
    /// Whether it lies so far out that it may be of another product, or another view.
    pub outside: bool,
}

impl Spread {
    /// Of pictures as tokens [L,E] each, at least one.
    pub fn of_tokens(pictures: &[&[f32]], sizes: &TokenSizes) -> Self {
        let count = pictures.len() as f32;
        let mut middle = vec![0.0f32; pictures.first().map_or(0, |picture| picture.len())];
        for picture in pictures {
            for (mean, value) in middle.iter_mut().zip(*picture) {
                *mean += value / count;
            }
        }
        let mut spread = Self { middle, cells: sizes.tokens as f32, distances: Vec::new() };
        // A part pulls the middle towards itself; as far as it is from the others' middle is n/(n-1)
        // times what is seen.
        let pull = if count > 1.0 { count / (count - 1.0) } else { 1.0 };
        let distances = pictures.iter().map(|picture| spread.distance(picture) * pull).collect();
        spread.distances = distances;
        spread
    }

    /// Of pictures on disk.
    pub fn of_pictures(
        teacher: &mut dyn Teacher,
        paths: &[PathBuf],
        region: Option<RegionOfInterest>,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Self, TeachError> {
        let sizes = TokenSizes::of(teacher.manifest());
        let mut pictures = Vec::with_capacity(paths.len());
        for path in paths {
            pictures.push(read_tokens(teacher, path, region)?.1);
            progress(pictures.len());
        }
        if pictures.is_empty() {
            return Err(TeachError::NoPictures);
        }
        let tokens: Vec<&[f32]> = pictures.iter().map(Vec::as_slice).collect();
        Ok(Self::of_tokens(&tokens, &sizes))
    }

    /// The most typical part: the nearest to the middle, the first of equals.
    pub fn nearest(&self) -> usize {
        let all = 0..self.distances.len();
        all.min_by(|&a, &b| self.distances[a].total_cmp(&self.distances[b])).unwrap_or(0)
    }

    /// Where one of the good parts lies.
    pub fn place_of_part(&self, part: usize) -> PromptPlace {
        self.place_at(self.distances.get(part).copied().unwrap_or(f32::INFINITY))
    }

    /// Where another picture lies.
    pub fn place_of_picture(
        &self,
        teacher: &mut dyn Teacher,
        picture: &RgbImage,
        region: Option<RegionOfInterest>,
    ) -> Result<PromptPlace, TeachError> {
        let sizes = TokenSizes::of(teacher.manifest());
        let resized = teacher.resize(picture, region);
        let input = teacher.normalise(&resized);
        let tokens = unit_tokens(&teacher.encode(&input)?.features, &sizes)?;
        Ok(self.place(&tokens))
    }

    /// Where another picture lies, as tokens.
    pub(super) fn place(&self, picture: &[f32]) -> PromptPlace {
        self.place_at(self.distance(picture))
    }

    fn place_at(&self, distance: f32) -> PromptPlace {
        let mut sorted = self.distances.clone();
        let median = super::thresholds::percentile(&mut sorted, 0.5).unwrap_or(0.0);
        let largest = self.distances.iter().copied().fold(0.0, f32::max);
        let nearer = self.distances.iter().filter(|d| **d < distance).count();
        let nearer = nearer as f64 / self.distances.len().max(1) as f64;
        // Rounding alone must not put a part outside of parts that are all the same.
        let outside = distance > OUTSIDE * largest + 1e-3;
        PromptPlace { distance, median, largest, nearer, outside }
    }

    fn distance(&self, picture: &[f32]) -> f32 {
        let difference: Vec<f32> =
            picture.iter().zip(&self.middle).map(|(value, mean)| value - mean).collect();
        (dot(&difference, &difference) / self.cells).sqrt()
    }
}

impl PromptPlace {
    /// What a person should be told of a prompt that lies outside.
    pub fn warning(&self) -> Option<String> {
        self.outside.then(|| {
            format!(
                "the prompt looks unlike the good parts: distance to their middle {:.2}, theirs at \
                 most {:.2}; is it a picture of this product, in the same view?",
                self.distance, self.largest
            )
        })
    }
}

impl fmt::Display for PromptPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { distance, median, largest, nearer, .. } = self;
        let percent = nearer * 100.0;
        write!(
            f,
            "distance to the middle {distance:.2} (good parts: median {median:.2}, largest \
             {largest:.2}); {percent:.0} % of them are more typical"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: TokenSizes =
        TokenSizes { tokens: 2, channels: 4, levels: [1, 1], good_tokens: 2, cell_pictures: 2 };

    fn spread() -> Spread {
        let parts = [[0.0, 0.0, 0.0, 0.0], [2.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]];
        Spread::of_tokens(&parts.each_ref().map(|part| &part[..]), &SIZES)
    }

    #[test]
    fn the_middle_one_is_most_typical() {
        let spread = spread();
        assert_eq!(spread.nearest(), 2);
        let place = spread.place_of_part(2);
        assert_eq!((place.distance, place.nearer, place.outside), (0.0, 0.0, false));
        // One unit from the middle of three is 1.5 from that of the two others; over 2 cells.
        let place = spread.place_of_part(0);
        assert!((place.distance - 1.5 / 2.0f32.sqrt()).abs() < 1e-6, "{place:?}");
        assert!(!place.outside && place.warning().is_none());
    }

    #[test]
    fn what_lies_beyond_the_farthest_is_said_to() {
        let place = spread().place(&[1.0, 5.0, 0.0, 0.0]);
        assert!(place.outside && place.nearer == 1.0);
        assert!(
            place.warning().unwrap().contains("distance to their middle 3.54, theirs at most 1.06")
        );
        let same = Spread::of_tokens(&[&[1.0f32; 4], &[1.0; 4]], &SIZES);
        assert!(!same.place(&[1.0; 4]).outside);
        assert!(same.place(&[1.0, 1.0, 0.9, 1.0]).outside);
    }
}

//! Kinds of defect and the exact mask of one: the pixels it changed.

use image::{GrayImage, Luma, RgbImage};

/// What can be wrong with a drawn part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DefectKind {
    /// A groove drawn over the surface.
    Scratch,
    /// A hollow: hit, or a blowhole of the casting.
    Dent,
    /// A piece broken out of an edge.
    ChippedEdge,
    /// A component, tablet or hole that is not there.
    Missing,
    /// A component, tablet or hole that is not where, or not how, it should be.
    Misplaced,
    /// Oil, flux, rust, foreign matter on the surface.
    Contamination,
    /// Smeared, incomplete or wrong print.
    WrongPrint,
    /// A thin jagged break.
    Crack,
    /// A pin or lead out of line.
    BentPin,
}

impl DefectKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Scratch,
        Self::Dent,
        Self::ChippedEdge,
        Self::Missing,
        Self::Misplaced,
        Self::Contamination,
        Self::WrongPrint,
        Self::Crack,
        Self::BentPin,
    ];

    /// Name as used for folders of a data set.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scratch => "scratch",
            Self::Dent => "dent",
            Self::ChippedEdge => "chipped_edge",
            Self::Missing => "missing",
            Self::Misplaced => "misplaced",
            Self::Contamination => "contamination",
            Self::WrongPrint => "wrong_print",
            Self::Crack => "crack",
            Self::BentPin => "bent_pin",
        }
    }
}

/// A change of this many grey levels in one channel is plainly seen.
const SEEN_LEVELS: u8 = 22;
/// Where a seen change fades out, it still belongs to the defect down to this many.
const FADED_LEVELS: u8 = 8;
/// The defect's own shadow and reflections count only in patches of at least this many pixels.
const SMALLEST_PATCH: usize = 6;
/// Fewest pixels of a visible defect.
pub(super) const SMALLEST_AREA: usize = 40;

/// The pixels in which `spoiled` visibly differs from `clean`, as 255; `None` where they are
/// fewer than [`SMALLEST_AREA`].
///
/// Hysteresis: a patch counts whole if one of its pixels differs plainly.
pub(super) fn visible_change(clean: &RgbImage, spoiled: &RgbImage) -> Option<GrayImage> {
    let (width, height) = clean.dimensions();
    let change: Vec<u8> = clean
        .pixels()
        .zip(spoiled.pixels())
        .map(|(a, b)| (0..3).map(|c| a.0[c].abs_diff(b.0[c])).max().unwrap_or(0))
        .collect();
    let mut mask = GrayImage::new(width, height);
    let mut visited = vec![false; change.len()];
    let mut area = 0;
    for start in 0..change.len() {
        if visited[start] || change[start] < SEEN_LEVELS {
            continue;
        }
        let patch = grow(start, width as usize, &change, &mut visited);
        if patch.len() >= SMALLEST_PATCH {
            area += patch.len();
            for index in patch {
                let (x, y) = (index as u32 % width, index as u32 / width);
                mask.put_pixel(x, y, Luma([255]));
            }
        }
    }
    (area >= SMALLEST_AREA).then_some(mask)
}

/// The connected pixels (eight neighbours) around `start` that differ at all visibly.
fn grow(start: usize, width: usize, change: &[u8], visited: &mut [bool]) -> Vec<usize> {
    let height = change.len() / width;
    let mut patch = vec![start];
    visited[start] = true;
    let mut next = 0;
    while let Some(&index) = patch.get(next) {
        next += 1;
        let (x, y) = (index % width, index / width);
        for ny in y.saturating_sub(1)..=(y + 1).min(height - 1) {
            for nx in x.saturating_sub(1)..=(x + 1).min(width - 1) {
                let neighbour = ny * width + nx;
                if !visited[neighbour] && change[neighbour] >= FADED_LEVELS {
                    visited[neighbour] = true;
                    patch.push(neighbour);
                }
            }
        }
    }
    patch
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    #[test]
    fn only_patches_with_a_plain_change_count() {
        let clean = RgbImage::from_pixel(40, 40, Rgb([100, 100, 100]));
        let mut spoiled = clean.clone();
        for x in 5..35 {
            for y in 10..12 {
                spoiled.put_pixel(x, y, Rgb([100, 140, 100]));
            }
            spoiled.put_pixel(x, 12, Rgb([110, 100, 100]));
            spoiled.put_pixel(x, 30, Rgb([115, 100, 100]));
        }
        spoiled.put_pixel(2, 2, Rgb([255, 255, 255]));
        let mask = visible_change(&clean, &spoiled).unwrap();
        let set = mask.as_raw().iter().filter(|&&value| value == 255).count();
        assert_eq!(set, 90, "two plain rows, the fading row beside them, nothing else");
        assert!(visible_change(&clean, &clean).is_none());
    }
}

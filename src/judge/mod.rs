//! Map and thresholds in, regions and verdict out. Pure, and no allocation per part.

mod components;

use crate::part::{Reason, Region, RegionOfInterest, SequenceNumber, Verdict};
use components::{Component, Components};

/// Regions kept of a part, the largest first; the count in the verdict has no such bound.
pub const REGIONS_KEPT: usize = 16;

/// The two thresholds of a product.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// A part whose score is at or above it fails (100).
    pub image: f32,
    /// Map values at or above it belong to a region.
    pub pixel: f32,
}

/// Optional rule: one region large enough fails the part (101), whatever its score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionRule {
    /// Smallest area that fails, in camera pixels.
    pub min_area_pixels: u32,
}

/// Judges parts one by one. A pass needs finite numbers everywhere: score, thresholds and map.
pub struct Judge {
    side: usize,
    components: Components,
    regions: Vec<Region>,
}

impl Judge {
    /// A judge of maps of `side` x `side` values; allocates all it will ever need.
    pub fn new(side: usize) -> Self {
        let regions = Vec::with_capacity(REGIONS_KEPT + 1);
        Self { side, components: Components::new(side), regions }
    }

    /// The verdict about one part.
    ///
    /// `map` is row-major, `side * side` values, and covers the whole of `inspected` (camera
    /// pixels). A map of another size is 203; any number that is not finite is 211.
    pub fn judge(
        &mut self,
        sequence: SequenceNumber,
        score: f32,
        map: &[f32],
        inspected: RegionOfInterest,
        thresholds: &Thresholds,
        rule: Option<&RegionRule>,
    ) -> Verdict {
        self.regions.clear();
        let usable = map.len() == self.side * self.side && self.side > 0;
        let found = if usable { self.components.find(map, thresholds.pixel) } else { &[] };
        for component in found {
            let region = in_camera_pixels(component, self.side, inspected);
            keep_largest(&mut self.regions, region);
        }
        let regions = u16::try_from(found.len()).unwrap_or(u16::MAX);
        let largest = self.regions.first().copied();
        let numbers = [score, thresholds.image, thresholds.pixel];
        let finite = numbers.iter().chain(map).all(|value| value.is_finite());
        let reason = match (largest, rule) {
            _ if !usable => Reason::EngineError,
            _ if !finite => Reason::ScoreNotFinite,
            _ if score >= thresholds.image => Reason::ScoreAtOrAboveThreshold,
            (Some(region), Some(rule)) if region.area_pixels >= rule.min_area_pixels => {
                Reason::RegionRule
            }
            _ => Reason::Good,
        };
        Verdict { sequence, reason, score, threshold: thresholds.image, regions, largest }
    }

    /// Up to [`REGIONS_KEPT`] regions of the last part in camera pixels, the largest first.
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }
}

/// Inserts by area, then peak, and drops what is beyond the bound.
fn keep_largest(kept: &mut Vec<Region>, region: Region) {
    let larger =
        |other: &Region| (other.area_pixels, other.peak) >= (region.area_pixels, region.peak);
    let place = kept.iter().take_while(|other| larger(other)).count();
    if place < REGIONS_KEPT {
        kept.insert(place, region);
        kept.truncate(REGIONS_KEPT);
    }
}

/// Scales a component of the map's grid to the camera: the box grows to whole pixels, the area is
/// the component's share of the inspected rectangle, at least one pixel.
fn in_camera_pixels(component: &Component, side: usize, inspected: RegionOfInterest) -> Region {
    let side = side as u64;
    let edges = |first: u32, last: u32, origin: u32, extent: u32| {
        let start = u64::from(first) * u64::from(extent) / side;
        let end = ((u64::from(last) + 1) * u64::from(extent)).div_ceil(side);
        let start_pixel = u64::from(origin) + start;
        (saturated(start_pixel), saturated(end.max(start + 1) - start))
    };
    let (x, width) = edges(component.left, component.right, inspected.x, inspected.width);
    let (y, height) = edges(component.top, component.bottom, inspected.y, inspected.height);
    let pixels = u128::from(inspected.width) * u128::from(inspected.height);
    let cells = u128::from(side) * u128::from(side);
    let area = (u128::from(component.cells) * pixels + cells / 2) / cells;
    let area_pixels = u32::try_from(area).unwrap_or(u32::MAX).max(1);
    Region { x, y, width, height, area_pixels, peak: component.peak }
}

fn saturated(value: u64) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;

//! What the engine sees in a part: the anomaly map, and regions drawn from it.

/// Anomaly map of one part: `side` x `side` values over the whole frame, row-major, higher = worse.
#[derive(Clone, Debug, PartialEq)]
pub struct AnomalyMap {
    /// Values across and down; equals the engine's input side S.
    pub side: usize,
    /// Row-major, `side * side` of them.
    pub values: Vec<f32>,
}

/// A connected region of the map above the pixel threshold, in camera pixels, origin top left.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Region {
    /// Left edge.
    pub x: u16,
    /// Top edge.
    pub y: u16,
    /// Pixels across.
    pub width: u16,
    /// Pixels down.
    pub height: u16,
    /// Number of camera pixels covered.
    pub area_pixels: u32,
    /// Largest map value inside.
    pub peak: f32,
}

/// The rectangle of the frame that is inspected, in camera pixels, origin top left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RegionOfInterest {
    /// Left edge.
    pub x: u32,
    /// Top edge.
    pub y: u32,
    /// Pixels across, at least 1.
    pub width: u32,
    /// Pixels down, at least 1.
    pub height: u32,
}

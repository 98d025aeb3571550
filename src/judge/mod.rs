//! Map and thresholds in, regions and verdict out.

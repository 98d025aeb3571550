//! Nearest neighbours in plain Rust: the numbers the inspector graph is held against, and the
//! baseline row of the evaluation.

use crate::product::{TokenSizes, dot};
use rayon::prelude::*;

/// Smallest squared distance: rounding must not give the root of a negative number.
const SMALLEST_SQUARE: f32 = 1e-4;
/// Side at which the maps' Gaussian has a deviation of 4 pixels.
const SIDE_OF_SIGMA_1: f32 = 56.0;
/// Side of the window whose largest mean is the image score (specification 5.3).
const SCORE_WINDOW: usize = 16;
/// Memory tokens compared with all tokens of a picture at a time, so that they stay in the cache.
const TILE_TOKENS: usize = 64;

/// Distance of every token of `picture` [L,E] to the nearest of `memory` [N,E]:
/// √max(4 − 2x, 1e-4) with x the largest dot product (tokens of two levels of length 1).
pub fn search_grid(picture: &[f32], memory: &[f32], width: usize) -> Vec<f32> {
    let tiles: Vec<&[f32]> = memory.chunks(TILE_TOKENS * width).collect();
    let tokens: Vec<&[f32]> = picture.chunks_exact(width).collect();
    let piece = tokens.len().div_ceil(rayon::current_num_threads()).max(1);
    tokens
        .par_chunks(piece)
        .flat_map_iter(|tokens| {
            let mut closeness = vec![f32::NEG_INFINITY; tokens.len()];
            for tile in &tiles {
                for (token, close) in tokens.iter().zip(&mut closeness) {
                    for other in tile.chunks_exact(width) {
                        *close = close.max(dot(token, other));
                    }
                }
            }
            closeness.into_iter().map(distance)
        })
        .collect()
}

/// The same over the tokens of the same grid cell of `memory` [M,L,E] only.
pub fn cell_grid(picture: &[f32], memory: &[f32], width: usize) -> Vec<f32> {
    let mut closeness = vec![f32::NEG_INFINITY; picture.len() / width];
    for other in memory.chunks_exact(picture.len()) {
        let pairs = picture.chunks_exact(width).zip(other.chunks_exact(width));
        for ((token, other), close) in pairs.zip(&mut closeness) {
            *close = close.max(dot(token, other));
        }
    }
    closeness.into_iter().map(distance).collect()
}

fn distance(closeness: f32) -> f32 {
    (4.0 - 2.0 * closeness).max(SMALLEST_SQUARE).sqrt()
}

/// Grid [G,G] to map [S,S]: bilinear (align_corners), then a Gaussian of deviation S/56, cut at 4
/// deviations, the border mirrored. Both are one constant matrix, applied to rows and columns.
pub fn smooth_map(grid: &[f32], sizes: &TokenSizes, side: usize) -> Vec<f32> {
    let cells = sizes.tokens.isqrt();
    let matrix = smoothing_matrix(cells, side);
    // rows[y][g]: the matrix applied to the columns of the grid.
    let mut rows = vec![0.0; side * cells];
    for (row, weights) in rows.chunks_exact_mut(cells).zip(matrix.chunks_exact(cells)) {
        for (line, weight) in grid.chunks_exact(cells).zip(weights) {
            for (value, cell) in row.iter_mut().zip(line) {
                *value += weight * cell;
            }
        }
    }
    let mut map = Vec::with_capacity(side * side);
    for row in rows.chunks_exact(cells) {
        map.extend(matrix.chunks_exact(cells).map(|weights| dot(weights, row)));
    }
    map
}

/// [S,G], row-major.
pub fn smoothing_matrix(cells: usize, side: usize) -> Vec<f32> {
    let deviation = f64::from(side as f32 / SIDE_OF_SIGMA_1);
    let radius = (4.0 * deviation + 0.5) as i64;
    let weight = |offset: i64| (-0.5 * (offset as f64 / deviation).powi(2)).exp();
    let total: f64 = (-radius..=radius).map(weight).sum();
    let mut matrix = vec![0.0f64; side * cells];
    for (pixel, row) in matrix.chunks_exact_mut(cells).enumerate() {
        for offset in -radius..=radius {
            let source = mirrored(pixel as i64 + offset, side as i64);
            let position = source as f64 * (cells - 1) as f64 / (side - 1) as f64;
            let low = (position.floor() as usize).min(cells - 1);
            let part = position - low as f64;
            let share = weight(offset) / total;
            row[low] += share * (1.0 - part);
            row[(low + 1).min(cells - 1)] += share * part;
        }
    }
    matrix.into_iter().map(|weight| weight as f32).collect()
}

/// The border pixel is repeated: … 1 0 | 0 1 … as scipy's `reflect`.
fn mirrored(position: i64, side: i64) -> i64 {
    let folded = position.rem_euclid(2 * side);
    folded.min(2 * side - 1 - folded)
}

/// Largest mean over a 16 x 16 window of the map (specification 5.3).
pub fn image_score(map: &[f32], side: usize) -> f32 {
    let means_of = |line: &[f32]| -> Vec<f32> {
        let window = |values: &[f32]| values.iter().sum::<f32>() / SCORE_WINDOW as f32;
        line.windows(SCORE_WINDOW).map(window).collect()
    };
    let rows: Vec<Vec<f32>> = map.chunks_exact(side).map(means_of).collect();
    let mut largest = f32::NEG_INFINITY;
    for window in rows.windows(SCORE_WINDOW) {
        for x in 0..window[0].len() {
            let sum: f32 = window.iter().map(|row| row[x]).sum();
            largest = largest.max(sum / SCORE_WINDOW as f32);
        }
    }
    largest
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: TokenSizes =
        TokenSizes { tokens: 4, channels: 4, levels: [1, 1], good_tokens: 2, cell_pictures: 2 };

    #[test]
    fn search_looks_everywhere_and_cell_only_at_home() {
        let picture = [1.0, 1.0, 1.0, -1.0, -1.0, 1.0, -1.0, -1.0];
        let elsewhere = [-1.0, -1.0, -1.0, 1.0, 1.0, -1.0, 1.0, 1.0];
        let smallest = SMALLEST_SQUARE.sqrt();
        assert_eq!(search_grid(&picture, &elsewhere, 2), [smallest; 4]);
        assert_eq!(cell_grid(&picture, &elsewhere, 2), [8.0f32.sqrt(); 4]);
        let both = [elsewhere, picture].concat();
        assert_eq!(cell_grid(&picture, &both, 2), [smallest; 4]);
    }

    #[test]
    fn smoothing_agrees_with_scipy() {
        // scipy.ndimage.gaussian_filter(bilinear align_corners of [[0,1],[2,5]] to 56x56, 1.0,
        // mode='reflect', truncate=4.0)
        let map = smooth_map(&[0.0, 1.0, 2.0, 5.0], &SIZES, 56);
        for ((x, y), expected) in SCIPY {
            let value = map[y * 56 + x];
            assert!((value - expected).abs() < 2e-6, "{x} {y}: {value} {expected}");
        }
    }

    const SCIPY: [((usize, usize), f32); 4] = [
        ((0, 0), 0.023_413_71),
        ((55, 0), 1.023_172_6),
        ((20, 41), 2.396_694_2),
        ((54, 54), 4.864_832_4),
    ];

    #[test]
    fn the_score_is_the_best_window() {
        let mut map = vec![0.0; 32 * 32];
        for y in 10..26 {
            map[y * 32 + 3..][..16].fill(2.0);
        }
        map[0] = 100.0;
        assert!((image_score(&map, 32) - 2.0).abs() < 1e-6);
    }

    #[test]
    fn search_is_the_same_for_any_tiling() {
        let value = |i: usize| ((i * 7919) % 101) as f32 / 101.0 - 0.5;
        let picture: Vec<f32> = (0..20 * 18).map(value).collect();
        let memory: Vec<f32> = (0..500 * 18).map(|i| value(i + 13)).collect();
        let grid = search_grid(&picture, &memory, 18);
        for (token, found) in picture.chunks_exact(18).zip(grid) {
            let dots = memory.chunks_exact(18).map(|other| dot(token, other));
            assert_eq!(found, distance(dots.fold(f32::NEG_INFINITY, f32::max)));
        }
    }
}

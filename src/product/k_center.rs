//! Greedy k-center: few tokens that leave no token far from all of them.

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use rayon::prelude::*;

/// Tokens in one piece of parallel work: about 150 kB, so that a piece stays in a core's cache.
const PIECE_TOKENS: usize = 256;

/// Indices of `count` of the `tokens` (rows of `width`): the first drawn by `seed`, then always
/// the token whose nearest chosen one is farthest (the first of equals).
///
/// Tokens of equal length are compared by their dot product, as the search map does. Exact, and
/// the same on any number of threads. All of them, in order, when there are no more than `count`.
pub(super) fn k_center(tokens: &[f32], width: usize, count: usize, seed: u64) -> Vec<usize> {
    let total = tokens.len() / width;
    if total <= count {
        return (0..total).collect();
    }
    let mut closeness = vec![f32::NEG_INFINITY; total];
    let mut chosen = Vec::with_capacity(count);
    let mut next = Pcg64::seed_from_u64(seed).random_range(0..total);
    while chosen.len() < count {
        chosen.push(next);
        let centre = &tokens[next * width..][..width];
        let pieces = closeness
            .par_chunks_mut(PIECE_TOKENS)
            .zip(tokens.par_chunks(PIECE_TOKENS * width))
            .enumerate()
            .with_min_len(8);
        let farthest = pieces
            .map(|(piece, (closeness, tokens))| {
                let (index, value) = approach(centre, tokens, closeness);
                (piece * PIECE_TOKENS + index, value)
            })
            .reduce(|| (usize::MAX, f32::INFINITY), farther);
        next = farthest.0.min(total - 1);
    }
    chosen
}

/// Takes a new centre into account; the least close token of the piece and how close it is.
fn approach(centre: &[f32], tokens: &[f32], closeness: &mut [f32]) -> (usize, f32) {
    let mut farthest = (usize::MAX, f32::INFINITY);
    for (i, (token, close)) in tokens.chunks_exact(centre.len()).zip(closeness).enumerate() {
        *close = close.max(dot(centre, token));
        if *close < farthest.1 {
            farthest = (i, *close);
        }
    }
    farthest
}

fn farther(a: (usize, f32), b: (usize, f32)) -> (usize, f32) {
    if (b.1, b.0) < (a.1, a.0) { b } else { a }
}

/// Dot product in a fixed order of 16 running sums, which the compiler turns into vectors.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, a_rest) = a.as_chunks::<16>();
    let (b, b_rest) = b.as_chunks::<16>();
    let mut sums = [0.0f32; 16];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..16 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(count: usize, width: usize, seed: u64) -> Vec<f32> {
        let mut generator = Pcg64::seed_from_u64(seed);
        let mut all = Vec::new();
        for _ in 0..count {
            let point: Vec<f32> = (0..width).map(|_| generator.random_range(-1.0..1.0)).collect();
            let length = point.iter().map(|v| v * v).sum::<f32>().sqrt();
            all.extend(point.iter().map(|v| v / length));
        }
        all
    }

    /// The definition, word by word.
    fn slow(tokens: &[f32], width: usize, first: usize, count: usize) -> Vec<usize> {
        let token = |i: usize| &tokens[i * width..][..width];
        let mut chosen = vec![first];
        while chosen.len() < count {
            let closest = |i| {
                chosen.iter().map(|&c| dot(token(i), token(c))).fold(f32::NEG_INFINITY, f32::max)
            };
            let all = 0..tokens.len() / width;
            let next = all.min_by(|&a, &b| closest(a).total_cmp(&closest(b))).unwrap();
            chosen.push(next);
        }
        chosen
    }

    #[test]
    fn chooses_as_the_definition_does() {
        for (count, width) in [(700, 5), (600, 37)] {
            let tokens = points(count, width, 3);
            let chosen = k_center(&tokens, width, 40, 0);
            assert_eq!(chosen, slow(&tokens, width, chosen[0], 40));
        }
    }

    #[test]
    fn a_lone_token_is_found_at_once() {
        let mut tokens = [1.0, 0.0].repeat(1000);
        tokens[2 * 777..][..2].copy_from_slice(&[-1.0, 0.0]);
        assert_eq!(k_center(&tokens, 2, 2, 0)[1], 777);
    }

    #[test]
    fn few_tokens_are_all_taken() {
        assert_eq!(k_center(&points(5, 3, 0), 3, 5, 0), [0, 1, 2, 3, 4]);
    }
}

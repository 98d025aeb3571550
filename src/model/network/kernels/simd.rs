//! Plain loops that the compiler vectorises for the processor at hand.

/// Independent partial sums of a reduction: one vector register.
const LANES: usize = 16;

/// Runs `work` compiled for the widest vector unit of this processor: a small closure, or a struct
/// where the loop is too large for the compiler to inline a closure on its own.
pub fn vectorised<W: pulp::WithSimd>(work: W) -> W::Output {
    pulp::Arch::new().dispatch(work)
}

/// e^x for x <= 0, to about one unit in the last place; below -87 it stays at e^-87.
#[inline(always)]
pub fn exponential(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low mantissa bits.
    const ROUNDER: f32 = 12_582_912.0;
    let x = if x < -87.0 { -87.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUNDER;
    let whole = shifted - ROUNDER;
    let rest = (x - whole * 0.693_359_4) + whole * 2.121_944_4e-4;
    let mut series = 1.987_569_1e-4;
    series = series * rest + 1.398_199_9e-3;
    series = series * rest + 8.333_452e-3;
    series = series * rest + 4.166_579_6e-2;
    series = series * rest + 1.666_666_5e-1;
    series = series * rest + 0.5;
    let fraction = series * rest * rest + rest + 1.0;
    let power = f32::from_bits(shifted.to_bits().wrapping_shl(23).wrapping_add(0x3f80_0000));
    fraction * power
}

/// Sum of `values`.
#[inline(always)]
pub fn sum(values: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let chunks = values.chunks_exact(LANES);
    let tail: f32 = chunks.remainder().iter().sum();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    lanes.iter().sum::<f32>() + tail
}

/// Sum of the products of `left` and `right`.
#[inline(always)]
pub fn dot(left: &[f32], right: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (chunks, others) = (left.chunks_exact(LANES), right.chunks_exact(LANES));
    let tail: f32 = chunks.remainder().iter().zip(others.remainder()).map(|(a, b)| a * b).sum();
    for (chunk, other) in chunks.zip(others) {
        for ((lane, a), b) in lanes.iter_mut().zip(chunk).zip(other) {
            *lane += a * b;
        }
    }
    lanes.iter().sum::<f32>() + tail
}

/// Largest of `values`; -infinity of none.
#[inline(always)]
pub fn maximum(values: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = values.chunks_exact(LANES);
    let tail = chunks.remainder().iter().fold(f32::NEG_INFINITY, |a, b| larger(a, *b));
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, *value);
        }
    }
    lanes.iter().fold(tail, |a, b| larger(a, *b))
}

/// Sums the columns of `rows` ([n, `columns`]) in an order that does not depend on threads.
pub fn column_sums(rows: &[f32], columns: usize) -> Vec<f32> {
    use rayon::prelude::*;
    const ROWS_PER_TASK: usize = 256;
    let partial: Vec<Vec<f32>> = rows
        .par_chunks(ROWS_PER_TASK * columns)
        .map(|block| vectorised(|| sum_rows(block, columns)))
        .collect();
    sum_rows(&partial.concat(), columns)
}

#[inline(always)]
fn sum_rows(rows: &[f32], columns: usize) -> Vec<f32> {
    let mut sums = vec![0.0; columns];
    for row in rows.chunks_exact(columns) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_is_exact_to_three_units_in_the_last_place() {
        for step in 0..=8700 {
            let x = -(step as f32) / 100.0;
            let exact = f64::from(x).exp();
            let found = f64::from(vectorised(|| exponential(x)));
            assert!((found / exact - 1.0).abs() < 3.6e-7, "{x}: {found} {exact}");
        }
        assert!(exponential(f32::NEG_INFINITY) < 2e-38);
        assert_eq!(exponential(0.0), 1.0);
    }

    #[test]
    fn reductions_cover_the_tail() {
        let values: Vec<f32> = (1..=37).map(|v| v as f32).collect();
        assert_eq!(sum(&values), 703.0);
        assert_eq!(dot(&values, &values), 17_575.0);
        assert_eq!(maximum(&values), 37.0);
        assert_eq!(column_sums(&values[..36], 2), [324.0, 342.0]);
    }
}

//! Linear resampling as constant matrices: bilinear, Gaussian, moving mean (8.3).

use crate::bundle::onnx::{GraphBuilder, Value};

/// A constant matrix, row-major.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Matrix {
    rows: usize,
    columns: usize,
    values: Vec<f64>,
}

impl Matrix {
    fn zeros(rows: usize, columns: usize) -> Self {
        Self { rows, columns, values: vec![0.0; rows * columns] }
    }

    fn at(&mut self, row: usize, column: usize) -> &mut f64 {
        &mut self.values[row * self.columns + column]
    }

    fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.columns..(row + 1) * self.columns]
    }

    /// Bilinear interpolation of `inputs` samples to `outputs`, align_corners = true (2.5).
    pub(super) fn bilinear(outputs: usize, inputs: usize) -> Self {
        let mut matrix = Self::zeros(outputs, inputs);
        let intervals = (outputs - 1).max(1);
        for output in 0..outputs {
            let scaled = output * (inputs - 1);
            let (first, rest) = (scaled / intervals, scaled % intervals);
            let weight = rest as f64 / intervals as f64;
            *matrix.at(output, first) += 1.0 - weight;
            *matrix.at(output, (first + 1).min(inputs - 1)) += weight;
        }
        matrix
    }

    /// Gaussian of standard deviation `sigma` over `size` samples, cut at 4 sigma, the border
    /// mirrored with the edge sample repeated.
    pub(super) fn gaussian(size: usize, sigma: f64) -> Self {
        let radius = (4.0 * sigma + 0.5) as isize;
        let weight = |offset: isize| (-0.5 * (offset as f64 / sigma).powi(2)).exp();
        let total: f64 = (-radius..=radius).map(weight).sum();
        let mut matrix = Self::zeros(size, size);
        for output in 0..size {
            for offset in -radius..=radius {
                let input = mirrored(output as isize + offset, size);
                *matrix.at(output, input) += weight(offset) / total;
            }
        }
        matrix
    }

    /// Mean of `window` neighbouring samples, without padding.
    pub(super) fn moving_mean(size: usize, window: usize) -> Self {
        let mut matrix = Self::zeros(size + 1 - window, size);
        for output in 0..matrix.rows {
            for input in output..output + window {
                *matrix.at(output, input) = 1.0 / window as f64;
            }
        }
        matrix
    }

    /// First `other`, then this.
    pub(super) fn after(&self, other: &Self) -> Self {
        let mut product = Self::zeros(self.rows, other.columns);
        for row in 0..self.rows {
            for (inner, &factor) in self.row(row).iter().enumerate() {
                for column in 0..other.columns {
                    *product.at(row, column) += factor * other.row(inner)[column];
                }
            }
        }
        product
    }

    /// This matrix over rows and over columns of x [..., columns, columns]: A X Aᵀ.
    pub(super) fn apply(&self, graph: &mut GraphBuilder, name: &str, x: &Value) -> Value {
        let values: Vec<f32> = self.values.iter().map(|&value| value as f32).collect();
        let transposed: Vec<f32> = (0..self.columns)
            .flat_map(|column| (0..self.rows).map(move |row| row * self.columns + column))
            .map(|index| values[index])
            .collect();
        let left = graph.constant(&format!("{name}.left"), &[self.rows, self.columns], &values);
        let right =
            graph.constant(&format!("{name}.right"), &[self.columns, self.rows], &transposed);
        let across = graph.matmul(&format!("{name}.across"), x, &right);
        graph.matmul(name, &left, &across)
    }
}

/// d c b a | a b c d | d c b a.
fn mirrored(index: isize, size: usize) -> usize {
    let period = 2 * size as isize;
    let folded = index.rem_euclid(period);
    folded.min(period - 1 - folded) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bilinear_keeps_corners_and_lines() {
        let matrix = Matrix::bilinear(14, 112);
        for output in 0..14 {
            let at: f64 = matrix.row(output).iter().enumerate().map(|(x, w)| x as f64 * w).sum();
            assert!((at - output as f64 * 111.0 / 13.0).abs() < 1e-12);
        }
        assert_eq!(matrix.row(13)[111], 1.0);
        assert_eq!(Matrix::bilinear(5, 5), Matrix::bilinear(5, 5).after(&Matrix::bilinear(5, 5)));
    }

    #[test]
    fn the_border_is_mirrored_with_the_edge_repeated() {
        let indices: Vec<usize> = (-4..8).map(|index| mirrored(index, 4)).collect();
        assert_eq!(indices, [3, 2, 1, 0, 0, 1, 2, 3, 3, 2, 1, 0]);
    }

    proptest! {
        #[test]
        fn every_row_is_a_mean(size in 16usize..80, grid in 2usize..16) {
            let sigma = size as f64 / 56.0;
            let smooth = Matrix::gaussian(size, sigma).after(&Matrix::bilinear(size, grid));
            for matrix in [smooth, Matrix::moving_mean(size, 16)] {
                for row in 0..matrix.rows {
                    let total: f64 = matrix.row(row).iter().sum();
                    prop_assert!((total - 1.0).abs() < 1e-12);
                    prop_assert!(matrix.row(row).iter().all(|&weight| weight >= 0.0));
                }
            }
        }
    }
}

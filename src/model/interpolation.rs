//! Bilinear resizing with aligned corners as a product of matrices (specification 2.5, 3.7).

use burn::tensor::{Device, Tensor, TensorData};

/// The matrix [outputs, inputs] that resizes one axis: output i reads position
/// i·(inputs-1)/(outputs-1).
fn matrix(outputs: usize, inputs: usize) -> Vec<f32> {
    let mut values = vec![0.0; outputs * inputs];
    for output in 0..outputs {
        // Whole and rest in integers: no rounding decides which neighbours are read.
        let position = output * (inputs - 1);
        let steps = (outputs - 1).max(1);
        let (first, rest) = (position / steps, position % steps);
        let share = rest as f64 / steps as f64;
        values[output * inputs + first] += (1.0 - share) as f32;
        values[output * inputs + (first + 1).min(inputs - 1)] += share as f32;
    }
    values
}

/// Resizes the last two axes of `maps` to `side`, each A·X·Aᵀ.
pub fn resize<const D: usize>(maps: Tensor<D>, side: usize) -> Tensor<D> {
    let inputs = maps.dims()[D - 1];
    if inputs == side {
        return maps;
    }
    let device = Device::flex();
    let matrix: Tensor<2> =
        Tensor::from_data(TensorData::new(matrix(side, inputs), [side, inputs]), &device);
    let mut shape = maps.dims();
    let count: usize = shape[..D - 2].iter().product();
    let rows = maps.reshape([count * inputs, inputs]).matmul(matrix.clone().transpose());
    let resized: Tensor<3> = matrix.unsqueeze::<3>().matmul(rows.reshape([count, inputs, side]));
    shape[D - 2] = side;
    shape[D - 1] = side;
    resized.reshape(shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_stay_and_the_middle_is_the_mean() {
        let device = Device::flex();
        let map: Tensor<2> = Tensor::from_data([[0.0, 2.0], [4.0, 10.0]], &device);
        let resized: Vec<f32> = resize(map, 3).try_into_vec_as().unwrap();
        assert_eq!(resized, [0.0, 1.0, 2.0, 2.0, 4.0, 6.0, 4.0, 7.0, 10.0]);
    }
}

//! Named numbers that travel between bundle, product and engine.

use thiserror::Error;

/// Dense row-major f32 tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    values: Vec<f32>,
}

/// Shape and number of values disagree.
#[derive(Debug, Error, PartialEq)]
#[error("a tensor of shape {shape:?} needs {expected} values, {found} were given")]
pub struct TensorShapeError {
    shape: Vec<usize>,
    expected: usize,
    found: usize,
}

impl Tensor {
    /// A tensor of `shape`; fails when the number of values does not fit it.
    pub fn new(shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Result<Self, TensorShapeError> {
        let shape = shape.into();
        let expected = shape.iter().product();
        if expected == values.len() {
            Ok(Self { shape, values })
        } else {
            Err(TensorShapeError { shape, expected, found: values.len() })
        }
    }

    /// A tensor of zeros.
    pub fn zeros(shape: impl Into<Vec<usize>>) -> Self {
        let shape = shape.into();
        let count = shape.iter().product();
        Self { shape, values: vec![0.0; count] }
    }

    /// Sizes of the axes, outermost first; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Row-major values.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Row-major values, to be rewritten in place.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// The values alone.
    pub fn into_values(self) -> Vec<f32> {
        self.values
    }
}

/// Tensors by name: a network's weights (official key names), a product's inputs of the inspector.
pub type NamedTensors = std::collections::BTreeMap<String, Tensor>;

//! Weights by their official names as leaves of burn's autodiff.

use crate::part::{self, NamedTensors};
use burn::tensor::{Device, Gradients, Tensor, TensorData, TensorReadError};
use std::collections::BTreeMap;
use thiserror::Error;

/// Why the network cannot be built or run from these weights.
#[derive(Debug, Error)]
pub enum NetworkError {
    /// A weight is absent.
    #[error("weight `{0}` is missing; the file belongs to another network")]
    Missing(String),
    /// A weight has another shape.
    #[error("weight `{name}` has shape {found:?}, this network needs {expected:?}")]
    Shape {
        /// Official name.
        name: String,
        /// What the network needs.
        expected: Vec<usize>,
        /// What was given.
        found: Vec<usize>,
    },
    /// burn could not hand out a tensor's values.
    #[error("a tensor cannot be read: {0}")]
    Read(String),
}

impl From<TensorReadError> for NetworkError {
    fn from(error: TensorReadError) -> Self {
        Self::Read(format!("{error:?}"))
    }
}

impl From<part::TensorShapeError> for NetworkError {
    fn from(error: part::TensorShapeError) -> Self {
        Self::Read(error.to_string())
    }
}

/// Row-major values of a burn tensor.
pub fn read<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, NetworkError> {
    Ok(tensor.inner().try_into_vec_as()?)
}

/// A burn tensor without autodiff.
pub fn constant<const D: usize>(shape: [usize; D], values: Vec<f32>) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

/// A part's tensor as burn's, of rank D.
pub fn import<const D: usize>(
    name: &str,
    tensor: &part::Tensor,
) -> Result<Tensor<D>, NetworkError> {
    let shape: [usize; D] = tensor.shape().try_into().map_err(|_| NetworkError::Shape {
        name: name.to_owned(),
        expected: vec![0; D],
        found: tensor.shape().to_vec(),
    })?;
    Ok(constant(shape, tensor.values().to_vec()))
}

/// A burn tensor as the vocabulary's.
pub fn export<const D: usize>(tensor: Tensor<D>) -> Result<part::Tensor, NetworkError> {
    Ok(part::Tensor::new(tensor.dims(), read(tensor)?)?)
}

#[derive(Clone, Debug)]
struct Leaf {
    shape: Vec<usize>,
    /// Flat: one rank for all, so that the optimiser treats every weight alike.
    value: Tensor<1>,
}

/// Named weights; those of an autodiff device record gradients, running statistics never do.
#[derive(Clone, Debug)]
pub struct Weights {
    device: Device,
    leaves: BTreeMap<String, Leaf>,
}

/// Whether the optimiser changes a weight (all but running statistics).
pub fn is_trained(name: &str) -> bool {
    !name.contains(".running_")
}

impl Weights {
    /// Takes the tensors named in `shapes` from `source`, which may hold more.
    pub fn new(
        source: &NamedTensors,
        shapes: &[(String, Vec<usize>)],
        device: &Device,
    ) -> Result<Self, NetworkError> {
        let mut weights = Self { device: device.clone(), leaves: BTreeMap::new() };
        for (name, shape) in shapes {
            let tensor = source.get(name).ok_or_else(|| NetworkError::Missing(name.clone()))?;
            if tensor.shape() != shape {
                return Err(NetworkError::Shape {
                    name: name.clone(),
                    expected: shape.clone(),
                    found: tensor.shape().to_vec(),
                });
            }
            let value = weights.leaf(name, tensor.values().to_vec());
            weights.leaves.insert(name.clone(), Leaf { shape: shape.clone(), value });
        }
        Ok(weights)
    }

    fn leaf(&self, name: &str, values: Vec<f32>) -> Tensor<1> {
        let shape = [values.len()];
        if is_trained(name) && self.device.is_autodiff() {
            Tensor::from_data(TensorData::new(values, shape), &self.device).require_grad()
        } else {
            constant(shape, values)
        }
    }

    /// The weight of that name, of rank D.
    pub fn tensor<const D: usize>(&self, name: &str) -> Result<Tensor<D>, NetworkError> {
        let leaf = self.get(name)?;
        let shape: [usize; D] =
            leaf.shape.as_slice().try_into().map_err(|_| NetworkError::Shape {
                name: name.to_owned(),
                expected: vec![0; D],
                found: leaf.shape.clone(),
            })?;
        Ok(leaf.value.clone().reshape(shape))
    }

    fn get(&self, name: &str) -> Result<&Leaf, NetworkError> {
        self.leaves.get(name).ok_or_else(|| NetworkError::Missing(name.to_owned()))
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.leaves.keys().map(String::as_str)
    }

    /// Takes the gradients of all trained weights out of `gradients`.
    pub fn gradients(&self, gradients: &mut Gradients) -> Result<NamedTensors, NetworkError> {
        let mut named = NamedTensors::new();
        for (name, leaf) in self.leaves.iter().filter(|(name, _)| is_trained(name)) {
            let values = match leaf.value.grad_remove(gradients) {
                Some(gradient) => read(gradient)?,
                None => vec![0.0; leaf.shape.iter().product()],
            };
            named.insert(name.clone(), part::Tensor::new(leaf.shape.clone(), values)?);
        }
        Ok(named)
    }

    /// Rewrites the weight of that name in place.
    pub fn update(
        &mut self,
        name: &str,
        change: impl FnOnce(&mut [f32]),
    ) -> Result<(), NetworkError> {
        let leaf = self.get(name)?;
        let shape = leaf.shape.clone();
        // Taking the leaf out leaves its buffer with one owner: no copy.
        let Some(leaf) = self.leaves.remove(name) else {
            return Err(NetworkError::Missing(name.to_owned()));
        };
        let mut values = read(leaf.value)?;
        change(&mut values);
        let value = self.leaf(name, values);
        self.leaves.insert(name.to_owned(), Leaf { shape, value });
        Ok(())
    }

    /// All weights, running statistics included.
    pub fn to_named(&self) -> Result<NamedTensors, NetworkError> {
        let mut named = NamedTensors::new();
        for (name, leaf) in &self.leaves {
            let values = read(leaf.value.clone())?;
            named.insert(name.clone(), part::Tensor::new(leaf.shape.clone(), values)?);
        }
        Ok(named)
    }
}

//! Weights by official name, and the folding of batch normalisation.

use crate::bundle::BundleError;
use crate::bundle::onnx::Convolution;
use crate::part::NamedTensors;

/// Weights under a common prefix.
#[derive(Clone)]
pub(super) struct Weights<'a> {
    tensors: &'a NamedTensors,
    prefix: String,
}

impl<'a> Weights<'a> {
    pub(super) fn new(tensors: &'a NamedTensors, prefix: &str) -> Self {
        Self { tensors, prefix: prefix.to_owned() }
    }

    /// The same weights under a longer prefix.
    pub(super) fn under(&self, name: &str) -> Self {
        Self { tensors: self.tensors, prefix: format!("{}{name}", self.prefix) }
    }

    /// Row-major values.
    pub(super) fn values(&self, name: &str) -> Result<&'a [f32], BundleError> {
        let key = format!("{}{name}", self.prefix);
        let tensor = self.tensors.get(&key);
        tensor.map(|tensor| tensor.values()).ok_or_else(|| BundleError::weight(&key, "is missing"))
    }

    /// A convolution's weights [outputs, inputs, kernel, kernel].
    fn kernel(&self, name: &str) -> Result<([usize; 4], &'a [f32]), BundleError> {
        let key = format!("{}{name}", self.prefix);
        let tensor =
            self.tensors.get(&key).ok_or_else(|| BundleError::weight(&key, "is missing"))?;
        let shape = tensor.shape().try_into().map_err(|_| {
            BundleError::weight(&key, format!("has shape {:?}, not four axes", tensor.shape()))
        })?;
        Ok((shape, tensor.values()))
    }

    /// A convolution with its own bias.
    pub(super) fn with_bias(&self, name: &str) -> Result<Convolution, BundleError> {
        let (shape, kernel) = self.kernel(&format!("{name}.weight"))?;
        let biases = self.values(&format!("{name}.bias"))?.to_vec();
        Ok(Convolution { shape, weights: kernel.to_vec(), biases })
    }

    /// A bias-free convolution with the batch normalisation after it folded in (8.2).
    pub(super) fn folded(
        &self,
        convolution: &str,
        norm: &str,
        epsilon: f64,
    ) -> Result<Convolution, BundleError> {
        let (shape, kernel) = self.kernel(convolution)?;
        let norm = self.under(norm);
        let (gamma, beta) = (norm.values("weight")?, norm.values("bias")?);
        let (mean, variance) = (norm.values("running_mean")?, norm.values("running_var")?);
        let mut weights = kernel.to_vec();
        let mut biases = Vec::with_capacity(shape[0]);
        let per_output = shape[1] * shape[2] * shape[3];
        for (output, weights) in weights.chunks_exact_mut(per_output).enumerate() {
            let factor = f64::from(gamma[output]) / (f64::from(variance[output]) + epsilon).sqrt();
            for weight in weights {
                *weight = (f64::from(*weight) * factor) as f32;
            }
            biases.push((f64::from(beta[output]) - f64::from(mean[output]) * factor) as f32);
        }
        Ok(Convolution { shape, weights, biases })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::part::Tensor;

    #[test]
    fn folding_equals_convolution_then_normalisation() {
        let mut tensors = NamedTensors::new();
        let mut add = |name: &str, shape: &[usize], values: &[f32]| {
            tensors.insert(format!("a.{name}"), Tensor::new(shape, values.to_vec()).unwrap());
        };
        add("conv.weight", &[2, 1, 1, 1], &[3.0, -2.0]);
        add("bn.weight", &[2], &[0.5, 1.5]);
        add("bn.bias", &[2], &[0.25, -0.75]);
        add("bn.running_mean", &[2], &[0.1, 0.2]);
        add("bn.running_var", &[2], &[4.0, 0.5]);
        let folded = Weights::new(&tensors, "a.").folded("conv.weight", "bn.", 1e-3).unwrap();
        let x = 1.7f64;
        for (output, (weight, gamma, beta, mean, variance)) in
            [(3.0, 0.5, 0.25, 0.1, 4.0), (-2.0, 1.5, -0.75, 0.2, 0.5)].into_iter().enumerate()
        {
            let expected = (weight * x - mean) / f64::sqrt(variance + 1e-3) * gamma + beta;
            let found = f64::from(folded.weights[output]) * x + f64::from(folded.biases[output]);
            assert!((expected - found).abs() < 1e-6, "{expected} {found}");
        }
    }

    #[test]
    fn a_missing_weight_is_named() {
        let error = Weights::new(&NamedTensors::new(), "head.").values("bias").unwrap_err();
        assert!(error.to_string().contains("`head.bias`"), "{error}");
    }
}

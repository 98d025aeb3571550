//! Product tensors as a file: safetensors, the memory in FP16.

use crate::part::{NamedTensors, Tensor};
use half::f16;
use safetensors::{Dtype, SafeTensors, View};
use std::borrow::Cow;

/// Tensors whose values were rounded to FP16 when taught; the others stay F32.
const HALF: [&str; 2] = ["good_tokens", "cell_tokens"];

struct Entry<'a> {
    tensor: &'a Tensor,
    dtype: Dtype,
}

impl View for Entry<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        self.tensor.shape()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let values = self.tensor.values().iter();
        match self.dtype {
            Dtype::F16 => values.flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect(),
            _ => values.flat_map(|v| v.to_le_bytes()).collect(),
        }
    }

    fn data_len(&self) -> usize {
        let bytes = if self.dtype == Dtype::F16 { 2 } else { 4 };
        self.tensor.values().len() * bytes
    }
}

/// The file's content.
pub(super) fn to_bytes(tensors: &NamedTensors) -> Result<Vec<u8>, String> {
    let entries = tensors.iter().map(|(name, tensor)| {
        let dtype = if HALF.contains(&name.as_str()) { Dtype::F16 } else { Dtype::F32 };
        (name, Entry { tensor, dtype })
    });
    safetensors::serialize(entries, None).map_err(|error| error.to_string())
}

/// Tensors of a file's content.
pub(super) fn from_bytes(bytes: &[u8]) -> Result<NamedTensors, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let mut tensors = NamedTensors::new();
    for (name, view) in file.iter() {
        let values = match view.dtype() {
            Dtype::F16 => {
                let (pairs, _) = view.data().as_chunks::<2>();
                pairs.iter().map(|&b| f16::from_le_bytes(b).to_f32()).collect()
            }
            Dtype::F32 => {
                let (quads, _) = view.data().as_chunks::<4>();
                quads.iter().map(|&b| f32::from_le_bytes(b)).collect()
            }
            other => return Err(format!("tensor `{name}` is {other:?}, not F16 or F32")),
        };
        let tensor = Tensor::new(view.shape(), values).map_err(|error| error.to_string())?;
        tensors.insert(name.into(), tensor);
    }
    Ok(tensors)
}

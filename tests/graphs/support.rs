//! Bundles by the rule, golden tensors, comparison.

use onenipd::bundle::rule::{rule_image, rule_tensor};
use onenipd::bundle::{
    Backbone, Fusion, Manifest, OnePicture, Recipe, inspector_inputs, weight_shapes,
};
use onenipd::engine::OnnxRuntime;
use onenipd::part::{NamedTensors, Tensor};
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use safetensors::SafeTensors;
use std::path::{Path, PathBuf};

/// The library, or a message what to do.
pub fn runtime() -> OnnxRuntime {
    match OnnxRuntime::open(None) {
        Ok(runtime) => runtime,
        Err(error) => panic!("this test needs ONNX Runtime: {error}"),
    }
}

/// A manifest of Lite0 with K = `constant_k`, not yet written.
pub fn manifest(
    recipe: Recipe,
    side: usize,
    [good_tokens, cell_pictures]: [usize; 2],
    constant_k: f32,
) -> Manifest {
    let mut manifest = Manifest::new(Backbone::Lite0, side, recipe);
    (manifest.good_tokens, manifest.cell_pictures) = (good_tokens, cell_pictures);
    manifest.fusion = Fusion { constant_k, weights: [0.5, 1.0, 1.0] };
    manifest.one_picture = OnePicture { scales: [1.0; 3], threshold: 1.0, pixel_threshold: 1.0 };
    manifest.inputs = inspector_inputs(recipe, manifest.geometry(), good_tokens, cell_pictures);
    manifest
}

/// All weights of a bundle of `manifest`, by the rule.
pub fn rule_weights(manifest: &Manifest) -> NamedTensors {
    let shapes = weight_shapes(manifest).into_iter();
    shapes.map(|(key, shape)| (key.clone(), rule_tensor(&key, &shape))).collect()
}

/// The rule image as a graph's input.
pub fn image_input(name: &str, side: usize) -> Tensor {
    Tensor::new([1, 3, side, side], rule_image(name, side).into_values()).unwrap()
}

/// Product tensors of `manifest`: random tokens whose two levels have length 1, scales 1.
pub fn product(manifest: &Manifest, seed: u64) -> NamedTensors {
    let mut random = Pcg64::seed_from_u64(seed);
    let [.., stride_8, stride_16] = manifest.backbone.tap_channels();
    let mut tensors = NamedTensors::new();
    for input in &manifest.inputs {
        let mut tensor = Tensor::zeros(input.shape.clone());
        tensor.values_mut().iter_mut().for_each(|v| *v = random.random_range(-1.0..1.0));
        if input.name.ends_with("_tokens") {
            for token in tensor.values_mut().chunks_exact_mut(stride_8 + stride_16) {
                let (first, second) = token.split_at_mut(stride_8);
                for level in [first, second] {
                    let length = level.iter().map(|v| v * v).sum::<f32>().sqrt();
                    level.iter_mut().for_each(|v| *v /= length);
                }
            }
        }
        if input.name == "fusion_scales" {
            tensor.values_mut().fill(1.0);
        }
        tensors.insert(input.name.clone(), tensor);
    }
    tensors
}

/// Writes a graph and returns where.
pub fn write_graph(directory: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// A file of golden tensors (tests/golden/README.md, section 2).
pub struct Golden {
    bytes: Vec<u8>,
    info: serde_json::Value,
}

impl Golden {
    pub fn open(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
        let bytes = std::fs::read(path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let info = &header.metadata().as_ref().unwrap()["info"];
        Self { info: serde_json::from_str(info).unwrap(), bytes }
    }

    fn values(&self, name: &str) -> Vec<f32> {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let data = tensors.tensor(name).unwrap().data();
        data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    /// The one value of a scalar.
    pub fn scalar(&self, name: &str) -> f32 {
        let values = self.values(name);
        assert_eq!(values.len(), 1);
        values[0]
    }

    /// Compares elements, mean and spread within 1e-4 of the spread; returns the largest error.
    pub fn compare(&self, name: &str, found: &[f32]) -> f64 {
        let info = &self.info[name];
        let number = |key: &str| info[key].as_f64().unwrap();
        let shape = info["shape"].as_array().unwrap();
        let count: u64 = shape.iter().map(|size| size.as_u64().unwrap()).product();
        assert_eq!(found.len() as u64, count, "{name}");
        let (step, spread) = (number("step") as usize, number("std"));
        let expected = self.values(name);
        assert_eq!(found.iter().step_by(step).count(), expected.len(), "{name}");
        let pairs = found.iter().step_by(step).zip(&expected);
        let worst = pairs.map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max) / spread;
        assert!(worst <= 1e-4, "{name}: an element is off by {worst:.2e} of the spread");
        let mean = found.iter().map(|&v| f64::from(v)).sum::<f64>() / count as f64;
        let square = found.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>();
        let own_spread = (square / count as f64).sqrt();
        assert!((mean - number("mean")).abs() <= 1e-4 * spread, "{name}: mean {mean}");
        assert!((own_spread - spread).abs() <= 1e-4 * spread, "{name}: spread {own_spread}");
        worst
    }
}

//! Proof that two networks compute the same: named tensors against golden files or each other.

use super::features::{FrozenBackbone, neck};
use super::network::weights::{export, import};
use super::network::{self, Dropouts, Head, NetworkError, Weights};
use crate::bundle::{Backbone, Geometry, rule};
use crate::part::{NamedTensors, Tensor};
use burn::tensor::{self, Device};
use safetensors::SafeTensors;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use thiserror::Error;

/// Largest difference allowed, in standard deviations of the tensor; relative for scalars.
pub const TOLERANCE: f64 = 1e-4;
/// Side of the mean whose maximum is the image score (specification 5.3).
const SCORE_WINDOW: usize = 16;

/// Why a proof cannot be led.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// A golden file is missing or not one.
    #[error("golden file {path}: {reason}")]
    Golden {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The network cannot be built or run.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

/// What golden/README section 2 says of one complete tensor.
#[derive(Clone, Debug, Deserialize)]
struct Info {
    shape: Vec<usize>,
    step: usize,
    mean: f64,
    std: f64,
}

/// A tensor of a golden file, complete or every `step`-th element.
#[derive(Clone, Debug)]
pub struct GoldenTensor {
    info: Info,
    values: Vec<f32>,
}

/// The tensors of a golden file by name.
#[derive(Clone, Debug, Default)]
pub struct Golden(BTreeMap<String, GoldenTensor>);

/// One tensor of two networks.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Name, as in golden/README section 3.
    pub name: String,
    /// Largest difference in standard deviations; relative for scalars; infinite for a tensor that
    /// one side lacks.
    pub largest_difference: f64,
    /// What is allowed.
    pub tolerance: f64,
}

impl Difference {
    /// Whether the tensors agree.
    pub fn holds(&self) -> bool {
        self.largest_difference <= self.tolerance
    }
}

impl Golden {
    /// Reads the tensors of `path` whose names start with `prefix` (`lite0.`), named without it.
    pub fn read(path: &Path, prefix: &str) -> Result<Self, VerifyError> {
        let fail =
            |reason: String| VerifyError::Golden { path: path.display().to_string(), reason };
        let bytes = std::fs::read(path).map_err(|error| fail(error.to_string()))?;
        let (_, metadata) =
            SafeTensors::read_metadata(&bytes).map_err(|error| fail(error.to_string()))?;
        let info = metadata.metadata().as_ref().and_then(|entries| entries.get("info"));
        let info = info.ok_or_else(|| fail("no entry `info` in its metadata".into()))?;
        let infos: BTreeMap<String, Info> =
            serde_json::from_str(info).map_err(|error| fail(error.to_string()))?;
        let file = SafeTensors::deserialize(&bytes).map_err(|error| fail(error.to_string()))?;
        let mut tensors = BTreeMap::new();
        for (name, info) in infos {
            let Some(short) = name.strip_prefix(prefix) else { continue };
            let view = file.tensor(&name).map_err(|error| fail(error.to_string()))?;
            let bytes = view.data().as_chunks::<4>().0;
            let values = bytes.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            tensors.insert(short.to_owned(), GoldenTensor { info, values });
        }
        Ok(Self(tensors))
    }

    /// Whether it holds no tensor.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a scalar of that name.
    pub fn scalar(&self, name: &str) -> Option<f32> {
        match self.0.get(name)?.values.as_slice() {
            [value] => Some(*value),
            _ => None,
        }
    }

    /// Every golden tensor against the same of `found`, which may hold more.
    pub fn compare(&self, found: &NamedTensors) -> Vec<Difference> {
        let tensors = self.0.iter();
        tensors.map(|(name, golden)| golden.compare(name, found.get(name))).collect()
    }
}

impl GoldenTensor {
    fn compare(&self, name: &str, found: Option<&Tensor>) -> Difference {
        let count: usize = self.info.shape.iter().product();
        let Some(found) = found.filter(|tensor| tensor.values().len() == count) else {
            return Difference::new(name, f64::INFINITY);
        };
        let subset: Vec<f32> = found.values().iter().step_by(self.info.step).copied().collect();
        let mut largest = largest_difference(&subset, &self.values);
        if count > 1 {
            let (mean, deviation) = moments(found.values());
            largest = largest.max((mean - self.info.mean).abs());
            largest = largest.max((deviation - self.info.std).abs()) / self.info.std;
        } else {
            largest /= self.info.mean.abs();
        }
        Difference::new(name, largest)
    }
}

impl Difference {
    fn new(name: &str, largest_difference: f64) -> Self {
        Self { name: name.to_owned(), largest_difference, tolerance: TOLERANCE }
    }
}

/// Every tensor of `reference` against the same of `found`, in units of the reference's deviation.
pub fn compare(reference: &NamedTensors, found: &NamedTensors) -> Vec<Difference> {
    let one = |(name, reference): (&String, &Tensor)| {
        let values = reference.values();
        let other = found.get(name).filter(|other| other.values().len() == values.len());
        let Some(other) = other else { return Difference::new(name, f64::INFINITY) };
        let (mean, deviation) = moments(values);
        let unit = if values.len() > 1 { deviation } else { mean.abs() };
        Difference::new(name, largest_difference(values, other.values()) / unit)
    };
    reference.iter().map(one).collect()
}

/// Largest element-wise difference; NaN counts as infinite.
fn largest_difference(left: &[f32], right: &[f32]) -> f64 {
    if left.len() != right.len() {
        return f64::INFINITY;
    }
    let differences = left.iter().zip(right).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs());
    differences.fold(0.0, |most, d| {
        if d <= most {
            most
        } else if d.is_nan() {
            f64::INFINITY
        } else {
            d
        }
    })
}

/// Mean and population deviation.
fn moments(values: &[f32]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
    let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count;
    (mean, variance.sqrt())
}

/// All weights of a network by the rule of golden/README section 1.
pub fn rule_weights(backbone: Backbone, side: usize) -> NamedTensors {
    let geometry = Geometry::new(backbone, side);
    let mut shapes = rule::backbone_shapes(backbone);
    shapes.extend(rule::head_shapes(geometry.channels, geometry.grid));
    shapes
        .into_iter()
        .map(|(name, shape)| {
            let tensor = rule::rule_tensor(&name, &shape);
            (name, tensor)
        })
        .collect()
}

/// Every tensor that golden/README section 3 names, computed by burn in evaluation mode from
/// `weights` (all of a network) for normalised pictures [3, S, S]. K is that of the one map.
pub fn burn_tensors(
    backbone: Backbone,
    weights: &NamedTensors,
    image: &Tensor,
    prompt: &Tensor,
) -> Result<NamedTensors, NetworkError> {
    let mut named = NamedTensors::new();
    let frozen = FrozenBackbone::new(backbone, weights)?;
    let [target, prompt] =
        trace_features(&frozen, [("image", image), ("prompt", prompt)], &mut named)?;
    let [channels, grid, side] = [target.dims()[1], target.dims()[2], image.shape()[1]];
    let shapes = rule::head_shapes(channels, grid);
    let head = Head::new(&Weights::new(weights, &shapes, &Device::flex())?)?;
    let tokens =
        |map: tensor::Tensor<4>| map.permute([0, 2, 3, 1]).reshape([grid * grid, channels]);
    let (target, prompt) = (tokens(target), tokens(prompt));
    named.insert("pos_embed".into(), export(head.positions())?);

    let reconstruction = trace_transformer(&head, [target.clone(), prompt], &mut named)?;
    let map =
        |tokens: tensor::Tensor<2>| tokens.reshape([1, grid, grid, channels]).permute([0, 3, 1, 2]);
    named.insert("rec_feat".into(), export(map(reconstruction.clone()))?);
    let distances = network::distance_grid(reconstruction.clone(), target.clone(), grid);
    named.insert("rec_grid".into(), export(distances.clone())?);
    let distance_map = network::distance_map(distances, side);
    let logits = head.refine((reconstruction - target).abs(), None);
    named.insert("ref_logit_grid".into(), export(logits.clone())?);
    let refined_map = network::refined_map(logits, side);
    fuse(export(distance_map)?, export(refined_map)?, side, &mut named)?;
    Ok(named)
}

/// Features of both pictures, [1, C, G, G].
fn trace_features(
    backbone: &FrozenBackbone,
    pictures: [(&str, &Tensor); 2],
    named: &mut NamedTensors,
) -> Result<[tensor::Tensor<4>; 2], NetworkError> {
    let mut trace = |(name, picture): (&str, &Tensor)| -> Result<_, NetworkError> {
        let batch: tensor::Tensor<4> = import::<3>(name, picture)?.unsqueeze();
        named.insert(format!("input.{name}"), export(batch.clone())?);
        let taps = backbone.taps(batch);
        for (index, tap) in taps.iter().enumerate() {
            named.insert(format!("tap{index}.{name}"), export(tap.clone())?);
        }
        let features = neck(taps);
        named.insert(format!("neck.{name}"), export(features.clone())?);
        Ok(features)
    };
    let [image, prompt] = pictures;
    Ok([trace(image)?, trace(prompt)?])
}

/// Features of target and prompt [L, C] → reconstruction [L, C].
fn trace_transformer(
    head: &Head,
    features: [tensor::Tensor<2>; 2],
    named: &mut NamedTensors,
) -> Result<tensor::Tensor<2>, NetworkError> {
    let mut dropouts = Dropouts::off();
    let mut pass = head.pass(&mut dropouts);
    let mut memories = Vec::new();
    for (name, features) in ["target", "prompt"].into_iter().zip(features) {
        let mut x = head.project(features);
        for (index, layer) in head.encoder_layers().iter().enumerate() {
            x = layer.apply(x, &mut pass);
            if index == 0 {
                named.insert(format!("encoder0.{name}"), export(x.clone())?);
            }
        }
        named.insert(format!("encoder.{name}"), export(x.clone())?);
        memories.push(x);
    }
    let (mut prompt, mut target) = (memories.remove(1), memories.remove(0));
    for (index, layer) in head.decoder_layers().iter().enumerate() {
        [prompt, target] = layer.apply(prompt, target, &mut pass);
        if index == 0 || index == 3 {
            named.insert(format!("decoder{index}.prompt"), export(prompt.clone())?);
            named.insert(format!("decoder{index}.target"), export(target.clone())?);
        }
    }
    let output = head.finish(prompt, target, &mut pass);
    named.insert("decoder".into(), export(output.clone())?);
    Ok(head.reconstruct(output))
}

/// Adds both maps, K, the fused map and the score (specification 5.3).
fn fuse(
    distances: Tensor,
    refined: Tensor,
    side: usize,
    named: &mut NamedTensors,
) -> Result<(), NetworkError> {
    let values = distances.values().iter().copied();
    let highest = values.clone().fold(f32::NEG_INFINITY, f32::max);
    let constant_k = (highest + values.clone().fold(f32::INFINITY, f32::min)) / 2.0;
    let fused: Vec<f32> = values
        .zip(refined.values())
        .map(|(distance, refined)| 0.5 * distance + 0.5 * constant_k * refined)
        .collect();
    let score = image_score(&fused, side);
    named.insert("rec_map".into(), distances);
    named.insert("ref_map".into(), refined);
    named.insert("fusion_k".into(), Tensor::new([1], vec![constant_k])?);
    named.insert("fused_map".into(), Tensor::new([side, side], fused)?);
    named.insert("image_score".into(), Tensor::new([1], vec![score])?);
    Ok(())
}

/// Largest mean of a 16x16 window of a map [S, S] (specification 5.3).
pub fn image_score(map: &[f32], side: usize) -> f32 {
    // Sums over the rectangle from the origin, one row and column of zeros in front.
    let stride = side + 1;
    let mut sums = vec![0.0_f64; stride * stride];
    for y in 0..side {
        let mut row = 0.0;
        for x in 0..side {
            row += f64::from(map[y * side + x]);
            sums[(y + 1) * stride + x + 1] = sums[y * stride + x + 1] + row;
        }
    }
    let mut largest = f64::NEG_INFINITY;
    for bottom in SCORE_WINDOW..=side {
        for right in SCORE_WINDOW..=side {
            let (top, left) = (bottom - SCORE_WINDOW, right - SCORE_WINDOW);
            let sum = sums[bottom * stride + right]
                - sums[top * stride + right]
                - sums[bottom * stride + left]
                + sums[top * stride + left];
            largest = largest.max(sum);
        }
    }
    (largest / (SCORE_WINDOW * SCORE_WINDOW) as f64) as f32
}

/// Sides S of the golden forward files in `directory`, ascending.
pub fn golden_sides(directory: &Path) -> Vec<usize> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let side = |name: String| {
        name.strip_prefix("forward-")?.strip_suffix(".safetensors")?.parse::<usize>().ok()
    };
    let mut sides: Vec<usize> =
        entries.filter_map(|entry| side(entry.file_name().into_string().ok()?)).collect();
    sides.sort_unstable();
    sides
}

/// The golden tensors of `backbone` at `side` in `directory`; empty for a backbone that the file
/// does not hold.
///
/// # Errors
/// The file is missing or not one.
pub fn golden_tensors(
    directory: &Path,
    backbone: Backbone,
    side: usize,
) -> Result<Golden, VerifyError> {
    let path = directory.join(format!("forward-{side}.safetensors"));
    Golden::read(&path, &format!("{}.", backbone.name()))
}

/// [`burn_tensors`] of the golden network of `backbone` at `side`: rule weights, rule pictures.
pub fn golden_network(backbone: Backbone, side: usize) -> Result<NamedTensors, NetworkError> {
    let (image, prompt) = (rule::rule_image("image", side), rule::rule_image("prompt", side));
    burn_tensors(backbone, &rule_weights(backbone, side), &image, &prompt)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meets_the_golden_file(backbone: Backbone, side: usize) {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let golden = golden_tensors(&directory, backbone, side).unwrap();
        let table = golden.compare(&golden_network(backbone, side).unwrap());
        assert_eq!(table.len(), 30);
        let worst =
            table.iter().max_by(|a, b| a.largest_difference.total_cmp(&b.largest_difference));
        println!("{backbone:?} {side}: worst {:?}", worst.unwrap());
        for difference in &table {
            assert!(difference.holds(), "{backbone:?} {side}: {difference:?}");
        }
    }

    #[test]
    fn burn_meets_the_golden_forward_files_with_lite0() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        assert_eq!(golden_sides(&directory), [224, 256, 320]);
        for side in [224, 256, 320] {
            meets_the_golden_file(Backbone::Lite0, side);
        }
    }

    #[test]
    fn burn_meets_the_golden_forward_files_with_b4() {
        for side in [224, 256, 320] {
            meets_the_golden_file(Backbone::B4, side);
        }
    }

    #[test]
    fn a_missing_a_wrong_and_a_nan_tensor_are_found() {
        let tensor = |values: Vec<f32>| Tensor::new([values.len()], values).unwrap();
        let one = |tensor| NamedTensors::from([("a".to_owned(), tensor)]);
        let reference = one(tensor(vec![1.0, 3.0]));
        assert!(compare(&reference, &reference)[0].holds());
        assert!(!compare(&reference, &NamedTensors::new())[0].holds());
        assert_eq!(compare(&reference, &one(tensor(vec![1.0, 3.5])))[0].largest_difference, 0.5);
        assert!(!compare(&reference, &one(tensor(vec![1.0, f32::NAN])))[0].holds());
        assert!(!compare(&reference, &one(tensor(vec![1.0])))[0].holds());
    }

    #[test]
    fn the_score_is_the_largest_window_mean() {
        let mut map = vec![0.0; 20 * 20];
        map[10 * 20 + 10] = 256.0;
        map[0] = 512.0;
        assert_eq!(image_score(&map, 20), 3.0);
    }
}

//! Weights to graphs: `inspector.onnx` and `prompt_encoder.onnx`.
//!
//! Every constant is folded (specification 5.4, 8.2), products of the same input are merged (8.3).
//! Internal tensors bear the names of the golden files, so that they can be asked for.

mod attention;
mod backbone;
mod fusion;
mod head;
mod memory;
mod neck;
mod resampling;
mod weights;

use super::onnx::GraphBuilder;
use super::{BundleError, Geometry, InspectorInput, Manifest, Recipe, rule};
use crate::part::NamedTensors;
use head::Head;
use std::collections::BTreeMap;

/// Version of the graphs made here: raised with every change of what they compute or are called.
pub(super) const WRITER_VERSION: &str = "1";

/// Golden name of the positions, which a graph computes with only in folded form.
const POSITIONS: &str = "pos_embed";

/// Golden names of tensors that bear another name in a graph.
const ALIASES: [(&str, &str); 5] = [
    ("rec_map", "reconstruction_map"),
    ("ref_map", "refined_map"),
    ("fused_map", "anomaly_map"),
    ("image_score", "score"),
    ("encoder.prompt", "prompt_memory"),
];

/// The product tensors of an inspector, in order, with their static shapes.
pub fn inspector_inputs(
    recipe: Recipe,
    geometry: Geometry,
    good_tokens: usize,
    cell_pictures: usize,
) -> Vec<InspectorInput> {
    let Geometry { tokens, token_channels, .. } = geometry;
    let input = |name: &str, shape: Vec<usize>| InspectorInput { name: name.to_owned(), shape };
    let mut inputs = Vec::new();
    if recipe != Recipe::Untrained {
        inputs.push(input("prompt_memory", vec![tokens, attention::WIDTH]));
    }
    inputs.push(input("good_tokens", vec![good_tokens, token_channels]));
    inputs.push(input("cell_tokens", vec![cell_pictures, tokens, token_channels]));
    inputs.push(input("fusion_scales", vec![3]));
    inputs
}

/// Names and shapes of all weights a bundle of this manifest holds.
pub fn weight_shapes(manifest: &Manifest) -> Vec<(String, Vec<usize>)> {
    let mut shapes = rule::backbone_shapes(manifest.backbone);
    if manifest.has_network() {
        let Geometry { channels, grid, .. } = manifest.geometry();
        shapes.extend(rule::head_shapes(channels, grid));
    }
    shapes
}

/// Checks that `weights` are exactly those the manifest asks for, and finite.
pub fn check_weights(weights: &NamedTensors, manifest: &Manifest) -> Result<(), BundleError> {
    let expected = weight_shapes(manifest);
    for (key, shape) in &expected {
        let tensor = weights.get(key).ok_or_else(|| BundleError::weight(key, "is missing"))?;
        if tensor.shape() != shape {
            let reason = format!("has shape {:?}, {shape:?} is expected", tensor.shape());
            return Err(BundleError::weight(key, reason));
        }
        if !tensor.values().iter().all(|value| value.is_finite()) {
            return Err(BundleError::weight(key, "holds a value that is not finite"));
        }
    }
    match weights.keys().find(|key| !expected.iter().any(|(known, _)| known == *key)) {
        Some(unknown) => Err(BundleError::weight(unknown, "is unknown")),
        None => Ok(()),
    }
}

/// Bytes of `inspector.onnx`. `extra_outputs` names internal tensors to be outputs as well (golden
/// names; for `verify`), `metadata` is written into the file.
pub fn inspector_graph(
    weights: &NamedTensors,
    manifest: &Manifest,
    extra_outputs: &[&str],
    metadata: &[(&str, &str)],
) -> Result<Vec<u8>, BundleError> {
    check_weights(weights, manifest)?;
    let geometry = manifest.geometry();
    let mut graph = GraphBuilder::new("inspector");
    let image = graph.input("image", &[1, 3, geometry.side, geometry.side]);
    let Manifest { recipe, good_tokens, cell_pictures, .. } = manifest;
    let inputs: BTreeMap<_, _> = inspector_inputs(*recipe, geometry, *good_tokens, *cell_pictures)
        .into_iter()
        .map(|input| (input.name.clone(), graph.input(&input.name, &input.shape)))
        .collect();
    let taps = backbone::taps(&mut graph, weights, manifest.backbone, &image)?;
    let first = if manifest.has_network() { 0 } else { 2 };
    let levels = neck::levels(&mut graph, &taps[first..], geometry.grid);
    let keys = memory::keys(&mut graph, &levels[levels.len() - 2..]);
    let search = memory::search(&mut graph, &keys, &inputs["good_tokens"], geometry.grid);
    let cell = memory::cell(&mut graph, &keys, &inputs["cell_tokens"], geometry.grid);
    let grids = graph.concatenate("memory_grids", &[&search, &cell], 0);
    let mut maps = memory::smooth(&mut graph, "memory_maps", &grids, geometry);
    if manifest.has_network() {
        let neck = neck::join(&mut graph, &levels);
        let features = neck::tokens(&mut graph, "features", &neck);
        let head = Head::new(&mut graph, weights, geometry)?;
        if extra_outputs.contains(&POSITIONS) {
            head.show_positions(&mut graph, POSITIONS);
        }
        let memory = head.encode(&mut graph, &features, "target", "encoder.target")?;
        let decoder = head.decode(&mut graph, &inputs["prompt_memory"], &memory)?;
        let network = head.maps(&mut graph, &decoder, &neck)?;
        let map = fusion::network_map(&mut graph, &network, manifest.fusion.constant_k);
        let side = geometry.side;
        let map = graph.reshape("network_map.plane", &map, &[1, side, side]);
        maps = graph.concatenate("maps", &[&map, &maps], 0);
        graph.output(&network.reconstruction);
        graph.output(&network.refined);
    }
    fusion::outputs(&mut graph, &maps, &inputs["fusion_scales"]);
    request(&mut graph, "inspector", extra_outputs)?;
    Ok(graph.finish(metadata))
}

/// Bytes of `prompt_encoder.onnx`; the rest as for [`inspector_graph`].
pub fn prompt_encoder_graph(
    weights: &NamedTensors,
    manifest: &Manifest,
    extra_outputs: &[&str],
    metadata: &[(&str, &str)],
) -> Result<Vec<u8>, BundleError> {
    check_weights(weights, manifest)?;
    let geometry = manifest.geometry();
    let mut graph = GraphBuilder::new("prompt_encoder");
    let image = graph.input("image", &[1, 3, geometry.side, geometry.side]);
    let taps = backbone::taps(&mut graph, weights, manifest.backbone, &image)?;
    let levels = neck::levels(&mut graph, &taps, geometry.grid);
    let neck = neck::join(&mut graph, &levels);
    let features = neck::tokens(&mut graph, "features", &neck);
    if manifest.has_network() {
        let head = Head::new(&mut graph, weights, geometry)?;
        let memory = head.encode(&mut graph, &features, "prompt", "prompt_memory")?;
        graph.output(&memory);
    }
    graph.output(&features);
    request(&mut graph, "prompt_encoder", extra_outputs)?;
    Ok(graph.finish(metadata))
}

/// Makes named tensors outputs; an alias is given its own name by an identity.
fn request(
    graph: &mut GraphBuilder,
    name: &'static str,
    extra_outputs: &[&str],
) -> Result<(), BundleError> {
    for &wanted in extra_outputs {
        let alias = ALIASES.iter().find(|(alias, _)| *alias == wanted);
        let found = graph.find(alias.map_or(wanted, |(_, own)| own));
        let Some(mut value) = found else {
            return Err(BundleError::UnknownTensor { graph: name, name: wanted.to_owned() });
        };
        if alias.is_some() {
            value = graph.unary("Identity", wanted, &value);
        }
        graph.output(&value);
    }
    Ok(())
}

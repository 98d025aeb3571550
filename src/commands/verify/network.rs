//! Every named tensor of a network through burn and through the graphs.

use super::{OpenBundle, Row, TOLERANCE};
use crate::bundle::{
    Backbone, Manifest, Recipe, inspector_graph, inspector_inputs, prompt_encoder_graph, rule,
};
use crate::commands::failure::{Code, Failure, WithCode};
use crate::commands::progress;
use crate::engine::run_named;
use crate::model::verify::{self, Difference, Golden, burn_tensors, compare, golden_sides};
use crate::part::{NamedTensors, Tensor};
use std::path::Path;

/// Tensors asked of the inspector's graph: the target's way, named as in golden/README section 3.
const TARGET: [&str; 19] = [
    "tap0",
    "tap1",
    "tap2",
    "tap3",
    "neck",
    "pos_embed",
    "encoder0.target",
    "encoder.target",
    "decoder0.prompt",
    "decoder0.target",
    "decoder3.prompt",
    "decoder3.target",
    "decoder",
    "rec_feat",
    "rec_grid",
    "rec_map",
    "ref_logit_grid",
    "ref_map",
    "fused_map",
];
/// Tensors asked of the prompt encoder's graph.
const PROMPT: [&str; 7] =
    ["tap0", "tap1", "tap2", "tap3", "neck", "encoder0.prompt", "encoder.prompt"];

/// The bundle's weights through burn and through its graphs.
pub fn bundle_rows(open: &OpenBundle) -> Result<Vec<Row>, Failure> {
    let manifest = open.bundle.manifest();
    if !manifest.has_network() {
        return Ok(Vec::new());
    }
    let weights = open.bundle.weights().code(Code::Data)?;
    let [image, prompt] = pictures(manifest.side);
    let reference = burn_tensors(manifest.backbone, &weights, &image, &prompt).code(Code::Data)?;
    let found = engine_tensors(&weights, manifest.clone(), constant_k(&reference))?;
    Ok(rows("", compare(&reference, &found)))
}

/// Golden networks from rule weights, every backbone and size, through burn and through graphs.
/// A backbone without golden tensors is held against itself: the graphs against burn.
pub fn golden_rows(directory: &Path) -> Result<Vec<Row>, Failure> {
    let sides = golden_sides(directory);
    if sides.is_empty() {
        let message = format!("{} holds no forward-SIDE.safetensors", directory.display());
        return Err(Failure::say(Code::NoInput, message));
    }
    let bar = progress::bar((sides.len() * Backbone::ALL.len()) as u64, "golden networks");
    let mut all = Vec::new();
    for side in sides {
        for backbone in Backbone::ALL {
            bar.set_message(format!("{} {side}", backbone.name()));
            let golden = verify::golden_tensors(directory, backbone, side).code(Code::Data)?;
            all.extend(network_rows(backbone, side, &golden)?);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(all)
}

fn network_rows(backbone: Backbone, side: usize, golden: &Golden) -> Result<Vec<Row>, Failure> {
    let name = backbone.name();
    let burn = verify::golden_network(backbone, side).code(Code::Data)?;
    let weights = verify::rule_weights(backbone, side);
    let manifest = Manifest::new(backbone, side, Recipe::Paper);
    let constant_k = golden.scalar("fusion_k").unwrap_or_else(|| constant_k(&burn));
    let engine = engine_tensors(&weights, manifest, constant_k)?;
    if golden.is_empty() {
        return Ok(rows(&format!("{name} {side} ONNX = burn "), compare(&burn, &engine)));
    }
    let mut both = rows(&format!("{name} {side} burn "), golden.compare(&burn));
    both.extend(rows(&format!("{name} {side} ONNX "), golden.compare(&engine)));
    Ok(both)
}

fn pictures(side: usize) -> [Tensor; 2] {
    ["image", "prompt"].map(|name| rule::rule_image(name, side))
}

/// K of the one distance map, (max + min)/2.
fn constant_k(tensors: &NamedTensors) -> f32 {
    let map = tensors.get("rec_map").map(Tensor::values).unwrap_or_default();
    let highest = map.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    (highest + map.iter().copied().fold(f32::INFINITY, f32::min)) / 2.0
}

/// Every tensor of golden/README section 3 by both graphs: the network alone, at this K.
fn engine_tensors(
    weights: &NamedTensors,
    mut manifest: Manifest,
    constant_k: f32,
) -> Result<NamedTensors, Failure> {
    manifest.fusion.constant_k = constant_k;
    manifest.recipe = Recipe::Paper;
    (manifest.good_tokens, manifest.cell_pictures) = (1, 1);
    manifest.inputs = inspector_inputs(manifest.recipe, manifest.geometry(), 1, 1);
    let folder = std::env::temp_dir().join(format!("onenipd-verify-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let result = run_graphs(weights, &manifest, &folder);
    // Left-over graphs in the temporary directory harm nobody.
    let _ = std::fs::remove_dir_all(&folder);
    result
}

fn run_graphs(
    weights: &NamedTensors,
    manifest: &Manifest,
    folder: &Path,
) -> Result<NamedTensors, Failure> {
    let side = manifest.side;
    let run = |name: &str, graph: Vec<u8>, inputs: &NamedTensors| -> Result<_, Failure> {
        let path = folder.join(name);
        std::fs::write(&path, graph)?;
        run_named(&path, inputs).code(Code::Unavailable)
    };
    let mut named = NamedTensors::new();
    let mut batches = Vec::new();
    for picture in pictures(side) {
        let batch = Tensor::new([1, 3, side, side], picture.into_values());
        batches.push(batch.code(Code::Internal)?);
    }
    for (name, batch) in ["input.image", "input.prompt"].into_iter().zip(&batches) {
        named.insert(name.into(), batch.clone());
    }
    let prompt = batches.pop().unwrap_or_else(|| Tensor::zeros([0]));
    let image = batches.pop().unwrap_or_else(|| Tensor::zeros([0]));

    let graph = prompt_encoder_graph(weights, manifest, &PROMPT, &[]).code(Code::Data)?;
    let inputs = NamedTensors::from([("image".into(), prompt)]);
    let mut encoded = run("prompt_encoder.onnx", graph, &inputs)?;
    let mut inputs = NamedTensors::new();
    for input in &manifest.inputs {
        inputs.insert(input.name.clone(), Tensor::zeros(input.shape.clone()));
    }
    if let Some(memory) = encoded.remove("prompt_memory") {
        inputs.insert("prompt_memory".into(), memory);
    }
    let scales = Tensor::new([3], vec![1.0, 0.0, 0.0]).code(Code::Internal)?;
    inputs.insert("fusion_scales".into(), scales);
    inputs.insert("image".into(), image);
    let graph = inspector_graph(weights, manifest, &TARGET, &[]).code(Code::Data)?;
    let inspected = run("inspector.onnx", graph, &inputs)?;

    for (tensors, names, picture) in
        [(encoded, &PROMPT[..], ".prompt"), (inspected, &TARGET[..], ".image")]
    {
        for (name, tensor) in tensors {
            let of_both = name.starts_with("tap") || name == "neck";
            let suffix = if of_both { picture } else { "" };
            if names.contains(&name.as_str()) {
                named.insert(format!("{name}{suffix}"), tensor);
            } else if name == "score" {
                named.insert("image_score".into(), tensor);
            }
        }
    }
    let constant_k = Tensor::new([1], vec![constant_k(&named)]).code(Code::Internal)?;
    named.insert("fusion_k".into(), constant_k);
    Ok(named)
}

fn rows(prefix: &str, differences: Vec<Difference>) -> Vec<Row> {
    let row = |difference: Difference| Row {
        name: format!("{prefix}{}", difference.name),
        largest_difference: difference.largest_difference,
        tolerance: TOLERANCE.max(difference.tolerance),
    };
    differences.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backbones_without_golden_tensors_agree_in_both_engines() {
        for (backbone, side) in [(Backbone::Lite1, 224), (Backbone::Lite2, 256)] {
            let rows = network_rows(backbone, side, &Golden::default()).unwrap();
            assert_eq!(rows.len(), 30);
            for row in rows {
                assert!(row.holds(), "{} {}", row.name, row.largest_difference);
            }
        }
    }
}

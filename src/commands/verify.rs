//! `onenipd verify`: the engines against the network, tensor by tensor.

use super::engine::{self, OpenBundle};
use super::failure::{Code, Failure, WithCode};
use crate::bundle::rule;
use crate::product::{Teacher, golden_product};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

/// Largest difference allowed, in standard deviations of a tensor (scalars: relative).
const TOLERANCE: f64 = 1e-4;

#[derive(Args)]
#[command(after_help = "Example: onenipd verify engines/demo")]
pub struct Arguments {
    /// Directory of the engine bundle
    bundle: PathBuf,
    /// Also the golden networks of this directory (rule weights, not the bundle's)
    #[arg(long, value_name = "DIR")]
    golden: Option<PathBuf>,
    /// One JSON document instead of the table
    #[arg(long)]
    json: bool,
    /// ONNX Runtime library
    #[arg(long, value_name = "FILE")]
    library: Option<PathBuf>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    largest_difference: f64,
    tolerance: f64,
}

impl Row {
    fn holds(&self) -> bool {
        self.largest_difference <= self.tolerance
    }
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let cache = engine::default_cache();
    let open = engine::open(&arguments.bundle, arguments.library.as_deref(), &cache)?;
    let rows = golden_scores(&open)?;
    #[cfg(feature = "train")]
    let mut rows = rows;
    #[cfg(feature = "train")]
    rows.extend(network::bundle_rows(&open)?);
    if let Some(directory) = &arguments.golden {
        #[cfg(feature = "train")]
        rows.extend(network::golden_rows(directory)?);
        #[cfg(not(feature = "train"))]
        return Err(Failure::say(
            Code::Unavailable,
            format!("{}: this program was built without `train`", directory.display()),
        ));
    }
    let passed = rows.iter().all(Row::holds);
    if arguments.json {
        let document = serde_json::json!({"passed": passed, "tensors": rows});
        println!("{}", serde_json::to_string_pretty(&document).code(Code::Internal)?);
    } else {
        for row in &rows {
            let word = if row.holds() { "ok" } else { "WRONG" };
            println!("{word:6} {:36} {:.2e}", row.name, row.largest_difference);
        }
        let worst = rows.iter().map(|row| row.largest_difference).fold(0.0, f64::max);
        println!("{} tensors, largest difference {worst:.2e}, allowed {TOLERANCE:.0e}", rows.len());
    }
    if passed { Ok(()) } else { Err(Failure::say(Code::No, "the engine does not agree")) }
}

/// The engine as built for use, against the scores stored when the bundle was made.
fn golden_scores(open: &OpenBundle) -> Result<Vec<Row>, Failure> {
    let manifest = open.bundle.manifest();
    let mut teacher = open.teacher()?;
    let prompt = rule::rule_image("prompt", manifest.side);
    let product = golden_product(&mut teacher, prompt.values()).code(Code::Data)?;
    teacher.set_product(&product).code(Code::Data)?;
    let mut rows = Vec::new();
    for (name, stored) in &manifest.golden_scores {
        let image = rule::rule_image(name, manifest.side);
        let score = teacher.inspect(image.values()).code(Code::Data)?.score;
        let difference = f64::from((score - stored).abs()) / f64::from(stored.abs().max(1e-6));
        let name = format!("golden score of {name}");
        rows.push(Row { name, largest_difference: difference, tolerance: TOLERANCE });
    }
    Ok(rows)
}

#[cfg(feature = "train")]
mod network {
    use super::{OpenBundle, Row, TOLERANCE};
    use crate::bundle::{
        Backbone, FORMAT_VERSION, Fusion, Geometry, Manifest, Normalisation, OnePicture, Recipe,
        inspector_graph, inspector_inputs, prompt_encoder_graph, rule,
    };
    use crate::commands::failure::{Code, Failure, WithCode};
    use crate::engine::run_named;
    use crate::model::verify::{self, Difference, burn_tensors, compare, golden_sides};
    use crate::part::{NamedTensors, Tensor};
    use std::path::Path;

    /// Tensors of the target's way that are outputs of both.
    const TARGET: [&str; 16] = [
        "tap0",
        "tap1",
        "tap2",
        "tap3",
        "neck",
        "encoder0.target",
        "encoder.target",
        "decoder0.prompt",
        "decoder0.target",
        "decoder3.prompt",
        "decoder3.target",
        "decoder",
        "rec_feat",
        "rec_grid",
        "ref_logit_grid",
        "rec_map",
    ];

    /// The bundle's weights through burn and through its graphs.
    pub fn bundle_rows(open: &OpenBundle) -> Result<Vec<Row>, Failure> {
        let manifest = open.bundle.manifest();
        if !manifest.has_network() {
            return Ok(Vec::new());
        }
        let weights = open.bundle.weights().code(Code::Data)?;
        let side = manifest.side;
        let images = [rule::rule_image("image", side), rule::rule_image("prompt", side)];
        let found = engine_tensors(&weights, manifest, &images)?;
        let reference = reference_tensors(&weights, &images)?;
        Ok(rows("", compare(&limit(&reference, &found), &found)))
    }

    /// Golden networks from rule weights, through burn and through graphs.
    pub fn golden_rows(directory: &Path) -> Result<Vec<Row>, Failure> {
        let sides = golden_sides(directory);
        if sides.is_empty() {
            let message = format!("{} holds no forward-SIDE.safetensors", directory.display());
            return Err(Failure::say(Code::NoInput, message));
        }
        let mut all = Vec::new();
        for side in sides {
            let backbone = Backbone::Lite0;
            let burn = verify::golden_forward(directory, backbone, side).code(Code::Data)?;
            all.extend(rows(&format!("golden {side} burn "), burn));
            let weights = verify::rule_weights(backbone, side);
            let images = [rule::rule_image("image", side), rule::rule_image("prompt", side)];
            let found = engine_tensors(&weights, &rule_manifest(backbone, side), &images)?;
            let path = directory.join(format!("forward-{side}.safetensors"));
            let golden = verify::Golden::read(&path, "lite0.").code(Code::Data)?;
            let named: Vec<Difference> = golden
                .compare(&found)
                .into_iter()
                .filter(|difference| found.contains_key(&difference.name))
                .collect();
            all.extend(rows(&format!("golden {side} ONNX "), named));
        }
        Ok(all)
    }

    fn reference_tensors(
        weights: &NamedTensors,
        [image, prompt]: &[Tensor; 2],
    ) -> Result<NamedTensors, Failure> {
        burn_tensors(weights, image, prompt).code(Code::Data)
    }

    /// Every named tensor of both graphs, under the names of golden/README section 3.
    fn engine_tensors(
        weights: &NamedTensors,
        manifest: &Manifest,
        [image, prompt]: &[Tensor; 2],
    ) -> Result<NamedTensors, Failure> {
        let folder = std::env::temp_dir().join(format!("onenipd-verify-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let result = run_graphs(weights, manifest, image, prompt, &folder);
        // Left-over graphs in the temporary directory harm nobody.
        let _ = std::fs::remove_dir_all(&folder);
        result
    }

    fn run_graphs(
        weights: &NamedTensors,
        manifest: &Manifest,
        image: &Tensor,
        prompt: &Tensor,
        folder: &Path,
    ) -> Result<NamedTensors, Failure> {
        let side = manifest.side;
        let batched = |tensor: &Tensor| Tensor::new([1, 3, side, side], tensor.values().to_vec());
        let encoder = prompt_encoder_graph(weights, manifest, &["neck"], &[]).code(Code::Data)?;
        let encoder_path = folder.join("prompt_encoder.onnx");
        std::fs::write(&encoder_path, encoder)?;
        let inputs = NamedTensors::from([("image".into(), batched(prompt).code(Code::Data)?)]);
        let encoded = run_named(&encoder_path, &inputs).code(Code::Unavailable)?;
        let inspector = inspector_graph(weights, manifest, &TARGET, &[]).code(Code::Data)?;
        let inspector_path = folder.join("inspector.onnx");
        std::fs::write(&inspector_path, inspector)?;
        let mut inputs = NamedTensors::new();
        for input in &manifest.inputs {
            inputs.insert(input.name.clone(), Tensor::zeros(input.shape.clone()));
        }
        if let Some(memory) = encoded.get("prompt_memory") {
            inputs.insert("prompt_memory".into(), memory.clone());
        }
        inputs.insert("image".into(), batched(image).code(Code::Data)?);
        let inspected = run_named(&inspector_path, &inputs).code(Code::Unavailable)?;
        let mut named = NamedTensors::new();
        for (name, tensor) in inspected {
            let renamed = match name.as_str() {
                "tap0" | "tap1" | "tap2" | "tap3" | "neck" => format!("{name}.image"),
                "refined_map" => "ref_map".into(),
                "reconstruction_map" => "rec_map".into(),
                _ => name,
            };
            named.insert(renamed, tensor);
        }
        for (name, renamed) in [("prompt_memory", "encoder.prompt"), ("neck", "neck.prompt")] {
            if let Some(tensor) = encoded.get(name) {
                named.insert(renamed.into(), tensor.clone());
            }
        }
        // Outputs without a counterpart: their fusion scales are zero here.
        for name in ["score", "anomaly_map", "map_peaks"] {
            named.remove(name);
        }
        Ok(named)
    }

    /// Those tensors of `reference` that the engine gives.
    fn limit(reference: &NamedTensors, found: &NamedTensors) -> NamedTensors {
        let both = reference.iter().filter(|(name, _)| found.contains_key(*name));
        both.map(|(name, tensor)| (name.clone(), tensor.clone())).collect()
    }

    fn rule_manifest(backbone: Backbone, side: usize) -> Manifest {
        let geometry = Geometry::new(backbone, side);
        Manifest {
            format_version: FORMAT_VERSION,
            backbone,
            side,
            recipe: Recipe::Paper,
            good_tokens: 1,
            cell_pictures: 1,
            normalisation: Normalisation::LITE,
            fusion: Fusion { constant_k: 1.0, weights: [1.0, 0.0, 0.0] },
            one_picture: OnePicture { scales: [0.0; 3], threshold: 0.0, pixel_threshold: 0.0 },
            inputs: inspector_inputs(Recipe::Paper, geometry, 1, 1),
            golden_scores: Default::default(),
            training: Default::default(),
            licences: Default::default(),
            files: Default::default(),
        }
    }

    fn rows(prefix: &str, differences: Vec<Difference>) -> Vec<Row> {
        let row = |difference: Difference| Row {
            name: format!("{prefix}{}", difference.name),
            largest_difference: difference.largest_difference,
            tolerance: TOLERANCE.max(difference.tolerance),
        };
        differences.into_iter().map(row).collect()
    }
}

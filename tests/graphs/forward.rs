//! The graphs against the golden forward tensors (tests/golden/README.md, section 3).

use crate::support::{Golden, image_input, manifest, product, rule_weights, runtime, write_graph};
use onenipd::bundle::{Backbone, Manifest, Recipe, inspector_graph, prompt_encoder_graph};
use onenipd::engine::{Engine, Inspector, PromptEncoder, run_named};
use onenipd::part::{NamedTensors, Tensor};

const TARGET_TENSORS: [&str; 18] = [
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
    "tap0",
    "tap1",
    "tap2",
    "tap3",
    "neck",
];
const PROMPT_TENSORS: [&str; 7] =
    ["encoder0.prompt", "encoder.prompt", "tap0", "tap1", "tap2", "tap3", "neck"];

/// Taps and neck exist for both pictures; the golden name says which.
fn golden_name(backbone: Backbone, name: &str, picture: &str) -> String {
    let suffix = if name.starts_with("tap") || name == "neck" { picture } else { "" };
    format!("{}.{name}{suffix}", backbone.name())
}

fn compare_at(backbone: Backbone, side: usize) {
    runtime();
    let golden = Golden::open(&format!("forward-{side}.safetensors"));
    let scalar = |name: &str| golden.scalar(&golden_name(backbone, name, ""));
    let mut manifest = Manifest::new(backbone, side, Recipe::Paper);
    manifest.fusion.constant_k = scalar("fusion_k");
    let weights = rule_weights(&manifest);
    let directory = tempfile::tempdir().unwrap();

    let graph = prompt_encoder_graph(&weights, &manifest, &PROMPT_TENSORS, &[]).unwrap();
    let path = write_graph(directory.path(), "prompt_encoder.onnx", &graph);
    let inputs = NamedTensors::from([("image".to_owned(), image_input("prompt", side))]);
    let encoded = run_named(&path, &inputs).unwrap();
    let mut worst = 0.0f64;
    for name in PROMPT_TENSORS {
        worst = worst
            .max(golden.compare(&golden_name(backbone, name, ".prompt"), encoded[name].values()));
    }

    let graph = inspector_graph(&weights, &manifest, &TARGET_TENSORS, &[]).unwrap();
    let path = write_graph(directory.path(), "inspector.onnx", &graph);
    let mut inputs = product(&manifest, 1);
    inputs.insert("prompt_memory".to_owned(), encoded["prompt_memory"].clone());
    inputs.insert("fusion_scales".to_owned(), Tensor::new([3], vec![1.0, 0.0, 0.0]).unwrap());
    inputs.insert("image".to_owned(), image_input("image", side));
    let inspected = run_named(&path, &inputs).unwrap();
    for name in TARGET_TENSORS {
        worst = worst
            .max(golden.compare(&golden_name(backbone, name, ".image"), inspected[name].values()));
    }
    worst = worst.max(
        golden.compare(&golden_name(backbone, "fused_map", ""), inspected["anomaly_map"].values()),
    );
    // K of a single picture is half the sum of the map's extremes.
    let rec = inspected["rec_map"].values().iter().copied();
    let k = (rec.clone().fold(f32::MIN, f32::max) + rec.fold(f32::MAX, f32::min)) / 2.0;
    let expected_k = scalar("fusion_k");
    assert!((k - expected_k).abs() <= 1e-4 * expected_k, "K {k}, golden {expected_k}");
    println!("{backbone:?} side {side}: largest error {worst:.2e} of a tensor's spread");
    let (score, expected) = (inspected["score"].values()[0], scalar("image_score"));
    assert!((score - expected).abs() <= 1e-4 * expected, "score {score}, golden {expected}");
}

#[test]
fn golden_tensors_at_224() {
    compare_at(Backbone::Lite0, 224);
    compare_at(Backbone::B4, 224);
}

#[test]
fn golden_tensors_at_256() {
    compare_at(Backbone::Lite0, 256);
    compare_at(Backbone::B4, 256);
}

#[test]
fn golden_tensors_at_320() {
    compare_at(Backbone::Lite0, 320);
    compare_at(Backbone::B4, 320);
}

/// The graphs as shipped (other fusions of the runtime than with extra outputs), by the engine.
#[test]
fn the_engine_gives_the_golden_maps() {
    let side = 224;
    let golden = Golden::open("forward-224.safetensors");
    let manifest = manifest(Recipe::Default, side, [8, 2], golden.scalar("lite0.fusion_k"));
    let weights = rule_weights(&manifest);
    let directory = tempfile::tempdir().unwrap();
    let graph = prompt_encoder_graph(&weights, &manifest, &[], &[]).unwrap();
    let path = write_graph(directory.path(), "prompt_encoder.onnx", &graph);
    let mut encoder = PromptEncoder::open(&runtime(), &path, &manifest, 2).unwrap();
    let encoding = encoder.encode(image_input("prompt", side).values()).unwrap();
    let memory = encoding.prompt_memory.unwrap();
    golden.compare("lite0.encoder.prompt", memory.values());
    // Features are the neck, channels last.
    let mut neck = vec![0.0; 192 * 196];
    for (index, &value) in encoding.features.values().iter().enumerate() {
        neck[index % 192 * 196 + index / 192] = value;
    }
    golden.compare("lite0.neck.prompt", &neck);

    let graph = inspector_graph(&weights, &manifest, &[], &[]).unwrap();
    let path = write_graph(directory.path(), "inspector.onnx", &graph);
    let mut inspector = Inspector::open(&runtime(), &path, &manifest, 2).unwrap();
    let mut tensors = product(&manifest, 1);
    tensors.insert("prompt_memory".to_owned(), memory);
    tensors.insert("fusion_scales".to_owned(), Tensor::new([3], vec![1.0, 0.0, 0.0]).unwrap());
    inspector.set_product(&tensors).unwrap();
    // Another picture first: the second must owe nothing to it.
    inspector.input().fill(0.25);
    let first = inspector.run().unwrap().score;
    inspector.input().copy_from_slice(image_input("image", side).values());
    let inspection = inspector.run().unwrap();
    golden.compare("lite0.rec_map", inspection.reconstruction_map);
    golden.compare("lite0.ref_map", inspection.refined_map);
    golden.compare("lite0.fused_map", inspection.anomaly_map);
    let expected = golden.scalar("lite0.image_score");
    assert!((inspection.score - expected).abs() <= 1e-4 * expected);
    assert_ne!(first, inspection.score);
    let peak = inspection.anomaly_map.iter().copied().fold(f32::MIN, f32::max);
    assert!((inspection.map_peaks[0] - peak).abs() <= 1e-5 * peak);
}

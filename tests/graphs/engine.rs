//! What an engine refuses, and that it stays usable afterwards.

use crate::support::{image_input, manifest, product, rule_weights, runtime, write_graph};
use onenipd::bundle::{BundleError, Manifest, Recipe, inspector_graph, prompt_encoder_graph};
use onenipd::engine::{Engine, EngineError, Inspector, OnnxRuntime, PromptEncoder, run_named};
use onenipd::part::{NamedTensors, Tensor};
use std::path::PathBuf;

const SIDE: usize = 64;

fn small() -> (Manifest, tempfile::TempDir, PathBuf) {
    let manifest = manifest(Recipe::Untrained, SIDE, [6, 2], 0.0);
    let graph = inspector_graph(&rule_weights(&manifest), &manifest, &[], &[]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = write_graph(directory.path(), "inspector.onnx", &graph);
    (manifest, directory, path)
}

#[test]
fn a_product_that_does_not_fit_is_named_and_leaves_none() {
    let (manifest, _directory, path) = small();
    let mut engine = Inspector::open(&runtime(), &path, &manifest, 1).unwrap();
    assert_eq!(engine.side(), SIDE);
    let good = product(&manifest, 3);
    engine.input().copy_from_slice(image_input("image", SIDE).values());
    assert!(engine.run().unwrap_err().to_string().contains("no product"));

    let mut missing = good.clone();
    missing.remove("cell_tokens");
    let mut misshapen = good.clone();
    misshapen.insert("cell_tokens".to_owned(), Tensor::zeros([6, 152]));
    let mut infinite = good.clone();
    infinite.get_mut("cell_tokens").unwrap().values_mut()[9] = f32::NAN;
    for wrong in [missing, misshapen, infinite] {
        engine.set_product(&good).unwrap();
        engine.run().unwrap();
        match engine.set_product(&wrong) {
            Err(EngineError::ProductTensor { name, .. }) => assert_eq!(name, "cell_tokens"),
            other => panic!("{other:?}"),
        }
        assert!(engine.run().is_err());
    }
}

#[test]
fn a_product_change_changes_the_answer_and_back() {
    let (manifest, _directory, path) = small();
    let mut engine = Inspector::open(&runtime(), &path, &manifest, 2).unwrap();
    engine.input().copy_from_slice(image_input("image", SIDE).values());
    let mut scores = Vec::new();
    for seed in [3, 4, 3] {
        engine.set_product(&product(&manifest, seed)).unwrap();
        scores.push(engine.run().unwrap().score);
    }
    assert_eq!(scores[0], scores[2]);
    assert_ne!(scores[0], scores[1]);
}

#[test]
fn a_picture_that_is_not_finite_is_refused() {
    let (manifest, _directory, path) = small();
    let mut engine = Inspector::open(&runtime(), &path, &manifest, 1).unwrap();
    engine.set_product(&product(&manifest, 3)).unwrap();
    engine.input().fill(0.5);
    engine.input()[77] = f32::NAN;
    assert!(engine.run().unwrap_err().to_string().contains("not finite"));
    engine.input()[77] = 0.5;
    assert!(engine.run().unwrap().score.is_finite());
}

#[test]
fn graphs_missing_damaged_or_of_another_bundle_are_refused() {
    let (manifest, directory, path) = small();
    let runtime = runtime();
    let refused = |path: &PathBuf, manifest: &Manifest, words: &str| match Inspector::open(
        &runtime, path, manifest, 1,
    )
    .err()
    {
        Some(EngineError::Graph { reason, .. }) => assert!(reason.contains(words), "{reason}"),
        other => panic!("{other:?}"),
    };
    refused(&directory.path().join("no.onnx"), &manifest, "missing");
    let bytes = std::fs::read(&path).unwrap();
    for (name, damaged) in [
        ("empty.onnx", &b""[..]),
        ("text.onnx", &b"no graph"[..]),
        ("cut.onnx", &bytes[..bytes.len() / 2]),
    ] {
        refused(&write_graph(directory.path(), name, damaged), &manifest, "");
    }
    let more = crate::support::manifest(Recipe::Untrained, SIDE, [7, 2], 0.0);
    refused(&path, &more, "`good_tokens` has shape [6, 152], not [7, 152]");
    let network = crate::support::manifest(Recipe::Default, SIDE, [6, 2], 0.0);
    refused(&path, &network, "no input `prompt_memory`");
    let weights = rule_weights(&manifest);
    let encoder = prompt_encoder_graph(&weights, &manifest, &[], &[]).unwrap();
    let encoder = write_graph(directory.path(), "prompt_encoder.onnx", &encoder);
    refused(&encoder, &manifest, "not of this bundle");
    let error = PromptEncoder::open(&runtime, &path, &manifest, 1).err().unwrap();
    assert!(error.to_string().contains("not of this bundle"), "{error}");
}

#[test]
fn the_prompt_encoder_refuses_a_picture_of_another_size() {
    let (manifest, directory, _) = small();
    let graph = prompt_encoder_graph(&rule_weights(&manifest), &manifest, &[], &[]).unwrap();
    let path = write_graph(directory.path(), "prompt_encoder.onnx", &graph);
    let mut encoder = PromptEncoder::open(&runtime(), &path, &manifest, 1).unwrap();
    assert!(encoder.encode(&[0.0; 12]).is_err());
    assert!(encoder.encode(&vec![f32::INFINITY; 3 * SIDE * SIDE]).is_err());
    let encoding = encoder.encode(&vec![0.0; 3 * SIDE * SIDE]).unwrap();
    assert_eq!(encoding.features.shape(), [16, 192]);
}

#[test]
fn a_named_run_asks_for_every_input_and_no_other() {
    let (manifest, _directory, path) = small();
    runtime();
    let mut inputs = product(&manifest, 3);
    assert!(run_named(&path, &inputs).unwrap_err().to_string().contains("`image`"));
    inputs.insert("image".to_owned(), image_input("image", SIDE));
    let outputs: NamedTensors = run_named(&path, &inputs).unwrap();
    let names: Vec<&str> = outputs.keys().map(String::as_str).collect();
    assert_eq!(names, ["anomaly_map", "map_peaks", "score"]);
    inputs.insert("other".to_owned(), Tensor::zeros([1]));
    assert!(run_named(&path, &inputs).unwrap_err().to_string().contains("`other`"));
}

#[test]
fn extra_outputs_are_named_or_refused() {
    let (manifest, _directory, _) = small();
    let weights = rule_weights(&manifest);
    let error = inspector_graph(&weights, &manifest, &["tap3", "decoder"], &[]).unwrap_err();
    assert!(matches!(error, BundleError::UnknownTensor { name, .. } if name == "decoder"));
}

#[test]
fn one_library_serves_the_process() {
    let runtime = runtime();
    assert!(runtime.version().starts_with("1."), "{}", runtime.version());
    let again = OnnxRuntime::open(Some(runtime.library())).unwrap();
    assert_eq!(again.library(), runtime.library());
    let directory = tempfile::tempdir().unwrap();
    let other = directory.path().join("libonnxruntime.so.9.9.9");
    std::fs::write(&other, "").unwrap();
    let error = OnnxRuntime::open(Some(&other)).err().unwrap();
    assert!(error.to_string().contains("already uses"), "{error}");
}

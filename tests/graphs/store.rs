//! Bundles on the disk: written, read, damaged.

use crate::support::{manifest, product, rule_weights, runtime};
use onenipd::bundle::{Bundle, BundleError, Manifest, Precision, Recipe, write};
use onenipd::engine::{Engine, Inspector, PromptEncoder};
use onenipd::part::{NamedTensors, Tensor};
use std::fs;
use std::path::{Path, PathBuf};

const SIDE: usize = 64;

fn small() -> (Manifest, NamedTensors) {
    let manifest = manifest(Recipe::Untrained, SIDE, [6, 2], 0.0);
    let weights = rule_weights(&manifest);
    (manifest, weights)
}

fn written(place: &Path) -> (Bundle, NamedTensors) {
    let (manifest, weights) = small();
    let extra: [(&str, &[u8]); 1] = [("LICENSE-weights", b"Apache-2.0")];
    let bundle = write(place, manifest, &weights, Precision::F32, &extra, false).unwrap();
    (bundle, weights)
}

/// Rewrites `bundle.toml`.
fn edit(directory: &Path, from: &str, to: &str) {
    let path = directory.join("bundle.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

fn refused(directory: &Path, words: &[&str]) {
    let text = Bundle::open(directory).unwrap_err().to_string();
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
}

#[test]
fn a_bundle_comes_back_as_it_was_written() {
    let home = tempfile::tempdir().unwrap();
    let place = home.path().join("demo");
    let (bundle, weights) = written(&place);
    assert_eq!(bundle.weights().unwrap(), weights);
    let again = Bundle::open(&place).unwrap();
    assert_eq!(again.manifest(), bundle.manifest());
    assert_eq!((again.hash(), again.hash().len()), (bundle.hash(), 64));
    let names: Vec<&String> = again.manifest().files.keys().collect();
    assert_eq!(names, ["LICENSE-weights", "weights.safetensors"]);
    assert_eq!(fs::read(place.join("LICENSE-weights")).unwrap(), b"Apache-2.0");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
}

#[test]
fn half_precision_keeps_three_digits_and_half_the_size() {
    let home = tempfile::tempdir().unwrap();
    let (manifest, weights) = small();
    let place = home.path().join("half");
    let bundle = write(&place, manifest, &weights, Precision::F16, &[], false).unwrap();
    for (key, tensor) in bundle.weights().unwrap() {
        for (found, expected) in tensor.values().iter().zip(weights[&key].values()) {
            assert!((found - expected).abs() <= expected.abs() / 1024.0 + 1e-7, "{key}");
        }
    }
    let values: usize = weights.values().map(|tensor| tensor.values().len()).sum();
    let size = fs::metadata(place.join("weights.safetensors")).unwrap().len() as usize;
    assert!(size < 2 * values + 40_000, "{size}");
}

#[test]
fn a_weight_too_large_for_half_precision_is_named() {
    let home = tempfile::tempdir().unwrap();
    let (manifest, mut weights) = small();
    weights.get_mut("backbone._bn0.bias").unwrap().values_mut()[0] = 1e5;
    let place = home.path().join("half");
    let error = write(&place, manifest, &weights, Precision::F16, &[], false).unwrap_err();
    assert!(error.to_string().contains("`backbone._bn0.bias`"), "{error}");
    assert!(!place.exists());
}

#[test]
fn an_existing_bundle_is_replaced_only_when_asked() {
    let home = tempfile::tempdir().unwrap();
    let place = home.path().join("demo");
    let (first, weights) = written(&place);
    let (mut manifest, _) = small();
    manifest.training.seed = 9;
    let again = |replace| write(&place, manifest.clone(), &weights, Precision::F32, &[], replace);
    assert!(matches!(again(false), Err(BundleError::Exists { .. })));
    assert_eq!(Bundle::open(&place).unwrap().hash(), first.hash());
    let second = again(true).unwrap();
    assert_ne!(second.hash(), first.hash());
    assert!(!place.join("LICENSE-weights").exists());
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
}

#[test]
fn what_is_no_bundle_is_never_replaced() {
    let home = tempfile::tempdir().unwrap();
    let (manifest, weights) = small();
    fs::write(home.path().join("letter"), "dear").unwrap();
    let error = write(home.path(), manifest, &weights, Precision::F32, &[], true).unwrap_err();
    assert!(matches!(error, BundleError::NotABundle { .. }), "{error}");
    assert_eq!(fs::read(home.path().join("letter")).unwrap(), b"dear");
}

#[test]
fn an_extra_file_lies_in_the_bundle_and_nowhere_else() {
    let home = tempfile::tempdir().unwrap();
    let (manifest, weights) = small();
    let place = home.path().join("demo");
    for name in ["../letter", "bundle.toml", "weights.safetensors", "inspector.onnx", ""] {
        let extra = [(name, &b"x"[..])];
        let written = write(&place, manifest.clone(), &weights, Precision::F32, &extra, false);
        assert!(matches!(written, Err(BundleError::Manifest { .. })), "{name}");
    }
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn weights_that_do_not_fit_are_named() {
    let home = tempfile::tempdir().unwrap();
    let (manifest, weights) = small();
    let key = "backbone._blocks.3._bn1.bias";
    let attempt = |change: &dyn Fn(&mut NamedTensors)| {
        let mut weights = weights.clone();
        change(&mut weights);
        let place = home.path().join("demo");
        let written = write(&place, manifest.clone(), &weights, Precision::F32, &[], false);
        match written.unwrap_err() {
            BundleError::Weight { key, reason } => format!("{key} {reason}"),
            other => panic!("{other}"),
        }
    };
    let missing = attempt(&|weights| drop(weights.remove(key)));
    assert_eq!(missing, format!("{key} is missing"));
    let misshapen = attempt(&|weights| drop(weights.insert(key.to_owned(), Tensor::zeros([143]))));
    assert_eq!(misshapen, format!("{key} has shape [143], [144] is expected"));
    let unknown = "backbone._fc.bias";
    let unknown = attempt(&|weights| drop(weights.insert(unknown.to_owned(), Tensor::zeros([1]))));
    assert_eq!(unknown, "backbone._fc.bias is unknown");
    let infinite = attempt(&|weights| {
        weights.get_mut(key).unwrap().values_mut()[5] = f32::INFINITY;
    });
    assert!(infinite.contains("not finite"));
}

#[test]
fn a_damaged_bundle_is_refused_by_name() {
    let home = tempfile::tempdir().unwrap();
    refused(&home.path().join("none"), &["none", "no engine bundle"]);
    let make = |name: &str| {
        let place = home.path().join(name);
        written(&place);
        place
    };
    let place = make("weights");
    let path = place.join("weights.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    refused(&place, &["weights.safetensors", "SHA-256"]);
    fs::remove_file(path).unwrap();
    refused(&place, &["weights.safetensors", "cannot be read"]);

    let place = make("licence");
    fs::write(place.join("LICENSE-weights"), "MIT").unwrap();
    refused(&place, &["LICENSE-weights", "SHA-256"]);

    let place = make("version");
    edit(&place, "format_version = 1", "format_version = 2");
    refused(&place, &["format version 2", "bundle.toml"]);

    let place = make("text");
    fs::write(place.join("bundle.toml"), "format_version = ").unwrap();
    refused(&place, &["bundle.toml", "no TOML"]);
    fs::write(place.join("bundle.toml"), [0xff, 0xfe]).unwrap();
    refused(&place, &["bundle.toml"]);

    let changes = [
        ("side = 64", "side = 72", "multiple of 16"),
        ("side = 64", "side = 80", "inputs"),
        ("good_tokens = 6", "good_tokens = 0", "good_tokens 0"),
        ("cell_pictures = 2", "cell_pictures = -2", "cell_pictures"),
        ("constant_k = 0.0", "constant_k = nan", "constant_k"),
        ("LICENSE-weights = ", "\"../weights\" = ", "plain file name"),
        ("weights.safetensors\" = ", "other\" = ", "lists no weights.safetensors"),
        ("recipe = \"untrained\"", "recipe = \"best\"", "best"),
        ("side = 64", "side = 64\nspeed = 3", "speed"),
    ];
    for (index, (from, to, word)) in changes.into_iter().enumerate() {
        let place = make(&format!("manifest{index}"));
        edit(&place, from, to);
        refused(&place, &["bundle.toml", word]);
    }
}

#[test]
fn a_safetensors_file_that_is_none_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let place = home.path().join("demo");
    let (bundle, _) = written(&place);
    let old = bundle.manifest().files["weights.safetensors"].clone();
    for content in [&b""[..], &[0xff; 8], b"\x02\0\0\0\0\0\0\0{}", b"\x08\0\0\0\0\0\0\0nonsense"] {
        fs::write(place.join("weights.safetensors"), content).unwrap();
        let current = fs::read_to_string(place.join("bundle.toml")).unwrap();
        fs::write(place.join("bundle.toml"), current.replace(&old, &sha256(content))).unwrap();
        Bundle::open(&place).unwrap_err();
        fs::write(place.join("bundle.toml"), current).unwrap();
    }
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn graphs_are_written_once_and_again_when_stale_or_damaged() {
    let home = tempfile::tempdir().unwrap();
    let place = home.path().join("demo");
    let (bundle, _) = written(&place);
    let cache = home.path().join("cache");
    let files = bundle.graphs(&cache).unwrap();
    assert_eq!(files.inspector, place.join("inspector.onnx"));
    assert!(!cache.exists());
    let original = fs::read(&files.inspector).unwrap();
    let modified = |path: &PathBuf| fs::metadata(path).unwrap().modified().unwrap();
    let before = modified(&files.inspector);
    assert_eq!(bundle.graphs(&cache).unwrap(), files);
    assert_eq!(modified(&files.inspector), before);

    let mut damaged = original.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0x40;
    for content in [&damaged[..], &original[..middle], b""] {
        fs::write(&files.inspector, content).unwrap();
        bundle.graphs(&cache).unwrap();
        assert!(fs::read(&files.inspector).unwrap() == original);
    }
    // Graphs of another bundle.
    edit(&place, "seed = 0", "seed = 5");
    let other = Bundle::open(&place).unwrap();
    assert_ne!(other.hash(), bundle.hash());
    other.graphs(&cache).unwrap();
    assert!(fs::read(&files.inspector).unwrap() != original);

    let runtime = runtime();
    let mut inspector = Inspector::open(&runtime, &files.inspector, other.manifest(), 1).unwrap();
    inspector.set_product(&product(other.manifest(), 1)).unwrap();
    assert!(inspector.run().unwrap().score > 0.0);
    PromptEncoder::open(&runtime, &files.prompt_encoder, other.manifest(), 1).unwrap();
}

#[test]
fn graphs_go_to_the_cache_where_the_bundle_cannot_be_written() {
    let home = tempfile::tempdir().unwrap();
    let place = home.path().join("demo");
    let (bundle, _) = written(&place);
    // Folders in the way refuse even the superuser, whom a read-only mode would not.
    for name in ["inspector.onnx", "prompt_encoder.onnx"] {
        fs::create_dir(place.join(name)).unwrap();
    }
    let cache = home.path().join("cache");
    let files = bundle.graphs(&cache).unwrap();
    assert_eq!(files.inspector, cache.join(bundle.hash()).join("inspector.onnx"));
    assert_eq!(bundle.graphs(&cache).unwrap(), files);
    // Only the two folders and the bundle's own files lie there: no temporary stays behind.
    assert_eq!(fs::read_dir(&place).unwrap().count(), 5);
    let blocked = home.path().join("file");
    fs::write(&blocked, "").unwrap();
    let error = bundle.graphs(&blocked).unwrap_err();
    assert!(matches!(error, BundleError::Io { action: "write", .. }), "{error}");
}

//! The published layout of every backbone, with weights by the rule.

use crate::writer::{Stored, legacy, zip};
use onenipd::bundle::Backbone;
use onenipd::bundle::rule::{backbone_shapes, published_backbone_shapes, rule_tensor};
use onenipd::model::torch_file::published_backbone;

/// A published file: no prefix in it, `backbone.` in the rule.
fn published(backbone: Backbone) -> Vec<Stored> {
    let shapes = published_backbone_shapes(backbone).into_iter();
    shapes
        .map(|(key, shape)| {
            let mut stored = Stored::by_rule("", &key, &shape);
            stored.key = key.strip_prefix("backbone.").unwrap().to_owned();
            stored
        })
        .collect()
}

#[test]
fn every_backbone_loads_from_both_containers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.pth");
    for backbone in Backbone::ALL {
        let tensors = published(backbone);
        for bytes in [zip(&tensors, false), legacy(&tensors, false)] {
            std::fs::write(&path, bytes).unwrap();
            let loaded = published_backbone(&path, backbone).unwrap();
            let note = loaded.note.unwrap();
            assert!(note.contains("SHA-256") && note.contains(backbone.name()), "{note}");
            let expected = backbone_shapes(backbone);
            assert_eq!(loaded.tensors.len(), expected.len());
            for (key, shape) in expected {
                assert!(loaded.tensors[&key] == rule_tensor(&key, &shape), "{key}");
            }
        }
    }
}

#[test]
fn another_backbone_and_a_misshapen_key_are_named_with_where_to_get_the_right_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.pth");
    let mut tensors = published(Backbone::Lite1);
    std::fs::write(&path, zip(&tensors, false)).unwrap();
    let said = published_backbone(&path, Backbone::B4).unwrap_err().to_string();
    for word in ["_se_reduce.weight", "[48, 3, 3, 3]", "releases/download/1.0/efficientnet-b4"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let said = published_backbone(&path, Backbone::Lite2).unwrap_err().to_string();
    assert!(said.contains("efficientnet-lite2-9656183e.pth"), "{said}");

    // What is unused may be missing; what is used may not.
    tensors.retain(|tensor| !tensor.key.starts_with("_fc."));
    std::fs::write(&path, zip(&tensors, false)).unwrap();
    published_backbone(&path, Backbone::Lite1).unwrap();
    tensors.retain(|tensor| !tensor.key.starts_with("_bn0."));
    std::fs::write(&path, zip(&tensors, false)).unwrap();
    let said = published_backbone(&path, Backbone::Lite1).unwrap_err().to_string();
    assert!(said.contains("4 missing") && said.contains("backbone._bn0.running_mean"), "{said}");
}

#[test]
fn a_network_is_trained_on_b4_and_its_bundle_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_onenipd"));
        let output =
            command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (parts, weights, engine) = (at("parts"), at("b4.pth"), at("engine"));
    let few = ["--products", "1", "--good", "4", "--defects", "1"];
    run(&[&["simulate", "--output", &parts][..], &few].concat());
    let train = ["train", &parts, "--output", &engine, "--backbone", "b4", "--size", "64"];
    // The file is not part of the set-up: where it is found is said.
    let (code, said) = run(&[&train[..], &["--steps", "1"]].concat());
    assert_eq!(code, Some(66), "{said}");
    assert!(said.contains("EfficientNet-PyTorch") && said.contains("--backbone-weights"), "{said}");

    std::fs::write(&weights, legacy(&published(Backbone::B4), false)).unwrap();
    let options = ["--steps", "1", "--backbone-weights", &weights];
    let (code, said) = run(&[&train[..], &options].concat());
    assert_eq!(code, Some(0), "{said}");
    let bundle = onenipd::bundle::Bundle::open(std::path::Path::new(&engine)).unwrap();
    assert_eq!(bundle.manifest().backbone, Backbone::B4);
    assert_eq!(bundle.manifest().normalisation, onenipd::bundle::Normalisation::IMAGENET);
}

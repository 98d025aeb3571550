//! The published Lite0 weights on a real photograph, through burn and through ONNX Runtime, against
//! the golden tensors (golden/README section 5).

#![cfg(feature = "train")]
#![allow(clippy::unwrap_used, clippy::panic)]

use burn::tensor::{Device, Tensor as BurnTensor, TensorData};
use onenipd::bundle::{Backbone, Manifest, Normalisation, Recipe, prompt_encoder_graph};
use onenipd::engine::{OnnxRuntime, run_named};
use onenipd::model::features::{FrozenBackbone, neck};
use onenipd::model::torch_file::published_backbone;
use onenipd::model::verify::Golden;
use onenipd::part::{NamedTensors, Tensor};
use onenipd::preprocess::{normalise_picture, resize_picture};
use std::path::{Path, PathBuf};

const SIDE: usize = 224;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn weights() -> NamedTensors {
    let path = root().join("runtime/efficientnet-lite0-57934424.pth");
    assert!(path.exists(), "{} is missing: `make setup` fetches it", path.display());
    published_backbone(&path, Backbone::Lite0).unwrap().tensors
}

fn input() -> Vec<f32> {
    let photo = image::open(root().join("tests/golden/photo.png")).unwrap().into_rgb8();
    normalise_picture(&resize_picture(&photo, SIDE), &Normalisation::LITE)
}

fn export<const D: usize>(tensor: BurnTensor<D>) -> Tensor {
    let shape = tensor.dims().to_vec();
    Tensor::new(shape, tensor.into_data().try_to_vec().unwrap()).unwrap()
}

fn hold_against_golden(found: &NamedTensors, engine: &str) {
    let path = root().join("tests/golden/real-224.safetensors");
    let golden = Golden::read(Path::new(&path), "lite.").unwrap();
    let mut compared = 0;
    for difference in golden.compare(found) {
        if found.contains_key(&difference.name) {
            println!("{engine} {} {:.1e} std", difference.name, difference.largest_difference);
            assert!(difference.holds(), "{engine}: {difference:?}");
            compared += 1;
        }
    }
    assert_eq!(compared, found.len(), "{engine}");
}

#[test]
fn burn_sees_in_a_photograph_what_the_reference_sees() {
    let device = Device::flex();
    let data = TensorData::new(input(), [1, 3, SIDE, SIDE]);
    let image = BurnTensor::<4>::from_data(data, &device);
    let taps = FrozenBackbone::new(Backbone::Lite0, &weights()).unwrap().taps(image);
    let mut found = NamedTensors::new();
    for (index, tap) in taps.iter().enumerate() {
        found.insert(format!("tap{index}"), export(tap.clone()));
    }
    found.insert("neck".into(), export(neck(taps)));
    hold_against_golden(&found, "burn");
}

#[test]
fn the_graph_sees_in_a_photograph_what_the_reference_sees() {
    let manifest = Manifest::new(Backbone::Lite0, SIDE, Recipe::Untrained);
    let outputs = ["tap0", "tap1", "tap2", "tap3", "neck"];
    let graph = prompt_encoder_graph(&weights(), &manifest, &outputs, &[]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("prompt_encoder.onnx");
    std::fs::write(&path, graph).unwrap();
    let library = root().join("runtime/libonnxruntime.so.1.31.1");
    OnnxRuntime::open(Some(&library)).unwrap();
    let image = Tensor::new([1, 3, SIDE, SIDE], input()).unwrap();
    let mut found = run_named(&path, &NamedTensors::from([("image".into(), image)])).unwrap();
    found.retain(|name, _| outputs.contains(&name.as_str()));
    hold_against_golden(&found, "ONNX Runtime");
}

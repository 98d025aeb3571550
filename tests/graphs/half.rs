//! The inspector with its heavy products in 16 bits: a valid graph that says nearly the same.

use crate::support::{image_input, product, runtime};
use onenipd::bundle::Bundle;
use onenipd::engine::{Engine, Inspector};
use std::path::Path;

/// What a product in 16 bits may change of a map, relative to the map's peak.
const TOLERANCE: f32 = 2e-2;

#[test]
fn sixteen_bits_change_little_of_the_demonstrations_answers() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = concat!(env!("CARGO_MANIFEST_DIR"), "/engines/demo");
    let bundle = Bundle::open(Path::new(bundle)).unwrap();
    let graphs = bundle.graphs(&folder.path().join("graphs")).unwrap();
    let half = bundle.half_inspector(&graphs).unwrap();
    let size = |path: &Path| std::fs::metadata(path).unwrap().len();
    assert!(size(&half) * 3 < size(&graphs.inspector) * 2);
    assert_eq!(bundle.half_inspector(&graphs).unwrap(), half);

    let manifest = bundle.manifest();
    let mut product = product(manifest, 5);
    product.get_mut("fusion_scales").unwrap().values_mut().copy_from_slice(&[0.1, 0.2, 0.3]);
    let mut answers = Vec::new();
    for graph in [&graphs.inspector, &half] {
        let mut engine = Inspector::open(&runtime(), graph, manifest, 2).unwrap();
        engine.set_product(&product).unwrap();
        engine.input().copy_from_slice(image_input("image", manifest.side).values());
        let answer = engine.run().unwrap();
        let maps = [answer.anomaly_map, answer.reconstruction_map, answer.refined_map];
        answers.push((answer.score, answer.map_peaks, maps.map(<[f32]>::to_vec)));
    }
    let [(score, peaks, maps), (half_score, half_peaks, half_maps)] = &answers[..] else {
        panic!("two answers are expected");
    };
    println!("score {score} {half_score}, peaks {peaks:?} {half_peaks:?}");
    assert!((score - half_score).abs() <= TOLERANCE * score.abs());
    for (map, half) in maps.iter().zip(half_maps) {
        let peak = map.iter().fold(0.0_f32, |peak, value| peak.max(value.abs()));
        let apart = map.iter().zip(half).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("largest difference {:.1e} of the peak", apart / peak);
        assert!(apart > 0.0 && apart <= TOLERANCE * peak, "{apart} of {peak}");
    }
}

//! Search and cell in the graph against plain loops over the features.

use crate::support::{image_input, manifest, product, rule_weights, runtime, write_graph};
use onenipd::bundle::{Manifest, Recipe, inspector_graph, prompt_encoder_graph};
use onenipd::engine::{Engine, Inspector, PromptEncoder};
use onenipd::part::{NamedTensors, Tensor};

/// k [L, E] of features [L, C].
fn keys(manifest: &Manifest, features: &Tensor) -> Vec<Vec<f64>> {
    let [.., stride_8, stride_16] = manifest.backbone.tap_channels();
    let rows = features.values().chunks_exact(manifest.geometry().channels);
    rows.map(|row| {
        let last = &row[row.len() - stride_8 - stride_16..];
        let (first, second) = last.split_at(stride_8);
        let mut key = Vec::new();
        for level in [first, second] {
            let square: f64 = level.iter().map(|&v| f64::from(v).powi(2)).sum();
            let length = square.sqrt().max(1e-6);
            key.extend(level.iter().map(|&v| f64::from(v) / length));
        }
        key
    })
    .collect()
}

fn distance<'a>(key: &[f64], tokens: impl Iterator<Item = &'a [f32]>) -> f64 {
    let product = |token: &[f32]| key.iter().zip(token).map(|(a, &b)| a * f64::from(b)).sum();
    let nearest = tokens.map(product).fold(f64::MIN, f64::max);
    (4.0 - 2.0 * nearest).max(1e-4).sqrt()
}

/// Bilinear, align_corners, to side x side.
fn enlarged(grid: &[f64], side: usize) -> Vec<f64> {
    let size = (grid.len() as f64).sqrt() as usize;
    let place = |output: usize| {
        let at = output as f64 * (size - 1) as f64 / (side - 1) as f64;
        let first = (at.floor() as usize).min(size - 2);
        (first, at - first as f64)
    };
    let mut map = Vec::with_capacity(side * side);
    for (y, down) in (0..side).map(place) {
        for (x, across) in (0..side).map(place) {
            let row =
                |y: usize| grid[y * size + x] * (1.0 - across) + grid[y * size + x + 1] * across;
            map.push(row(y) * (1.0 - down) + row(y + 1) * down);
        }
    }
    map
}

/// Gaussian of side/56 along rows, result transposed: twice is both axes.
fn blurred(map: &[f64], side: usize) -> Vec<f64> {
    let sigma = side as f64 / 56.0;
    let radius = (4.0 * sigma + 0.5) as i64;
    let kernel: Vec<f64> =
        (-radius..=radius).map(|d| (-0.5 * (d as f64 / sigma).powi(2)).exp()).collect();
    let total: f64 = kernel.iter().sum();
    let mut result = vec![0.0; map.len()];
    for y in 0..side {
        for x in 0..side {
            for (tap, weight) in kernel.iter().enumerate() {
                let mut at = x as i64 + tap as i64 - radius;
                if at < 0 {
                    at = -1 - at;
                }
                if at >= side as i64 {
                    at = 2 * side as i64 - 1 - at;
                }
                result[x * side + y] += map[y * side + at as usize] * weight / total;
            }
        }
    }
    result
}

/// Maximum of the 16x16 mean.
fn score(map: &[f32], side: usize) -> f64 {
    let mut best = f64::MIN;
    for y in 0..=side - 16 {
        for x in 0..=side - 16 {
            let rows = (y..y + 16).flat_map(|y| &map[y * side + x..y * side + x + 16]);
            best = best.max(rows.map(|&v| f64::from(v)).sum::<f64>() / 256.0);
        }
    }
    best
}

/// Search and cell maps by plain loops.
fn expected_maps(manifest: &Manifest, features: &Tensor, product: &NamedTensors) -> [Vec<f64>; 2] {
    let (geometry, width) = (manifest.geometry(), manifest.geometry().token_channels);
    let keys = keys(manifest, features);
    let good = product["good_tokens"].values();
    let cells = product["cell_tokens"].values();
    let search = keys.iter().map(|key| distance(key, good.chunks_exact(width)));
    let cell = keys.iter().enumerate().map(|(place, key)| {
        let pictures = cells.chunks_exact(geometry.tokens * width);
        distance(key, pictures.map(|tokens| &tokens[place * width..(place + 1) * width]))
    });
    [search.collect::<Vec<_>>(), cell.collect()].map(|grid| {
        let map = enlarged(&grid, geometry.side);
        blurred(&blurred(&map, geometry.side), geometry.side)
    })
}

fn check(recipe: Recipe, side: usize, scales: [f32; 3]) {
    let manifest = manifest(recipe, side, [37, 5], 30.0);
    let weights = rule_weights(&manifest);
    let directory = tempfile::tempdir().unwrap();
    let encoder = prompt_encoder_graph(&weights, &manifest, &[], &[]).unwrap();
    let encoder = write_graph(directory.path(), "prompt_encoder.onnx", &encoder);
    let mut encoder = PromptEncoder::open(&runtime(), &encoder, &manifest, 1).unwrap();
    let graph = inspector_graph(&weights, &manifest, &[], &[]).unwrap();
    let graph = write_graph(directory.path(), "inspector.onnx", &graph);
    let mut inspector = Inspector::open(&runtime(), &graph, &manifest, 1).unwrap();

    let image = image_input("image", side);
    let encoding = encoder.encode(image.values()).unwrap();
    assert_eq!(encoding.prompt_memory.is_some(), recipe != Recipe::Untrained);
    let mut product = product(&manifest, 7);
    // One token from the picture itself: a distance at its floor must be met too.
    let own = keys(&manifest, &encoding.features)[3].clone();
    let own: Vec<f32> = own.into_iter().map(|v| v as f32).collect();
    product.get_mut("good_tokens").unwrap().values_mut()[..own.len()].copy_from_slice(&own);
    product.insert("fusion_scales".to_owned(), Tensor::new([3], scales.to_vec()).unwrap());
    inspector.set_product(&product).unwrap();
    inspector.input().copy_from_slice(image.values());
    let inspection = inspector.run().unwrap();

    let [search, cell] = expected_maps(&manifest, &encoding.features, &product);
    let network = inspection.reconstruction_map.iter().zip(inspection.refined_map);
    let network: Vec<f64> = network.map(|(&r, &s)| f64::from(0.5 * r + 0.5 * 30.0 * s)).collect();
    let mut worst = 0.0f64;
    for (index, &found) in inspection.anomaly_map.iter().enumerate() {
        let parts = [network[index], search[index], cell[index]];
        let sum: f64 = parts.iter().zip(scales).map(|(v, scale)| v * f64::from(scale)).sum();
        worst = worst.max((sum - f64::from(found)).abs());
    }
    println!("{recipe:?} {side}: largest error {worst:.2e}");
    assert!(worst < 1e-4, "{worst}");
    for (peak, map) in inspection.map_peaks.iter().zip([&network, &search, &cell]) {
        let expected = map.iter().copied().fold(f64::MIN, f64::max);
        assert!((f64::from(*peak) - expected).abs() < 1e-4, "{peak} {expected}");
    }
    let expected = score(inspection.anomaly_map, side);
    assert!((f64::from(inspection.score) - expected).abs() < 1e-4);
    if recipe == Recipe::Untrained {
        assert!(network.iter().all(|&value| value == 0.0));
    }
}

#[test]
fn untrained_maps_equal_plain_loops() {
    check(Recipe::Untrained, 224, [1.0, 0.5, 2.0]);
    check(Recipe::Untrained, 112, [0.0, 1.0, 0.0]);
}

#[test]
fn fused_maps_equal_plain_loops() {
    check(Recipe::Default, 224, [0.25, 0.5, 2.0]);
}

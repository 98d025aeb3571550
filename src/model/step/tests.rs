//! Three training steps against the golden files (golden/README section 4).

use super::*;
use crate::bundle::rule;
use crate::model::interpolation::resize;
use crate::model::network::weights::read;
use crate::model::optimiser::Optimiser;
use crate::model::verify::Golden;
use crate::part;
use burn::tensor::{Device, activation};
use serde_json::Value;
use std::path::PathBuf;

const BATCH: usize = 2;
const CHANNELS: usize = 192;
const GRID: usize = 14;
const TOKENS: usize = GRID * GRID;
const SIDE: usize = 224;

fn golden_path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// f of golden/README section 1.
fn uniform(key: &str, count: usize) -> Vec<f32> {
    let fnv = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let start = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, fnv);
    let value = |i: usize| {
        let mut z = start.wrapping_add((i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / 8_388_608.0 - 1.0
    };
    (0..count).map(value).collect()
}

/// [B, C, G, G] → [B, L, C].
fn to_tokens(maps: &[f32]) -> Vec<f32> {
    let mut tokens = Vec::with_capacity(maps.len());
    for picture in maps.chunks_exact(CHANNELS * TOKENS) {
        for token in 0..TOKENS {
            tokens.extend((0..CHANNELS).map(|channel| picture[channel * TOKENS + token]));
        }
    }
    tokens
}

fn batch() -> Batch {
    let count = BATCH * CHANNELS * TOKENS;
    let good = uniform("train.query", count);
    let mut pseudo = good.clone();
    for (i, other) in uniform("train.synthetic", count).into_iter().enumerate() {
        let (row, column) = (i / GRID % GRID, i % GRID);
        let replaced = match i / (CHANNELS * TOKENS) {
            0 => (3..=6).contains(&row) && (4..=8).contains(&column),
            _ => (5..=8).contains(&row) && (7..=10).contains(&column),
        };
        if replaced {
            pseudo[i] = other;
        }
    }
    let mask = |i: usize| {
        let (y, x) = ((i / SIDE % SIDE) as i64, (i % SIDE) as i64);
        match i / (SIDE * SIDE) {
            0 => (40..=99).contains(&y) && (60..=139).contains(&x),
            _ => (y - 112).pow(2) + (x - 150).pow(2) <= 900,
        }
    };
    Batch {
        size: BATCH,
        good: to_tokens(&good),
        pseudo: to_tokens(&pseudo),
        prompt: to_tokens(&uniform("train.prompt", count)),
        masks: (0..BATCH * SIDE * SIDE).map(|i| f32::from(mask(i))).collect(),
    }
}

/// [L, 3B, C] of the golden file → [3B, L, C].
fn noise() -> Vec<f32> {
    let values = uniform("train.jitter", TOKENS * 3 * BATCH * CHANNELS);
    let mut noise = Vec::with_capacity(values.len());
    for picture in 0..3 * BATCH {
        for token in 0..TOKENS {
            let start = (token * 3 * BATCH + picture) * CHANNELS;
            noise.extend(values[start..start + CHANNELS].iter().map(|f| 3.0_f32.sqrt() * f));
        }
    }
    noise
}

fn rule_head() -> Weights {
    let shapes = rule::head_shapes(CHANNELS, GRID);
    let named = shapes.iter().map(|(name, shape)| (name.clone(), rule::rule_tensor(name, shape)));
    Weights::new(&named.collect(), &shapes, &Device::flex().autodiff()).unwrap()
}

fn length(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt()
}

/// Relative differences, the largest of each kind.
#[derive(Debug, Default)]
struct Worst {
    loss: f64,
    norm: f64,
    gradient_length: f64,
    update_length: f64,
    tensor: f64,
    gradient: f64,
}

fn note(worst: &mut f64, found: f64, expected: &Value, tolerance: f64, what: &str) {
    let expected = expected.as_f64().unwrap();
    let difference = (found - expected).abs() / expected.abs();
    assert!(difference <= tolerance, "{what}: {found} instead of {expected}");
    *worst = worst.max(difference);
}

fn check_update(worst: &mut Worst, step: &Step, before: &NamedTensors, after: &NamedTensors) {
    let text = std::fs::read_to_string(golden_path("train-step-224.json")).unwrap();
    let golden: Value = serde_json::from_str(&text).unwrap();
    let params = golden["params"].as_object().unwrap();
    assert_eq!(params.len(), step.gradients.len());
    for (name, expected) in params {
        let gradient = step.gradients[name].values();
        let moved: Vec<f32> =
            after[name].values().iter().zip(before[name].values()).map(|(a, b)| a - b).collect();
        let parts: Vec<(&str, std::ops::Range<usize>)> = if name.ends_with("in_proj_bias") {
            assert!(moved[256..512].iter().all(|m| m.abs() < 1e-6), "{name}");
            vec![("_q", 0..256), ("_v", 512..768)]
        } else {
            vec![("", 0..gradient.len())]
        };
        for (suffix, part) in parts {
            let found = length(gradient[part.clone()].iter().copied());
            let key = format!("grad_l2{suffix}");
            note(&mut worst.gradient_length, found, &expected[&key], 1e-3, name);
            let found = length(moved[part].iter().copied());
            let key = format!("update_l2{suffix}");
            note(&mut worst.update_length, found, &expected[&key], 2e-3, name);
        }
        for (gradient, expected) in gradient.iter().zip(expected["grad_head"].as_array().unwrap()) {
            let unit = length(step.gradients[name].values().iter().copied())
                / (step.gradients[name].values().len() as f64).sqrt();
            let difference = (f64::from(*gradient) - expected.as_f64().unwrap()).abs() / unit;
            assert!(difference <= 1e-2 || unit < 1e-8, "{name}: {difference}");
        }
    }
}

fn check_tensors(worst: &mut Worst, step: &Step, after: &NamedTensors) {
    const GRADIENTS: [(&str, &str); 6] = [
        ("input_proj.weight", "input_proj.weight"),
        ("seghead.upconv1.0.weight", "seghead.upconv1.0.weight"),
        ("encoder0.in_proj_weight", "transformer.encoder.layers.0.self_attn.in_proj_weight"),
        (
            "decoder0.p2i.in_proj_weight",
            "transformer.decoder.layers.0.cross_attn_prompt_to_image.in_proj_weight",
        ),
        ("pos.row", "pos_embed.row_embed.weight"),
        ("pos.col", "pos_embed.col_embed.weight"),
    ];
    let golden = Golden::read(&golden_path("train-step-224.safetensors"), "grad.").unwrap();
    let found = GRADIENTS.map(|(short, name)| {
        (short.to_owned(), step.gradients[&format!("reconstruction.{name}")].clone())
    });
    for difference in golden.compare(&found.into()) {
        assert!(difference.largest_difference <= 1e-2, "{difference:?}");
        worst.gradient = worst.gradient.max(difference.largest_difference);
    }
    let golden = Golden::read(&golden_path("train-step-224.safetensors"), "buffer.").unwrap();
    let found = after.iter().map(|(name, tensor)| {
        (name.trim_start_matches("reconstruction.").to_owned(), tensor.clone())
    });
    let differences = golden.compare(&found.collect());
    let kept = differences.iter().filter(|d| !d.name.ends_with("num_batches_tracked"));
    for difference in kept {
        assert!(difference.holds(), "{difference:?}");
        worst.tensor = worst.tensor.max(difference.largest_difference);
    }
}

#[test]
fn three_steps_meet_the_golden_files() {
    let text = std::fs::read_to_string(golden_path("train-step-224.json")).unwrap();
    let golden: Value = serde_json::from_str(&text).unwrap();
    let (batch, noise) = (batch(), noise());
    let mut weights = rule_head();
    let mut optimiser = Optimiser::default();
    let mut worst = Worst::default();
    for (index, expected) in golden["steps"].as_array().unwrap().iter().enumerate() {
        let before = weights.to_named().unwrap();
        let step = step(&weights, &batch, &noise, &mut Dropouts::off(), Objective::Full).unwrap();
        let norm = optimiser.step(&mut weights, &step.gradients, 1e-4).unwrap();
        for statistics in step.statistics.clone() {
            statistics.update(&mut weights).unwrap();
        }
        let tolerance = if index == 0 { 1e-5 } else { 1e-4 };
        let losses = [("mse", step.reconstruction_loss), ("dice", step.dice_loss)];
        for (key, found) in losses.into_iter().chain([("loss", step.loss)]) {
            note(&mut worst.loss, f64::from(found), &expected[key], tolerance, key);
        }
        let tolerance = if index == 2 { 1e-3 } else { 1e-4 };
        note(&mut worst.norm, norm, &expected["grad_norm"], tolerance, "grad_norm");
        if index == 0 {
            let after = weights.to_named().unwrap();
            check_update(&mut worst, &step, &before, &after);
            check_tensors(&mut worst, &step, &after);
        }
    }
    println!("{worst:?}");
}

#[test]
fn the_forward_pass_meets_the_golden_tensors() {
    let head = Head::new(&rule_head()).unwrap();
    let forward = forward(&head, &batch(), &noise(), &mut Dropouts::off(), Objective::Full);
    let maps = forward.reconstruction.reshape([2 * BATCH, GRID, GRID, CHANNELS]);
    let logits = resize(forward.logits, SIDE);
    let tensor = |shape: &[usize], values| part::Tensor::new(shape, values).unwrap();
    let pixels = [2 * BATCH, 1, SIDE, SIDE];
    let found = NamedTensors::from([
        (
            "rec_feat".to_owned(),
            tensor(&[2 * BATCH, CHANNELS, GRID, GRID], read(maps.permute([0, 3, 1, 2])).unwrap()),
        ),
        ("ref_logit".to_owned(), tensor(&pixels, read(logits.clone()).unwrap())),
        ("ref_pred".to_owned(), tensor(&pixels, read(activation::sigmoid(logits)).unwrap())),
    ]);
    let golden = Golden::read(&golden_path("train-step-224.safetensors"), "re").unwrap();
    let found =
        found.into_iter().map(|(name, tensor)| (name.trim_start_matches("re").to_owned(), tensor));
    for difference in golden.compare(&found.collect()) {
        println!("{difference:?}");
        assert!(difference.holds(), "{difference:?}");
    }
}

#[test]
fn an_objective_takes_only_its_own_losses() {
    let (batch, noise, weights) = (batch(), noise(), rule_head());
    let take = |objective| step(&weights, &batch, &noise, &mut Dropouts::off(), objective).unwrap();
    let [full, unrestored, alone] =
        [Objective::Full, Objective::WithoutRestoration, Objective::Reconstruction].map(take);
    // The halves' mean is the whole, and the pseudo-anomalies' half is another number.
    let head = Head::new(&weights).unwrap();
    let forward = forward(&head, &batch, &noise, &mut Dropouts::off(), Objective::Full);
    let rows = BATCH * TOKENS;
    let good = constant([rows, CHANNELS], batch.good.clone());
    let half = forward.reconstruction.narrow(0, rows, rows);
    let restoration: f32 = reconstruction_loss(half, good).into_scalar();
    let mean = (unrestored.reconstruction_loss + restoration) / 2.0;
    assert!((mean - full.reconstruction_loss).abs() < 1e-6 * full.reconstruction_loss);
    assert!((restoration - unrestored.reconstruction_loss).abs() > 1e-4, "{restoration}");
    assert_eq!(full.dice_loss, unrestored.dice_loss);
    assert_eq!(alone.loss, unrestored.reconstruction_loss);
    for (name, gradient) in &alone.gradients {
        let still = gradient.values().iter().all(|value| *value == 0.0);
        assert_eq!(still, name.contains(".seghead."), "{name}");
    }
}

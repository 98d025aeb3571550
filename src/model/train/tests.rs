//! Tiny trainings on drawn pictures: real backbone code, rule weights, side 96.

use super::*;
use crate::bundle::Normalisation;
use crate::model::data::ProductPictures;
use crate::model::features::{Lite0, features};
use crate::model::verify::rule_weights;
use image::{Rgb, RgbImage};
use rand_pcg::Pcg64Mcg;

const SIDE: u32 = 96;
const SEED: u64 = 11;

/// A disc on a striped ground; the file's name gives its place and the product its colour.
fn draw(path: &Path) -> Result<RgbImage, TrainError> {
    let number: i64 = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let red = if path.starts_with("bolt") { 200 } else { 90 };
    Ok(RgbImage::from_fn(SIDE, SIDE, |x, y| {
        let (dx, dy) = (i64::from(x) - 44 - number % 4, i64::from(y) - 48 + number / 4);
        if dx * dx + dy * dy < 900 {
            Rgb([red, 120, 80])
        } else {
            Rgb([40 + ((x / 6) % 2) as u8 * 30, 60, 70])
        }
    }))
}

/// A white rectangle somewhere.
fn spoil(_product: usize, good: &RgbImage, random: &mut Pcg64Mcg) -> (RgbImage, Vec<u8>) {
    let (left, top) = (random.random_range(0..70), random.random_range(0..70));
    let inside = |x: u32, y: u32| (left..left + 20).contains(&x) && (top..top + 14).contains(&y);
    let mut picture = good.clone();
    let mut mask = vec![0; (SIDE * SIDE) as usize];
    for (x, y, pixel) in picture.enumerate_pixels_mut() {
        if inside(x, y) {
            *pixel = Rgb([250, 250, 250]);
            mask[(y * SIDE + x) as usize] = 255;
        }
    }
    (picture, mask)
}

fn products() -> Vec<ProductPictures> {
    let pictures = |name: &str| ProductPictures {
        name: name.into(),
        good: (0..6).map(|i| PathBuf::from(format!("{name}/{i}.png"))).collect(),
    };
    vec![pictures("bolt"), pictures("nut")]
}

fn settings<'a>(output: PathBuf, steps: u64, stop: &'a AtomicBool) -> TrainSettings<'a> {
    TrainSettings {
        data: "drawn".into(),
        output,
        backbone: Backbone::Lite0,
        backbone_weights: rule_weights(Backbone::Lite0, SIDE as usize),
        backbone_licence: String::new(),
        side: SIDE as usize,
        budget: Budget::Steps(steps),
        recipe: Recipe::Default,
        seed: SEED,
        resume: false,
        textures: None,
        command: "onenipd train".into(),
        stop,
    }
}

fn with_sources<R>(work: impl FnOnce(&Sources) -> R) -> R {
    let backbone = Lite0::new(&rule_weights(Backbone::Lite0, SIDE as usize)).unwrap();
    let compute = |pictures: &[RgbImage]| Ok(features(&backbone, &Normalisation::LITE, pictures)?);
    work(&Sources {
        products: products(),
        picture: &draw,
        pseudo_anomaly: &spoil,
        features: &compute,
    })
}

fn samples() -> Samples {
    with_sources(|sources| sources.samples(SEED, &AtomicBool::new(false), &mut |_| {}).unwrap())
}

/// Step, reconstruction loss, Dice loss.
type Losses = Vec<(u64, f32, f32)>;

/// Losses by step, and how the training ended; stops after step `stop_after`.
fn run(
    settings: &TrainSettings,
    samples: &Samples,
    stop_after: u64,
) -> (Losses, Result<NamedTensors, TrainError>) {
    let mut losses = Vec::new();
    let mut trainer = Trainer::new(settings, samples, 2).unwrap();
    let result = trainer.run(&mut |progress| {
        if let TrainProgress::Step(step) = progress {
            losses.push((step.step, step.reconstruction_loss, step.dice_loss));
            if step.step == stop_after {
                settings.stop.store(true, Ordering::Relaxed);
            }
        }
    });
    (losses, result.and_then(|()| Ok(trainer.weights.to_named()?)))
}

#[test]
fn a_few_steps_lower_the_reconstruction_loss() {
    let directory = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    let settings = settings(directory.path().join("model"), 24, &stop);
    let (losses, weights) = run(&settings, &samples(), u64::MAX);
    weights.unwrap();
    let mean = |losses: &[(u64, f32, f32)]| {
        losses.iter().map(|(_, loss, _)| loss).sum::<f32>() / losses.len() as f32
    };
    let (early, late) = (mean(&losses[..4]), mean(&losses[20..]));
    println!("reconstruction loss {early} -> {late}");
    assert!(late < 0.9 * early, "{early} -> {late}");
}

#[test]
fn resuming_gives_exactly_the_uninterrupted_training() {
    let directory = tempfile::tempdir().unwrap();
    let samples = samples();
    let stop = AtomicBool::new(false);
    let whole = settings(directory.path().join("whole"), 6, &stop);
    let (expected, expected_weights) = run(&whole, &samples, u64::MAX);

    let mut cut = settings(directory.path().join("cut"), 6, &stop);
    let (mut found, result) = run(&cut, &samples, 3);
    assert!(matches!(result, Err(TrainError::Stopped { step: 3, .. })), "{:?}", result.err());
    stop.store(false, Ordering::Relaxed);
    cut.resume = true;
    let (rest, weights) = run(&cut, &samples, u64::MAX);
    found.extend(rest);
    assert_eq!(found, expected);
    assert_eq!(weights.unwrap(), expected_weights.unwrap());
}

#[test]
fn resuming_refuses_what_is_not_the_same_training() {
    let directory = tempfile::tempdir().unwrap();
    let samples = samples();
    let stop = AtomicBool::new(false);
    let mut settings = settings(directory.path().join("model"), 1, &stop);
    settings.resume = true;
    let refused = |settings: &TrainSettings| Trainer::new(settings, &samples, 2).err().unwrap();
    assert!(matches!(refused(&settings), TrainError::NothingToResume(_)));
    settings.resume = false;
    run(&settings, &samples, u64::MAX).1.unwrap();
    settings.resume = true;
    settings.seed += 1;
    assert!(matches!(refused(&settings), TrainError::OtherTraining("seed")));
}

#[test]
fn no_steps_mean_no_network() {
    let stop = AtomicBool::new(false);
    let settings = settings("unused".into(), 0, &stop);
    let outcome = with_sources(|sources| train(&settings, sources, &mut |_| {}).unwrap());
    assert_eq!(outcome.recipe, Recipe::Untrained);
    assert_eq!(outcome.constant_k, 0.0);
    assert!(outcome.weights.keys().all(|name| name.starts_with("backbone.")));
    assert_eq!(outcome.record.products, ["bolt", "nut"]);
}

#[test]
fn a_trained_outcome_holds_every_weight_and_its_figures() {
    let directory = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    let settings = settings(directory.path().join("model"), 1, &stop);
    let outcome = with_sources(|sources| train(&settings, sources, &mut |_| {}).unwrap());
    assert_eq!(outcome.weights.len(), rule_weights(Backbone::Lite0, SIDE as usize).len());
    assert!(outcome.constant_k > 0.0);
    // Every fourth of six pictures of two products.
    assert_eq!(outcome.record.metrics["held_out_pictures"], 2.0);
    assert_eq!(outcome.record.steps, 1);
}

//! Tiny trainings on drawn pictures: real backbone code, rule weights, side 96.

use super::*;
use crate::bundle::Normalisation;
use crate::model::checkpoint::Checkpoint;
use crate::model::data::{ProductPictures, Samples};
use crate::model::features::{FrozenBackbone, features};
use crate::model::verify::rule_weights;
use image::{Rgb, RgbImage};
use rand::Rng;
use rand_pcg::Pcg64Mcg;
use std::sync::atomic::Ordering;

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
        sampling: Sampling::Proportional,
        prompt: PromptChoice::First,
        objective: Objective::Full,
        checkpoint_period: 2,
        seed: SEED,
        resume: false,
        textures: None,
        command: "onenipd train".into(),
        stop,
    }
}

fn with_sources<R>(work: impl FnOnce(&Sources) -> R) -> R {
    let weights = rule_weights(Backbone::Lite0, SIDE as usize);
    let backbone = FrozenBackbone::new(Backbone::Lite0, &weights).unwrap();
    let compute = |pictures: &[RgbImage]| Ok(features(&backbone, &Normalisation::LITE, pictures)?);
    work(&Sources {
        products: products(),
        picture: &draw,
        pseudo_anomaly: &spoil,
        features: &compute,
    })
}

fn with_samples<R>(work: impl FnOnce(&Sources, &Samples) -> R) -> R {
    with_sources(|sources| {
        let samples = sources.samples(SEED, &AtomicBool::new(false), &mut |_| {}).unwrap();
        work(sources, &samples)
    })
}

fn trainer<'a>(
    settings: &'a TrainSettings<'a>,
    sources: &'a Sources<'a>,
    samples: &'a Samples,
) -> Result<Trainer<'a>, TrainError> {
    let TrainSettings { sampling, seed, .. } = *settings;
    let material = Material { samples, sources, batch: 2, sampling, seed };
    Trainer::new(settings, material, LineTime::now(), &mut |_| {})
}

/// Step, reconstruction loss, Dice loss.
type Losses = Vec<(u64, f32, f32)>;

/// Losses by step, and how the training ended; stops after step `stop_after`.
fn run(
    settings: &TrainSettings,
    sources: &Sources,
    samples: &Samples,
    stop_after: u64,
) -> (Losses, Result<NamedTensors, TrainError>) {
    let mut losses = Vec::new();
    let mut trainer = trainer(settings, sources, samples).unwrap();
    let result = trainer.run(&mut |progress| {
        if let TrainProgress::Step(step) = progress {
            losses.push((step.step, step.reconstruction_loss, step.dice_loss));
            if step.step == stop_after {
                settings.stop.store(true, Ordering::Relaxed);
            }
        }
    });
    (losses, result.and_then(|()| trainer.head()))
}

#[test]
fn a_few_steps_lower_the_reconstruction_loss() {
    let directory = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    let settings = settings(directory.path().join("model"), 24, &stop);
    let (losses, weights) =
        with_samples(|sources, samples| run(&settings, sources, samples, u64::MAX));
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
    let stop = AtomicBool::new(false);
    with_samples(|sources, samples| {
        let mut whole = settings(directory.path().join("whole"), 6, &stop);
        whole.sampling = Sampling::Balanced;
        let (expected, expected_weights) = run(&whole, sources, samples, u64::MAX);

        let mut cut = settings(directory.path().join("cut"), 6, &stop);
        cut.sampling = Sampling::Balanced;
        let (mut found, result) = run(&cut, sources, samples, 3);
        assert!(matches!(result, Err(TrainError::Stopped { step: 3, .. })), "{:?}", result.err());
        stop.store(false, Ordering::Relaxed);
        cut.resume = true;
        let (rest, weights) = run(&cut, sources, samples, u64::MAX);
        found.extend(rest);
        assert_eq!(found, expected);
        assert_eq!(weights.unwrap(), expected_weights.unwrap());
    });
}

#[test]
fn resuming_refuses_what_is_not_the_same_training_and_beginning_spares_what_lies_there() {
    let directory = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    with_samples(|sources, samples| {
        let mut settings = settings(directory.path().join("model"), 1, &stop);
        settings.resume = true;
        let refused = |settings: &TrainSettings| trainer(settings, sources, samples).err().unwrap();
        assert!(matches!(refused(&settings), TrainError::NothingToResume(_)));
        settings.resume = false;
        run(&settings, sources, samples, u64::MAX).1.unwrap();
        assert!(matches!(refused(&settings), TrainError::Unfinished { step: 1, .. }));
        settings.resume = true;
        settings.prompt = PromptChoice::Auto;
        assert!(matches!(refused(&settings), TrainError::OtherTraining("prompt")));
        settings.objective = Objective::Reconstruction;
        assert!(matches!(refused(&settings), TrainError::OtherTraining("objective")));
        settings.sampling = Sampling::Balanced;
        assert!(matches!(refused(&settings), TrainError::OtherTraining("sampling")));
        settings.seed += 1;
        assert!(matches!(refused(&settings), TrainError::OtherTraining("seed")));
    });
}

#[test]
fn a_loss_that_is_no_number_names_the_step_and_spares_the_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    let settings = settings(directory.path().join("model"), 9, &stop);
    with_samples(|sources, samples| {
        // Some steps in, the pseudo-anomalies are damaged.
        let damaged = |pictures: &[RgbImage]| {
            let mut found = (sources.features)(pictures)?;
            if pictures[0].get_pixel(0, 0).0 == [1, 2, 3] {
                found[0].fill(f32::NAN);
            }
            Ok(found)
        };
        let made = std::sync::atomic::AtomicUsize::new(0);
        let spoil = |_: usize, good: &RgbImage, _: &mut Pcg64Mcg| {
            let mut picture = good.clone();
            if made.fetch_add(1, Ordering::Relaxed) >= 10 {
                picture.put_pixel(0, 0, Rgb([1, 2, 3]));
            }
            (picture, vec![0; (SIDE * SIDE) as usize])
        };
        let sources = Sources {
            products: products(),
            picture: &draw,
            pseudo_anomaly: &spoil,
            features: &damaged,
        };
        let (losses, result) = run(&settings, &sources, samples, u64::MAX);
        let error = result.err().unwrap();
        let TrainError::Diverged { step, kept, .. } = error else { panic!("{error}") };
        assert_eq!(step, losses.len() as u64 + 1);
        assert!(error.to_string().starts_with(&format!("step {step}: the loss")), "{error}");
        let partial = partial_directory(&settings.output);
        let found = Checkpoint::load(&partial).unwrap().unwrap().checkpoint;
        assert_eq!(Some(found.record.step), kept);
        assert_eq!(found.record.step, losses.len() as u64 / 2 * 2);
        assert!(found.weights.values().all(|t| t.values().iter().all(|v| v.is_finite())));
    });
}

#[test]
fn the_log_and_the_best_weights_lie_beside_the_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    let settings = settings(directory.path().join("model"), 3, &stop);
    let (losses, record) = with_samples(|sources, samples| {
        let losses = run(&settings, sources, samples, u64::MAX).0;
        let mut resumed = TrainSettings { resume: true, ..settings_of(&settings) };
        resumed.checkpoint_period = 7;
        let trainer = trainer(&resumed, sources, samples).unwrap();
        (losses, trainer.finish(&mut |_| {}).unwrap().1)
    });
    assert_eq!(record.best.unwrap().step, 3);
    let partial = partial_directory(&settings.output);
    assert_eq!(Checkpoint::load_best(&partial).unwrap().unwrap().record.step, 3);
    let text = std::fs::read_to_string(partial.join("training.csv")).unwrap();
    let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|row| row.split(',').collect()).collect();
    assert_eq!(rows.len(), 3);
    for (row, (step, reconstruction, dice)) in rows.iter().zip(losses) {
        assert_eq!(row[0].parse::<u64>().unwrap(), step);
        assert_eq!(row[2].parse::<f32>().unwrap(), reconstruction);
        assert_eq!(row[3].parse::<f32>().unwrap(), dice);
    }
    assert!(rows[1][7].is_empty() && rows[2][7].parse::<f64>().unwrap() > 0.0);
}

/// The same settings once more.
fn settings_of<'a>(settings: &TrainSettings<'a>) -> TrainSettings<'a> {
    let Budget::Steps(steps) = settings.budget else { panic!("no steps") };
    TrainSettings {
        output: settings.output.clone(),
        ..self::settings("".into(), steps, settings.stop)
    }
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
fn the_prompt_is_recorded_with_how_typical_it_is() {
    let stop = AtomicBool::new(false);
    let mut settings = settings("unused".into(), 0, &stop);
    let mut prompts = |choice| {
        settings.prompt = choice;
        with_sources(|sources| train(&settings, sources, &mut |_| {}).unwrap()).record.prompts
    };
    let (first, typical) = (prompts(PromptChoice::First), prompts(PromptChoice::Auto));
    for product in ["bolt", "nut"] {
        let (first, typical) = (&first[product], &typical[product]);
        assert_eq!(first.picture, "0.png");
        assert!(typical.distance <= first.distance, "{typical:?} {first:?}");
        assert!(typical.distance <= typical.median && typical.median <= typical.largest);
        assert_ne!(typical.picture, "3.png", "held out");
    }
}

#[test]
fn a_trained_outcome_holds_every_weight_and_its_figures() {
    let directory = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    let settings = settings(directory.path().join("model"), 1, &stop);
    let outcome = with_sources(|sources| train(&settings, sources, &mut |_| {}).unwrap());
    assert_eq!(outcome.weights.len(), rule_weights(Backbone::Lite0, SIDE as usize).len());
    assert!(outcome.constant_k > 0.0);
    assert!(outcome.record.metrics["held_out_loss"] > 0.0);
    // Every fourth of six pictures of two products.
    assert_eq!(outcome.record.metrics["held_out_pictures"], 2.0);
    assert_eq!(outcome.record.steps, 1);
}

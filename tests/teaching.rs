//! Teaching, storing and evaluating a product, with an inspector in plain Rust: the search and
//! cell maps of `evaluation::neighbours` on features computed from the pixels.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use image::{Rgb, RgbImage};
use onenipd::bundle::{
    Backbone, Fusion, InspectorInput, Manifest, Normalisation, OnePicture, Recipe, TrainingRecord,
};
use onenipd::engine::{EngineError, Inspection};
use onenipd::evaluation::neighbours::{cell_grid, image_score, search_grid, smooth_map};
use onenipd::evaluation::{EvaluationRequest, evaluate};
use onenipd::part::{NamedTensors, RegionOfInterest, Tensor};
use onenipd::product::{
    CalibrationRequest, Encoding, ProductStore, Progress, Prompt, Stage, TeachError, Teacher,
    TokenSizes, calibrate, measure_one_picture, teach_one_picture, unit_tokens,
};
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use std::collections::BTreeMap;
use std::path::PathBuf;

const SIDE: usize = 224;
const CELLS: usize = 14;

fn manifest(good_tokens: usize, cell_pictures: usize) -> Manifest {
    let input =
        |name: &str, shape: &[usize]| InspectorInput { name: name.into(), shape: shape.to_vec() };
    Manifest {
        format_version: 1,
        backbone: Backbone::Lite0,
        side: SIDE,
        recipe: Recipe::Untrained,
        good_tokens,
        cell_pictures,
        normalisation: Normalisation::LITE,
        fusion: Fusion { constant_k: 0.0, weights: [0.0, 1.0, 1.0] },
        one_picture: OnePicture { scales: [0.0, 0.5, 0.25], threshold: 1.5, pixel_threshold: 1.25 },
        inputs: vec![
            input("good_tokens", &[good_tokens, 152]),
            input("cell_tokens", &[cell_pictures, CELLS * CELLS, 152]),
            input("fusion_scales", &[3]),
        ],
        golden_scores: BTreeMap::new(),
        training: TrainingRecord::default(),
        licences: BTreeMap::new(),
        files: BTreeMap::new(),
    }
}

/// Features: each 16 x 16 cell's mean and spread, projected to the neck's channels by a fixed
/// random matrix.
struct PlainTeacher {
    manifest: Manifest,
    projection: Vec<f32>,
    product: NamedTensors,
    maps: [Vec<f32>; 2],
    fused: Vec<f32>,
}

const STATISTICS: usize = 8;
const CHANNELS: usize = 192;

impl PlainTeacher {
    fn new(manifest: Manifest) -> Self {
        let mut generator = Pcg64::seed_from_u64(5);
        let projection =
            (0..CHANNELS * STATISTICS).map(|_| generator.random_range(-1.0..1.0)).collect();
        let maps = [Vec::new(), Vec::new()];
        Self { manifest, projection, product: NamedTensors::new(), maps, fused: Vec::new() }
    }

    fn features(&self, input: &[f32]) -> Tensor {
        let mut features = Vec::with_capacity(CELLS * CELLS * CHANNELS);
        for cell in 0..CELLS * CELLS {
            let (top, left) = (cell / CELLS * 16, cell % CELLS * 16);
            let mut statistics = [0.0f32; STATISTICS];
            statistics[6] = 1.0;
            for (channel, plane) in input.chunks_exact(SIDE * SIDE).enumerate() {
                let rows = (top..top + 16).map(|y| &plane[y * SIDE + left..][..16]);
                let values: Vec<f32> = rows.flatten().copied().collect();
                let mean = values.iter().sum::<f32>() / 256.0;
                let spread = values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / 256.0;
                statistics[channel] = mean;
                statistics[channel + 3] = spread.sqrt();
            }
            let rows = self.projection.chunks_exact(STATISTICS);
            features.extend(
                rows.map(|row| row.iter().zip(statistics).map(|(a, b)| a * b).sum::<f32>()),
            );
        }
        Tensor::new([CELLS * CELLS, CHANNELS], features).unwrap()
    }
}

impl Teacher for PlainTeacher {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn resize(&mut self, picture: &RgbImage, region: Option<RegionOfInterest>) -> RgbImage {
        let side = SIDE as u32;
        let (width, height) = picture.dimensions();
        let all = RegionOfInterest { x: 0, y: 0, width, height };
        let r = region.unwrap_or(all);
        let part = image::imageops::crop_imm(picture, r.x, r.y, r.width, r.height).to_image();
        image::imageops::resize(&part, side, side, image::imageops::FilterType::Triangle)
    }

    fn normalise(&mut self, resized: &RgbImage) -> Vec<f32> {
        let pixels = |channel: usize| {
            resized.pixels().map(move |pixel| (f32::from(pixel.0[channel]) - 127.0) / 128.0)
        };
        (0..3).flat_map(pixels).collect()
    }

    fn encode(&mut self, input: &[f32]) -> Result<Encoding, EngineError> {
        Ok(Encoding { prompt_memory: None, features: self.features(input) })
    }

    fn set_product(&mut self, tensors: &NamedTensors) -> Result<(), EngineError> {
        for input in &self.manifest.inputs {
            let shape = tensors.get(&input.name).map(Tensor::shape);
            assert_eq!(shape, Some(input.shape.as_slice()), "{}", input.name);
        }
        self.product = tensors.clone();
        Ok(())
    }

    fn inspect(&mut self, input: &[f32]) -> Result<Inspection<'_>, EngineError> {
        let sizes = TokenSizes::of(&self.manifest);
        let tokens = unit_tokens(&self.features(input), &sizes).unwrap();
        let good = self.product["good_tokens"].values();
        let cells = self.product["cell_tokens"].values();
        let [_, search_scale, cell_scale] = *self.product["fusion_scales"].values() else {
            panic!("three scales")
        };
        let search = search_grid(&tokens, good, sizes.width());
        let cell = cell_grid(&tokens, cells, sizes.width());
        self.maps = [search, cell].map(|grid| smooth_map(&grid, &sizes, SIDE));
        let [search, cell] = &self.maps;
        let pairs = search.iter().zip(cell);
        self.fused = pairs.map(|(s, c)| search_scale * s + cell_scale * c).collect();
        let peak = |map: &[f32]| map.iter().copied().fold(0.0, f32::max);
        Ok(Inspection {
            score: image_score(&self.fused, SIDE),
            anomaly_map: &self.fused,
            reconstruction_map: &[],
            refined_map: &[],
            map_peaks: [0.0, peak(search), peak(cell)],
        })
    }
}

/// A part: a bright plate with a dark disc; the defect is a scratch with another colour.
fn part(seed: u64, scratched: bool) -> RgbImage {
    let mut generator = Pcg64::seed_from_u64(seed);
    let light = generator.random_range(0.95..1.05f32);
    let (cx, cy) = (generator.random_range(110..114), generator.random_range(110..114));
    let (sx, sy) = (generator.random_range(20..150), generator.random_range(20..150));
    RgbImage::from_fn(SIDE as u32, SIDE as u32, |x, y| {
        let (dx, dy) = (x as i32 - cx, y as i32 - cy);
        let base = if dx * dx + dy * dy < 60 * 60 { [70, 80, 90] } else { [180, 170, 150] };
        let in_scratch = scratched && (sx..sx + 40).contains(&x) && (sy..sy + 30).contains(&y);
        let base = if in_scratch { [230, 40, 60] } else { base };
        Rgb(base.map(|value| {
            let noise = generator.random_range(-6.0..6.0f32);
            (value as f32 * light + noise).clamp(0.0, 255.0) as u8
        }))
    })
}

/// Pictures of parts on disk, named by their seeds.
struct Parts(tempfile::TempDir);

impl Parts {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, folder: &str, name: &str, picture: &RgbImage) -> PathBuf {
        let folder = self.0.path().join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        picture.save(&path).unwrap();
        path
    }

    fn good(&self, count: u64) -> Vec<PathBuf> {
        let write = |seed| self.write("good", &format!("{seed:03}.png"), &part(seed, false));
        (0..count).map(write).collect()
    }
}

fn request(parts: &[PathBuf]) -> CalibrationRequest<'_> {
    CalibrationRequest {
        prompt: Prompt::First,
        good_parts: parts,
        region_of_interest: None,
        false_reject_share: 0.005,
    }
}

fn score(teacher: &mut PlainTeacher, picture: &RgbImage) -> (f32, f32) {
    let input = teacher.normalise(picture);
    let inspection = teacher.inspect(&input).unwrap();
    (inspection.score, inspection.anomaly_map.iter().copied().fold(0.0, f32::max))
}

#[test]
fn calibrated_products_separate_good_from_scratched() {
    let mut teacher = PlainTeacher::new(manifest(512, 8));
    let folder = Parts::new();
    let mut parts = folder.good(20);
    parts.reverse();
    let mut stages = Vec::new();
    let mut progress = |step: Progress| stages.push(step);
    let taught = calibrate(&mut teacher, &request(&parts), &mut progress).unwrap();
    assert_eq!((taught.good_pictures, taught.held_back_scores.len()), (20, 20));
    assert!(taught.calibrated && taught.notes[0].contains("extrapolated"), "{:?}", taught.notes);
    for stage in [Stage::Encode, Stage::Remember, Stage::Inspect] {
        let last = stages.iter().rfind(|step| step.stage == stage).unwrap();
        assert_eq!(last.done, last.total, "{stage:?}");
    }
    // Every value of the memory is one that FP16 can store.
    for name in ["good_tokens", "cell_tokens"] {
        let values = taught.tensors[name].values();
        assert!(values.iter().all(|&v| half::f16::from_f32(v).to_f32() == v), "{name}");
    }
    teacher.set_product(&taught.tensors).unwrap();
    let thresholds = taught.thresholds;
    for seed in 100..106 {
        let (good, peak) = score(&mut teacher, &part(seed, false));
        assert!(good < thresholds.image, "good part {seed}: {good} {thresholds:?}");
        assert!(peak < thresholds.pixel, "good part {seed} shows a region: {peak}");
        let (bad, peak) = score(&mut teacher, &part(seed, true));
        assert!(bad >= thresholds.image, "scratched part {seed}: {bad} {thresholds:?}");
        assert!(peak >= thresholds.pixel);
    }
}

#[test]
fn teaching_is_repeatable_and_blind_to_order() {
    let mut teacher = PlainTeacher::new(manifest(256, 4));
    let folder = Parts::new();
    let mut parts = folder.good(9);
    let first = calibrate(&mut teacher, &request(&parts), &mut |_| ()).unwrap();
    parts.rotate_left(4);
    let second = calibrate(&mut teacher, &request(&parts), &mut |_| ()).unwrap();
    assert_eq!(first.tensors, second.tensors);
    assert_eq!(first.thresholds, second.thresholds);
}

#[test]
fn scales_are_the_weights_over_the_99th_percentile() {
    let mut manifest = manifest(256, 4);
    manifest.fusion.weights = [0.0, 1.0, 0.5];
    let mut teacher = PlainTeacher::new(manifest);
    let folder = Parts::new();
    let parts = folder.good(3);
    let taught = calibrate(&mut teacher, &request(&parts), &mut |_| ()).unwrap();
    // The same from the definition: each part against a memory of the two others. 2 x 196 tokens
    // are more than 256, so the memory itself is taken from teaching by those two.
    let mut pixels: [Vec<f32>; 2] = Default::default();
    for left_out in 0..3 {
        let others: Vec<PathBuf> = parts
            .iter()
            .enumerate()
            .filter(|(i, _)| *i != left_out)
            .map(|(_, p)| p.clone())
            .collect();
        let fold = calibrate(&mut teacher, &request(&others), &mut |_| ()).unwrap();
        teacher.set_product(&fold.tensors).unwrap();
        score(&mut teacher, &part(left_out as u64, false));
        for (all, map) in pixels.iter_mut().zip(&teacher.maps) {
            all.extend(map);
        }
    }
    let scales = taught.tensors["fusion_scales"].values();
    assert_eq!(scales[0], 0.0);
    for ((mut pixels, weight), scale) in pixels.into_iter().zip([1.0, 0.5]).zip(&scales[1..]) {
        pixels.sort_by(f32::total_cmp);
        let position = 0.99 * (pixels.len() - 1) as f64;
        let (low, part) = (position as usize, position.fract() as f32);
        let percentile = pixels[low] + (pixels[low + 1] - pixels[low]) * part;
        assert!((scale - weight / percentile).abs() < 1e-5, "{scale} {}", weight / percentile);
    }
    assert_eq!(taught.held_back_scores.len(), 3);
}

#[test]
fn one_picture_remembers_stride_16_of_copies_and_neighbours() {
    let mut teacher = PlainTeacher::new(manifest(4096, 10));
    let picture = part(0, false);
    let taught = teach_one_picture(&mut teacher, &picture, None, 0.005).unwrap();
    assert!(!taught.calibrated && taught.held_back_scores.is_empty());
    assert_eq!(taught.thresholds.image, 1.5);
    assert_eq!(taught.tensors["fusion_scales"].values(), [0.0, 0.5, 0.25]);
    // Stride 16 alone, doubled: it stands for both levels.
    let good = taught.tensors["good_tokens"].values();
    let cells = taught.tensors["cell_tokens"].values();
    for token in good.chunks_exact(152).chain(cells.chunks_exact(152)) {
        assert!(token[..40].iter().all(|&v| v == 0.0));
        let length = token[40..].iter().map(|v| v * v).sum::<f32>().sqrt();
        assert!((length - 2.0).abs() < 1e-2, "{length}");
    }
    let copies = 12 * CELLS * CELLS * 152;
    assert_eq!(good[copies..], good[..good.len() - copies], "repeated in turn");
    // Cells: the picture, then moved by one cell each way, then again.
    let pictures: Vec<&[f32]> = cells.chunks_exact(CELLS * CELLS * 152).collect();
    assert_eq!(pictures[0], &good[..CELLS * CELLS * 152]);
    assert_eq!(pictures[9], pictures[0]);
    let token = |picture: usize, row: usize, column: usize| {
        &pictures[picture][(row * CELLS + column) * 152..][..152]
    };
    let around: [(usize, usize); 8] =
        [(0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (2, 2)];
    for (picture, (row, column)) in (1..).zip(around) {
        assert_eq!(token(picture, 5, 5), token(0, 4 + row, 4 + column));
        assert_eq!(token(picture, 0, 13), token(0, row.max(1) - 1, (12 + column).min(13)));
    }

    // Calibrating with one part is the same.
    let folder = Parts::new();
    let parts = folder.good(1);
    let again = calibrate(&mut teacher, &request(&parts), &mut |_| ()).unwrap();
    assert_eq!(again.tensors, taught.tensors);
}

#[test]
fn one_picture_thresholds_pass_good_parts() {
    let mut teacher = PlainTeacher::new(manifest(4096, 1));
    let folder = Parts::new();
    let parts = folder.good(12);
    let measured = measure_one_picture(&mut teacher, &parts[0], &parts, [0.0, 1.0, 1.0], 0.005);
    teacher.manifest.one_picture = measured.unwrap();
    let taught = teach_one_picture(&mut teacher, &part(0, false), None, 0.005).unwrap();
    teacher.set_product(&taught.tensors).unwrap();
    for seed in 100..104 {
        assert!(score(&mut teacher, &part(seed, false)).0 < taught.thresholds.image);
        assert!(score(&mut teacher, &part(seed, true)).0 >= taught.thresholds.image);
    }
}

#[test]
fn what_cannot_be_taught_is_refused() {
    let mut teacher = PlainTeacher::new(manifest(256, 4));
    let folder = Parts::new();
    let two = folder.good(2);
    let mut teach = |parts: &[PathBuf], share| {
        let request = CalibrationRequest { false_reject_share: share, ..request(parts) };
        calibrate(&mut teacher, &request, &mut |_| ()).unwrap_err()
    };
    assert!(matches!(teach(&[], 0.005), TeachError::NoPictures));
    assert!(matches!(teach(&two, f64::NAN), TeachError::FalseRejectShare(_)));
    assert!(matches!(teach(&two, 0.0), TeachError::FalseRejectShare(_)));
    let missing = [two[0].clone(), "good/missing".into()];
    assert!(teach(&missing, 0.005).to_string().contains("good/missing"));

    teacher.manifest.fusion.weights = [0.0; 3];
    let error = calibrate(&mut teacher, &request(&two), &mut |_| ());
    assert!(matches!(error, Err(TeachError::NoScale { .. })), "every part would pass");
    let mut teacher = PlainTeacher::new(manifest(256, 4));
    teacher.manifest.inputs[0].name = "position_mean".into();
    let error = calibrate(&mut teacher, &request(&two), &mut |_| ());
    assert!(matches!(error, Err(TeachError::UnknownInput(_))));
}

#[test]
fn a_taught_product_survives_the_disk() {
    let mut teacher = PlainTeacher::new(manifest(256, 4));
    let folder = Parts::new();
    let parts = folder.good(9);
    let taught = calibrate(&mut teacher, &request(&parts), &mut |_| ()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = ProductStore::open(folder.path());
    let region = RegionOfInterest { x: 0, y: 0, width: 224, height: 224 };
    let identity = store.identity("plate", None, Some(region), "hash").unwrap();
    let product = taught.into_product(identity);
    store.save(&product, &part(0, false)).unwrap();
    assert_eq!(store.load("plate", "hash").unwrap(), product);
}

#[test]
fn evaluation_sees_scratches_where_they_are() {
    let mut teacher = PlainTeacher::new(manifest(512, 8));
    let folder = Parts::new();
    for seed in 0..16 {
        folder.write("plate/train/good", &format!("{seed:03}.png"), &part(seed, false));
    }
    for seed in 200..208 {
        let name = format!("{seed}.png");
        folder.write("plate/test/good", &name, &part(seed, false));
        let (good, bad) = (part(seed + 100, false), part(seed + 100, true));
        folder.write("plate/test/scratch", &name, &bad);
        // The mask is where the scratched picture differs from the same part without it.
        let mut mask = good;
        for (pixel, bad) in mask.pixels_mut().zip(bad.pixels()) {
            let differs = pixel.0[0].abs_diff(bad.0[0]) > 20;
            pixel.0 = [if differs { 255 } else { 0 }; 3];
        }
        folder.write("plate/ground_truth/scratch", &format!("{seed}_mask.png"), &mask);
    }
    let mut data = onenipd::dataset::open(folder.0.path()).unwrap();
    data.products[0].test.last_mut().unwrap().mask = None;
    let request = EvaluationRequest {
        products: &data.products,
        prompt: Prompt::Auto,
        pictures: None,
        baseline: true,
        network_maps: false,
        examples: 3,
        now: onenipd::part::LineTime::now,
    };
    let report = evaluate(&mut teacher, &request, &mut |_, _| ()).unwrap();
    let plate = &report.products[0];
    assert_eq!((plate.good, plate.defective, plate.without_mask), (8, 8, 1));
    assert_eq!(plate.metrics.image_auroc, Some(1.0));
    assert!(plate.metrics.pixel_auroc.unwrap() > 0.95, "{report}");
    assert!(plate.metrics.aupro.unwrap() > 0.8, "{report}");
    assert_eq!(plate.metrics.escape_rate["0.005"], 0.0);
    assert!(plate.prompt.unwrap().nearer == 0.0, "the most typical one was asked for");
    assert!(plate.notes.iter().any(|note| note.starts_with("1 defective pictures have no mask")));
    let details = plate.details.as_ref().unwrap();
    assert_eq!((details.misses.len(), details.false_alarms.len()), (3, 3));
    assert!(details.misses.is_sorted_by(|a, b| a.score <= b.score));
    assert!(details.false_alarms.is_sorted_by(|a, b| a.score >= b.score));
    let rejected = details.good_scores.iter().filter(|s| **s >= details.thresholds[1]).count();
    assert_eq!(plate.metrics.false_reject_rate["0.005"], rejected as f64 / 8.0);
    let lowest = details.defective_scores.iter().copied().fold(f32::INFINITY, f32::min);
    assert_eq!(details.misses[0].score, lowest);
    assert!(details.misses[0].name.starts_with("scratch/"));
    let baseline = report.baseline.as_ref().unwrap();
    assert!(baseline.mean.image_auroc.unwrap() > 0.9, "{report}");
    assert!(baseline.mean.escape_rate.is_empty());
}

#[test]
fn few_pictures_and_the_prompt_are_chosen() {
    let mut teacher = PlainTeacher::new(manifest(512, 8));
    let folder = Parts::new();
    for seed in 0..9 {
        folder.write("plate/train/good", &format!("{seed:03}.png"), &part(seed, false));
    }
    folder.write("plate/test/good", "1.png", &part(50, false));
    folder.write("plate/test/scratch", "1.png", &part(60, true));
    let data = onenipd::dataset::open(folder.0.path()).unwrap();
    let member = part(3, false);
    let odd = RgbImage::from_fn(224, 224, |x, y| Rgb([(x ^ y) as u8, 0, 255]));
    let mut run = |prompt, pictures| {
        let request = EvaluationRequest {
            products: &data.products,
            prompt,
            pictures,
            baseline: false,
            network_maps: false,
            examples: 0,
            now: onenipd::part::LineTime::now,
        };
        evaluate(&mut teacher, &request, &mut |_, _| ()).unwrap().products.remove(0)
    };
    let one = run(Prompt::Auto, Some(1));
    assert_eq!((one.taught_by, one.prompt), (1, None));
    assert!(one.notes.iter().any(|note| note.starts_with("uncalibrated")), "{:?}", one.notes);
    assert_eq!(run(Prompt::First, Some(4)).taught_by, 4);
    assert_eq!(run(Prompt::First, Some(40)).taught_by, 9);
    let typical = run(Prompt::Auto, None);
    assert!(!typical.prompt.unwrap().outside);
    let wrong = run(Prompt::Picture(&odd), None);
    assert!(wrong.prompt.unwrap().outside && wrong.prompt.unwrap().nearer == 1.0);
    assert!(wrong.notes.iter().any(|note| note.contains("unlike the good parts")));
    // A good part given as the prompt is known again.
    let place = run(Prompt::Picture(&member), None).prompt.unwrap();
    assert!(!place.outside);
    assert_eq!(run(Prompt::Picture(&odd), Some(1)).taught_by, 1);
}

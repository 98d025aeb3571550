//! Batches made on other threads while the step runs.
//!
//! Everything drawn for a step follows from the seed and the step's number alone, and each thread
//! makes its own share of the steps, so timing changes nothing.

use super::data::{Samples, Sources};
use super::random::stream;
use super::sampling::{Order, Sampling};
use super::step::Batch;
use super::train::TrainError;
use crate::part::{Duration, LineTime};
use crossbeam_channel::{Receiver, Sender, bounded};
use rand::Rng;
use rand_distr::StandardNormal;
use rand_pcg::Pcg64Mcg;
use std::thread::{Builder, Scope};

/// Threads that make batches: two keep up with a step of a tenth of a second a picture.
const THREADS: usize = 2;
/// Batches (about 10 MB each) that may wait behind each thread.
const AHEAD: usize = 1;

/// What batches are made of.
#[derive(Clone, Copy)]
pub struct Material<'a> {
    /// Good pictures and their features.
    pub samples: &'a Samples,
    /// Pseudo-anomalies and their features.
    pub sources: &'a Sources<'a>,
    /// Good pictures a step, and as many pseudo-anomalies and prompts.
    pub batch: usize,
    /// Order of the pictures.
    pub sampling: Sampling,
    /// Seed of every generator.
    pub seed: u64,
}

/// Everything drawn for one step.
pub struct Prepared {
    /// Features and masks.
    pub batch: Batch,
    /// Standard normal noise, [3B, L, C].
    pub noise: Vec<f32>,
    /// The step's generator, from which its dropouts are drawn.
    pub random: Pcg64Mcg,
}

/// Makes the batches of a training.
pub struct BatchMaker<'a> {
    material: Material<'a>,
    order: Order,
}

impl<'a> BatchMaker<'a> {
    /// A maker of any of the steps.
    pub fn new(material: Material<'a>) -> Self {
        let products = material.samples.products.iter();
        let counts: Vec<usize> = products.map(|product| product.training.len()).collect();
        Self { material, order: Order::new(material.sampling, material.seed, &counts) }
    }

    /// Whether there is nothing to train on.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The batch of the step after `step` steps.
    pub fn prepare(&mut self, step: u64) -> Result<Prepared, TrainError> {
        let Material { samples, sources, batch: size, seed, .. } = self.material;
        let mut random = stream(seed, "step", step);
        let mut batch = Batch {
            size,
            good: Vec::new(),
            pseudo: Vec::new(),
            prompt: Vec::new(),
            masks: Vec::new(),
        };
        for slot in 0..size as u64 {
            let place = step * size as u64 + slot;
            let (product, picture) = self.order.at(place);
            let training = &samples.products[product].training;
            let sample = &training[picture];
            let prompt = &training[random.random_range(0..training.len())];
            let mut own = stream(seed, "pseudo-anomaly", place);
            let (pseudo, mask) = (sources.pseudo_anomaly)(product, &sample.picture, &mut own);
            batch.good.extend(&sample.features);
            batch.pseudo.extend(sources.features_of(&pseudo)?);
            batch.prompt.extend(&prompt.features);
            batch.masks.extend(mask.iter().map(|value| f32::from(u8::from(*value > 0))));
        }
        let count = 3 * batch.good.len();
        let noise = (&mut random).sample_iter(StandardNormal).take(count).collect();
        Ok(Prepared { batch, noise, random })
    }
}

/// The batches of a training in their order, some of them ahead of time.
pub struct Feed {
    threads: Vec<Receiver<Result<Prepared, TrainError>>>,
    next: u64,
}

impl Feed {
    /// Starts the threads with the step after `step` steps. They end when the feed is dropped.
    pub fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        material: Material<'scope>,
        step: u64,
    ) -> std::io::Result<Self> {
        let mut threads = Vec::with_capacity(THREADS);
        for thread in 0..THREADS as u64 {
            // Step s is made by thread s mod THREADS.
            let first = step + (thread + THREADS as u64 - step % THREADS as u64) % THREADS as u64;
            let (sender, receiver) = bounded(AHEAD);
            let name = format!("training-data-{thread}");
            Builder::new().name(name).spawn_scoped(scope, move || run(material, first, &sender))?;
            threads.push(receiver);
        }
        Ok(Self { threads, next: step })
    }

    /// The next batch and how long it was waited for.
    pub fn take(&mut self) -> Result<(Prepared, Duration), TrainError> {
        let started = LineTime::now();
        let thread = (self.next % THREADS as u64) as usize;
        let ended = |_| TrainError::Features("the thread that makes batches ended".to_owned());
        let prepared = self.threads[thread].recv().map_err(ended)??;
        self.next += 1;
        Ok((prepared, LineTime::now().since(started)))
    }
}

fn run(material: Material, first: u64, sender: &Sender<Result<Prepared, TrainError>>) {
    let mut maker = BatchMaker::new(material);
    let mut step = first;
    loop {
        let prepared = maker.prepare(step);
        let failed = prepared.is_err();
        // Nobody listens any more: the training has ended.
        if sender.send(prepared).is_err() || failed {
            return;
        }
        step += THREADS as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::data::{ProductSamples, TrainingSample};
    use image::{Rgb, RgbImage};

    /// Pictures whose features are their first pixel's red, four times.
    fn with_material<R>(counts: &[u8], work: impl FnOnce(Material) -> R) -> R {
        let picture = |value: u8| RgbImage::from_pixel(2, 2, Rgb([value; 3]));
        let features = |pictures: &[RgbImage]| {
            Ok(pictures.iter().map(|p| vec![f32::from(p.get_pixel(0, 0).0[0]); 4]).collect())
        };
        let product = |(index, count): (usize, &u8)| ProductSamples {
            prompt: 0,
            name: index.to_string(),
            training: (0..*count)
                .map(|i| picture(100 * index as u8 + i))
                .map(|picture| TrainingSample {
                    features: vec![f32::from(picture.get_pixel(0, 0).0[0]); 4],
                    picture,
                })
                .collect(),
            held_out: Vec::new(),
        };
        let samples = Samples {
            products: counts.iter().enumerate().map(product).collect(),
            data_sha256: String::new(),
        };
        // A draw of the generator as brightness shows whose generator it was.
        let spoil = |_: usize, good: &RgbImage, random: &mut Pcg64Mcg| {
            let mut spoilt = good.clone();
            spoilt.put_pixel(0, 0, Rgb([random.random(); 3]));
            (spoilt, vec![255, 0, 0, 0])
        };
        let sources = Sources {
            products: Vec::new(),
            picture: &|_| Err(TrainError::StoppedBeforeTraining),
            pseudo_anomaly: &spoil,
            features: &features,
        };
        work(Material {
            samples: &samples,
            sources: &sources,
            batch: 2,
            sampling: Sampling::Proportional,
            seed: 3,
        })
    }

    #[test]
    fn prompts_are_of_the_same_product_and_masks_are_ones() {
        with_material(&[5, 3], |material| {
            let mut maker = BatchMaker::new(material);
            for step in 0..8 {
                let batch = maker.prepare(step).unwrap().batch;
                for slot in 0..2 {
                    let (good, prompt) = (batch.good[4 * slot], batch.prompt[4 * slot]);
                    assert_eq!((good / 100.0).floor(), (prompt / 100.0).floor());
                    assert_eq!(batch.masks[4 * slot..][..4], [1.0, 0.0, 0.0, 0.0]);
                }
            }
        });
    }

    #[test]
    fn threads_hand_out_what_one_maker_makes_from_any_step_on() {
        with_material(&[5, 3], |material| {
            for begin in [0, 1, 6] {
                let mut maker = BatchMaker::new(material);
                std::thread::scope(|scope| {
                    let mut feed = Feed::start(scope, material, begin).unwrap();
                    for step in begin..begin + 9 {
                        let (mut found, _) = feed.take().unwrap();
                        let mut expected = maker.prepare(step).unwrap();
                        assert_eq!(found.batch.good, expected.batch.good);
                        assert_eq!(found.batch.pseudo, expected.batch.pseudo);
                        assert_eq!(found.noise, expected.noise);
                        assert_eq!(found.random.random::<u64>(), expected.random.random::<u64>());
                    }
                });
            }
        });
    }
}

//! Training material: good pictures, pseudo-anomalies made from them, and their features, computed
//! once and kept.

use super::random::stream;
use super::step::Batch;
use super::train::{TrainError, TrainProgress};
use image::RgbImage;
use rand::Rng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Pictures whose features are computed together.
const FEATURE_BATCH: usize = 16;
/// Pseudo-anomalies kept of each good picture, as long as the pool stays within its limit.
const VARIANTS: usize = 4;
/// Pseudo-anomalies kept in all: about 200 kB each at side 224.
const POOL_LIMIT: usize = 2048;
/// Every fourth picture of a product is held back.
const HELD_OUT_PERIOD: usize = 4;

/// Good pictures of one product.
#[derive(Clone, Debug)]
pub struct ProductPictures {
    /// Its name.
    pub name: String,
    /// Files of good parts, sorted by name.
    pub good: Vec<PathBuf>,
}

/// A picture of side S read from a file.
pub type ReadPicture<'a> = dyn Fn(&Path) -> Result<RgbImage, TrainError> + Sync + 'a;
/// A picture of product number so-and-so with a pseudo-anomaly, and its mask of 0 and 255, S·S.
pub type MakePseudoAnomaly<'a> =
    dyn Fn(usize, &RgbImage, &mut Pcg64Mcg) -> (RgbImage, Vec<u8>) + Sync + 'a;
/// Features f [L, C] of each picture (specification 2.5).
pub type ComputeFeatures<'a> = dyn Fn(&[RgbImage]) -> Result<Vec<Vec<f32>>, TrainError> + 'a;

/// Where training takes pictures, pseudo-anomalies and features from.
pub struct Sources<'a> {
    /// Products, sorted by name.
    pub products: Vec<ProductPictures>,
    /// Reads a picture and resizes it to S.
    pub picture: &'a ReadPicture<'a>,
    /// Makes a pseudo-anomaly.
    pub pseudo_anomaly: &'a MakePseudoAnomaly<'a>,
    /// Computes features.
    pub features: &'a ComputeFeatures<'a>,
}

/// A held-out good picture and a pseudo-anomaly made from it.
#[derive(Clone, Debug)]
pub struct HeldOutPicture {
    /// Index of its product in `Sources::products`.
    pub product: usize,
    /// The good picture.
    pub good: RgbImage,
    /// The same with a pseudo-anomaly.
    pub pseudo: RgbImage,
    /// Its mask, 0 or 255, S·S.
    pub mask: Vec<u8>,
}

/// Features of one good picture and of the pseudo-anomalies made from it.
#[derive(Clone, Debug)]
pub struct Sample {
    /// f [L, C].
    pub features: Vec<f32>,
    /// Features and mask (0 or 1, S·S) of each pseudo-anomaly.
    pub pseudo: Vec<(Vec<f32>, Vec<u8>)>,
}

/// Samples of one product, in the order of its files.
#[derive(Clone, Debug)]
pub struct ProductSamples {
    /// Its name.
    pub name: String,
    /// Trained on.
    pub training: Vec<Sample>,
    /// Held back.
    pub held_out: Vec<Sample>,
}

/// All samples.
#[derive(Clone, Debug)]
pub struct Samples {
    /// By product.
    pub products: Vec<ProductSamples>,
    /// SHA-256 over the pictures, as read and resized.
    pub data_sha256: String,
}

/// Whether a product's picture number `index` by name is held back; of fewer than four none is.
pub const fn is_held_out(index: usize) -> bool {
    index % HELD_OUT_PERIOD == HELD_OUT_PERIOD - 1
}

/// One good picture and where it belongs.
struct Entry<'a> {
    product: usize,
    path: &'a Path,
    held_out: bool,
}

impl Sources<'_> {
    fn entries(&self) -> Vec<Entry<'_>> {
        let products = self.products.iter().enumerate();
        products
            .flat_map(|(product, pictures)| {
                pictures.good.iter().enumerate().map(move |(index, path)| Entry {
                    product,
                    path,
                    held_out: is_held_out(index),
                })
            })
            .collect()
    }

    /// Held-out pictures with one pseudo-anomaly each: the first of those that `samples` made.
    pub fn held_out(&self, seed: u64) -> Result<Vec<HeldOutPicture>, TrainError> {
        let entries = self.entries();
        let held_out = entries.iter().enumerate().filter(|(_, entry)| entry.held_out);
        held_out
            .map(|(index, entry)| {
                let good = (self.picture)(entry.path)?;
                let (pseudo, mask) =
                    spoil(self.pseudo_anomaly, entry.product, &good, seed, [index, 0]);
                Ok(HeldOutPicture { product: entry.product, good, pseudo, mask })
            })
            .collect()
    }

    /// Reads all pictures, makes their pseudo-anomalies and computes all features.
    pub fn samples(
        &self,
        seed: u64,
        stop: &AtomicBool,
        progress: &mut dyn FnMut(&TrainProgress),
    ) -> Result<Samples, TrainError> {
        let entries = self.entries();
        let variants = (POOL_LIMIT / entries.len().max(1)).clamp(1, VARIANTS);
        let named = |product: &ProductPictures| ProductSamples {
            name: product.name.clone(),
            training: Vec::new(),
            held_out: Vec::new(),
        };
        let mut products: Vec<ProductSamples> = self.products.iter().map(named).collect();
        let mut hash = Sha256::new();
        for (block, entries_block) in entries.chunks(FEATURE_BATCH).enumerate() {
            let (done, total) = (block * FEATURE_BATCH, entries.len());
            progress(&TrainProgress::Features { done, total });
            if stop.load(Ordering::Relaxed) {
                return Err(TrainError::StoppedBeforeTraining);
            }
            let pictures = entries_block
                .par_iter()
                .map(|entry| (self.picture)(entry.path))
                .collect::<Result<Vec<_>, _>>()?;
            for (entry, picture) in entries_block.iter().zip(&pictures) {
                hash.update(self.products[entry.product].name.as_bytes());
                hash.update(picture.as_raw());
            }
            let samples = self.block(entries_block, &pictures, seed, done, variants)?;
            for (entry, sample) in entries_block.iter().zip(samples) {
                let product = &mut products[entry.product];
                let list =
                    if entry.held_out { &mut product.held_out } else { &mut product.training };
                list.push(sample);
            }
        }
        let digest = hash.finalize();
        let data_sha256 = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Samples { products, data_sha256 })
    }

    /// Samples of `pictures`, whose entries start at `first`.
    fn block(
        &self,
        entries: &[Entry<'_>],
        pictures: &[RgbImage],
        seed: u64,
        first: usize,
        variants: usize,
    ) -> Result<Vec<Sample>, TrainError> {
        let good = (self.features)(pictures)?;
        let mut samples: Vec<Sample> =
            good.into_iter().map(|features| Sample { features, pseudo: Vec::new() }).collect();
        let make = self.pseudo_anomaly;
        for variant in 0..variants {
            let (made, masks): (Vec<_>, Vec<_>) = pictures
                .par_iter()
                .enumerate()
                .map(|(index, picture)| {
                    let product = entries[index].product;
                    spoil(make, product, picture, seed, [first + index, variant])
                })
                .unzip();
            for ((sample, features), mask) in
                samples.iter_mut().zip((self.features)(&made)?).zip(masks)
            {
                let mask = mask.into_iter().map(|value| u8::from(value > 0)).collect();
                sample.pseudo.push((features, mask));
            }
        }
        Ok(samples)
    }
}

/// The pseudo-anomaly number `variant` of the picture number `entry`.
fn spoil(
    make: &MakePseudoAnomaly,
    product: usize,
    good: &RgbImage,
    seed: u64,
    [entry, variant]: [usize; 2],
) -> (RgbImage, Vec<u8>) {
    make(product, good, &mut stream(seed, "pseudo-anomaly", (entry * VARIANTS + variant) as u64))
}

/// Draws the batches of a training: every training picture once an epoch, in a new order.
pub struct BatchDrawer<'a> {
    samples: &'a Samples,
    /// Product and picture of every training picture.
    entries: Vec<(usize, usize)>,
    size: usize,
    seed: u64,
    epoch: Option<u64>,
    order: Vec<usize>,
}

impl<'a> BatchDrawer<'a> {
    /// Batches of `size` good pictures and as many pseudo-anomalies and prompts.
    pub fn new(samples: &'a Samples, size: usize, seed: u64) -> Self {
        let products = samples.products.iter().enumerate();
        let entries = products
            .flat_map(|(product, samples)| (0..samples.training.len()).map(move |i| (product, i)))
            .collect();
        Self { samples, entries, size, seed, epoch: None, order: Vec::new() }
    }

    /// Number of training pictures.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is nothing to train on.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The batch of step number `step`, which follows from the seed and the step alone.
    pub fn batch(&mut self, step: u64, random: &mut Pcg64Mcg) -> Batch {
        let mut batch = Batch {
            size: self.size,
            good: Vec::new(),
            pseudo: Vec::new(),
            prompt: Vec::new(),
            masks: Vec::new(),
        };
        for slot in 0..self.size as u64 {
            let (product, picture) = self.entry(step * self.size as u64 + slot);
            let training = &self.samples.products[product].training;
            let sample = &training[picture];
            let prompt = &training[random.random_range(0..training.len())];
            let (pseudo, mask) = &sample.pseudo[random.random_range(0..sample.pseudo.len())];
            batch.good.extend(&sample.features);
            batch.pseudo.extend(pseudo);
            batch.prompt.extend(&prompt.features);
            batch.masks.extend(mask.iter().map(|value| f32::from(*value)));
        }
        batch
    }

    /// The `position`-th picture drawn since the beginning.
    fn entry(&mut self, position: u64) -> (usize, usize) {
        let count = self.entries.len() as u64;
        let epoch = position / count;
        if self.epoch != Some(epoch) {
            self.order = (0..self.entries.len()).collect();
            self.order.shuffle(&mut stream(self.seed, "epoch", epoch));
            self.epoch = Some(epoch);
        }
        self.entries[self.order[(position % count) as usize]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(counts: &[usize]) -> Samples {
        let sample = |value: f32| Sample {
            features: vec![value; 4],
            pseudo: vec![(vec![-value; 4], vec![1; 4])],
        };
        let product = |(index, count): (usize, &usize)| ProductSamples {
            name: index.to_string(),
            training: (0..*count).map(|i| sample((100 * index + i) as f32)).collect(),
            held_out: Vec::new(),
        };
        let products = counts.iter().enumerate().map(product).collect();
        Samples { products, data_sha256: String::new() }
    }

    #[test]
    fn an_epoch_shows_every_picture_once_with_a_prompt_of_its_product() {
        let samples = samples(&[5, 3]);
        let mut drawer = BatchDrawer::new(&samples, 2, 3);
        let mut seen = Vec::new();
        for step in 0..4 {
            let batch = drawer.batch(step, &mut stream(3, "step", step));
            for slot in 0..2 {
                let (good, prompt) = (batch.good[4 * slot], batch.prompt[4 * slot]);
                assert_eq!((good / 100.0).floor(), (prompt / 100.0).floor());
                assert_eq!(batch.pseudo[4 * slot], -good);
                seen.push(good as usize);
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2, 3, 4, 100, 101, 102]);
    }

    #[test]
    fn batches_follow_from_the_step_alone() {
        let samples = samples(&[5, 3]);
        let good =
            |step| BatchDrawer::new(&samples, 2, 3).batch(step, &mut stream(3, "step", step)).good;
        let mut drawer = BatchDrawer::new(&samples, 2, 3);
        for step in 0..9 {
            assert_eq!(drawer.batch(step, &mut stream(3, "step", step)).good, good(step));
        }
    }
}

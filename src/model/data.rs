//! Training material: good pictures and their features, computed once and kept.

use super::random::stream;
use super::train::{TrainError, TrainProgress};
use image::RgbImage;
use rand_pcg::Pcg64Mcg;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Pictures read and encoded between two reports of progress.
const BLOCK: usize = 16;
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
/// Features f [L, C] of each picture (specification 2.5), the same whichever thread asks.
pub type ComputeFeatures<'a> = dyn Fn(&[RgbImage]) -> Result<Vec<Vec<f32>>, TrainError> + Sync + 'a;

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

/// A good picture that is trained on.
#[derive(Clone, Debug)]
pub struct TrainingSample {
    /// f [L, C].
    pub features: Vec<f32>,
    /// The picture, which every step spoils anew.
    pub picture: RgbImage,
}

/// A good picture that is held back and one pseudo-anomaly made from it.
#[derive(Clone, Debug)]
pub struct HeldOutSample {
    /// f [L, C] of the good picture.
    pub features: Vec<f32>,
    /// f [L, C] of the pseudo-anomaly.
    pub pseudo: Vec<f32>,
    /// Its mask, 0 or 1, S·S.
    pub mask: Vec<u8>,
}

/// Samples of one product, in the order of its files.
#[derive(Clone, Debug)]
pub struct ProductSamples {
    /// Its name.
    pub name: String,
    /// Trained on.
    pub training: Vec<TrainingSample>,
    /// Index in `training` of the prompt that held-out pictures are measured with.
    pub prompt: usize,
    /// Held back; where no product has enough pictures for that, those trained on stand in.
    pub held_out: Vec<HeldOutSample>,
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

    /// Held-out pictures with one pseudo-anomaly each, as `samples` makes them.
    pub fn held_out(&self, seed: u64) -> Result<Vec<HeldOutPicture>, TrainError> {
        let entries = self.entries();
        let held_out = entries.iter().enumerate().filter(|(_, entry)| entry.held_out);
        held_out
            .map(|(index, entry)| {
                let good = (self.picture)(entry.path)?;
                let (pseudo, mask) = self.spoil_held_out(entry.product, &good, seed, index);
                Ok(HeldOutPicture { product: entry.product, good, pseudo, mask })
            })
            .collect()
    }

    /// Reads all pictures and computes their features, once; held-out ones are spoilt here too.
    pub fn samples(
        &self,
        seed: u64,
        stop: &AtomicBool,
        progress: &mut dyn FnMut(&TrainProgress),
    ) -> Result<Samples, TrainError> {
        let entries = self.entries();
        let none_held = entries.iter().all(|entry| !entry.held_out);
        let named = |product: &ProductPictures| ProductSamples {
            name: product.name.clone(),
            training: Vec::new(),
            prompt: 0,
            held_out: Vec::new(),
        };
        let mut products: Vec<ProductSamples> = self.products.iter().map(named).collect();
        let mut hash = Sha256::new();
        for (block, entries_block) in entries.chunks(BLOCK).enumerate() {
            let (done, total) = (block * BLOCK, entries.len());
            progress(&TrainProgress::Features { done, total });
            if stop.load(Ordering::Relaxed) {
                return Err(TrainError::StoppedBeforeTraining);
            }
            let read = entries_block.par_iter().enumerate().map(|(index, entry)| {
                let held_out = entry.held_out || none_held;
                self.read(entry, held_out.then_some((seed, done + index)))
            });
            let read = read.collect::<Result<Vec<_>, _>>()?;
            for (entry, (sample, held_out)) in entries_block.iter().zip(read) {
                let product = &mut products[entry.product];
                hash.update(product.name.as_bytes());
                hash.update(sample.picture.as_raw());
                product.held_out.extend(held_out);
                if !entry.held_out {
                    product.training.push(sample);
                }
            }
        }
        let digest = hash.finalize();
        let data_sha256 = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Samples { products, data_sha256 })
    }

    /// One picture with its features; with a seed and its number also a pseudo-anomaly.
    fn read(
        &self,
        entry: &Entry<'_>,
        held_out: Option<(u64, usize)>,
    ) -> Result<(TrainingSample, Option<HeldOutSample>), TrainError> {
        let picture = (self.picture)(entry.path)?;
        let features = self.features_of(&picture)?;
        let held_out = match held_out {
            None => None,
            Some((seed, index)) => {
                let (pseudo, mask) = self.spoil_held_out(entry.product, &picture, seed, index);
                let mask = mask.into_iter().map(|value| u8::from(value > 0)).collect();
                let pseudo = self.features_of(&pseudo)?;
                Some(HeldOutSample { features: features.clone(), pseudo, mask })
            }
        };
        Ok((TrainingSample { features, picture }, held_out))
    }

    /// Features of one picture.
    pub fn features_of(&self, picture: &RgbImage) -> Result<Vec<f32>, TrainError> {
        let found = (self.features)(std::slice::from_ref(picture))?;
        let none = || TrainError::Features("none were computed of a picture".to_owned());
        found.into_iter().next().ok_or_else(none)
    }

    fn spoil_held_out(
        &self,
        product: usize,
        good: &RgbImage,
        seed: u64,
        index: usize,
    ) -> (RgbImage, Vec<u8>) {
        let random = &mut stream(seed, "held-out pseudo-anomaly", index as u64);
        (self.pseudo_anomaly)(product, good, random)
    }
}

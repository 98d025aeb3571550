//! What a head does on pictures it has not seen: K and the losses (specification 5.3).

use super::data::{HeldOutSample, Samples, TrainingSample};
use super::losses::{DICE_WEIGHT, dice_loss, reconstruction_loss};
use super::network::weights::{constant, read};
use super::network::{Dropouts, Head, NetworkError, Weights, distance_grid, distance_map};
use super::train::{TrainError, TrainProgress};
use crate::bundle::rule;
use crate::part::NamedTensors;
use burn::tensor::{Device, Tensor};

/// Pictures that the loss is taken on while training: enough to tell runs apart, few enough to
/// cost less than five steps.
const VALIDATION_PICTURES: usize = 24;

/// Figures on held-out good pictures and the pseudo-anomalies made from them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeldOutFigures {
    /// K = (max + min)/2 of the distance map over all pictures.
    pub constant_k: f32,
    /// Mean square of r - f, good pictures.
    pub reconstruction_loss: f64,
    /// Mean square of r - f of the good picture, pseudo-anomalies.
    pub pseudo_reconstruction_loss: f64,
    /// Dice loss of the good pictures, whose masks are empty.
    pub good_dice_loss: f64,
    /// Dice loss of the pseudo-anomalies.
    pub dice_loss: f64,
    /// Good pictures measured.
    pub pictures: usize,
}

impl HeldOutFigures {
    /// The loss of training (specification 4.2), without jitter and dropout.
    pub fn loss(&self) -> f64 {
        let reconstruction = (self.reconstruction_loss + self.pseudo_reconstruction_loss) / 2.0;
        let dice = (self.good_dice_loss + self.dice_loss) / 2.0;
        reconstruction + f64::from(DICE_WEIGHT) * dice
    }
}

/// Sums over the pictures so far.
#[derive(Default)]
struct Sums {
    lowest: f32,
    highest: f32,
    /// Of good pictures and of pseudo-anomalies.
    reconstruction: [f64; 2],
    dice: [f64; 2],
    pictures: usize,
}

/// Measures `head` (names `reconstruction.…`) on all held-out samples, each product with its prompt.
pub fn measure(
    head: &NamedTensors,
    samples: &Samples,
    side: usize,
    progress: &mut dyn FnMut(&TrainProgress),
) -> Result<HeldOutFigures, TrainError> {
    figures(head, &pairs(samples), side, progress)
}

/// The loss on a fixed few of the held-out samples, evenly spread; none where there are none.
pub fn validation_loss(
    head: &NamedTensors,
    samples: &Samples,
    side: usize,
) -> Result<Option<f64>, TrainError> {
    let all = pairs(samples);
    let count = all.len().min(VALIDATION_PICTURES);
    let few: Vec<Pair> = (0..count).map(|i| all[i * all.len() / count]).collect();
    if few.is_empty() {
        return Ok(None);
    }
    Ok(Some(figures(head, &few, side, &mut |_| {})?.loss()))
}

/// A held-out sample and its prompt.
type Pair<'a> = (&'a HeldOutSample, &'a TrainingSample);

fn pairs(samples: &Samples) -> Vec<Pair<'_>> {
    let products = samples.products.iter();
    let of_product = products.flat_map(|product| {
        let prompt = product.training.get(product.prompt);
        product.held_out.iter().filter_map(move |sample| Some((sample, prompt?)))
    });
    of_product.collect()
}

fn figures(
    head: &NamedTensors,
    pairs: &[Pair],
    side: usize,
    progress: &mut dyn FnMut(&TrainProgress),
) -> Result<HeldOutFigures, TrainError> {
    let grid = side / 16;
    let channels = pairs.first().map_or(0, |(sample, _)| sample.features.len() / (grid * grid));
    let shapes = rule::head_shapes(channels, grid);
    let head = Head::new(&Weights::new(head, &shapes, &Device::flex())?)?;
    let mut sums = Sums { lowest: f32::INFINITY, ..Sums::default() };
    for (done, (sample, prompt)) in pairs.iter().enumerate() {
        progress(&TrainProgress::HeldOut { done, total: pairs.len() });
        sums.add(&head, sample, &prompt.features, side)?;
    }
    let count = sums.pictures.max(1) as f64;
    let [reconstruction, pseudo_reconstruction] = sums.reconstruction;
    let [good_dice, pseudo_dice] = sums.dice;
    Ok(HeldOutFigures {
        constant_k: (sums.highest + sums.lowest) / 2.0,
        reconstruction_loss: reconstruction / count,
        pseudo_reconstruction_loss: pseudo_reconstruction / count,
        good_dice_loss: good_dice / count,
        dice_loss: pseudo_dice / count,
        pictures: sums.pictures,
    })
}

impl Sums {
    /// One good picture and its pseudo-anomaly.
    fn add(
        &mut self,
        head: &Head,
        sample: &HeldOutSample,
        prompt: &[f32],
        side: usize,
    ) -> Result<(), NetworkError> {
        let tokens = head.grid() * head.grid();
        let channels = prompt.len() / tokens;
        let mut dropouts = Dropouts::off();
        let mut pass = head.pass(&mut dropouts);
        let all = [sample.features.as_slice(), &sample.pseudo, prompt].concat();
        let features = constant([3 * tokens, channels], all);
        let memory = head.encode(features.clone(), &mut pass);
        let prompt = memory.clone().narrow(0, 2 * tokens, tokens);
        let prompt = Tensor::cat(vec![prompt.clone(), prompt], 0);
        let found = head.decode(prompt, memory.narrow(0, 0, 2 * tokens), &mut pass);
        let own = features.narrow(0, 0, 2 * tokens);
        for value in
            read(distance_map(distance_grid(found.clone(), own.clone(), head.grid()), side))?
        {
            self.lowest = self.lowest.min(value);
            self.highest = self.highest.max(value);
        }
        let logits = head.refine((found.clone() - own.clone()).abs(), None);
        let good = own.narrow(0, 0, tokens);
        let pixels = side * side;
        let marked: Vec<f32> = sample.mask.iter().map(|value| f32::from(*value)).collect();
        for (half, mask) in [vec![0.0; pixels], marked].into_iter().enumerate() {
            let reconstruction = found.clone().narrow(0, half * tokens, tokens);
            self.reconstruction[half] += scalar(reconstruction_loss(reconstruction, good.clone()))?;
            let logits = logits.clone().narrow(0, half, 1);
            self.dice[half] += scalar(dice_loss(logits, constant([1, pixels], mask)))?;
        }
        self.pictures += 1;
        Ok(())
    }
}

fn scalar(loss: Tensor<1>) -> Result<f64, NetworkError> {
    Ok(f64::from(loss.try_into_scalar::<f32>()?))
}

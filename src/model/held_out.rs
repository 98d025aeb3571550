//! What a trained head does on pictures it has not seen: K and the losses (specification 5.3).

use super::data::{Sample, Samples};
use super::losses::{dice_loss, reconstruction_loss};
use super::network::weights::{constant, read};
use super::network::{Dropouts, Head, NetworkError, Weights, distance_grid, distance_map};
use super::train::{TrainError, TrainProgress};
use crate::bundle::rule;
use crate::part::NamedTensors;
use burn::tensor::{Device, Tensor};

/// Figures on the held-out good pictures and the pseudo-anomalies made from them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeldOutFigures {
    /// K = (max + min)/2 of the distance map over all pictures.
    pub constant_k: f32,
    /// Mean square of r - f, good pictures.
    pub reconstruction_loss: f64,
    /// Mean square of r - f of the good picture, pseudo-anomalies.
    pub pseudo_reconstruction_loss: f64,
    /// Dice loss of the pseudo-anomalies.
    pub dice_loss: f64,
    /// Good pictures measured.
    pub pictures: usize,
}

/// Sums over the pictures so far.
#[derive(Default)]
struct Sums {
    lowest: f32,
    highest: f32,
    good: f64,
    pseudo: f64,
    dice: f64,
    pictures: usize,
}

/// Measures `head` (names `reconstruction.…`) on the held-out samples, each product prompted by its
/// first training picture. Where nothing is held back, the training samples stand in.
pub fn measure(
    head: &NamedTensors,
    samples: &Samples,
    side: usize,
    progress: &mut dyn FnMut(&TrainProgress),
) -> Result<HeldOutFigures, TrainError> {
    let none_held = samples.products.iter().all(|product| product.held_out.is_empty());
    let mut work: Vec<(&Sample, &Sample)> = Vec::new();
    for product in &samples.products {
        let list = if none_held { &product.training } else { &product.held_out };
        let prompt = product.training.first();
        work.extend(list.iter().filter_map(|sample| Some((sample, prompt?))));
    }
    let grid = side / 16;
    let tokens = grid * grid;
    let channels = work.first().map_or(0, |(sample, _)| sample.features.len() / tokens);
    let shapes = rule::head_shapes(channels, grid);
    let head = Head::new(&Weights::new(head, &shapes, &Device::flex())?)?;
    let mut sums = Sums { lowest: f32::INFINITY, ..Sums::default() };
    for (done, (sample, prompt)) in work.iter().enumerate() {
        progress(&TrainProgress::HeldOut { done, total: work.len() });
        sums.add(&head, sample, prompt, side)?;
    }
    let count = sums.pictures.max(1) as f64;
    Ok(HeldOutFigures {
        constant_k: (sums.highest + sums.lowest) / 2.0,
        reconstruction_loss: sums.good / count,
        pseudo_reconstruction_loss: sums.pseudo / count,
        dice_loss: sums.dice / count,
        pictures: sums.pictures,
    })
}

impl Sums {
    /// One good picture and its first pseudo-anomaly.
    fn add(
        &mut self,
        head: &Head,
        sample: &Sample,
        prompt: &Sample,
        side: usize,
    ) -> Result<(), NetworkError> {
        let Some((pseudo, mask)) = sample.pseudo.first() else { return Ok(()) };
        let tokens = head.grid() * head.grid();
        let matrix = |values: &[f32]| constant([tokens, values.len() / tokens], values.to_vec());
        let (good, pseudo) = (matrix(&sample.features), matrix(pseudo));
        let mut dropouts = Dropouts::off();
        let mut pass = head.pass(&mut dropouts);
        let memory = head.encode(matrix(&prompt.features), &mut pass);
        let mut reconstruct = |features: &Tensor<2>| {
            let target = head.encode(features.clone(), &mut pass);
            head.decode(memory.clone(), target, &mut pass)
        };
        let reconstructions = [reconstruct(&good), reconstruct(&pseudo)];
        for (reconstruction, features) in reconstructions.iter().zip([&good, &pseudo]) {
            let grid = distance_grid(reconstruction.clone(), features.clone(), head.grid());
            for value in read(distance_map(grid, side))? {
                self.lowest = self.lowest.min(value);
                self.highest = self.highest.max(value);
            }
        }
        let [of_good, of_pseudo] = reconstructions;
        let difference = (of_pseudo.clone() - pseudo).abs();
        let mask = mask.iter().map(|value| f32::from(*value)).collect::<Vec<f32>>();
        let dice = dice_loss(head.refine(difference, None), constant([1, mask.len()], mask));
        let scalar = |loss: Tensor<1>| -> Result<f64, NetworkError> {
            Ok(f64::from(loss.try_into_scalar::<f32>()?))
        };
        self.good += scalar(reconstruction_loss(of_good, good.clone()))?;
        self.pseudo += scalar(reconstruction_loss(of_pseudo, good))?;
        self.dice += scalar(dice)?;
        self.pictures += 1;
        Ok(())
    }
}

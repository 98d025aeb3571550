//! One training step without its optimiser (specification 4.2).

use super::losses::{Objective, dice_loss, reconstruction_loss};
use super::network::weights::constant;
use super::network::{BatchStatistics, Dropouts, Head, NetworkError, Weights};
use crate::part::NamedTensors;
use burn::tensor::Tensor;
use rayon::prelude::*;

/// Scale of the feature jitter.
const JITTER: f32 = 20.0;

/// Features and masks of one step; every feature block is [B, L, C].
#[derive(Clone, Debug)]
pub struct Batch {
    /// Pictures B of each kind.
    pub size: usize,
    /// Good pictures.
    pub good: Vec<f32>,
    /// The same with a pseudo-anomaly each.
    pub pseudo: Vec<f32>,
    /// Prompts of the same products.
    pub prompt: Vec<f32>,
    /// Masks of the pseudo-anomalies, [B, S·S], 0 or 1.
    pub masks: Vec<f32>,
}

/// What a forward pass leaves for the loss.
#[derive(Debug)]
pub struct Forward {
    /// r [2B·L, C], good pictures first.
    pub reconstruction: Tensor<2>,
    /// Refiner logits [2B, 4G, 4G].
    pub logits: Tensor<3>,
    /// Batch statistics of the refiner.
    pub statistics: Vec<BatchStatistics>,
    /// Mean square of r - f.
    pub reconstruction_loss: Tensor<1>,
    /// Dice loss.
    pub dice_loss: Tensor<1>,
}

/// Losses, gradients and batch statistics of one step.
#[derive(Debug)]
pub struct Step {
    /// Mean square of r - f.
    pub reconstruction_loss: f32,
    /// Dice loss.
    pub dice_loss: f32,
    /// What was derived: reconstruction + 0.5 Dice, or what the objective leaves of it.
    pub loss: f32,
    /// Gradients by weight name, before the clip.
    pub gradients: NamedTensors,
    /// Batch statistics of the refiner.
    pub statistics: Vec<BatchStatistics>,
}

/// Adds to every token v of `tokens` [n, C] noise·(‖v‖/C)·20.
fn jitter(tokens: &mut [f32], noise: &[f32], channels: usize) {
    let rows = tokens.par_chunks_exact_mut(channels).zip(noise.par_chunks_exact(channels));
    rows.for_each(|(token, noise)| {
        let length = token.iter().map(|v| v * v).sum::<f32>().sqrt();
        let scale = length / channels as f32 * JITTER;
        for (value, noise) in token.iter_mut().zip(noise) {
            *value += noise * scale;
        }
    });
}

/// The forward pass of what `objective` asks for; `noise` is standard normal, [3B, L, C], for good, pseudo and prompt in turn.
pub fn forward(
    head: &Head,
    batch: &Batch,
    noise: &[f32],
    dropouts: &mut Dropouts,
    objective: Objective,
) -> Forward {
    let tokens = head.grid() * head.grid();
    let channels = batch.good.len() / (batch.size * tokens);
    let rows = batch.size * tokens;
    let mut input = [batch.good.as_slice(), &batch.pseudo, &batch.prompt].concat();
    jitter(&mut input, noise, channels);
    let mut pass = head.pass(dropouts);
    let memory = head.encode(constant([3 * rows, channels], input), &mut pass);
    let target = memory.clone().narrow(0, 0, 2 * rows);
    let prompt = memory.narrow(0, 2 * rows, rows);
    let prompt = Tensor::cat(vec![prompt.clone(), prompt], 0);
    let reconstruction = head.decode(prompt, target, &mut pass);

    let features = |blocks: [&[f32]; 2]| constant([2 * rows, channels], blocks.concat());
    let reconstruction_loss = if objective.restores() {
        reconstruction_loss(reconstruction.clone(), features([&batch.good, &batch.good]))
    } else {
        let good = constant([rows, channels], batch.good.clone());
        reconstruction_loss(reconstruction.clone().narrow(0, 0, rows), good)
    };
    let own = features([&batch.good, &batch.pseudo]);
    let mut statistics = Vec::new();
    let logits = head.refine((reconstruction.clone() - own).abs(), Some(&mut statistics));
    let mut masks = vec![0.0; batch.masks.len()];
    masks.extend(&batch.masks);
    let pixels = batch.masks.len() / batch.size;
    let dice_loss = dice_loss(logits.clone(), constant([2 * batch.size, pixels], masks));
    Forward { reconstruction, logits, statistics, reconstruction_loss, dice_loss }
}

/// Forward and backward pass.
pub fn step(
    weights: &Weights,
    batch: &Batch,
    noise: &[f32],
    dropouts: &mut Dropouts,
    objective: Objective,
) -> Result<Step, NetworkError> {
    let forward = forward(&Head::new(weights)?, batch, noise, dropouts, objective);
    let dice = forward.dice_loss.clone() * objective.dice_weight();
    let loss = forward.reconstruction_loss.clone() + dice;
    let scalar =
        |tensor: Tensor<1>| -> Result<f32, NetworkError> { Ok(tensor.inner().try_into_scalar()?) };
    let mut gradients = loss.backward();
    Ok(Step {
        reconstruction_loss: scalar(forward.reconstruction_loss)?,
        dice_loss: scalar(forward.dice_loss)?,
        loss: scalar(loss)?,
        gradients: weights.gradients(&mut gradients)?,
        statistics: forward.statistics,
    })
}

#[cfg(test)]
mod sizes;
#[cfg(test)]
mod tests;

//! AdamW with one global clip, as PyTorch's (specification 4.4); burn's own differs in clip and eps.

use super::network::weights::{NetworkError, Weights};
use crate::part::NamedTensors;
use rayon::prelude::*;
use std::collections::BTreeMap;

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f32 = 1e-8;
const WEIGHT_DECAY: f64 = 1e-4;
/// Largest global length of the gradient.
const CLIP: f64 = 0.1;

/// First and second moments of one weight.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    /// Mean of the gradient.
    pub first: Vec<f32>,
    /// Mean of its square.
    pub second: Vec<f32>,
}

/// AdamW.
#[derive(Clone, Debug, Default)]
pub struct Optimiser {
    steps: u64,
    moments: BTreeMap<String, Moments>,
}

/// Length of all gradients together.
pub fn global_norm(gradients: &NamedTensors) -> f64 {
    let squares: Vec<f64> = gradients
        .par_iter()
        .map(|(_, gradient)| gradient.values().iter().map(|g| f64::from(*g).powi(2)).sum())
        .collect();
    squares.iter().sum::<f64>().sqrt()
}

impl Optimiser {
    /// An optimiser that has taken `steps` steps and stands at `moments`.
    pub const fn resume(steps: u64, moments: BTreeMap<String, Moments>) -> Self {
        Self { steps, moments }
    }

    /// Steps taken.
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// Moments by weight name.
    pub const fn moments(&self) -> &BTreeMap<String, Moments> {
        &self.moments
    }

    /// Clips `gradients` and moves `weights` by one step; returns the length before the clip. Where
    /// that is not finite nothing is changed.
    pub fn step(
        &mut self,
        weights: &mut Weights,
        gradients: &NamedTensors,
        learning_rate: f64,
    ) -> Result<f64, NetworkError> {
        let norm = global_norm(gradients);
        if !norm.is_finite() {
            return Ok(norm);
        }
        self.steps += 1;
        let clip = (CLIP / (norm + 1e-6)).min(1.0) as f32;
        let exponent = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let update = Update {
            clip,
            decay: (1.0 - learning_rate * WEIGHT_DECAY) as f32,
            rate: (learning_rate / (1.0 - BETA_1.powi(exponent))) as f32,
            correction: (1.0 - BETA_2.powi(exponent)).sqrt() as f32,
        };
        for (name, gradient) in gradients {
            let moments = self.moments.entry(name.clone()).or_default();
            moments.first.resize(gradient.values().len(), 0.0);
            moments.second.resize(gradient.values().len(), 0.0);
            weights.update(name, |values| update.apply(values, gradient.values(), moments))?;
        }
        Ok(norm)
    }
}

/// The scalars of one step.
#[derive(Clone, Copy)]
struct Update {
    clip: f32,
    decay: f32,
    rate: f32,
    correction: f32,
}

impl Update {
    fn apply(self, values: &mut [f32], gradient: &[f32], moments: &mut Moments) {
        const VALUES_PER_TASK: usize = 1 << 15;
        values
            .par_chunks_mut(VALUES_PER_TASK)
            .zip(gradient.par_chunks(VALUES_PER_TASK))
            .zip(moments.first.par_chunks_mut(VALUES_PER_TASK))
            .zip(moments.second.par_chunks_mut(VALUES_PER_TASK))
            .for_each(|(((values, gradient), first), second)| {
                let moments = first.iter_mut().zip(second);
                for ((value, gradient), (first, second)) in
                    values.iter_mut().zip(gradient).zip(moments)
                {
                    let gradient = gradient * self.clip;
                    *first += (gradient - *first) * (1.0 - BETA_1) as f32;
                    *second = *second * BETA_2 as f32 + gradient * gradient * (1.0 - BETA_2) as f32;
                    let deviation = second.sqrt() / self.correction + EPSILON;
                    *value = *value * self.decay - self.rate * (*first / deviation);
                }
            });
    }
}

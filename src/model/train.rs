//! Training (specification 4): from pictures to weights, with checkpoints.

use super::checkpoint::{CheckpointError, Identity, Record};
use super::data::Sources;
use super::export::{self, TrainOutcome};
use super::feed::Material;
use super::held_out::{self, HeldOutFigures};
use super::losses::Objective;
use super::network::NetworkError;
use super::prompts::{PromptChoice, choose_prompts};
use super::sampling::Sampling;
use super::trainer::Trainer;
use crate::bundle::{Backbone, Recipe};
use crate::part::{Duration, LineTime, NamedTensors};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use thiserror::Error;

/// Good pictures, pseudo-anomalies and prompts a step, each.
const BATCH: usize = 8;

/// Why a training cannot begin or go on.
#[derive(Debug, Error)]
pub enum TrainError {
    /// There is nothing to train on.
    #[error("{0} holds no good pictures; expected PRODUCT/train/good/*.png or *.jpg")]
    NoPictures(PathBuf),
    /// A picture cannot be read.
    #[error("picture {path}: {reason}")]
    Picture {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Features cannot be computed.
    #[error("features: {0}")]
    Features(String),
    /// The network cannot be built.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A checkpoint cannot be written, mostly because the disk is full.
    #[error(
        "cannot be written: {source}; {}. Make room and go on with --resume",
        kept_words(*kept)
    )]
    NotKept {
        /// File and reason.
        source: CheckpointError,
        /// Step of the newest checkpoint on the disk, which is whole.
        kept: Option<u64>,
    },
    /// The CSV of the losses cannot be written.
    #[error("{path}: {source}; the checkpoint stays. Make room and go on with --resume")]
    Log {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A thread cannot be started.
    #[error("no thread for the training data: {0}")]
    Thread(std::io::Error),
    /// `--resume` without a checkpoint.
    #[error("{0} holds no checkpoint; train without --resume")]
    NothingToResume(PathBuf),
    /// A checkpoint without `--resume`.
    #[error(
        "{directory} holds an unfinished training of {step} steps: go on with --resume, or remove \
         the directory"
    )]
    Unfinished {
        /// Where the checkpoint lies.
        directory: PathBuf,
        /// Its steps.
        step: u64,
    },
    /// The checkpoint belongs to another training.
    #[error("the checkpoint was made with another {0}; give the same, or train without --resume")]
    OtherTraining(&'static str),
    /// A loss or the gradient is not a finite number; the step changed nothing.
    #[error(
        "step {step}: {what} is not a finite number; {}. The same comes again when it is resumed: \
         look for damaged pictures, or train anew with another --seed",
        kept_words(*kept)
    )]
    Diverged {
        /// The step, from 1.
        step: u64,
        /// The loss or the gradient.
        what: &'static str,
        /// Step of the newest checkpoint on the disk.
        kept: Option<u64>,
    },
    /// Stopped by the user before there was anything to keep.
    #[error("stopped while features were computed; nothing is kept")]
    StoppedBeforeTraining,
    /// Stopped by the user; the checkpoint is written.
    #[error("stopped after step {step}; --resume goes on from {directory}")]
    Stopped {
        /// Steps taken.
        step: u64,
        /// Where the checkpoint lies.
        directory: PathBuf,
    },
    /// The bundle cannot be written.
    #[error("bundle: {0}")]
    Export(String),
}

fn kept_words(kept: Option<u64>) -> String {
    match kept {
        Some(step) => format!("the checkpoint of step {step} stays"),
        None => "no checkpoint was written before".to_owned(),
    }
}

/// How long to train.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budget {
    /// So many steps; 0: no network.
    Steps(u64),
    /// So many minutes, features included.
    Minutes(f64),
}

/// What to train and how.
pub struct TrainSettings<'a> {
    /// Data set in MVTec layout.
    pub data: PathBuf,
    /// Bundle directory to make.
    pub output: PathBuf,
    /// Backbone.
    pub backbone: Backbone,
    /// Its weights, names `backbone.…`.
    pub backbone_weights: NamedTensors,
    /// Licence text that travels with them.
    pub backbone_licence: String,
    /// Input side S.
    pub side: usize,
    /// How long.
    pub budget: Budget,
    /// Recipe.
    pub recipe: Recipe,
    /// How often each product is trained on.
    pub sampling: Sampling,
    /// Prompt of each product.
    pub prompt: PromptChoice,
    /// Which losses a step takes.
    pub objective: Objective,
    /// Steps between checkpoints.
    pub checkpoint_period: u64,
    /// Seed of every generator.
    pub seed: u64,
    /// Go on from the checkpoint in `OUTPUT.partial`.
    pub resume: bool,
    /// Folder of textures for pseudo-anomalies.
    pub textures: Option<PathBuf>,
    /// The command, as typed.
    pub command: String,
    /// Set from outside to stop after the running step.
    pub stop: &'a AtomicBool,
}

impl TrainSettings<'_> {
    /// What identifies the training of pictures with this hash.
    pub fn identity(&self, data_sha256: String) -> Identity {
        let Self { seed, side, backbone, sampling, objective, prompt, .. } = *self;
        Identity { seed, side, backbone, sampling, objective, prompt, data_sha256 }
    }
}

/// What training reports while it runs.
#[derive(Clone, Debug, PartialEq)]
pub enum TrainProgress {
    /// Features of good pictures and their pseudo-anomalies.
    Features {
        /// Good pictures done.
        done: usize,
        /// Good pictures in all.
        total: usize,
    },
    /// A step was taken.
    Step(StepProgress),
    /// A checkpoint was written.
    Checkpoint(PathBuf),
    /// Something is not as it should be, but training goes on.
    Warning(String),
    /// Held-out pictures are measured.
    HeldOut {
        /// Pictures done.
        done: usize,
        /// Pictures in all.
        total: usize,
    },
}

/// A step that was taken.
#[derive(Clone, Debug, PartialEq)]
pub struct StepProgress {
    /// Its number, from 1.
    pub step: u64,
    /// Steps in all; unknown while a budget in minutes is being timed.
    pub steps: Option<u64>,
    /// Mean square of the reconstruction's error.
    pub reconstruction_loss: f32,
    /// Dice loss.
    pub dice_loss: f32,
    /// Length of the gradient before the clip.
    pub gradient_norm: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Share of the step's time spent waiting for its batch.
    pub waiting_share: f64,
    /// Loss on held-out parts, where it was taken after this step.
    pub held_out_loss: Option<f64>,
    /// Seconds a step, mean of this run without its first.
    pub seconds_per_step: f64,
    /// Time left at that pace; unknown with `steps`.
    pub time_left: Option<Duration>,
}

/// A trained head and what is known of it.
pub struct Trained {
    /// Weights and running statistics, names `reconstruction.…`; empty without a network.
    pub head: NamedTensors,
    /// Where the training ended.
    pub record: Record,
    /// Figures on the held-out pictures; none without a network.
    pub held_out: Option<HeldOutFigures>,
}

/// Directory of the checkpoints of a training of `output`.
pub fn partial_directory(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

/// Trains, measures and assembles the bundle.
///
/// # Errors
/// See [`TrainError`]; `Stopped` when `settings.stop` was set.
pub fn train(
    settings: &TrainSettings,
    sources: &Sources,
    progress: &mut dyn FnMut(&TrainProgress),
) -> Result<TrainOutcome, TrainError> {
    let begin = LineTime::now();
    let mut samples = sources.samples(settings.seed, settings.stop, progress)?;
    let prompts = choose_prompts(settings, sources, &mut samples)?;
    let trained = if settings.budget == Budget::Steps(0) {
        let record = Record::new(settings.identity(samples.data_sha256));
        Trained { head: NamedTensors::new(), record, held_out: None }
    } else {
        let material = Material {
            samples: &samples,
            sources,
            batch: BATCH,
            sampling: settings.sampling,
            seed: settings.seed,
        };
        let mut trainer = Trainer::new(settings, material, begin, progress)?;
        trainer.run(progress)?;
        let (head, record) = trainer.finish(progress)?;
        let held_out = held_out::measure(&head, &samples, settings.side, progress)?;
        Trained { head, record, held_out: Some(held_out) }
    };
    let mut outcome = export::finish(settings, sources, trained, progress)?;
    outcome.record.prompts = prompts;
    Ok(outcome)
}

#[cfg(test)]
mod tests;

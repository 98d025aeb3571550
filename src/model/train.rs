//! Training (specification 4): from pictures to weights, with checkpoints.

use super::checkpoint::{Checkpoint, CheckpointError, Record};
use super::data::{BatchDrawer, Samples, Sources};
use super::export::{self, TrainOutcome};
use super::held_out::{self, HeldOutFigures};
use super::initialise::initial_weights;
use super::network::{Dropouts, NetworkError, Weights};
use super::optimiser::Optimiser;
use super::random::stream;
use super::step::step;
use crate::bundle::{Backbone, Geometry, Recipe, rule};
use crate::part::{Duration, LineTime, NamedTensors};
use burn::tensor::Device;
use rand::Rng;
use rand_distr::StandardNormal;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use thiserror::Error;

/// Good pictures, pseudo-anomalies and prompts a step, each.
const BATCH: usize = 8;
const LEARNING_RATE: f64 = 1e-4;
/// Share of the steps after which the learning rate drops (epochs 801 of 1000 in the reference).
const DROP_AT: f64 = 0.8;
const DROP_FACTOR: f64 = 0.1;
const DROPOUT: f32 = 0.1;
const CHECKPOINT_PERIOD: u64 = 100;
/// A budget in minutes becomes a step count after this many steps; the first warms up.
const TIMED_STEPS: u64 = 5;
/// Weight of the newest step in the running mean of the losses.
const RECENT: f64 = 0.05;

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
    /// A checkpoint cannot be written or read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// `--resume` without a checkpoint.
    #[error("{0} holds no checkpoint; train without --resume")]
    NothingToResume(PathBuf),
    /// The checkpoint belongs to another training.
    #[error("the checkpoint was made with another {0}; give the same, or train without --resume")]
    OtherTraining(&'static str),
    /// A loss is not a number.
    #[error("the loss of step {0} is not a number; resume from the checkpoint or lower the budget")]
    Diverged(u64),
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
    let samples = sources.samples(settings.seed, settings.stop, progress)?;
    let trained = if settings.budget == Budget::Steps(0) {
        let record = Record::new(settings.seed, settings.side, samples.data_sha256);
        Trained { head: NamedTensors::new(), record, held_out: None }
    } else {
        let mut trainer = Trainer::new(settings, &samples, BATCH)?;
        trainer.begin = begin;
        trainer.run(progress)?;
        let head = trainer.weights.to_named()?;
        let held_out = held_out::measure(&head, &samples, settings.side, progress)?;
        Trained { head, record: trainer.record, held_out: Some(held_out) }
    };
    export::finish(settings, sources, trained, progress)
}

/// A training under way.
struct Trainer<'a> {
    settings: &'a TrainSettings<'a>,
    drawer: BatchDrawer<'a>,
    geometry: Geometry,
    weights: Weights,
    optimiser: Optimiser,
    record: Record,
    begin: LineTime,
    /// Time and number of the steps of this run, without its first.
    timed: (Duration, u32),
}

impl<'a> Trainer<'a> {
    fn new(
        settings: &'a TrainSettings,
        samples: &'a Samples,
        batch: usize,
    ) -> Result<Self, TrainError> {
        let drawer = BatchDrawer::new(samples, batch, settings.seed);
        if drawer.is_empty() {
            return Err(TrainError::NoPictures(settings.data.clone()));
        }
        let geometry = Geometry::new(settings.backbone, settings.side);
        let shapes = rule::head_shapes(geometry.channels, geometry.grid);
        let device = Device::flex().autodiff();
        let fresh = Record::new(settings.seed, settings.side, samples.data_sha256.clone());
        let (record, weights, optimiser) = if settings.resume {
            let checkpoint = resume(settings, &fresh)?;
            let weights = Weights::new(&checkpoint.weights, &shapes, &device)?;
            let optimiser = Optimiser::resume(checkpoint.record.step, checkpoint.moments);
            (checkpoint.record, weights, optimiser)
        } else {
            let weights = initial_weights(&shapes, settings.seed);
            (fresh, Weights::new(&weights, &shapes, &device)?, Optimiser::default())
        };
        let (begin, timed) = (LineTime::now(), (Duration::ZERO, 0));
        let mut trainer =
            Self { settings, drawer, geometry, weights, optimiser, record, begin, timed };
        if let Budget::Steps(steps) = settings.budget {
            trainer.record.steps = Some(steps);
        }
        Ok(trainer)
    }

    /// Steps until the budget is used or the user stops.
    fn run(&mut self, progress: &mut dyn FnMut(&TrainProgress)) -> Result<(), TrainError> {
        let directory = partial_directory(&self.settings.output);
        let before = self.record.seconds;
        let mut first = true;
        while self.record.steps.is_none_or(|steps| self.record.step < steps) {
            let started = LineTime::now();
            let mut report = self.step()?;
            let now = LineTime::now();
            if !std::mem::take(&mut first) {
                self.timed = (self.timed.0 + now.since(started), self.timed.1 + 1);
            }
            self.record.seconds = before + now.since(self.begin).as_secs_f64();
            self.count_steps();
            self.describe_pace(&mut report);
            progress(&TrainProgress::Step(report));
            let stopped = self.settings.stop.load(Ordering::Relaxed);
            if stopped || self.record.step.is_multiple_of(CHECKPOINT_PERIOD) {
                self.checkpoint()?.save(&directory)?;
                progress(&TrainProgress::Checkpoint(directory.clone()));
            }
            if stopped {
                return Err(TrainError::Stopped { step: self.record.step, directory });
            }
        }
        self.checkpoint()?.save(&directory)?;
        Ok(())
    }

    fn checkpoint(&self) -> Result<Checkpoint, TrainError> {
        Ok(Checkpoint {
            record: self.record.clone(),
            weights: self.weights.to_named()?,
            moments: self.optimiser.moments().clone(),
        })
    }

    /// Turns a budget in minutes into a step count once some steps were timed.
    fn count_steps(&mut self) {
        let Budget::Minutes(minutes) = self.settings.budget else { return };
        if self.record.steps.is_none() && u64::from(self.timed.1) + 1 >= TIMED_STEPS {
            let left = (minutes * 60.0 - self.record.seconds).max(0.0);
            let more = (left / self.seconds_per_step()) as u64;
            self.record.steps = Some(self.record.step + more);
        }
    }

    fn seconds_per_step(&self) -> f64 {
        self.timed.0.as_secs_f64() / f64::from(self.timed.1.max(1))
    }

    fn describe_pace(&self, report: &mut StepProgress) {
        report.steps = self.record.steps;
        report.seconds_per_step = self.seconds_per_step();
        report.time_left = self.record.steps.map(|steps| {
            let left = steps.saturating_sub(self.record.step) as f64;
            Duration::from_secs_f64(left * report.seconds_per_step)
        });
    }

    /// Learning rate of the next step (4.4, scaled to the step count).
    fn learning_rate(&self) -> f64 {
        let late = |steps: u64| self.record.step as f64 >= DROP_AT * steps as f64;
        let dropped = self.record.steps.is_some_and(late);
        if dropped { LEARNING_RATE * DROP_FACTOR } else { LEARNING_RATE }
    }

    /// One step; everything drawn follows from seed and step.
    fn step(&mut self) -> Result<StepProgress, TrainError> {
        let number = self.record.step;
        let mut random = stream(self.settings.seed, "step", number);
        let batch = self.drawer.batch(number, &mut random);
        let count = 3 * batch.size * self.geometry.tokens * self.geometry.channels;
        let noise: Vec<f32> = (&mut random).sample_iter(StandardNormal).take(count).collect();
        let mut dropouts = Dropouts::new(DROPOUT, random);
        let rate = self.learning_rate();
        let step = step(&self.weights, &batch, &noise, &mut dropouts)?;
        if !step.loss.is_finite() {
            return Err(TrainError::Diverged(number + 1));
        }
        let gradient_norm = self.optimiser.step(&mut self.weights, &step.gradients, rate)?;
        for statistics in step.statistics {
            statistics.update(&mut self.weights)?;
        }
        self.record.step += 1;
        let recent = |mean: f64, loss: f32| {
            if number == 0 { f64::from(loss) } else { mean + RECENT * (f64::from(loss) - mean) }
        };
        self.record.reconstruction_loss =
            recent(self.record.reconstruction_loss, step.reconstruction_loss);
        self.record.dice_loss = recent(self.record.dice_loss, step.dice_loss);
        Ok(StepProgress {
            step: self.record.step,
            steps: self.record.steps,
            reconstruction_loss: step.reconstruction_loss,
            dice_loss: step.dice_loss,
            gradient_norm,
            seconds_per_step: 0.0,
            time_left: None,
        })
    }
}

/// The checkpoint to go on from, of the same training.
fn resume(settings: &TrainSettings, fresh: &Record) -> Result<Checkpoint, TrainError> {
    let directory = partial_directory(&settings.output);
    let checkpoint = Checkpoint::load(&directory)?;
    let checkpoint = checkpoint.ok_or(TrainError::NothingToResume(directory))?;
    let found = &checkpoint.record;
    if found.seed != fresh.seed {
        return Err(TrainError::OtherTraining("seed"));
    }
    if found.side != fresh.side {
        return Err(TrainError::OtherTraining("size"));
    }
    if found.data_sha256 != fresh.data_sha256 {
        return Err(TrainError::OtherTraining("set of pictures"));
    }
    Ok(checkpoint)
}

#[cfg(test)]
mod tests;

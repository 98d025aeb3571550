//! A training under way: steps, checkpoints, validation.

use super::checkpoint::{Best, Checkpoint, Identity, Record};
use super::feed::{BatchMaker, Feed, Material, Prepared};
use super::held_out;
use super::initialise::initial_weights;
use super::network::{Dropouts, Weights};
use super::optimiser::Optimiser;
use super::step::step;
use super::train::{
    Budget, StepProgress, TrainError, TrainProgress, TrainSettings, partial_directory,
};
use super::training_log::{Row, TrainingLog};
use crate::bundle::{Geometry, Recipe, rule};
use crate::part::{Duration, LineTime, NamedTensors};
use burn::tensor::Device;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

const LEARNING_RATE: f64 = 1e-4;
/// Share of the steps after which the learning rate drops (epochs 801 of 1000 in the reference).
const DROP_AT: f64 = 0.8;
const DROP_FACTOR: f64 = 0.1;
const DROPOUT: f32 = 0.1;
/// Steps between two looks at the held-out parts; there is always one after the last step.
const VALIDATION_PERIOD: u64 = 100;
/// A budget in minutes becomes a step count after this many steps; the first warms up.
const TIMED_STEPS: u64 = 5;
/// Weight of the newest step in the running mean of the losses.
const RECENT: f64 = 0.05;

/// A training under way.
pub struct Trainer<'a> {
    settings: &'a TrainSettings<'a>,
    material: Material<'a>,
    directory: PathBuf,
    weights: Weights,
    optimiser: Optimiser,
    record: Record,
    log: TrainingLog,
    /// Step of the newest checkpoint on the disk.
    kept: Option<u64>,
    begin: LineTime,
    /// Seconds trained before this run.
    before: f64,
    /// Time and number of the steps of this run, without its first.
    timed: (Duration, u32),
}

impl<'a> Trainer<'a> {
    /// A training from its beginning or, as `settings` say, from its checkpoint. Its time counts
    /// from `begin`.
    pub fn new(
        settings: &'a TrainSettings<'a>,
        material: Material<'a>,
        begin: LineTime,
        progress: &mut dyn FnMut(&TrainProgress),
    ) -> Result<Self, TrainError> {
        if BatchMaker::new(material).is_empty() {
            return Err(TrainError::NoPictures(settings.data.clone()));
        }
        let geometry = Geometry::new(settings.backbone, settings.side);
        let shapes = rule::head_shapes(geometry.channels, geometry.grid);
        let device = Device::flex().autodiff();
        let directory = partial_directory(&settings.output);
        let data_sha256 = material.samples.data_sha256.clone();
        let fresh = Record::new(settings.identity(data_sha256));
        let found = Checkpoint::load(&directory)?;
        let (mut record, weights, optimiser) = match (found, settings.resume) {
            (None, true) => return Err(TrainError::NothingToResume(directory)),
            (Some(found), false) => {
                let step = found.checkpoint.record.step;
                return Err(TrainError::Unfinished { directory, step });
            }
            (Some(found), true) => {
                for error in &found.passed_over {
                    progress(&TrainProgress::Warning(format!(
                        "an older checkpoint is used: {error}"
                    )));
                }
                let Checkpoint { record, weights, moments } = found.checkpoint;
                same_training(&record.identity, &fresh.identity)?;
                let weights = Weights::new(&weights, &shapes, &device)?;
                let optimiser = Optimiser::resume(record.step, moments);
                (record, weights, optimiser)
            }
            (None, false) => {
                let weights = initial_weights(&shapes, settings.seed);
                (fresh, Weights::new(&weights, &shapes, &device)?, Optimiser::default())
            }
        };
        if let Budget::Steps(steps) = settings.budget {
            record.steps = Some(steps);
        }
        Ok(Self {
            settings,
            material,
            log: TrainingLog::open(&directory, record.step)?,
            directory,
            weights,
            optimiser,
            kept: (record.step > 0).then_some(record.step),
            before: record.seconds,
            record,
            begin,
            timed: (Duration::ZERO, 0),
        })
    }

    /// Steps until the budget is used or the user stops.
    pub fn run(&mut self, progress: &mut dyn FnMut(&TrainProgress)) -> Result<(), TrainError> {
        std::thread::scope(|scope| {
            let feed = Feed::start(scope, self.material, self.record.step);
            self.steps(&mut feed.map_err(TrainError::Thread)?, progress)
        })
    }

    fn steps(
        &mut self,
        feed: &mut Feed,
        progress: &mut dyn FnMut(&TrainProgress),
    ) -> Result<(), TrainError> {
        let mut first = true;
        while self.record.steps.is_none_or(|steps| self.record.step < steps) {
            let started = LineTime::now();
            let (prepared, waited) = feed.take()?;
            let mut report = self.step(prepared)?;
            let took = LineTime::now().since(started);
            if !std::mem::take(&mut first) {
                self.timed = (self.timed.0 + took, self.timed.1 + 1);
            }
            self.count_steps();
            report.held_out_loss = self.validate()?;
            report.waiting_share = waited.as_secs_f64() / took.as_secs_f64().max(1e-9);
            self.note(&report, took)?;
            self.describe_pace(&mut report);
            let validated = report.held_out_loss.is_some();
            progress(&TrainProgress::Step(report));
            let stopped = self.settings.stop.load(Ordering::Relaxed);
            let due = self.record.step.is_multiple_of(self.settings.checkpoint_period.max(1));
            if stopped || due || validated || self.is_last() {
                self.keep()?;
                progress(&TrainProgress::Checkpoint(self.directory.clone()));
            }
            if stopped && !self.is_last() {
                let directory = self.directory.clone();
                return Err(TrainError::Stopped { step: self.record.step, directory });
            }
        }
        Ok(())
    }

    fn is_last(&self) -> bool {
        self.record.steps.is_some_and(|steps| self.record.step >= steps)
    }

    /// The head that goes into the bundle: the best on held-out parts, or the last for the paper's
    /// recipe, which knows no held-out parts.
    pub fn finish(
        self,
        progress: &mut dyn FnMut(&TrainProgress),
    ) -> Result<(NamedTensors, Record), TrainError> {
        let mut record = self.record;
        let best = match record.best {
            Some(best) if best.step < record.step && self.settings.recipe == Recipe::Default => {
                let found = Checkpoint::load_best(&self.directory)?;
                let found = found.filter(|found| found.record.step == best.step);
                if found.is_none() {
                    let lost =
                        format!("the weights of step {} are gone: the last are used", best.step);
                    progress(&TrainProgress::Warning(lost));
                    record.best = None;
                }
                found
            }
            _ => None,
        };
        let head = match best {
            Some(best) => best.weights,
            None => self.weights.to_named()?,
        };
        Ok((head, record))
    }

    /// The loss on held-out parts, where it is due; the best weights are kept.
    fn validate(&mut self) -> Result<Option<f64>, TrainError> {
        if !self.record.step.is_multiple_of(VALIDATION_PERIOD) && !self.is_last() {
            return Ok(None);
        }
        let weights = self.weights.to_named()?;
        let loss = held_out::validation_loss(&weights, self.material.samples, self.settings.side)?;
        let Some(loss) = loss.filter(|loss| loss.is_finite()) else { return Ok(None) };
        if self.record.best.is_none_or(|best| loss <= best.loss) {
            self.record.best = Some(Best { step: self.record.step, loss });
            let best =
                Checkpoint { record: self.record.clone(), weights, moments: Default::default() };
            let kept = self.kept;
            best.save_best(&self.directory)
                .map_err(|source| TrainError::NotKept { source, kept })?;
        }
        Ok(Some(loss))
    }

    fn note(&mut self, report: &StepProgress, took: Duration) -> Result<(), TrainError> {
        self.log.add(&Row {
            step: report.step,
            learning_rate: report.learning_rate,
            reconstruction_loss: report.reconstruction_loss,
            dice_loss: report.dice_loss,
            gradient_norm: report.gradient_norm,
            seconds: took.as_secs_f64(),
            waiting_share: report.waiting_share,
            held_out_loss: report.held_out_loss,
        })
    }

    /// Writes a checkpoint; the lines of the log up to it are on the disk before.
    fn keep(&mut self) -> Result<(), TrainError> {
        self.log.sync()?;
        self.record.seconds = self.before + LineTime::now().since(self.begin).as_secs_f64();
        let checkpoint = Checkpoint {
            record: self.record.clone(),
            weights: self.weights.to_named()?,
            moments: self.optimiser.moments().clone(),
        };
        let kept = self.kept;
        let saved = checkpoint.save(&self.directory);
        saved.map_err(|source| TrainError::NotKept { source, kept })?;
        self.kept = Some(self.record.step);
        Ok(())
    }

    /// Turns a budget in minutes into a step count once some steps were timed.
    fn count_steps(&mut self) {
        let Budget::Minutes(minutes) = self.settings.budget else { return };
        if self.record.steps.is_none() && u64::from(self.timed.1) + 1 >= TIMED_STEPS {
            let used = self.before + LineTime::now().since(self.begin).as_secs_f64();
            let left = (minutes * 60.0 - used).max(0.0);
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

    /// One step. Nothing is changed where a loss or the gradient is not finite.
    fn step(&mut self, prepared: Prepared) -> Result<StepProgress, TrainError> {
        let number = self.record.step;
        let kept = self.kept;
        let diverged = |what| TrainError::Diverged { step: number + 1, what, kept };
        let mut dropouts = Dropouts::new(DROPOUT, prepared.random);
        let learning_rate = self.learning_rate();
        let objective = self.settings.objective;
        let step = step(&self.weights, &prepared.batch, &prepared.noise, &mut dropouts, objective)?;
        if !step.loss.is_finite() {
            return Err(diverged("the loss"));
        }
        let gradient_norm =
            self.optimiser.step(&mut self.weights, &step.gradients, learning_rate)?;
        if !gradient_norm.is_finite() {
            return Err(diverged("the gradient"));
        }
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
            learning_rate,
            waiting_share: 0.0,
            held_out_loss: None,
            seconds_per_step: 0.0,
            time_left: None,
        })
    }

    /// The weights as they are.
    #[cfg(test)]
    pub fn head(&self) -> Result<NamedTensors, TrainError> {
        Ok(self.weights.to_named()?)
    }
}

/// Whether a checkpoint belongs to the training that was asked for.
fn same_training(found: &Identity, asked: &Identity) -> Result<(), TrainError> {
    let pairs = [
        ("seed", found.seed == asked.seed),
        ("size", found.side == asked.side),
        ("backbone", found.backbone == asked.backbone),
        ("sampling", found.sampling == asked.sampling),
        ("objective", found.objective == asked.objective),
        ("prompt", found.prompt == asked.prompt),
        ("set of pictures", found.data_sha256 == asked.data_sha256),
    ];
    match pairs.iter().find(|(_, same)| !same) {
        Some((what, _)) => Err(TrainError::OtherTraining(what)),
        None => Ok(()),
    }
}

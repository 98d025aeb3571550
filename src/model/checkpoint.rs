//! Checkpoints: everything a training needs to go on exactly, whole or not there.
//!
//! One file each, `checkpoint-STEP.safetensors`: weights, running statistics and AdamW moments, all
//! FP32, with the record as metadata. It is written beside its name, synced and renamed; the one
//! before it is kept. `best.safetensors` holds the weights that did best on held-out parts.
//! Generators need no state: every draw follows from seed and step.

use super::losses::Objective;
use super::optimiser::Moments;
use super::prompts::PromptChoice;
use super::sampling::Sampling;
use crate::bundle::Backbone;
use crate::part::{NamedTensors, Tensor};
use safetensors::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use thiserror::Error;

const BEST: &str = "best.safetensors";
const PREFIX: &str = "checkpoint-";
const SUFFIX: &str = ".safetensors";
/// Key of the record in a file's metadata.
const RECORD: &str = "record";
/// Checkpoints kept: the newest and the one before.
const KEPT: usize = 2;
const VERSION: u32 = 3;

/// Why a checkpoint cannot be written or read.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// The disk refused.
    #[error("{path}: {source}")]
    Disk {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not a checkpoint.
    #[error("{path}: {reason}; remove it and train again without --resume")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Where the loss on held-out parts was smallest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Steps taken.
    pub step: u64,
    /// The loss.
    pub loss: f64,
}

/// What identifies a training: only the same is resumed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Seed of every generator.
    pub seed: u64,
    /// Input side S.
    pub side: usize,
    /// Backbone of the features.
    pub backbone: Backbone,
    /// Order of the pictures.
    pub sampling: Sampling,
    /// Which losses a step takes.
    pub objective: Objective,
    /// Prompt of each product.
    pub prompt: PromptChoice,
    /// SHA-256 over the training pictures.
    pub data_sha256: String,
}

/// A training and where it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Version of this format: 3.
    pub format_version: u32,
    /// The training.
    pub identity: Identity,
    /// Steps taken.
    pub step: u64,
    /// Steps of the whole training; absent while a budget in minutes is still being timed.
    pub steps: Option<u64>,
    /// Seconds of training so far.
    pub seconds: f64,
    /// Running mean of the reconstruction loss.
    pub reconstruction_loss: f64,
    /// Running mean of the Dice loss.
    pub dice_loss: f64,
    /// The best so far.
    pub best: Option<Best>,
}

impl Record {
    /// The record of a training that has not begun.
    pub const fn new(identity: Identity) -> Self {
        Self {
            format_version: VERSION,
            identity,
            step: 0,
            steps: None,
            seconds: 0.0,
            reconstruction_loss: 0.0,
            dice_loss: 0.0,
            best: None,
        }
    }
}

/// A checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Where the training stands.
    pub record: Record,
    /// The head's weights and running statistics.
    pub weights: NamedTensors,
    /// AdamW's moments by weight.
    pub moments: BTreeMap<String, Moments>,
}

/// A slice of numbers as safetensors sees it.
struct Floats<'a> {
    shape: Vec<usize>,
    values: &'a [f32],
}

impl View for Floats<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn data_len(&self) -> usize {
        size_of_val(self.values)
    }
}

fn disk(path: &Path) -> impl FnOnce(std::io::Error) -> CheckpointError + '_ {
    |source| CheckpointError::Disk { path: path.to_owned(), source }
}

/// The newest checkpoint that can be read.
#[derive(Debug)]
pub struct Found {
    /// It.
    pub checkpoint: Checkpoint,
    /// Why newer ones are of no use.
    pub passed_over: Vec<CheckpointError>,
}

impl Checkpoint {
    /// Writes the checkpoint into `directory`, made if missing; of the older ones only the newest
    /// stays.
    pub fn save(&self, directory: &Path) -> Result<(), CheckpointError> {
        fs::create_dir_all(directory).map_err(disk(directory))?;
        let path = directory.join(format!("{PREFIX}{:08}{SUFFIX}", self.record.step));
        self.write(&path)?;
        for old in files(directory)?.into_iter().skip(KEPT) {
            fs::remove_file(&old).map_err(disk(&old))?;
        }
        Ok(())
    }

    /// Writes the weights that did best on held-out parts.
    pub fn save_best(&self, directory: &Path) -> Result<(), CheckpointError> {
        fs::create_dir_all(directory).map_err(disk(directory))?;
        let weights = Self { moments: BTreeMap::new(), ..self.clone() };
        weights.write(&directory.join(BEST))
    }

    fn write(&self, path: &Path) -> Result<(), CheckpointError> {
        let format = |reason: String| CheckpointError::Format { path: path.to_owned(), reason };
        let record = toml::to_string(&self.record).map_err(|error| format(error.to_string()))?;
        let metadata = HashMap::from([(RECORD.to_owned(), record)]);
        let bytes = safetensors::serialize(self.views(), Some(metadata))
            .map_err(|error| format(error.to_string()))?;
        replace(path, &bytes)
    }

    fn views(&self) -> Vec<(String, Floats<'_>)> {
        let mut views = Vec::new();
        for (name, tensor) in &self.weights {
            let (shape, values) = (tensor.shape().to_vec(), tensor.values());
            views.push((format!("weight.{name}"), Floats { shape, values }));
        }
        for (name, moments) in &self.moments {
            for (order, values) in [("first", &moments.first), ("second", &moments.second)] {
                let shape = vec![values.len()];
                views.push((format!("{order}.{name}"), Floats { shape, values }));
            }
        }
        views
    }

    /// Reads the newest checkpoint of `directory` that can be read; none if there is none at all.
    ///
    /// # Errors
    /// The newest one's, if none can be read.
    pub fn load(directory: &Path) -> Result<Option<Found>, CheckpointError> {
        let mut passed_over = Vec::new();
        for path in files(directory)? {
            match Self::read(&path) {
                Ok(checkpoint) => return Ok(Some(Found { checkpoint, passed_over })),
                Err(error) => passed_over.push(error),
            }
        }
        match passed_over.into_iter().next() {
            Some(error) => Err(error),
            None => Ok(None),
        }
    }

    /// Reads the weights that did best, if `directory` has them.
    pub fn load_best(directory: &Path) -> Result<Option<Self>, CheckpointError> {
        let path = directory.join(BEST);
        if path.exists() { Self::read(&path).map(Some) } else { Ok(None) }
    }

    fn read(path: &Path) -> Result<Self, CheckpointError> {
        let bytes = fs::read(path).map_err(disk(path))?;
        let fail = |reason: String| CheckpointError::Format { path: path.to_owned(), reason };
        let (_, header) =
            SafeTensors::read_metadata(&bytes).map_err(|error| fail(error.to_string()))?;
        let text = header.metadata().as_ref().and_then(|metadata| metadata.get(RECORD));
        let text = text.ok_or_else(|| fail("it has no record".to_owned()))?;
        let record: Record = toml::from_str(text).map_err(|error| fail(error.to_string()))?;
        if record.format_version != VERSION {
            return Err(fail(format!("format {} is not known here", record.format_version)));
        }
        let file = SafeTensors::deserialize(&bytes).map_err(|error| fail(error.to_string()))?;
        let (mut weights, mut moments) = (NamedTensors::new(), BTreeMap::<_, Moments>::new());
        for (name, view) in file.iter() {
            let chunks = view.data().as_chunks::<4>().0;
            let values: Vec<f32> = chunks.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            match name.split_once('.') {
                Some(("weight", name)) => {
                    let tensor = Tensor::new(view.shape(), values);
                    let tensor = tensor.map_err(|error| fail(error.to_string()))?;
                    weights.insert(name.to_owned(), tensor);
                }
                Some(("first", name)) => {
                    moments.entry(name.to_owned()).or_default().first = values;
                }
                Some(("second", name)) => {
                    moments.entry(name.to_owned()).or_default().second = values;
                }
                _ => return Err(fail(format!("unknown tensor `{name}`"))),
            }
        }
        Ok(Self { record, weights, moments })
    }
}

/// Checkpoints of `directory`, the newest first; none where it does not exist.
fn files(directory: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(disk(directory)(error)),
    };
    let step = |path: &Path| -> Option<u64> {
        let name = path.file_name()?.to_str()?;
        name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()
    };
    let paths = entries.flatten().map(|entry| entry.path());
    let mut found: Vec<(u64, PathBuf)> = paths.filter_map(|p| Some((step(&p)?, p))).collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Writes a file beside `path`, syncs it and renames it to `path`.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    let write = || -> std::io::Result<()> {
        let mut file = fs::File::create(&temporary)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        if let Err(error) = written {
            // A full disk is not helped by half a file.
            drop(fs::remove_file(&temporary));
            return Err(error);
        }
        fs::rename(&temporary, path)?;
        match path.parent() {
            Some(directory) => fs::File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(disk(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(step: u64) -> Checkpoint {
        let mut record = Record::new(Identity {
            seed: 7,
            side: 224,
            backbone: Backbone::Lite0,
            sampling: Sampling::Balanced,
            objective: Objective::WithoutRestoration,
            prompt: PromptChoice::Auto,
            data_sha256: "ab".into(),
        });
        record.step = step;
        record.seconds = 0.1 + 0.2;
        record.best = Some(Best { step: 1, loss: 1.0 / 3.0 });
        let tensor = Tensor::new([2, 1], vec![1.5, f32::MIN_POSITIVE]).unwrap();
        let moments = Moments { first: vec![0.25, -3.0], second: vec![1e-30, 0.0] };
        Checkpoint {
            record,
            weights: NamedTensors::from([("reconstruction.a.weight".into(), tensor)]),
            moments: BTreeMap::from([("reconstruction.a.weight".into(), moments)]),
        }
    }

    fn tear(path: &Path) {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    }

    #[test]
    fn what_is_written_is_read_again_and_two_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.partial");
        assert!(Checkpoint::load(&path).unwrap().is_none());
        for step in [99, 100, 200] {
            checkpoint(step).save(&path).unwrap();
            assert_eq!(Checkpoint::load(&path).unwrap().unwrap().checkpoint, checkpoint(step));
        }
        assert_eq!(fs::read_dir(&path).unwrap().count(), KEPT);
        assert!(Checkpoint::load_best(&path).unwrap().is_none());
        checkpoint(100).save_best(&path).unwrap();
        let best = Checkpoint::load_best(&path).unwrap().unwrap();
        assert_eq!(best.weights, checkpoint(100).weights);
        assert_eq!(best.record.step, 100);
        assert_eq!(Checkpoint::load(&path).unwrap().unwrap().checkpoint, checkpoint(200));
    }

    #[test]
    fn a_torn_file_gives_way_to_the_one_before() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        checkpoint(1).save(path).unwrap();
        checkpoint(2).save(path).unwrap();
        tear(&path.join("checkpoint-00000002.safetensors"));
        let found = Checkpoint::load(path).unwrap().unwrap();
        assert_eq!(found.checkpoint, checkpoint(1));
        assert_eq!(found.passed_over.len(), 1);
        tear(&path.join("checkpoint-00000001.safetensors"));
        let error = Checkpoint::load(path).unwrap_err().to_string();
        assert!(error.contains("00000002") && error.contains("without --resume"), "{error}");
    }

    #[test]
    fn a_disk_that_refuses_is_named_and_the_checkpoint_before_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        checkpoint(1).save(path).unwrap();
        // A directory of that name cannot be written to, whoever one is.
        fs::create_dir(path.join("checkpoint-00000002.safetensors.new")).unwrap();
        let error = checkpoint(2).save(path).unwrap_err().to_string();
        assert!(error.contains("checkpoint-00000002.safetensors"), "{error}");
        assert_eq!(Checkpoint::load(path).unwrap().unwrap().checkpoint, checkpoint(1));
    }
}

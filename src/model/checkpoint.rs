//! Checkpoints: everything a training needs to go on exactly, whole or not there.
//!
//! `checkpoint-STEP.safetensors` (weights, running statistics, AdamW moments, all FP32) is written
//! and synced first; `checkpoint.toml`, which names it, is then replaced by a rename. Generators
//! need no state: every draw follows from seed and step.

use super::optimiser::Moments;
use crate::part::{NamedTensors, Tensor};
use safetensors::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use thiserror::Error;

const RECORD: &str = "checkpoint.toml";
const VERSION: u32 = 1;

/// Why a checkpoint cannot be written or read.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// The disk refused.
    #[error("checkpoint {path}: {source}")]
    Disk {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not a checkpoint.
    #[error("checkpoint {path}: {reason}; train again without --resume")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// What `checkpoint.toml` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Version of this format: 1.
    pub format_version: u32,
    /// File of the tensors, beside this one.
    pub tensors: String,
    /// Steps taken.
    pub step: u64,
    /// Steps of the whole training; absent while a budget in minutes is still being timed.
    pub steps: Option<u64>,
    /// Seed of every generator.
    pub seed: u64,
    /// Input side S.
    pub side: usize,
    /// SHA-256 over the training pictures.
    pub data_sha256: String,
    /// Seconds of training so far.
    pub seconds: f64,
    /// Running mean of the reconstruction loss.
    pub reconstruction_loss: f64,
    /// Running mean of the Dice loss.
    pub dice_loss: f64,
}

impl Record {
    /// The record of a training that has not begun.
    pub const fn new(seed: u64, side: usize, data_sha256: String) -> Self {
        Self {
            format_version: VERSION,
            tensors: String::new(),
            step: 0,
            steps: None,
            seed,
            side,
            data_sha256,
            seconds: 0.0,
            reconstruction_loss: 0.0,
            dice_loss: 0.0,
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

impl Checkpoint {
    /// Writes the checkpoint into `directory`, made if missing, and removes the one before.
    pub fn save(&self, directory: &Path) -> Result<(), CheckpointError> {
        fs::create_dir_all(directory).map_err(disk(directory))?;
        let mut record = self.record.clone();
        record.tensors = format!("checkpoint-{:06}.safetensors", record.step);
        let path = directory.join(&record.tensors);
        let format = |reason: String| CheckpointError::Format { path: path.clone(), reason };
        let bytes = safetensors::serialize(self.views(), None)
            .map_err(|error| format(error.to_string()))?;
        replace(&path, &bytes)?;
        let text = toml::to_string(&record).map_err(|error| format(error.to_string()))?;
        replace(&directory.join(RECORD), text.as_bytes())?;
        for entry in fs::read_dir(directory).map_err(disk(directory))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("checkpoint-") && name != record.tensors {
                fs::remove_file(entry.path()).map_err(disk(&entry.path()))?;
            }
        }
        Ok(())
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

    /// Reads the checkpoint of `directory`; none if there is none.
    pub fn load(directory: &Path) -> Result<Option<Self>, CheckpointError> {
        let path = directory.join(RECORD);
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path).map_err(disk(&path))?;
        let fail = |reason: String| CheckpointError::Format { path: path.clone(), reason };
        let record: Record = toml::from_str(&text).map_err(|error| fail(error.to_string()))?;
        if record.format_version != VERSION {
            return Err(fail(format!("format {} is not known here", record.format_version)));
        }
        let path = directory.join(&record.tensors);
        let bytes = fs::read(&path).map_err(disk(&path))?;
        let fail = |reason: String| CheckpointError::Format { path: path.clone(), reason };
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
        Ok(Some(Self { record, weights, moments }))
    }
}

/// Writes a file beside `path`, syncs it and renames it to `path`.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    let write = || -> std::io::Result<()> {
        let mut file = fs::File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
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
        let mut record = Record::new(7, 224, "ab".into());
        record.step = step;
        record.seconds = 0.1 + 0.2;
        let tensor = Tensor::new([2, 1], vec![1.5, f32::MIN_POSITIVE]).unwrap();
        let moments = Moments { first: vec![0.25, -3.0], second: vec![1e-30, 0.0] };
        Checkpoint {
            record,
            weights: NamedTensors::from([("reconstruction.a.weight".into(), tensor)]),
            moments: BTreeMap::from([("reconstruction.a.weight".into(), moments)]),
        }
    }

    #[test]
    fn what_is_written_is_read_again_and_the_older_one_goes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.partial");
        assert!(Checkpoint::load(&path).unwrap().is_none());
        for step in [100, 200] {
            checkpoint(step).save(&path).unwrap();
            let mut found = Checkpoint::load(&path).unwrap().unwrap();
            found.record.tensors.clear();
            assert_eq!(found, checkpoint(step));
        }
        assert_eq!(fs::read_dir(&path).unwrap().count(), 2);
    }

    #[test]
    fn a_torn_file_is_an_error_that_says_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        checkpoint(1).save(directory.path()).unwrap();
        let path = directory.path().join("checkpoint-000001.safetensors");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let error = Checkpoint::load(directory.path()).unwrap_err();
        assert!(error.to_string().contains("without --resume"), "{error}");
    }
}

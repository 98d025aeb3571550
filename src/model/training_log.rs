//! The losses of every step as CSV, beside the checkpoints and later in the bundle.

use super::train::TrainError;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Name of the file, in `BUNDLE.partial` and in the bundle.
pub const TRAINING_LOG: &str = "training.csv";
/// First line of the file.
pub const HEADER: &str = "step,learning_rate,reconstruction_loss,dice_loss,gradient_norm,\
                          seconds,waiting_share,held_out_loss";

/// One line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Number of the step, from 1.
    pub step: u64,
    /// Its learning rate.
    pub learning_rate: f64,
    /// Mean square of the reconstruction's error.
    pub reconstruction_loss: f32,
    /// Dice loss.
    pub dice_loss: f32,
    /// Length of the gradient before the clip.
    pub gradient_norm: f64,
    /// Wall time of the step.
    pub seconds: f64,
    /// Share of that time spent waiting for the batch.
    pub waiting_share: f64,
    /// Loss on held-out good parts and their pseudo-anomalies, where it was taken.
    pub held_out_loss: Option<f64>,
}

impl Row {
    /// Losses are written so that reading gives the same number again.
    fn line(&self) -> String {
        let mut line = format!(
            "{},{},{},{},{},{:.4},{:.4},",
            self.step,
            self.learning_rate,
            self.reconstruction_loss,
            self.dice_loss,
            self.gradient_norm,
            self.seconds,
            self.waiting_share,
        );
        if let Some(loss) = self.held_out_loss {
            // Writing to a text cannot fail.
            let _ = write!(line, "{loss}");
        }
        line.push('\n');
        line
    }
}

/// The file, open for more lines.
pub struct TrainingLog {
    path: PathBuf,
    file: File,
}

impl TrainingLog {
    /// Opens the log of `directory` to go on after `step` steps: later lines, and one that was cut
    /// in the middle, are removed.
    pub fn open(directory: &Path, step: u64) -> Result<Self, TrainError> {
        let path = directory.join(TRAINING_LOG);
        let open = || {
            std::fs::create_dir_all(directory)?;
            let text = match std::fs::read_to_string(&path) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
                Err(error) => return Err(error),
            };
            let kept = kept_length(&text, step);
            let mut file = OpenOptions::new().append(true).create(true).open(&path)?;
            file.set_len(kept as u64)?;
            if kept == 0 {
                file.write_all(format!("{HEADER}\n").as_bytes())?;
            }
            Ok(file)
        };
        match open() {
            Ok(file) => Ok(Self { path, file }),
            Err(source) => Err(TrainError::Log { path, source }),
        }
    }

    /// Adds a line.
    pub fn add(&mut self, row: &Row) -> Result<(), TrainError> {
        let written = self.file.write_all(row.line().as_bytes());
        written.map_err(|source| TrainError::Log { path: self.path.clone(), source })
    }

    /// Waits until all lines are on the disk.
    pub fn sync(&self) -> Result<(), TrainError> {
        let synced = self.file.sync_data();
        synced.map_err(|source| TrainError::Log { path: self.path.clone(), source })
    }
}

/// Bytes of `text` up to the line of step `step`; 0 if it is no such log.
fn kept_length(text: &str, step: u64) -> usize {
    let mut length = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let number = line.split(',').next().and_then(|number| number.parse::<u64>().ok());
        let right = match index {
            0 => line.trim_end() == HEADER,
            _ => number.is_some_and(|number| number <= step),
        };
        if !right || !line.ends_with('\n') {
            break;
        }
        length += line.len();
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(step: u64) -> Row {
        Row {
            step,
            learning_rate: 1e-4,
            reconstruction_loss: 0.1 + 0.2,
            dice_loss: 1.0 / 3.0,
            gradient_norm: 2.0 / 3.0,
            seconds: 1.5,
            waiting_share: 0.25,
            held_out_loss: (step == 2).then_some(0.5),
        }
    }

    #[test]
    fn lines_behind_the_checkpoint_and_torn_ones_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(TRAINING_LOG);
        let mut log = TrainingLog::open(directory.path(), 0).unwrap();
        for step in 1..=4 {
            log.add(&row(step)).unwrap();
        }
        log.sync().unwrap();
        let whole = std::fs::read_to_string(&path).unwrap();
        assert_eq!(whole.lines().count(), 5);
        std::fs::write(&path, format!("{whole}5,0.0001,0.3")).unwrap();
        let mut log = TrainingLog::open(directory.path(), 3).unwrap();
        log.add(&row(4)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
        TrainingLog::open(directory.path(), 0).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{HEADER}\n"));
    }

    #[test]
    fn numbers_are_read_again_exactly() {
        let line = row(2).line();
        let fields: Vec<&str> = line.trim_end().split(',').collect();
        assert_eq!(fields.len(), HEADER.split(',').count());
        assert_eq!(fields[2].parse::<f32>().unwrap().to_bits(), (0.1_f32 + 0.2).to_bits());
        assert_eq!(fields[4].parse::<f64>().unwrap(), 2.0 / 3.0);
        assert_eq!(fields[7], "0.5");
        assert!(row(1).line().ends_with(",0.2500,\n"));
    }
}

//! The archive of rejects: a bounded queue and one thread that draws, encodes and writes.
//!
//! The way never waits: a full queue is a counted drop, a failed write a counted failure.

use super::names::{FILES, RecordName, utc};
use super::store::Store;
use super::{PooledPicture, StagesUs, mask, overlay};
use crate::part::{AnomalyMap, PartResult, Region, RegionOfInterest, StageTimes};
use crossbeam_channel::{Receiver, Sender, bounded};
use image::codecs::jpeg::JpegEncoder;
use image::{ImageError, ImageFormat};
use serde::Serialize;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::SystemTime;
use thiserror::Error;

/// Little enough loss that a reject can be judged again, and used for training.
const JPEG_QUALITY: u8 = 95;

/// What the archive may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveSettings {
    /// Made where it is missing; holds a folder per day (UTC).
    pub directory: PathBuf,
    /// Beyond it the oldest records are removed.
    pub size_limit_bytes: u64,
    /// Records that may wait; each holds a picture, so a few.
    pub queue: usize,
    /// This start of the daemon (line-io 1.1); makes names unique across restarts.
    pub boot_id: u16,
}

/// Why there is no archive.
#[derive(Debug, Error)]
pub enum RecordsError {
    /// The directory cannot be used.
    #[error(
        "the archive's directory {}: {source}; make it writable for this user or set another",
        directory.display()
    )]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No thread could be started.
    #[error("no thread for the archive: {0}")]
    Thread(io::Error),
}

/// All there is to know about a rejected part.
#[derive(Debug)]
pub struct RejectRecord {
    /// How it was decided.
    pub result: PartResult,
    /// Its way, if it is known.
    pub times: Option<StageTimes>,
    /// Name of the product it was judged as; empty for none.
    pub product_name: String,
    /// Its regions, camera pixels.
    pub regions: Vec<Region>,
    /// The camera's picture.
    pub picture: PooledPicture,
    /// What the engine saw; side 0 when it saw nothing.
    pub anomaly_map: AnomalyMap,
    /// What of the picture the map covers.
    pub inspected: RegionOfInterest,
    /// The product's pixel threshold; the image threshold is in the result.
    pub pixel_threshold: f32,
    /// When it was decided, for people.
    pub wall_time: SystemTime,
}

/// A running archive. Dropping it writes what waits and ends the thread.
#[derive(Debug)]
pub struct Archive {
    // Dropped before the thread is joined: that ends it.
    records: Option<Sender<RejectRecord>>,
    writer: Option<JoinHandle<()>>,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    dropped: AtomicU64,
    written: AtomicU64,
    failed: AtomicU64,
}

impl Archive {
    /// Opens the directory, removes what is beyond the limit, and starts the thread.
    ///
    /// # Errors
    /// The directory cannot be made or read. The line can run without an archive.
    pub fn start(settings: ArchiveSettings) -> Result<Self, RecordsError> {
        let ArchiveSettings { directory, size_limit_bytes, queue, boot_id } = settings;
        let store = Store::open(&directory, size_limit_bytes)
            .map_err(|source| RecordsError::Directory { directory, source })?;
        let counters = Arc::new(Counters::default());
        let (records, waiting) = bounded(queue);
        let writer = Writer { store, boot_id, counters: Arc::clone(&counters), failing: false };
        let writer = std::thread::Builder::new()
            .name("records".to_owned())
            .spawn(move || writer.run(&waiting))
            .map_err(RecordsError::Thread)?;
        Ok(Self { records: Some(records), writer: Some(writer), counters })
    }

    /// Hands a record over without waiting. `false`: the queue is full, and the drop is counted.
    pub fn offer(&self, record: RejectRecord) -> bool {
        let taken = self.records.as_ref().is_some_and(|records| records.try_send(record).is_ok());
        if !taken {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    /// Records dropped because the queue was full.
    pub fn dropped(&self) -> u64 {
        self.counters.dropped.load(Ordering::Relaxed)
    }

    /// Records on disk.
    pub fn written(&self) -> u64 {
        self.counters.written.load(Ordering::Relaxed)
    }

    /// Records that could not be written.
    pub fn failed(&self) -> u64 {
        self.counters.failed.load(Ordering::Relaxed)
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        self.records = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

struct Writer {
    store: Store,
    boot_id: u16,
    counters: Arc<Counters>,
    /// The last record failed: it was said once, and is not said for each.
    failing: bool,
}

impl Writer {
    fn run(mut self, waiting: &Receiver<RejectRecord>) {
        for record in waiting {
            let sequence = record.result.sequence;
            match self.write(&record) {
                Ok(()) => {
                    self.counters.written.fetch_add(1, Ordering::Relaxed);
                    if std::mem::take(&mut self.failing) {
                        log::info!("the archive can be written again");
                    }
                }
                Err(error) => {
                    self.counters.failed.fetch_add(1, Ordering::Relaxed);
                    if !std::mem::replace(&mut self.failing, true) {
                        log::error!(
                            "the archive has no record of part {sequence}: {error}; parts are \
                             inspected all the same; further failures are only counted"
                        );
                    }
                }
            }
        }
    }

    fn write(&mut self, record: &RejectRecord) -> io::Result<()> {
        let sequence = record.result.sequence.get();
        let name = RecordName::new(sequence, self.boot_id, record.wall_time);
        let contents = encode(record, self.boot_id, &name).map_err(io::Error::other)?;
        self.store.write(&name, &contents)
    }
}

/// The files of a record, in the order of [`FILES`].
fn encode(
    record: &RejectRecord,
    boot_id: u16,
    name: &RecordName,
) -> Result<[Vec<u8>; 4], ImageError> {
    let RejectRecord { picture, anomaly_map, inspected, pixel_threshold, .. } = record;
    let mut image = Vec::new();
    JpegEncoder::new_with_quality(&mut image, JPEG_QUALITY).encode_image(&**picture)?;
    let mut heat = io::Cursor::new(Vec::new());
    overlay(picture, anomaly_map, *inspected, *pixel_threshold, &record.regions)
        .write_to(&mut heat, ImageFormat::Png)?;
    let mut cells = io::Cursor::new(Vec::new());
    mask(picture.dimensions(), anomaly_map, *inspected, *pixel_threshold)
        .write_to(&mut cells, ImageFormat::Png)?;
    let document = Document::new(record, boot_id, name);
    let document = serde_json::to_vec_pretty(&document)
        .map_err(|error| ImageError::IoError(io::Error::other(error)))?;
    Ok([image, heat.into_inner(), cells.into_inner(), document])
}

/// `record.json`: names are stable, more fields may follow. Numbers there are none of are null.
#[derive(Serialize)]
struct Document<'a> {
    sequence: u32,
    boot_id: u16,
    wall_time: String,
    product: u16,
    product_name: &'a str,
    decision: &'static str,
    reason: &'static str,
    reason_code: u16,
    flags: Flags,
    score: f32,
    threshold: f32,
    pixel_threshold: f32,
    region_count: u16,
    regions: &'a [Region],
    inspected: RegionOfInterest,
    picture_width: u32,
    picture_height: u32,
    time_to_verdict_us: i32,
    slack_us: i32,
    stages_us: Option<StagesUs>,
    encoder_count: i64,
    tag: u32,
    files: [String; 3],
}

#[derive(Serialize)]
struct Flags {
    late: bool,
    inhibited: bool,
    forced: bool,
    reject_left_armed: bool,
    soft_trigger: bool,
}

impl<'a> Document<'a> {
    fn new(record: &'a RejectRecord, boot_id: u16, name: &RecordName) -> Self {
        let result = &record.result;
        let flags = result.flags;
        Self {
            sequence: result.sequence.get(),
            boot_id,
            wall_time: utc(record.wall_time),
            product: result.product,
            product_name: &record.product_name,
            decision: result.decision.word(),
            reason: result.reason.word(),
            reason_code: result.reason.code(),
            flags: Flags {
                late: flags.late,
                inhibited: flags.inhibited,
                forced: flags.forced,
                reject_left_armed: flags.reject_left_armed,
                soft_trigger: flags.soft_trigger,
            },
            score: result.score,
            threshold: result.threshold,
            pixel_threshold: record.pixel_threshold,
            region_count: result.regions,
            regions: &record.regions,
            inspected: record.inspected,
            picture_width: record.picture.width(),
            picture_height: record.picture.height(),
            time_to_verdict_us: result.committed.signed_micros_since(result.triggered),
            slack_us: result.deadline.signed_micros_since(result.committed),
            stages_us: record.times.as_ref().map(|times| StagesUs::of(times, result)),
            encoder_count: result.encoder_count,
            tag: result.tag,
            files: [FILES[0], FILES[1], FILES[2]].map(|what| name.file(what)),
        }
    }
}

#[cfg(test)]
mod tests;

//! One line per part, passed or not, within a bounded size: what `onenipd explain` reads.
//!
//! As with the archive, the way never waits: a full queue is a counted drop, a failed write a
//! counted failure.

use super::RecordsError;
use super::names::utc;
use crate::part::{Duration, PartResult, StageTimes};
use crossbeam_channel::{Receiver, Sender, bounded};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::SystemTime;

/// Lines that may wait; some ten seconds of a fast line.
const QUEUE: usize = 256;
/// A full file becomes the old one; two of them hold some 70,000 parts.
const FILE_BYTES: u64 = 16 << 20;
const FILE: &str = "parts.jsonl";
const OLD_FILE: &str = "parts-old.jsonl";

/// A part as it was decided.
#[derive(Clone, Debug)]
pub struct PartRecord {
    /// The decision.
    pub result: PartResult,
    /// Its way, if engine and judge saw it.
    pub times: Option<StageTimes>,
    /// When it was decided, for people.
    pub wall_time: SystemTime,
}

/// How long each stage took, microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct StagesUs {
    pub camera: u32,
    pub pairing: u32,
    pub preprocess: u32,
    pub queue: u32,
    pub engine: u32,
    pub judge: u32,
    pub line: u32,
}

impl StagesUs {
    /// Of a part with this result.
    pub fn of(times: &StageTimes, result: &PartResult) -> Self {
        let us = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        let [camera, pairing, preprocess, queue, engine, judge, line] =
            times.durations(result.triggered, result.committed).map(us);
        Self { camera, pairing, preprocess, queue, engine, judge, line }
    }

    /// In the order of [`StageTimes::STAGES`].
    pub fn in_order(&self) -> [u32; 7] {
        [self.camera, self.pairing, self.preprocess, self.queue, self.engine, self.judge, self.line]
    }
}

/// A line of the journal; names are stable, more fields may follow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct JournalLine {
    pub sequence: u32,
    pub boot_id: u16,
    pub wall_time: String,
    pub product: u16,
    pub decision: String,
    pub reason: String,
    pub reason_code: u16,
    pub late: bool,
    pub inhibited: bool,
    pub reject_left_armed: bool,
    pub soft_trigger: bool,
    pub score: Option<f32>,
    pub threshold: Option<f32>,
    pub region_count: u16,
    /// Trigger to deadline and to commit.
    pub deadline_us: i32,
    pub committed_us: i32,
    pub stages_us: Option<StagesUs>,
    pub tag: u32,
}

impl JournalLine {
    fn new(record: &PartRecord, boot_id: u16) -> Self {
        let result = &record.result;
        let finite = |value: f32| value.is_finite().then_some(value);
        Self {
            sequence: result.sequence.get(),
            boot_id,
            wall_time: utc(record.wall_time),
            product: result.product,
            decision: result.decision.word().to_owned(),
            reason: result.reason.word().to_owned(),
            reason_code: result.reason.code(),
            late: result.flags.late,
            inhibited: result.flags.inhibited,
            reject_left_armed: result.flags.reject_left_armed,
            soft_trigger: result.flags.soft_trigger,
            score: finite(result.score),
            threshold: finite(result.threshold),
            region_count: result.regions,
            deadline_us: result.deadline.signed_micros_since(result.triggered),
            committed_us: result.committed.signed_micros_since(result.triggered),
            stages_us: record.times.as_ref().map(|times| StagesUs::of(times, result)),
            tag: result.tag,
        }
    }
}

/// A running journal. Dropping it writes what waits and ends the thread.
#[derive(Debug)]
pub struct Journal {
    // Dropped before the thread is joined: that ends it.
    records: Option<Sender<PartRecord>>,
    writer: Option<JoinHandle<()>>,
    dropped: AtomicU64,
    failed: Arc<AtomicU64>,
}

impl Journal {
    /// Goes on with the journal in `directory`, or begins it.
    ///
    /// # Errors
    /// The directory cannot be made. The line can run without a journal.
    pub fn start(directory: &Path, boot_id: u16) -> Result<Self, RecordsError> {
        let directory = directory.to_owned();
        fs::create_dir_all(&directory)
            .map_err(|source| RecordsError::Directory { directory: directory.clone(), source })?;
        let (records, waiting) = bounded(QUEUE);
        let failed = Arc::new(AtomicU64::new(0));
        let writer = Writer { directory, boot_id, file: None, failed: Arc::clone(&failed) };
        let writer = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer.run(&waiting))
            .map_err(RecordsError::Thread)?;
        let dropped = AtomicU64::new(0);
        Ok(Self { records: Some(records), writer: Some(writer), dropped, failed })
    }

    /// Hands a record over without waiting; a full queue is a counted drop.
    pub fn offer(&self, record: PartRecord) {
        let taken = self.records.as_ref().is_some_and(|records| records.try_send(record).is_ok());
        if !taken {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines that found no room or could not be written.
    pub fn lost(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed) + self.failed.load(Ordering::Relaxed)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.records = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

struct Writer {
    directory: PathBuf,
    boot_id: u16,
    file: Option<(File, u64)>,
    failed: Arc<AtomicU64>,
}

impl Writer {
    fn run(mut self, waiting: &Receiver<PartRecord>) {
        let mut failing = false;
        for record in waiting {
            let written = self.write(&record);
            if let Err(error) = &written {
                self.failed.fetch_add(1, Ordering::Relaxed);
                self.file = None;
                if !failing {
                    let directory = self.directory.display();
                    log::error!("the journal in {directory} cannot be written: {error}");
                }
            } else if failing {
                log::info!("the journal can be written again");
            }
            failing = written.is_err();
        }
    }

    fn write(&mut self, record: &PartRecord) -> io::Result<()> {
        let mut line = serde_json::to_vec(&JournalLine::new(record, self.boot_id))?;
        line.push(b'\n');
        let (mut file, mut bytes) = match self.file.take() {
            Some(open) => open,
            None => open(&self.directory.join(FILE))?,
        };
        if bytes + line.len() as u64 > FILE_BYTES {
            fs::rename(self.directory.join(FILE), self.directory.join(OLD_FILE))?;
            (file, bytes) = open(&self.directory.join(FILE))?;
        }
        file.write_all(&line)?;
        self.file = Some((file, bytes + line.len() as u64));
        Ok(())
    }
}

/// Opens for appending, after a line that a kill may have left half.
fn open(path: &Path) -> io::Result<(File, u64)> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    let mut bytes = file.seek(SeekFrom::End(0))?;
    if bytes > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
            bytes += 1;
        }
    }
    Ok((file, bytes))
}

/// The part with this number in `directory`: of the start `boot_id`, or of the last that had one.
///
/// # Errors
/// A journal that is there cannot be read.
pub fn find_part(
    directory: &Path,
    sequence: u32,
    boot_id: Option<u16>,
) -> io::Result<Option<JournalLine>> {
    for name in [FILE, OLD_FILE] {
        let file = match File::open(directory.join(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let mut found = None;
        for line in BufReader::new(file).split(b'\n') {
            let Ok(line) = serde_json::from_slice::<JournalLine>(&line?) else { continue };
            if line.sequence == sequence && boot_id.is_none_or(|id| id == line.boot_id) {
                found = Some(line);
            }
        }
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::part::{Decision, LineTime, Reason, ResultFlags, SequenceNumber};
    use std::time::UNIX_EPOCH;

    fn record(sequence: u32) -> PartRecord {
        let at = LineTime::from_millis;
        let result = PartResult {
            sequence: SequenceNumber::new(sequence).unwrap(),
            decision: Decision::Pass,
            reason: Reason::Good,
            flags: ResultFlags::default(),
            product: 7,
            score: 0.25,
            threshold: f32::NAN,
            regions: 0,
            largest: None,
            triggered: at(1000),
            committed: at(1048),
            deadline: at(1378),
            encoder_count: 0,
            tag: 3,
        };
        let times = StageTimes {
            captured: at(1000),
            arrived: at(1008),
            paired: at(1008),
            prepared: at(1010),
            started: at(1011),
            inferred: at(1047),
            judged: at(1048),
        };
        PartRecord { result, times: Some(times), wall_time: UNIX_EPOCH }
    }

    fn write(directory: &Path, boot_id: u16, sequences: std::ops::Range<u32>) {
        let journal = Journal::start(directory, boot_id).unwrap();
        sequences.for_each(|sequence| journal.offer(record(sequence)));
        assert_eq!(journal.dropped.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn parts_are_found_across_starts_and_half_lines() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 1, 1..20);
        let file = folder.path().join(FILE);
        let half = fs::read(&file).unwrap();
        fs::write(&file, &half[..half.len() - 30]).unwrap();
        write(folder.path(), 2, 1..5);
        let found = |sequence, boot| find_part(folder.path(), sequence, boot).unwrap();
        assert_eq!(found(3, None).unwrap().boot_id, 2);
        assert_eq!(found(18, None).unwrap().boot_id, 1);
        assert!(found(19, None).is_none() && found(18, Some(2)).is_none());
        let line = found(3, Some(1)).unwrap();
        assert_eq!((line.decision.as_str(), line.threshold), ("pass", None));
        assert_eq!((line.committed_us, line.deadline_us), (48_000, 378_000));
        assert_eq!(line.stages_us.unwrap().in_order(), [8000, 0, 2000, 1000, 36_000, 1000, 0]);
    }

    #[test]
    fn a_full_file_becomes_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 1, 1..2);
        let file = OpenOptions::new().append(true).open(folder.path().join(FILE)).unwrap();
        file.set_len(FILE_BYTES - 10).unwrap();
        write(folder.path(), 2, 7..8);
        assert!(fs::metadata(folder.path().join(FILE)).unwrap().len() < 1000);
        assert_eq!(find_part(folder.path(), 1, None).unwrap().unwrap().boot_id, 1);
        assert_eq!(find_part(folder.path(), 7, None).unwrap().unwrap().boot_id, 2);
    }

    #[test]
    fn a_journal_that_cannot_be_written_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(FILE)).unwrap();
        let journal = Journal::start(folder.path(), 1).unwrap();
        journal.offer(record(1));
        while journal.lost() == 0 {
            std::thread::yield_now();
        }
    }
}

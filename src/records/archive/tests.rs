use super::*;
use crate::part::{Decision, LineTime, Reason, ResultFlags, SequenceNumber};
use image::RgbImage;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

const DAY: &str = "2026-11-24";
/// 2026-11-24T08:00:00Z.
const MORNING: u64 = 1_795_507_200;

fn record(sequence: u32, seconds: u64) -> RejectRecord {
    let result = PartResult {
        sequence: SequenceNumber::new(sequence).unwrap(),
        decision: Decision::Fail,
        reason: Reason::ScoreAtOrAboveThreshold,
        flags: ResultFlags { reject_left_armed: true, ..ResultFlags::default() },
        product: 7,
        score: 0.75,
        threshold: f32::NAN,
        regions: 1,
        largest: None,
        triggered: LineTime::from_millis(1000),
        committed: LineTime::from_millis(1048),
        deadline: LineTime::from_millis(1120),
        encoder_count: 98_765,
        tag: 3,
    };
    let mut values = vec![0.1; 16];
    values[5] = 0.9;
    RejectRecord {
        result,
        times: None,
        product_name: "bolt".to_owned(),
        regions: vec![Region { x: 16, y: 12, width: 16, height: 12, area_pixels: 192, peak: 0.9 }],
        picture: RgbImage::from_fn(64, 48, |x, y| image::Rgb([x as u8, y as u8, 90])).into(),
        anomaly_map: AnomalyMap { side: 4, values },
        inspected: RegionOfInterest { x: 0, y: 0, width: 64, height: 48 },
        pixel_threshold: 0.5,
        wall_time: UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 250),
    }
}

fn settings(directory: &Path, size_limit_bytes: u64, boot_id: u16) -> ArchiveSettings {
    ArchiveSettings { directory: directory.to_owned(), size_limit_bytes, queue: 64, boot_id }
}

/// Offers all of `records`, waits for the thread to end, and gives what was written and failed.
fn archive_all(settings: ArchiveSettings, records: Vec<RejectRecord>) -> (u64, u64) {
    let archive = Archive::start(settings).unwrap();
    for record in records {
        assert!(archive.offer(record));
    }
    let counters = Arc::clone(&archive.counters);
    drop(archive);
    (counters.written.load(Ordering::Relaxed), counters.failed.load(Ordering::Relaxed))
}

/// Sequence numbers found in the archive, by any of their files.
fn sequences(directory: &Path) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    for day in fs::read_dir(directory).unwrap() {
        let day = day.unwrap().path();
        for file in fs::read_dir(&day).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            found.insert(name.split('-').next().unwrap().parse().unwrap());
        }
    }
    found
}

fn size_of(directory: &Path) -> u64 {
    Store::open(directory, u64::MAX).unwrap().total_bytes()
}

#[test]
fn a_record_is_four_files_that_tell_the_whole_story() {
    let directory = tempfile::tempdir().unwrap();
    let done =
        archive_all(settings(directory.path(), 1 << 20, 0xb1a2), vec![record(1234, MORNING)]);
    assert_eq!(done, (1, 0));
    let file = |what| directory.path().join(DAY).join(format!("0000001234-b1a2-080000-{what}"));
    let document: serde_json::Value =
        serde_json::from_slice(&fs::read(file("record.json")).unwrap()).unwrap();
    assert_eq!(document["sequence"], 1234);
    assert_eq!(document["boot_id"], 0xb1a2);
    assert_eq!(document["wall_time"], "2026-11-24T08:00:00.250Z");
    assert_eq!(document["decision"], "fail");
    assert_eq!(document["reason_code"], 100);
    assert_eq!(document["product_name"], "bolt");
    assert_eq!(document["score"], 0.75);
    assert!(document["threshold"].is_null());
    assert_eq!(document["flags"]["reject_left_armed"], true);
    assert_eq!(document["regions"][0]["x"], 16);
    assert_eq!(document["time_to_verdict_us"], 48_000);
    assert_eq!(document["slack_us"], 72_000);
    assert_eq!(document["files"][1], "0000001234-b1a2-080000-overlay.png");

    let image = image::open(file("image.jpg")).unwrap().to_rgb8();
    let original = record(1234, MORNING).picture;
    let worst = image.iter().zip(original.iter()).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(image.dimensions() == (64, 48) && worst < Some(24), "{worst:?}");
    let overlay = image::open(file("overlay.png")).unwrap().to_rgb8();
    assert_ne!(overlay, *original);
    let mask = image::open(file("mask.png")).unwrap().to_luma8();
    assert_eq!(mask.pixels().filter(|p| p.0 == [255]).count(), 16 * 12);
    assert_eq!(fs::read_dir(directory.path().join(DAY)).unwrap().count(), 4);
}

#[test]
fn beyond_the_limit_the_oldest_go_also_those_of_earlier_starts() {
    let directory = tempfile::tempdir().unwrap();
    archive_all(settings(directory.path(), u64::MAX, 1), vec![record(1, MORNING)]);
    let one = size_of(directory.path());
    let limit = 4 * one + one / 2;

    let day = 86_400;
    let records = (2..=6).map(|n| record(n, MORNING + day + u64::from(n))).collect();
    assert_eq!(archive_all(settings(directory.path(), limit, 2), records), (5, 0));
    assert_eq!(sequences(directory.path()), (3..=6).collect());
    assert!(size_of(directory.path()) <= limit);
    assert!(!directory.path().join(DAY).exists());

    archive_all(settings(directory.path(), 2 * one + one / 2, 3), Vec::new());
    assert_eq!(sequences(directory.path()), (5..=6).collect());
}

#[test]
fn equal_sequence_numbers_of_two_starts_do_not_meet() {
    let directory = tempfile::tempdir().unwrap();
    archive_all(settings(directory.path(), u64::MAX, 1), vec![record(1, MORNING)]);
    archive_all(settings(directory.path(), u64::MAX, 2), vec![record(1, MORNING)]);
    archive_all(settings(directory.path(), u64::MAX, 2), vec![record(1, MORNING + 60)]);
    assert_eq!(fs::read_dir(directory.path().join(DAY)).unwrap().count(), 12);
}

#[test]
fn files_of_another_origin_stay_and_partial_ones_go() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join(DAY);
    fs::create_dir(&folder).unwrap();
    let notes = folder.join("notes.txt");
    fs::write(&notes, b"kept").unwrap();
    let partial = folder.join("0000000009-0001-070000-overlay.png.partial");
    fs::write(&partial, b"half").unwrap();
    let elsewhere = directory.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    archive_all(settings(directory.path(), 0, 1), Vec::new());
    assert!(notes.exists() && elsewhere.exists() && !partial.exists());
}

#[test]
fn failures_are_counted_leave_nothing_and_end_with_their_cause() {
    let directory = tempfile::tempdir().unwrap();
    // A file where the day's folder should be: nothing of that day can be written.
    fs::write(directory.path().join(DAY), b"in the way").unwrap();
    let archive = Archive::start(settings(directory.path(), u64::MAX, 1)).unwrap();
    archive.offer(record(1, MORNING));
    archive.offer(record(2, MORNING + 86_400));
    let counters = Arc::clone(&archive.counters);
    drop(archive);
    assert_eq!(counters.failed.load(Ordering::Relaxed), 1);
    assert_eq!(counters.written.load(Ordering::Relaxed), 1);

    let nowhere = directory.path().join(DAY).join("archive");
    let error = Archive::start(settings(&nowhere, u64::MAX, 1)).unwrap_err().to_string();
    assert!(error.contains(&nowhere.display().to_string()), "{error}");

    let small = tempfile::tempdir().unwrap();
    assert_eq!(archive_all(settings(small.path(), 10, 1), vec![record(1, MORNING)]), (0, 1));
    assert_eq!(fs::read_dir(small.path()).unwrap().count(), 0);
}

#[test]
fn a_full_queue_drops_and_counts() {
    let directory = tempfile::tempdir().unwrap();
    let settings = ArchiveSettings { queue: 1, ..settings(directory.path(), u64::MAX, 1) };
    let archive = Archive::start(settings).unwrap();
    // The first keeps the thread busy for longer than it takes to offer the others.
    let picture = RgbImage::new(1500, 1500).into();
    assert!(archive.offer(RejectRecord { picture, ..record(51, MORNING) }));
    let taken = (1..=50).filter(|n| archive.offer(record(*n, MORNING))).count() as u64;
    assert!(taken < 50);
    assert_eq!(archive.dropped(), 50 - taken);
    let counters = Arc::clone(&archive.counters);
    drop(archive);
    assert_eq!(counters.written.load(Ordering::Relaxed), taken + 1);
}

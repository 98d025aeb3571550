//! How records are named: a folder per day (UTC), and in it `SEQUENCE-BOOT-TIME-WHAT`.
//!
//! (boot_id, sequence) names a part; the time keeps names apart when a boot_id comes again.

use std::time::{SystemTime, UNIX_EPOCH};

/// The files of one record.
pub(super) const FILES: [&str; 4] = ["image.jpg", "overlay.png", "mask.png", "record.json"];
/// What a file is called until it is complete.
pub(super) const PARTIAL: &str = ".partial";

/// A record's place in the archive; records sort by age.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RecordName {
    /// `YYYY-MM-DD`, UTC.
    pub day: String,
    /// `HHMMSS`, UTC.
    time: String,
    boot_id: u16,
    sequence: u32,
}

impl RecordName {
    pub(super) fn new(sequence: u32, boot_id: u16, wall_time: SystemTime) -> Self {
        let utc = utc(wall_time);
        let time = utc[11..19].replace(':', "");
        Self { day: utc[..10].to_owned(), time, boot_id, sequence }
    }

    /// The name of one of its files.
    pub(super) fn file(&self, what: &str) -> String {
        format!("{:010}-{:04x}-{}-{what}", self.sequence, self.boot_id, self.time)
    }

    /// The record a file belongs to, complete or partial; `None` for a file of another origin.
    pub(super) fn of_file(day: &str, file: &str) -> Option<Self> {
        let mut words = file.splitn(4, '-');
        let (sequence, boot_id, time) = (words.next()?, words.next()?, words.next()?);
        let what = words.next()?;
        let name = Self {
            day: day.to_owned(),
            time: time.to_owned(),
            boot_id: u16::from_str_radix(boot_id, 16).ok()?,
            sequence: sequence.parse().ok()?,
        };
        let known = FILES.contains(&what.strip_suffix(PARTIAL).unwrap_or(what));
        let digits = time.len() == 6 && time.bytes().all(|b| b.is_ascii_digit());
        (known && digits && is_day(day) && name.file(what) == file).then_some(name)
    }
}

/// Whether `folder` is called as a day is.
pub(super) fn is_day(folder: &str) -> bool {
    let digit = |(place, byte): (usize, u8)| match place {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    };
    folder.len() == 10 && folder.bytes().enumerate().all(digit)
}

/// `YYYY-MM-DDTHH:MM:SS.mmmZ`; times outside 1970 to 9999 become the nearer end.
pub(super) fn utc(time: SystemTime) -> String {
    const LAST_SECOND: u64 = 253_402_300_799;
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs().min(LAST_SECOND);
    let (year, month, day) = date(seconds / 86_400);
    let of_day = seconds % 86_400;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60,
        since.subsec_millis()
    )
}

/// Year, month, day of the Gregorian calendar, from days since 1970.
fn date(mut days: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_767_225_599, "2025-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
            (u64::from(u32::MAX) * 1000, "9999-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(utc(at(seconds)), text);
        }
        assert_eq!(utc(UNIX_EPOCH - Duration::from_secs(5)), "1970-01-01T00:00:00.000Z");
    }

    proptest! {
        #[test]
        fn a_files_name_says_its_record_and_records_sort_by_age(
            (a, b) in (any::<u32>(), any::<u32>()), (boot_a, boot_b) in (any::<u16>(), any::<u16>()),
            (early, gap) in (0_u64..5_000_000_000, 1_u64..1_000_000),
        ) {
            let older = RecordName::new(a, boot_a, at(early));
            let newer = RecordName::new(b, boot_b, at(early + gap));
            prop_assert!(older < newer);
            for what in FILES {
                let file = older.file(what);
                prop_assert_eq!(RecordName::of_file(&older.day, &file), Some(older.clone()));
                let partial = format!("{file}{PARTIAL}");
                prop_assert_eq!(RecordName::of_file(&older.day, &partial), Some(older.clone()));
                prop_assert_eq!(RecordName::of_file(&older.day, &format!("x{file}")), None);
                prop_assert_eq!(RecordName::of_file(&older.day, &format!("{file}~")), None);
            }
        }
    }
}

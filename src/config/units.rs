//! Numbers with a unit in their value: `"400 ms"`, `"5 /s"`, `"2 GB"`, `"0.5 %"`.

use super::setting::Setting;
use super::source::Raw;
use std::time::Duration;

/// Events per second.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct PerSecond(pub f64);

/// An amount of data, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// A share between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Fraction(pub f64);

/// A unit's name and its size in the unit of the type.
type Unit = (&'static str, f64);

const DURATIONS: [Unit; 5] = [("us", 1e3), ("ms", 1e6), ("s", 1e9), ("min", 6e10), ("h", 3.6e12)];
const RATES: [Unit; 3] = [("/s", 1.0), ("/min", 1.0 / 60.0), ("/h", 1.0 / 3600.0)];
const SIZES: [Unit; 8] = [
    ("B", 1.0),
    ("kB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("TB", 1e12),
    ("KiB", 1024.0),
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
];
const SHARES: [Unit; 1] = [("%", 0.01)];

/// Largest whole number that f64 and u64 share.
const LARGEST: f64 = 9e15;

/// A number and its unit; `like` is an example of how to write it.
fn read(raw: &Raw, units: &[Unit], like: &str) -> Result<f64, String> {
    let names = || units.iter().map(|unit| unit.0).collect::<Vec<_>>().join(", ");
    let Some(text) = raw.text() else {
        return Err(match raw {
            Raw::Integer(number) => {
                format!("is {number} without a unit; write it like {like} (units: {})", names())
            }
            other => format!("is {}; write it like {like}", other.describe()),
        });
    };
    let text = text.trim();
    let number_ends = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(number_ends);
    let Ok(number) = number.parse::<f64>() else {
        return Err(format!("is {text:?}; write a number and a unit, like {like}"));
    };
    let unit = unit.trim();
    match units.iter().find(|known| known.0 == unit) {
        Some((_, scale)) if number * scale <= LARGEST => Ok(number * scale),
        Some(_) => Err(format!("is {text:?}, which is too large")),
        None if unit.is_empty() => {
            Err(format!("is {text:?} without a unit; write it like {like} (units: {})", names()))
        }
        None => Err(format!("is {text:?} in an unknown unit; write one of {}", names())),
    }
}

/// With the largest of `units` that leaves a whole number; else with the first.
fn show(value: f64, units: &[Unit]) -> String {
    let whole = |unit: &&Unit| value >= unit.1 && (value / unit.1).fract() == 0.0;
    let unit = units.iter().rev().find(whole).unwrap_or(&units[0]);
    format!("\"{} {}\"", value / unit.1, unit.0)
}

impl Setting for Duration {
    fn read(raw: &Raw) -> Result<Self, String> {
        let nanos = read(raw, &DURATIONS, "\"400 ms\"")?;
        Ok(Self::from_nanos(nanos.round() as u64))
    }

    fn show(&self) -> String {
        if self.is_zero() {
            return "\"0 s\"".into();
        }
        show(self.as_nanos() as f64, &DURATIONS[..3])
    }
}

impl Setting for PerSecond {
    fn read(raw: &Raw) -> Result<Self, String> {
        Ok(Self(read(raw, &RATES, "\"5 /s\"")?))
    }

    fn show(&self) -> String {
        show(self.0, &RATES[..1])
    }
}

impl Setting for Bytes {
    fn read(raw: &Raw) -> Result<Self, String> {
        Ok(Self(read(raw, &SIZES, "\"2 GB\"")?.round() as u64))
    }

    fn show(&self) -> String {
        show(self.0 as f64, &SIZES[..5])
    }
}

impl Setting for Fraction {
    fn read(raw: &Raw) -> Result<Self, String> {
        Ok(Self(read(raw, &SHARES, "\"0.5 %\"")?))
    }

    fn show(&self) -> String {
        show(self.0, &SHARES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn duration(text: &str) -> Result<Duration, String> {
        Duration::read(&Raw::Text(text.into()))
    }

    #[test]
    fn units_are_read() {
        assert_eq!(duration("400 ms"), Ok(Duration::from_millis(400)));
        assert_eq!(duration("400ms"), Ok(Duration::from_millis(400)));
        assert_eq!(duration("1.5 min"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("0 s"), Ok(Duration::ZERO));
        let text = |text: &str| Raw::Text(text.into());
        assert_eq!(PerSecond::read(&text("300 /min")), Ok(PerSecond(5.0)));
        assert_eq!(Bytes::read(&text("1 MiB")), Ok(Bytes(1_048_576)));
        assert_eq!(Fraction::read(&text("0.5 %")), Ok(Fraction(0.005)));
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(duration("400").unwrap_err().contains("without a unit"));
        assert!(Duration::read(&Raw::Integer(400)).unwrap_err().contains("like \"400 ms\""));
        assert!(duration("4 weeks").unwrap_err().contains("unknown unit"));
        assert!(duration("-4 ms").unwrap_err().contains("a number and a unit"));
        assert!(duration("999999999 h").unwrap_err().contains("too large"));
        for text in ["", ".", "1.2.3 s", "NaN s", "inf s", "µ"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for millis in [0, 1, 15, 400, 1000, 1500, 60_000] {
            let value = Duration::from_millis(millis);
            let shown = value.show();
            assert_eq!(duration(shown.trim_matches('"')), Ok(value), "{shown}");
        }
        assert_eq!(Bytes(2_000_000_000).show(), "\"2 GB\"");
        assert_eq!(PerSecond(0.5).show(), "\"0.5 /s\"");
        assert_eq!(Fraction(0.1).show(), "\"10 %\"");
        assert_eq!(Duration::from_secs(1).show(), "\"1 s\"");
    }
}

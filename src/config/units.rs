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

/// A length along the belt.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub enum BeltLength {
    /// In counts of the encoder.
    Counts(f64),
    /// In millimetres.
    Millimetres(f64),
}

/// A speed of the belt.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub enum BeltSpeed {
    /// In counts of the encoder per second.
    CountsPerSecond(f64),
    /// In millimetres per second.
    MillimetresPerSecond(f64),
}

/// The distance from part to part.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub enum PartSpacing {
    /// In time.
    Time(Duration),
    /// Along the belt.
    Length(BeltLength),
}

/// Counts of the encoder per millimetre of the belt.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct CountsPerMillimetre(pub f64);

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
const COUNTS: [Unit; 1] = [("counts", 1.0)];
const LENGTHS: [Unit; 3] = [("mm", 1.0), ("cm", 10.0), ("m", 1000.0)];
const COUNT_RATES: [Unit; 1] = [("counts/s", 1.0)];
const SPEEDS: [Unit; 4] =
    [("mm/s", 1.0), ("m/s", 1000.0), ("m/min", 1000.0 / 60.0), ("mm/min", 1.0 / 60.0)];
const SCALES: [Unit; 1] = [("counts/mm", 1.0)];

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

/// Reads the first of two kinds of unit that fits; what is wrong is said of both together.
fn read_either<T>(
    raw: &Raw,
    (first, one): (&[Unit], fn(f64) -> T),
    (second, other): (&[Unit], fn(f64) -> T),
    like: &str,
) -> Result<T, String> {
    if let Ok(value) = read(raw, first, like) {
        return Ok(one(value));
    }
    if let Ok(value) = read(raw, second, like) {
        return Ok(other(value));
    }
    let both: Vec<Unit> = first.iter().chain(second).copied().collect();
    read(raw, &both, like).map(one)
}

impl Setting for BeltLength {
    fn read(raw: &Raw) -> Result<Self, String> {
        let like = "\"350 mm\" or \"4200 counts\"";
        read_either(raw, (&COUNTS, Self::Counts), (&LENGTHS, Self::Millimetres), like)
    }

    fn show(&self) -> String {
        match self {
            Self::Counts(counts) => show(*counts, &COUNTS),
            Self::Millimetres(length) => show(*length, &LENGTHS[..1]),
        }
    }
}

impl Setting for BeltSpeed {
    fn read(raw: &Raw) -> Result<Self, String> {
        let like = "\"0.5 m/s\" or \"2000 counts/s\"";
        let (counts, lengths) = (Self::CountsPerSecond, Self::MillimetresPerSecond);
        read_either(raw, (&COUNT_RATES, counts), (&SPEEDS, lengths), like)
    }

    fn show(&self) -> String {
        match self {
            Self::CountsPerSecond(speed) => show(*speed, &COUNT_RATES),
            Self::MillimetresPerSecond(speed) => show(*speed, &SPEEDS[..2]),
        }
    }
}

impl Setting for PartSpacing {
    fn read(raw: &Raw) -> Result<Self, String> {
        if let Ok(time) = Duration::read(raw) {
            return Ok(Self::Time(time));
        }
        if let Ok(length) = BeltLength::read(raw) {
            return Ok(Self::Length(length));
        }
        let both: Vec<Unit> = [&DURATIONS[..], &LENGTHS, &COUNTS].concat();
        let nothing = |_| Self::Time(Duration::ZERO);
        read(raw, &both, "\"80 ms\", \"60 mm\" or \"700 counts\"").map(nothing)
    }

    fn show(&self) -> String {
        match self {
            Self::Time(time) => time.show(),
            Self::Length(length) => length.show(),
        }
    }
}

impl Setting for CountsPerMillimetre {
    fn read(raw: &Raw) -> Result<Self, String> {
        Ok(Self(read(raw, &SCALES, "\"12.5 counts/mm\"")?))
    }

    fn show(&self) -> String {
        show(self.0, &SCALES)
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
    fn lengths_and_speeds_of_the_belt_are_read() {
        let text = |text: &str| Raw::Text(text.into());
        assert_eq!(BeltLength::read(&text("4200 counts")), Ok(BeltLength::Counts(4200.0)));
        assert_eq!(BeltLength::read(&text("0.35 m")), Ok(BeltLength::Millimetres(350.0)));
        let speed = BeltSpeed::MillimetresPerSecond;
        let Ok(BeltSpeed::MillimetresPerSecond(read)) = BeltSpeed::read(&text("60 m/min")) else {
            panic!("60 m/min is a speed");
        };
        assert!((read - 1000.0).abs() < 1e-9);
        assert_eq!(BeltSpeed::read(&text("0.5 m/s")), Ok(speed(500.0)));
        let counts = BeltSpeed::CountsPerSecond(2000.0);
        assert_eq!(BeltSpeed::read(&text("2000 counts/s")), Ok(counts));
        let time = PartSpacing::Time(Duration::from_millis(80));
        assert_eq!(PartSpacing::read(&text("80 ms")), Ok(time));
        let length = PartSpacing::Length(BeltLength::Millimetres(60.0));
        assert_eq!(PartSpacing::read(&text("60 mm")), Ok(length));
        assert_eq!(time.show(), "\"80 ms\"");
        assert_eq!(length.show(), "\"60 mm\"");
        assert_eq!(speed(500.0).show(), "\"500 mm/s\"");
        assert_eq!(counts.show(), "\"2000 counts/s\"");
        assert_eq!(CountsPerMillimetre(12.5).show(), "\"12.5 counts/mm\"");
        let said = BeltLength::read(&text("4 feet")).unwrap_err();
        assert!(said.contains("counts, mm, cm, m"), "{said}");
        let said = PartSpacing::read(&Raw::Integer(80)).unwrap_err();
        assert!(said.contains("80 without a unit") && said.contains("60 mm"), "{said}");
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

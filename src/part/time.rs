//! The one clock of the house: `CLOCK_MONOTONIC`, as the kernel stamps GPIO events.

use std::fmt;
use std::ops::{Add, Sub};
pub use std::time::Duration;

/// A moment on `CLOCK_MONOTONIC`, in nanoseconds since boot.
///
/// Wall time is only for people; every deadline, stamp and pulse of the line is a `LineTime`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineTime(u64);

impl LineTime {
    /// The beginning of the clock.
    pub const ZERO: Self = Self(0);

    /// A moment given in nanoseconds since boot.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// A moment given in milliseconds since boot (tests and simulated time).
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    /// Nanoseconds since boot.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Reads the clock. Pure rooms never call this: they are handed times.
    pub fn now() -> Self {
        let t = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        Self(t.tv_sec.unsigned_abs() * 1_000_000_000 + t.tv_nsec.unsigned_abs())
    }

    /// Time passed since `earlier`; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// `self - other` in microseconds, signed, saturated to `i32`.
    pub fn signed_micros_since(self, other: Self) -> i32 {
        let nanos = i128::from(self.0) - i128::from(other.0);
        let micros = nanos / 1000;
        i32::try_from(micros).unwrap_or(if micros > 0 { i32::MAX } else { i32::MIN })
    }
}

impl Add<Duration> for LineTime {
    type Output = Self;
    fn add(self, span: Duration) -> Self {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl Sub<Duration> for LineTime {
    type Output = Self;
    fn sub(self, span: Duration) -> Self {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(nanos))
    }
}

impl fmt::Display for LineTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06} s", self.0 / 1_000_000_000, self.0 % 1_000_000_000 / 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_saturate_instead_of_wrapping() {
        let early = LineTime::from_millis(5);
        let late = LineTime::from_millis(9);
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(late.signed_micros_since(early), 4000);
        assert_eq!(early.signed_micros_since(late), -4000);
        assert_eq!(LineTime::from_nanos(u64::MAX).signed_micros_since(early), i32::MAX);
        assert_eq!(early - Duration::from_secs(1), LineTime::ZERO);
    }
}

//! What the server does with its clients, counted; a flood of them does not flood the log.

use crate::part::{Duration, LineTime};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Refusals are told to the log at most this often.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Counted since the server's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Connections served.
    pub connections: u64,
    /// Closed at once: the address is not in the allow-list.
    pub not_allowed: u64,
    /// Closed at once: one connection too many.
    pub too_many: u64,
    /// Closed: the bytes were no Modbus request.
    pub malformed: u64,
    /// Closed: a request was begun and not completed, or an answer not taken, in time.
    pub slow: u64,
    /// Closed: no request for the idle time-out.
    pub idle: u64,
    /// Requests answered, exceptions among them.
    pub requests: u64,
    /// Requests answered with an exception.
    pub exceptions: u64,
}

impl Traffic {
    /// What no well-behaved client causes.
    fn refusals(&self) -> [u64; 5] {
        [self.not_allowed, self.too_many, self.malformed, self.slow, self.exceptions]
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} connections, {} requests; {} exceptions; closed: {} not allowed, {} too many, \
             {} malformed, {} slow, {} idle",
            self.connections,
            self.requests,
            self.exceptions,
            self.not_allowed,
            self.too_many,
            self.malformed,
            self.slow,
            self.idle
        )
    }
}

/// The counters, shared with whoever shows them.
#[derive(Clone, Default)]
pub(super) struct Counted(Arc<Mutex<Traffic>>);

impl Counted {
    pub(super) fn count(&self, change: impl FnOnce(&mut Traffic)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn read(&self) -> Traffic {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When refusals were last told.
#[derive(Default)]
pub(super) struct Teller {
    told: Traffic,
    at: Option<LineTime>,
}

impl Teller {
    /// What to tell now: the first refusal at once, then their sum at most once a minute.
    pub(super) fn due(&mut self, traffic: Traffic, now: LineTime) -> Option<Traffic> {
        let quiet = self.at.is_none_or(|at| now.since(at) >= TELL_EVERY);
        if !quiet || traffic.refusals() == self.told.refusals() {
            return None;
        }
        (self.told, self.at) = (traffic, Some(now));
        Some(traffic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_refusal_is_told_at_once_and_a_flood_once_a_minute() {
        let mut teller = Teller::default();
        let at = LineTime::from_millis;
        let mut traffic = Traffic { connections: 3, requests: 9, idle: 1, ..Traffic::default() };
        assert_eq!(teller.due(traffic, at(0)), None);
        traffic.malformed = 1;
        assert_eq!(teller.due(traffic, at(1)), Some(traffic));
        let mut told = 0;
        for ms in 2..=180_000 {
            traffic.malformed += 1;
            told += usize::from(teller.due(traffic, at(ms)).is_some());
        }
        assert_eq!(told, 2);
        assert!(traffic.to_string().contains("180000 malformed, 0 slow, 1 idle"), "{traffic}");
    }
}

//! Where parts are: the window and deadline of a part, and whether the belt runs.
//!
//! Delay mode: the belt has one speed, so windows are times, fixed at the trigger.

use super::plc::Plc;
use super::settings::{LineSettings, RunSignal};
use crate::part::{Duration, LineTime};

/// A reject window may have been missed when the belt stops so shortly after its close.
const STOP_DOUBT: Duration = Duration::from_millis(100);

/// When the ejector must treat a part, and until when a pass counts (line-io 1.3).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Window {
    /// First moment of the window.
    pub open: LineTime,
    /// First moment after it.
    pub close: LineTime,
    /// First moment too late for a pass.
    pub deadline: LineTime,
}

impl Window {
    /// Whether the ejector must treat the part at `now`.
    pub fn covers(&self, now: LineTime) -> bool {
        self.open <= now && now < self.close
    }
}

/// Belt and encoder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tracker {
    signal: RunSignal,
    stop_doubt: Duration,
    /// Level of input `run`.
    pub run_line: bool,
    /// Net encoder count as last told.
    pub encoder_count: i64,
    /// End of the latest reject window that is over.
    last_reject_close: Option<LineTime>,
}

impl Tracker {
    pub fn new(settings: &LineSettings) -> Self {
        // A PLC that vanished is noticed only after its time-out: the belt may stand since then.
        let stop_doubt = match settings.run_signal {
            RunSignal::BeltRun => settings.plc_timeout,
            RunSignal::AlwaysRuns | RunSignal::RunLine => STOP_DOUBT,
        };
        let signal = settings.run_signal;
        let (run_line, encoder_count, last_reject_close) = (false, 0, None);
        Self { signal, stop_doubt, run_line, encoder_count, last_reject_close }
    }

    /// The window of a part triggered at `triggered`.
    pub fn window(settings: &LineSettings, triggered: LineTime) -> Window {
        let ahead = settings.actuation_time + settings.jitter;
        let open = triggered + settings.delay - ahead;
        let close = triggered + settings.delay + settings.pulse + settings.jitter;
        let deadline = (open - settings.guard).min(triggered + settings.decide_max);
        Window { open, close, deadline }
    }

    /// Whether the belt runs, as far as known; unknown is "stands".
    pub fn belt_runs(&self, plc: &Plc) -> bool {
        match self.signal {
            RunSignal::AlwaysRuns => true,
            RunSignal::RunLine => self.run_line,
            RunSignal::BeltRun => plc.runs_belt(),
        }
    }

    /// A reject window is over.
    pub fn reject_closed(&mut self, close: LineTime) {
        self.last_reject_close = self.last_reject_close.max(Some(close));
    }

    /// The parts before this moment fall under the purge.
    pub fn forget(&mut self) {
        self.last_reject_close = None;
    }

    /// Whether a part rejected just now may still be before the ejector if the belt stands.
    pub fn doubts_last_reject(&self, now: LineTime) -> bool {
        self.last_reject_close.is_some_and(|close| now < close + self.stop_doubt)
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::Wiring;
    use super::*;

    #[test]
    fn windows_are_those_of_the_contract() {
        let ms = LineTime::from_millis;
        let mut settings =
            LineSettings::with_delay(Wiring::EnergiseToReject, Duration::from_millis(300));
        let window = Tracker::window(&settings, ms(1000));
        let deadline = ms(1000 + 300 - 15 - 2 - 5);
        assert_eq!(window, Window { open: ms(1283), close: ms(1352), deadline });
        settings.decide_max = Duration::from_millis(200);
        assert_eq!(Tracker::window(&settings, ms(1000)).deadline, ms(1200));
        assert!(window.covers(ms(1283)) && !window.covers(ms(1352)) && !window.covers(ms(1282)));
    }
}

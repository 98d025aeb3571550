//! The last decided parts, as the alarms 0 to 3 and 17 look at them (line-io 1.8).

use super::Alarm;
use super::settings::{AlarmLimits, Share};
use crate::part::{Decision, Reason};

/// Bits of the last 128 parts, the newest in bit 0; of parts triggered with `ready` = 1 only.
#[derive(Debug)]
pub(super) struct History {
    limits: AlarmLimits,
    fails: u128,
    no_decisions: u128,
    frame_errors: u128,
    fails_in_a_row: u32,
    no_decisions_in_a_row: u32,
}

impl History {
    pub fn new(limits: AlarmLimits) -> Self {
        let (fails_in_a_row, no_decisions_in_a_row) = (0, 0);
        let (fails, no_decisions, frame_errors) = (0, 0, 0);
        Self { limits, fails, no_decisions, frame_errors, fails_in_a_row, no_decisions_in_a_row }
    }

    /// One more part, in order of sequence.
    pub fn add(&mut self, reason: Reason) {
        let decision = reason.decision();
        let frame_error =
            matches!(reason, Reason::NoFrame | Reason::BadFrame | Reason::FrameTriggerMismatch);
        self.fails = self.fails << 1 | u128::from(decision == Decision::Fail);
        self.no_decisions = self.no_decisions << 1 | u128::from(decision == Decision::NoDecision);
        self.frame_errors = self.frame_errors << 1 | u128::from(frame_error);
        match decision {
            Decision::Pass => (self.fails_in_a_row, self.no_decisions_in_a_row) = (0, 0),
            Decision::Fail => {
                self.fails_in_a_row = self.fails_in_a_row.saturating_add(1);
                self.no_decisions_in_a_row = 0;
            }
            // Only a pass ends a row of fails.
            Decision::NoDecision | Decision::Pending => {
                self.no_decisions_in_a_row = self.no_decisions_in_a_row.saturating_add(1);
            }
        }
    }

    /// Forgets every part: product change, CLEAR_FAULT.
    pub fn restart(&mut self) {
        *self = Self::new(self.limits);
    }

    /// Each alarm with whether its condition holds.
    pub fn causes(&self) -> [(Alarm, bool); 5] {
        let limits = &self.limits;
        let in_a_row = self.no_decisions_in_a_row >= limits.no_decisions_in_a_row;
        [
            (Alarm::ConsecutiveReject, self.fails_in_a_row >= limits.fails_in_a_row),
            (Alarm::MOfN, reaches(self.fails, limits.fails)),
            (Alarm::NoDecisionRate, reaches(self.no_decisions, limits.no_decisions)),
            (Alarm::InspectionLost, in_a_row),
            (Alarm::Camera, reaches(self.frame_errors, limits.frame_errors)),
        ]
    }
}

fn reaches(parts: u128, share: Share) -> bool {
    let window = u128::MAX.checked_shr(128_u32.saturating_sub(share.parts)).unwrap_or(0);
    (parts & window).count_ones() >= share.count
}

#[cfg(test)]
mod tests {
    use super::*;
    use Reason::{Deadline, Good, NoFrame, ScoreAtOrAboveThreshold as Bad};

    fn after(reasons: &[Reason]) -> Vec<Alarm> {
        let mut history = History::new(AlarmLimits::default());
        reasons.iter().for_each(|reason| history.add(*reason));
        history.causes().iter().filter(|cause| cause.1).map(|cause| cause.0).collect()
    }

    #[test]
    fn only_a_pass_ends_a_row_of_fails() {
        assert_eq!(after(&[Bad, Bad, Bad, Bad]), []);
        assert_eq!(after(&[Bad, Bad, Deadline, Bad, Bad, Bad]), [Alarm::ConsecutiveReject]);
        assert_eq!(after(&[Bad, Bad, Good, Bad, Bad, Bad]), []);
    }

    #[test]
    fn any_decision_ends_a_row_of_none() {
        let rate = Alarm::NoDecisionRate;
        assert_eq!(after(&[Deadline; 5]), [rate, Alarm::InspectionLost]);
        let broken = [Deadline, Deadline, Deadline, Deadline, Bad, Deadline];
        assert_eq!(after(&broken), [rate]);
    }

    #[test]
    fn shares_look_back_over_their_window_only() {
        let mut reasons = [Bad, Good].repeat(10);
        assert_eq!(after(&reasons), [Alarm::MOfN]);
        reasons.extend([Good; 31]);
        assert_eq!(after(&reasons), []);
        let mut frames = vec![NoFrame, NoFrame, NoFrame];
        assert_eq!(after(&frames), [Alarm::NoDecisionRate, Alarm::Camera]);
        frames.extend([Good; 98]);
        assert_eq!(after(&frames), []);
        assert!(reaches(1 << 127, Share { count: 1, parts: 128 }));
        assert!(!reaches(1 << 127, Share { count: 1, parts: 127 }));
    }
}

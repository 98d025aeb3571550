//! When a part was where on its way.

use super::{Duration, LineTime};

/// Moments of a part's way through the box, each a stamp of the one clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageTimes {
    /// The picture was taken.
    pub captured: LineTime,
    /// The frame was there.
    pub arrived: LineTime,
    /// It was known to be this part's.
    pub paired: LineTime,
    /// It was the engine's input.
    pub prepared: LineTime,
    /// The engine took it up.
    pub started: LineTime,
    /// Maps and score were there.
    pub inferred: LineTime,
    /// The verdict was there.
    pub judged: LineTime,
}

impl StageTimes {
    /// Stages in their order: `camera` is exposure and transfer, `line` from verdict to commit.
    pub const STAGES: [&'static str; 7] =
        ["camera", "pairing", "preprocess", "queue", "engine", "judge", "line"];

    /// How long each of [`Self::STAGES`] took for a part triggered and committed at these times.
    pub fn durations(&self, triggered: LineTime, committed: LineTime) -> [Duration; 7] {
        let moments = [
            triggered,
            self.arrived,
            self.paired,
            self.prepared,
            self.started,
            self.inferred,
            self.judged,
            committed,
        ];
        std::array::from_fn(|stage| moments[stage + 1].since(moments[stage]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_follow_one_another_without_a_gap() {
        let at = LineTime::from_millis;
        let times = StageTimes {
            captured: at(1002),
            arrived: at(1010),
            paired: at(1011),
            prepared: at(1015),
            started: at(1020),
            inferred: at(1060),
            judged: at(1061),
        };
        let millis = times.durations(at(1000), at(1062)).map(|span| span.as_millis());
        assert_eq!(millis, [10, 1, 4, 5, 40, 1, 1]);
        assert_eq!(millis.iter().sum::<u128>(), 62);
    }
}

//! The gate: which level the actuating line has, by the armed rejects and the rules of line-io 1.3.
//!
//! To its rejecting level it goes at once. Away from it only when the valve had its time and no
//! armed part can want it back too soon. Where windows overlap, reject wins (R4).
//!
//! Where the belt goes back over ground it has covered, the gate does there what it did before,
//! and rejects where a window now asks for it: re-crossing rejects the same parts.

use super::schedule::{Rejected, Schedule};
use super::settings::{LineSettings, Wiring};
use super::tracker::{Place, Tracker, way_of};
use super::travel::{EncoderTravel, Travel};
use crate::part::{Duration, LineTime};
use std::collections::VecDeque;

/// Edges remembered: twice the parts that can be followed, and those of faults and purges.
const EDGES: usize = 1024;

/// What the state of the line makes of the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GateRule {
    /// Rejecting level, whatever the windows say (Starting, Fault, purge, end of Stopping).
    Reject,
    /// Never the rejecting level (Inhibited).
    Release,
    /// As the windows say.
    Windows,
    /// The window of every part, passed or not (Fault, part by part).
    EveryWindow,
}

impl GateRule {
    fn rejected(self) -> Rejected {
        if self == Self::EveryWindow { Rejected::All } else { Rejected::Armed }
    }
}

/// Where and when the gate is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub now: LineTime,
    /// When a wire is really written.
    pub real: LineTime,
    pub here: Place,
    /// How far beyond the belt may be, between two counts.
    pub untold: i64,
    /// The belt went back and has been here before.
    pub behind: bool,
}

impl Moment {
    pub fn new(tracker: &Tracker, now: LineTime, clock: LineTime) -> Self {
        let (here, behind) = (tracker.here(now), tracker.is_behind());
        Self { now, real: clock.max(now), here, untold: tracker.untold(now), behind }
    }
}

/// What became of the merged reject window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Merged {
    Unchanged,
    /// It has begun to fire.
    Fired,
    /// It is over.
    Closed,
}

/// The gate's level and since when it has it.
#[derive(Debug)]
pub(super) struct Gate {
    wiring: Wiring,
    pulse: Duration,
    min_gap: Duration,
    /// `pulse` and `min_gap` as ways.
    pulse_way: i64,
    gap_way: i64,
    /// Turns times into ways at the largest speed; `None` in delay mode.
    way: Option<EncoderTravel>,
    rejects: bool,
    since: LineTime,
    /// Where it last went to its rejecting level on new ground.
    since_place: Place,
    /// Since that edge an armed window was open.
    rejected_part: bool,
    /// A merged reject window is open.
    window_open: bool,
    /// Its edges on the ground covered, oldest first.
    edges: VecDeque<(Place, bool)>,
}

impl Gate {
    /// A gate at its rejecting level, as the output request sets it.
    pub fn new(settings: &LineSettings, now: LineTime) -> Self {
        let (pulse, min_gap) = (settings.pulse, settings.min_gap);
        let way = match settings.travel {
            Travel::Delay { .. } => None,
            Travel::Distance(way) => Some(way),
        };
        let as_way = |time| way.map_or_else(|| way_of(time), |way| way.counts_in(time));
        let start = Place::of_count(i64::MIN);
        let mut edges = VecDeque::with_capacity(EDGES);
        edges.push_back((start, true));
        Self {
            wiring: settings.wiring,
            pulse,
            min_gap,
            pulse_way: as_way(pulse),
            gap_way: as_way(min_gap),
            way,
            rejects: true,
            since: now,
            since_place: start,
            rejected_part: false,
            window_open: false,
            edges,
        }
    }

    /// The gate is at its rejecting level.
    pub fn rejects(&self) -> bool {
        self.rejects
    }

    /// The gate has been at its rejecting level from `moment` on.
    pub fn has_rejected_since(&self, moment: LineTime) -> bool {
        self.rejects && self.since <= moment
    }

    /// The gate went to its rejecting level after `moment` only.
    pub fn rejects_only_after(&self, moment: LineTime) -> bool {
        self.rejects && self.since > moment
    }

    /// A merged reject window is open.
    pub fn window_is_open(&self) -> bool {
        self.window_open
    }

    /// How far windows reach beyond their ends, by merging.
    pub fn reach(&self) -> i64 {
        self.gap_way
    }

    /// Sets the level; an edge is stamped `at.real`, when the wire is really written.
    pub fn update(&mut self, rule: GateRule, schedule: &Schedule, at: Moment) -> Merged {
        let rejected = rule.rejected();
        let covered = schedule.rejects(rejected, at.here);
        let rejects = match rule {
            GateRule::Reject => true,
            GateRule::Release => false,
            _ if at.behind => covered || self.rejected_before(at.here) || self.holds_still(at),
            _ if self.wiring == Wiring::EnergiseToReject => {
                let merges = self.reject_within(rejected, schedule, at);
                covered || self.holds_still(at) || (self.rejected_last() && merges)
            }
            _ => covered || !self.may_pass(schedule, at),
        };
        if rejects != self.rejects {
            (self.rejects, self.since, self.rejected_part) = (rejects, at.real, false);
        }
        self.rejected_part |= covered && rejects;
        if at.behind {
            return Merged::Unchanged;
        }
        // What Inhibited let go by is rejected when it comes back.
        let inhibited = rule == GateRule::Release && self.way.is_some();
        self.note_edge(at, self.rejects || inhibited);
        let joined = self.window_open && self.rejects && self.reject_within(rejected, schedule, at);
        let window_open = covered || joined;
        let was_open = std::mem::replace(&mut self.window_open, window_open);
        match (was_open, window_open) {
            (false, true) if rule == GateRule::Windows => Merged::Fired,
            (true, false) => Merged::Closed,
            _ => Merged::Unchanged,
        }
    }

    /// The next moment at which a hold ends.
    pub fn due(&self) -> LineTime {
        match self.wiring {
            Wiring::EnergiseToPass if self.way.is_none() => self.since + self.min_gap,
            _ => self.since + self.pulse,
        }
    }

    /// Lets go of edges on ground before `behind`.
    pub fn retire(&mut self, behind: Place) {
        while self.edges.get(1).is_some_and(|edge| edge.0 <= behind) {
            self.edges.pop_front();
        }
    }

    /// The ground covered before this moment is no longer known.
    pub fn forget(&mut self) {
        self.edges.clear();
        self.edges.push_back((Place::of_count(i64::MIN), true));
    }

    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.edges.capacity()
    }

    /// Remembers the level from `here` on, on new ground.
    fn note_edge(&mut self, Moment { here, untold, .. }: Moment, rejects: bool) {
        if rejects == self.rejected_last() {
            return;
        }
        if rejects {
            self.since_place = here.ahead(untold);
        }
        if self.way.is_none() {
            // Nobody comes back to a moment: only the last level is of use.
            self.edges.clear();
        } else if self.edges.back().is_some_and(|edge| edge.0 == here) {
            self.edges.pop_back();
        }
        if self.edges.len() == EDGES {
            self.edges.pop_front();
        }
        self.edges.push_back((here, rejects));
    }

    /// The level where the belt was furthest.
    fn rejected_last(&self) -> bool {
        self.edges.back().is_none_or(|edge| edge.1)
    }

    /// The level when the belt was at `here` before; what is forgotten was rejected.
    fn rejected_before(&self, here: Place) -> bool {
        let after = self.edges.partition_point(|edge| edge.0 <= here);
        after.checked_sub(1).and_then(|last| self.edges.get(last)).is_none_or(|edge| edge.1)
    }

    /// A reject that has begun lasts at least as long as the valve needs.
    fn holds_still(&self, at: Moment) -> bool {
        let valve = self.wiring == Wiring::EnergiseToReject || self.rejected_part;
        self.rejects && valve && at.now < self.since + self.pulse
    }

    /// A window to be rejected opens so soon that windows merge.
    fn reject_within(&self, rejected: Rejected, schedule: &Schedule, at: Moment) -> bool {
        let next = schedule.earliest_reject(rejected, at.here);
        let beyond = at.here.ahead(at.untold);
        next.is_some_and(|open| open.beyond(beyond).max(0) < self.gap_way)
    }

    /// Energise to pass: a passed part's window, no armed one, and a pulse long enough.
    fn may_pass(&self, schedule: &Schedule, at: Moment) -> bool {
        if !self.rejected_last() {
            let cut = schedule.next_reject(Rejected::Armed, at.here);
            return self.pass_reaches(schedule, at.here, cut, 1);
        }
        let rested = if self.way.is_some() {
            at.here.beyond(self.since_place) >= self.gap_way && !self.holds_still(at)
        } else {
            at.now >= self.since + self.min_gap
        };
        let late = at.real.since(at.now);
        let late = self.way.map_or_else(|| way_of(late), |way| way.counts_in(late));
        let wanted = self.pulse_way.saturating_add(late).saturating_add(at.untold).max(1);
        let cut = schedule.earliest_reject(Rejected::Armed, at.here);
        schedule.passes(at.here) && rested && self.pass_reaches(schedule, at.here, cut, wanted)
    }

    /// Whether an open gate would stay open for `wanted`: windows of passed parts, those closer
    /// than `min_gap` joined unless an armed one opens before, cut where the first armed one opens.
    fn pass_reaches(
        &self,
        schedule: &Schedule,
        here: Place,
        cut: Option<Place>,
        wanted: i64,
    ) -> bool {
        let cut = cut.unwrap_or(Place::END);
        let mut end = here;
        while end < cut && end.beyond(here) < wanted {
            let further = schedule
                .iter()
                .filter(|entry| !entry.is_armed())
                .map(|entry| entry.window)
                .filter(|w| w.close > end && w.open < end.ahead(self.gap_way.max(1)))
                .filter(|w| w.open <= cut)
                .map(|w| w.close)
                .max();
            match further {
                Some(close) => end = close,
                None => break,
            }
        }
        end.min(cut).beyond(here) >= wanted
    }
}

//! Kernel edges to events of the line. Pure.

use super::lockout::Lockout;
use super::quadrature::{Channel, Quadrature};
use super::steady::SteadyLevel;
use super::{FoundLine, InputWire};
use crate::line::{Alarm, InputLine, LineEvent, TriggerSource};
use crate::part::{Duration, LineTime};
use gpiocdev::line::{EdgeEvent, EdgeKind, Offset};

/// A second edge of the chute's barrier within this time is bounce (line-io 1.6).
const CONFIRM_LOCKOUT: Duration = Duration::from_millis(10);

/// The state that turns edges into events.
pub struct Edges {
    lines: Vec<(InputWire, Offset)>,
    /// Expected number of the next event among all lines of the request.
    next: u32,
    encoder: Quadrature,
    has_encoder: bool,
    confirm: Lockout,
    /// Levels that count once they stand still.
    steady: Vec<(InputLine, SteadyLevel)>,
    /// Edges up to this moment may be in the levels that were read: they are no proof of a loss.
    levels_read: LineTime,
}

/// A jump in the numbers: edges were lost, the levels must be read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap;

impl Edges {
    /// No edge seen yet; levels are told by [`Self::levels`].
    pub fn new(found: &[FoundLine<InputWire>]) -> Self {
        let lines: Vec<_> = found.iter().map(|line| (line.meaning, line.offset)).collect();
        let has_encoder = lines.iter().any(|(wire, _)| wire.channel().is_some());
        let steady = lines.iter().filter_map(|(wire, _)| match wire {
            InputWire::Line(input) => Some((*input, SteadyLevel::new(rest(*input)?))),
            InputWire::EncoderA | InputWire::EncoderB => None,
        });
        let steady = steady.collect();
        Self {
            lines,
            // The kernel counts from 1.
            next: 1,
            encoder: Quadrature::default(),
            has_encoder,
            confirm: Lockout::new(CONFIRM_LOCKOUT),
            steady,
            levels_read: LineTime::ZERO,
        }
    }

    /// Every line, in the order in which [`Self::levels`] takes levels.
    pub fn lines(&self) -> &[(InputWire, Offset)] {
        &self.lines
    }

    /// Takes every line's level as read just before `now` and tells it; the trigger's is not told:
    /// only its edge is a part.
    pub fn levels(&mut self, levels: &[bool], now: LineTime, out: &mut Vec<LineEvent>) {
        self.levels_read = now;
        let (mut a, mut b) = (false, false);
        for (&(wire, _), &level) in self.lines.iter().zip(levels) {
            match wire {
                InputWire::EncoderA => a = level,
                InputWire::EncoderB => b = level,
                InputWire::Line(InputLine::Trigger) => {}
                InputWire::Line(input) => {
                    if input == InputLine::Confirm {
                        self.confirm.resynchronise(level);
                    }
                    if let Some(steady) = of(&mut self.steady, input) {
                        steady.resynchronise(level);
                    }
                    out.push(LineEvent::Input { input, level, time: now });
                }
            }
        }
        if self.has_encoder {
            self.encoder.resynchronise(a, b);
            out.push(LineEvent::Encoder { count: self.encoder.count(), time: now });
        }
    }

    /// What an edge says. The number over all lines is tested, not each line's own: it shows a loss
    /// at the next edge of any line, where `line_seqno` of a trigger would show it only at the next
    /// part.
    pub fn edge(&mut self, edge: &EdgeEvent, out: &mut Vec<LineEvent>) -> Option<Gap> {
        let time = LineTime::from_nanos(edge.timestamp_ns);
        self.settle(time, out);
        let gap = self.next != edge.seqno;
        self.next = edge.seqno.wrapping_add(1);
        if gap {
            out.push(LineEvent::WireFault { alarm: Alarm::TrackingLost, time });
            if self.has_encoder {
                out.push(LineEvent::WireFault { alarm: Alarm::Encoder, time });
            }
        }
        let level = edge.kind == EdgeKind::Rising;
        match self.lines.iter().find(|line| line.1 == edge.offset).map(|line| line.0) {
            Some(InputWire::EncoderA) => self.encoder_edge(Channel::A, level, time, out),
            Some(InputWire::EncoderB) => self.encoder_edge(Channel::B, level, time, out),
            Some(InputWire::Line(InputLine::Trigger)) if level => {
                out.push(LineEvent::Trigger { time, source: TriggerSource::Wire });
            }
            Some(InputWire::Line(InputLine::Confirm)) if !self.confirm.edge(level, time) => {}
            Some(InputWire::Line(InputLine::Trigger)) | None => {}
            Some(InputWire::Line(input)) => match of(&mut self.steady, input) {
                Some(steady) => steady.see(level, time),
                None => out.push(LineEvent::Input { input, level, time }),
            },
        }
        gap.then_some(Gap)
    }

    fn encoder_edge(
        &mut self,
        channel: Channel,
        level: bool,
        time: LineTime,
        out: &mut Vec<LineEvent>,
    ) {
        match self.encoder.edge(channel, level) {
            Ok(count) => out.push(LineEvent::Encoder { count, time }),
            Err(_) if time <= self.levels_read => {}
            Err(_) => out.push(LineEvent::WireFault { alarm: Alarm::Encoder, time }),
        }
    }

    /// Whether there is a line whose level is worth a look now and then.
    pub fn wants_looks(&self) -> bool {
        !self.steady.is_empty()
    }

    /// Takes every line's level as read just before `now`, as [`Self::levels`] does, but only to find
    /// what no edge told.
    pub fn look(&mut self, levels: &[bool], now: LineTime, out: &mut Vec<LineEvent>) {
        self.settle(now, out);
        for ((wire, _), &level) in self.lines.iter().zip(levels) {
            if let InputWire::Line(input) = *wire
                && let Some(steady) = of(&mut self.steady, input)
            {
                steady.see(level, now);
            }
        }
    }

    /// When [`Self::settle`] has something to do.
    pub fn due(&self) -> Option<LineTime> {
        let steady = self.steady.iter().filter_map(|(_, steady)| steady.due());
        steady.chain(self.confirm.due()).min()
    }

    /// Ends lockouts and times of rest that are over at `now`.
    pub fn settle(&mut self, now: LineTime, out: &mut Vec<LineEvent>) {
        while let Some((level, time)) = self.confirm.settle(now) {
            out.push(LineEvent::Input { input: InputLine::Confirm, level, time });
        }
        for (input, steady) in &mut self.steady {
            if let Some((level, time)) = steady.settle(now) {
                out.push(LineEvent::Input { input: *input, level, time });
            }
        }
    }
}

fn of(steady: &mut [(InputLine, SteadyLevel)], input: InputLine) -> Option<&mut SteadyLevel> {
    steady.iter_mut().find(|(line, _)| *line == input).map(|(_, steady)| steady)
}

/// How long a level must stand still (line-io 1.6). Never where a stamp is t0, e0 or a proof: it
/// would move the stamp by its period.
fn rest(input: InputLine) -> Option<Duration> {
    match input {
        InputLine::Trigger | InputLine::Confirm => None,
        InputLine::Reset | InputLine::Run => Some(Duration::from_millis(20)),
        InputLine::AirOk => Some(Duration::from_millis(500)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIGGER: Offset = 4;
    const CONFIRM: Offset = 9;
    const A: Offset = 1;
    const B: Offset = 2;

    fn edges(with_encoder: bool) -> Edges {
        let mut wires = vec![
            (InputWire::Line(InputLine::Trigger), TRIGGER),
            (InputWire::Line(InputLine::Confirm), CONFIRM),
        ];
        if with_encoder {
            wires.extend([(InputWire::EncoderA, A), (InputWire::EncoderB, B)]);
        }
        let found = |(meaning, offset)| FoundLine { meaning, offset, active_low: false };
        Edges::new(&wires.into_iter().map(found).collect::<Vec<_>>())
    }

    fn rising(offset: Offset, seqno: u32, millis: u64) -> EdgeEvent {
        let timestamp_ns = millis * 1_000_000;
        EdgeEvent { timestamp_ns, kind: EdgeKind::Rising, offset, seqno, line_seqno: 1 }
    }

    fn falling(offset: Offset, seqno: u32, millis: u64) -> EdgeEvent {
        EdgeEvent { kind: EdgeKind::Falling, ..rising(offset, seqno, millis) }
    }

    fn told(edges: &mut Edges, edge: EdgeEvent) -> Vec<LineEvent> {
        let mut out = Vec::new();
        edges.edge(&edge, &mut out);
        out
    }

    fn at(millis: u64) -> LineTime {
        LineTime::from_millis(millis)
    }

    fn fault(alarm: Alarm, millis: u64) -> LineEvent {
        LineEvent::WireFault { alarm, time: at(millis) }
    }

    fn confirm(level: bool, millis: u64) -> LineEvent {
        LineEvent::Input { input: InputLine::Confirm, level, time: at(millis) }
    }

    #[test]
    fn edges_become_events_with_the_kernels_stamp() {
        let mut edges = edges(false);
        let trigger = LineEvent::Trigger { time: at(50), source: TriggerSource::Wire };
        assert_eq!(told(&mut edges, rising(TRIGGER, 1, 50)), [trigger]);
        assert_eq!(told(&mut edges, rising(CONFIRM, 2, 60)), [confirm(true, 60)]);
        assert_eq!(told(&mut edges, falling(CONFIRM, 3, 90)), [confirm(false, 90)]);
        assert_eq!(told(&mut edges, falling(TRIGGER, 4, 91)), []);
        assert_eq!(told(&mut edges, rising(77, 5, 92)), [], "no line of ours");
    }

    #[test]
    fn the_encoder_is_counted_edge_by_edge_with_the_kernels_stamp() {
        let mut edges = edges(true);
        let counted = |count, millis| [LineEvent::Encoder { count, time: at(millis) }];
        assert_eq!(told(&mut edges, rising(A, 1, 10)), counted(1, 10));
        assert_eq!(told(&mut edges, rising(B, 2, 11)), counted(2, 11));
        assert_eq!(told(&mut edges, falling(B, 3, 12)), counted(1, 12));
        assert_eq!(told(&mut edges, falling(A, 4, 13)), counted(0, 13));
        assert_eq!(told(&mut edges, falling(A, 5, 14)), [fault(Alarm::Encoder, 14)]);
        assert_eq!(told(&mut edges, rising(A, 6, 15)), counted(1, 15), "the count goes on");
    }

    #[test]
    fn a_gap_is_told_once_before_the_edge_that_shows_it() {
        let mut plain = edges(false);
        assert_eq!(told(&mut plain, rising(CONFIRM, 1, 100)), [confirm(true, 100)]);
        let lost = [fault(Alarm::TrackingLost, 200), confirm(false, 200)];
        assert_eq!(told(&mut plain, falling(CONFIRM, 4, 200)), lost);
        assert_eq!(plain.edge(&rising(TRIGGER, 5, 201), &mut Vec::new()), None);
        assert_eq!(plain.edge(&rising(TRIGGER, u32::MAX, 202), &mut Vec::new()), Some(Gap));
        assert_eq!(plain.edge(&rising(TRIGGER, 0, 203), &mut Vec::new()), None, "it wraps");
        assert_eq!(edges(false).edge(&rising(TRIGGER, 2, 1), &mut Vec::new()), Some(Gap));
        let both = [fault(Alarm::TrackingLost, 5), fault(Alarm::Encoder, 5)];
        assert_eq!(told(&mut edges(true), rising(CONFIRM, 9, 5))[..2], both);
    }

    #[test]
    fn levels_are_told_and_set_the_encoder_without_counting() {
        let mut edges = edges(true);
        let mut out = Vec::new();
        edges.levels(&[true, true, true, false], at(100), &mut out);
        let count = |count, millis| LineEvent::Encoder { count, time: at(millis) };
        assert_eq!(out, [confirm(true, 100), count(0, 100)], "a level is no trigger");
        assert_eq!(told(&mut edges, rising(A, 1, 99)), [], "it is in the levels read");
        assert_eq!(told(&mut edges, rising(B, 2, 101)), [count(1, 101)]);
        assert_eq!(told(&mut edges, rising(B, 3, 102)), [fault(Alarm::Encoder, 102)]);
    }

    #[test]
    fn a_level_counts_once_it_stands_still_and_a_look_finds_what_no_edge_told() {
        const RUN: Offset = 7;
        let run =
            |level, millis| LineEvent::Input { input: InputLine::Run, level, time: at(millis) };
        let found =
            FoundLine { meaning: InputWire::Line(InputLine::Run), offset: RUN, active_low: false };
        let mut edges = Edges::new(&[found]);
        let mut out = Vec::new();
        edges.levels(&[true], at(100), &mut out);
        assert_eq!(out, [run(true, 100)]);
        assert_eq!(told(&mut edges, falling(RUN, 1, 200)), []);
        assert_eq!(told(&mut edges, rising(RUN, 2, 205)), [], "bounce");
        assert_eq!(edges.due(), None);
        // The belt stops and its edge is lost.
        out.clear();
        edges.look(&[false], at(300), &mut out);
        assert_eq!((out.len(), edges.due()), (0, Some(at(320))));
        edges.settle(at(321), &mut out);
        assert_eq!(out, [run(false, 320)]);
        edges.look(&[false], at(400), &mut out);
        assert_eq!((out.len(), edges.due()), (1, None));
    }

    #[test]
    fn the_barriers_bounce_is_one_edge_and_its_level_is_never_lost() {
        let mut edges = edges(false);
        assert_eq!(told(&mut edges, rising(CONFIRM, 1, 100)), [confirm(true, 100)]);
        assert_eq!(told(&mut edges, falling(CONFIRM, 2, 103)), []);
        assert_eq!(edges.due(), Some(at(110)));
        let trigger = LineEvent::Trigger { time: at(150), source: TriggerSource::Wire };
        let both = [confirm(false, 110), trigger];
        assert_eq!(told(&mut edges, rising(TRIGGER, 3, 150)), both, "in the order of time");
    }
}

//! The input wires: a thread that waits for kernel events and stamps nothing itself.

use super::{CONSUMER, GpioSettings, INTERRUPTED, system_error};
use crate::line::{Alarm, InputLine, LineEvent, TriggerSource};
use crate::line_io::LineIoError;
use crate::part::{Duration, LineTime};
use crossbeam_channel::{SendTimeoutError, Sender};
use gpiocdev::Request;
use gpiocdev::line::{Bias, EdgeDetection, EdgeEvent, EdgeKind, EventClock, Offset};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Events the kernel keeps for us; an overflow drops the oldest.
const EVENTS: u32 = 1024;
/// How often the thread looks whether it is to end.
const WAKE: Duration = Duration::from_millis(100);

/// The kernel's debounce (line-io 1.6). Never on trigger: it would move t0.
fn debounce(input: InputLine) -> Option<Duration> {
    match input {
        InputLine::Trigger | InputLine::Confirm => None,
        InputLine::Reset | InputLine::Run => Some(Duration::from_millis(20)),
        InputLine::AirOk => Some(Duration::from_millis(500)),
    }
}

/// The input lines of one chip and their thread; dropping it joins the thread.
pub struct GpioInputs {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl GpioInputs {
    /// Takes every line in one request and starts thread `gpio-in`. The first events are the
    /// levels of every line but the trigger.
    ///
    /// Lost edge events raise TRACKING_LOST: a gap names no line, so trigger edges may be among
    /// them, and then the parts are no longer known.
    ///
    /// # Errors
    /// Chip or line is missing, busy or not permitted; named, with the remedy.
    pub fn start(
        settings: &GpioSettings<InputLine>,
        events: Sender<LineEvent>,
    ) -> Result<Self, LineIoError> {
        let (chip, found) = settings.find()?;
        let mut builder = Request::builder();
        builder.on_chip(&settings.chip).with_consumer(CONSUMER);
        builder.with_kernel_event_buffer_size(EVENTS);
        for line in &found {
            let trigger = line.meaning == InputLine::Trigger;
            let edges = if trigger { EdgeDetection::RisingEdge } else { EdgeDetection::BothEdges };
            builder.with_line(line.offset).as_input().with_edge_detection(edges);
            builder.with_event_clock(EventClock::Monotonic);
            // Towards inactive: a broken wire reads 0.
            if line.active_low {
                builder.as_active_low().with_bias(Bias::PullUp);
            } else {
                builder.as_active_high().with_bias(Bias::PullDown);
            }
            builder.with_debounce_period(debounce(line.meaning).unwrap_or_default());
        }
        let request = builder.request();
        let request = request.map_err(|error| settings.request_refusal(&chip, &found, &error))?;
        let lines = found.iter().map(|line| (line.meaning, line.offset)).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let reader =
            Reader { request, edges: Edges { lines, next: None }, events, stop: Arc::clone(&stop) };
        let thread = std::thread::Builder::new().name("gpio-in".into());
        let thread = thread.spawn(move || reader.run()).map_err(|error| LineIoError::Gpio {
            what: settings.chip.display().to_string(),
            reason: format!("thread gpio-in cannot be started: {error}; look at memory and limits"),
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for GpioInputs {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("thread gpio-in ended by a panic");
        }
    }
}

/// The end: the line is gone, or we are to stop.
struct Ended;

struct Reader {
    request: Request,
    edges: Edges,
    events: Sender<LineEvent>,
    stop: Arc<AtomicBool>,
}

impl Reader {
    fn run(mut self) {
        if self.send_levels().is_err() {
            return;
        }
        loop {
            match self.request.wait_edge_event(WAKE) {
                Ok(true) => {}
                Ok(false) if !self.stop.load(Ordering::Relaxed) => continue,
                Ok(false) => return,
                Err(error) if system_error(&error) == Some(INTERRUPTED) => continue,
                Err(error) => return self.lost(&error),
            }
            let edge = match self.request.read_edge_event() {
                Ok(edge) => edge,
                Err(error) if system_error(&error) == Some(INTERRUPTED) => continue,
                Err(error) => return self.lost(&error),
            };
            let (gap, event) = self.edges.translate(&edge);
            let gap = gap.map_or(Ok(()), |gap| {
                log::error!("GPIO edge events were lost before {}", edge.timestamp_ns);
                self.send(gap).and_then(|()| self.send_levels())
            });
            if gap.and_then(|()| event.map_or(Ok(()), |event| self.send(event))).is_err() {
                return;
            }
        }
    }

    /// The levels of this moment, of every line but the trigger.
    fn send_levels(&self) -> Result<(), Ended> {
        for &(input, offset) in &self.edges.lines {
            if input == InputLine::Trigger {
                continue;
            }
            match self.request.value(offset) {
                Ok(level) => {
                    let time = LineTime::now();
                    self.send(LineEvent::Input { input, level: level.into(), time })?;
                }
                Err(error) => {
                    self.lost(&error);
                    return Err(Ended);
                }
            }
        }
        Ok(())
    }

    fn lost(&self, error: &gpiocdev::Error) {
        log::error!("GPIO inputs cannot be read any more: {error}");
        let alarm = Alarm::TrackingLost;
        // When this cannot be sent either, the line is gone.
        let _ = self.send(LineEvent::WireFault { alarm, time: LineTime::now() });
    }

    /// Waits for the line if it must: meanwhile the kernel keeps the edges with their stamps.
    fn send(&self, mut event: LineEvent) -> Result<(), Ended> {
        loop {
            match self.events.send_timeout(event, WAKE) {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Timeout(back)) if !self.stop.load(Ordering::Relaxed) => {
                    event = back;
                }
                Err(_) => return Err(Ended),
            }
        }
    }
}

/// Kernel edges to events of the line. Pure.
struct Edges {
    lines: Vec<(InputLine, Offset)>,
    /// Expected number of the next event among all lines of the request.
    next: Option<u32>,
}

impl Edges {
    /// The alarm of a gap before this edge, and the edge itself.
    ///
    /// The number over all lines is tested, not each line's own: it shows a loss at the next edge
    /// of any line, where `line_seqno` of a trigger would show it only at the next part.
    fn translate(&mut self, edge: &EdgeEvent) -> (Option<LineEvent>, Option<LineEvent>) {
        let time = LineTime::from_nanos(edge.timestamp_ns);
        let alarm = Alarm::TrackingLost;
        // The kernel counts from 1.
        let gap = self.next.unwrap_or(1) != edge.seqno;
        self.next = Some(edge.seqno.wrapping_add(1));
        let rising = edge.kind == EdgeKind::Rising;
        let line = self.lines.iter().find(|line| line.1 == edge.offset).map(|line| line.0);
        let event = match line {
            Some(InputLine::Trigger) => {
                let source = TriggerSource::Wire;
                rising.then_some(LineEvent::Trigger { time, source })
            }
            Some(input) => Some(LineEvent::Input { input, level: rising, time }),
            None => None,
        };
        (gap.then_some(LineEvent::WireFault { alarm, time }), event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line_io::gpio::{GpioLine, LineAddress};

    fn edge(offset: Offset, kind: EdgeKind, seqno: u32) -> EdgeEvent {
        EdgeEvent { timestamp_ns: 77, kind, offset, seqno, line_seqno: 1 }
    }

    fn edges() -> Edges {
        Edges { lines: vec![(InputLine::Trigger, 4), (InputLine::Confirm, 9)], next: None }
    }

    const TIME: LineTime = LineTime::from_nanos(77);

    #[test]
    fn edges_become_events_with_the_kernels_stamp() {
        let mut edges = edges();
        let trigger = LineEvent::Trigger { time: TIME, source: TriggerSource::Wire };
        assert_eq!(edges.translate(&edge(4, EdgeKind::Rising, 1)), (None, Some(trigger)));
        for (number, kind, level) in [(2, EdgeKind::Rising, true), (3, EdgeKind::Falling, false)] {
            let input = LineEvent::Input { input: InputLine::Confirm, level, time: TIME };
            assert_eq!(edges.translate(&edge(9, kind, number)), (None, Some(input)));
        }
        assert_eq!(edges.translate(&edge(4, EdgeKind::Falling, 4)), (None, None));
        assert_eq!(edges.translate(&edge(5, EdgeKind::Rising, 5)), (None, None));
    }

    #[test]
    fn a_gap_is_told_once_before_the_edge_that_shows_it() {
        let fault = LineEvent::WireFault { alarm: Alarm::TrackingLost, time: TIME };
        let mut edges = edges();
        let mut gap = |number| edges.translate(&edge(9, EdgeKind::Rising, number)).0;
        assert_eq!(gap(1), None);
        assert_eq!(gap(4), Some(fault), "two and three are lost");
        assert_eq!(gap(5), None);
        assert_eq!(gap(u32::MAX), Some(fault));
        assert_eq!(gap(0), None, "the counter wraps");
        let mut late = Edges { lines: Vec::new(), next: None };
        assert!(late.translate(&edge(9, EdgeKind::Rising, 2)).0.is_some(), "the first was lost");
    }

    #[test]
    fn the_trigger_is_never_debounced_by_the_kernel() {
        assert_eq!(debounce(InputLine::Trigger), None);
        let line = GpioLine { address: LineAddress::Offset(0), active_low: false };
        let lines = vec![(InputLine::Trigger, line)];
        let settings = GpioSettings { chip: "/dev/gpiochip-none".into(), lines };
        let (events, _) = crossbeam_channel::bounded(1);
        assert!(GpioInputs::start(&settings, events).is_err());
    }
}

//! The input wires: a thread that waits for kernel events and stamps nothing itself.

use super::edges::Edges;
use super::quadrature::Channel;
use super::{CONSUMER, FoundLine, GpioSettings, INTERRUPTED, system_error};
use crate::line::{Alarm, InputLine, LineEvent};
use crate::line_io::LineIoError;
use crate::line_io::channel::{SendTimeoutError, Sender};
use crate::line_io::realtime::{self, RealtimeSettings};
use crate::part::{Duration, LineTime};
use gpiocdev::Request;
use gpiocdev::line::{Bias, EdgeDetection, EventClock, Values};
use gpiocdev::request::Builder;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Events the kernel keeps for us; an overflow drops the oldest.
const EVENTS: u32 = 1024;
/// How often the thread looks whether it is to end, and at the levels that no edge may have told.
const WAKE: Duration = Duration::from_millis(100);

/// Wires into the box (line-io 1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputWire {
    /// A wire with a meaning of its own.
    Line(InputLine),
    /// Channel A of the encoder.
    EncoderA,
    /// Channel B of the encoder.
    EncoderB,
}

impl InputWire {
    /// The encoder's channel, if it is one.
    pub(super) fn channel(self) -> Option<Channel> {
        match self {
            Self::EncoderA => Some(Channel::A),
            Self::EncoderB => Some(Channel::B),
            Self::Line(_) => None,
        }
    }
}

/// What pulls an input that nothing drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pull {
    /// The pad's own resistor, towards logical 0: a broken wire is no signal.
    Inactive,
    /// Nothing of this chip: the board has its own resistors.
    Disabled,
}

/// The input wires and how they are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpioInputSettings {
    /// Chip and lines.
    pub wires: GpioSettings<InputWire>,
    /// Pull of every one of them.
    pub pull: Pull,
    /// Scheduling of the thread `gpio-in`.
    pub realtime: RealtimeSettings,
}

/// The input lines of one chip and their thread; dropping it joins the thread.
pub struct GpioInputs {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl GpioInputs {
    /// Takes every line in one request, so that their edges are one ordered stream, and starts
    /// thread `gpio-in`. The first events are the levels of every line but the trigger.
    ///
    /// Lost edge events raise TRACKING_LOST, and ENCODER where one is wired: a gap names no line.
    /// So does, lastingly, a chip that can no longer be read.
    ///
    /// # Errors
    /// Chip or line is missing, busy or not permitted; named, with the remedy.
    pub fn start(
        settings: &GpioInputSettings,
        events: Sender<LineEvent>,
    ) -> Result<Self, LineIoError> {
        let (chip, found) = settings.wires.find()?;
        let request = request(settings, &found).request();
        let request =
            request.map_err(|error| settings.wires.request_refusal(&chip, &found, &error))?;
        let stop = Arc::new(AtomicBool::new(false));
        let reader = Reader {
            request,
            edges: Edges::new(&found),
            look: LineTime::ZERO,
            found: Vec::with_capacity(16),
            events,
            stop: Arc::clone(&stop),
        };
        let realtime = settings.realtime.clone();
        let thread = std::thread::Builder::new().name("gpio-in".into());
        let thread = thread.spawn(move || {
            realtime::apply(&realtime);
            reader.run();
        });
        let thread = thread.map_err(|error| LineIoError::Gpio {
            what: settings.wires.chip.display().to_string(),
            reason: format!("thread gpio-in cannot be started: {error}; look at memory and limits"),
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

fn request(settings: &GpioInputSettings, found: &[FoundLine<InputWire>]) -> Builder {
    let mut builder = Request::builder();
    builder.on_chip(&settings.wires.chip).with_consumer(CONSUMER);
    builder.with_kernel_event_buffer_size(EVENTS);
    for line in found {
        let trigger = line.meaning == InputWire::Line(InputLine::Trigger);
        let edges = if trigger { EdgeDetection::RisingEdge } else { EdgeDetection::BothEdges };
        builder.with_line(line.offset).as_input().with_edge_detection(edges);
        builder.with_event_clock(EventClock::Monotonic);
        builder.with_bias(match (settings.pull, line.active_low) {
            (Pull::Disabled, _) => Bias::Disabled,
            (Pull::Inactive, true) => Bias::PullUp,
            (Pull::Inactive, false) => Bias::PullDown,
        });
        if line.active_low {
            builder.as_active_low();
        } else {
            builder.as_active_high();
        }
    }
    builder
}

impl Drop for GpioInputs {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("thread gpio-in ended by a panic");
        }
    }
}

/// The end: the line is gone, the wires are gone, or we are to stop.
struct Ended;

struct Reader {
    request: Request,
    edges: Edges,
    /// When the levels are looked at next.
    look: LineTime,
    /// Events of one edge; kept, so that the thread does not allocate.
    found: Vec<LineEvent>,
    events: Sender<LineEvent>,
    stop: Arc<AtomicBool>,
}

impl Reader {
    fn run(mut self) {
        if self.tell_levels().is_err() {
            return;
        }
        while self.turn().is_ok() {}
    }

    /// Waits for one edge, or the end of a lockout, and tells it.
    fn turn(&mut self) -> Result<(), Ended> {
        let now = LineTime::now();
        if self.edges.wants_looks() && now >= self.look {
            self.look = now + WAKE;
            let levels = self.read_levels()?;
            self.edges.look(&levels, LineTime::now(), &mut self.found);
            self.tell()?;
        }
        let wait = self.edges.due().map_or(WAKE, |due| WAKE.min(due.since(now)));
        match self.request.wait_edge_event(wait) {
            Ok(true) => {}
            Ok(false) if self.stop.load(Ordering::Relaxed) => return Err(Ended),
            Ok(false) => {
                self.edges.settle(LineTime::now(), &mut self.found);
                return self.tell();
            }
            Err(error) => return self.interrupted_or_lost(&error),
        }
        let edge = match self.request.read_edge_event() {
            Ok(edge) => edge,
            Err(error) => return self.interrupted_or_lost(&error),
        };
        let gap = self.edges.edge(&edge, &mut self.found);
        self.tell()?;
        if gap.is_some() {
            log::error!("GPIO edge events were lost before {}", edge.timestamp_ns);
            self.tell_levels()?;
        }
        Ok(())
    }

    /// The levels of this moment.
    fn tell_levels(&mut self) -> Result<(), Ended> {
        let levels = self.read_levels()?;
        self.edges.levels(&levels, LineTime::now(), &mut self.found);
        self.tell()
    }

    /// Of every line, in the order of [`Edges::lines`].
    fn read_levels(&mut self) -> Result<Vec<bool>, Ended> {
        let mut values = Values::default();
        for (_, offset) in self.edges.lines() {
            values.set(*offset, gpiocdev::line::Value::Inactive);
        }
        if let Err(error) = self.request.values(&mut values) {
            return self.interrupted_or_lost(&error).and_then(|()| self.read_levels());
        }
        let level = |offset| values.get(offset).is_some_and(bool::from);
        Ok(self.edges.lines().iter().map(|(_, offset)| level(*offset)).collect())
    }

    fn interrupted_or_lost(&mut self, error: &gpiocdev::Error) -> Result<(), Ended> {
        if system_error(error) == Some(INTERRUPTED) {
            return Ok(());
        }
        log::error!("GPIO inputs cannot be read any more: {error}; restart when the chip is back");
        let (alarm, time) = (Alarm::TrackingLost, LineTime::now());
        self.found.push(LineEvent::WireFault { alarm, time });
        // Lasting: without its trigger the box must not come back by a CLEAR_FAULT.
        self.found.push(LineEvent::Cause { alarm, present: true, time });
        self.tell()?;
        Err(Ended)
    }

    fn tell(&mut self) -> Result<(), Ended> {
        let mut found = std::mem::take(&mut self.found);
        let told = found.drain(..).try_for_each(|event| self.send(event));
        self.found = found;
        told
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line_io::gpio::{GpioLine, LineAddress};

    fn settings(pull: Pull) -> GpioInputSettings {
        let wire =
            |number| GpioLine { address: LineAddress::Offset(number), active_low: number == 1 };
        let lines = vec![
            (InputWire::Line(InputLine::Trigger), wire(0)),
            (InputWire::EncoderA, wire(1)),
            (InputWire::Line(InputLine::Run), wire(2)),
        ];
        let wires = GpioSettings { chip: "/dev/gpiochip-none".into(), lines };
        GpioInputSettings { wires, pull, realtime: RealtimeSettings::default() }
    }

    #[test]
    fn one_request_asks_for_every_line_as_the_contract_says() {
        let lines = settings(Pull::Inactive).wires.lines;
        let found: Vec<FoundLine<InputWire>> = (0..)
            .zip(&lines)
            .map(|(offset, (meaning, line))| FoundLine {
                meaning: *meaning,
                offset,
                active_low: line.active_low,
            })
            .collect();
        let asked = request(&settings(Pull::Inactive), &found).config();
        let (trigger, encoder, run) = (
            asked.line_config(0).unwrap(),
            asked.line_config(1).unwrap(),
            asked.line_config(2).unwrap(),
        );
        assert_eq!(trigger.edge_detection, Some(EdgeDetection::RisingEdge));
        assert_eq!(encoder.edge_detection, Some(EdgeDetection::BothEdges));
        assert_eq!((trigger.bias, encoder.bias), (Some(Bias::PullDown), Some(Bias::PullUp)));
        assert_eq!((trigger.active_low, encoder.active_low), (false, true));
        assert_eq!(run.edge_detection, Some(EdgeDetection::BothEdges));
        let periods = [trigger, encoder, run].map(|line| line.debounce_period);
        assert_eq!(periods, [None; 3], "nothing of the kernel's that may lose a level");
        let open = request(&settings(Pull::Disabled), &found).config();
        assert_eq!(open.line_config(0).unwrap().bias, Some(Bias::Disabled));
    }

    #[test]
    fn a_missing_chip_is_an_error_not_a_panic() {
        let (events, _) = crate::line_io::channel::bounded(1);
        let error = GpioInputs::start(&settings(Pull::Inactive), events).err().unwrap();
        assert!(error.to_string().contains("no such chip"), "{error}");
    }
}

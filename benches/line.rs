//! The line's own times: verdict to output edge, error of the reject's start by time and by encoder,
//! a result's way to a Modbus client. Real line thread and Modbus server, lines in memory, an engine
//! that costs nothing.
//!
//! `cargo bench --profile release --no-default-features --bench line -- --parts 300`; `--only TEXT`:
//! only the machines with this in their name.

#![allow(clippy::panic, clippy::unwrap_used, clippy::print_stdout)]

use hdrhistogram::Histogram;
use onenipd::bundle::Normalisation;
use onenipd::daemon::{ActiveProduct, FrameWindow, Observation, Way, WayEnds, WayParts, assemble};
use onenipd::engine::{Engine, EngineError, Inspection};
use onenipd::judge::Thresholds;
use onenipd::line::{
    Alarm, AlarmSet, EncoderTravel, LineEvent, LineSettings, LineState, OutputLevels, Travel,
    Wiring,
};
use onenipd::line_io::channel::{Receiver, Sender, bounded};
use onenipd::line_io::memory::MemoryInputs;
use onenipd::line_io::modbus::{ModbusServer, ModbusSettings};
use onenipd::line_io::realtime::{self, RealtimeSettings};
use onenipd::line_io::{LineIoError, OutputLines};
use onenipd::part::{Command, Decision, Duration, Frame, LineTime, NamedTensors, PartResult};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

const SIDE: usize = 32;
/// Between parts: two are longer than a window and its gap, so that every reject has its own edge
/// (every second part fails).
const SPACING: Duration = Duration::from_millis(30);
/// Time of one count of the encoder: 1000 counts a second.
const COUNT: Duration = Duration::from_millis(1);
/// Requests per second of each client that only loads.
const CLIENT_RATE: u64 = 100;
const CLIENTS: usize = 4;
/// One more reads the newest result so often.
const READ_EVERY: Duration = Duration::from_micros(200);
/// Edges and results kept until the end, in the line's own kind of channel: another would hold the
/// threads up that are measured.
const KEPT: usize = 1 << 17;
/// Busy threads per core of an overloaded machine.
const BUSY_PER_CORE: usize = 5;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let parts = arguments.iter().position(|a| a == "--parts").and_then(|i| arguments.get(i + 1));
    let parts: usize = parts.and_then(|n| n.parse().ok()).unwrap_or(500);
    let only = arguments.iter().position(|a| a == "--only").and_then(|i| arguments.get(i + 1));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("{parts} parts each, {cores} cores, load before: {}", load.trim());
    println!("| measure | machine | n | p50 | p99 | p99.9 | max |");
    println!("|---|---|---|---|---|---|---|");
    let quiet = Surroundings::default();
    let spinning = Surroundings { spinning: cores, ..quiet };
    let both = Surroundings { clients: CLIENTS, ..spinning };
    let overload = Surroundings { spinning: BUSY_PER_CORE * cores, ..both };
    for (name, surroundings) in [
        ("idle", quiet),
        ("every core loaded", spinning),
        ("4 Modbus clients, 100 requests/s each", Surroundings { clients: CLIENTS, ..quiet }),
        ("both", both),
        ("both, `realtime.priority = 40`", Surroundings { priority: 40, ..both }),
        ("5 busy threads a core and 4 clients, same", Surroundings { priority: 40, ..overload }),
    ] {
        if only.is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        let measured = measure(delay_mode(), parts, surroundings);
        row("verdict to output edge, us", name, &measured.verdict_to_edge);
        row("reject start by time, late by us", name, &measured.reject_start);
        print_faults(name, &measured);
        let measured = measure(distance_mode(), parts, surroundings);
        row("reject start by encoder, late by us", name, &measured.reject_start);
        row("reject start by encoder, late by counts", name, &measured.reject_start_counts);
        print_faults(name, &measured);
    }
    for (name, surroundings) in [
        ("idle", quiet),
        ("every core loaded", spinning),
        ("every core loaded, `realtime.priority = 40`", Surroundings { priority: 40, ..spinning }),
        ("5 busy threads a core, same", Surroundings { priority: 40, clients: 0, ..overload }),
    ] {
        if only.is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        let reader = Surroundings { reader: true, ..surroundings };
        let measured = measure(delay_mode(), parts, reader);
        row("decided to visible over Modbus, us", name, &measured.visible);
    }
}

/// What explains a row that is not what it says.
fn print_faults(name: &str, measured: &Measured) {
    if measured.late_fires > 0 {
        println!(
            "| LATE_FIRE (later than 20 ms), times | {name} | {} | | | | |",
            measured.late_fires
        );
    }
    if measured.priority_refused {
        println!("| the kernel refused SCHED_FIFO | {name} | | | | | |");
    }
}

fn row(measure: &str, machine: &str, h: &Histogram<u64>) {
    let at = |quantile| h.value_at_quantile(quantile);
    let (p50, p99, p999) = (at(0.5), at(0.99), at(0.999));
    println!("| {measure} | {machine} | {} | {p50} | {p99} | {p999} | {} |", h.len(), h.max());
}

/// Energise to reject at a fixed speed; 20 ms of jitter, so that a busy desk shows its times
/// instead of stopping.
fn delay_mode() -> LineSettings {
    let ms = Duration::from_millis;
    let mut line = LineSettings::with_delay(Wiring::EnergiseToReject, ms(80));
    (line.actuation_time, line.jitter, line.guard) = (ms(5), ms(20), ms(5));
    (line.pulse, line.min_gap) = (ms(5), ms(5));
    line.stop_alarms = AlarmSet::always_stopping();
    // An engine starved by an overload must not end the measurement.
    line.alarm_limits.no_decisions_in_a_row = 1_000_000;
    line.boot_id = 1;
    line
}

/// The same by encoder at [`COUNT`]: 80 counts to the ejector, a part is 10 long. The gate's lead of
/// 24.5 ms is 25 counts at this speed, without doubt.
fn distance_mode() -> LineSettings {
    let mut line = delay_mode();
    line.actuation_time = Duration::from_micros(4500);
    line.travel = Travel::Distance(EncoderTravel::new(80, 10, 1200));
    line
}

/// When the gate has to go to its rejecting level for a part.
fn reject_due(line: &LineSettings, result: &PartResult, belt_start: LineTime) -> LineTime {
    let lead = line.actuation_time + line.jitter;
    match line.travel {
        Travel::Delay { delay, .. } => result.triggered + (delay - lead),
        Travel::Distance(way) => {
            let lead = lead.as_micros().div_ceil(COUNT.as_micros()) as u32;
            belt_start + COUNT * (result.encoder_count as u32 + way.distance_counts - lead)
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Surroundings {
    /// Threads that do nothing but compute.
    spinning: usize,
    /// Modbus clients at a steady rate.
    clients: usize,
    /// One more that reads the newest result every [`READ_EVERY`].
    reader: bool,
    /// SCHED_FIFO priority of line and inputs; 0 is the ordinary scheduler.
    priority: u8,
}

struct Measured {
    verdict_to_edge: Histogram<u64>,
    reject_start: Histogram<u64>,
    reject_start_counts: Histogram<u64>,
    visible: Histogram<u64>,
    late_fires: usize,
    priority_refused: bool,
}

/// Output wires whose every change is told with its time.
struct Tap(Sender<(LineTime, OutputLevels)>);

impl OutputLines for Tap {
    fn write(&mut self, levels: OutputLevels) -> Result<(), LineIoError> {
        let _ = self.0.try_send((LineTime::now(), levels));
        Ok(())
    }
}

/// Passes and fails in turn, at once.
struct Turns {
    input: Vec<f32>,
    map: Vec<f32>,
    passes: bool,
}

impl Engine for Turns {
    fn side(&self) -> usize {
        SIDE
    }

    fn set_product(&mut self, _: &NamedTensors) -> Result<(), EngineError> {
        Ok(())
    }

    fn input(&mut self) -> &mut [f32] {
        &mut self.input
    }

    fn run(&mut self) -> Result<Inspection<'_>, EngineError> {
        self.passes = !self.passes;
        let (score, map) = (if self.passes { 0.0 } else { 1.0 }, &self.map);
        let (anomaly_map, reconstruction_map, refined_map) = (&**map, &**map, &**map);
        let map_peaks = [0.0; 3];
        Ok(Inspection { score, anomaly_map, reconstruction_map, refined_map, map_peaks })
    }
}

fn measure(line: LineSettings, parts: usize, surroundings: Surroundings) -> Measured {
    let ends = WayEnds::new();
    let priority = surroundings.priority;
    let scheduling = RealtimeSettings { priority, lock_memory: priority > 0, cpus: Vec::new() };
    let networked = surroundings.clients > 0 || surroundings.reader;
    let server = networked.then(|| {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let realtime = scheduling.clone();
        let settings = ModbusSettings { listen, realtime, ..ModbusSettings::default() };
        let (snapshot, results) = (Arc::clone(&ends.snapshot), ends.results_receiver.clone());
        ModbusServer::start(settings, snapshot, results, ends.events.clone()).unwrap()
    });
    let (tap, edges) = bounded(KEPT);
    let mut parts_of_way = way_parts(line.clone(), tap);
    parts_of_way.realtime = scheduling.clone();
    let way = Way::start(parts_of_way, ends, networked).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mut others: Vec<JoinHandle<()>> =
        (0..surroundings.spinning).map(|_| spin(Arc::clone(&stop))).collect();
    let (seen, first_seen) = bounded(KEPT);
    if let Some(server) = &server {
        let address = server.local_address();
        others.extend((0..surroundings.clients).map(|_| client(address, Arc::clone(&stop))));
        if surroundings.reader {
            others.push(reader(address, Arc::clone(&stop), seen));
        }
    }
    let belt = Belt::start(MemoryInputs::new(way.events.clone()), scheduling, &stop);
    let seen_parts = run_parts(&way, &belt, parts);
    let priority_refused = priority > 0 && !line_thread_is_real_time();
    stop.store(true, Ordering::Relaxed);
    others.into_iter().chain([belt.thread]).for_each(|other| other.join().unwrap());
    way.request_stop();
    way.join();
    drop(server);
    let due = |result: &PartResult| reject_due(&line, result, belt.start);
    Measured { priority_refused, ..evaluate(&seen_parts, &edges, &first_seen, due) }
}

/// Whether the kernel schedules the thread `line` by a real-time priority (proc(5), stat 40).
fn line_thread_is_real_time() -> bool {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks.flatten().any(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
        stat.contains("(line)") && fields.clone().nth(37).is_some_and(|priority| priority != "0")
    })
}

/// Encoder and trigger sensor of an even belt. As `gpio-in` does, one thread tells both, in their
/// order and with the stamp of the moment itself, however late it is.
struct Belt {
    start: LineTime,
    ask: Sender<()>,
    triggered: Receiver<LineTime>,
    thread: JoinHandle<()>,
}

impl Belt {
    fn start(inputs: MemoryInputs, scheduling: RealtimeSettings, stop: &Arc<AtomicBool>) -> Self {
        let (start, stop) = (LineTime::now(), Arc::clone(stop));
        let ((ask, asked), (tell, triggered)) = (bounded(1), bounded(1));
        let thread = std::thread::spawn(move || {
            realtime::apply(&scheduling);
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                count += 1;
                let stamp = start + COUNT * count;
                std::thread::sleep(stamp.since(LineTime::now()));
                inputs.encoder(i64::from(count), stamp);
                if asked.try_recv().is_ok() {
                    inputs.trigger(stamp);
                    tell.send(stamp).unwrap();
                }
            }
        });
        Self { start, ask, triggered, thread }
    }

    /// A part passes the sensor at the next count.
    fn trigger(&self) -> LineTime {
        self.ask.send(()).unwrap();
        self.triggered.recv_timeout(Duration::from_secs(10)).unwrap()
    }
}

/// What was seen of the parts.
#[derive(Default)]
struct Seen {
    results: Vec<PartResult>,
    judged: HashMap<u32, LineTime>,
    late_fires: usize,
}

fn run_parts(way: &Way, belt: &Belt, parts: usize) -> Seen {
    let mut seen = Seen::default();
    while !way.snapshot.load().outputs.ready {
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut due = LineTime::now();
    // The first parts meet the purge and cold caches.
    for number in 0..parts + 10 {
        collect(way, &mut seen, due);
        let line = **way.snapshot.load();
        if line.state == LineState::Fault {
            assert!(line.alarms.contains(Alarm::LateFire), "{line:?}");
            seen.late_fires += 1;
            let (command, time) = (Command::ClearFault, LineTime::now());
            way.events.send(LineEvent::Command { command, time }).unwrap();
            collect(way, &mut seen, time + Duration::from_millis(300));
        }
        let time = belt.trigger();
        let shade = number as u8;
        let picture = image::RgbImage::from_fn(64, 48, |x, y| {
            image::Rgb([(x * 3) as u8 ^ shade, (y * 5) as u8, shade])
        });
        way.sink.push(Frame::from_picture(picture, number as u64, time).unwrap());
        due = time + SPACING;
    }
    collect(way, &mut seen, due + Duration::from_millis(300));
    seen.results.drain(..10.min(seen.results.len()));
    seen
}

fn collect(way: &Way, seen: &mut Seen, until: LineTime) {
    loop {
        let wait = until.since(LineTime::now());
        match way.observations.recv_timeout(wait) {
            Ok(Observation::Decided(result)) => seen.results.push(result),
            Ok(Observation::Judged { sequence, times }) => {
                seen.judged.insert(sequence.get(), times.judged);
            }
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

fn evaluate(
    seen: &Seen,
    edges: &Receiver<(LineTime, OutputLevels)>,
    first_seen: &Receiver<(u32, LineTime)>,
    due: impl Fn(&PartResult) -> LineTime,
) -> Measured {
    let histogram = || Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).unwrap();
    let (mut passes, mut rejects) = (Vec::new(), Vec::new());
    let mut before = OutputLevels::default();
    for (time, levels) in edges.try_iter() {
        if levels.pass && !before.pass {
            passes.push(time);
        }
        if levels.reject && !before.reject {
            rejects.push(time);
        }
        before = levels;
    }
    let next = |edges: &[LineTime], from: LineTime| {
        let within = from + SPACING;
        edges.iter().find(|edge| **edge >= from && **edge < within).map(|edge| edge.since(from))
    };
    let visible_at: HashMap<u32, LineTime> = first_seen.try_iter().collect();
    let mut measured = Measured {
        verdict_to_edge: histogram(),
        reject_start: histogram(),
        reject_start_counts: histogram(),
        visible: histogram(),
        late_fires: seen.late_fires,
        priority_refused: false,
    };
    for result in &seen.results {
        let sequence = result.sequence.get();
        let record = |h: &mut Histogram<u64>, time: Option<Duration>| {
            if let Some(time) = time {
                h.saturating_record(time.as_micros() as u64);
            }
        };
        let judged = seen.judged.get(&sequence);
        match result.decision {
            Decision::Pass => {
                let edge = judged.and_then(|judged| next(&passes, *judged));
                record(&mut measured.verdict_to_edge, edge);
            }
            Decision::Fail => {
                let edge = next(&rejects, due(result));
                record(&mut measured.reject_start, edge);
                if let Some(late) = edge {
                    let counts = late.as_nanos() / COUNT.as_nanos();
                    measured.reject_start_counts.saturating_record(counts as u64);
                }
            }
            _ => {}
        }
        let visible = visible_at.get(&sequence).map(|seen| seen.since(result.committed));
        record(&mut measured.visible, visible);
    }
    measured
}

fn way_parts(line: LineSettings, tap: Sender<(LineTime, OutputLevels)>) -> WayParts {
    WayParts {
        line,
        wires: vec![Box::new(Tap(tap))],
        engine: Box::new(|| {
            let (input, map) = (vec![0.0; 3 * SIDE * SIDE], vec![0.0; SIDE * SIDE]);
            Ok(Box::new(Turns { input, map, passes: false }))
        }),
        engine_fell_back: Arc::default(),
        rehearsed_runs: 0,
        picture_size: None,
        engine_queue: 2,
        normalisation: Normalisation::LITE,
        camera: assemble::external_camera(),
        reconnect_interval: Duration::from_secs(1),
        window: FrameWindow::exact(Duration::from_millis(40)),
        free_run: false,
        loader: Box::new(|number| {
            Ok(ActiveProduct {
                number,
                name: Arc::from("turns"),
                region_of_interest: None,
                thresholds: Thresholds { image: 0.5, pixel: 0.5 },
                tensors: NamedTensors::new(),
            })
        }),
        first_product: 1,
        region_rule: None,
        pictures: false,
        watchdog: None,
        realtime: Default::default(),
    }
}

fn spin(stop: Arc<AtomicBool>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut state = 1u64;
        while !stop.load(Ordering::Relaxed) {
            for _ in 0..10_000 {
                state = std::hint::black_box(
                    state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1),
                );
            }
        }
    })
}

/// Reads registers 0..95 at a steady rate.
fn client(address: SocketAddr, stop: Arc<AtomicBool>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let mut answer = [0; 9 + 192];
        let mut due = LineTime::now();
        while !stop.load(Ordering::Relaxed) {
            stream.write_all(&[0, 1, 0, 0, 0, 6, 255, 3, 0, 0, 0, 96]).unwrap();
            stream.read_exact(&mut answer).unwrap();
            due = due + Duration::from_micros(1_000_000 / CLIENT_RATE);
            std::thread::sleep(due.since(LineTime::now()));
        }
    })
}

/// Reads the newest result's number every [`READ_EVERY`]; tells when each was first seen.
fn reader(
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    seen: Sender<(u32, LineTime)>,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        // In life it has a machine of its own.
        realtime::apply(&RealtimeSettings { priority: 30, ..RealtimeSettings::default() });
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut answer = [0; 9 + 4];
        let mut last = 0;
        while !stop.load(Ordering::Relaxed) {
            stream.write_all(&[0, 1, 0, 0, 0, 6, 255, 3, 0, 32, 0, 2]).unwrap();
            stream.read_exact(&mut answer).unwrap();
            let sequence = u32::from_be_bytes([answer[9], answer[10], answer[11], answer[12]]);
            if sequence != last {
                last = sequence;
                let _ = seen.send((sequence, LineTime::now()));
            }
            std::thread::sleep(READ_EVERY);
        }
    })
}

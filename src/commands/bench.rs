//! `onenipd bench`: the bare engine beside the whole way, in one run.

use super::configuration::ConfigurationArguments;
use super::demonstration::Demonstration;
use super::failure::{Code, Failure, WithCode};
use super::run;
use super::tally::Tally;
use crate::config::{CameraSource, Configuration};
use crate::daemon::assemble::{self, EngineRoom};
use crate::daemon::persistence::Survivors;
use crate::daemon::{FrameWindow, Observation, Way, WayEnds};
use crate::line::AlarmSet;
use crate::line_io::memory::MemoryInputs;
use crate::part::{
    Decision, Duration, Frame, LineTime, PartResult, PixelBuffer, PixelFormat, StageTimes,
};
use crate::product::ProductStore;
use crate::simulator::{FIRST_LIVE_PART, draw, products};
use clap::Args;
use hdrhistogram::Histogram;
use image::RgbImage;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Different pictures shown in turn.
const PICTURES: u64 = 16;

#[derive(Args)]
#[command(after_help = "Example: onenipd bench --flat-out")]
pub struct Arguments {
    /// Parts per second
    #[arg(long, default_value_t = 5.0, conflicts_with = "flat_out")]
    rate: f64,
    /// Each part as soon as the one before is decided
    #[arg(long)]
    flat_out: bool,
    /// Number of parts
    #[arg(long, default_value_t = 200)]
    parts: usize,
    /// One JSON document instead of the table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    configuration: ConfigurationArguments,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut configuration = arguments.configuration.load_or(&["config/demo.toml"])?;
    configuration.records.enabled = false;
    let stop = run::stop_on_signals()?;
    let room = run::open_engine_room(&configuration, &stop)?;
    let number = if configuration.camera.source == CameraSource::Simulated {
        Demonstration::prepare(&configuration, &room, &stop)?.first_product()
    } else {
        run::active_product(&configuration)?
    };
    let pictures: Vec<Arc<RgbImage>> = (0..PICTURES)
        .map(|i| Arc::new(draw(products()[0], 1, FIRST_LIVE_PART + i, None).picture))
        .collect();
    let bare = bare_engine(&configuration, &room, number, arguments.parts)?;
    if stop.load(Ordering::Relaxed) {
        return Ok(());
    }
    let spacing = (!arguments.flat_out)
        .then(|| Duration::from_secs_f64(1.0 / arguments.rate.clamp(0.001, 10_000.0)));
    let way = whole_way(&configuration, &room, number, &pictures, arguments.parts, spacing)?;
    report(arguments, &bare, &way)
}

struct Figures {
    parts_per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
    late_parts: u64,
    /// p50 and p99 of each stage, milliseconds.
    stages: Vec<(&'static str, f64, f64)>,
    allocations_per_part: f64,
}

/// A picture shown again and again without a copy.
struct Shown(Arc<RgbImage>);

impl PixelBuffer for Shown {
    fn plane(&self, plane: usize) -> &[u8] {
        self.0.plane(plane)
    }
}

fn bare_engine(
    configuration: &Configuration,
    room: &EngineRoom,
    number: u16,
    parts: usize,
) -> Result<Figures, Failure> {
    let store = ProductStore::open(&configuration.state.directory);
    let info = store.by_number(number).code(Code::Data)?;
    let info = info.ok_or_else(|| Failure::say(Code::NoInput, "no product to inspect with"))?;
    let product = store.load(&info.name, room.bundle.hash()).code(Code::Data)?;
    let threads = configuration.engine.threads;
    let mut engine = room.inspector(threads)().code(Code::Unavailable)?;
    engine.set_product(&product.tensors).code(Code::Data)?;
    engine.input().fill(0.25);
    for _ in 0..5 {
        engine.run().code(Code::Internal)?;
    }
    let mut micros = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).code(Code::Internal)?;
    let allocations = stats_alloc::INSTRUMENTED_SYSTEM.stats().allocations;
    let started = LineTime::now();
    for _ in 0..parts {
        let before = LineTime::now();
        engine.run().code(Code::Internal)?;
        micros.saturating_record(LineTime::now().since(before).as_micros() as u64);
    }
    let seconds = LineTime::now().since(started).as_secs_f64();
    let allocations = stats_alloc::INSTRUMENTED_SYSTEM.stats().allocations - allocations;
    Ok(Figures {
        parts_per_s: parts as f64 / seconds,
        p50_ms: micros.value_at_quantile(0.5) as f64 / 1000.0,
        p99_ms: micros.value_at_quantile(0.99) as f64 / 1000.0,
        late_parts: 0,
        stages: Vec::new(),
        allocations_per_part: allocations as f64 / parts.max(1) as f64,
    })
}

/// What the way has told so far.
struct Told {
    tally: Tally,
    late_parts: u64,
    stages: Vec<Histogram<u64>>,
    /// Commits and stage times whose other half is still to come.
    committed: HashMap<u32, PartResult>,
    judged: HashMap<u32, StageTimes>,
}

impl Told {
    fn new() -> Result<Self, Failure> {
        let histogram = || Histogram::<u64>::new_with_bounds(1, 60_000_000, 3);
        let stages: Result<Vec<_>, _> = StageTimes::STAGES.iter().map(|_| histogram()).collect();
        Ok(Self {
            tally: Tally::new(),
            late_parts: 0,
            stages: stages.code(Code::Internal)?,
            committed: HashMap::with_capacity(64),
            judged: HashMap::with_capacity(64),
        })
    }

    fn take(&mut self, way: &Way, wait: Duration) {
        let sequence = match way.observations.recv_timeout(wait) {
            Ok(Observation::Decided(result)) => {
                self.tally.count(&result, None);
                self.late_parts += u64::from(result.decision == Decision::NoDecision);
                self.committed.insert(result.sequence.get(), result);
                result.sequence.get()
            }
            Ok(Observation::Judged { sequence, times }) => {
                self.judged.insert(sequence.get(), times);
                sequence.get()
            }
            _ => return,
        };
        if let (Some(result), Some(times)) =
            (self.committed.get(&sequence), self.judged.get(&sequence))
        {
            let durations = times.durations(result.triggered, result.committed);
            for (stage, took) in self.stages.iter_mut().zip(durations) {
                stage.saturating_record(took.as_micros() as u64);
            }
            self.committed.remove(&sequence);
            self.judged.remove(&sequence);
        }
    }
}

fn whole_way(
    configuration: &Configuration,
    room: &EngineRoom,
    number: u16,
    pictures: &[Arc<RgbImage>],
    parts: usize,
    spacing: Option<Duration>,
) -> Result<Figures, Failure> {
    let way = start_way(configuration, room, number)?;
    let inputs = MemoryInputs::new(way.events.clone());
    let mut told = Told::new()?;
    let mut allocations = stats_alloc::INSTRUMENTED_SYSTEM.stats().allocations;
    let steady_from = parts / 5;
    let started = LineTime::now();
    for shown in 0..parts {
        if shown == steady_from {
            allocations = stats_alloc::INSTRUMENTED_SYSTEM.stats().allocations;
        }
        let now = LineTime::now();
        let picture = Shown(Arc::clone(&pictures[shown % pictures.len()]));
        let (width, height) = picture.0.dimensions();
        let (size, stride) = ((width, height), width as usize * 3);
        inputs.trigger(now);
        let pixels = Box::new(picture);
        let format = PixelFormat::Rgb8;
        if let Some(frame) = Frame::new(size, stride, format, shown as u64, now, pixels) {
            way.sink.push(frame);
        }
        let next = now + spacing.unwrap_or_default();
        while LineTime::now() < next {
            told.take(&way, next.since(LineTime::now()));
        }
        let patience = LineTime::now() + Duration::from_secs(5);
        while spacing.is_none() && told.tally.parts <= shown as u64 && LineTime::now() < patience {
            told.take(&way, Duration::from_millis(100));
        }
    }
    let patience = LineTime::now() + Duration::from_secs(5);
    while told.tally.parts < parts as u64 && LineTime::now() < patience {
        told.take(&way, Duration::from_millis(100));
    }
    let seconds = LineTime::now().since(started).as_secs_f64();
    let allocations = stats_alloc::INSTRUMENTED_SYSTEM.stats().allocations - allocations;
    told.take(&way, Duration::from_millis(10));
    way.request_stop();
    way.join();
    let ms = |h: &Histogram<u64>, quantile| h.value_at_quantile(quantile) as f64 / 1000.0;
    let stages = StageTimes::STAGES.iter().zip(&told.stages);
    Ok(Figures {
        parts_per_s: told.tally.parts as f64 / seconds,
        p50_ms: told.tally.time_to_verdict_ms(0.5),
        p99_ms: told.tally.time_to_verdict_ms(0.99),
        late_parts: told.late_parts,
        stages: stages.map(|(name, h)| (*name, ms(h, 0.5), ms(h, 0.99))).collect(),
        allocations_per_part: allocations as f64 / (parts - steady_from).max(1) as f64,
    })
}

fn start_way(
    configuration: &Configuration,
    room: &EngineRoom,
    number: u16,
) -> Result<Way, Failure> {
    let survivors = Survivors { boot_id: 1, ..Survivors::default() };
    let mut line = assemble::line_settings(configuration, survivors);
    line.stop_alarms = AlarmSet::always_stopping();
    line.follow_by_time(Duration::ZERO);
    let camera = assemble::external_camera();
    let mut made = assemble::way_parts(configuration, room, line, Vec::new(), camera, number);
    made.window = FrameWindow::exact(made.window.timeout);
    made.free_run = false;
    made.rehearsed_runs = 0;
    let way = run::start_way(made, WayEnds::new(), false)?;
    let patience = LineTime::now() + Duration::from_secs(10);
    while !way.snapshot.load().outputs.ready {
        if LineTime::now() > patience {
            return Err(Failure::say(Code::Internal, "the line does not become ready"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(way)
}

/// Most memory this process ever had, in bytes.
fn peak_memory_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn report(arguments: &Arguments, bare: &Figures, way: &Figures) -> Result<(), Failure> {
    let ratio = way.parts_per_s / bare.parts_per_s;
    let (p50, p99) = (way.p50_ms - bare.p50_ms, way.p99_ms - bare.p99_ms);
    let memory = peak_memory_bytes();
    if arguments.json {
        let stages: serde_json::Map<_, _> = way
            .stages
            .iter()
            .map(|(name, p50, p99)| ((*name).to_owned(), json!({"p50_ms": p50, "p99_ms": p99})))
            .collect();
        let document = json!({
            "bare_engine": {"parts_per_s": bare.parts_per_s, "p50_ms": bare.p50_ms,
                "p99_ms": bare.p99_ms, "allocations_per_part": bare.allocations_per_part},
            "way": {"parts_per_s": way.parts_per_s, "p50_ms": way.p50_ms, "p99_ms": way.p99_ms,
                "stages": stages},
            "throughput_ratio": ratio, "overhead_p50_ms": p50, "overhead_p99_ms": p99,
            "allocations_per_part": way.allocations_per_part, "peak_memory_bytes": memory,
            "cameras": 1, "late_parts": way.late_parts, "machine": machine()});
        println!("{}", serde_json::to_string_pretty(&document).code(Code::Internal)?);
        return Ok(());
    }
    println!("{:14} {:>9} {:>9} {:>9}", "", "parts/s", "p50 ms", "p99 ms");
    for (name, f) in [("bare engine", bare), ("whole way", way)] {
        println!("{name:14} {:>9.1} {:>9.2} {:>9.2}", f.parts_per_s, f.p50_ms, f.p99_ms);
    }
    for (name, p50, p99) in &way.stages {
        println!("  {name:12} {:>9} {p50:>9.2} {p99:>9.2}", "");
    }
    println!(
        "the way adds {p50:.2} ms (p50), {p99:.2} ms (p99); undecided parts: {}",
        way.late_parts
    );
    if arguments.flat_out {
        println!("throughput: {:.0} % of the bare engine's", 100.0 * ratio);
    }
    println!(
        "allocations per part: {:.2}, of these {:.2} by the engine's Rust binding (none of the \
         engine library's own); peak memory: {} MB",
        way.allocations_per_part,
        bare.allocations_per_part,
        memory / 1_000_000
    );
    println!("{}", machine());
    Ok(())
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("CPU", |model| model.trim_start_matches([' ', '\t', ':']));
    format!("{model}, {cores} cores, {}", std::env::consts::ARCH)
}

//! `onenipd bench`: the bare engine beside the whole way, in one run.

use super::configuration::ConfigurationArguments;
use super::demonstration::Demonstration;
use super::failure::{Code, Failure, WithCode};
use super::run;
use super::tally::Tally;
use crate::config::{CameraSource, Configuration};
use crate::daemon::assemble::{self, EngineRoom};
use crate::daemon::persistence::Survivors;
use crate::daemon::{Observation, Way, WayEnds};
use crate::line::AlarmSet;
use crate::line_io::memory::MemoryInputs;
use crate::part::{Decision, Duration, Frame, LineTime};
use crate::product::ProductStore;
use crate::simulator::{FIRST_LIVE_PART, draw, products};
use clap::Args;
use hdrhistogram::Histogram;
use image::RgbImage;
use serde_json::json;
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
    let room = run::open_engine_room(&configuration)?;
    let number = if configuration.camera.source == CameraSource::Simulated {
        Demonstration::prepare(&configuration, &room, &stop)?.first_product()
    } else {
        run::active_product(&configuration)?
    };
    let pictures: Vec<RgbImage> =
        (0..PICTURES).map(|i| draw(products()[0], 1, FIRST_LIVE_PART + i, None).picture).collect();
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
    let mut engine = room.inspector(threads).code(Code::Unavailable)?;
    engine.set_product(&product.tensors).code(Code::Data)?;
    engine.input().fill(0.25);
    for _ in 0..5 {
        engine.run().code(Code::Internal)?;
    }
    let mut micros = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).code(Code::Internal)?;
    let started = LineTime::now();
    for _ in 0..parts {
        let before = LineTime::now();
        engine.run().code(Code::Internal)?;
        micros.saturating_record(LineTime::now().since(before).as_micros() as u64);
    }
    let seconds = LineTime::now().since(started).as_secs_f64();
    Ok(Figures {
        parts_per_s: parts as f64 / seconds,
        p50_ms: micros.value_at_quantile(0.5) as f64 / 1000.0,
        p99_ms: micros.value_at_quantile(0.99) as f64 / 1000.0,
        late_parts: 0,
    })
}

fn whole_way(
    configuration: &Configuration,
    room: &EngineRoom,
    number: u16,
    pictures: &[RgbImage],
    parts: usize,
    spacing: Option<Duration>,
) -> Result<Figures, Failure> {
    let survivors = Survivors { boot_id: 1, ..Survivors::default() };
    let mut line = assemble::line_settings(configuration, survivors);
    line.stop_alarms = AlarmSet::always_stopping();
    let camera = assemble::external_camera();
    let made = assemble::way_parts(configuration, room, line, Vec::new(), camera, number);
    let way = Way::start(made.code(Code::Unavailable)?, WayEnds::new(), false);
    let way = way.code(Code::Internal)?;
    let inputs = MemoryInputs::new(way.events.clone());
    let patience = LineTime::now() + Duration::from_secs(10);
    while !way.snapshot.load().outputs.ready {
        if LineTime::now() > patience {
            return Err(Failure::say(Code::Internal, "the line does not become ready"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut tally = Tally::new();
    let mut late_parts = 0;
    let mut take = |wait: Duration, tally: &mut Tally| {
        if let Ok(Observation::Decided(result)) = way.observations.recv_timeout(wait) {
            tally.count(&result, None);
            late_parts += u64::from(result.decision == Decision::NoDecision);
        }
    };
    let started = LineTime::now();
    for shown in 0..parts {
        let now = LineTime::now();
        let picture = pictures[shown % pictures.len()].clone();
        inputs.trigger(now);
        if let Some(frame) = Frame::from_picture(picture, shown as u64, now) {
            way.sink.push(frame);
        }
        let next = now + spacing.unwrap_or_default();
        while LineTime::now() < next {
            take(next.since(LineTime::now()), &mut tally);
        }
        let patience = LineTime::now() + Duration::from_secs(5);
        while spacing.is_none() && tally.parts <= shown as u64 && LineTime::now() < patience {
            take(Duration::from_millis(100), &mut tally);
        }
    }
    let patience = LineTime::now() + Duration::from_secs(5);
    while tally.parts < parts as u64 && LineTime::now() < patience {
        take(Duration::from_millis(100), &mut tally);
    }
    let seconds = LineTime::now().since(started).as_secs_f64();
    way.request_stop();
    let snapshot = Arc::clone(&way.snapshot);
    way.join();
    drop(snapshot);
    Ok(Figures {
        parts_per_s: tally.parts as f64 / seconds,
        p50_ms: tally.time_to_verdict_ms(0.5),
        p99_ms: tally.time_to_verdict_ms(0.99),
        late_parts,
    })
}

fn report(arguments: &Arguments, bare: &Figures, way: &Figures) -> Result<(), Failure> {
    let figures =
        |f: &Figures| json!({"parts_per_s": f.parts_per_s, "p50_ms": f.p50_ms, "p99_ms": f.p99_ms});
    let ratio = way.parts_per_s / bare.parts_per_s;
    let (p50, p99) = (way.p50_ms - bare.p50_ms, way.p99_ms - bare.p99_ms);
    if arguments.json {
        let document = json!({"bare_engine": figures(bare), "way": figures(way),
            "throughput_ratio": ratio, "overhead_p50_ms": p50, "overhead_p99_ms": p99,
            "cameras": 1, "late_parts": way.late_parts, "machine": machine()});
        println!("{}", serde_json::to_string_pretty(&document).code(Code::Internal)?);
        return Ok(());
    }
    println!("{:12} {:>9} {:>9} {:>9}", "", "parts/s", "p50 ms", "p99 ms");
    for (name, f) in [("bare engine", bare), ("whole way", way)] {
        println!("{name:12} {:>9.1} {:>9.2} {:>9.2}", f.parts_per_s, f.p50_ms, f.p99_ms);
    }
    println!(
        "the way adds {p50:.2} ms (p50), {p99:.2} ms (p99); undecided parts: {}",
        way.late_parts
    );
    if arguments.flat_out {
        println!("throughput: {:.0} % of the bare engine's", 100.0 * ratio);
    }
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

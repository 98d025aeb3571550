//! One training step of the published size (Lite0 at 224, batch 8 + 8 + 8, dropout on) beside the
//! same network in PyTorch, where one is at hand: the two take turns within one run, so both meet
//! the same load, and each reports the processor time that its own process used.
//!
//! ```text
//! cargo bench --profile release --bench training_step
//! RAYON_NUM_THREADS=1 PAIRS=12 PYTHON=venv/bin/python \
//!     cargo bench --profile release --bench training_step
//! ```

#![allow(clippy::unwrap_used, clippy::panic)]

use onenipd::bundle::{Backbone, Geometry, rule};
use onenipd::model::initialise::initial_weights;
use onenipd::model::losses::Objective;
use onenipd::model::network::{Dropouts, Weights};
use onenipd::model::optimiser::Optimiser;
use onenipd::model::step::{Batch, step};
use rand::{Rng, SeedableRng};
use rand_distr::StandardNormal;
use rand_pcg::Pcg64Mcg;
use rustix::time::{ClockId, clock_gettime};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const BATCH: usize = 8;
const SIDE: usize = 224;

/// Seconds of a step.
#[derive(Clone, Copy)]
struct Cost {
    processor: f64,
    wall: f64,
}

fn seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

struct Own {
    weights: Weights,
    optimiser: Optimiser,
    batch: Batch,
    noise: Vec<f32>,
    steps: u64,
}

impl Own {
    fn new() -> Self {
        let geometry = Geometry::new(Backbone::Lite0, SIDE);
        let shapes = rule::head_shapes(geometry.channels, geometry.grid);
        let device = burn::tensor::Device::flex().autodiff();
        let mut random = Pcg64Mcg::seed_from_u64(1);
        let mut normal = |count: usize| -> Vec<f32> {
            (&mut random).sample_iter(StandardNormal).take(count).collect()
        };
        let block = BATCH * geometry.tokens * geometry.channels;
        let marked = |i: usize| (i / SIDE % SIDE) < 60 && (i % SIDE) < 80;
        Self {
            weights: Weights::new(&initial_weights(&shapes, 1), &shapes, &device).unwrap(),
            optimiser: Optimiser::default(),
            batch: Batch {
                size: BATCH,
                good: normal(block),
                pseudo: normal(block),
                prompt: normal(block),
                masks: (0..BATCH * SIDE * SIDE).map(|i| f32::from(marked(i))).collect(),
            },
            noise: normal(3 * block),
            steps: 0,
        }
    }

    fn step(&mut self) -> Cost {
        let before = [ClockId::ProcessCPUTime, ClockId::Monotonic].map(seconds);
        let mut dropouts = Dropouts::new(0.1, Pcg64Mcg::seed_from_u64(self.steps));
        let found =
            step(&self.weights, &self.batch, &self.noise, &mut dropouts, Objective::Full).unwrap();
        self.optimiser.step(&mut self.weights, &found.gradients, 1e-4).unwrap();
        for statistics in found.statistics {
            statistics.update(&mut self.weights).unwrap();
        }
        self.steps += 1;
        let after = [ClockId::ProcessCPUTime, ClockId::Monotonic].map(seconds);
        Cost { processor: after[0] - before[0], wall: after[1] - before[1] }
    }
}

/// A PyTorch process that takes one step for every line it is sent.
struct PyTorch {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl PyTorch {
    fn start(python: &str, attention: &str, threads: usize) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/training_step.py");
        let mut child = Command::new(python)
            .args([script, attention, &threads.to_string()])
            .env("OMP_WAIT_POLICY", "PASSIVE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (orders, answers) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, orders, answers: BufReader::new(answers) }
    }

    fn step(&mut self) -> Cost {
        self.orders.write_all(b"step\n").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let numbers: Vec<f64> = line.split_whitespace().map(|n| n.parse().unwrap()).collect();
        let [processor, wall] = numbers[..] else { panic!("PyTorch says {line:?}") };
        Cost { processor, wall }
    }

    fn end(mut self) {
        drop(self.orders);
        self.child.wait().unwrap();
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn print_row(name: &str, costs: &[Cost], own: &[Cost]) {
    let processor = median(costs.iter().map(|cost| cost.processor));
    let wall = median(costs.iter().map(|cost| cost.wall));
    let ratios = || costs.iter().zip(own).map(|(other, own)| own.processor / other.processor);
    let (low, high) = ratios().fold((f64::MAX, f64::MIN), |(l, h), r| (l.min(r), h.max(r)));
    println!(
        "{name:24} {processor:7.3} s processor {wall:7.3} s wall   onenipd / it: {:.2} \
         ({low:.2} to {high:.2})",
        median(ratios()),
    );
}

fn main() {
    let pairs = std::env::var("PAIRS").ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    let threads = rayon::current_num_threads();
    let python = std::env::var("PYTHON").ok();
    let mut others: Vec<(&str, PyTorch)> = match &python {
        Some(python) => ["matmul", "sdpa"]
            .map(|attention| (attention, PyTorch::start(python, attention, threads)))
            .into(),
        None => Vec::new(),
    };
    let mut own = Own::new();
    // The first step of each warms up.
    own.step();
    others.iter_mut().for_each(|(_, other)| {
        other.step();
    });
    let mut own_costs = Vec::new();
    let mut other_costs = vec![Vec::new(); others.len()];
    for _ in 0..pairs {
        own_costs.push(own.step());
        for ((_, other), costs) in others.iter_mut().zip(&mut other_costs) {
            costs.push(other.step());
        }
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("{threads} threads, {pairs} steps each in turn, load {}", load.trim());
    print_row("onenipd", &own_costs, &own_costs);
    for ((name, other), costs) in others.into_iter().zip(&other_costs) {
        print_row(&format!("PyTorch, {name}"), costs, &own_costs);
        other.end();
    }
    if python.is_none() {
        println!("PYTHON=… (with PyTorch) compares with it in the same run");
    }
}

//! A line per part on the terminal, running totals, and the log.

use super::demonstration::Demonstration;
use super::tally::Tally;
use crate::config::Configuration;
use crate::daemon::{Drops, Observation};
use crate::line_io::modbus::ModbusServer;
use crate::part::{Decision, PartResult};
use std::io::Write;
use std::sync::atomic::Ordering;

/// Totals are printed after so many parts.
const TOTALS_EVERY: u64 = 50;

/// What a person sees of a running daemon.
pub struct Screen {
    tally: Tally,
    line_per_part: bool,
}

impl Screen {
    /// Greets and says what else to try. Under systemd only the log speaks.
    pub fn new(
        configuration: &Configuration,
        modbus: Option<&ModbusServer>,
        demonstration: Option<&Demonstration>,
    ) -> Self {
        let line_per_part = std::env::var_os("JOURNAL_STREAM").is_none();
        if line_per_part && demonstration.is_some() {
            let state = configuration.state.directory.display();
            println!("A simulated line, a real daemon. Ctrl-C ends it.");
            println!("  rejects, each with picture, overlay, mask and JSON: {state}/rejects/");
            if let Some(modbus) = modbus {
                let address = modbus.local_address();
                println!("  Modbus TCP: {address} (docs/guide/plc.md)");
            }
            println!("  next: onenipd product list --config config/demo.toml");
            println!(
                "        onenipd simulate --output parts/   and   onenipd evaluate engines/demo parts/"
            );
            println!("        docs/guide/first-product.md: teach your own part in ten minutes");
        }
        if line_per_part {
            println!(
                "{:>6}  {:10} {:11} {:>8} {:>9}  {:>8}  {:18} reason",
                "part", "product", "verdict", "score", "threshold", "time", "truth"
            );
        }
        Self { tally: Tally::new(), line_per_part }
    }

    /// Shows one observation.
    pub fn show(&mut self, observation: &Observation, demonstration: Option<&Demonstration>) {
        match observation {
            Observation::Decided(result) => self.part(result, demonstration),
            Observation::AlarmChanged { alarm, active: true } => {
                log::warn!("alarm {}: {}", alarm.word(), alarm.remedy());
            }
            Observation::AlarmChanged { alarm, active: false } => {
                log::info!("alarm {} has ended", alarm.word());
            }
            Observation::StateChanged { from, to } => log::info!("state {from:?} -> {to:?}"),
            Observation::Late(verdict) => {
                log::warn!("part {}: its verdict came after the deadline", verdict.sequence);
            }
            Observation::Said { level, message } => log::log!(*level, "{message}"),
            Observation::Inspected(_) | Observation::Judged { .. } | Observation::Stopped => {}
        }
    }

    /// The last totals, and what was dropped on the way to observers.
    pub fn finish(&self, records_dropped: u64, drops: &Drops) {
        if self.line_per_part {
            self.print(&self.tally.to_string());
        }
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let dropped = [
            ("records", records_dropped),
            ("observations", count(&drops.observations)),
            ("results for Modbus", count(&drops.results)),
            ("pictures for the archive", count(&drops.pictures)),
            ("frames without a trigger", count(&drops.frames_without_trigger)),
        ];
        for (what, number) in dropped.iter().filter(|(_, number)| *number > 0) {
            log::info!("dropped: {number} {what}");
        }
    }

    fn part(&mut self, result: &PartResult, demonstration: Option<&Demonstration>) {
        let truth = demonstration.and_then(|demo| demo.truth(result.triggered));
        let defective = truth.as_ref().map(|truth| truth.defect.is_some());
        self.tally.count(result, defective);
        log::debug!("part {} {} {}", result.sequence, result.decision, result.reason);
        if !self.line_per_part {
            return;
        }
        let product = match demonstration.and_then(|demo| demo.product_name(result.product)) {
            Some(name) => name.to_owned(),
            None => result.product.to_string(),
        };
        let truth = match &truth {
            Some(truth) => truth.defect.map_or("good", |defect| defect.name()),
            None => "",
        };
        let mark = match (result.decision, defective) {
            (Decision::Pass, Some(true)) => "  ESCAPE",
            (Decision::Fail, Some(false)) => "  false reject",
            _ => "",
        };
        let millis = result.committed.since(result.triggered).as_secs_f64() * 1000.0;
        let score = number(result.score);
        let threshold = number(result.threshold);
        let (sequence, decision, reason) = (result.sequence.get(), result.decision, result.reason);
        self.print(&format!(
            "{sequence:>6}  {product:10} {decision:11} {score:>8} {threshold:>9}  {millis:>5.0} ms  \
             {truth:18} {reason}{mark}"
        ));
        if self.tally.parts.is_multiple_of(TOTALS_EVERY) {
            self.print(&format!("        {}", self.tally));
        }
    }

    /// A closed pipe must not end a daemon.
    fn print(&self, line: &str) {
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}

fn number(value: f32) -> String {
    if value.is_finite() { format!("{value:.4}") } else { "-".into() }
}

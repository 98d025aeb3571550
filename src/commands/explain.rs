//! `onenipd explain`: one part's timeline, stage by stage, and why it was decided so.

use super::configuration::ConfigurationArguments;
use super::failure::{Code, Failure, WithCode};
use super::run;
use crate::part::StageTimes;
use crate::records::{JournalLine, find_part};
use clap::Args;

#[derive(Args)]
#[command(after_help = "Example: onenipd explain 1234")]
pub struct Arguments {
    /// The part's number (seq)
    sequence: u32,
    /// The daemon's start it belongs to (default: the last that had this number)
    #[arg(long, value_name = "BOOT_ID")]
    start: Option<u16>,
    /// One JSON document instead of the timeline
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    configuration: ConfigurationArguments,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let configuration = arguments.configuration.load_without_bundle()?;
    let directory = run::records_directory(&configuration, "rejects");
    let found = find_part(&directory, arguments.sequence, arguments.start).code(Code::Io)?;
    let Some(part) = found else {
        let place = directory.display();
        let message = format!(
            "part {} is not in the journal in {place}: never triggered, older than what is kept, or \
             records.enabled is false",
            arguments.sequence
        );
        return Err(Failure::say(Code::NoInput, message));
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&part).code(Code::Internal)?);
    } else {
        print!("{}", timeline(&part));
    }
    Ok(())
}

fn timeline(part: &JournalLine) -> String {
    let ms = |us: i64| us as f64 / 1000.0;
    let mut text = format!(
        "part {} of start {}, product {}, {}\n{}: {} ({})\n\n",
        part.sequence,
        part.boot_id,
        part.product,
        part.wall_time,
        part.decision,
        part.reason,
        part.reason_code
    );
    text.push_str(&format!("{:12} {:>10} {:>12}\n", "stage", "took ms", "since t0 ms"));
    let mut since = 0i64;
    if let Some(stages) = &part.stages_us {
        for (stage, took) in StageTimes::STAGES.iter().zip(stages.in_order()) {
            since += i64::from(took);
            text.push_str(&format!("{stage:12} {:>10.2} {:>12.2}\n", ms(took.into()), ms(since)));
        }
    } else {
        text.push_str("(engine and judge did not see it)\n");
    }
    let (committed, deadline) = (i64::from(part.committed_us), i64::from(part.deadline_us));
    text.push_str(&format!(
        "{:12} {:>10} {:>12.2}\n{:12} {:>10} {:>12.2}   {:.2} ms to spare\n\n",
        "committed",
        "",
        ms(committed),
        "deadline",
        "",
        ms(deadline),
        ms(deadline - committed)
    ));
    if let (Some(score), Some(threshold)) = (part.score, part.threshold) {
        let share = 100.0 * score / threshold;
        let regions = part.region_count;
        text.push_str(&format!(
            "score {score:.4}, threshold {threshold:.4} ({share:.0} % of it), regions {regions}\n"
        ));
    }
    text.push_str(&format!("why: {}\n", why(part)));
    let gate = match (part.inhibited, part.reject_left_armed) {
        (true, _) => "decided while inhibited: the gate did not act",
        (false, true) => "its reject was left armed",
        (false, false) => "its reject was disarmed",
    };
    text.push_str(&format!("gate: {gate}\n"));
    text
}

/// The rule behind a reason, and where to look.
fn why(part: &JournalLine) -> &'static str {
    match part.reason_code {
        0 => {
            "the score stayed below the product's threshold and the verdict came before the deadline"
        }
        100 => "the score reached the product's threshold",
        101 => "a region above the pixel threshold was as large as products.region_rule_area",
        102 => "the PLC asked for this part's reject (FORCE_REJECT)",
        200 if part.stages_us.is_some() => {
            "the verdict came after the deadline; the longest stage above is where the time went"
        }
        200 => "no verdict came before the deadline: the engine was busy, hung, or too slow",
        201 => "no frame was stamped within the window around the trigger: camera, cable, light",
        202 => "the frame was black, white, frozen, or smaller than the product's region",
        203 => "the engine failed; the log has its words",
        204 => "more parts were waiting for the engine than engine.queue allows",
        205 => "frame and trigger do not belong together beyond doubt (docs/guide/triggers.md)",
        206 => "the line was not ready, or in Fault, when the part came",
        207 => "the part came during a product change",
        208 => "the belt stopped or ran back: the part's position was unknown",
        209 => "the daemon was stopping",
        210 => "the trigger came within line.min_part of the part before",
        211 => "the score was not a finite number; teach the product again, look at the bundle",
        212 => "no product was active, or it belongs to another bundle",
        _ => "a reason this version does not know: a no-decision",
    }
}

//! `onenipd verify`: the engines against the network, tensor by tensor.

#[cfg(feature = "train")]
mod network;

use super::engine::{self, OpenBundle};
use super::failure::{Code, Failure, WithCode};
use crate::bundle::rule;
use crate::product::{Teacher, golden_product};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

/// Largest difference allowed, in standard deviations of a tensor (scalars: relative).
const TOLERANCE: f64 = 1e-4;

#[derive(Args)]
#[command(after_help = "Example: onenipd verify engines/demo")]
pub struct Arguments {
    /// Directory of the engine bundle
    bundle: PathBuf,
    /// Also the golden networks of this directory (rule weights, not the bundle's)
    #[arg(long, value_name = "DIR")]
    golden: Option<PathBuf>,
    /// One JSON document instead of the table
    #[arg(long)]
    json: bool,
    /// ONNX Runtime library
    #[arg(long, value_name = "FILE")]
    library: Option<PathBuf>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    largest_difference: f64,
    tolerance: f64,
}

impl Row {
    fn holds(&self) -> bool {
        self.largest_difference <= self.tolerance
    }
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let cache = engine::default_cache();
    let open = engine::open(&arguments.bundle, arguments.library.as_deref(), &cache)?;
    let rows = golden_scores(&open)?;
    #[cfg(feature = "train")]
    let mut rows = rows;
    #[cfg(feature = "train")]
    rows.extend(network::bundle_rows(&open)?);
    if let Some(directory) = &arguments.golden {
        #[cfg(feature = "train")]
        rows.extend(network::golden_rows(directory)?);
        #[cfg(not(feature = "train"))]
        return Err(Failure::say(
            Code::Unavailable,
            format!("{}: this program was built without `train`", directory.display()),
        ));
    }
    let passed = rows.iter().all(Row::holds);
    if arguments.json {
        let document = serde_json::json!({"passed": passed, "tensors": rows});
        println!("{}", serde_json::to_string_pretty(&document).code(Code::Internal)?);
    } else {
        for row in &rows {
            let word = if row.holds() { "ok" } else { "WRONG" };
            println!("{word:6} {:36} {:.2e}", row.name, row.largest_difference);
        }
        let worst = rows.iter().map(|row| row.largest_difference).fold(0.0, f64::max);
        println!("{} tensors, largest difference {worst:.2e}, allowed {TOLERANCE:.0e}", rows.len());
    }
    if passed { Ok(()) } else { Err(Failure::say(Code::No, "the engine does not agree")) }
}

/// The engine as built for use, against the scores stored when the bundle was made.
fn golden_scores(open: &OpenBundle) -> Result<Vec<Row>, Failure> {
    let manifest = open.bundle.manifest();
    let mut teacher = open.teacher()?;
    let prompt = rule::rule_image("prompt", manifest.side);
    let product = golden_product(&mut teacher, prompt.values()).code(Code::Data)?;
    teacher.set_product(&product).code(Code::Data)?;
    let mut rows = Vec::new();
    for (name, stored) in &manifest.golden_scores {
        let image = rule::rule_image(name, manifest.side);
        let score = teacher.inspect(image.values()).code(Code::Data)?.score;
        let difference = f64::from((score - stored).abs()) / f64::from(stored.abs().max(1e-6));
        let name = format!("golden score of {name}");
        rows.push(Row { name, largest_difference: difference, tolerance: TOLERANCE });
    }
    Ok(rows)
}

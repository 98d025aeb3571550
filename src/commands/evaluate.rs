//! `onenipd evaluate BUNDLE DATA`.

use super::failure::{Code, Failure, WithCode};
use super::{engine, progress};
use crate::dataset;
use crate::dataset::ProductData;
use crate::evaluation::{EvaluationRequest, EvaluationStage, evaluate};
use crate::part::LineTime;
use crate::product::Prompt;
use clap::Args;
use std::path::{Path, PathBuf};

#[derive(Args)]
#[command(after_help = "Example: onenipd evaluate engines/demo data/ --baseline")]
pub struct Arguments {
    /// Directory of the engine bundle
    bundle: PathBuf,
    /// Data set in MVTec layout (PRODUCT/train/good, PRODUCT/test/*, PRODUCT/ground_truth/*)
    data: PathBuf,
    /// Prompt of each product: `first` by name, `auto` the most typical, or a picture
    #[arg(long, default_value = "first")]
    prompt: String,
    /// Also plain nearest neighbours on the same backbone
    #[arg(long)]
    baseline: bool,
    /// One JSON document instead of the table
    #[arg(long)]
    json: bool,
    /// ONNX Runtime library
    #[arg(long, value_name = "FILE")]
    library: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let data = dataset::open(&arguments.data).code(Code::NoInput)?;
    let cache = engine::default_cache();
    let open = engine::open(&arguments.bundle, arguments.library.as_deref(), &cache)?;
    let mut teacher = open.teacher()?;
    let mut unreadable = Vec::new();
    let products: Vec<ProductData> =
        data.products.iter().map(|p| readable(p, &mut unreadable)).collect();
    for (path, reason) in &unreadable {
        eprintln!("skipped {}: {reason}", path.display());
    }
    let given = match arguments.prompt.as_str() {
        "first" | "auto" => None,
        file => Some(dataset::read_picture(Path::new(file)).code(Code::NoInput)?),
    };
    let prompt = match (&given, arguments.prompt.as_str()) {
        (Some(picture), _) => Prompt::Picture(picture),
        (None, "auto") => Prompt::Auto,
        (None, _) => Prompt::First,
    };
    let request = EvaluationRequest { products: &products, prompt, baseline: arguments.baseline };
    let bar = progress::bar(1, "evaluate");
    let started = LineTime::now();
    let mut report = evaluate(&mut teacher, &request, &mut |product, stage| {
        let (what, done, total) = match stage {
            EvaluationStage::Teach(step) => ("teach", step.done, step.total),
            EvaluationStage::Test(done, total) => ("test", done, total),
            EvaluationStage::Baseline(done, total) => ("baseline", done, total),
        };
        bar.set_length(total as u64);
        bar.set_position(done as u64);
        bar.set_message(format!("{product}: {what}"));
    })
    .code(Code::Data)?;
    bar.finish_and_clear();
    report.seconds = LineTime::now().since(started).as_secs_f64();
    report.engine = arguments.bundle.display().to_string();
    report.data = arguments.data.display().to_string();
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report).code(Code::Internal)?);
    } else {
        print!("{report}");
    }
    if !unreadable.is_empty() {
        eprintln!("{} unreadable pictures were skipped", unreadable.len());
    }
    Ok(())
}

/// A product's pictures without those that cannot be decoded, which are named and counted.
fn readable(product: &ProductData, unreadable: &mut Vec<(PathBuf, String)>) -> ProductData {
    let mut usable = product.clone();
    let mut check = |path: &Path| match dataset::read_picture(path) {
        Ok(_) => true,
        Err(error) => {
            unreadable.push((path.to_owned(), error.to_string()));
            false
        }
    };
    usable.train_good.retain(|path| check(path));
    usable.test.retain(|test| check(&test.path));
    usable
}

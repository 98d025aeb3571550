//! `onenipd evaluate BUNDLE DATA`.

use super::engine::OpenBundle;
use super::failure::{Code, Failure, WithCode};
use super::{engine, progress};
use crate::dataset;
use crate::dataset::ProductData;
use crate::evaluation::{
    EngineFacts, EvaluationReport, EvaluationRequest, EvaluationStage, evaluate, loss_plot_svg,
    page,
};
use crate::part::LineTime;
use crate::product::Prompt;
use clap::Args;
use std::path::{Path, PathBuf};

/// Worst misses and false alarms of a product on the page, each.
const EXAMPLES: usize = 6;

#[derive(Args)]
#[command(
    after_help = "Example: onenipd evaluate engines/demo data/ --baseline --report report.html"
)]
pub struct Arguments {
    /// Directory of the engine bundle
    bundle: PathBuf,
    /// Data set in MVTec layout (PRODUCT/train/good, PRODUCT/test/*, PRODUCT/ground_truth/*)
    data: PathBuf,
    /// Prompt of each product: `first` by name, `auto` the most typical, or a picture
    #[arg(long, default_value = "first")]
    prompt: String,
    /// Teach by so many good pictures only: the prompt, then the first by name
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pictures: Option<u32>,
    /// Also plain nearest neighbours on the same backbone
    #[arg(long)]
    baseline: bool,
    /// Also the parts of the network's map, each by itself: reconstruction, refiner, both with the
    /// stored K and with the published one, which looks at the test set
    #[arg(long)]
    network_maps: bool,
    /// Writes one self-contained page with tables, curves, histograms and the worst pictures
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
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
    let products = checked(&data.products)?;
    let given = match arguments.prompt.as_str() {
        "first" | "auto" => None,
        file => Some(dataset::read_picture(Path::new(file)).code(Code::NoInput)?),
    };
    let prompt = match (&given, arguments.prompt.as_str()) {
        (Some(picture), _) => Prompt::Picture(picture),
        (None, "auto") => Prompt::Auto,
        (None, _) => Prompt::First,
    };
    let request = EvaluationRequest {
        products: &products,
        prompt,
        pictures: arguments.pictures.map(|count| count as usize),
        baseline: arguments.baseline,
        network_maps: arguments.network_maps,
        examples: if arguments.report.is_some() { EXAMPLES } else { 0 },
        now: LineTime::now,
    };
    let mut report = measure(&open, &request)?;
    report.engine = arguments.bundle.display().to_string();
    report.data = arguments.data.display().to_string();
    if let Some(path) = &arguments.report {
        let log = std::fs::read_to_string(arguments.bundle.join("training.csv")).ok();
        let loss_plot = log.and_then(|log| loss_plot_svg(&log));
        let facts = EngineFacts {
            manifest: open.bundle.manifest(),
            hash: open.bundle.hash(),
            loss_plot: loss_plot.as_deref(),
        };
        std::fs::write(path, page(&report, &facts))?;
        eprintln!("report: {}", path.display());
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report).code(Code::Internal)?);
    } else {
        print!("{report}");
    }
    Ok(())
}

fn measure(
    open: &OpenBundle,
    request: &EvaluationRequest<'_>,
) -> Result<EvaluationReport, Failure> {
    let mut teacher = open.teacher()?;
    let bar = progress::bar(1, "evaluate");
    let started = LineTime::now();
    let mut report = evaluate(&mut teacher, request, &mut |product, stage| {
        let (what, done, total) = match stage {
            EvaluationStage::Teach(step) => ("teach", step.done, step.total),
            EvaluationStage::Test(done, total) => ("test", done, total),
            EvaluationStage::Baseline(done, total) => ("baseline", done, total),
            EvaluationStage::NetworkMaps(done, total) => ("network's maps", done, total),
        };
        bar.set_length(total as u64);
        bar.set_position(done as u64);
        bar.set_message(format!("{product}: {what}"));
    })
    .code(Code::Data)?;
    bar.finish_and_clear();
    report.seconds = LineTime::now().since(started).as_secs_f64();
    Ok(report)
}

/// The products without what cannot be used, all of which is named and counted.
fn checked(listed: &[ProductData]) -> Result<Vec<ProductData>, Failure> {
    let mut products = Vec::with_capacity(listed.len());
    for product in listed {
        let checked = dataset::check_product(product);
        for error in checked.unreadable.iter().chain(&checked.unusable_masks) {
            eprintln!("left out: {error}");
        }
        let (pictures, masks) = (checked.unreadable.len(), checked.unusable_masks.len());
        let name = &product.name;
        if pictures + masks > 0 {
            eprintln!("product `{name}`: {pictures} pictures and {masks} masks were left out");
        }
        if checked.without_mask > 0 {
            let count = checked.without_mask;
            eprintln!("product `{name}`: {count} defective pictures have no mask that fits");
        }
        if checked.product.train_good.is_empty() {
            let message = format!("product `{name}`: no picture in train/good can be read");
            return Err(Failure::say(Code::Data, message));
        }
        products.push(checked.product);
    }
    Ok(products)
}

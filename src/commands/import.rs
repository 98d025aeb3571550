//! `onenipd import`: an official checkpoint becomes a bundle.

use super::failure::{Code, Failure, WithCode};
use super::run::stop_on_signals;
use super::{engine, progress};
use crate::bundle::{Bundle, BundleError};
use crate::dataset;
use crate::engine::OnnxRuntime;
use crate::model::bundling::BundlingError;
use crate::model::data::ProductPictures;
use crate::model::import::{
    FusionConstant, ImportError, ImportSettings, OfficialCheckpoint, read_checkpoint, write_bundle,
};
use crate::model::torch_file::TorchFileError;
use clap::Args;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

#[derive(Args)]
#[command(after_help = "Example: onenipd import ckpt.pkl --output engines/official --data mvtec/")]
pub struct Arguments {
    /// Official OneNIP checkpoint (`ckpt.pkl`, `ckpt_best.pkl`); read as data, nothing in it is run
    checkpoint: PathBuf,
    /// Directory of the bundle
    #[arg(long, value_name = "BUNDLE")]
    output: PathBuf,
    #[command(flatten)]
    constant: Constant,
    /// ONNX Runtime library
    #[arg(long, value_name = "FILE")]
    library: Option<PathBuf>,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Constant {
    /// Data set in MVTec layout whose good parts K is measured on
    #[arg(long)]
    data: Option<PathBuf>,
    /// K itself, as measured elsewhere
    #[arg(long, value_name = "K", value_parser = positive)]
    fusion_constant: Option<f32>,
}

fn positive(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if value.is_finite() && value > 0.0 => Ok(value),
        _ => Err("K is a number above 0".to_owned()),
    }
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let stop = stop_on_signals()?;
    if arguments.output.exists() {
        let directory = arguments.output.clone();
        return Err(Failure::new(Code::Io, BundleError::Exists { directory }));
    }
    let checkpoint = read_checkpoint(&arguments.checkpoint).map_err(failure)?;
    let OfficialCheckpoint { side, source, .. } = &checkpoint;
    eprintln!("{}: EfficientNet-B4, input side {side}, SHA-256 {}", source.file, source.sha256);
    let runtime = OnnxRuntime::open(arguments.library.as_deref()).code(Code::Unavailable)?;
    let products = match &arguments.constant.data {
        Some(data) => products(data)?,
        None => Vec::new(),
    };
    let settings = ImportSettings {
        output: &arguments.output,
        constant: match arguments.constant.fusion_constant {
            Some(constant_k) => FusionConstant::Given(constant_k),
            None => FusionConstant::Measured(&products),
        },
        command: command_line(),
        threads: engine::threads(),
        stop: &stop,
    };
    let bar = progress::bar(1, "import");
    let bundle = write_bundle(checkpoint, &settings, &runtime, &mut |step| {
        bar.set_message(step.stage);
        bar.set_length(step.total as u64);
        bar.set_position(step.done as u64);
    });
    bar.finish_and_clear();
    print_summary(&bundle.map_err(failure)?);
    Ok(())
}

fn command_line() -> String {
    let words: Vec<String> = std::env::args().skip(1).collect();
    format!("onenipd {}", words.join(" "))
}

fn products(data: &Path) -> Result<Vec<ProductPictures>, Failure> {
    let data = dataset::open(data).code(Code::NoInput)?;
    let products = data.products.into_iter();
    Ok(products.map(|p| ProductPictures { name: p.name, good: p.train_good }).collect())
}

fn print_summary(bundle: &Bundle) {
    let (manifest, directory) = (bundle.manifest(), bundle.directory().display());
    println!("bundle {directory}");
    println!("  EfficientNet-B4, side {}, K = {}", manifest.side, manifest.fusion.constant_k);
    if manifest.one_picture.threshold > 0.0 {
        println!("  threshold of one picture: {}", manifest.one_picture.threshold);
    } else {
        println!(
            "  no threshold of one picture: a product rejects everything until it is calibrated"
        );
    }
    if let Some(source) = &manifest.training.source {
        println!("  from {}, SHA-256 {}", source.file, source.sha256);
        println!("  warning: {}", source.warning);
    }
    println!("  next: onenipd verify {directory}; onenipd evaluate {directory} DATA");
}

fn failure(error: ImportError) -> Failure {
    let code = match &error {
        ImportError::File(TorchFileError::Io { reason, .. }) => match reason.kind() {
            ErrorKind::NotFound => Code::NoInput,
            ErrorKind::PermissionDenied => Code::Permission,
            _ => Code::Io,
        },
        ImportError::Engine(_) | ImportError::Bundling(BundlingError::Engine(_)) => {
            Code::Unavailable
        }
        ImportError::Bundle(BundleError::Io { .. } | BundleError::Exists { .. })
        | ImportError::Bundling(BundlingError::File { .. }) => Code::Io,
        ImportError::Stopped => Code::No,
        _ => Code::Data,
    };
    Failure::new(code, error)
}

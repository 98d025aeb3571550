//! `onenipd train`: one network for all products of a data set, written as a bundle.

use super::engine;
use super::failure::{Code, Failure, WithCode};
use super::progress;
use super::run::stop_on_signals;
use crate::bundle::{
    self, Backbone, Manifest, Normalisation, Precision, Recipe, prompt_encoder_graph,
};
use crate::dataset;
use crate::engine::{OnnxRuntime, PromptEncoder};
use crate::model::bundling::{BundlingError, write_bundle};
use crate::model::data::{ProductPictures, Sources};
use crate::model::fusion::warnings;
use crate::model::losses::Objective;
use crate::model::prompts::PromptChoice;
use crate::model::pseudo_anomaly::{PseudoAnomalyMaker, TextureSource};
use crate::model::sampling::Sampling;
use crate::model::torch_file;
use crate::model::train::{
    Budget, StepProgress, TrainError, TrainProgress, TrainSettings, partial_directory, train,
};
use crate::part::NamedTensors;
use crate::preprocess::{normalise_picture, resize_picture};
use clap::{Args, ValueEnum};
use crossbeam_channel::{Receiver, Sender, bounded};
use image::RgbImage;
use indicatif::ProgressBar;
use rand_pcg::Pcg64Mcg;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// Pictures of each other product that lend textures to pseudo-anomalies.
const CROPS_PER_PRODUCT: usize = 16;

#[derive(Args)]
#[command(after_help = "Example: onenipd train data/ --output engines/mine --minutes 20")]
pub struct Arguments {
    /// Data set in MVTec layout; one model for all its products
    data: PathBuf,
    /// Directory of the bundle; checkpoints lie in BUNDLE.partial meanwhile
    #[arg(long, value_name = "BUNDLE")]
    output: PathBuf,
    /// Backbone
    #[arg(long, value_enum, default_value = "lite0")]
    backbone: BackboneChoice,
    /// Published weights of the backbone (default: as `make setup` lays them)
    #[arg(long, value_name = "FILE")]
    backbone_weights: Option<PathBuf>,
    /// Input side, a multiple of 16: 224, 256 and 320 are the published ones
    #[arg(long, default_value_t = 224)]
    size: usize,
    /// Steps; 0: no network, only what calibration gives
    #[arg(long, conflicts_with = "minutes")]
    steps: Option<u64>,
    /// Minutes, features included (default 30)
    #[arg(long)]
    minutes: Option<f64>,
    /// Recipe
    #[arg(long, value_enum, default_value = "default")]
    recipe: RecipeChoice,
    /// How often each product is trained on
    #[arg(long, value_enum, default_value = "proportional")]
    sampling: SamplingChoice,
    /// Prompt of each product wherever something is measured; steps draw theirs at random
    #[arg(long, value_enum, default_value = "first")]
    prompt: PromptArgument,
    /// Which losses a step takes, to measure what each part of the paper's gives
    #[arg(long, value_enum, default_value = "full")]
    objective: ObjectiveChoice,
    /// Seed of every generator
    #[arg(long, default_value_t = 133)]
    seed: u64,
    /// Steps between checkpoints
    #[arg(long, value_name = "STEPS", default_value_t = 50)]
    checkpoint_every: u64,
    /// Go on from the checkpoint in BUNDLE.partial
    #[arg(long)]
    resume: bool,
    /// Folder of textures for pseudo-anomalies, besides those built in
    #[arg(long, value_name = "DIR")]
    textures: Option<PathBuf>,
    /// Store weights in 16 bits: half the size
    #[arg(long)]
    half: bool,
    /// Where the training computes
    #[arg(long, value_enum, default_value = "cpu")]
    device: Device,
    /// ONNX Runtime library
    #[arg(long, value_name = "FILE")]
    library: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum BackboneChoice {
    Lite0,
    Lite1,
    Lite2,
    B4,
}

impl From<BackboneChoice> for Backbone {
    fn from(choice: BackboneChoice) -> Self {
        match choice {
            BackboneChoice::Lite0 => Self::Lite0,
            BackboneChoice::Lite1 => Self::Lite1,
            BackboneChoice::Lite2 => Self::Lite2,
            BackboneChoice::B4 => Self::B4,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum SamplingChoice {
    /// Every picture equally often: a product with more of them is seen more
    Proportional,
    /// Every product equally often
    Balanced,
}

#[derive(Clone, Copy, ValueEnum)]
enum PromptArgument {
    /// The first good part by name
    First,
    /// The good part nearest to the middle of those trained on
    Auto,
}

#[derive(Clone, Copy, ValueEnum)]
enum ObjectiveChoice {
    /// Reconstruction, restoration of pseudo-anomalies, refiner: the paper's
    Full,
    /// Reconstruction and refiner
    WithoutRestoration,
    /// Reconstruction alone
    Reconstruction,
}

#[derive(Clone, Copy, ValueEnum)]
enum RecipeChoice {
    Default,
    Paper,
}

#[derive(Clone, Copy, ValueEnum)]
enum Device {
    Cpu,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Device::Cpu = arguments.device;
    if arguments.size < 64 || !arguments.size.is_multiple_of(16) {
        return Err(Failure::say(Code::Usage, "--size must be a multiple of 16 from 64 on"));
    }
    let stop = stop_on_signals()?;
    let runtime = OnnxRuntime::open(arguments.library.as_deref()).code(Code::Unavailable)?;
    let (weights, licence) = backbone(arguments)?;
    let data = dataset::open(&arguments.data).code(Code::NoInput)?;
    let settings = settings(arguments, weights, licence, &stop);
    let readable = readable_products(&data)?;
    let textures = textures(&readable, arguments.textures.as_deref())?;
    let makers: Vec<PseudoAnomalyMaker> =
        (0..readable.len()).map(|product| maker(arguments.size, product, &textures)).collect();
    let encoders = Encoders::open(&settings, &runtime)?;
    let read = |path: &Path| read_resized(path, arguments.size);
    let spoil =
        |product: usize, good: &RgbImage, random: &mut Pcg64Mcg| makers[product].make(good, random);
    let features = |pictures: &[RgbImage]| encoders.features(pictures);
    let sources =
        Sources { products: readable, picture: &read, pseudo_anomaly: &spoil, features: &features };
    let mut screen = TrainScreen::new();
    let outcome =
        train(&settings, &sources, &mut |step| screen.show(step)).map_err(train_failure)?;
    screen.finish("measuring fusion and writing the bundle ...");
    let precision = if arguments.half { Precision::F16 } else { Precision::F32 };
    let threads = engine::threads();
    let bundle = write_bundle(&settings, &sources, outcome, &runtime, precision, threads).map_err(
        |error| match error {
            BundlingError::Train(error) => train_failure(error),
            other => Failure::new(Code::Data, other),
        },
    )?;
    print_summary(&bundle);
    Ok(())
}

fn print_summary(bundle: &bundle::Bundle) {
    let manifest = bundle.manifest();
    let training = &manifest.training;
    println!("bundle {} ({:.0} s)", bundle.directory().display(), training.seconds);
    println!("  {} steps on {}", training.steps, training.products.join(", "));
    let [network, search, cell] = manifest.fusion.weights;
    println!("  fusion: network {network}, search {search}, cell {cell}");
    for (name, prompt) in &training.prompts {
        println!(
            "  prompt of {name}: {}, distance to the middle {:.2} (good parts: median {:.2}, \
             largest {:.2})",
            prompt.picture, prompt.distance, prompt.median, prompt.largest
        );
    }
    for (name, value) in &training.metrics {
        println!("  {name} {value:.4}");
    }
    if manifest.has_network() && network == 0.0 {
        println!(
            "  note: on held-out pseudo-anomalies the network adds nothing to the untrained maps, \
             so its map is left out"
        );
    }
    for warning in warnings(&training.metrics) {
        eprintln!("warning: {warning}");
    }
    let directory = bundle.directory().display();
    println!("  next: onenipd verify {directory}; onenipd evaluate {directory} DATA");
}

fn settings<'a>(
    arguments: &Arguments,
    backbone_weights: NamedTensors,
    backbone_licence: String,
    stop: &'a AtomicBool,
) -> TrainSettings<'a> {
    let command: Vec<String> = std::env::args().skip(1).collect();
    TrainSettings {
        data: arguments.data.clone(),
        output: arguments.output.clone(),
        backbone: arguments.backbone.into(),
        backbone_weights,
        backbone_licence,
        side: arguments.size,
        budget: match (arguments.steps, arguments.minutes) {
            (Some(steps), _) => Budget::Steps(steps),
            (None, minutes) => Budget::Minutes(minutes.unwrap_or(30.0)),
        },
        recipe: match arguments.recipe {
            RecipeChoice::Default => Recipe::Default,
            RecipeChoice::Paper => Recipe::Paper,
        },
        sampling: match arguments.sampling {
            SamplingChoice::Proportional => Sampling::Proportional,
            SamplingChoice::Balanced => Sampling::Balanced,
        },
        prompt: match arguments.prompt {
            PromptArgument::First => PromptChoice::First,
            PromptArgument::Auto => PromptChoice::Auto,
        },
        objective: match arguments.objective {
            ObjectiveChoice::Full => Objective::Full,
            ObjectiveChoice::WithoutRestoration => Objective::WithoutRestoration,
            ObjectiveChoice::Reconstruction => Objective::Reconstruction,
        },
        checkpoint_period: arguments.checkpoint_every,
        seed: arguments.seed,
        resume: arguments.resume,
        textures: arguments.textures.clone(),
        command: format!("onenipd {}", command.join(" ")),
        stop,
    }
}

/// The backbone's weights and the licence that travels with them.
fn backbone(arguments: &Arguments) -> Result<(NamedTensors, String), Failure> {
    let backbone: Backbone = arguments.backbone.into();
    let published = torch_file::published_file(backbone);
    let path = match &arguments.backbone_weights {
        Some(path) => path.clone(),
        None => find_weights(published.name).ok_or_else(|| {
            let remedy = published.remedy();
            let message =
                format!("{} is not found; {remedy}, by --backbone-weights", published.name);
            Failure::say(Code::NoInput, message)
        })?,
    };
    let code = if path.exists() { Code::Data } else { Code::NoInput };
    let loaded = torch_file::published_backbone(&path, backbone).code(code)?;
    if let Some(note) = &loaded.note {
        eprintln!("note: {note}");
    }
    let beside = path.with_file_name(format!("LICENSE-efficientnet-{}", backbone.name()));
    let notice = std::fs::read_to_string(beside).unwrap_or_default();
    let licence = format!(
        "The backbone's weights in this bundle are those of EfficientNet-{} (Apache-2.0, trained \
         on ImageNet),\nas published in {} of {}.\n\n{}\n\n{}",
        backbone.name().to_uppercase(),
        published.name,
        published.origin,
        notice.trim(),
        include_str!("../../LICENSE-APACHE")
    );
    Ok((loaded.tensors, licence))
}

fn find_weights(name: &str) -> Option<PathBuf> {
    let program = std::env::current_exe().ok();
    let beside = program.as_deref().and_then(Path::parent);
    let folders = [
        Some(PathBuf::from("runtime")),
        beside.map(|folder| folder.join("../lib/onenipd")),
        Some(PathBuf::from("/usr/lib/onenipd")),
    ];
    folders.into_iter().flatten().map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Every product's good pictures, without those that cannot be read, which are named and counted.
fn readable_products(data: &dataset::DataSet) -> Result<Vec<ProductPictures>, Failure> {
    let mut skipped = 0usize;
    let mut products = Vec::new();
    for product in &data.products {
        let read = dataset::read_all(&product.train_good, &mut |error| {
            skipped += 1;
            eprintln!("skipped: {error}");
        });
        let good = read.code(Code::Data)?.into_iter().map(|(path, _)| path).collect();
        products.push(ProductPictures { name: product.name.clone(), good });
    }
    if skipped > 0 {
        eprintln!("{skipped} unreadable pictures were skipped");
    }
    Ok(products)
}

struct Textures {
    /// By product.
    crops: Vec<Vec<RgbImage>>,
    folder: Vec<PathBuf>,
}

fn textures(products: &[ProductPictures], folder: Option<&Path>) -> Result<Textures, Failure> {
    let folder = match folder {
        Some(folder) => dataset::list_pictures(folder).code(Code::NoInput)?,
        None => Vec::new(),
    };
    let mut crops = Vec::new();
    for product in products {
        let step = product.good.len().div_ceil(CROPS_PER_PRODUCT).max(1);
        let few = product.good.iter().step_by(step).map(|path| dataset::read_picture(path));
        crops.push(few.collect::<Result<_, _>>().code(Code::Data)?);
    }
    Ok(Textures { crops, folder })
}

/// Pseudo-anomalies of one product take their textures from the others.
fn maker(side: usize, product: usize, textures: &Textures) -> PseudoAnomalyMaker {
    let others = textures.crops.iter().enumerate().filter(|(index, _)| *index != product);
    let crops = others.flat_map(|(_, crops)| crops.iter().cloned()).collect();
    let source = TextureSource { procedural: true, crops, folder: textures.folder.clone() };
    PseudoAnomalyMaker::new(side, source)
}

fn read_resized(path: &Path, side: usize) -> Result<RgbImage, TrainError> {
    let picture = dataset::read_picture(path).map_err(|error| TrainError::Picture {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(resize_picture(&picture, side))
}

/// The backbone's graph in ONNX Runtime, a hundred times faster than in burn: one session of one
/// thread for each core, lent to whichever thread needs one.
struct Encoders {
    free: Receiver<PromptEncoder>,
    back: Sender<PromptEncoder>,
    normalisation: Normalisation,
}

impl Encoders {
    fn open(settings: &TrainSettings, runtime: &OnnxRuntime) -> Result<Self, Failure> {
        let manifest = Manifest::new(settings.backbone, settings.side, Recipe::Untrained);
        let graph = prompt_encoder_graph(&settings.backbone_weights, &manifest, &[], &[]);
        let folder = partial_directory(&settings.output);
        std::fs::create_dir_all(&folder)?;
        let path = folder.join("features.onnx");
        std::fs::write(&path, graph.code(Code::Data)?)?;
        let count = engine::threads();
        let (back, free) = bounded(count);
        for _ in 0..count {
            let encoder =
                PromptEncoder::open(runtime, &path, &manifest, 1).code(Code::Unavailable)?;
            let closed = |_| Failure::say(Code::Internal, "no place for a session");
            back.send(encoder).map_err(closed)?;
        }
        Ok(Self { free, back, normalisation: manifest.normalisation })
    }

    fn features(&self, pictures: &[RgbImage]) -> Result<Vec<Vec<f32>>, TrainError> {
        let failed = |reason: String| TrainError::Features(reason);
        let mut encoder = self.free.recv().map_err(|error| failed(error.to_string()))?;
        let encode = |picture: &RgbImage| {
            let input = normalise_picture(picture, &self.normalisation);
            let encoding = encoder.encode(&input).map_err(|error| failed(error.to_string()))?;
            Ok(encoding.features.into_values())
        };
        let features = pictures.iter().map(encode).collect();
        self.back.send(encoder).map_err(|error| failed(error.to_string()))?;
        features
    }
}

fn train_failure(error: TrainError) -> Failure {
    let code = match &error {
        TrainError::NoPictures(_) | TrainError::NothingToResume(_) => Code::NoInput,
        TrainError::Checkpoint(_)
        | TrainError::NotKept { .. }
        | TrainError::Log { .. }
        | TrainError::Unfinished { .. } => Code::Io,
        TrainError::Thread(_) => Code::Unavailable,
        TrainError::Stopped { .. } | TrainError::StoppedBeforeTraining => Code::No,
        _ => Code::Data,
    };
    Failure::new(code, error)
}

/// Progress of a training: a bar on a terminal, else a line now and then.
struct TrainScreen {
    bar: ProgressBar,
    warnings: usize,
}

impl TrainScreen {
    fn new() -> Self {
        Self { bar: progress::bar(1, "features"), warnings: 0 }
    }

    fn show(&mut self, step: &TrainProgress) {
        match step {
            TrainProgress::Features { done, total } | TrainProgress::HeldOut { done, total } => {
                self.bar.set_length(*total as u64);
                self.bar.set_position(*done as u64);
            }
            TrainProgress::Step(step) => self.step(step),
            TrainProgress::Checkpoint(directory) => {
                self.bar.println(format!("checkpoint in {}", directory.display()));
            }
            TrainProgress::Warning(text) => {
                self.warnings += 1;
                self.bar.suspend(|| eprintln!("warning {}: {text}", self.warnings));
            }
        }
    }

    fn step(&mut self, step: &StepProgress) {
        self.bar.set_prefix("train");
        self.bar.set_length(step.steps.unwrap_or(step.step + 1));
        self.bar.set_position(step.step);
        let left = step.time_left.map_or(0, |left| left.as_secs());
        let losses = format!(
            "reconstruction {:.4} dice {:.4} gradient {:.2} {:.2} s/step, {}:{:02} left",
            step.reconstruction_loss,
            step.dice_loss,
            step.gradient_norm,
            step.seconds_per_step,
            left / 60,
            left % 60
        );
        if self.bar.is_hidden() {
            if step.step == 1 || step.step.is_multiple_of(25) {
                let of = step.steps.map_or_else(|| "?".into(), |steps| steps.to_string());
                eprintln!("step {}/{of}: {losses}", step.step);
            }
            if let Some(loss) = step.held_out_loss {
                eprintln!("step {}: held-out loss {loss:.4}", step.step);
            }
        } else {
            self.bar.set_message(losses);
        }
    }

    fn finish(&self, message: &str) {
        self.bar.finish_and_clear();
        eprintln!("{message}");
    }
}

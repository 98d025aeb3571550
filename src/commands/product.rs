//! `onenipd product`: add, calibrate, list, show, remove.

use super::configuration::ConfigurationArguments;
use super::engine::{self, OpenBundle};
use super::failure::{Code, Failure, WithCode};
use super::progress;
use crate::daemon::assemble;
use crate::dataset;
use crate::part::{LineTime, RegionOfInterest};
use crate::product::{
    BundleTeacher, CalibrationRequest, ProductInfo, ProductStore, Prompt, Spread, Stage,
    StoreError, Taught, calibrate, teach_one_picture,
};
use clap::{Args, Subcommand};
use image::RgbImage;
use std::path::{Path, PathBuf};

#[derive(Args)]
#[command(after_help = "Example: onenipd product add bracket --prompt good/0001.png")]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Teaches a product by one picture of a good part; usable at once, shown as uncalibrated
    Add {
        /// Name: letters, digits, `_`, `-`
        name: String,
        /// Picture of a good part; or `auto`, the most typical of those in the folder of --from, or
        /// `first`, the first of them by name
        #[arg(long, value_name = "IMAGE")]
        prompt: PathBuf,
        /// Folder of pictures of good parts to choose the prompt from, or to compare it with
        #[arg(long, value_name = "GOOD_DIR", required_if_eq_any([("prompt", "auto"), ("prompt", "first")]))]
        from: Option<PathBuf>,
        /// Number a PLC asks for (default: the next free)
        #[arg(long)]
        number: Option<u16>,
        /// Inspected part of the picture, in camera pixels
        #[arg(long, value_name = "X,Y,W,H", value_parser = region)]
        roi: Option<RegionOfInterest>,
        #[command(flatten)]
        configuration: ConfigurationArguments,
    },
    /// Measures memory and thresholds on good parts
    Calibrate {
        /// Name of the product
        name: String,
        /// Folder of pictures of good parts
        good: PathBuf,
        /// Share of good parts that may be rejected
        #[arg(long, default_value = "0.5%", value_parser = share)]
        false_reject: f64,
        #[command(flatten)]
        configuration: ConfigurationArguments,
    },
    /// Lists the products of this box
    List {
        /// One JSON document instead of the table
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        configuration: ConfigurationArguments,
    },
    /// Shows one product
    Show {
        /// Name of the product
        name: String,
        /// One JSON document instead of lines
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        configuration: ConfigurationArguments,
    },
    /// Removes a product
    Remove {
        /// Name of the product
        name: String,
        #[command(flatten)]
        configuration: ConfigurationArguments,
    },
}

pub fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.action {
        Action::Add { name, prompt, from, number, roi, configuration } => {
            let this_box = ThisBox::open(&configuration)?;
            add(&this_box, &name, &prompt, from.as_deref(), number, roi)
        }
        Action::Calibrate { name, good, false_reject, configuration } => {
            recalibrate(&ThisBox::open(&configuration)?, &name, &good, false_reject)
        }
        Action::List { json, configuration } => list(&store(&configuration)?, json),
        Action::Show { name, json, configuration } => show(&store(&configuration)?, &name, json),
        Action::Remove { name, configuration } => {
            store(&configuration)?.remove(&name).code(Code::Io)?;
            eprintln!("product `{name}` is removed");
            Ok(())
        }
    }
}

/// The box as configured: its engine and its products.
struct ThisBox {
    open: OpenBundle,
    store: ProductStore,
}

impl ThisBox {
    fn open(arguments: &ConfigurationArguments) -> Result<Self, Failure> {
        let configuration = arguments.load()?;
        let state = &configuration.state.directory;
        let library = assemble::library(&configuration);
        let open = engine::open(&configuration.engine.bundle, library, &state.join("graphs"))?;
        Ok(Self { open, store: ProductStore::open(state) })
    }
}

fn store(arguments: &ConfigurationArguments) -> Result<ProductStore, Failure> {
    Ok(ProductStore::open(&arguments.load_without_bundle()?.state.directory))
}

fn add(
    this_box: &ThisBox,
    name: &str,
    prompt: &Path,
    from: Option<&Path>,
    number: Option<u16>,
    roi: Option<RegionOfInterest>,
) -> Result<(), Failure> {
    let hash = this_box.open.bundle.hash();
    let identity = this_box.store.identity(name, number, roi, hash).map_err(store_failure)?;
    let mut teacher = this_box.open.teacher()?;
    let picture = match from {
        Some(folder) => choose_prompt(&mut teacher, prompt, folder, roi)?,
        None => dataset::read_picture(prompt).code(Code::NoInput)?,
    };
    check_region(&picture, roi)?;
    let taught = teach_one_picture(&mut teacher, &picture, roi, 0.005).code(Code::Data)?;
    keep(this_box, taught, identity, &picture)
}

/// The prompt of `product add`, and on stderr which it is and how typical.
fn choose_prompt(
    teacher: &mut BundleTeacher,
    prompt: &Path,
    folder: &Path,
    region: Option<RegionOfInterest>,
) -> Result<RgbImage, Failure> {
    let listed = dataset::list_pictures(folder).code(Code::NoInput)?;
    let (good, _) = readable(&listed, region)?;
    let bar = progress::bar(good.len() as u64, "features");
    let mut encoded = |done: usize| bar.set_position(done as u64);
    let spread = Spread::of_pictures(teacher, &good, region, &mut encoded).code(Code::Data)?;
    bar.finish_and_clear();
    let part = match prompt.to_str() {
        Some("auto") => Some(spread.nearest()),
        Some("first") => Some(0),
        _ => None,
    };
    let path = part.and_then(|part| good.get(part)).map_or(prompt, PathBuf::as_path);
    let picture = dataset::read_picture(path).code(Code::NoInput)?;
    check_region(&picture, region)?;
    let place = match part {
        Some(part) => spread.place_of_part(part),
        None => spread.place_of_picture(teacher, &picture, region).code(Code::Data)?,
    };
    eprintln!("prompt {}: {place}", path.display());
    if let Some(warning) = place.warning() {
        eprintln!("warning: {warning}");
    }
    Ok(picture)
}

/// The pictures that can be read and hold the region, and how many were skipped.
fn readable(
    listed: &[PathBuf],
    region: Option<RegionOfInterest>,
) -> Result<(Vec<PathBuf>, usize), Failure> {
    let mut skipped = 0;
    let pictures = dataset::read_all(listed, &mut |error| {
        skipped += 1;
        eprintln!("skipped: {error}");
    })
    .code(Code::Data)?;
    let mut usable = Vec::with_capacity(pictures.len());
    for (path, picture) in pictures {
        check_region(&picture, region)?;
        usable.push(path);
    }
    Ok((usable, skipped))
}

fn recalibrate(this_box: &ThisBox, name: &str, good: &Path, share: f64) -> Result<(), Failure> {
    let known = this_box.store.info(name).map_err(store_failure)?;
    let prompt = this_box.store.prompt(name).map_err(store_failure)?;
    let region = known.region_of_interest;
    let hash = this_box.open.bundle.hash();
    let identity = this_box.store.identity(name, None, region, hash).map_err(store_failure)?;
    let listed = dataset::list_pictures(good).code(Code::NoInput)?;
    let (usable, skipped) = readable(&listed, region)?;
    let mut teacher = this_box.open.teacher()?;
    let request = CalibrationRequest {
        prompt: Prompt::Picture(&prompt),
        good_parts: &usable,
        region_of_interest: region,
        false_reject_share: share,
    };
    let started = LineTime::now();
    let bar = progress::bar(usable.len() as u64, name);
    let taught = calibrate(&mut teacher, &request, &mut |step| {
        bar.set_length(step.total as u64);
        bar.set_position(step.done as u64);
        bar.set_message(match step.stage {
            Stage::Encode => "features",
            Stage::Remember => "memory",
            Stage::Inspect => "thresholds",
        });
    })
    .code(Code::Data)?;
    bar.finish_and_clear();
    if skipped > 0 {
        eprintln!("{skipped} unreadable pictures were skipped");
    }
    let seconds = LineTime::now().since(started).as_secs_f64();
    eprintln!("calibrated on {} pictures in {seconds:.1} s", usable.len());
    if let Some(place) = taught.prompt {
        eprintln!("prompt: {place}");
    }
    keep(this_box, taught, identity, &prompt)
}

fn keep(
    this_box: &ThisBox,
    taught: Taught,
    identity: crate::product::Identity,
    prompt: &RgbImage,
) -> Result<(), Failure> {
    let product = taught.into_product(identity);
    this_box.store.save(&product, prompt).map_err(store_failure)?;
    print_info(&product.info);
    Ok(())
}

fn list(store: &ProductStore, json: bool) -> Result<(), Failure> {
    let listing = store.list().map_err(store_failure)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&listing.products).code(Code::Internal)?);
    } else {
        println!(
            "{:>6}  {:24} {:>8}  {:>6}  {:>9}",
            "number", "name", "revision", "parts", "threshold"
        );
        for p in &listing.products {
            let mark = if p.calibrated { "" } else { "  uncalibrated" };
            let threshold = p.thresholds.image;
            let (number, name, revision) = (p.number, &p.name, p.revision);
            let parts = p.good_pictures;
            println!("{number:>6}  {name:24} {revision:>8}  {parts:>6}  {threshold:>9.4}{mark}");
        }
    }
    for error in &listing.damaged {
        eprintln!("{error}");
    }
    Ok(())
}

fn show(store: &ProductStore, name: &str, json: bool) -> Result<(), Failure> {
    let info = store.info(name).map_err(store_failure)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&info).code(Code::Internal)?);
    } else {
        print_info(&info);
    }
    Ok(())
}

fn print_info(info: &ProductInfo) {
    println!("product {} ({}), revision {}", info.name, info.number, info.revision);
    let state = if info.calibrated { "calibrated" } else { "UNCALIBRATED" };
    println!("  {state} on {} good pictures", info.good_pictures);
    println!("  image threshold {:.4}", info.thresholds.image);
    println!("  pixel threshold {:.4}", info.thresholds.pixel);
    if let Some(r) = info.region_of_interest {
        println!("  region of interest {},{} {}x{}", r.x, r.y, r.width, r.height);
    }
    println!("  bundle {}", info.bundle_hash);
    for note in &info.notes {
        println!("  note: {note}");
    }
}

fn store_failure(error: StoreError) -> Failure {
    let code = match &error {
        StoreError::Unknown(_) => Code::NoInput,
        StoreError::Name(_) | StoreError::NumberZero | StoreError::NumberTaken { .. } => {
            Code::Usage
        }
        _ => Code::Data,
    };
    Failure::new(code, error)
}

fn check_region(picture: &RgbImage, region: Option<RegionOfInterest>) -> Result<(), Failure> {
    let Some(r) = region else { return Ok(()) };
    let (width, height) = picture.dimensions();
    let right = u64::from(r.x) + u64::from(r.width);
    let bottom = u64::from(r.y) + u64::from(r.height);
    if right <= u64::from(width) && bottom <= u64::from(height) {
        return Ok(());
    }
    let message = format!(
        "region of interest {},{},{},{} reaches beyond the picture of {width}x{height} pixels",
        r.x, r.y, r.width, r.height
    );
    Err(Failure::say(Code::Data, message))
}

fn region(text: &str) -> Result<RegionOfInterest, String> {
    let numbers: Result<Vec<u32>, _> = text.split(',').map(|n| n.trim().parse()).collect();
    match numbers.as_deref() {
        Ok(&[x, y, width, height]) if width > 0 && height > 0 => {
            Ok(RegionOfInterest { x, y, width, height })
        }
        _ => Err("give x,y,width,height in camera pixels, for example 40,20,560,400".into()),
    }
}

/// A share such as `0.5%` or `0.5 %`, as a fraction.
pub fn share(text: &str) -> Result<f64, String> {
    let number = text.trim().strip_suffix('%').map(|n| n.trim().parse::<f64>());
    match number {
        Some(Ok(percent)) if percent > 0.0 && percent < 50.0 => Ok(percent / 100.0),
        _ => Err("give a share above 0 % and below 50 %, for example 0.5%".into()),
    }
}

//! `onenipd simulate`: the simulator's parts as a data set.

use super::failure::{Code, Failure, WithCode};
use super::progress;
use crate::dataset::DataSetWriter;
use crate::simulator::{Split, data_set_parts, products};
use clap::Args;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_help = "Example: onenipd simulate --output parts/ --good 100 --defects 50")]
pub struct Arguments {
    /// Directory of the data set; a product that exists there is not overwritten
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Number of products
    #[arg(long, default_value_t = 3)]
    products: usize,
    /// Good training parts per product; half as many good test parts come with them
    #[arg(long, default_value_t = 100)]
    good: usize,
    /// Defective test parts per product
    #[arg(long, default_value_t = 50)]
    defects: usize,
    /// Seed of everything drawn
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let known = products();
    if arguments.products == 0 || arguments.products > known.len() {
        let message = format!("there are 1 to {} products to draw", known.len());
        return Err(Failure::say(Code::Usage, message));
    }
    let test_good = arguments.good.div_ceil(2);
    let per_product = arguments.good + test_good + arguments.defects;
    let bar = progress::bar((per_product * arguments.products) as u64, "draw");
    for &kind in &known[..arguments.products] {
        let mut writer = DataSetWriter::create(&arguments.output, kind.name()).code(Code::Io)?;
        let (seed, good, defects) = (arguments.seed, arguments.good, arguments.defects);
        for part in data_set_parts(kind, seed, good, test_good, defects) {
            let picture = &part.drawn.picture;
            match (part.split, &part.drawn.mask) {
                (Split::TrainGood, _) => writer.add_train_good(picture),
                (Split::TestGood, _) | (Split::TestDefect(_), None) => {
                    writer.add_test_good(picture)
                }
                (Split::TestDefect(defect), Some(mask)) => {
                    writer.add_test_defect(defect.name(), picture, mask)
                }
            }
            .code(Code::Io)?;
            bar.inc(1);
        }
        writer.finish().code(Code::Io)?;
        bar.set_message(kind.name());
    }
    bar.finish_and_clear();
    let output = arguments.output.display();
    println!("{} products with {per_product} pictures each in {output}", arguments.products);
    Ok(())
}

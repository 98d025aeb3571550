//! `onenipd modbus map`.

use super::failure::Failure;
use crate::line_io::modbus::map::{MapFormat, render};
use clap::{Args, Subcommand, ValueEnum};

#[derive(Args)]
#[command(after_help = "Example: onenipd modbus map --format csv > map.csv")]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Prints the register map
    Map {
        /// Format of the map
        #[arg(long, value_enum, default_value = "md")]
        format: Format,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Md,
    Json,
    Csv,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Action::Map { format } = &arguments.action;
    let format = match format {
        Format::Md => MapFormat::Markdown,
        Format::Json => MapFormat::Json,
        Format::Csv => MapFormat::Csv,
    };
    print!("{}", render(format));
    Ok(())
}

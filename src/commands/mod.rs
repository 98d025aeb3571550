//! One file per subcommand: parsing, progress, exit codes.

mod bench;
mod check;
mod configuration;
mod demonstration;
mod doctor;
mod engine;
mod evaluate;
mod explain;
mod failure;
mod findings;
mod hold;
#[cfg(feature = "train")]
mod import;
mod libraries;
mod modbus;
mod product;
mod progress;
mod replay;
mod run;
mod screen;
mod simulate;
mod tally;
#[cfg(feature = "train")]
mod train;
mod verify;

use clap::{Parser, Subcommand};
use failure::{Code, Failure};
use std::process::ExitCode;

/// Inspects every part from one picture of a good one and rejects at the right moment what is bad,
/// or not known to be good.
#[derive(Parser)]
#[command(name = "onenipd", version, max_term_width = 100, after_help = EXAMPLE)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLE: &str = "Example: onenipd run --config config/demo.toml";

#[derive(Subcommand)]
enum Command {
    /// Runs the daemon in the foreground
    Run(run::Arguments),
    /// Reads configuration, bundle, products and devices and prints every problem
    Check(check::Arguments),
    /// Inspects the box: libraries, devices, permissions, clock, disk, GPU, and the engine
    Doctor(doctor::Arguments),
    /// Trains one network for all products of a data set and writes the bundle
    #[cfg(feature = "train")]
    Train(train::Arguments),
    /// Makes a bundle of an official OneNIP checkpoint
    #[cfg(feature = "train")]
    Import(import::Arguments),
    /// Proves that the engines agree with the network
    Verify(verify::Arguments),
    /// Teaches each product of a data set and measures the engine on its test pictures
    Evaluate(evaluate::Arguments),
    /// Products on this box: add, calibrate, list, show, remove
    Product(product::Arguments),
    /// Sends a folder of pictures through the daemon's whole way
    Replay(replay::Arguments),
    /// Writes the simulator's parts as a data set
    Simulate(simulate::Arguments),
    /// Measures the bare engine beside the whole way
    Bench(bench::Arguments),
    /// One part's timeline, stage by stage, and why it was decided so
    Explain(explain::Arguments),
    /// Keeps the output lines at their rejecting levels while the daemon is dead
    Hold(hold::Arguments),
    /// The Modbus register map
    Modbus(modbus::Arguments),
}

/// Entry of the command line.
pub fn main() -> ExitCode {
    let command_line = match CommandLine::try_parse() {
        Ok(command_line) => command_line,
        Err(error) if error.kind() == clap::error::ErrorKind::DisplayVersion => {
            println!("{}", libraries::version_text());
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            let help = !error.use_stderr();
            // Printing help into a closed pipe is no failure.
            let _ = error.print();
            return if help { ExitCode::SUCCESS } else { ExitCode::from(Code::Usage as u8) };
        }
    };
    match dispatch(command_line.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run(arguments) => run::run(arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        #[cfg(feature = "train")]
        Command::Train(arguments) => train::run(&arguments),
        #[cfg(feature = "train")]
        Command::Import(arguments) => import::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Evaluate(arguments) => evaluate::run(&arguments),
        Command::Product(arguments) => product::run(arguments),
        Command::Replay(arguments) => replay::run(arguments),
        Command::Simulate(arguments) => simulate::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Hold(arguments) => hold::run(&arguments),
        Command::Modbus(arguments) => modbus::run(&arguments),
    }
}

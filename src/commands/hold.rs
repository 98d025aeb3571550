//! `onenipd hold`: keeps the output lines while the daemon is dead (docs/design/dead-process.md).

use super::configuration::ConfigurationArguments;
use super::failure::{Code, Failure, WithCode};
use super::run::start_logging;
use crate::daemon::{assemble, service};
use crate::line_io::gpio::Holder;
use crate::line_io::realtime;
use clap::Args;

#[derive(Args)]
#[command(after_help = "Example: onenipd hold --config /etc/onenipd/onenipd.toml\n\n\
    Takes the lines at their rejecting levels, lends them to the daemon, and has them at these \
    levels again from the moment it ends. Runs as onenipd-hold.service.")]
pub struct Arguments {
    #[command(flatten)]
    configuration: ConfigurationArguments,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let configuration = arguments.configuration.load_without_bundle()?;
    start_logging(&configuration);
    realtime::apply(&assemble::realtime_settings(&configuration));
    let socket = configuration.gpio.hold_socket.clone();
    let Some(socket) = socket.filter(|_| assemble::has_gpio(&configuration)) else {
        service::notify_ready("nothing to hold");
        log::info!("nothing to hold: gpio.chip or gpio.hold_socket is empty");
        return Ok(());
    };
    let settings = assemble::gpio_outputs(&configuration);
    let holder = Holder::start(settings, &socket).code(Code::Unavailable)?;
    service::notify_ready(if holder.holds() { "holding the output lines" } else { "waiting" });
    holder.run().code(Code::Unavailable)
}

//! `--config` and `--set`, for every command that needs a configuration.

use super::failure::{Code, Failure, WithCode};
use crate::config::{self, Configuration, Layers};
use clap::Args;
use std::path::PathBuf;

#[derive(Args)]
pub struct ConfigurationArguments {
    /// Configuration file instead of /etc/onenipd (repeatable, later wins)
    #[arg(long = "config", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// One value over all files, for example line.delay="350 ms" (repeatable)
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    overrides: Vec<String>,
}

impl ConfigurationArguments {
    /// Files, environment (`ONENIPD_SECTION__KEY`) and `--set`, checked.
    pub fn load(&self) -> Result<Configuration, Failure> {
        config::load(&self.layers()).code(Code::Configuration)
    }

    /// As [`Self::load`], from `files` when none is named.
    pub fn load_or(&self, files: &[&str]) -> Result<Configuration, Failure> {
        let mut layers = self.layers();
        if self.files.is_empty() {
            layers.files = files.iter().map(PathBuf::from).collect();
        }
        config::load(&layers).code(Code::Configuration)
    }

    /// As [`Self::load`], for commands that need no engine.
    pub fn load_without_bundle(&self) -> Result<Configuration, Failure> {
        config::load_without_bundle(&self.layers()).code(Code::Configuration)
    }

    fn layers(&self) -> Layers {
        let files = match self.files.is_empty() {
            true => Layers::default_files(),
            false => self.files.clone(),
        };
        let environment = std::env::vars().collect();
        Layers { files, environment, overrides: self.overrides.clone() }
    }
}

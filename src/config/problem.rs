//! What is wrong with a configuration.

use super::source::Place;
use std::fmt;

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `file:line:column`, the environment variable, the `--set` argument, or the key's name.
    pub place: String,
    /// What is wrong, naming the key.
    pub what: String,
    /// What to do.
    pub remedy: String,
    /// The line of the file with a mark under the place.
    pub excerpt: Option<String>,
}

impl Problem {
    pub(super) fn new(place: &Place, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (place, excerpt) = (place.describe(), place.excerpt());
        Self { place, what: what.into(), remedy: remedy.into(), excerpt }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        match &self.excerpt {
            Some(excerpt) => write!(f, "\n{excerpt}"),
            None => Ok(()),
        }
    }
}

/// Every problem of a configuration; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigurationErrors {
    /// In the order of the layers.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigurationErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => write!(f, "the configuration has a problem:")?,
            count => write!(f, "the configuration has {count} problems:")?,
        }
        self.problems.iter().try_for_each(|problem| write!(f, "\n{problem}"))
    }
}

impl std::error::Error for ConfigurationErrors {}

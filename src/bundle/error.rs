//! What can be wrong with a bundle.

use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a bundle cannot be read, written or made into graphs.
#[derive(Debug, Error)]
pub enum BundleError {
    /// No bundle lies there.
    #[error(
        "{directory}: no engine bundle here (bundle.toml is missing); check the name, or make one \
         with `onenipd train`"
    )]
    Missing {
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// A file could not be read or written.
    #[error("cannot {action} {path}: {source}; check the path, its rights and the free space")]
    Io {
        /// What was tried: `read`, `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// `bundle.toml` says something that cannot be.
    #[error("{path}: {reason}; fetch the bundle again or train it anew")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A listed file is missing, damaged or not of its kind.
    #[error("{path}: {reason}; the bundle is damaged: fetch it again")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A weight is unknown, missing, misshapen or not finite.
    #[error("weight `{key}`: {reason}; the weights do not fit this manifest: export them again")]
    Weight {
        /// Official key name.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// A bundle would be overwritten.
    #[error("{directory} exists already; choose another name or ask for it to be replaced")]
    Exists {
        /// The directory.
        directory: PathBuf,
    },
    /// Something that is no bundle would be overwritten.
    #[error("{directory} exists and is no bundle, so it is never replaced; choose another name")]
    NotABundle {
        /// The directory.
        directory: PathBuf,
    },
    /// An extra output that no node makes.
    #[error("the {graph} graph has no tensor `{name}`; ask for one that a node is named after")]
    UnknownTensor {
        /// Which graph.
        graph: &'static str,
        /// The name asked for.
        name: String,
    },
}

impl BundleError {
    pub(super) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }

    pub(super) fn weight(key: &str, reason: impl Into<String>) -> Self {
        Self::Weight { key: key.to_owned(), reason: reason.into() }
    }
}

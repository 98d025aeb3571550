//! Opening a bundle and the engine library, for every command that needs them.

use super::failure::{Code, Failure, WithCode};
use crate::bundle::{Bundle, GraphFiles};
use crate::engine::OnnxRuntime;
use crate::product::BundleTeacher;
use std::path::Path;

/// A bundle with its graphs and the library that runs them.
pub struct OpenBundle {
    pub bundle: Bundle,
    pub graphs: GraphFiles,
    pub runtime: OnnxRuntime,
}

/// Threads of an engine used by a command: the box has nothing else to do.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(8)
}

/// Opens everything, writing the graphs where they are missing. `cache`: where they go if the
/// bundle's own directory cannot be written.
pub fn open(bundle: &Path, library: Option<&Path>, cache: &Path) -> Result<OpenBundle, Failure> {
    let runtime = OnnxRuntime::open(library).code(Code::Unavailable)?;
    let code = if bundle.exists() { Code::Data } else { Code::NoInput };
    let bundle = Bundle::open(bundle).code(code)?;
    let graphs = bundle.graphs(cache).code(Code::Data)?;
    Ok(OpenBundle { bundle, graphs, runtime })
}

impl OpenBundle {
    /// Encoder and inspector for teaching.
    pub fn teacher(&self) -> Result<BundleTeacher, Failure> {
        BundleTeacher::open(&self.runtime, &self.graphs, self.bundle.manifest(), threads())
            .code(Code::Unavailable)
    }
}

/// Where graphs are cached when no configuration names a state directory.
pub fn default_cache() -> std::path::PathBuf {
    std::env::temp_dir().join("onenipd-graphs")
}

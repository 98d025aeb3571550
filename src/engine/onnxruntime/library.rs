//! The library: found, opened once per process.

use super::EngineError;
use ort::environment::Environment;
use ort::logging::LogLevel;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Names the library itself, over every search.
const VARIABLE: &str = "ORT_DYLIB_PATH";
const FILE_START: &str = "libonnxruntime.so";

/// The opened library. Cheap to clone; a process has only one.
#[derive(Clone)]
pub struct OnnxRuntime {
    environment: Environment,
    library: PathBuf,
}

static OPENED: Mutex<Option<OnnxRuntime>> = Mutex::new(None);

impl OnnxRuntime {
    /// Opens `library`, or else the one of `ORT_DYLIB_PATH`, beside the executable, in
    /// `../lib/onenipd/`, `/usr/lib/onenipd/` or `runtime/`, in this order. The first call decides
    /// for the whole process: a later one returns the same, and is refused if it names another.
    pub fn open(library: Option<&Path>) -> Result<Self, EngineError> {
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        if let (None, Some(runtime)) = (library, opened.as_ref()) {
            return Ok(runtime.clone());
        }
        let library = match library {
            Some(path) => resolve(path)?,
            None => search()?,
        };
        match opened.as_ref() {
            Some(runtime) if runtime.library == library => Ok(runtime.clone()),
            Some(runtime) => {
                let own = runtime.library.display();
                Err(refused(&library, format!("this process already uses {own}")))
            }
            None => {
                let runtime = load(library)?;
                *opened = Some(runtime.clone());
                Ok(runtime)
            }
        }
    }

    /// Where the library lies.
    pub fn library(&self) -> &Path {
        &self.library
    }

    /// Its version, such as `1.31.1`.
    pub fn version(&self) -> String {
        let name = self.library.file_name().unwrap_or_default().to_string_lossy();
        match name.strip_prefix(FILE_START).and_then(|rest| rest.strip_prefix('.')) {
            Some(version) => version.to_owned(),
            None => ort::info().to_owned(),
        }
    }

    pub(super) const fn environment(&self) -> &Environment {
        &self.environment
    }
}

fn refused(path: &Path, reason: impl Into<String>) -> EngineError {
    EngineError::Library { path: path.display().to_string(), reason: reason.into() }
}

fn load(library: PathBuf) -> Result<OnnxRuntime, EngineError> {
    let builder = ort::init_from(&library).map_err(|error| refused(&library, error.to_string()))?;
    let environment = builder
        .with_name(env!("CARGO_PKG_NAME"))
        .with_telemetry(false)
        .with_logger(Arc::new(|level, _category: &str, _id: &str, place: &str, message: &str| {
            let level = match level {
                LogLevel::Fatal | LogLevel::Error => log::Level::Error,
                LogLevel::Warning => log::Level::Warn,
                LogLevel::Info | LogLevel::Verbose => log::Level::Debug,
            };
            log::log!(level, "ONNX Runtime ({place}): {message}");
        }))
        .build()
        .map_err(|error| refused(&library, error.to_string()))?;
    environment.set_log_level(LogLevel::Warning);
    Ok(OnnxRuntime { environment, library })
}

/// The file behind links, so that one library has one name.
fn resolve(path: &Path) -> Result<PathBuf, EngineError> {
    fs::canonicalize(path).map_err(|error| refused(path, error.to_string()))
}

fn search() -> Result<PathBuf, EngineError> {
    if let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        return resolve(Path::new(&path));
    }
    let directories = directories();
    match directories.iter().find_map(|directory| newest_in(directory)) {
        Some(path) => resolve(&path),
        None => {
            let places: Vec<String> =
                directories.iter().map(|place| place.display().to_string()).collect();
            Err(refused(Path::new(FILE_START), format!("in none of {}", places.join(", "))))
        }
    }
}

fn directories() -> Vec<PathBuf> {
    let mut directories = Vec::new();
    let executable = std::env::current_exe().and_then(fs::canonicalize);
    if let Some(own) = executable.ok().as_deref().and_then(Path::parent) {
        directories.push(own.to_owned());
        directories.push(own.join("../lib/onenipd"));
    }
    directories.extend(["/usr/lib/onenipd", "runtime"].map(PathBuf::from));
    directories
}

/// The library of the highest version in `directory`.
fn newest_in(directory: &Path) -> Option<PathBuf> {
    let version = |name: &str| -> Option<Vec<u32>> {
        let rest = name.strip_prefix(FILE_START)?;
        // `.so` alone has no version; `.so.1.31.1.sha256` is no library.
        rest.split('.').skip(1).map(|part| part.parse().ok()).collect()
    };
    let entries = fs::read_dir(directory).ok()?;
    let libraries = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        let version = version(path.file_name()?.to_str()?)?;
        Some((version, path))
    });
    libraries.max().map(|(_, path)| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_library_is_taken_and_other_files_are_not() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(newest_in(directory.path()), None);
        for name in ["libonnxruntime.so.1.9.0", "libonnxruntime.so.1.31.1", "libonnxruntime.so"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        for name in ["libonnxruntime.so.2.sha256", "libonnxruntime_providers_shared.so"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        let expected = directory.path().join("libonnxruntime.so.1.31.1");
        assert_eq!(newest_in(directory.path()), Some(expected));
    }

    #[test]
    fn a_missing_library_is_named_with_the_remedy() {
        let error = OnnxRuntime::open(Some(Path::new("/nowhere/libonnxruntime.so"))).err().unwrap();
        let text = error.to_string();
        assert!(
            text.contains("/nowhere/libonnxruntime.so") && text.contains("make setup"),
            "{text}"
        );
    }

    #[test]
    fn a_file_that_is_no_library_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("libonnxruntime.so");
        fs::write(&path, "no library").unwrap();
        assert!(matches!(OnnxRuntime::open(Some(&path)), Err(EngineError::Library { .. })));
    }
}

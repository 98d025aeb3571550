//! Plans on disk: a cache, each kept under everything it depends on.

use super::{TensorRt, TensorRtError};
use sha2::{Digest, Sha256};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Memory the builder may use beside the network itself.
const WORKSPACE_BYTES: usize = 1 << 30;

/// What a plan depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanKey {
    /// Name and compute capability of the GPU.
    pub device: String,
    /// TensorRT's version.
    pub version: String,
    /// "fp16" or "fp32".
    pub precision: &'static str,
    /// Hash of the bundle.
    pub bundle_hash: String,
}

impl PlanKey {
    /// A name no other key has, readable at its beginning.
    pub fn file_name(&self) -> String {
        let plain = |text: &str| -> String {
            text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
        };
        let mut hash = Sha256::new();
        for part in [&self.device, &self.version, self.precision, &self.bundle_hash] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        let hash: String = hash.finalize()[..8].iter().map(|b| format!("{b:02x}")).collect();
        let (device, version) = (plain(&self.device), plain(&self.version));
        format!("{device}_{version}_{}_{hash}.plan", self.precision)
    }
}

/// The folder of the plans, under the state directory.
#[derive(Clone, Debug)]
pub struct Plans {
    folder: PathBuf,
}

impl Plans {
    /// Plans under `state_directory`.
    pub fn new(state_directory: &Path) -> Self {
        Self { folder: state_directory.join("plans") }
    }

    /// Where the plan of `key` lies, or would.
    pub fn path(&self, key: &PlanKey) -> PathBuf {
        self.folder.join(key.file_name())
    }

    /// The plan of `key`, built from `graph` where it is not kept yet.
    ///
    /// # Errors
    /// It cannot be read, built or written.
    pub fn get(
        &self,
        key: &PlanKey,
        runtime: &mut TensorRt,
        graph: &Path,
        progress: &mut dyn FnMut(&str, i32, i32) -> bool,
    ) -> Result<Vec<u8>, TensorRtError> {
        let path = self.path(key);
        match std::fs::read(&path) {
            Ok(plan) => return Ok(plan),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(keep_error(&path, &error)),
        }
        let plan = runtime.build(graph, WORKSPACE_BYTES, progress)?;
        self.keep(&path, &plan).map_err(|error| keep_error(&path, &error))?;
        Ok(plan)
    }

    /// Forgets the plan of `key`, for instance because it does not load.
    pub fn forget(&self, key: &PlanKey) {
        let path = self.path(key);
        if let Err(error) = std::fs::remove_file(&path) {
            log::warn!("plan {} cannot be deleted: {error}", path.display());
        }
    }

    /// Whole or not at all.
    fn keep(&self, path: &Path, plan: &[u8]) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        let partial = path.with_extension("partial");
        let mut file = std::fs::File::create(&partial)?;
        file.write_all(plan)?;
        file.sync_all()?;
        std::fs::rename(&partial, path)
    }
}

fn keep_error(path: &Path, error: &std::io::Error) -> TensorRtError {
    TensorRtError::Keep { path: path.to_owned(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_key_changes_the_name() {
        let key = PlanKey {
            device: "Orin (nvgpu) 8.7".into(),
            version: "10.3.0".into(),
            precision: "fp16",
            bundle_hash: "ab".into(),
        };
        let name = key.file_name();
        assert!(name.starts_with("Orin--nvgpu--8-7_10-3-0_fp16_"), "{name}");
        let others = [
            PlanKey { device: "Orin -nvgpu) 8.7".into(), ..key.clone() },
            PlanKey { version: "10.3.1".into(), ..key.clone() },
            PlanKey { precision: "fp32", ..key.clone() },
            PlanKey { bundle_hash: "ac".into(), ..key.clone() },
        ];
        assert!(others.iter().all(|other| other.file_name() != name));
    }
}

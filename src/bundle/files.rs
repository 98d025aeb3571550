//! Files of a bundle: whole or not there.

use super::{BundleError, onnx};
use crate::part::{NamedTensors, Tensor};
use half::f16;
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) const MANIFEST: &str = "bundle.toml";
pub(super) const WEIGHTS: &str = "weights.safetensors";
pub(super) const HALF_INSPECTOR: &str = "inspector_half.onnx";

/// SHA-256 in hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> String {
    onnx::hexadecimal(&Sha256::digest(bytes))
}

/// Whether `name` is a file directly in the bundle's directory and not one of a fixed meaning.
pub(super) fn is_plain_name(name: &str) -> bool {
    let reserved = [MANIFEST, "inspector.onnx", HALF_INSPECTOR, "prompt_encoder.onnx"];
    !name.is_empty()
        && !name.starts_with('.')
        && !name.contains(['/', '\\', '\0'])
        && !reserved.contains(&name)
}

/// Reads a listed file and compares its hash.
pub(super) fn read_checked(path: &Path, sha256_expected: &str) -> Result<Vec<u8>, BundleError> {
    let file = |reason: String| BundleError::File { path: path.to_owned(), reason };
    let bytes = fs::read(path).map_err(|error| file(format!("cannot be read ({error})")))?;
    let found = sha256(&bytes);
    if found == sha256_expected {
        Ok(bytes)
    } else {
        Err(file(format!("its SHA-256 is {found}, bundle.toml says {sha256_expected}")))
    }
}

/// Tensors of a safetensors file, F32 or F16.
pub(super) fn decode_weights(path: &Path, bytes: &[u8]) -> Result<NamedTensors, BundleError> {
    let file = |reason: String| BundleError::File { path: path.to_owned(), reason };
    let tensors = SafeTensors::deserialize(bytes)
        .map_err(|error| file(format!("is no safetensors file ({error})")))?;
    let mut weights = NamedTensors::new();
    for (key, view) in tensors.iter() {
        let values: Vec<f32> = match view.dtype() {
            Dtype::F32 => view
                .data()
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
            Dtype::F16 => view
                .data()
                .chunks_exact(2)
                .map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32())
                .collect(),
            other => {
                let reason = format!("is of type {other:?}; F32 and F16 are read");
                return Err(BundleError::weight(key, reason));
            }
        };
        let tensor = Tensor::new(view.shape(), values)
            .map_err(|error| BundleError::weight(key, error.to_string()))?;
        weights.insert(key.to_owned(), tensor);
    }
    Ok(weights)
}

/// Writes a file so that it is there whole or not at all: temporary, fsync, rename.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let serial = COUNTER.fetch_add(1, Ordering::Relaxed);
    let directory = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = directory.join(format!(".{name}.{}-{serial}.partial", std::process::id()));
    let written = write_synced(&temporary, bytes)
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| sync_directory(directory));
    if written.is_err() {
        // Nothing more can be done about a temporary that stays.
        drop(fs::remove_file(&temporary));
    }
    written
}

/// Writes a file and waits until it is on the disk.
pub(super) fn write_synced(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Waits until names in a directory are on the disk.
pub(super) fn sync_directory(directory: &Path) -> std::io::Result<()> {
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    File::open(directory)?.sync_all()
}

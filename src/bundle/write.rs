//! Writing a bundle: whole or not at all.

use super::files::{self, MANIFEST, WEIGHTS};
use super::store::check_manifest;
use super::{Bundle, BundleError, Manifest, check_weights};
use crate::part::NamedTensors;
use half::f16;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use safetensors::tensor::{Dtype, TensorView, serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// How weights are stored. Graphs are always made in f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits, exact.
    F32,
    /// 16 bits, half the size.
    F16,
}

/// Writes a bundle to `directory`: weights, `extra_files` by name, and `manifest` with `files`
/// filled in. It is made as `DIRECTORY.partial-write` and renamed when whole; an existing bundle
/// stays as it is unless `replace`.
pub fn write(
    directory: &Path,
    mut manifest: Manifest,
    weights: &NamedTensors,
    precision: Precision,
    extra_files: &[(&str, &[u8])],
    replace: bool,
) -> Result<Bundle, BundleError> {
    let path = directory.join(MANIFEST);
    match (directory.exists(), replace) {
        (true, false) => return Err(BundleError::Exists { directory: directory.to_owned() }),
        (true, true) if !path.exists() => {
            return Err(BundleError::NotABundle { directory: directory.to_owned() });
        }
        _ => {}
    }
    let wrong = |reason: String| BundleError::Manifest { path: path.clone(), reason };
    check_weights(weights, &manifest)?;
    let weights = encode_weights(weights, precision)?;
    let mut contents: Vec<(&str, &[u8])> = vec![(WEIGHTS, &weights)];
    contents.extend(extra_files);
    manifest.files =
        contents.iter().map(|(name, bytes)| ((*name).to_owned(), files::sha256(bytes))).collect();
    if manifest.files.len() != contents.len() {
        return Err(wrong("two files have the same name".to_owned()));
    }
    check_manifest(&manifest).map_err(wrong)?;
    let text = toml::to_string_pretty(&manifest).map_err(|error| wrong(error.to_string()))?;
    contents.push((MANIFEST, text.as_bytes()));

    let partial = beside(directory, "partial-write");
    let written = write_files(&partial, &contents).and_then(|()| {
        put_in_place(&partial, directory)
            .map_err(|error| BundleError::io("write", directory, error))
    });
    if let Err(error) = written {
        // A full disk is not left fuller than it was.
        drop(fs::remove_dir_all(&partial));
        return Err(error);
    }
    Bundle::open(directory)
}

fn write_files(partial: &Path, contents: &[(&str, &[u8])]) -> Result<(), BundleError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |error| BundleError::io("write", &path, error)
    };
    if partial.exists() {
        fs::remove_dir_all(partial).map_err(io(partial))?;
    }
    fs::create_dir_all(partial).map_err(io(partial))?;
    for (name, bytes) in contents {
        let path = partial.join(name);
        files::write_synced(&path, bytes).map_err(io(&path))?;
    }
    files::sync_directory(partial).map_err(io(partial))
}

/// `DIRECTORY.SUFFIX`.
fn beside(directory: &Path, suffix: &str) -> PathBuf {
    let mut name = directory.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{suffix}"));
    directory.with_file_name(name)
}

/// Renames `partial` to `directory`; what lies there already is exchanged in one step.
fn put_in_place(partial: &Path, directory: &Path) -> std::io::Result<()> {
    if directory.exists() {
        renameat_with(CWD, partial, CWD, directory, RenameFlags::EXCHANGE)?;
        fs::remove_dir_all(partial)?;
    } else {
        fs::rename(partial, directory)?;
    }
    files::sync_directory(directory.parent().unwrap_or(Path::new(".")))
}

fn encode_weights(weights: &NamedTensors, precision: Precision) -> Result<Vec<u8>, BundleError> {
    let mut encoded = Vec::with_capacity(weights.len());
    for (key, tensor) in weights {
        let (kind, bytes): (_, Vec<u8>) = match precision {
            Precision::F32 => {
                (Dtype::F32, tensor.values().iter().flat_map(|v| v.to_le_bytes()).collect())
            }
            Precision::F16 => {
                let halves: Vec<f16> = tensor.values().iter().map(|&v| f16::from_f32(v)).collect();
                if !halves.iter().all(|value| value.is_finite()) {
                    let reason = "does not fit into 16 bits; store it in F32";
                    return Err(BundleError::weight(key, reason));
                }
                (Dtype::F16, halves.iter().flat_map(|v| v.to_le_bytes()).collect())
            }
        };
        encoded.push((key, tensor.shape(), kind, bytes));
    }
    let mut views = Vec::with_capacity(encoded.len());
    for (key, shape, kind, bytes) in &encoded {
        let view = TensorView::new(*kind, shape.to_vec(), bytes)
            .map_err(|error| BundleError::weight(key, error.to_string()))?;
        views.push((key.as_str(), view));
    }
    serialize(views, None).map_err(|error| BundleError::weight(WEIGHTS, error.to_string()))
}

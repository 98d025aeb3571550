//! Reading a bundle and keeping the graphs derived from it.

use super::files::{self, HALF_INSPECTOR, MANIFEST, WEIGHTS};
use super::{
    BundleError, FORMAT_VERSION, Manifest, check_weights, graphs, inspector_graph,
    inspector_inputs, onnx, prompt_encoder_graph,
};
use crate::part::NamedTensors;
use std::fs;
use std::path::{Path, PathBuf};

/// Largest `bundle.toml` that is read.
const MANIFEST_LIMIT_BYTES: u64 = 1 << 20;

/// A bundle whose files were found whole and as its manifest says.
#[derive(Clone, Debug)]
pub struct Bundle {
    directory: PathBuf,
    manifest: Manifest,
    hash: String,
}

/// Where the derived graphs lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphFiles {
    /// `inspector.onnx`.
    pub inspector: PathBuf,
    /// `prompt_encoder.onnx`.
    pub prompt_encoder: PathBuf,
}

impl GraphFiles {
    fn in_directory(directory: &Path) -> Self {
        Self {
            inspector: directory.join("inspector.onnx"),
            prompt_encoder: directory.join("prompt_encoder.onnx"),
        }
    }
}

impl Bundle {
    /// Reads and checks `bundle.toml`, every file it lists and the weights' names and shapes.
    pub fn open(directory: &Path) -> Result<Self, BundleError> {
        let path = directory.join(MANIFEST);
        let wrong = |reason: String| BundleError::Manifest { path: path.clone(), reason };
        let size = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(BundleError::Missing { directory: directory.to_owned() });
            }
            Err(error) => return Err(BundleError::io("read", &path, error)),
        };
        if size > MANIFEST_LIMIT_BYTES {
            return Err(wrong(format!("has {size} bytes, more than {MANIFEST_LIMIT_BYTES}")));
        }
        let bytes = fs::read(&path).map_err(|error| BundleError::io("read", &path, error))?;
        let text = std::str::from_utf8(&bytes).map_err(|error| wrong(error.to_string()))?;
        let manifest = parse_manifest(text).map_err(wrong)?;
        for (name, hash) in &manifest.files {
            if name != WEIGHTS {
                files::read_checked(&directory.join(name), hash)?;
            }
        }
        let hash = files::sha256(&bytes);
        let bundle = Self { directory: directory.to_owned(), manifest, hash };
        bundle.weights()?;
        Ok(bundle)
    }

    /// Where it lies.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What `bundle.toml` says.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 of `bundle.toml` in hexadecimal digits: what a product names.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The weights in f32, unfolded, by official name; read from the disk and checked each time.
    pub fn weights(&self) -> Result<NamedTensors, BundleError> {
        let path = self.directory.join(WEIGHTS);
        let hash = self.manifest.files.get(WEIGHTS).map_or("", String::as_str);
        let weights = files::decode_weights(&path, &files::read_checked(&path, hash)?)?;
        check_weights(&weights, &self.manifest)?;
        Ok(weights)
    }

    /// The graphs, written first where missing, damaged or of another bundle or program: beside
    /// the weights, or under `cache/HASH/` where the bundle's directory cannot be written.
    pub fn graphs(&self, cache: &Path) -> Result<GraphFiles, BundleError> {
        let beside = GraphFiles::in_directory(&self.directory);
        let cache = cache.join(&self.hash);
        let cached = GraphFiles::in_directory(&cache);
        if let Some(found) = [&beside, &cached].into_iter().find(|files| self.are_current(files)) {
            return Ok(found.clone());
        }
        let weights = self.weights()?;
        let metadata = self.metadata();
        let inspector = inspector_graph(&weights, &self.manifest, &[], &metadata)?;
        let prompt_encoder = prompt_encoder_graph(&weights, &self.manifest, &[], &metadata)?;
        let write = |files: &GraphFiles| {
            files::write_whole(&files.inspector, &inspector)
                .map_err(|error| BundleError::io("write", &files.inspector, error))?;
            files::write_whole(&files.prompt_encoder, &prompt_encoder)
                .map_err(|error| BundleError::io("write", &files.prompt_encoder, error))
        };
        if write(&beside).is_ok() {
            return Ok(beside);
        }
        fs::create_dir_all(&cache).map_err(|error| BundleError::io("write", &cache, error))?;
        write(&cached)?;
        Ok(cached)
    }

    /// The inspector with its heavy products in FP16 (specification 8.4), for engines that take
    /// the precision from the graph; written where missing, beside the FP32 one of `graphs`.
    pub fn half_inspector(&self, graphs: &GraphFiles) -> Result<PathBuf, BundleError> {
        let path = graphs.inspector.with_file_name(HALF_INSPECTOR);
        let [bundle, writer] = self.metadata();
        let metadata = [bundle, writer, ("precision", "half")];
        if fs::read(&path).is_ok_and(|bytes| onnx::check(&bytes, &metadata)) {
            return Ok(path);
        }
        let full = fs::read(&graphs.inspector)
            .map_err(|error| BundleError::io("read", &graphs.inspector, error))?;
        let foreign = || BundleError::File {
            path: graphs.inspector.clone(),
            reason: "is no graph of this program".to_owned(),
        };
        let half = onnx::to_half(&full, &metadata).ok_or_else(foreign)?;
        files::write_whole(&path, &half).map_err(|error| BundleError::io("write", &path, error))?;
        Ok(path)
    }

    fn metadata(&self) -> [(&str, &str); 2] {
        [("bundle_sha256", &self.hash), ("graph_writer", graphs::WRITER_VERSION)]
    }

    fn are_current(&self, files: &GraphFiles) -> bool {
        [&files.inspector, &files.prompt_encoder]
            .into_iter()
            .all(|path| fs::read(path).is_ok_and(|bytes| onnx::check(&bytes, &self.metadata())))
    }
}

/// `bundle.toml`, or what is wrong with it.
pub(super) fn parse_manifest(text: &str) -> Result<Manifest, String> {
    // The version first: another format may have other fields.
    let table: toml::Table = text.parse().map_err(|error| format!("is no TOML ({error})"))?;
    match table.get("format_version").and_then(toml::Value::as_integer) {
        Some(version) if version == i64::from(FORMAT_VERSION) => {}
        Some(version) => {
            return Err(format!(
                "format version {version}, this program reads {FORMAT_VERSION}; use the program \
                 it was made for"
            ));
        }
        None => return Err("has no format_version".to_owned()),
    }
    let manifest: Manifest = toml::from_str(text).map_err(|error| error.to_string())?;
    check_manifest(&manifest)?;
    if !manifest.files.contains_key(WEIGHTS) {
        return Err(format!("lists no {WEIGHTS} under [files]"));
    }
    Ok(manifest)
}

/// What holds of every manifest, written or read.
pub(super) fn check_manifest(manifest: &Manifest) -> Result<(), String> {
    let Manifest { side, good_tokens, cell_pictures, fusion, one_picture, .. } = manifest;
    if manifest.format_version != FORMAT_VERSION {
        return Err(format!("format_version must be {FORMAT_VERSION}"));
    }
    if side % 16 != 0 || !(64..=1024).contains(side) {
        return Err(format!("side {side} is not a multiple of 16 from 64 to 1024"));
    }
    if !(1..=1 << 16).contains(good_tokens) {
        return Err(format!("good_tokens {good_tokens} is not from 1 to 65536"));
    }
    if !(1..=1 << 10).contains(cell_pictures) {
        return Err(format!("cell_pictures {cell_pictures} is not from 1 to 1024"));
    }
    let numbers = [
        ("fusion.constant_k", vec![fusion.constant_k]),
        ("fusion.weights", fusion.weights.to_vec()),
        ("one_picture.scales", one_picture.scales.to_vec()),
        ("one_picture.threshold", vec![one_picture.threshold]),
        ("one_picture.pixel_threshold", vec![one_picture.pixel_threshold]),
        ("normalisation.mean", manifest.normalisation.mean.to_vec()),
        ("golden_scores", manifest.golden_scores.values().copied().collect()),
    ];
    if let Some((name, _)) = numbers.iter().find(|(_, v)| !v.iter().all(|v| v.is_finite())) {
        return Err(format!("{name} is not finite"));
    }
    let deviation = manifest.normalisation.deviation;
    if !deviation.iter().all(|value| value.is_finite() && *value > 0.0) {
        return Err("normalisation.deviation is not above 0".to_owned());
    }
    let expected =
        inspector_inputs(manifest.recipe, manifest.geometry(), *good_tokens, *cell_pictures);
    if manifest.inputs != expected {
        return Err(format!("inputs are not those of its recipe: {expected:?} are expected"));
    }
    match manifest.files.keys().find(|name| !files::is_plain_name(name)) {
        Some(name) => Err(format!("files lists `{name}`, which is no plain file name")),
        None => Ok(()),
    }
}

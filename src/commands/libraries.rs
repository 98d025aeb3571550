//! The libraries this program finds on the box, for `--version` and `doctor`.

use crate::camera;
use crate::engine::OnnxRuntime;
use std::path::Path;

/// A library: its version, or why it cannot be used.
pub type Found = Result<String, String>;

/// Features this program was built with.
pub fn features() -> String {
    let all = [
        ("train", cfg!(feature = "train")),
        ("cuda", cfg!(feature = "cuda")),
        ("cuda-13", cfg!(feature = "cuda-13")),
        ("tensorrt", cfg!(feature = "tensorrt")),
    ];
    let built: Vec<&str> = all.iter().filter(|(_, built)| *built).map(|(name, _)| *name).collect();
    if built.is_empty() { "none".to_owned() } else { built.join(", ") }
}

/// GStreamer.
pub fn gstreamer() -> Found {
    camera::library_version()
}

/// ONNX Runtime, at `library` or in the usual places.
pub fn onnxruntime(library: Option<&Path>) -> Found {
    let runtime = OnnxRuntime::open(library).map_err(|error| error.to_string())?;
    Ok(format!("{} ({})", runtime.version(), runtime.library().display()))
}

/// CUDA: what the driver serves.
#[cfg(feature = "cuda")]
pub fn cuda() -> Found {
    crate::cuda::driver_version().map_err(|error| error.to_string())
}

/// CUDA: not in this program.
#[cfg(not(feature = "cuda"))]
pub fn cuda() -> Found {
    Err("not in this program; build it with the feature `cuda`".to_owned())
}

/// CUDA's run-time compiler.
#[cfg(feature = "cuda")]
pub fn cuda_compiler() -> Found {
    crate::cuda::compiler().map(str::to_owned).map_err(|error| error.to_string())
}

/// TensorRT.
#[cfg(feature = "tensorrt")]
pub fn tensorrt() -> Found {
    use crate::engine::tensorrt::{Libraries, TensorRt};
    let opened = TensorRt::open(Libraries::of_system());
    opened.map(|library| library.version()).map_err(|error| error.to_string())
}

/// TensorRT: not in this program.
#[cfg(not(feature = "tensorrt"))]
pub fn tensorrt() -> Found {
    Err("not in this program; build it with the feature `tensorrt`".to_owned())
}

/// What `--version` prints.
pub fn version_text() -> String {
    let mut lines =
        vec![format!("onenipd {}", env!("CARGO_PKG_VERSION")), format!("features: {}", features())];
    let all = [
        ("GStreamer", gstreamer()),
        ("ONNX Runtime", onnxruntime(None)),
        ("CUDA", cuda()),
        ("TensorRT", tensorrt()),
    ];
    lines.extend(all.into_iter().map(|(name, found)| match found {
        Ok(version) => format!("{name}: {version}"),
        Err(reason) => format!("{name}: no ({reason})"),
    }));
    lines.join("\n")
}

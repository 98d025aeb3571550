//! Compiles the shim over TensorRT's C++ interfaces, when the feature `tensorrt` asks for it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "tensorrt")]
    tensorrt::build();
}

#[cfg(feature = "tensorrt")]
mod tensorrt {
    use std::path::{Path, PathBuf};

    /// Folder of TensorRT's headers, where they are not the system's.
    const INCLUDE: &str = "ONENIPD_TENSORRT_INCLUDE";
    const SHIM: &str = "src/engine/tensorrt/shim.cpp";

    pub fn build() {
        println!("cargo::rerun-if-changed={SHIM}");
        println!("cargo::rerun-if-env-changed={INCLUDE}");
        let Some(folder) = headers() else {
            println!(
                "cargo::error=NvInfer.h is not found: install libnvinfer-dev and \
                 libnvonnxparsers-dev (on a Jetson they come with JetPack), or set {INCLUDE} to \
                 the folder of TensorRT's headers"
            );
            return;
        };
        let mut shim = cc::Build::new();
        shim.cpp(true).std("c++17").warnings(true).extra_warnings(true);
        // The headers' own warnings are not ours to mend.
        shim.flag("-isystem").flag(&folder);
        if let Some(parent) = folder.parent() {
            shim.flag("-isystem").flag(parent); // cuda_runtime_api.h beside the headers' folder
        }
        shim.flag("-isystem").flag("/usr/local/cuda/include");
        shim.file(SHIM).compile("onenipd_tensorrt");
        println!("cargo::rustc-link-lib=dl");
    }

    fn headers() -> Option<PathBuf> {
        let architecture = std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
        let named = std::env::var_os(INCLUDE).map(PathBuf::from);
        let system = [
            PathBuf::from(format!("/usr/include/{architecture}-linux-gnu")),
            PathBuf::from("/usr/include"),
        ];
        let has = |folder: &Path| folder.join("NvInfer.h").is_file();
        named.into_iter().chain(system).find(|folder| has(folder))
    }
}

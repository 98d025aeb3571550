//! What of the GPU path can be checked without a GPU: kernels through NVIDIA's compilers, plans
//! through a real TensorRT, and the error for each piece that is missing.
//!
//! `make test-gpu-tools` fetches the tools and tells by environment where they lie; without them
//! a check says that it is skipped.
#![cfg(feature = "cuda")]
#![allow(clippy::unwrap_used, clippy::panic)]

use onenipd::cuda::{Architecture, Device, compile};
use onenipd::preprocess::KERNELS_SOURCE;
use std::path::PathBuf;
use std::process::Command;

/// Orin, and since CUDA 13 Thor.
const ARCHITECTURES: &[Architecture] = if cfg!(feature = "cuda-13") {
    &[Architecture { major: 8, minor: 7 }, Architecture { major: 11, minor: 0 }]
} else {
    &[Architecture { major: 8, minor: 7 }]
};

fn tool(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).map(PathBuf::from);
    if path.is_none() {
        println!("skipped: {variable} is not set; `make test-gpu-tools` sets it");
    }
    path
}

#[test]
fn every_kernel_compiles_without_spilled_registers() {
    let Some(ptxas) = tool("ONENIPD_PTXAS") else { return };
    let folder = tempfile::tempdir().unwrap();
    for architecture in ARCHITECTURES {
        let compiled = compile(KERNELS_SOURCE, *architecture).unwrap();
        let path = folder.path().join("kernels.ptx");
        std::fs::write(&path, compiled.to_src()).unwrap();
        let name = format!("sm_{}{}", architecture.major, architecture.minor);
        let mut assembler = Command::new(&ptxas);
        assembler.arg(format!("-arch={name}")).args(["-v", "-o"]).arg(folder.path().join("out"));
        let output = assembler.arg(&path).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {text}");
        let spills = text.lines().filter(|line| line.contains("spill"));
        let clean = "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads";
        let spills: Vec<&str> = spills.collect();
        assert_eq!(spills.len(), 3, "{name}: {text}");
        assert!(spills.iter().all(|line| line.contains(clean)), "{name}: {text}");
        let registers = text.lines().filter(|line| line.contains("registers"));
        registers.for_each(|line| println!("{name}: {}", line.trim()));
    }
}

#[test]
fn a_kernel_that_does_not_compile_says_why() {
    if tool("ONENIPD_PTXAS").is_none() {
        return;
    }
    let error = compile("__global__ void broken() { nothing(); }", ARCHITECTURES[0]).unwrap_err();
    let text = error.to_string();
    println!("{text}");
    assert!(text.contains("compute_87") && text.contains("nothing"), "{text}");
}

#[test]
fn a_box_without_a_gpu_is_told_what_is_missing() {
    match Device::open(0) {
        Ok(device) => println!("skipped: this machine has a GPU, {}", device.name().unwrap()),
        Err(error) => {
            let text = error.to_string();
            println!("{text}");
            assert!(text.contains("NVIDIA driver") || text.contains("finds no GPU"), "{text}");
        }
    }
}

#[cfg(feature = "tensorrt")]
mod tensorrt {
    use super::*;
    use onenipd::bundle::Bundle;
    use onenipd::engine::tensorrt::{Libraries, PlanKey, Plans, TensorRt, TensorRtError};
    use std::path::Path;

    fn rtx() -> Option<Libraries> {
        let folder = tool("ONENIPD_TENSORRT_RTX")?;
        Some(Libraries {
            runtime: folder.join("libtensorrt_rtx.so.1"),
            parser: folder.join("libtensorrt_onnxparser_rtx.so.1"),
        })
    }

    fn refusal(runtime: &Path) -> String {
        let libraries = Libraries { runtime: runtime.into(), parser: "none".into() };
        let text = TensorRt::open(libraries).err().unwrap().to_string();
        println!("{text}");
        text
    }

    /// A library that claims to be TensorRT `version` and must never be asked for a runtime.
    fn impostor(folder: &Path, version: u32) -> PathBuf {
        let source = folder.join("impostor.c");
        let library = folder.join(format!("libimpostor{version}.so"));
        let text = format!(
            "#include <stdlib.h>\nint getInferLibVersion(void) {{ return {version}; }}\n\
             void *createInferRuntime_INTERNAL(void *l, int v) {{ (void)l; (void)v; abort(); }}\n"
        );
        std::fs::write(&source, text).unwrap();
        let mut compiler = Command::new("cc");
        let compiler = compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source);
        assert!(compiler.status().unwrap().success());
        library
    }

    #[test]
    fn missing_and_foreign_libraries_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = refusal(&folder.path().join("libnvinfer.so"));
        assert!(missing.contains("libnvinfer.so cannot be opened"), "{missing}");
        let foreign = folder.path().join("text.so");
        std::fs::write(&foreign, "no library").unwrap();
        assert!(refusal(&foreign).contains("text.so cannot be opened"));
        let other = refusal(Path::new("libm.so.6"));
        assert!(other.contains("libm.so.6 is not TensorRT"), "{other}");
        for (version, shown) in [(8601, "8.6.1"), (990_300, "99.3.0")] {
            let wrong = refusal(&impostor(folder.path(), version));
            assert!(wrong.contains(&format!("is version {shown}")), "{wrong}");
        }
    }

    #[test]
    fn the_demonstrations_inspector_becomes_a_plan() {
        let Some(libraries) = rtx() else { return };
        let folder = tempfile::tempdir().unwrap();
        let bundle = concat!(env!("CARGO_MANIFEST_DIR"), "/engines/demo");
        let bundle = Bundle::open(Path::new(bundle)).unwrap();
        let graphs = bundle.graphs(&folder.path().join("graphs")).unwrap();
        let half = bundle.half_inspector(&graphs).unwrap();
        let mut runtime = TensorRt::open(libraries).unwrap();
        println!("TensorRT-RTX {}", runtime.version());
        let plans = Plans::new(folder.path());
        for (precision, graph) in [("fp32", &graphs.inspector), ("fp16", &half)] {
            let key = PlanKey {
                device: "none".into(),
                version: runtime.version(),
                precision,
                bundle_hash: bundle.hash().to_owned(),
            };
            let mut steps = 0;
            let mut count = |_: &str, _, _| {
                steps += 1;
                true
            };
            let plan = plans.get(&key, &mut runtime, graph, &mut count).unwrap();
            println!("{precision}: a plan of {} bytes, {steps} steps were told", plan.len());
            assert!(plan.len() > 1_000_000 && steps > 0);
            assert_eq!(std::fs::read(plans.path(&key)).unwrap(), plan);
            // Kept: nothing is built, or the build would be stopped here.
            let again = plans.get(&key, &mut runtime, graph, &mut |_, _, _| false);
            assert_eq!(again.unwrap(), plan);
            plans.forget(&key);
            assert!(!plans.path(&key).exists());
        }
    }

    #[test]
    fn a_graph_that_is_none_is_named() {
        let Some(libraries) = rtx() else { return };
        let folder = tempfile::tempdir().unwrap();
        let graph = folder.path().join("broken.onnx");
        std::fs::write(&graph, b"\x08\x07\x12\x04none").unwrap();
        let mut runtime = TensorRt::open(libraries).unwrap();
        let error = runtime.build(&graph, 1 << 20, &mut |_, _, _| true).unwrap_err();
        println!("{error}");
        assert!(matches!(&error, TensorRtError::Build { graph, .. } if graph.contains("broken")));
    }
}

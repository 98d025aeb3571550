//! The program as a user meets it: exit codes and messages that name the thing and the remedy.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn onenipd(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_onenipd"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap()
}

fn refused(arguments: &[&str], code: i32, words: &[&str]) {
    let output = onenipd(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{arguments:?} does not say {word:?}: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn wrong_usage_is_64_and_help_is_0() {
    refused(&["inspect"], 64, &["unrecognized subcommand"]);
    refused(&["train"], 64, &["--output"]);
    let help = onenipd(&["replay", "--help"]);
    assert!(help.status.success());
    assert!(String::from_utf8_lossy(&help.stdout).contains("Example:"));
}

#[test]
fn every_problem_of_a_configuration_is_told_at_once_with_its_line_and_exit_78() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[line]\ndelai = \"400 ms\"\npulse = \"50\"\nwiring = \"energize\"\n\
                [engine]\nbundle = \"x\"\nthreads = 0\n";
    let path = write(folder.path(), "wrong.toml", text);
    let path = path.to_str().unwrap();
    let words = ["wrong.toml:2", "delay", "wrong.toml:3", "ms", "wrong.toml:4", "wrong.toml:7"];
    refused(&["run", "--config", path], 78, &words);
    refused(&["check", "--config", path], 78, &words);
}

#[test]
fn check_says_how_many_parts_a_slow_camera_of_its_own_time_leaves_without_a_frame() {
    let folder = tempfile::tempdir().unwrap();
    let said = |more: &str| {
        let text = format!("[engine]\nbundle = \"x\"\n[camera]\n{more}");
        let path = write(folder.path(), "camera.toml", &text);
        let output = onenipd(&["check", "--config", path.to_str().unwrap()]);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    // A folder is shown at 10 /s; the window is 10 + 50 ms.
    let slow = said("source = \"folder\"\nfolder = \".\"\n");
    assert!(slow.contains("every 100 ms, but is a part's only within 60 ms: 40 %"), "{slow}");
    assert!(slow.contains("match_after to \"100 ms\""), "{slow}");
    let wide = "source = \"folder\"\nfolder = \".\"\nmatch_after = \"100 ms\"\n";
    let free = "device = \"/dev/null\"\ntriggered = false\nrate = \"20 /s\"\n";
    for enough in [wide, free, "device = \"/dev/null\"\nrate = \"10 /s\"\n"] {
        assert!(!said(enough).contains("get none (201)"), "{enough}");
    }
}

#[test]
fn a_geometry_without_time_to_decide_is_a_configuration_error() {
    let set = ["--set", "line.delay=\"10 ms\"", "--set", "engine.bundle=\"x\""];
    let arguments: Vec<&str> = ["run"].into_iter().chain(set).collect();
    refused(&arguments, 78, &["delay"]);
}

#[test]
fn what_is_missing_is_named_with_its_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("no-such-bundle");
    let missing = missing.to_str().unwrap();
    refused(&["evaluate", missing, missing], 66, &["no-such-bundle"]);
    refused(&["verify", missing], 66, &["no-such-bundle"]);
    let data = folder.path().to_str().unwrap();
    refused(&["train", data, "--output", missing], 66, &["train/good"]);
    let library = folder.path().join("nothing.so");
    let library = library.to_str().unwrap();
    refused(&["verify", missing, "--library", library], 69, &["nothing.so", "make setup"]);
}

#[test]
fn a_corrupt_bundle_is_65_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "bundle.toml", "format_version = \"one\"");
    refused(&["verify", folder.path().to_str().unwrap()], 65, &["bundle.toml"]);
}

#[test]
fn the_register_map_comes_in_three_formats() {
    for (format, word) in [("md", "| 0 |"), ("json", "\"magic\""), ("csv", "magic")] {
        let output = onenipd(&["modbus", "map", "--format", format]);
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains(word), "{format}");
    }
}

#[test]
fn simulated_parts_become_a_data_set_once() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("parts");
    let path = output.to_str().unwrap();
    let arguments =
        ["simulate", "--output", path, "--products", "1", "--good", "4", "--defects", "5"];
    assert!(onenipd(&arguments).status.success());
    let data = onenipd::dataset::open(&output).unwrap();
    assert_eq!(data.products[0].train_good.len(), 4);
    let defects = data.products[0].test.iter().filter(|test| test.defect.is_some()).count();
    assert_eq!(defects, 5);
    refused(&arguments, 74, &["exists"]);
}

#[test]
fn the_version_tells_what_is_found() {
    let output = onenipd(&["--version"]);
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let own = format!("onenipd {}\n", env!("CARGO_PKG_VERSION"));
    assert!(said.starts_with(&own), "{said}");
    for word in ["features: ", "\nGStreamer: 1.", "\nONNX Runtime: 1.", "\nCUDA: ", "\nTensorRT: "]
    {
        assert!(said.contains(word), "no {word:?}: {said}");
    }
}

/// Findings of `doctor --json` with `arguments`, and its exit code.
fn doctor(arguments: &[&str]) -> (Vec<serde_json::Value>, Option<i32>) {
    let arguments: Vec<&str> = ["doctor", "--json"].iter().chain(arguments).copied().collect();
    let output = onenipd(&arguments);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    (document["findings"].as_array().unwrap().clone(), output.status.code())
}

#[test]
fn doctor_runs_the_golden_images_on_the_chosen_engine() {
    let folder = tempfile::tempdir().unwrap();
    let state = format!("state.directory={:?}", folder.path());
    let (findings, code) = doctor(&["--bundle", "engines/demo", "--set", &state]);
    let says = |level: &str, place: &str, word: &str| {
        findings.iter().any(|finding| {
            finding["level"] == level
                && finding["where"] == place
                && finding["what"].as_str().unwrap().contains(word)
        })
    };
    assert!(says("ok", "GStreamer", "1."), "{findings:#?}");
    assert!(says("ok", "ONNX Runtime", "1."), "{findings:#?}");
    assert!(says("ok", "engine", "golden images: largest difference"), "{findings:#?}");
    assert!(says("ok", "engine", "an inspection takes"), "{findings:#?}");
    let why = findings.iter().filter(|finding| finding["where"] == "engine");
    let why: Vec<&str> = why.map(|finding| finding["what"].as_str().unwrap()).collect();
    assert!(why.iter().any(|what| what.contains("TensorRT")), "{why:?}");
    let errors = findings.iter().filter(|finding| finding["level"] == "error").count();
    assert_eq!((errors, code), (0, Some(0)), "{findings:#?}");
    let unmended = findings.iter().filter(|finding| finding["level"] == "warning");
    assert!(unmended.clone().all(|finding| finding["remedy"] != ""), "{findings:#?}");
}

#[test]
fn doctor_answers_69_for_what_is_missing_and_goes_on() {
    let (findings, code) = doctor(&["--bundle", "no-such-bundle"]);
    assert_eq!(code, Some(69));
    let errors: Vec<_> = findings.iter().filter(|finding| finding["level"] == "error").collect();
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert!(errors[0]["what"].as_str().unwrap().contains("no-such-bundle"), "{errors:#?}");
    assert!(findings.iter().any(|finding| finding["where"] == "CPU"));
}

#[cfg(not(feature = "tensorrt"))]
#[test]
fn an_engine_asked_for_by_name_that_cannot_work_is_69_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let state = format!("state.directory={:?}", folder.path());
    let device = "engine.device=\"tensorrt\"";
    let common = ["--config", "config/demo.toml", "--set", &state, "--set", device];
    for command in ["run", "bench"] {
        let arguments: Vec<&str> = [command].iter().chain(&common).copied().collect();
        refused(&arguments, 69, &["engine.device", "without the feature `tensorrt`"]);
    }
}

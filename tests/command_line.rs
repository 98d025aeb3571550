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

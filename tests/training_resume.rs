//! A trainer that is killed goes on from its checkpoint and trains exactly what it would have
//! trained; a full disk costs it nothing but the time since its checkpoint.

#![cfg(feature = "train")]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const STEPS: &str = "24";

fn train(data: &Path, output: &Path, more: &[&str]) -> Command {
    let mut command = small_training(data, output);
    command.args(["--steps", STEPS, "--checkpoint-every", "4", "--sampling", "balanced"]);
    command.args(more);
    command
}

fn small_training(data: &Path, output: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onenipd"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).arg("train").arg(data);
    command.arg("--output").arg(output).args(["--size", "64"]);
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The columns of a log that do not depend on the time of day, by step.
fn losses(text: &str) -> Vec<Vec<String>> {
    let row = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        [0, 1, 2, 3, 4, 7].map(|column| fields[column].to_owned()).to_vec()
    };
    text.lines().map(row).collect()
}

/// Steps of the checkpoints in a directory, in order.
fn checkpoints(directory: &Path) -> Vec<u64> {
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
    let step = |name: String| -> Option<u64> {
        name.strip_prefix("checkpoint-")?.strip_suffix(".safetensors")?.parse().ok()
    };
    let mut steps: Vec<u64> = names.filter_map(step).collect();
    steps.sort_unstable();
    steps
}

/// Starts a training and kills it as soon as it has written a checkpoint of step `step` or later.
fn kill_after(step: u64, mut command: Command, partial: &Path) {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    while checkpoints(partial).last().is_none_or(|last| *last < step) {
        std::thread::sleep(Duration::from_millis(2));
        if child.try_wait().unwrap().is_some() {
            panic!("it ended by itself: {}", said(&child.wait_with_output().unwrap()));
        }
    }
    child.kill().unwrap();
    assert!(child.wait().unwrap().code().is_none(), "it ended by itself");
}

struct Place {
    _folder: tempfile::TempDir,
    data: PathBuf,
    whole: PathBuf,
    cut: PathBuf,
    partial: PathBuf,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let data = path("parts");
    let simulate = Command::new(env!("CARGO_BIN_EXE_onenipd"))
        .args(["simulate", "--products", "2", "--good", "5", "--defects", "1", "--output"])
        .arg(&data)
        .output();
    assert!(simulate.unwrap().status.success());
    let (whole, cut, partial) = (path("whole"), path("cut"), path("cut.partial"));
    Place { _folder: folder, data, whole, cut, partial }
}

#[test]
fn a_killed_training_goes_on_to_the_same_losses_and_weights() {
    let Place { data, whole, cut, partial, _folder } = place();
    let output = train(&data, &whole, &[]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));

    kill_after(4, train(&data, &cut, &[]), &partial);
    // Without --resume what was trained is not thrown away.
    let refused = train(&data, &cut, &[]).output().unwrap();
    assert_eq!(refused.status.code(), Some(74), "{}", said(&refused));
    assert!(said(&refused).contains("--resume"), "{}", said(&refused));
    // What a kill in the middle of writing leaves behind is of no importance.
    fs::write(partial.join("checkpoint-00000099.safetensors.new"), "half a file").unwrap();

    // A disk that is full: files may not grow beyond 50 MB, and a checkpoint has 99.
    let mut full = Command::new("sh");
    let resume = train(&data, &cut, &["--resume"]);
    let words = resume.get_args().map(|word| format!("'{}'", word.to_str().unwrap()));
    let words: Vec<String> = words.collect();
    let program = resume.get_program().to_str().unwrap();
    let script = format!("trap '' XFSZ; ulimit -f 100000; exec '{program}' {}", words.join(" "));
    let full = full.current_dir(env!("CARGO_MANIFEST_DIR")).args(["-c", &script]).output();
    let full = full.unwrap();
    assert_eq!(full.status.code(), Some(74), "{}", said(&full));
    for word in ["checkpoint-000000", "File too large", "stays", "--resume"] {
        assert!(said(&full).contains(word), "{word:?} is not said: {}", said(&full));
    }
    let kept = checkpoints(&partial);
    assert!(kept.last().is_some_and(|step| *step < 24), "{kept:?}");

    kill_after(kept[kept.len() - 1] + 1, train(&data, &cut, &["--resume"]), &partial);
    let output = train(&data, &cut, &["--resume"]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(!partial.exists());

    let log = |bundle: &Path| fs::read_to_string(bundle.join("training.csv")).unwrap();
    assert_eq!(losses(&log(&whole)).len(), 25);
    assert_eq!(losses(&log(&cut)), losses(&log(&whole)));
    let weights = |bundle: &Path| fs::read(bundle.join("weights.safetensors")).unwrap();
    assert!(weights(&cut) == weights(&whole), "the weights differ");
}

#[test]
fn the_parts_of_the_networks_map_are_measured_apart() {
    let Place { data, whole, cut, _folder, .. } = place();
    let evaluate = |bundle: &Path| -> serde_json::Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onenipd"));
        command.current_dir(env!("CARGO_MANIFEST_DIR")).arg("evaluate").arg(bundle).arg(&data);
        let output = command.args(["--network-maps", "--json"]).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let few = ["--recipe", "paper", "--steps", "2"];
    let output = small_training(&data, &whole).args(few).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let report = evaluate(&whole);
    let maps = report["network_maps"].as_array().unwrap();
    let names = ["reconstruction alone", "refiner alone", "both, stored", "both, K of the test"];
    for (map, name) in maps.iter().zip(names) {
        assert!(map["map"].as_str().unwrap().starts_with(name), "{map}");
    }
    assert_eq!(maps.len(), names.len());
    // The paper's verdict is both maps by the stored constant.
    let metrics = ["image_auroc", "image_ap", "pixel_auroc", "pixel_ap", "aupro"];
    let same = |own: &serde_json::Value, other: &serde_json::Value| {
        let both =
            |metric: &&str| (own[*metric].as_f64().unwrap(), other[*metric].as_f64().unwrap());
        metrics.iter().map(both).all(|(own, other)| (own - other).abs() < 1e-3)
    };
    assert!(same(&report["mean"], &maps[2]["mean"]), "{report}");
    assert!(!same(&report["mean"], &maps[1]["mean"]), "{report}");

    let alone = [&few[..], &["--objective", "reconstruction"]].concat();
    let output = small_training(&data, &cut).args(alone).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let report = evaluate(&cut);
    assert!(same(&report["mean"], &report["network_maps"][0]["mean"]), "{report}");
}

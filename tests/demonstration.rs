//! The demonstration as `make run` starts it: simulated parts, the committed engine, the real way.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

fn start(state: &Path, parts: u32) -> Child {
    Command::new(env!("CARGO_BIN_EXE_onenipd"))
        .args(["run", "--config", "config/demo.toml"])
        .args(["--set", "modbus.listen=\"127.0.0.1:0\"", "--set", "simulation.products=1"])
        .args(["--set", "simulation.defect_rate=\"30 %\""])
        .args(["--set", &format!("state.directory={:?}", state.to_str().unwrap())])
        .args(["--set", &format!("simulation.parts={parts}")])
        .env_remove("JOURNAL_STREAM")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn files_below(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            names.extend(files_below(&path));
        } else {
            names.push(entry.file_name().into_string().unwrap());
        }
    }
    names
}

#[test]
fn defects_are_rejected_good_parts_pass_and_rejects_are_kept() {
    let state = tempfile::tempdir().unwrap();
    // A product of the user's own is there already, with the number 1.
    let added = Command::new(env!("CARGO_BIN_EXE_onenipd"))
        .args(["product", "add", "bracket", "--prompt", "tests/golden/photo.png"])
        .args(["--config", "config/demo.toml"])
        .args(["--set", &format!("state.directory={:?}", state.path().to_str().unwrap())])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(added.status.success(), "{added:?}");
    let mut child = start(state.path(), 40);
    let lines: Vec<String> =
        BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap).collect();
    assert!(child.wait().unwrap().success());
    let verdicts: Vec<&String> = lines.iter().filter(|line| line.contains(" ms  ")).collect();
    assert_eq!(verdicts.len(), 40, "{lines:#?}");
    let is = |line: &&&String, word: &str| line.split_whitespace().nth(2) == Some(word);
    let truly_good = |line: &&&String| line.split_whitespace().nth(7) == Some("good");
    let defects = verdicts.iter().filter(|line| !truly_good(line)).count();
    let caught = verdicts.iter().filter(|l| !truly_good(l) && is(l, "fail")).count();
    let spared = verdicts.iter().filter(|l| truly_good(l) && is(l, "pass")).count();
    // A machine under load may leave some undecided; more than that is a broken way.
    assert!(defects >= 4 && caught * 10 >= defects * 7, "{lines:#?}");
    assert!(spared * 10 >= (40 - defects) * 7, "{lines:#?}");
    let kept = files_below(&state.path().join("rejects"));
    for ending in ["-image.jpg", "-overlay.png", "-mask.png", "-record.json"] {
        assert!(kept.iter().any(|name| name.ends_with(ending)), "{ending}: {kept:?}");
    }
}

#[test]
fn a_termination_signal_ends_it_cleanly_and_the_counters_survive() {
    let state = tempfile::tempdir().unwrap();
    let mut child = start(state.path(), 0);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let third = lines.by_ref().map(Result::unwrap).filter(|line| line.contains(" ms  ")).nth(2);
    assert!(third.is_some(), "no parts came");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(child.wait().unwrap().success(), "{rest:#?}");
    assert!(rest.last().unwrap().contains("parts:"), "{rest:#?}");
    let saved = std::fs::read_to_string(state.path().join("life-counters.toml")).unwrap();
    let parts = saved.lines().find_map(|line| line.strip_prefix("life_parts = ")).unwrap();
    assert!(parts.parse::<u64>().unwrap() >= 3, "{saved}");
}

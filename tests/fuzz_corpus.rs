//! The fuzz targets in the ordinary build: the committed corpus, and 20,000 mutations of it each,
//! the same ones every time. `make fuzz` goes on from here by coverage.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../fuzz/inputs/mod.rs"]
mod inputs;

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

const MUTATIONS: usize = 20_000;
const LONGEST: usize = 4096;
/// Bytes at which parsers tend to turn.
const BORDERS: [u8; 12] = [0, 1, 2, 7, 8, 15, 16, 0x7F, 0x80, 0xCC, 0xFE, 0xFF];

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries =
        std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// One to eight small damages, and now and then the end of another input.
fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut Pcg64Mcg) {
    for _ in 0..random.random_range(1..=8) {
        let at = random.random_range(0..=bytes.len());
        let border = BORDERS[random.random_range(0..BORDERS.len())];
        match random.random_range(0..7) {
            0 => bytes.insert(at, border),
            1 => bytes.truncate(at.max(1)),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 if at < bytes.len() => bytes[at] = border,
            4 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
            5 => {
                let from = random.random_range(0..=other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => {
                let to = (at + random.random_range(1..40)).min(bytes.len());
                let again = bytes[at..to].to_vec();
                bytes.splice(at..at, again);
            }
        }
    }
    bytes.truncate(LONGEST);
}

fn try_input(name: &str, target: inputs::Target, bytes: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| target(bytes))).is_err() {
        panic!("{name} panics on {bytes:?}");
    }
}

#[test]
fn every_target_stands_its_corpus_and_mutations_of_it() {
    for (name, target) in inputs::TARGETS {
        let (corpus, mut random) = (corpus(name), Pcg64Mcg::seed_from_u64(13));
        corpus.iter().for_each(|input| try_input(name, *target, input));
        for _ in 0..MUTATIONS {
            let mut pick = || &corpus[random.random_range(0..corpus.len())];
            let (mut input, other) = (pick().clone(), pick());
            mutate(&mut input, other, &mut random);
            try_input(name, *target, &input);
        }
    }
}

#[test]
fn every_corpus_has_its_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name();
        let known = inputs::TARGETS.iter().any(|target| *target.0 == *name);
        // The trainer's target is there only in a build with the trainer.
        assert!(known || (name == "torch_file" && !cfg!(feature = "train")), "{name:?}");
    }
}

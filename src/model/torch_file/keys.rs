//! Keys and shapes of a file against those of a layout: every difference at once.

use std::collections::BTreeMap;
use std::fmt;

/// Longest part of a key that is repeated in a message; a hostile one may be as long as the file.
const SHOWN_CHARACTERS: usize = 120;

/// How a file differs from a layout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyProblems {
    missing: Vec<String>,
    misshapen: Vec<String>,
    unknown: Vec<String>,
}

impl KeyProblems {
    /// Compares `found` (shapes by key) with `expected`.
    pub fn between(
        found: &BTreeMap<String, Vec<usize>>,
        expected: &[(String, Vec<usize>)],
    ) -> Self {
        let mut problems = Self::default();
        let mut known = std::collections::BTreeSet::new();
        for (key, shape) in expected {
            known.insert(key.as_str());
            match found.get(key) {
                None => problems.missing.push(format!("{key} {shape:?}")),
                Some(other) if other != shape => {
                    problems.misshapen.push(format!("{key} {other:?} instead of {shape:?}"));
                }
                Some(_) => {}
            }
        }
        let unknown = found.keys().filter(|key| !known.contains(key.as_str()));
        problems.unknown = unknown.map(|key| shown(key)).collect();
        problems
    }

    /// The same without unknown keys, for a file that may hold more.
    pub fn without_unknown(mut self) -> Self {
        self.unknown.clear();
        self
    }

    /// Whether the file fits.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.misshapen.is_empty() && self.unknown.is_empty()
    }
}

impl fmt::Display for KeyProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            ("missing", &self.missing),
            ("misshapen", &self.misshapen),
            ("unknown", &self.unknown),
        ];
        let counts: Vec<String> = kinds
            .iter()
            .filter(|(_, keys)| !keys.is_empty())
            .map(|(kind, keys)| format!("{} {kind}", keys.len()))
            .collect();
        write!(f, "{}", counts.join(", "))?;
        for (kind, keys) in kinds {
            for key in keys {
                write!(f, "\n  {kind}: {key}")?;
            }
        }
        Ok(())
    }
}

/// The beginning of a key, printable.
pub(super) fn shown(key: &str) -> String {
    let mut text: String = key.chars().take(SHOWN_CHARACTERS).collect();
    if text.len() < key.len() {
        text.push('…');
    }
    text.escape_debug().collect()
}

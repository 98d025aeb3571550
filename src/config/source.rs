//! Values as they are written, and where.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use toml::de::DeValue;

/// A value of TOML, as far as settings can be one.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Raw {
    Text(String),
    Integer(i64),
    Flag(bool),
    List(Vec<Raw>),
    /// Anything else, described.
    Other(String),
}

impl Raw {
    pub(super) fn new(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.to_string()),
            DeValue::Boolean(flag) => Self::Flag(*flag),
            DeValue::Integer(number) => {
                let digits = number.as_str().replace('_', "");
                match i64::from_str_radix(&digits, number.radix()) {
                    Ok(number) => Self::Integer(number),
                    Err(_) => Self::Other(format!("the number {digits}")),
                }
            }
            DeValue::Float(number) => Self::Other(format!("the number {}", number.as_str())),
            DeValue::Array(entries) => {
                Self::List(entries.iter().map(|entry| Self::new(entry.get_ref())).collect())
            }
            DeValue::Datetime(date) => Self::Other(format!("the date {date}")),
            DeValue::Table(_) => Self::Other("a table".into()),
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// For people.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Text(text) => format!("{text:?}"),
            Self::Integer(number) => format!("the number {number}"),
            Self::Flag(flag) => flag.to_string(),
            Self::List(_) => "a list".into(),
            Self::Other(what) => what.clone(),
        }
    }
}

/// A file that was read.
#[derive(Clone, Debug)]
pub(super) struct SourceFile {
    path: Rc<PathBuf>,
    text: Rc<str>,
}

impl SourceFile {
    pub(super) fn new(path: &Path, text: &str) -> Self {
        Self { path: Rc::new(path.to_path_buf()), text: text.into() }
    }

    pub(super) fn at(&self, offset: usize) -> Place {
        Place::File { file: self.clone(), offset }
    }
}

/// Where a value is written.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// In a file, at a byte.
    File { file: SourceFile, offset: usize },
    /// In a variable or on the command line, as a person calls it.
    Named(String),
}

impl Place {
    /// `file:line:column`, or the name.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::File { file, offset } => {
                let (line, column, _) = line_at(&file.text, *offset);
                format!("{}:{line}:{column}", file.path.display())
            }
            Self::Named(name) => name.clone(),
        }
    }

    /// The line itself with a mark under the place.
    pub(super) fn excerpt(&self) -> Option<String> {
        const LONGEST: usize = 120;
        let Self::File { file, offset } = self else { return None };
        let (line, column, text) = line_at(&file.text, *offset);
        let shown: String =
            text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
        let marked = column.min(LONGEST);
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        Some(format!("  {number} | {shown}\n  {margin} | {:>marked$}", "^"))
    }
}

/// Line and column, from 1, and the line's text.
fn line_at(text: &str, offset: usize) -> (usize, usize, &str) {
    let before = (0..=offset.min(text.len())).rev().find_map(|end| text.get(..end));
    let before = before.unwrap_or_default();
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = before.matches('\n').count() + 1;
    let column = before[start..].chars().count() + 1;
    (line, column, text[start..].lines().next().unwrap_or_default())
}

/// Where each key was last set.
pub(super) type Places = HashMap<(String, String), Place>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found() {
        let file = SourceFile::new(Path::new("a.toml"), "[line]\ndelay = \"ä\"\n");
        let place = file.at(15);
        assert_eq!(place.describe(), "a.toml:2:9");
        assert_eq!(place.excerpt().unwrap(), "  2 | delay = \"ä\"\n    |         ^");
        // Within a character and beyond the end.
        assert_eq!(file.at(17).describe(), "a.toml:2:10");
        assert_eq!(file.at(99).describe(), "a.toml:3:1");
    }
}

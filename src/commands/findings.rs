//! Findings about configuration and box: a level, what, where, and the remedy.

use super::failure::{Code, Failure, WithCode};
use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    Warning,
    Error,
}

#[derive(Serialize)]
struct Finding {
    level: Level,
    what: String,
    #[serde(rename = "where")]
    place: String,
    remedy: String,
}

#[derive(Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    pub fn add(&mut self, level: Level, place: &str, what: impl Into<String>, remedy: &str) {
        let (what, place, remedy) = (what.into(), place.to_owned(), remedy.to_owned());
        self.0.push(Finding { level, what, place, remedy });
    }

    /// `remedy` belongs to a finding that is not ok only.
    pub fn add_if(
        &mut self,
        bad: bool,
        level: Level,
        place: &str,
        what: impl Into<String>,
        remedy: &str,
    ) {
        match bad {
            true => self.add(level, place, what, remedy),
            false => self.add(Level::Ok, place, what, ""),
        }
    }

    pub fn any(&self, level: Level) -> bool {
        self.0.iter().any(|finding| finding.level == level)
    }

    /// To stdout: a line each, or one JSON document.
    pub fn print(&self, json: bool) -> Result<(), Failure> {
        if json {
            let document = serde_json::json!({ "findings": self.0 });
            println!("{}", serde_json::to_string_pretty(&document).code(Code::Internal)?);
            return Ok(());
        }
        for finding in &self.0 {
            let word = match finding.level {
                Level::Ok => "ok     ",
                Level::Warning => "warning",
                Level::Error => "ERROR  ",
            };
            println!("{word}  {}: {}", finding.place, finding.what);
            if !finding.remedy.is_empty() {
                println!("         remedy: {}", finding.remedy);
            }
        }
        Ok(())
    }
}

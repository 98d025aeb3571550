//! Files, environment and command line, one over the other.

use super::Configuration;
use super::keys::{self, SetError};
use super::problem::{ConfigurationErrors, Problem};
use super::rules;
use super::source::{Place, Places, Raw, SourceFile};
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

const MAIN_FILE: &str = "/etc/onenipd/onenipd.toml";
const MORE_FILES: &str = "/etc/onenipd/conf.d";
const PREFIX: &str = "ONENIPD_";

/// Where a configuration is written; later layers win.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layers {
    /// TOML files, in order.
    pub files: Vec<PathBuf>,
    /// Environment variables; those beginning with `ONENIPD_` are read, all of them must be keys.
    pub environment: Vec<(String, String)>,
    /// `section.key=value`, in order.
    pub overrides: Vec<String>,
}

impl Layers {
    /// `/etc/onenipd/onenipd.toml` and `/etc/onenipd/conf.d/*.toml` by name, those that exist.
    pub fn default_files() -> Vec<PathBuf> {
        let main = PathBuf::from(MAIN_FILE);
        let more = std::fs::read_dir(MORE_FILES).into_iter().flatten();
        let mut more: Vec<PathBuf> = more
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
            .collect();
        more.sort();
        main.is_file().then_some(main).into_iter().chain(more).collect()
    }
}

/// Reads all layers and checks everything; all problems are found at once.
pub fn load(layers: &Layers) -> Result<Configuration, ConfigurationErrors> {
    read(layers, true)
}

/// As [`load`], for commands that need no engine: `engine.bundle` may be empty.
pub fn load_without_bundle(layers: &Layers) -> Result<Configuration, ConfigurationErrors> {
    read(layers, false)
}

fn read(layers: &Layers, needs_bundle: bool) -> Result<Configuration, ConfigurationErrors> {
    let mut reader = Reader::default();
    layers.files.iter().for_each(|file| reader.file(file));
    layers.environment.iter().for_each(|(name, value)| reader.variable(name, value));
    layers.overrides.iter().for_each(|text| reader.argument(text));
    reader.check(needs_bundle);
    if reader.problems.is_empty() {
        Ok(reader.configuration)
    } else {
        Err(ConfigurationErrors { problems: reader.problems })
    }
}

#[derive(Default)]
struct Reader {
    configuration: Configuration,
    places: Places,
    problems: Vec<Problem>,
}

impl Reader {
    fn problem(&mut self, place: &Place, what: impl Into<String>, remedy: impl Into<String>) {
        self.problems.push(Problem::new(place, what, remedy));
    }

    fn file(&mut self, path: &Path) {
        match std::fs::read_to_string(path) {
            Ok(text) => self.text(&SourceFile::new(path, &text), &text),
            Err(reason) => {
                let place = Place::Named(path.display().to_string());
                self.problem(&place, reason.to_string(), "give a file of UTF-8 text that exists");
            }
        }
    }

    fn text(&mut self, file: &SourceFile, text: &str) {
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let place = file.at(error.span().map_or(0, |span| span.start));
            self.problem(&place, error.message().trim().replace('\n', "; "), "");
        }
        for (section, entries) in document.get_ref() {
            let place = file.at(section.span().start);
            let section = section.get_ref();
            if !keys::sections().iter().any(|known| known.name == section) {
                self.problem(
                    &place,
                    format!("there is no section {section:?}"),
                    near_section(section),
                );
            } else if let DeValue::Table(entries) = entries.get_ref() {
                for (key, value) in entries {
                    let name = key.get_ref();
                    let (at_key, at_value) = (key.span().start, value.span().start);
                    match self.configuration.set(section, name, &Raw::new(value.get_ref())) {
                        Ok(()) => self.placed(section, name, file.at(at_value)),
                        Err(SetError::UnknownKey) => self.unknown(&file.at(at_key), section, name),
                        Err(SetError::Value(what)) => {
                            self.value(&file.at(at_value), section, name, &what);
                        }
                    }
                }
            } else {
                let remedy = format!("write its keys under [{section}]");
                self.problem(&place, format!("{section:?} is a section"), remedy);
            }
        }
    }

    fn variable(&mut self, name: &str, value: &str) {
        let Some(key) = name.strip_prefix(PREFIX) else { return };
        let place = Place::Named(format!("environment {name}"));
        let key = key.to_ascii_lowercase();
        match key.split_once("__") {
            Some((section, key)) => self.set_text(&place, section, key, value),
            None => {
                let remedy = "write ONENIPD_SECTION__KEY, with two underscores";
                self.problem(&place, format!("{name} is no key"), remedy);
            }
        }
    }

    fn argument(&mut self, text: &str) {
        let place = Place::Named(format!("--set {text}"));
        let parts = text.split_once('=');
        let parts = parts.and_then(|(name, value)| Some((name.trim().split_once('.')?, value)));
        match parts {
            Some(((section, key), value)) => self.set_text(&place, section, key, value.trim()),
            None => self.problem(&place, "is no setting", "write --set section.key=value"),
        }
    }

    /// A value without a type: as TOML where that fits the key, else as text.
    fn set_text(&mut self, place: &Place, section: &str, key: &str, text: &str) {
        let plain = Raw::Text(text.to_owned());
        let typed = DeValue::parse(text).map(|value| Raw::new(value.get_ref()));
        let first = match &typed {
            Ok(typed) => self.configuration.set(section, key, typed),
            Err(_) => self.configuration.set(section, key, &plain),
        };
        match first {
            Ok(()) => self.placed(section, key, place.clone()),
            Err(SetError::UnknownKey) => self.unknown(place, section, key),
            Err(SetError::Value(what)) => {
                if self.configuration.set(section, key, &plain).is_ok() {
                    self.placed(section, key, place.clone());
                } else {
                    self.value(place, section, key, &what);
                }
            }
        }
    }

    fn placed(&mut self, section: &str, key: &str, place: Place) {
        self.places.insert((section.to_owned(), key.to_owned()), place);
    }

    /// `what` is a message of a setting: what it is; what to write.
    fn value(&mut self, place: &Place, section: &str, key: &str, what: &str) {
        // The last one: quoted values may hold one too.
        let (what, remedy) = what.rsplit_once("; ").unwrap_or((what, ""));
        self.problem(place, format!("{section}.{key} {what}"), remedy);
    }

    fn unknown(&mut self, place: &Place, section: &str, key: &str) {
        let remedy = near_key(section, key);
        self.problem(place, format!("there is no key {section}.{key}"), remedy);
    }

    fn check(&mut self, needs_bundle: bool) {
        for rule in rules::check(&self.configuration) {
            let name = format!("{}.{}", rule.section, rule.key);
            let place = self.places.get(&(rule.section.to_owned(), rule.key.to_owned()));
            let place = place.cloned().unwrap_or(Place::Named(name));
            self.problem(&place, rule.what, rule.remedy);
        }
        if needs_bundle && self.configuration.engine.bundle.as_os_str().is_empty() {
            let place = self.places.get(&("engine".to_owned(), "bundle".to_owned()));
            let place = place.cloned().unwrap_or(Place::Named("engine.bundle".into()));
            let remedy = "give the folder of an engine bundle, for instance engines/demo";
            self.problem(&place, "engine.bundle is required", remedy);
        }
    }
}

fn nearest<T>(names: impl Iterator<Item = (String, T)>, wanted: &str) -> Option<String> {
    names.map(|(name, _)| name).min_by_key(|name| {
        strsim::damerau_levenshtein(&name.to_lowercase(), &wanted.to_lowercase())
    })
}

fn near_section(section: &str) -> String {
    let names = keys::sections().into_iter().map(|table| (table.name.to_owned(), ()));
    nearest(names, section).map(|name| format!("did you mean [{name}]?")).unwrap_or_default()
}

fn near_key(section: &str, key: &str) -> String {
    let tables = keys::sections();
    let names = |table: &keys::SectionTable| {
        let name = table.name;
        table.keys.iter().map(move |key| format!("{name}.{}", key.name)).collect::<Vec<_>>()
    };
    // The same key under another section, then the section's own keys, then any.
    let elsewhere = tables.iter().flat_map(names).find(|name| name.ends_with(&format!(".{key}")));
    let own: Vec<String> =
        tables.iter().filter(|table| table.name == section).flat_map(names).collect();
    let candidates = if own.is_empty() { tables.iter().flat_map(names).collect() } else { own };
    let near =
        || nearest(candidates.into_iter().map(|name| (name, ())), &format!("{section}.{key}"));
    elsewhere.or_else(near).map(|name| format!("did you mean {name}?")).unwrap_or_default()
}

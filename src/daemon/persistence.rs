//! What survives a restart: the number of starts and the life counters (line-io 1.4).

use crate::line::Counters;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Kept in `life-counters.toml` of the state directory, unless configured elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survivors {
    /// Differs per start; never 0.
    pub boot_id: u16,
    /// Parts ever.
    pub life_parts: u64,
    /// Parts ever not passed.
    pub life_rejects: u64,
}

/// The file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}; the state directory must exist and belong to the daemon's user")]
pub struct PersistenceError {
    path: PathBuf,
    source: std::io::Error,
}

/// The file and what it holds.
#[derive(Debug)]
pub struct Persistence {
    path: PathBuf,
    survivors: Survivors,
}

impl Persistence {
    /// Reads what survived and begins a new start. A damaged file begins anew: the counters are
    /// lost, which is said by the `bool`, the line is not held up.
    pub fn begin(path: &Path) -> Result<(Self, bool), PersistenceError> {
        let path = path.to_owned();
        let failed = |source| PersistenceError { path: path.clone(), source };
        fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(failed)?;
        let (known, damaged) = match fs::read_to_string(&path) {
            Ok(text) => match toml::from_str::<Survivors>(&text) {
                Ok(survivors) => (survivors, false),
                Err(_) => (Survivors::default(), true),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                (Survivors::default(), false)
            }
            Err(error) => return Err(failed(error)),
        };
        let boot_id = known.boot_id.checked_add(1).unwrap_or(1);
        let persistence = Self { path, survivors: Survivors { boot_id, ..known } };
        persistence.write()?;
        Ok((persistence, damaged))
    }

    /// What this start began with, or last saved.
    pub fn survivors(&self) -> Survivors {
        self.survivors
    }

    /// Saves the life counters if they moved.
    pub fn save(&mut self, counters: &Counters) -> Result<(), PersistenceError> {
        let survivors = Survivors {
            boot_id: self.survivors.boot_id,
            life_parts: counters.life_parts,
            life_rejects: counters.life_rejects,
        };
        if survivors == self.survivors {
            return Ok(());
        }
        self.survivors = survivors;
        self.write()
    }

    fn write(&self) -> Result<(), PersistenceError> {
        let failed = |source| PersistenceError { path: self.path.clone(), source };
        let s = self.survivors;
        let text = format!(
            "boot_id = {}\nlife_parts = {}\nlife_rejects = {}\n",
            s.boot_id, s.life_parts, s.life_rejects
        );
        let temporary = self.path.with_extension("toml.new");
        let mut file = fs::File::create(&temporary).map_err(failed)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&temporary, &self.path).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_survive_and_each_start_has_its_own_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/life-counters.toml");
        let (mut first, damaged) = Persistence::begin(&path).unwrap();
        assert!(!damaged);
        let counters = Counters { life_parts: 7, life_rejects: 2, ..Counters::default() };
        first.save(&counters).unwrap();
        let (second, _) = Persistence::begin(&path).unwrap();
        assert_ne!(second.survivors().boot_id, first.survivors().boot_id);
        assert_eq!(second.survivors().life_parts, 7);
        fs::write(&path, "boot_id = \"x").unwrap();
        let (_, damaged) = Persistence::begin(&path).unwrap();
        assert!(damaged);
    }
}

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
    /// Reads what survived and begins a new start. In place of a damaged file, which is said by the
    /// `bool`, stands the one before it, at most some seconds older; the line is not held up.
    pub fn begin(path: &Path) -> Result<(Self, bool), PersistenceError> {
        let path = path.to_owned();
        let failed = |source| PersistenceError { path: path.clone(), source };
        fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(failed)?;
        let (known, damaged) = match read(&path).map_err(failed)? {
            Kept::Sound(survivors) => (survivors, false),
            Kept::Missing => (read_or_begin(&old_of(&path)), false),
            Kept::Damaged => (read_or_begin(&old_of(&path)), true),
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
        // Whenever power fails, one of the two is whole.
        if self.path.exists() {
            fs::rename(&self.path, old_of(&self.path)).map_err(failed)?;
        }
        fs::rename(&temporary, &self.path).map_err(failed)?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
    }
}

enum Kept {
    Sound(Survivors),
    Missing,
    Damaged,
}

fn read(path: &Path) -> std::io::Result<Kept> {
    match fs::read(path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            Ok(toml::from_str(&text).map_or(Kept::Damaged, Kept::Sound))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Kept::Missing),
        Err(error) => Err(error),
    }
}

fn old_of(path: &Path) -> PathBuf {
    path.with_extension("toml.old")
}

/// Where nothing is known a start still needs a number no other has had lately: from the time.
fn read_or_begin(path: &Path) -> Survivors {
    match read(path) {
        // The start after this one may have had its number already.
        Ok(Kept::Sound(known)) => Survivors { boot_id: known.boot_id.wrapping_add(1), ..known },
        _ => {
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            let seconds = since.unwrap_or_default().as_secs();
            Survivors { boot_id: (seconds & 0x7FFF) as u16, ..Survivors::default() }
        }
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
        for garbage in [&b"boot_id = \"x"[..], b"", b"\xff\xfe"] {
            let before = Persistence::begin(&path).unwrap().0.survivors();
            fs::write(&path, garbage).unwrap();
            let (mended, damaged) = Persistence::begin(&path).unwrap();
            assert!(damaged);
            assert_eq!(mended.survivors().life_parts, 7);
            assert!(mended.survivors().boot_id > before.boot_id);
        }
    }

    #[test]
    fn power_may_fail_between_any_two_steps_of_a_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("life-counters.toml");
        let counters = Counters { life_parts: 9, ..Counters::default() };
        Persistence::begin(&path).unwrap().0.save(&counters).unwrap();
        // The new file half written, then the old one moved and the new one not yet in its place.
        fs::write(path.with_extension("toml.new"), "boot_id = 3\nlife_pa").unwrap();
        assert_eq!(Persistence::begin(&path).unwrap().0.survivors().life_parts, 9);
        fs::rename(&path, old_of(&path)).unwrap();
        assert_eq!(Persistence::begin(&path).unwrap().0.survivors().life_parts, 9);
        fs::remove_file(&path).unwrap();
        fs::remove_file(old_of(&path)).unwrap();
        assert_eq!(Persistence::begin(&path).unwrap().0.survivors().life_parts, 0);
    }
}

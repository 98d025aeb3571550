//! Records on disk within a size limit: written whole, the oldest removed first.

use super::names::{FILES, PARTIAL, RecordName, is_day};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Knows every record in the archive's directory, oldest first.
#[derive(Debug)]
pub(super) struct Store {
    directory: PathBuf,
    size_limit_bytes: u64,
    records: BTreeMap<RecordName, u64>,
    total_bytes: u64,
}

impl Store {
    /// Makes the directory where it is missing, finds what is there, and removes what is beyond the
    /// limit. Files of another origin are neither counted nor touched.
    pub(super) fn open(directory: &Path, size_limit_bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let records = BTreeMap::new();
        let mut store =
            Self { directory: directory.to_owned(), size_limit_bytes, records, total_bytes: 0 };
        for day in fs::read_dir(directory)? {
            let day = day?;
            let name = day.file_name();
            let is_folder = day.file_type()?.is_dir();
            if let Some(name) = name.to_str().filter(|name| is_folder && is_day(name)) {
                store.find(&day.path(), name)?;
            }
        }
        store.make_room(0);
        Ok(store)
    }

    fn find(&mut self, folder: &Path, day: &str) -> io::Result<()> {
        for file in fs::read_dir(folder)? {
            let file = file?;
            let name = file.file_name();
            let Some(record) = name.to_str().and_then(|name| RecordName::of_file(day, name)) else {
                continue;
            };
            if name.to_str().is_some_and(|name| name.ends_with(PARTIAL)) {
                // Left by a daemon that was killed while writing.
                let _ = fs::remove_file(file.path());
                continue;
            }
            let bytes = file.metadata()?.len();
            *self.records.entry(record).or_default() += bytes;
            self.total_bytes += bytes;
        }
        Ok(())
    }

    /// Bytes of all records.
    #[cfg(test)]
    pub(super) fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Writes the files of one record, in the order of [`FILES`], after making room for them.
    /// Nothing of it is left behind when it fails.
    pub(super) fn write(&mut self, record: &RecordName, contents: &[Vec<u8>; 4]) -> io::Result<()> {
        let bytes: u64 = contents.iter().map(|content| content.len() as u64).sum();
        if bytes > self.size_limit_bytes {
            return Err(io::Error::other(format!(
                "one record needs {bytes} bytes, the archive may hold {}",
                self.size_limit_bytes
            )));
        }
        self.make_room(bytes);
        let written = self.write_files(record, contents);
        if written.is_ok() {
            let replaced = self.records.insert(record.clone(), bytes).unwrap_or(0);
            self.total_bytes = self.total_bytes.saturating_add(bytes).saturating_sub(replaced);
        } else {
            self.remove_files(record);
        }
        written
    }

    fn write_files(&self, record: &RecordName, contents: &[Vec<u8>; 4]) -> io::Result<()> {
        let folder = self.directory.join(&record.day);
        fs::create_dir_all(&folder)?;
        for (what, content) in FILES.iter().zip(contents) {
            let file = folder.join(record.file(what));
            let partial = folder.join(record.file(what) + PARTIAL);
            fs::write(&partial, content)?;
            fs::rename(&partial, &file)?;
        }
        Ok(())
    }

    /// Removes the oldest records until `bytes` more fit.
    fn make_room(&mut self, bytes: u64) {
        while self.total_bytes.saturating_add(bytes) > self.size_limit_bytes {
            let Some((record, freed)) = self.records.pop_first() else { return };
            self.remove_files(&record);
            self.total_bytes = self.total_bytes.saturating_sub(freed);
        }
    }

    fn remove_files(&self, record: &RecordName) {
        let folder = self.directory.join(&record.day);
        for what in FILES {
            for name in [record.file(what), record.file(what) + PARTIAL] {
                let path = folder.join(name);
                match fs::remove_file(&path) {
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                        log::warn!("{} cannot be removed: {error}", path.display());
                    }
                    _ => {}
                }
            }
        }
        // Fails, rightly, while the day has other records.
        let _ = fs::remove_dir(folder);
    }
}

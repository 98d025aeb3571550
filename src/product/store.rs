//! Products on disk: `<state>/products/NAME/`.
//!
//! `product.toml` names the tensor and prompt files of its revision with their SHA-256; it is
//! renamed into place last, so a power cut leaves the old revision or the new one, whole.

use super::{Product, ProductInfo, tensor_file};
use crate::part::RegionOfInterest;
use image::RgbImage;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use thiserror::Error;

const FORMAT_VERSION: u32 = 1;
const LONGEST_NAME: usize = 64;
const INFO_FILE: &str = "product.toml";

/// Why a product cannot be stored or had.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The name cannot be a folder's.
    #[error("product name `{0}`: use 1 to 64 of the letters A-Z, a-z, digits, `_` and `-`")]
    Name(String),
    /// The number cannot be a PLC's.
    #[error("product number 0 means \"none\" on the line; use 1 to 65535")]
    NumberZero,
    /// Two products would have one number.
    #[error("product number {number} belongs to `{other}`; choose another or remove that product")]
    NumberTaken {
        /// The number.
        number: u16,
        /// Whose it is.
        other: String,
    },
    /// All 65535 numbers are used.
    #[error("no product number is free; remove a product")]
    NoNumberFree,
    /// Somebody else stored a newer revision meanwhile.
    #[error("product `{name}` has revision {stored} already; read it again and teach on top of it")]
    StaleRevision {
        /// The product.
        name: String,
        /// The revision on disk.
        stored: u32,
    },
    /// Thresholds or tensors that would let every part pass.
    #[error("product `{name}`: {what} is not a finite number; teach it again")]
    NotFinite {
        /// The product.
        name: String,
        /// Where.
        what: String,
    },
    /// No product of that name.
    #[error("no product `{0}`; `onenipd product list` shows those there are")]
    Unknown(String),
    /// Taught under another bundle.
    #[error(
        "product `{name}` was taught under another bundle; teach again: onenipd product \
         calibrate {name} GOOD_DIR"
    )]
    OtherBundle {
        /// The product.
        name: String,
    },
    /// A file is not as it was written.
    #[error("{path}: {reason}; remove the product and teach it again")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The disk said no.
    #[error("{path}: {source}")]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Who a taught product is.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// The number a PLC asks for.
    pub number: u16,
    /// Name.
    pub name: String,
    /// Hash of the bundle it is taught under.
    pub bundle_hash: String,
    /// One more than what is on disk.
    pub revision: u32,
    /// The inspected part of the picture.
    pub region_of_interest: Option<RegionOfInterest>,
}

/// Products on disk.
#[derive(Debug, Default)]
pub struct Listing {
    /// Readable ones, by number.
    pub products: Vec<ProductInfo>,
    /// What is wrong with the others.
    pub damaged: Vec<StoreError>,
}

/// `product.toml`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProductFile {
    format_version: u32,
    product: ProductInfo,
    tensors: FileEntry,
    prompt: FileEntry,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileEntry {
    file: String,
    sha256: String,
}

/// The products of this box.
#[derive(Clone, Debug)]
pub struct ProductStore {
    folder: PathBuf,
}

impl ProductStore {
    /// The products under the state directory; nothing is created before the first is saved.
    pub fn open(state_directory: &Path) -> Self {
        Self { folder: state_directory.join("products") }
    }

    /// Every product, without tensors. One damaged product does not hide the others.
    pub fn list(&self) -> Result<Listing, StoreError> {
        let mut listing = Listing::default();
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(listing),
            other => other.map_err(on_disk(&self.folder))?,
        };
        for entry in entries {
            let name = entry.map_err(on_disk(&self.folder))?.file_name();
            let Some(name) = name.to_str().filter(|name| is_name(name)) else { continue };
            match self.read(name) {
                Ok(file) => listing.products.push(file.product),
                // A folder without a product.toml is what a power cut left of a first save.
                Err(StoreError::Unknown(_)) => {}
                Err(error) => listing.damaged.push(error),
            }
        }
        listing.products.sort_by_key(|product| product.number);
        Ok(listing)
    }

    /// What is known of a product.
    pub fn info(&self, name: &str) -> Result<ProductInfo, StoreError> {
        Ok(self.read(name)?.product)
    }

    /// The product a PLC asks for.
    pub fn by_number(&self, number: u16) -> Result<Option<ProductInfo>, StoreError> {
        Ok(self.list()?.products.into_iter().find(|product| product.number == number))
    }

    /// A product with its tensors, checked, for use under the bundle of this hash.
    pub fn load(&self, name: &str, bundle_hash: &str) -> Result<Product, StoreError> {
        let read = || {
            let file = self.read(name)?;
            if file.product.bundle_hash != bundle_hash {
                return Err(StoreError::OtherBundle { name: name.into() });
            }
            Ok((self.read_checked(name, &file.tensors)?, file))
        };
        // A newer revision may take the old one's place between the two reads: once more.
        let (bytes, file) = match read() {
            Err(StoreError::Disk { .. }) => read()?,
            other => other?,
        };
        let tensors = tensor_file::from_bytes(&bytes)
            .map_err(|reason| self.damaged(name, &file.tensors.file, reason))?;
        let product = Product { info: file.product, tensors };
        check_finite(&product)?;
        Ok(product)
    }

    /// The prompt picture.
    pub fn prompt(&self, name: &str) -> Result<RgbImage, StoreError> {
        let file = self.read(name)?;
        let bytes = self.read_checked(name, &file.prompt)?;
        let picture = image::load_from_memory_with_format(&bytes, image::ImageFormat::Png)
            .map_err(|error| self.damaged(name, &file.prompt.file, error.to_string()))?;
        Ok(picture.into_rgb8())
    }

    /// Number, revision and region for teaching `name`: its own where it exists, else the number
    /// asked for or the next free one. A region that is given replaces the one it had.
    pub fn identity(
        &self,
        name: &str,
        number: Option<u16>,
        region_of_interest: Option<RegionOfInterest>,
        bundle_hash: &str,
    ) -> Result<Identity, StoreError> {
        check_name(name)?;
        let known = match self.read(name) {
            Ok(file) => Some(file.product),
            Err(StoreError::Unknown(_)) => None,
            Err(error) => return Err(error),
        };
        let products = self.list()?.products;
        let free = || {
            let taken = |number: &u16| products.iter().any(|product| product.number == *number);
            (1..=u16::MAX).find(|number| !taken(number)).ok_or(StoreError::NoNumberFree)
        };
        let number = match (number, &known) {
            (Some(number), _) => number,
            (None, Some(known)) => known.number,
            (None, None) => free()?,
        };
        let known_region = known.as_ref().and_then(|known| known.region_of_interest);
        Ok(Identity {
            number,
            name: name.into(),
            bundle_hash: bundle_hash.into(),
            revision: known.map_or(1, |known| known.revision.saturating_add(1)),
            region_of_interest: region_of_interest.or(known_region),
        })
    }

    /// Stores a product of a revision newer than the one on disk, with its prompt picture.
    pub fn save(&self, product: &Product, prompt: &RgbImage) -> Result<(), StoreError> {
        let info = &product.info;
        check_name(&info.name)?;
        if info.number == 0 {
            return Err(StoreError::NumberZero);
        }
        check_finite(product)?;
        let _lock = self.lock()?;
        self.check_against_others(info)?;

        let folder = self.folder.join(&info.name);
        fs::create_dir_all(&folder).map_err(on_disk(&folder))?;
        let tensors = tensor_file::to_bytes(&product.tensors)
            .map_err(|reason| self.damaged(&info.name, "tensors", reason))?;
        let mut png = io::Cursor::new(Vec::new());
        prompt
            .write_to(&mut png, image::ImageFormat::Png)
            .map_err(|error| self.damaged(&info.name, "prompt", error.to_string()))?;
        let revision = info.revision;
        let file = ProductFile {
            format_version: FORMAT_VERSION,
            product: info.clone(),
            tensors: write(&folder, format!("tensors-{revision}.safetensors"), &tensors)?,
            prompt: write(&folder, format!("prompt-{revision}.png"), png.get_ref())?,
        };
        let text = toml::to_string(&file)
            .map_err(|error| self.damaged(&info.name, INFO_FILE, error.to_string()))?;
        write(&folder, INFO_FILE.into(), text.as_bytes())?;
        sync_folder(&folder)?;
        sync_folder(&self.folder)?;
        remove_others(&folder, &[INFO_FILE, &file.tensors.file, &file.prompt.file])
    }

    /// Removes a product, damaged or not.
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        check_name(name)?;
        let folder = self.folder.join(name);
        if !folder.is_dir() {
            return Err(StoreError::Unknown(name.into()));
        }
        let _lock = self.lock()?;
        let info = folder.join(INFO_FILE);
        match fs::remove_file(&info) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(on_disk(&info)(error)),
            _ => fs::remove_dir_all(&folder).map_err(on_disk(&folder)),
        }
    }

    fn read(&self, name: &str) -> Result<ProductFile, StoreError> {
        check_name(name)?;
        let path = self.folder.join(name).join(INFO_FILE);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::Unknown(name.into()));
            }
            other => other.map_err(on_disk(&path))?,
        };
        let damaged = |reason| self.damaged(name, INFO_FILE, reason);
        let file: ProductFile = toml::from_str(&text).map_err(|e| damaged(e.to_string()))?;
        if file.format_version != FORMAT_VERSION {
            let version = file.format_version;
            return Err(damaged(format!("format version {version}, not {FORMAT_VERSION}")));
        }
        if file.product.name != name {
            return Err(damaged(format!("it says it is `{}`", file.product.name)));
        }
        Ok(file)
    }

    fn read_checked(&self, name: &str, entry: &FileEntry) -> Result<Vec<u8>, StoreError> {
        let path = self.folder.join(name).join(&entry.file);
        let bytes = fs::read(&path).map_err(on_disk(&path))?;
        if sha256(&bytes) != entry.sha256 {
            return Err(self.damaged(name, &entry.file, "its SHA-256 is not as written".into()));
        }
        Ok(bytes)
    }

    fn check_against_others(&self, info: &ProductInfo) -> Result<(), StoreError> {
        for other in self.list()?.products {
            if other.name == info.name && other.revision >= info.revision {
                let name = other.name;
                return Err(StoreError::StaleRevision { name, stored: other.revision });
            }
            if other.name != info.name && other.number == info.number {
                return Err(StoreError::NumberTaken { number: info.number, other: other.name });
            }
        }
        Ok(())
    }

    /// Held while products change, so that command line and daemon do not give one number twice.
    fn lock(&self) -> Result<File, StoreError> {
        fs::create_dir_all(&self.folder).map_err(on_disk(&self.folder))?;
        let path = self.folder.join(".lock");
        let file = File::create(&path).map_err(on_disk(&path))?;
        file.lock().map_err(on_disk(&path))?;
        Ok(file)
    }

    fn damaged(&self, name: &str, file: &str, reason: String) -> StoreError {
        StoreError::Damaged { path: self.folder.join(name).join(file), reason }
    }
}

fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(allowed)
}

fn check_name(name: &str) -> Result<(), StoreError> {
    if is_name(name) { Ok(()) } else { Err(StoreError::Name(name.into())) }
}

/// A threshold that is not a number would let every part pass.
fn check_finite(product: &Product) -> Result<(), StoreError> {
    let info = &product.info;
    let not_finite = |what: String| StoreError::NotFinite { name: info.name.clone(), what };
    if !info.thresholds.image.is_finite() || !info.thresholds.pixel.is_finite() {
        return Err(not_finite("a threshold".into()));
    }
    for (tensor, values) in &product.tensors {
        if values.values().iter().any(|value| !value.is_finite()) {
            return Err(not_finite(format!("tensor `{tensor}`")));
        }
    }
    Ok(())
}

/// Writes a file whole or not at all; what stands in product.toml for it.
fn write(folder: &Path, file: String, bytes: &[u8]) -> Result<FileEntry, StoreError> {
    let path = folder.join(&file);
    let temporary = folder.join(format!(".{file}.partial"));
    let mut handle = File::create(&temporary).map_err(on_disk(&temporary))?;
    handle.write_all(bytes).map_err(on_disk(&temporary))?;
    handle.sync_all().map_err(on_disk(&temporary))?;
    fs::rename(&temporary, &path).map_err(on_disk(&path))?;
    Ok(FileEntry { file, sha256: sha256(bytes) })
}

fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(on_disk(folder))
}

/// Files of older revisions and of saves that a power cut ended.
fn remove_others(folder: &Path, keep: &[&str]) -> Result<(), StoreError> {
    for entry in fs::read_dir(folder).map_err(on_disk(folder))? {
        let entry = entry.map_err(on_disk(folder))?;
        if !entry.file_name().to_str().is_some_and(|name| keep.contains(&name)) {
            fs::remove_file(entry.path()).map_err(on_disk(&entry.path()))?;
        }
    }
    Ok(())
}

fn sha256(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn on_disk(path: &Path) -> impl Fn(io::Error) -> StoreError {
    move |source| StoreError::Disk { path: path.into(), source }
}

#[cfg(test)]
mod tests;

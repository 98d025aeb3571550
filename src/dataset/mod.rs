//! Data sets in MVTec layout: list, decode, masks, write.
//!
//! `PRODUCT/train/good/*`, `PRODUCT/test/DEFECT/*` (`good` among them) and
//! `PRODUCT/ground_truth/DEFECT/NAME_mask.png`.

mod check;
mod list;
mod read;
mod write;

pub use check::{CheckedProduct, check_product};
pub use list::{DataSet, ProductData, TestPicture, list_pictures, open, open_product};
pub use read::{read_all, read_mask, read_picture};
pub use write::DataSetWriter;

use std::path::PathBuf;
use thiserror::Error;

/// Why a data set cannot be read or written.
#[derive(Debug, Error)]
pub enum DatasetError {
    /// A folder that must be there is not.
    #[error("folder {} is missing: {remedy}", folder.display())]
    FolderMissing {
        /// The folder.
        folder: PathBuf,
        /// What to do.
        remedy: String,
    },
    /// A folder without what is looked for in it.
    #[error("folder {} holds no {what}: {remedy}", folder.display())]
    FolderEmpty {
        /// The folder.
        folder: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What to do.
        remedy: String,
    },
    /// A mask of another size than its picture.
    #[error(
        "mask {} has {}x{} pixels, its picture {}x{}: draw it at the picture's size",
        mask.display(),
        mask_size.0,
        mask_size.1,
        picture_size.0,
        picture_size.1
    )]
    MaskSize {
        /// The mask.
        mask: PathBuf,
        /// Its width and height.
        mask_size: (u32, u32),
        /// Width and height of the picture.
        picture_size: (u32, u32),
    },
    /// Two products that differ in upper and lower case only.
    #[error("products {first:?} and {second:?} have one name: rename one of the folders")]
    SameName {
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// A kind of picture that is not read.
    #[error("picture {} is {found}: PNG and JPEG are read; store it again as PNG", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: String,
    },
    /// A name that cannot be a product, a kind of defect or a file.
    #[error("name {name:?} cannot be used: {remedy}")]
    Name {
        /// The name.
        name: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A product that is already there.
    #[error("{} exists: give another folder or remove it first", folder.display())]
    ProductExists {
        /// Its folder.
        folder: PathBuf,
    },
    /// A mask that does not belong to its picture.
    #[error("mask of a {defect:?} picture {problem}")]
    Mask {
        /// Kind of defect.
        defect: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A picture that cannot be decoded.
    #[error("picture {} cannot be decoded ({reason}): store it again as PNG or JPEG", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        reason: String,
    },
    /// None of several pictures could be read.
    #[error("none of {count} pictures can be read, the first being {}", first.display())]
    NoneReadable {
        /// How many were tried.
        count: usize,
        /// The first of them.
        first: PathBuf,
    },
    /// The file system refused.
    #[error("{}: {reason}", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
}

impl DatasetError {
    fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |reason| Self::Io { path, reason }
    }
}

//! Data sets in MVTec layout: list, decode, masks, write.
//!
//! `PRODUCT/train/good/*`, `PRODUCT/test/DEFECT/*` (`good` among them) and
//! `PRODUCT/ground_truth/DEFECT/NAME_mask.png`.

mod list;
mod read;
mod write;

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
    /// A defective test picture without its mask.
    #[error(
        "picture {} has no mask: put it at {} or remove the folder ground_truth",
        picture.display(),
        mask.display()
    )]
    MaskMissing {
        /// The test picture.
        picture: PathBuf,
        /// Where its mask is looked for.
        mask: PathBuf,
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

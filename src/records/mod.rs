//! What is kept of parts: an archive of rejects on disk, within a size limit.

mod archive;
mod names;
mod overlay;
mod store;

pub use archive::{Archive, ArchiveSettings, RecordsError, RejectRecord};
pub use overlay::{mask, overlay};

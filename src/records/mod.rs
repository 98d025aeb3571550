//! What is kept of parts: an archive of rejects on disk, within a size limit, and a journal with
//! one line per part.

mod archive;
mod journal;
mod names;
mod overlay;
mod picture;
mod store;

pub use archive::{Archive, ArchiveSettings, RecordsError, RejectRecord};
pub use journal::{Journal, JournalLine, PartRecord, StagesUs, find_part};
pub use overlay::{mask, overlay};
pub use picture::{PicturePool, PooledPicture};

//! What is kept of parts: an archive of rejects on disk, within a size limit.

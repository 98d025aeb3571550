//! One writer at a time (line-io 1.4).

use super::server::ModbusSettings;
use super::station::Caller;
use crate::part::{Duration, LineTime};
use std::net::IpAddr;

/// Who may write: the configured address, or the client that wrote first.
pub(super) struct WriteLock {
    read_only: bool,
    writer: Option<IpAddr>,
    timeout: Duration,
    holder: Option<(u64, LineTime)>,
}

impl WriteLock {
    pub(super) fn new(settings: &ModbusSettings) -> Self {
        Self {
            read_only: settings.read_only,
            writer: settings.writer.map(|address| address.to_canonical()),
            timeout: settings.writer_timeout,
            holder: None,
        }
    }

    /// Whether a write of `caller` would be accepted now.
    ///
    /// A configured writer is one address on any number of connections: a PLC that comes back
    /// after a broken cable must not wait for its own dead connection.
    pub(super) fn admits(&self, caller: Caller) -> bool {
        if self.read_only {
            return false;
        }
        match (self.writer, self.holder) {
            (Some(writer), _) => caller.address.to_canonical() == writer,
            (None, Some((client, last_write))) => {
                client == caller.client || caller.time.since(last_write) >= self.timeout
            }
            (None, None) => true,
        }
    }

    /// `caller` has written.
    pub(super) fn hold(&mut self, caller: Caller) {
        self.holder = Some((caller.client, caller.time));
    }

    /// A connection is closed.
    pub(super) fn release(&mut self, client: u64) {
        self.holder = self.holder.filter(|holder| holder.0 != client);
    }
}

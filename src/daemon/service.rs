//! The daemon as a service: systemd's readiness, status and watchdog, and the log.
//!
//! Outside systemd the notifications do nothing and the log goes to stderr.

use crate::part::Duration;
use log::{Level, LevelFilter, Log, Metadata, Record};
use sd_notify::NotifyState;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{SystemTime, UNIX_EPOCH};
use thiserror::Error;

/// The service manager's socket, by systemd's convention.
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// Why there is no log.
#[derive(Debug, Error)]
pub enum LoggingError {
    /// There can be one logger only.
    #[error("a logger is installed already")]
    AlreadyInstalled,
}

/// Tells systemd that the line may be trusted now (READY=1), with a status for people.
pub fn notify_ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Tells systemd what the daemon is doing (shown by `systemctl status`).
pub fn notify_status(status: &str) {
    notify(&[NotifyState::Status(status)]);
}

/// Asks systemd to wait for READY=1 for so long from now on (EXTEND_TIMEOUT_USEC).
pub fn notify_waiting(time: Duration) {
    let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    notify(&[NotifyState::ExtendTimeoutUsec(micros)]);
}

/// Tells systemd that the daemon stops on purpose (STOPPING=1).
pub fn notify_stopping(status: &str) {
    notify(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::warn!("systemd cannot be told: {error}");
    }
}

/// systemd's watchdog: it kills and restarts a daemon that does not feed it.
///
/// Fed by the line thread and by no other: a hung engine is a no-decision, never a kill (line-io
/// 1.2, row 4).
#[derive(Debug)]
pub struct Watchdog {
    socket: UnixDatagram,
    timeout: Duration,
}

impl Watchdog {
    /// The watchdog systemd has asked this process for (`WATCHDOG_USEC`, `WATCHDOG_PID`,
    /// `NOTIFY_SOCKET`); `None` where it has not, or its socket cannot be reached.
    pub fn from_environment() -> Option<Self> {
        let timeout = sd_notify::watchdog_enabled()?;
        let address = std::env::var_os(NOTIFY_SOCKET)?;
        match connect(&address) {
            Ok(socket) => Some(Self { socket, timeout }),
            Err(error) => {
                log::error!(
                    "systemd's watchdog at {} cannot be fed: {error}",
                    address.to_string_lossy()
                );
                None
            }
        }
    }

    /// Says that the line thread lives. One send that neither waits nor allocates: a full socket
    /// means that systemd is behind, and the next feeding will do.
    pub fn feed(&self) {
        let _ = self.socket.send(b"WATCHDOG=1\n");
    }

    /// How often to feed: four times within systemd's time-out.
    pub fn interval(&self) -> Duration {
        self.timeout / 4
    }
}

fn connect(address: &OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    match address.as_bytes().strip_prefix(b"@") {
        Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        None => socket.connect(address)?,
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Installs the log for the process: journald with its fields when systemd has connected stderr to
/// the journal, else lines on stderr.
///
/// # Errors
/// A logger is installed already.
pub fn install_log(level: LevelFilter) -> Result<(), LoggingError> {
    log::set_max_level(level);
    if systemd_journal_logger::connected_to_journal()
        && let Ok(journal) = systemd_journal_logger::JournalLog::new()
    {
        let journal = journal.with_extra_fields([("VERSION", env!("CARGO_PKG_VERSION"))]);
        return journal.install().map_err(|_| LoggingError::AlreadyInstalled);
    }
    let logger = Box::new(StderrLog { coloured: colour_is_wanted() });
    log::set_boxed_logger(logger).map_err(|_| LoggingError::AlreadyInstalled)
}

/// A terminal, and `NO_COLOR` unset or empty (no-color.org).
fn colour_is_wanted() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && io::stderr().is_terminal()
}

/// One line per record: time of day (UTC), level, message, fields.
struct StderrLog {
    coloured: bool,
}

impl Log for StderrLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = line(record, SystemTime::now(), self.coloured);
            // Nobody reads stderr any more: then there is nobody to tell.
            let _ = io::stderr().lock().write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}

fn line(record: &Record<'_>, time: SystemTime, coloured: bool) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (of_day, millis) = (since.as_secs() % 86_400, since.subsec_millis());
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let (word, colour) = match record.level() {
        Level::Error => ("error", "\x1b[31m"),
        Level::Warn => ("warning", "\x1b[33m"),
        Level::Info => ("info", "\x1b[32m"),
        Level::Debug => ("debug", "\x1b[36m"),
        Level::Trace => ("trace", "\x1b[2m"),
    };
    let (colour, end) = if coloured { (colour, "\x1b[0m") } else { ("", "") };
    let message = record.args();
    let mut line =
        format!("{hour:02}:{minute:02}:{second:02}.{millis:03}Z {colour}{word:<7}{end} {message}");
    let _ = record.key_values().visit(&mut Fields(&mut line));
    line.push('\n');
    line
}

/// Appends a record's fields as ` key=value`.
struct Fields<'a>(&'a mut String);

impl<'kvs> log::kv::VisitSource<'kvs> for Fields<'_> {
    fn visit_pair(
        &mut self,
        key: log::kv::Key<'kvs>,
        value: log::kv::Value<'kvs>,
    ) -> Result<(), log::kv::Error> {
        let _ = write!(self.0, " {key}={value}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line_of(level: Level, coloured: bool) -> String {
        let fields: &[(&str, u32)] = &[("sequence", 12)];
        let record = Record::builder()
            .level(level)
            .args(format_args!("part rejected"))
            .key_values(&fields)
            .build();
        let time = UNIX_EPOCH + Duration::from_millis(1_795_507_200_000 + 3_661_042);
        line(&record, time, coloured)
    }

    #[test]
    fn a_line_has_time_level_message_and_fields() {
        assert_eq!(
            line_of(Level::Warn, false),
            "09:01:01.042Z warning part rejected sequence=12\n"
        );
    }

    #[test]
    fn colour_is_around_the_level_only() {
        let coloured = line_of(Level::Error, true);
        assert_eq!(coloured, "09:01:01.042Z \x1b[31merror  \x1b[0m part rejected sequence=12\n");
    }
}

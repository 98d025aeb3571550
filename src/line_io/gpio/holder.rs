//! The holder: a second process that keeps the output lines while the daemon is dead, and the
//! daemon's end of the wire to it (docs/design/dead-process.md).
//!
//! Both have the same line request open, so the kernel never releases it. The holder writes only
//! when the daemon's end of their socket closes, which the kernel does however the daemon ends.
//!
//! On the socket, one packet each: the holder offers the lines it has (their description, with the
//! file); the daemon takes them by staying connected, or says RELEASE and, when it has requested
//! its own, KEEP with their file.

use super::line_file::{LineFile, Plan};
use super::{GpioOutputSettings, gpio_error};
use crate::line_io::LineIoError;
use crate::part::Duration;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType, sockopt,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Longest packet: a description of a few lines is some hundred bytes.
const PACKET: usize = 4096;
/// The holder answers at once, or not at all.
const ANSWER: Duration = Duration::from_secs(1);
/// Between two tries to reach a holder that has gone.
const RETRY: Duration = Duration::from_secs(1);

const RELEASE: &str = "RELEASE";
const RELEASED: &str = "RELEASED";
const KEEP: &str = "KEEP";

/// The process that keeps the lines.
pub struct Holder {
    settings: GpioOutputSettings,
    listener: OwnedFd,
    lines: Option<LineFile>,
}

impl Holder {
    /// Takes the lines, if nobody has them, at their safe levels, and listens for the daemon.
    ///
    /// # Errors
    /// The socket cannot be listened on, or another holder does already.
    pub fn start(settings: GpioOutputSettings, socket: &Path) -> Result<Self, LineIoError> {
        let refusal = |error: String| gpio_error(socket, None, error);
        if connect(socket).is_ok() {
            return Err(refusal("another holder listens there: stop it first".into()));
        }
        // Left behind by a holder that was killed.
        let _ = std::fs::remove_file(socket);
        let listener = listen(socket).map_err(|error| {
            refusal(format!("cannot listen: {error}; the folder must exist and be writable"))
        })?;
        let mut holder = Self { settings, listener, lines: None };
        holder.take();
        Ok(holder)
    }

    /// Whether it has the lines.
    pub fn holds(&self) -> bool {
        self.lines.is_some()
    }

    fn take(&mut self) {
        match LineFile::request(&self.settings.wires, self.settings.energise_to_pass) {
            Ok(lines) => {
                log::info!("output lines are held at their rejecting levels");
                self.lines = Some(lines);
            }
            // The daemon that has them gives them when it hears of this holder.
            Err(error) => log::warn!("output lines are not held yet: {error}"),
        }
    }

    /// Serves one daemon after another, for ever.
    ///
    /// # Errors
    /// Connections can no longer be accepted.
    pub fn run(mut self) -> Result<(), LineIoError> {
        loop {
            self.serve_one().map_err(|error| LineIoError::Gpio {
                what: "holder".into(),
                reason: format!("cannot accept the daemon: {error}"),
            })?;
        }
    }

    /// One daemon, from its connection to its end.
    fn serve_one(&mut self) -> Result<(), Errno> {
        let daemon = loop {
            match rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC) {
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                accepted => break accepted?,
            }
        };
        let (wires, file) = match &self.lines {
            Some(lines) => (lines.wires(), Some(lines)),
            None => ("", None),
        };
        if send(&daemon, wires, file).is_ok() {
            while let Ok((text, file)) = receive(&daemon) {
                if text == RELEASE {
                    self.lines = None;
                    if send(&daemon, RELEASED, None).is_err() {
                        break;
                    }
                } else if let Some(lines) = file.and_then(|file| kept(&text, file)) {
                    self.lines = Some(lines);
                }
            }
        }
        self.daemon_ended();
        Ok(())
    }

    /// First the levels, then words.
    fn daemon_ended(&mut self) {
        let written = self.lines.as_ref().map(LineFile::write_safe);
        match written {
            Some(Ok(())) => {
                log::warn!("the daemon has ended: output lines are at their rejecting levels")
            }
            Some(Err(error)) => {
                log::error!("the daemon has ended and its lines cannot be written: {error}");
                self.lines = None;
            }
            None => self.take(),
        }
    }
}

/// `KEEP SAFE COUNT WIRES`.
fn kept(text: &str, file: OwnedFd) -> Option<LineFile> {
    let mut words = text.splitn(4, ' ');
    if words.next()? != KEEP {
        return None;
    }
    let safe = words.next()?.parse().ok()?;
    let count = words.next()?.parse().ok()?;
    Some(LineFile::shared(file, words.next()?.to_owned(), safe, count))
}

fn keep(lines: &LineFile) -> String {
    format!("{KEEP} {} {} {}", lines.safe(), lines.count(), lines.wires())
}

/// Takes the daemon's output lines: those that the holder has if they are the same, else requested
/// anew. The link tells the holder of the daemon's end; there is none while no holder answers.
pub(super) fn take_lines(
    settings: &GpioOutputSettings,
) -> Result<(LineFile, HolderLink), LineIoError> {
    let (_, found) = settings.wires.find()?;
    let plan = Plan::new(&settings.wires.chip, &found, settings.energise_to_pass);
    let request = || LineFile::request(&settings.wires, settings.energise_to_pass);
    let holder = settings.hold_socket.as_deref().map(|socket| (socket, connect(socket)));
    let (lines, holder) = match holder {
        None => (request()?, None),
        Some((socket, Err(error))) => {
            log::warn!(
                "no holder at {} ({error}): a dead daemon leaves its lines to the hardware; \
                 start onenipd-hold.service",
                socket.display()
            );
            (request()?, None)
        }
        Some((_, Ok(holder))) => match receive(&holder) {
            Ok((offered, Some(file))) if offered == plan.wires => {
                let lines = LineFile::shared(file, offered, plan.safe, plan.lines.len());
                if lines.write_safe().is_ok() {
                    (lines, Some(holder))
                } else {
                    exchange(holder, request)?
                }
            }
            Ok(_) => exchange(holder, request)?,
            Err(error) => {
                log::warn!("the holder does not answer: {error}; is another daemon running?");
                (request()?, None)
            }
        },
    };
    let link = HolderLink::start(settings.hold_socket.as_deref(), holder, &lines)?;
    Ok((lines, link))
}

/// What the holder has is of no use: it lets go, and gets the daemon's own lines.
fn exchange(
    holder: OwnedFd,
    request: impl Fn() -> Result<LineFile, LineIoError>,
) -> Result<(LineFile, Option<OwnedFd>), LineIoError> {
    let released = send(&holder, RELEASE, None).and_then(|()| receive(&holder));
    let lines = request()?;
    let given = released.and_then(|_| send(&holder, &keep(&lines), Some(&lines)));
    if let Err(error) = &given {
        log::warn!("the holder does not take the lines: {error}");
    }
    Ok((lines, given.is_ok().then_some(holder)))
}

/// The daemon's end of the wire to the holder. Dropping it tells the holder that the daemon ends.
pub(super) struct HolderLink {
    end: Arc<Mutex<End>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct End {
    holder: Option<Arc<OwnedFd>>,
    stopping: bool,
}

impl HolderLink {
    /// With a thread that gives the lines to a holder that comes back.
    fn start(
        socket: Option<&Path>,
        holder: Option<OwnedFd>,
        lines: &LineFile,
    ) -> Result<Self, LineIoError> {
        let holder = holder.map(Arc::new);
        let end = Arc::new(Mutex::new(End { holder, stopping: false }));
        let Some(socket) = socket.map(Path::to_path_buf) else {
            return Ok(Self { end, thread: None });
        };
        let refusal = |error: std::io::Error| {
            gpio_error(&socket, None, format!("cannot be kept up: {error}; look at limits"))
        };
        let lines = lines.share().map_err(refusal)?;
        let thread = std::thread::Builder::new().name("hold-link".into());
        let (shared, path) = (Arc::clone(&end), socket.clone());
        let thread = thread.spawn(move || keep_up(&shared, &path, &lines)).map_err(refusal)?;
        Ok(Self { end, thread: Some(thread) })
    }
}

impl Drop for HolderLink {
    fn drop(&mut self) {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        end.stopping = true;
        if let Some(holder) = &end.holder {
            let _ = rustix::net::shutdown(holder.as_ref(), Shutdown::Both);
        }
        drop(end);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

fn keep_up(end: &Mutex<End>, socket: &Path, lines: &LineFile) {
    let lock = || end.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let holder = lock().holder.clone();
        if let Some(holder) = holder {
            // The holder says nothing more: this returns when it ends, or when we do.
            while receive_for_ever(&holder).is_ok() {}
            let mut end = lock();
            end.holder = None;
            if !end.stopping {
                log::warn!("the holder has ended: it gets the lines again when it is back");
            }
        }
        if lock().stopping {
            return;
        }
        std::thread::park_timeout(RETRY);
        let given = connect(socket).and_then(|holder| {
            receive(&holder)?;
            send(&holder, &keep(lines), Some(lines))?;
            Ok(holder)
        });
        if let Ok(holder) = given {
            let mut end = lock();
            if !end.stopping {
                log::info!("the holder is back and has the output lines");
                end.holder = Some(Arc::new(holder));
            }
        }
    }
}

fn listen(socket: &Path) -> Result<OwnedFd, Errno> {
    let listener = new_socket()?;
    rustix::net::bind(&listener, &SocketAddrUnix::new(socket)?)?;
    rustix::net::listen(&listener, 1)?;
    Ok(listener)
}

fn connect(socket: &Path) -> Result<OwnedFd, Errno> {
    let holder = new_socket()?;
    sockopt::set_socket_timeout(&holder, sockopt::Timeout::Recv, Some(ANSWER))?;
    // Bounds the wait to be connected too.
    sockopt::set_socket_timeout(&holder, sockopt::Timeout::Send, Some(ANSWER))?;
    rustix::net::connect(&holder, &SocketAddrUnix::new(socket)?)?;
    Ok(holder)
}

fn new_socket() -> Result<OwnedFd, Errno> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)
}

fn send(socket: &OwnedFd, text: &str, lines: Option<&LineFile>) -> Result<(), Errno> {
    use std::os::fd::AsFd;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let files: Vec<BorrowedFd<'_>> = lines.into_iter().map(AsFd::as_fd).collect();
    if !files.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&files));
    }
    let data = [IoSlice::new(text.as_bytes()), IoSlice::new(b"\n")];
    rustix::net::sendmsg(socket, &data, &mut control, SendFlags::NOSIGNAL).map(drop)
}

/// One packet and its file; an end of the connection is an error.
fn receive(socket: &OwnedFd) -> Result<(String, Option<OwnedFd>), Errno> {
    let mut bytes = [0; PACKET];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut data = [IoSliceMut::new(&mut bytes)];
        match rustix::net::recvmsg(socket, &mut data, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            received => break received?.bytes,
        }
    };
    if received == 0 {
        return Err(Errno::PIPE);
    }
    let mut file = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(files) = message {
            file = files.last().or(file);
        }
    }
    Ok((String::from_utf8_lossy(&bytes[..received]).trim_end().to_owned(), file))
}

/// As [`receive`], without its time-out.
fn receive_for_ever(socket: &OwnedFd) -> Result<(), Errno> {
    loop {
        match receive(socket) {
            Err(Errno::AGAIN) => {}
            received => return received.map(drop),
        }
    }
}

#[cfg(test)]
#[path = "holder_tests.rs"]
mod tests;

//! One blocking connection to a coupler.

use super::CONNECT_TIMEOUT;
use super::codec::{Answer, BadAnswer, Exchange, MasterRequest};
use crate::part::{Duration, LineTime};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use thiserror::Error;

/// Why a coupler cannot be used.
#[derive(Debug, Error)]
pub(super) enum Trouble {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("no answer, twice")]
    Silent,
    #[error("{0}")]
    Bad(#[from] BadAnswer),
    #[error("{what} is refused with exception {code}")]
    Refused { what: String, code: u8 },
    #[error(
        "its output watchdog is not as configured: register {register:#06X} reads {found}, \
         not {expected}; see docs/guide/fieldbus.md, Coupler"
    )]
    Watchdog { register: u16, found: u16, expected: u16 },
}

/// A connection to a coupler.
pub(super) struct Link {
    stream: TcpStream,
    exchange: Exchange,
    timeout: Duration,
}

impl Link {
    pub(super) fn open(address: SocketAddr, unit: u8, timeout: Duration) -> Result<Self, Trouble> {
        let stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
        // The gate waits for this segment; without it only latency is worse.
        let _ = stream.set_nodelay(true);
        stream.set_write_timeout(Some(timeout))?;
        Ok(Self { stream, exchange: Exchange::new(unit), timeout })
    }

    /// Asks once, and once more. `overdue` is called once the answer is later than its time.
    pub(super) fn ask(
        &mut self,
        request: &MasterRequest<'_>,
        mut overdue: Option<(LineTime, &mut dyn FnMut())>,
    ) -> Result<Answer, Trouble> {
        for _ in 0..2 {
            let frame = self.exchange.ask(request);
            self.stream.write_all(&frame)?;
            let until = LineTime::now() + self.timeout;
            if let Some((due, _)) = &overdue
                && let Some(answer) = self.receive(request, until.min(*due))?
            {
                return Ok(answer);
            }
            if let Some((due, tell)) = &mut overdue
                && *due < until
            {
                tell();
                overdue = None;
            }
            if let Some(answer) = self.receive(request, until)? {
                return Ok(answer);
            }
        }
        Err(Trouble::Silent)
    }

    /// As [`Link::ask`], where an exception is a trouble.
    pub(super) fn demand(
        &mut self,
        what: &str,
        request: &MasterRequest<'_>,
        overdue: Option<(LineTime, &mut dyn FnMut())>,
    ) -> Result<Answer, Trouble> {
        match self.ask(request, overdue)? {
            Answer::Exception(code) => Err(Trouble::Refused { what: what.to_owned(), code }),
            answer => Ok(answer),
        }
    }

    /// `None`: it did not come until then.
    fn receive(
        &mut self,
        request: &MasterRequest<'_>,
        until: LineTime,
    ) -> Result<Option<Answer>, Trouble> {
        let mut bytes = [0; 512];
        loop {
            if let Some(answer) = self.exchange.answer(request)? {
                return Ok(Some(answer));
            }
            let left = until.since(LineTime::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(Trouble::Io(ErrorKind::UnexpectedEof.into())),
                Ok(read) => self.exchange.feed(bytes.get(..read).unwrap_or_default()),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Ok(None),
                    ErrorKind::Interrupted => {}
                    _ => return Err(Trouble::Io(error)),
                },
            }
        }
    }
}

//! Modbus RTU: the same station on a serial line (line-io 1.4). Results only, never the gate.
//!
//! A frame ends with a silence of 3.5 characters and counts if its CRC is right. The 1.5 characters
//! within a frame are not tested: behind a UART's FIFO a program cannot see them, and a late
//! reader would throw good frames away.

mod framing;
mod port;

pub use framing::{RtuFrame, crc, frames, seal};

use super::server::House;
use crate::part::Duration;
use framing::FRAME_BYTES;
use port::Port;
use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use tokio::time::{sleep, timeout};

/// A device that is gone is opened again this often, for ever.
const REOPEN: Duration = Duration::from_secs(1);
/// Wrong frames are told at most this often.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// The one writable address of a broadcast: the PLC's heartbeat.
const PLC_HEARTBEAT: [u8; 2] = [0, 201];
/// The master of a serial line has no address; as a writer by address it is nobody.
const MASTER: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Parity bit of every character.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parity {
    /// As the standard says.
    #[default]
    Even,
    /// Odd.
    Odd,
    /// None; the standard then wants two stop bits.
    None,
}

/// The serial line (line-io 1.4: unit 1, 19200 8E1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtuSettings {
    /// The serial port.
    pub device: PathBuf,
    /// This box among the units of the line, 1 to 247.
    pub unit: u8,
    /// Bits per second.
    pub baud: u32,
    /// Parity.
    pub parity: Parity,
    /// 1 or 2.
    pub stop_bits: u8,
    /// Silence that ends a frame; `None`: 3.5 characters.
    pub frame_gap: Option<Duration>,
}

impl RtuSettings {
    /// The defaults of the contract.
    pub fn new(device: impl Into<PathBuf>) -> Self {
        let (device, parity) = (device.into(), Parity::Even);
        Self { device, unit: 1, baud: 19_200, parity, stop_bits: 1, frame_gap: None }
    }

    /// Silence that ends a frame: 3.5 characters, above 19200 baud 1750 us.
    fn gap(&self) -> Duration {
        let bits = 1 + 8 + u64::from(self.parity != Parity::None) + u64::from(self.stop_bits);
        let standard = if self.baud > 19_200 {
            Duration::from_micros(1750)
        } else {
            Duration::from_nanos(bits * 3_500_000_000 / u64::from(self.baud.max(1)))
        };
        self.frame_gap.unwrap_or(standard)
    }
}

/// What came in besides answered requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ignored {
    /// Bytes without a right CRC, per silence.
    spoilt: u64,
    /// Requests that more bytes followed before their answer: the master had given them up.
    overtaken: u64,
    /// Broadcasts of anything but the heartbeat.
    broadcasts: u64,
}

/// What silence has ended, unit by unit.
struct Unit {
    number: u8,
    ignored: Ignored,
}

impl Unit {
    /// Carries out what is for this unit by `answer`; returns the frame to send, if any.
    ///
    /// Only the last request is answered: on two wires an answer to an older one would meet the
    /// newer one. What is not answered is not carried out either, except a broadcast.
    fn handle(
        &mut self,
        bytes: &[u8],
        mut answer: impl FnMut(&[u8]) -> Option<Vec<u8>>,
    ) -> Option<Vec<u8>> {
        let (found, rest) = frames(bytes, self.number);
        self.ignored.spoilt += u64::from(rest > 0);
        let mut reply = None;
        for (index, frame) in found.iter().enumerate() {
            if frame.unit == 0 {
                if is_heartbeat(frame.pdu) {
                    answer(frame.pdu);
                } else {
                    self.ignored.broadcasts += 1;
                }
            } else if frame.unit == self.number {
                if index + 1 == found.len() && rest == 0 {
                    reply = answer(frame.pdu);
                } else {
                    self.ignored.overtaken += 1;
                }
            }
        }
        reply.map(|pdu| seal(self.number, &pdu))
    }
}

/// A write of HR 201 alone, by function 6 or 16.
fn is_heartbeat(pdu: &[u8]) -> bool {
    match pdu {
        [6, address @ .., _, _] => address == PLC_HEARTBEAT,
        [16, a, b, 0, 1, ..] => [*a, *b] == PLC_HEARTBEAT,
        _ => false,
    }
}

/// Serves the line for ever. A device that cannot be opened, or vanishes, is opened again.
pub(super) async fn run(settings: &RtuSettings, house: &RefCell<House>) {
    let device = settings.device.display();
    let mut down = false;
    loop {
        match Port::open(settings) {
            Ok(mut port) => {
                let (unit, baud) = (settings.unit, settings.baud);
                log::info!("Modbus RTU serves {device}, unit {unit}, {baud} baud");
                let client = house.borrow_mut().enter();
                let end = serve(&mut port, settings, client, house).await;
                house.borrow_mut().leave(client);
                log::error!("Modbus RTU {device}: {end}; opened again until it is back");
                down = true;
            }
            Err(error) if !down => {
                down = true;
                log::error!(
                    "Modbus RTU {device}: {error}; {}; opened again until it is there",
                    remedy(&error)
                );
            }
            Err(_) => {}
        }
        sleep(REOPEN).await;
    }
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "look at cable and adapter; /dev/serial/by-id names them",
        io::ErrorKind::PermissionDenied => "the daemon's user needs the group dialout",
        io::ErrorKind::ResourceBusy => "another process holds it (`fuser` names it)",
        _ => "it must be a serial port",
    }
}

/// Answers one request after the other; returns why the device is given up.
async fn serve(
    port: &mut Port,
    settings: &RtuSettings,
    client: u64,
    house: &RefCell<House>,
) -> io::Error {
    let gap = settings.gap();
    let mut unit = Unit { number: settings.unit, ignored: Ignored::default() };
    let mut told = (unit.ignored, tokio::time::Instant::now());
    let mut between = Vec::with_capacity(2 * FRAME_BYTES);
    let mut bytes = [0; FRAME_BYTES];
    loop {
        let read = if between.is_empty() {
            port.read(&mut bytes).await
        } else {
            match timeout(gap, port.read(&mut bytes)).await {
                Ok(read) => read,
                Err(_silent) => {
                    let answer = |pdu: &[u8]| house.borrow_mut().answer(pdu, client, MASTER);
                    let reply = unit.handle(&between, answer);
                    between.clear();
                    if unit.ignored != told.0 && told.1.elapsed() >= TELL_EVERY {
                        log::warn!("Modbus RTU {}: {:?}", settings.device.display(), unit.ignored);
                        told = (unit.ignored, tokio::time::Instant::now());
                    }
                    match reply {
                        Some(frame) => match port.write(&frame).await {
                            Ok(()) => continue,
                            Err(error) => return error,
                        },
                        None => continue,
                    }
                }
            }
        };
        match read {
            Ok(0) => return io::Error::other("the device is gone"),
            // A stream without silence is no Modbus: its beginning is enough to see that.
            Ok(read) if between.len() < 4 * FRAME_BYTES => {
                between.extend(bytes.iter().take(read));
            }
            Ok(_) => {}
            Err(error) => return error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers with the request itself, and keeps it.
    fn unit(bytes: &[u8]) -> (Option<Vec<u8>>, Vec<Vec<u8>>, Ignored) {
        let mut unit = Unit { number: 1, ignored: Ignored::default() };
        let mut asked = Vec::new();
        let reply = unit.handle(bytes, |pdu| {
            asked.push(pdu.to_vec());
            Some(pdu.to_vec())
        });
        (reply, asked, unit.ignored)
    }

    #[test]
    fn only_this_unit_answers() {
        let read = [3, 0, 0, 0, 1];
        assert_eq!(unit(&seal(1, &read)).0, Some(seal(1, &read)));
        assert_eq!(unit(&seal(2, &read)), (None, vec![], Ignored::default()));
        let mut spoilt = seal(1, &read);
        spoilt[3] ^= 1;
        assert_eq!(unit(&spoilt), (None, vec![], Ignored { spoilt: 1, ..Ignored::default() }));
    }

    #[test]
    fn a_broadcast_may_only_write_the_heartbeat_and_is_not_answered() {
        for heartbeat in [&[6, 0, 201, 0, 9][..], &[16, 0, 201, 0, 1, 2, 0, 9]] {
            assert_eq!(unit(&seal(0, heartbeat)).1, [heartbeat]);
            assert_eq!(unit(&seal(0, heartbeat)).0, None);
        }
        for other in
            [&[6, 0, 200, 0, 16][..], &[16, 0, 201, 0, 2, 4, 0, 9, 0, 1], &[3, 0, 201, 0, 1]]
        {
            let (reply, asked, ignored) = unit(&seal(0, other));
            assert_eq!((reply, asked.len(), ignored.broadcasts), (None, 0, 1), "{other:?}");
        }
    }

    #[test]
    fn of_several_requests_the_last_is_carried_out_and_answered() {
        let mut bytes = seal(1, &[6, 0, 202, 0, 1]);
        bytes.extend(seal(0, &[6, 0, 201, 0, 9]));
        bytes.extend(seal(1, &[3, 0, 0, 0, 1]));
        let (reply, asked, ignored) = unit(&bytes);
        assert_eq!(asked, [vec![6, 0, 201, 0, 9], vec![3, 0, 0, 0, 1]]);
        assert_eq!((reply, ignored.overtaken), (Some(seal(1, &[3, 0, 0, 0, 1])), 1));
        bytes.push(0);
        assert_eq!(unit(&bytes).0, None);
    }

    #[test]
    fn silence_is_three_and_a_half_characters() {
        let mut settings = RtuSettings::new("/dev/ttyS0");
        assert_eq!(settings.gap().as_micros(), 2005);
        settings.parity = Parity::None;
        settings.baud = 9600;
        assert_eq!(settings.gap().as_micros(), 3645);
        settings.baud = 115_200;
        assert_eq!(settings.gap().as_micros(), 1750);
        settings.frame_gap = Some(Duration::from_millis(20));
        assert_eq!(settings.gap().as_millis(), 20);
    }
}

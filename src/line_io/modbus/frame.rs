//! Modbus bytes: the MBAP header of TCP, request PDUs in, answer PDUs out. No transport.

use super::station::{Caller, Station};

/// Bytes of the MBAP header: transaction, protocol, length, unit.
pub const HEADER_BYTES: usize = 7;
/// A PDU is at most this long (Modbus Application Protocol V1.1b3, 4.1).
const PDU_BYTES: usize = 253;

/// Why a request is refused (line-io 1.4, tested in the order of its table: 01, 03, 02, 06, 04).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exception {
    /// The function code is not served.
    IllegalFunction = 1,
    /// An address outside the map, or outside what may be written.
    IllegalAddress = 2,
    /// A quantity, byte count or value that is not allowed.
    IllegalValue = 3,
    /// The line thread is silent: treat the box as dead.
    DeviceFailure = 4,
    /// Another client holds the write lock.
    Busy = 6,
}

impl Exception {
    /// Every exception, in the order they are tested.
    pub const ALL: [Self; 5] = [
        Self::IllegalFunction,
        Self::IllegalValue,
        Self::IllegalAddress,
        Self::Busy,
        Self::DeviceFailure,
    ];

    /// When it is the answer.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::IllegalFunction => "the function code is none of 1 2 3 4 5 6 15 16 23",
            Self::IllegalValue => {
                "a quantity of 0, or above 125 read, 123 written, 121 written by code 23, 2000 bits \
                 read, 1968 bits written; a byte count that does not fit; a coil value that is \
                 neither FF00 nor 0000; bits 9-15 of ctrl; INHIBIT where it is not allowed; a \
                 read_index above newest_seq"
            }
            Self::IllegalAddress => {
                "a register above 767, a bit above 15, a write outside the writable area, half of \
                 a 32 bit value written"
            }
            Self::Busy => "another client holds the write lock, or nobody may write",
            Self::DeviceFailure => {
                "the gate thread was silent for more than 500 ms: treat the box as dead"
            }
        }
    }
}

/// The MBAP header in front of every PDU on TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Echoed.
    pub transaction: u16,
    /// Any unit is served; echoed.
    pub unit: u8,
    /// Length of the PDU that follows: 1 to 253.
    pub pdu_bytes: usize,
}

impl Header {
    /// `None` for a header no Modbus master sends: the connection must be closed.
    pub fn parse(bytes: [u8; HEADER_BYTES]) -> Option<Self> {
        let [t0, t1, p0, p1, l0, l1, unit] = bytes;
        let pdu_bytes = usize::from(u16::from_be_bytes([l0, l1])).checked_sub(1)?;
        let valid = (p0, p1) == (0, 0) && (1..=PDU_BYTES).contains(&pdu_bytes);
        valid.then_some(Self { transaction: u16::from_be_bytes([t0, t1]), unit, pdu_bytes })
    }

    /// The answer's frame: same transaction and unit.
    pub fn frame(&self, pdu: &[u8]) -> Vec<u8> {
        let length = u16::try_from(pdu.len() + 1).unwrap_or(u16::MAX);
        let mut frame = Vec::with_capacity(HEADER_BYTES + pdu.len());
        frame.extend(self.transaction.to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(length.to_be_bytes());
        frame.push(self.unit);
        frame.extend(pdu);
        frame
    }
}

/// The tables of Modbus; input and holding registers are the same here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    /// Bits of HR 200.
    Coils,
    /// Bits of the status.
    Inputs,
    /// The whole map.
    Registers,
}

/// What a request reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Read {
    /// From where.
    pub table: Table,
    /// First address, zero-based.
    pub address: u16,
    /// How many.
    pub quantity: u16,
}

/// What a request writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Write {
    /// Coils from `address` on.
    Coils {
        /// First coil.
        address: u16,
        /// Their values.
        bits: Vec<bool>,
    },
    /// Holding registers from `address` on.
    Words {
        /// First register.
        address: u16,
        /// Their values.
        words: Vec<u16>,
    },
}

/// A request whose form is right (quantities and byte counts tested); FC23 has both parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// Done first.
    pub write: Option<Write>,
    /// Done second.
    pub read: Option<Read>,
}

/// Answers one request PDU with one answer or exception PDU; `None` (no function code) means close.
///
/// A refused request changes nothing; one request sees one snapshot.
pub fn answer(request_pdu: &[u8], station: &mut Station, caller: Caller) -> Option<Vec<u8>> {
    let function = *request_pdu.first()?;
    let done = parse(request_pdu).and_then(|request| {
        station.perform(&request, caller)?;
        Ok(match request.read {
            Some(read) => read_answer(function, read, station),
            // FC 5 and 6 echo the request, 15 and 16 its address and quantity.
            None => request_pdu.iter().copied().take(5).collect(),
        })
    });
    Some(done.unwrap_or_else(|exception| vec![function | 0x80, exception as u8]))
}

fn read_answer(function: u8, read: Read, station: &Station) -> Vec<u8> {
    let words = station.image();
    let (first, count) = (usize::from(read.address), usize::from(read.quantity));
    let data: Vec<u8> = match read.table {
        Table::Registers => {
            words.iter().skip(first).take(count).flat_map(|word| word.to_be_bytes()).collect()
        }
        Table::Coils => pack_bits(station.coils(), first, count),
        Table::Inputs => pack_bits(station.status(), first, count),
    };
    let mut pdu = vec![function, data.len() as u8];
    pdu.extend(data);
    pdu
}

/// `count` (1 to 16) bits from `first` on, eight to a byte, lowest first, padded with zeros.
fn pack_bits(word: u16, first: usize, count: usize) -> Vec<u8> {
    let mask = if count >= 16 { u16::MAX } else { (1 << count) - 1 };
    let bits = (word >> first) & mask;
    bits.to_le_bytes().into_iter().take(count.div_ceil(8)).collect()
}

/// Tests function code (01), then quantities, byte counts and FC5's value (03).
pub(super) fn parse(pdu: &[u8]) -> Result<Request, Exception> {
    let (&function, body) = pdu.split_first().ok_or(Exception::IllegalFunction)?;
    let (write, read) = match function {
        1 => (None, Some(parse_read(body, Table::Coils, 2000)?)),
        2 => (None, Some(parse_read(body, Table::Inputs, 2000)?)),
        3 | 4 => (None, Some(parse_read(body, Table::Registers, 125)?)),
        5 => (Some(parse_write_coil(body)?), None),
        6 => (Some(parse_write_register(body)?), None),
        15 => (Some(parse_write_coils(body)?), None),
        16 => (Some(parse_write_registers(body, 123)?), None),
        23 => {
            let (read, write) = body.split_at_checked(4).ok_or(Exception::IllegalValue)?;
            let read = parse_read(read, Table::Registers, 125)?;
            (Some(parse_write_registers(write, 121)?), Some(read))
        }
        _ => return Err(Exception::IllegalFunction),
    };
    Ok(Request { write, read })
}

fn two_words(body: &[u8]) -> Result<(u16, u16), Exception> {
    match *body {
        [a, b, c, d] => Ok((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))),
        _ => Err(Exception::IllegalValue),
    }
}

fn parse_read(body: &[u8], table: Table, most: u16) -> Result<Read, Exception> {
    let (address, quantity) = two_words(body)?;
    let valid = (1..=most).contains(&quantity);
    valid.then_some(Read { table, address, quantity }).ok_or(Exception::IllegalValue)
}

fn parse_write_coil(body: &[u8]) -> Result<Write, Exception> {
    match two_words(body)? {
        (address, 0xFF00) => Ok(Write::Coils { address, bits: vec![true] }),
        (address, 0x0000) => Ok(Write::Coils { address, bits: vec![false] }),
        _ => Err(Exception::IllegalValue),
    }
}

fn parse_write_register(body: &[u8]) -> Result<Write, Exception> {
    let (address, word) = two_words(body)?;
    Ok(Write::Words { address, words: vec![word] })
}

/// Address, quantity and the bytes behind a byte count that fits `bytes_for(quantity)`.
fn counted(
    body: &[u8],
    most: u16,
    bytes_for: fn(usize) -> usize,
) -> Result<(u16, usize, &[u8]), Exception> {
    let (head, rest) = body.split_at_checked(4).ok_or(Exception::IllegalValue)?;
    let (address, quantity) = two_words(head)?;
    let (&byte_count, data) = rest.split_first().ok_or(Exception::IllegalValue)?;
    let bytes = bytes_for(usize::from(quantity));
    let fits = usize::from(byte_count) == bytes && data.len() == bytes;
    if (1..=most).contains(&quantity) && fits {
        Ok((address, usize::from(quantity), data))
    } else {
        Err(Exception::IllegalValue)
    }
}

fn parse_write_coils(body: &[u8]) -> Result<Write, Exception> {
    let (address, quantity, data) = counted(body, 1968, |bits| bits.div_ceil(8))?;
    let bits = data.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1));
    Ok(Write::Coils { address, bits: bits.take(quantity).collect() })
}

fn parse_write_registers(body: &[u8], most: u16) -> Result<Write, Exception> {
    let (address, _, data) = counted(body, most, |words| 2 * words)?;
    let (pairs, _) = data.as_chunks::<2>();
    Ok(Write::Words {
        address,
        words: pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_refused_unless_it_announces_a_modbus_pdu() {
        let good = [0x12, 0x34, 0, 0, 0, 6, 0xFF];
        let header = Header::parse(good).unwrap();
        assert_eq!(header, Header { transaction: 0x1234, unit: 0xFF, pdu_bytes: 5 });
        assert_eq!(header.frame(&[1, 2, 3, 4, 5])[..7], good);
        for (at, value) in [(2, 1), (3, 1), (4, 1), (5, 0), (5, 1), (5, 255)] {
            let mut bad = good;
            bad[at] = value;
            assert_eq!(Header::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn quantities_and_byte_counts_are_tested_before_addresses() {
        use Exception::{IllegalFunction, IllegalValue};
        for (pdu, refusal) in [
            (&[7][..], IllegalFunction),
            (&[0x83, 0, 0, 0, 1], IllegalFunction),
            (&[3, 0, 0, 0, 0], IllegalValue),
            (&[3, 0, 0, 0, 126], IllegalValue),
            (&[3, 0, 0, 0], IllegalValue),
            (&[4, 0, 0, 0, 1, 0], IllegalValue),
            (&[1, 0, 0, 0x07, 0xD1], IllegalValue),
            (&[5, 0, 0, 0xFF, 1], IllegalValue),
            (&[15, 0, 0, 0, 9, 1, 0], IllegalValue),
            (&[16, 0, 200, 0, 1, 2, 0], IllegalValue),
            (&[16, 0, 200, 0, 0, 0], IllegalValue),
            (&[23, 0, 0, 0, 1, 0, 200, 0, 0, 0], IllegalValue),
        ] {
            assert_eq!(parse(pdu), Err(refusal), "{pdu:?}");
        }
        assert!(parse(&[3, 0xFF, 0xFF, 0, 125]).is_ok());
        assert!(parse(&[1, 0, 0, 0x07, 0xD0]).is_ok());
    }

    #[test]
    fn coils_are_unpacked_lowest_first_and_packed_the_same_way() {
        let request = parse(&[15, 0, 1, 0, 9, 2, 0b0000_0101, 0b1]).unwrap();
        let bits = [true, false, true, false, false, false, false, false, true];
        assert_eq!(request.write, Some(Write::Coils { address: 1, bits: bits.to_vec() }));
        assert_eq!(pack_bits(0b10_0000_1010, 1, 9), [0b0000_0101, 0b1]);
        assert_eq!(pack_bits(0xFFFF, 0, 16), [0xFF, 0xFF]);
        assert_eq!(pack_bits(0xFFFF, 15, 1), [1]);
    }
}

//! The master's bytes: requests out, answers in. No transport; an answer is trusted in nothing.

use crate::line_io::modbus::frame::{HEADER_BYTES, Header};
use thiserror::Error;

/// What a master asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MasterRequest<'a> {
    /// FC 3.
    ReadRegisters {
        /// First register.
        address: u16,
        /// 1 to 125.
        quantity: u16,
    },
    /// FC 5.
    WriteCoil {
        /// The coil.
        address: u16,
        /// Its level.
        level: bool,
    },
    /// FC 6.
    WriteRegister {
        /// The register.
        address: u16,
        /// Its value.
        word: u16,
    },
    /// FC 16.
    WriteRegisters {
        /// First register.
        address: u16,
        /// 1 to 123 values.
        words: &'a [u16],
    },
}

impl MasterRequest<'_> {
    fn function(&self) -> u8 {
        match self {
            Self::ReadRegisters { .. } => 3,
            Self::WriteCoil { .. } => 5,
            Self::WriteRegister { .. } => 6,
            Self::WriteRegisters { .. } => 16,
        }
    }

    /// Address and quantity or value: what an answer to a write repeats.
    fn two_words(&self) -> [u16; 2] {
        match *self {
            Self::ReadRegisters { address, quantity } => [address, quantity],
            Self::WriteCoil { address, level } => [address, if level { 0xFF00 } else { 0 }],
            Self::WriteRegister { address, word } => [address, word],
            Self::WriteRegisters { address, words } => [address, words.len() as u16],
        }
    }

    /// The request's PDU.
    pub fn pdu(&self) -> Vec<u8> {
        let mut pdu = vec![self.function()];
        pdu.extend(self.two_words().iter().flat_map(|word| word.to_be_bytes()));
        if let Self::WriteRegisters { words, .. } = self {
            pdu.push((2 * words.len()) as u8);
            pdu.extend(words.iter().flat_map(|word| word.to_be_bytes()));
        }
        pdu
    }
}

/// What the other side answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Registers read, as many as asked for.
    Words(Vec<u16>),
    /// Written.
    Done,
    /// Refused, with the exception's code.
    Exception(u8),
}

/// An answer nobody may give: the connection is closed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum BadAnswer {
    /// No MBAP header.
    #[error("what it answers is not Modbus TCP")]
    NotModbus,
    /// Of another request.
    #[error("it answers transaction {0}, which was not asked")]
    Transaction(u16),
    /// Of another unit.
    #[error("unit {0} answers, which was not asked")]
    Unit(u8),
    /// Of another function.
    #[error("it answers with function code {0}, which was not asked")]
    Function(u8),
    /// Too long, too short, or not the address and quantity asked.
    #[error("its answer does not fit the request")]
    Content,
}

/// Reads the answer to `request` out of one whole frame (header and PDU).
///
/// # Errors
/// Anything but the answer or an exception to just this request, transaction and unit.
pub fn decode_response(
    request: &MasterRequest<'_>,
    transaction: u16,
    unit: u8,
    frame: &[u8],
) -> Result<Answer, BadAnswer> {
    let (header, pdu) = frame.split_first_chunk::<HEADER_BYTES>().ok_or(BadAnswer::NotModbus)?;
    let header = Header::parse(*header).ok_or(BadAnswer::NotModbus)?;
    let (&function, body) = pdu.split_first().ok_or(BadAnswer::NotModbus)?;
    if header.pdu_bytes != pdu.len() {
        return Err(BadAnswer::NotModbus);
    }
    if header.transaction != transaction {
        return Err(BadAnswer::Transaction(header.transaction));
    }
    if header.unit != unit {
        return Err(BadAnswer::Unit(header.unit));
    }
    if function == request.function() | 0x80 {
        return match body {
            [code] => Ok(Answer::Exception(*code)),
            _ => Err(BadAnswer::Content),
        };
    }
    if function != request.function() {
        return Err(BadAnswer::Function(function));
    }
    if let MasterRequest::ReadRegisters { quantity, .. } = request {
        let (count, data) = body.split_first().ok_or(BadAnswer::Content)?;
        let (pairs, odd) = data.as_chunks::<2>();
        let fits = usize::from(*count) == data.len() && pairs.len() == usize::from(*quantity);
        if !fits || !odd.is_empty() {
            return Err(BadAnswer::Content);
        }
        return Ok(Answer::Words(pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect()));
    }
    let repeated: Vec<u8> = request.two_words().iter().flat_map(|w| w.to_be_bytes()).collect();
    if body == repeated { Ok(Answer::Done) } else { Err(BadAnswer::Content) }
}

/// One connection's requests and answers, as bytes.
#[derive(Debug)]
pub(super) struct Exchange {
    unit: u8,
    transaction: u16,
    /// The request before, where nobody answered it in time: its answer may still come.
    given_up: Option<u16>,
    answered: bool,
    received: Vec<u8>,
}

impl Exchange {
    /// With one unit behind a connection just opened.
    pub(super) fn new(unit: u8) -> Self {
        Self { unit, transaction: 0, given_up: None, answered: true, received: Vec::new() }
    }

    /// The next request's frame. A request without an answer is given up with it.
    pub(super) fn ask(&mut self, request: &MasterRequest<'_>) -> Vec<u8> {
        self.given_up = (!self.answered).then_some(self.transaction);
        self.answered = false;
        self.transaction = self.transaction.wrapping_add(1);
        let pdu = request.pdu();
        let (transaction, unit) = (self.transaction, self.unit);
        Header { transaction, unit, pdu_bytes: pdu.len() }.frame(&pdu)
    }

    /// Bytes that came.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    /// The answer to `request`, asked last; `None` until all of it has come.
    ///
    /// # Errors
    /// As [`decode_response`]; the connection is of no use then.
    pub(super) fn answer(
        &mut self,
        request: &MasterRequest<'_>,
    ) -> Result<Option<Answer>, BadAnswer> {
        loop {
            let Some(header) = self.received.first_chunk::<HEADER_BYTES>() else {
                return Ok(None);
            };
            let header = Header::parse(*header).ok_or(BadAnswer::NotModbus)?;
            let length = HEADER_BYTES + header.pdu_bytes;
            if self.received.len() < length {
                return Ok(None);
            }
            let frame: Vec<u8> = self.received.drain(..length).collect();
            if self.given_up.is_some_and(|old| old == header.transaction) {
                self.given_up = None;
                continue;
            }
            let answer = decode_response(request, self.transaction, self.unit, &frame)?;
            self.answered = true;
            return Ok(Some(answer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const READ: MasterRequest<'static> = MasterRequest::ReadRegisters { address: 64, quantity: 2 };
    const COIL: MasterRequest<'static> = MasterRequest::WriteCoil { address: 3, level: true };
    const WORDS: MasterRequest<'static> =
        MasterRequest::WriteRegisters { address: 0x100, words: &[1, 0xABCD] };
    const WORD: MasterRequest<'static> = MasterRequest::WriteRegister { address: 0x1000, word: 2 };

    fn frame(transaction: u16, unit: u8, pdu: &[u8]) -> Vec<u8> {
        Header { transaction, unit, pdu_bytes: pdu.len() }.frame(pdu)
    }

    #[test]
    fn requests_are_the_bytes_of_the_standard() {
        assert_eq!(READ.pdu(), [3, 0, 64, 0, 2]);
        assert_eq!(COIL.pdu(), [5, 0, 3, 0xFF, 0]);
        assert_eq!(WORD.pdu(), [6, 0x10, 0, 0, 2]);
        assert_eq!(WORDS.pdu(), [16, 1, 0, 0, 2, 4, 0, 1, 0xAB, 0xCD]);
        for request in [READ, COIL, WORD, WORDS] {
            assert!(crate::line_io::modbus::frame::parse(&request.pdu()).is_ok(), "{request:?}");
        }
    }

    #[test]
    fn only_the_answer_asked_for_is_one() {
        let decode = |request, pdu: &[u8]| decode_response(&request, 7, 1, &frame(7, 1, pdu));
        assert_eq!(decode(READ, &[3, 4, 1, 2, 3, 4]), Ok(Answer::Words(vec![0x0102, 0x0304])));
        assert_eq!(decode(COIL, &COIL.pdu()), Ok(Answer::Done));
        assert_eq!(decode(WORD, &WORD.pdu()), Ok(Answer::Done));
        assert_eq!(decode(WORDS, &[16, 1, 0, 0, 2]), Ok(Answer::Done));
        assert_eq!(decode(READ, &[0x83, 2]), Ok(Answer::Exception(2)));
        for bad in [&[3][..], &[3, 4, 1, 2, 3], &[3, 4, 1, 2, 3, 4, 5], &[3, 2, 1, 2], &[0x83]] {
            assert_eq!(decode(READ, bad), Err(BadAnswer::Content), "{bad:?}");
        }
        assert_eq!(decode(READ, &[4, 4, 1, 2, 3, 4]), Err(BadAnswer::Function(4)));
        assert_eq!(decode(COIL, &[5, 0, 3, 0, 0]), Err(BadAnswer::Content), "the other level");
        let other = frame(8, 1, &COIL.pdu());
        assert_eq!(decode_response(&COIL, 7, 1, &other), Err(BadAnswer::Transaction(8)));
        let other = frame(7, 2, &COIL.pdu());
        assert_eq!(decode_response(&COIL, 7, 1, &other), Err(BadAnswer::Unit(2)));
        let cut = &frame(7, 1, &COIL.pdu())[..11];
        assert_eq!(decode_response(&COIL, 7, 1, cut), Err(BadAnswer::NotModbus));
    }

    #[test]
    fn the_late_answer_of_a_request_given_up_is_passed_over() {
        let mut exchange = Exchange::new(1);
        exchange.ask(&COIL);
        assert_eq!(exchange.answer(&COIL), Ok(None));
        exchange.ask(&COIL);
        let late = frame(1, 1, &COIL.pdu());
        exchange.feed(&late[..5]);
        assert_eq!(exchange.answer(&COIL), Ok(None));
        exchange.feed(&late[5..]);
        assert_eq!(exchange.answer(&COIL), Ok(None));
        exchange.feed(&frame(2, 1, &COIL.pdu()));
        assert_eq!(exchange.answer(&COIL), Ok(Some(Answer::Done)));
        exchange.ask(&READ);
        exchange.feed(&late);
        assert_eq!(exchange.answer(&READ), Err(BadAnswer::Transaction(1)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            which in 0usize..4,
        ) {
            let request = [READ, COIL, WORD, WORDS][which];
            let _ = decode_response(&request, 1, 1, &bytes);
            let mut exchange = Exchange::new(1);
            exchange.ask(&request);
            exchange.feed(&bytes);
            let _ = exchange.answer(&request);
        }

        #[test]
        fn any_pdu_of_this_transaction_is_an_answer_or_refused(
            pdu in prop::collection::vec(any::<u8>(), 1..253),
            function in prop::sample::select(vec![3u8, 5, 6, 16, 0x83, 0x90]),
            which in 0usize..4,
        ) {
            let request = [READ, COIL, WORD, WORDS][which];
            let mut pdu = pdu;
            pdu[0] = function;
            match decode_response(&request, 1, 1, &frame(1, 1, &pdu)) {
                Ok(Answer::Words(words)) => prop_assert_eq!((words.len(), which), (2, 0)),
                Ok(Answer::Done) => prop_assert_eq!(&pdu[..5], &request.pdu()[..5]),
                Ok(Answer::Exception(code)) => prop_assert_eq!(&pdu[1..], &[code]),
                Err(_) => {}
            }
        }
    }
}

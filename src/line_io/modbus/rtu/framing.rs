//! Modbus RTU bytes (Modbus over Serial Line V1.02): CRC, frames out of what silence has ended.

/// Longest frame: unit, PDU of 253 bytes, CRC.
pub(super) const FRAME_BYTES: usize = 256;
/// Shortest frame: unit, function code, CRC.
const SHORTEST: usize = 4;

/// CRC-16 of Modbus; sent low byte first. A frame with its CRC has CRC 0.
pub fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, byte| {
        (0..8).fold(
            crc ^ u16::from(*byte),
            |crc, _| {
                if crc & 1 == 1 { crc >> 1 ^ 0xA001 } else { crc >> 1 }
            },
        )
    })
}

/// The frame of a PDU.
pub fn seal(unit: u8, pdu: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(pdu.len() + 3);
    frame.push(unit);
    frame.extend(pdu);
    frame.extend(crc(&frame).to_le_bytes());
    frame
}

/// What stands in one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtuFrame<'a> {
    /// Whom it is for, or whom it is from.
    pub unit: u8,
    /// Function code and what follows, without CRC.
    pub pdu: &'a [u8],
}

/// Takes the frames out of bytes between two silences: one, or several where the silence between
/// them was not seen (a reader that was late sees it as none). Each starts where the one before
/// ended. To unit `own` and to all there are only requests; others ask and answer. Returns how many
/// bytes at the end are no frame: 0, unless a CRC was wrong.
pub fn frames(bytes: &[u8], own: u8) -> (Vec<RtuFrame<'_>>, usize) {
    let (mut found, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        // Known lengths, the shorter first: zeros behind a frame do not spoil its CRC.
        let request = request_bytes(rest);
        let answer = if matches!(rest, [0, ..]) || rest.first() == Some(&own) {
            None
        } else {
            answer_bytes(rest)
        };
        let whole = request.is_none().then_some(rest.len());
        let mut lengths = [request, answer, whole];
        lengths.sort_unstable();
        let frame = lengths.into_iter().flatten().find_map(|length| sound(rest.get(..length)?));
        let Some(frame) = frame else { break };
        rest = rest.get(frame.pdu.len() + 3..).unwrap_or_default();
        found.push(frame);
    }
    (found, rest.len())
}

/// A frame of the right length with the right CRC.
fn sound(frame: &[u8]) -> Option<RtuFrame<'_>> {
    let sized = (SHORTEST..=FRAME_BYTES).contains(&frame.len()) && crc(frame) == 0;
    let (&unit, rest) = frame.split_first()?;
    let pdu = rest.get(..rest.len().checked_sub(2)?)?;
    sized.then_some(RtuFrame { unit, pdu })
}

/// Length of the request that may start here.
fn request_bytes(bytes: &[u8]) -> Option<usize> {
    let counted = |at: usize| Some(at + 3 + usize::from(*bytes.get(at)?));
    match bytes.get(1)? {
        1..=6 => Some(8),
        15 | 16 => counted(6),
        23 => counted(10),
        _ => None,
    }
}

/// Length of the answer that may start here: another unit's, on a shared line.
fn answer_bytes(bytes: &[u8]) -> Option<usize> {
    match bytes.get(1)? {
        1..=4 | 23 => Some(5 + usize::from(*bytes.get(2)?)),
        5 | 6 | 15 | 16 => Some(8),
        0x80.. => Some(5),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_crc_of_the_contracts_example() {
        assert_eq!(seal(1, &[6, 0, 4, 0, 1]), [0x01, 0x06, 0, 4, 0, 1, 0x09, 0xCB]);
        assert_eq!(seal(1, &[0x86, 2]), [0x01, 0x86, 0x02, 0xC3, 0xA1]);
    }

    #[test]
    fn a_wrong_crc_and_a_cut_frame_are_no_frames() {
        let whole = seal(1, &[3, 0, 32, 0, 32]);
        for cut in 0..whole.len() {
            assert_eq!(frames(&whole[..cut], 1), (vec![], cut));
        }
        for bit in 0..whole.len() * 8 {
            let mut spoilt = whole.clone();
            spoilt[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(frames(&spoilt, 1), (vec![], 8), "bit {bit}");
        }
        let mut noisy = whole.clone();
        noisy.insert(0, 0xFF);
        assert_eq!(frames(&noisy, 1).0, vec![]);
    }

    proptest! {
        #[test]
        fn frames_without_silence_between_them_are_taken_apart(
            sent in prop::collection::vec((0u8..6, 0usize..8), 1..8),
            noise in prop::collection::vec(any::<u8>(), 0..3),
        ) {
            let pdus: [&[u8]; 8] = [
                &[3, 0, 0, 0, 1],
                &[6, 0, 201, 0, 7],
                &[15, 0, 0, 0, 3, 1, 5],
                &[16, 0, 204, 0, 2, 4, 0, 0, 4, 0xD2],
                &[23, 0, 32, 0, 1, 0, 204, 0, 2, 4, 0, 0, 0, 9],
                &[5, 0, 1, 0xFF, 0],
                // Answers: from other units only.
                &[3, 4, 0, 1, 0, 2],
                &[0x86, 2],
            ];
            // Units 0 (all) and 1 (this one) are only asked.
            let pdu = |unit: u8, which: usize| pdus[if unit < 2 { which % 6 } else { which }];
            let mut bytes = Vec::new();
            for &(unit, which) in &sent {
                bytes.extend(seal(unit, pdu(unit, which)));
            }
            bytes.extend(&noise);
            let (found, rest) = frames(&bytes, 1);
            prop_assert_eq!(rest, noise.len());
            let expected: Vec<_> =
                sent.iter().map(|&(unit, which)| RtuFrame { unit, pdu: pdu(unit, which) }).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn any_bytes_are_taken_apart(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let (found, rest) = frames(&bytes, 1);
            let taken: usize = found.iter().map(|frame| frame.pdu.len() + 3).sum();
            prop_assert_eq!(taken + rest, bytes.len());
        }
    }
}

//! The number of a part within one start of the daemon.

use std::fmt;
use std::num::NonZeroU32;

/// Sequence number of a part: 1 for the first part after a start, +1 per part, wraps to 1.
/// Zero means "none" on every wire and is not representable here (line-io 1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceNumber(NonZeroU32);

impl SequenceNumber {
    /// The first part after a start.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// `None` for zero.
    pub fn new(value: u32) -> Option<Self> {
        NonZeroU32::new(value).map(Self)
    }

    /// The number as it stands on the wire.
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// The next part's number; wraps from `u32::MAX` to 1.
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).unwrap_or(NonZeroU32::MIN))
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_to_one_and_never_to_none() {
        let last = SequenceNumber::new(u32::MAX).unwrap();
        assert_eq!(last.next(), SequenceNumber::FIRST);
        assert_eq!(SequenceNumber::FIRST.next().get(), 2);
        assert_eq!(SequenceNumber::new(0), None);
    }
}

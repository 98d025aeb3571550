//! Two channels of an encoder to a net count, every edge counted (4x). Pure.

/// A channel of the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Leads when the belt runs forward.
    A,
    /// Follows by a quarter of a period.
    B,
}

/// An edge that cannot follow the one before: at least one was lost, and the count is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EdgeLost;

/// The decoder: levels as last seen, and the net count since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quadrature {
    a: bool,
    b: bool,
    count: i64,
}

impl Quadrature {
    /// Net count since the start, forward positive.
    pub fn count(&self) -> i64 {
        self.count
    }

    /// Takes levels that were read, not followed: the count stays.
    pub fn resynchronise(&mut self, a: bool, b: bool) {
        (self.a, self.b) = (a, b);
    }

    /// Counts one edge of one channel.
    ///
    /// # Errors
    /// The channel has this level already. The count stays as it was.
    pub fn edge(&mut self, channel: Channel, level: bool) -> Result<i64, EdgeLost> {
        self.sample(
            if channel == Channel::A { level } else { self.a },
            if channel == Channel::B { level } else { self.b },
        )
    }

    /// Forward is 00, 10, 11, 01 (A first): an edge of A goes forward where it makes the channels
    /// differ, an edge of B where it makes them equal.
    fn sample(&mut self, a: bool, b: bool) -> Result<i64, EdgeLost> {
        let forward = match (a != self.a, b != self.b) {
            (true, false) => a != b,
            (false, true) => a == b,
            _ => return Err(EdgeLost),
        };
        (self.a, self.b) = (a, b);
        self.count += if forward { 1 } else { -1 };
        Ok(self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Levels at a position of the belt: the definition of the code, not the decoder's rule.
    fn levels(position: i64) -> (bool, bool) {
        [(false, false), (true, false), (true, true), (false, true)]
            [position.rem_euclid(4) as usize]
    }

    fn at(position: i64) -> Quadrature {
        let mut decoder = Quadrature::default();
        let (a, b) = levels(position);
        decoder.resynchronise(a, b);
        decoder
    }

    /// The belt moves by one count: the edge that the wires show.
    fn step(from: i64, to: i64) -> (Channel, bool) {
        let ((a, b), (next_a, next_b)) = (levels(from), levels(to));
        assert!((a != next_a) != (b != next_b), "a Gray code");
        if a != next_a { (Channel::A, next_a) } else { (Channel::B, next_b) }
    }

    proptest! {
        #[test]
        fn every_movement_of_the_belt_gives_its_exact_net_count(
            start in -8_i64..8,
            steps in prop::collection::vec(any::<bool>(), 0..500),
        ) {
            let (mut decoder, mut position) = (at(start), start);
            for forward in steps {
                let next = if forward { position + 1 } else { position - 1 };
                let (channel, level) = step(position, next);
                position = next;
                prop_assert_eq!(decoder.edge(channel, level), Ok(position - start));
            }
            prop_assert_eq!(decoder.count(), position - start);
        }

        #[test]
        fn a_lost_edge_is_seen_at_the_latest_when_its_channel_moves_again(
            start in -8_i64..8,
            before in prop::collection::vec(any::<bool>(), 0..20),
            after in prop::collection::vec(any::<bool>(), 0..40),
        ) {
            let (mut decoder, mut position) = (at(start), start);
            for forward in before {
                let next = if forward { position + 1 } else { position - 1 };
                let (channel, level) = step(position, next);
                position = next;
                decoder.edge(channel, level).unwrap();
            }
            let (lost, _) = step(position, position + 1);
            position += 1;
            for forward in after {
                let next = if forward { position + 1 } else { position - 1 };
                let (channel, level) = step(position, next);
                position = next;
                let counted = decoder.edge(channel, level);
                if channel == lost {
                    prop_assert_eq!(counted, Err(EdgeLost));
                    return Ok(());
                }
                prop_assert!(counted.is_ok());
            }
        }

        #[test]
        fn levels_that_both_changed_are_a_loss_and_change_nothing(position in -8_i64..8) {
            let mut decoder = at(position);
            let (a, b) = levels(position + 2);
            prop_assert_eq!(decoder.sample(a, b), Err(EdgeLost));
            prop_assert_eq!(decoder, at(position));
        }
    }

    #[test]
    fn a_turn_forward_is_four_and_a_turn_back_is_none() {
        let mut decoder = Quadrature::default();
        for (channel, level, count) in [
            (Channel::A, true, 1),
            (Channel::B, true, 2),
            (Channel::A, false, 3),
            (Channel::B, false, 4),
            (Channel::B, true, 3),
            (Channel::A, true, 2),
            (Channel::B, false, 1),
            (Channel::A, false, 0),
        ] {
            assert_eq!(decoder.edge(channel, level), Ok(count));
        }
    }
}

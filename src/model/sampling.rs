//! Which good picture fills which place of which step: it follows from seed and place alone.

use super::random::stream;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How often a product is trained on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sampling {
    /// Every picture once an epoch: a product with more pictures is seen more (specification 4.1).
    #[default]
    Proportional,
    /// Every product equally often, each going through its own pictures.
    Balanced,
}

impl fmt::Display for Sampling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Proportional => "proportional",
            Self::Balanced => "balanced",
        })
    }
}

/// The order of the training pictures.
#[derive(Clone, Debug)]
pub struct Order {
    sampling: Sampling,
    seed: u64,
    /// Number of training pictures by product; only products that have some are drawn.
    counts: Vec<usize>,
    /// Product and picture of every training picture.
    entries: Vec<(usize, usize)>,
    products: Vec<usize>,
    /// The permutations used last, by what they permute; most places need the same again.
    kept: Vec<Option<(u64, Vec<usize>)>>,
}

impl Order {
    /// The order of products with `counts` training pictures each.
    pub fn new(sampling: Sampling, seed: u64, counts: &[usize]) -> Self {
        let products: Vec<usize> = (0..counts.len()).filter(|&p| counts[p] > 0).collect();
        let entries = (0..counts.len()).flat_map(|p| (0..counts[p]).map(move |i| (p, i)));
        Self {
            sampling,
            seed,
            entries: entries.collect(),
            products,
            kept: vec![None; counts.len() + 1],
            counts: counts.to_vec(),
        }
    }

    /// Whether there is nothing to train on.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Product and picture at the `place`-th place since the beginning.
    pub fn at(&mut self, place: u64) -> (usize, usize) {
        let all = self.counts.len();
        match self.sampling {
            Sampling::Proportional => {
                let index = self.shuffled(all, "epoch", self.entries.len(), place);
                self.entries[index]
            }
            Sampling::Balanced => {
                let count = self.products.len();
                let index = self.shuffled(all, "round", count, place);
                let product = self.products[index];
                let turn = place / count as u64;
                let purpose = format!("epoch of product {product}");
                (product, self.shuffled(product, &purpose, self.counts[product], turn))
            }
        }
    }

    /// The `place`-th index when 0..`count` is gone through again and again, newly shuffled each
    /// time.
    fn shuffled(&mut self, slot: usize, purpose: &str, count: usize, place: u64) -> usize {
        let (epoch, position) = (place / count as u64, (place % count as u64) as usize);
        match &self.kept[slot] {
            Some((kept, order)) if *kept == epoch => order[position],
            _ => {
                let mut order: Vec<usize> = (0..count).collect();
                order.shuffle(&mut stream(self.seed, purpose, epoch));
                let index = order[position];
                self.kept[slot] = Some((epoch, order));
                index
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_epoch_shows_every_picture_once() {
        let mut order = Order::new(Sampling::Proportional, 3, &[5, 0, 3]);
        for _ in 0..3 {
            let mut seen: Vec<_> = (0..8).map(|place| order.at(place)).collect();
            seen.sort_unstable();
            let expected = (0..5).map(|i| (0, i)).chain((0..3).map(|i| (2, i)));
            assert_eq!(seen, expected.collect::<Vec<_>>());
        }
    }

    #[test]
    fn balanced_sampling_shows_every_product_equally_often_and_all_its_pictures() {
        let mut order = Order::new(Sampling::Balanced, 3, &[40, 0, 4, 1]);
        let seen: Vec<_> = (0..120).map(|place| order.at(place)).collect();
        for product in [0, 2, 3] {
            assert_eq!(seen.iter().filter(|(p, _)| *p == product).count(), 40);
        }
        for picture in 0..4 {
            assert_eq!(seen.iter().filter(|entry| **entry == (2, picture)).count(), 10);
        }
        assert!((0..40).all(|picture| seen.contains(&(0, picture))));
    }

    proptest! {
        #[test]
        fn a_place_does_not_depend_on_what_was_asked_before(
            counts in proptest::collection::vec(0_usize..9, 1..5),
            places in proptest::collection::vec(0_u64..200, 1..20),
            balanced: bool,
        ) {
            prop_assume!(counts.iter().any(|count| *count > 0));
            let sampling = if balanced { Sampling::Balanced } else { Sampling::Proportional };
            let mut used = Order::new(sampling, 7, &counts);
            for place in places {
                let found = used.at(place);
                prop_assert_eq!(found, Order::new(sampling, 7, &counts).at(place));
                prop_assert!(found.1 < counts[found.0]);
            }
        }
    }
}

//! The belt: when which part passes the trigger, what is wrong with it, where the encoder stands.

use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::data_set::FIRST_LIVE_PART;
use super::{DefectKind, ProductKind};

/// How the belt runs.
#[derive(Clone, Debug, PartialEq)]
pub struct BeltSettings {
    /// Parts per second on average, above 0.
    pub rate_per_s: f64,
    /// Share of defective parts, 0 to 1.
    pub defect_share: f64,
    /// Largest deviation of one spacing from the average, as a share of it.
    pub spacing_jitter: f64,
    /// Belt speed in millimetres per second.
    pub speed_mm_per_s: f64,
    /// Encoder counts per millimetre of belt.
    pub counts_per_mm: f64,
    /// From trigger to exposure.
    pub exposure_delay: Duration,
    /// Largest deviation from `exposure_delay`, each way.
    pub exposure_jitter: Duration,
    /// Everything random follows from it.
    pub seed: u64,
    /// First product on the belt.
    pub product: ProductKind,
}

impl BeltSettings {
    /// Five parts a second, 5 % defective, 400 mm/s, 10 counts per millimetre.
    pub fn new(product: ProductKind, seed: u64) -> Self {
        Self {
            rate_per_s: 5.0,
            defect_share: 0.05,
            spacing_jitter: 0.1,
            speed_mm_per_s: 400.0,
            counts_per_mm: 10.0,
            exposure_delay: Duration::from_millis(12),
            exposure_jitter: Duration::from_millis(1),
            seed,
            product,
        }
    }
}

/// A part on its way to the trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduledPart {
    /// Number on this belt, from 0.
    pub index: u64,
    /// Number to [`draw`](super::draw) it with (and the belt's seed).
    pub part: u64,
    /// Which product it is.
    pub product: ProductKind,
    /// What is wrong with it.
    pub defect: Option<DefectKind>,
    /// Moment of the trigger since the belt's start.
    pub trigger_after: Duration,
    /// Moment of the exposure after the trigger.
    pub exposure_after_trigger: Duration,
    /// Encoder count at the trigger.
    pub encoder_count: i64,
}

/// An endless schedule of parts.
#[derive(Clone, Debug)]
pub struct Belt {
    settings: BeltSettings,
    random: Pcg64Mcg,
    next_index: u64,
    last_trigger: Duration,
}

impl Belt {
    /// A belt about to start. A rate that is not above 0 stands for one part an hour.
    pub fn new(settings: BeltSettings) -> Self {
        let random = Pcg64Mcg::seed_from_u64(settings.seed ^ 0x0062_656c_7400);
        Self { settings, random, next_index: 0, last_trigger: Duration::ZERO }
    }

    /// The part that comes next.
    pub fn next_part(&mut self) -> ScheduledPart {
        let mean_s = 1.0 / self.settings.rate_per_s.max(1.0 / 3600.0);
        let jitter = self.symmetric() * self.settings.spacing_jitter.clamp(0.0, 1.0);
        self.last_trigger += Duration::from_secs_f64(mean_s * (1.0 + jitter));
        let late = self.symmetric() * self.settings.exposure_jitter.as_secs_f64();
        let exposure_s = (self.settings.exposure_delay.as_secs_f64() + late).max(0.0);
        let product = self.settings.product;
        let kinds = product.defect_kinds();
        let which = kinds[self.random.random_range(0..kinds.len())];
        let defective = self.random.random_bool(self.settings.defect_share.clamp(0.0, 1.0));
        let index = self.next_index;
        self.next_index += 1;
        ScheduledPart {
            index,
            part: FIRST_LIVE_PART + index,
            product,
            defect: defective.then_some(which),
            trigger_after: self.last_trigger,
            exposure_after_trigger: Duration::from_secs_f64(exposure_s),
            encoder_count: self.encoder_count_at(self.last_trigger),
        }
    }

    /// The product of the parts that come next.
    pub fn set_product(&mut self, product: ProductKind) {
        self.settings.product = product;
    }

    /// Leaves a gap: nothing more is triggered before `until` (since the belt's start) plus one
    /// spacing. The belt itself runs on.
    pub fn hold(&mut self, until: Duration) {
        self.last_trigger = self.last_trigger.max(until);
    }

    /// Encoder count at a moment since the belt's start; the belt runs at constant speed.
    pub fn encoder_count_at(&self, since_start: Duration) -> i64 {
        let counts_per_s = self.settings.speed_mm_per_s * self.settings.counts_per_mm;
        (since_start.as_secs_f64() * counts_per_s).floor() as i64
    }

    /// How the belt runs; the product is the one of the next part.
    pub fn settings(&self) -> &BeltSettings {
        &self.settings
    }

    fn symmetric(&mut self) -> f64 {
        self.random.random_range(-1.0..=1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn belt(seed: u64) -> Belt {
        let settings = BeltSettings {
            rate_per_s: 8.0,
            defect_share: 0.12,
            ..BeltSettings::new(ProductKind::CircuitBoard, seed)
        };
        Belt::new(settings)
    }

    #[test]
    fn rate_share_and_kinds_of_defect_are_as_set() {
        let mut belt = belt(3);
        let parts: Vec<_> = (0..4000).map(|_| belt.next_part()).collect();
        let last = parts.last().unwrap().trigger_after.as_secs_f64();
        assert!((last - 500.0).abs() < 3.0, "{last} s for 4000 parts at 8 per second");
        let defective = parts.iter().filter(|part| part.defect.is_some()).count();
        assert!((400..560).contains(&defective), "{defective} of 4000 at 12 %");
        for kind in ProductKind::CircuitBoard.defect_kinds() {
            let count = parts.iter().filter(|part| part.defect == Some(*kind)).count();
            assert!(count > 40, "{} only {count} times", kind.name());
        }
        for pair in parts.windows(2) {
            let spacing_s = (pair[1].trigger_after - pair[0].trigger_after).as_secs_f64();
            assert!((0.1124..=0.1376).contains(&spacing_s), "{spacing_s}");
            assert_eq!(pair[1].index, pair[0].index + 1);
        }
        for part in &parts {
            let exposure_us = part.exposure_after_trigger.as_micros();
            assert!((11_000..=13_000).contains(&exposure_us));
            assert_eq!(part.encoder_count, belt.encoder_count_at(part.trigger_after));
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_belt() {
        let (mut one, mut same, mut other) = (belt(7), belt(7), belt(8));
        let take = |belt: &mut Belt| (0..50).map(|_| belt.next_part()).collect::<Vec<_>>();
        let first = take(&mut one);
        assert_eq!(first, take(&mut same));
        assert_ne!(first, take(&mut other));
    }

    #[test]
    fn a_product_change_leaves_a_gap_and_goes_on_counting() {
        let mut belt = belt(1);
        let before = belt.next_part();
        belt.set_product(ProductKind::Flange);
        belt.hold(Duration::from_secs(5));
        let after = belt.next_part();
        assert_eq!(
            (before.product, after.product),
            (ProductKind::CircuitBoard, ProductKind::Flange)
        );
        assert_eq!(after.index, 1);
        assert!(after.trigger_after > Duration::from_secs(5));
        belt.hold(Duration::from_secs(1));
        assert!(belt.next_part().trigger_after > after.trigger_after, "time never runs back");
    }

    #[test]
    fn the_encoder_counts_belt_travel() {
        let belt = belt(1);
        assert_eq!(belt.encoder_count_at(Duration::ZERO), 0);
        assert_eq!(belt.encoder_count_at(Duration::from_millis(2500)), 10_000);
    }
}

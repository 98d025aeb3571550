//! The same parts as a data set: training, test and defective parts that never meet.

use super::{DefectKind, DrawnPart, ProductKind, draw};

/// Part numbers from 0: training.
const FIRST_TRAINING_PART: u64 = 0;
/// Part numbers from 1,000,000: good test parts.
const FIRST_TEST_PART: u64 = 1_000_000;
/// Part numbers from 2,000,000: defective test parts.
const FIRST_DEFECTIVE_PART: u64 = 2_000_000;
/// Part numbers from 1,000,000,000: the live belt. No data set reaches them, so a belt with the
/// seed of a data set still shows new parts.
pub const FIRST_LIVE_PART: u64 = 1_000_000_000;
/// Most parts of one split; more would run into the next one's numbers.
const LARGEST_SPLIT: usize = 1_000_000;

/// Where a part of a data set belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// Good parts to learn from.
    TrainGood,
    /// Good parts to test with.
    TestGood,
    /// Defective parts to test with.
    TestDefect(DefectKind),
}

impl Split {
    /// Folder in the MVTec layout below the product's own: `train/good`, `test/good`,
    /// `test/DEFECT`.
    pub fn folder(self) -> String {
        match self {
            Self::TrainGood => "train/good".to_owned(),
            Self::TestGood => "test/good".to_owned(),
            Self::TestDefect(kind) => format!("test/{}", kind.name()),
        }
    }
}

/// One part of a data set.
#[derive(Clone, Debug)]
pub struct DataSetPart {
    /// Where it belongs.
    pub split: Split,
    /// Its number within that folder, from 0.
    pub index: usize,
    /// Picture, mask, defect.
    pub drawn: DrawnPart,
}

/// Draws a data set of one product, part by part: `good` training parts, `test_good` good and
/// `defects` defective test parts, the latter evenly over the product's defects (the first kinds
/// get what is left over). At most a million of each.
pub fn data_set_parts(
    kind: ProductKind,
    seed: u64,
    good: usize,
    test_good: usize,
    defects: usize,
) -> impl Iterator<Item = DataSetPart> {
    let good_parts = |split: Split, first: u64, count: usize| {
        (0..count.min(LARGEST_SPLIT)).map(move |index| (split, index, first + index as u64))
    };
    let kinds = kind.defect_kinds();
    let defective = (0..defects.min(LARGEST_SPLIT)).map(move |number| {
        let split = Split::TestDefect(kinds[number % kinds.len()]);
        (split, number / kinds.len(), FIRST_DEFECTIVE_PART + number as u64)
    });
    good_parts(Split::TrainGood, FIRST_TRAINING_PART, good)
        .chain(good_parts(Split::TestGood, FIRST_TEST_PART, test_good))
        .chain(defective)
        .map(move |(split, index, part)| {
            let defect = match split {
                Split::TestDefect(defect) => Some(defect),
                Split::TrainGood | Split::TestGood => None,
            };
            DataSetPart { split, index, drawn: draw(kind, seed, part, defect) }
        })
}

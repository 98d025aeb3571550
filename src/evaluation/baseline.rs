//! The row to beat: plain nearest neighbours on the features of strides 8 and 16.

use super::gathered::Gathered;
use super::{EvaluationError, EvaluationStage, ProductMetrics, neighbours};
use crate::dataset::{ProductData, read_picture};
use crate::part::LineTime;
use crate::product::{TEACHING_SEED, TeachError, Teacher, TokenSizes, unit_tokens};
use rand::SeedableRng;
use rand_pcg::Pcg64;
use std::path::{Path, PathBuf};

/// Patches remembered (baseline, table 1).
const PATCHES: usize = 20_000;

/// Nearest neighbours of one product.
pub(super) struct Run<'a> {
    teacher: &'a mut dyn Teacher,
    pictures: &'a ProductData,
    good_parts: &'a [PathBuf],
    progress: &'a mut dyn FnMut(EvaluationStage),
    sizes: TokenSizes,
}

impl<'a> Run<'a> {
    pub fn new(
        teacher: &'a mut dyn Teacher,
        pictures: &'a ProductData,
        good_parts: &'a [PathBuf],
        progress: &'a mut dyn FnMut(EvaluationStage),
    ) -> Self {
        let sizes = TokenSizes::of(teacher.manifest());
        Self { teacher, pictures, good_parts, progress, sizes }
    }

    /// Distance to the nearest of 20,000 random patches of the good training pictures, as a map
    /// (bilinear, Gaussian); image score = its maximum.
    pub fn evaluate(mut self, now: fn() -> LineTime) -> Result<ProductMetrics, EvaluationError> {
        let memory = self.patches()?;
        let side = self.teacher.manifest().side;
        let mut gathered = Gathered::default();
        let nothing = image::RgbImage::default();
        for (index, test) in self.pictures.test.iter().enumerate() {
            let started = now();
            let tokens = self.tokens(&test.path)?;
            let grid = neighbours::search_grid(&tokens, &memory, self.sizes.width());
            let map = neighbours::smooth_map(&grid, &self.sizes, side);
            let score = map.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            gathered.took(now().since(started));
            gathered.add(test, score, &map, &nothing, side)?;
            (self.progress)(EvaluationStage::Baseline(index + 1, self.pictures.test.len()));
        }
        let mut product = gathered.metrics(&self.pictures.name, None);
        product.taught_by = self.good_parts.len();
        Ok(product)
    }

    fn patches(&mut self) -> Result<Vec<f32>, EvaluationError> {
        let width = self.sizes.width();
        let mut all = Vec::new();
        for path in self.good_parts {
            all.extend(self.tokens(path)?);
        }
        let count = all.len() / width;
        if count <= PATCHES {
            return Ok(all);
        }
        let mut generator = Pcg64::seed_from_u64(TEACHING_SEED);
        let drawn = rand::seq::index::sample(&mut generator, count, PATCHES);
        Ok(drawn.iter().flat_map(|patch| &all[patch * width..][..width]).copied().collect())
    }

    fn tokens(&mut self, path: &Path) -> Result<Vec<f32>, EvaluationError> {
        let product = self.pictures.name.clone();
        self.read_tokens(path).map_err(|source| EvaluationError::Product { product, source })
    }

    fn read_tokens(&mut self, path: &Path) -> Result<Vec<f32>, TeachError> {
        let picture = read_picture(path)?;
        let resized = self.teacher.resize(&picture, None);
        let input = self.teacher.normalise(&resized);
        unit_tokens(&self.teacher.encode(&input)?.features, &self.sizes)
    }
}

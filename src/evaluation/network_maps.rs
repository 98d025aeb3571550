//! What the parts of the network's map are worth, each by itself: the ablation of specification 5.3.

use super::gathered::Gathered;
use super::report::MapRows;
use super::{EvaluationError, EvaluationStage, ProductMetrics};
use crate::dataset::{ProductData, read_picture};
use crate::part::NamedTensors;
use crate::product::Teacher;

/// Side of the window whose mean is the score (specification 5.3).
const WINDOW: usize = 16;

/// What a map is made of.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Reconstruction,
    Refined,
    /// 0.5·rec + 0.5·K·ref.
    Both(f32),
}

impl Part {
    fn map(self, reconstruction: &[f32], refined: &[f32]) -> Vec<f32> {
        match self {
            Self::Reconstruction => reconstruction.to_vec(),
            Self::Refined => refined.to_vec(),
            Self::Both(constant_k) => {
                let pairs = reconstruction.iter().zip(refined);
                pairs.map(|(rec, refined)| 0.5 * (rec + constant_k * refined)).collect()
            }
        }
    }
}

/// A product and what it was taught.
pub(super) type TaughtProduct<'a> = (&'a ProductData, NamedTensors);

/// Inspects the test pictures of `products` twice: once for the extremes of the reconstruction's
/// map, which the published constant is made of, once for the figures.
pub(super) fn evaluate(
    teacher: &mut dyn Teacher,
    products: &[TaughtProduct<'_>],
    progress: &mut dyn FnMut(&str, EvaluationStage),
) -> Result<Vec<MapRows>, EvaluationError> {
    let (mut lowest, mut highest) = (f32::INFINITY, f32::NEG_INFINITY);
    inspect_all(teacher, products, progress, &mut |_, _, reconstruction, _| {
        for value in reconstruction {
            lowest = lowest.min(*value);
            highest = highest.max(*value);
        }
        Ok(())
    })?;
    let stored = teacher.manifest().fusion.constant_k;
    let of_test_set = (lowest + highest) / 2.0;
    let parts = [
        ("reconstruction alone".to_owned(), Part::Reconstruction),
        ("refiner alone".to_owned(), Part::Refined),
        (format!("both, stored K = {stored:.4}"), Part::Both(stored)),
        (format!("both, K of the test set = {of_test_set:.4}"), Part::Both(of_test_set)),
    ];
    let side = teacher.manifest().side;
    let mut gathered: Vec<Vec<Gathered>> =
        products.iter().map(|_| parts.iter().map(|_| Gathered::default()).collect()).collect();
    let nothing = image::RgbImage::default();
    let mut finished: Vec<Vec<ProductMetrics>> = parts.iter().map(|_| Vec::new()).collect();
    inspect_all(teacher, products, progress, &mut |product, picture, reconstruction, refined| {
        let (data, _) = &products[product];
        for ((_, part), gathered) in parts.iter().zip(&mut gathered[product]) {
            let map = part.map(reconstruction, refined);
            let means = window_means(&map, side);
            let score = means.into_iter().fold(f32::NEG_INFINITY, f32::max);
            gathered.add(&data.test[picture], score, &map, &nothing, side)?;
        }
        if picture + 1 == data.test.len() {
            for (gathered, finished) in gathered[product].drain(..).zip(&mut finished) {
                finished.push(gathered.metrics(&data.name, None));
            }
        }
        Ok(())
    })?;
    let rows = parts.into_iter().zip(finished);
    Ok(rows.map(|((map, _), products)| MapRows::new(map, products)).collect())
}

/// Takes product, picture, the reconstruction's map and the refiner's.
type Take<'a> = &'a mut dyn FnMut(usize, usize, &[f32], &[f32]) -> Result<(), EvaluationError>;

fn inspect_all(
    teacher: &mut dyn Teacher,
    products: &[TaughtProduct<'_>],
    progress: &mut dyn FnMut(&str, EvaluationStage),
    take: Take<'_>,
) -> Result<(), EvaluationError> {
    for (index, (data, tensors)) in products.iter().enumerate() {
        let named = |source| EvaluationError::Product { product: data.name.clone(), source };
        teacher.set_product(tensors).map_err(|error| named(error.into()))?;
        for (number, test) in data.test.iter().enumerate() {
            let picture = read_picture(&test.path).map_err(|error| named(error.into()))?;
            let resized = teacher.resize(&picture, None);
            let input = teacher.normalise(&resized);
            let inspection = teacher.inspect(&input).map_err(|error| named(error.into()))?;
            take(index, number, inspection.reconstruction_map, inspection.refined_map)?;
            progress(&data.name, EvaluationStage::NetworkMaps(number + 1, data.test.len()));
        }
    }
    Ok(())
}

/// Means over every 16x16 window, stride 1, row-major; nothing where no window fits.
pub fn window_means(map: &[f32], side: usize) -> Vec<f32> {
    if side < WINDOW || map.len() != side * side {
        return Vec::new();
    }
    let reach = side - WINDOW + 1;
    let mut rows = vec![0.0f32; side * reach];
    for (row, out) in map.chunks_exact(side).zip(rows.chunks_exact_mut(reach)) {
        for (x, out) in out.iter_mut().enumerate() {
            *out = row[x..x + WINDOW].iter().sum();
        }
    }
    let mut means = vec![0.0f32; reach * reach];
    for (y, out) in means.chunks_exact_mut(reach).enumerate() {
        for row in rows[y * reach..(y + WINDOW) * reach].chunks_exact(reach) {
            out.iter_mut().zip(row).for_each(|(out, value)| *out += value);
        }
        out.iter_mut().for_each(|value| *value /= (WINDOW * WINDOW) as f32);
    }
    means
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDE: usize = 32;

    #[test]
    fn window_means_are_means() {
        let mut map = vec![0.0; SIDE * SIDE];
        for y in 4..20 {
            map[y * SIDE + 4..y * SIDE + 20].fill(2.0);
        }
        let means = window_means(&map, SIDE);
        assert_eq!(means.len(), 17 * 17);
        assert!((means[4 * 17 + 4] - 2.0).abs() < 1e-6);
        assert!((means[0] - 2.0 * 144.0 / 256.0).abs() < 1e-6);
    }

    #[test]
    fn the_refiner_counts_by_its_constant() {
        let map = Part::Both(4.0).map(&[1.0, 2.0], &[0.5, 0.0]);
        assert_eq!(map, [1.5, 1.0]);
        assert_eq!(Part::Reconstruction.map(&[1.0], &[0.5]), [1.0]);
        assert_eq!(Part::Refined.map(&[1.0], &[0.5]), [0.5]);
    }
}

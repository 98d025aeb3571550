//! Pillow's antialiased bilinear resize of 8-bit pictures, bit for bit (specification 2.1).
//!
//! Horizontal pass first, its result rounded to bytes, then the vertical pass; weights are fixed
//! point with 22 fractional bits. Two source rows share one 64-bit word in the horizontal pass
//! (a sum needs 31 bits), so one multiplication serves both: whole numbers, hence the same result.

use image::RgbImage;

/// Fractional bits of a weight.
const WEIGHT_BITS: u32 = 22;
/// One half in the fixed point, so that the final shift rounds.
const HALF: u32 = 1 << (WEIGHT_BITS - 1);

/// Which source pixels make each target pixel of one axis, and with which weights.
#[derive(Debug)]
pub(super) struct Axis {
    source: usize,
    target: usize,
    /// Taps per target pixel; the same for all, shorter ones are filled with weight zero.
    pub(super) taps: usize,
    /// First tap of each target pixel; `start + taps <= source`.
    pub(super) starts: Vec<usize>,
    /// `taps` weights per target pixel.
    pub(super) weights: Vec<u32>,
}

impl Axis {
    /// Both sizes at least 1.
    pub(super) fn new(source: usize, target: usize) -> Self {
        let scale = source as f64 / target as f64;
        let filter_scale = scale.max(1.0);
        let spans: Vec<_> = (0..target)
            .map(|index| {
                let centre = (index as f64 + 0.5) * scale;
                let first = ((centre - filter_scale + 0.5) as i64).max(0) as usize;
                let end = ((centre + filter_scale + 0.5) as i64).min(source as i64) as usize;
                (centre, first, end)
            })
            .collect();
        let taps = spans.iter().map(|(_, first, end)| end - first).max().unwrap_or(1);
        let mut starts = Vec::with_capacity(target);
        let mut weights = vec![0; target * taps];
        for ((centre, first, end), weights) in spans.iter().zip(weights.chunks_exact_mut(taps)) {
            let start = (*first).min(source - taps);
            let triangle = |x: usize| {
                let distance = (x as f64 - centre + 0.5) * (1.0 / filter_scale);
                (1.0 - distance.abs()).max(0.0)
            };
            let sum: f64 = (*first..*end).map(triangle).sum();
            for x in *first..*end {
                let share = if sum == 0.0 { triangle(x) } else { triangle(x) / sum };
                weights[x - start] = (share * f64::from(1 << WEIGHT_BITS) + 0.5) as u32;
            }
            starts.push(start);
        }
        Self { source, target, taps, starts, weights }
    }
}

/// Resizes pictures of one geometry; allocates only when it is made.
#[derive(Debug)]
pub(super) struct Resizer {
    horizontal: Axis,
    vertical: Axis,
    channels: usize,
    /// Two source rows, value by value in one word.
    row_pair: Vec<u64>,
    /// All source rows after the horizontal pass.
    narrowed: Vec<u8>,
    /// Sums of one target row.
    sums: Vec<u32>,
    target_row: Vec<u8>,
}

impl Resizer {
    /// For pictures of `source` (width, height) with `channels` 1 or 3; all sizes at least 1.
    pub(super) fn new(source: (usize, usize), target: (usize, usize), channels: usize) -> Self {
        let target_row_len = target.0 * channels;
        Self {
            horizontal: Axis::new(source.0, target.0),
            vertical: Axis::new(source.1, target.1),
            channels,
            row_pair: vec![0; source.0 * channels],
            narrowed: vec![0; target_row_len * source.1],
            sums: vec![0; target_row_len],
            target_row: vec![0; target_row_len],
        }
    }

    /// Whether this resizer was made for such pictures.
    pub(super) fn fits(&self, source: (usize, usize), channels: usize) -> bool {
        (self.horizontal.source, self.vertical.source, self.channels)
            == (source.0, source.1, channels)
    }

    /// Reads source rows by `row` (exactly width x channels bytes each) and hands over each
    /// finished target row.
    pub(super) fn run<'a>(
        &mut self,
        row: impl Fn(usize) -> &'a [u8],
        finished: impl FnMut(usize, &[u8]),
    ) {
        if self.channels == 1 {
            self.narrow::<1>(row);
        } else {
            self.narrow::<3>(row);
        }
        self.shorten(finished);
    }

    fn narrow<'a, const CHANNELS: usize>(&mut self, row: impl Fn(usize) -> &'a [u8]) {
        let width = self.horizontal.target * CHANNELS;
        let unchanged = self.horizontal.source == self.horizontal.target;
        for (pair, narrowed) in self.narrowed.chunks_mut(2 * width).enumerate() {
            let (upper, lower) = narrowed.split_at_mut(width);
            let first = row(2 * pair);
            // The last row of an odd number of rows is worked out alone.
            let second = if lower.is_empty() { first } else { row(2 * pair + 1) };
            if unchanged {
                upper.copy_from_slice(first);
                lower.copy_from_slice(&second[..lower.len()]);
                continue;
            }
            for ((word, a), b) in self.row_pair.iter_mut().zip(first).zip(second) {
                *word = u64::from(*a) | u64::from(*b) << 32;
            }
            narrow_pair::<CHANNELS>(&self.row_pair, &self.horizontal, upper, lower);
        }
    }

    fn shorten(&mut self, mut finished: impl FnMut(usize, &[u8])) {
        let width = self.target_row.len();
        let axis = &self.vertical;
        let targets = axis.starts.iter().zip(axis.weights.chunks_exact(axis.taps));
        for (y, (&start, weights)) in targets.enumerate() {
            let rows = &self.narrowed[start * width..(start + axis.taps) * width];
            self.sums.fill(HALF);
            for (row, &weight) in rows.chunks_exact(width).zip(weights) {
                for (sum, &value) in self.sums.iter_mut().zip(row) {
                    *sum = sum.wrapping_add(u32::from(value).wrapping_mul(weight));
                }
            }
            for (value, sum) in self.target_row.iter_mut().zip(&self.sums) {
                *value = to_byte(*sum);
            }
            finished(y, &self.target_row);
        }
    }
}

fn to_byte(sum: u32) -> u8 {
    (sum >> WEIGHT_BITS).min(255) as u8
}

/// The horizontal pass of two rows at once; `lower` is empty or as long as `upper`.
fn narrow_pair<const CHANNELS: usize>(
    row_pair: &[u64],
    axis: &Axis,
    upper: &mut [u8],
    lower: &mut [u8],
) {
    let source = row_pair.as_chunks::<CHANNELS>().0;
    let upper = upper.as_chunks_mut::<CHANNELS>().0.iter_mut();
    let mut lower = lower.as_chunks_mut::<CHANNELS>().0.iter_mut();
    let targets = axis.starts.iter().zip(axis.weights.chunks_exact(axis.taps));
    for (upper, (&start, weights)) in upper.zip(targets) {
        let mut sums = [u64::from(HALF) | u64::from(HALF) << 32; CHANNELS];
        for (pixel, &weight) in source[start..start + axis.taps].iter().zip(weights) {
            for (sum, value) in sums.iter_mut().zip(pixel) {
                *sum = sum.wrapping_add(value.wrapping_mul(u64::from(weight)));
            }
        }
        *upper = sums.map(|sum| to_byte(sum as u32));
        if let Some(lower) = lower.next() {
            *lower = sums.map(|sum| to_byte((sum >> 32) as u32));
        }
    }
}

/// `picture` as a square of `side` pixels, without keeping the aspect ratio; for training and
/// teaching. An empty picture or side gives a black square.
pub fn resize_picture(picture: &RgbImage, side: usize) -> RgbImage {
    let mut resized = RgbImage::new(side as u32, side as u32);
    let source = (picture.width() as usize, picture.height() as usize);
    if source.0 == 0 || source.1 == 0 || side == 0 {
        return resized;
    }
    let row_bytes = source.0 * 3;
    let (bytes, target): (&[u8], &mut [u8]) = (picture, &mut resized);
    Resizer::new(source, (side, side), 3).run(
        |y| &bytes[y * row_bytes..(y + 1) * row_bytes],
        |y, row| target[y * row.len()..(y + 1) * row.len()].copy_from_slice(row),
    );
    resized
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The specification read literally: one tap after the other, no packing, no shared tap count.
    fn literal(picture: &RgbImage, side: usize) -> RgbImage {
        fn taps(source: usize, target: usize, index: usize) -> Vec<(usize, i64)> {
            let scale = source as f64 / target as f64;
            let support = scale.max(1.0);
            let centre = (index as f64 + 0.5) * scale;
            let first = ((centre - support + 0.5) as i64).max(0);
            let end = ((centre + support + 0.5) as i64).min(source as i64);
            let weight =
                |i: i64| (1.0 - ((i as f64 - centre + 0.5) * (1.0 / support)).abs()).max(0.0);
            let sum: f64 = (first..end).map(weight).sum();
            let fixed = |i| (weight(i) / sum * f64::from(1 << 22) + 0.5) as i64;
            (first..end).map(|i| (i as usize, fixed(i))).collect()
        }
        let round = |sum: i64| ((sum + (1 << 21)) >> 22).clamp(0, 255) as u8;
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let narrow = RgbImage::from_fn(side as u32, height as u32, |x, y| {
            let taps = taps(width, side, x as usize);
            image::Rgb([0, 1, 2].map(|c: usize| {
                let term =
                    |&(i, k): &(usize, i64)| k * i64::from(picture.get_pixel(i as u32, y).0[c]);
                round(taps.iter().map(term).sum())
            }))
        });
        RgbImage::from_fn(side as u32, side as u32, |x, y| {
            let taps = taps(height, side, y as usize);
            image::Rgb([0, 1, 2].map(|c: usize| {
                let term =
                    |&(i, k): &(usize, i64)| k * i64::from(narrow.get_pixel(x, i as u32).0[c]);
                round(taps.iter().map(term).sum())
            }))
        })
    }

    fn pictures() -> impl Strategy<Value = RgbImage> {
        (1_u32..90, 1_u32..90).prop_flat_map(|(width, height)| {
            prop::collection::vec(any::<u8>(), (width * height * 3) as usize)
                .prop_map(move |bytes| RgbImage::from_raw(width, height, bytes).unwrap())
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn equals_the_specification_read_literally(picture in pictures(), side in 1_usize..48) {
            prop_assert_eq!(resize_picture(&picture, side), literal(&picture, side));
        }

        #[test]
        fn a_constant_picture_stays_constant(
            colour in any::<[u8; 3]>(), width in 1_u32..300, height in 1_u32..300,
            side in 1_usize..64,
        ) {
            let picture = RgbImage::from_pixel(width, height, image::Rgb(colour));
            let resized = resize_picture(&picture, side);
            prop_assert!(resized.pixels().all(|pixel| pixel.0 == colour));
        }

        #[test]
        fn the_same_size_changes_nothing(bytes in prop::collection::vec(any::<u8>(), 17 * 17 * 3)) {
            let picture = RgbImage::from_raw(17, 17, bytes).unwrap();
            prop_assert_eq!(&resize_picture(&picture, 17), &picture);
        }
    }

    #[test]
    fn an_empty_picture_is_a_black_square() {
        assert_eq!(resize_picture(&RgbImage::new(0, 5), 4), RgbImage::new(4, 4));
    }
}

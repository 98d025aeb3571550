//! Pseudo-anomalies: good parts made bad, with their masks (specification 4.3).

mod augment;
mod colour;
mod cut_paste;
mod perlin;
mod texture;

pub use texture::TextureSource;

use image::RgbImage;
use rand::Rng;
use rand_pcg::Pcg64Mcg;

/// Makes pseudo-anomalies of one input side; shared by all threads, each with its own generator.
#[derive(Clone, Debug)]
pub struct PseudoAnomalyMaker {
    side: usize,
    textures: TextureSource,
}

impl PseudoAnomalyMaker {
    /// A maker for pictures of `side` x `side` pixels; `side` is at least 1.
    pub fn new(side: usize, textures: TextureSource) -> Self {
        Self { side, textures }
    }

    /// A copy of `good` with a pseudo-anomaly and its mask: `side` x `side`, row-major, 0 or 255.
    ///
    /// One in two is a cut and paste (of these one in two a patch, else a scar), the others are
    /// a texture pasted through Perlin noise. Outside the mask the copy equals `good`, which must
    /// have the maker's size (another is brought to it first). The noise may leave the mask empty
    /// (specification 9.13); a cut and paste never does.
    pub fn make(&self, good: &RgbImage, random: &mut Pcg64Mcg) -> (RgbImage, Vec<u8>) {
        let side = self.side as u32;
        let mut picture = texture::resized(good, side);
        let mut mask = vec![0; self.side * self.side];
        if random.random_bool(0.5) {
            if random.random_bool(0.5) {
                cut_paste::patch(&mut picture, &mut mask, random);
            } else {
                cut_paste::scar(&mut picture, &mut mask, random);
            }
        } else {
            let mut texture = self.textures.draw(side, random);
            augment::three_of_ten(&mut texture, random);
            perlin::paste(&mut picture, &mut mask, &texture, random);
        }
        (picture, mask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;
    use proptest::prelude::*;
    use rand::SeedableRng;

    const SIDE: usize = 96;

    fn good() -> RgbImage {
        RgbImage::from_fn(SIDE as u32, SIDE as u32, |x, y| {
            Rgb([(x * 2) as u8, (y * 2) as u8, ((x * y) % 251) as u8])
        })
    }

    fn maker() -> PseudoAnomalyMaker {
        let crops = vec![RgbImage::from_pixel(10, 20, Rgb([200, 10, 10]))];
        let textures = TextureSource { procedural: true, crops, folder: Vec::new() };
        PseudoAnomalyMaker::new(SIDE, textures)
    }

    fn made(seed: u64) -> (RgbImage, Vec<u8>) {
        maker().make(&good(), &mut Pcg64Mcg::seed_from_u64(seed))
    }

    #[test]
    fn is_shared_by_threads() {
        fn shared<T: Send + Sync>(_: &T) {}
        shared(&maker());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn only_the_mask_changes(seed in any::<u64>()) {
            let good = good();
            let (picture, mask) = made(seed);
            prop_assert_eq!(picture.dimensions(), good.dimensions());
            prop_assert_eq!(mask.len(), SIDE * SIDE);
            for ((mask, new), old) in mask.iter().zip(picture.pixels()).zip(good.pixels()) {
                prop_assert!(*mask == 0 || *mask == 255);
                prop_assert!(*mask == 255 || new == old);
            }
        }

        #[test]
        fn equal_seeds_make_equal_anomalies(seed in any::<u64>()) {
            prop_assert_eq!(made(seed), made(seed));
        }

        #[test]
        fn any_size_is_survived(width in 1_u32..40, height in 1_u32..40, side in 1_usize..40) {
            let maker = PseudoAnomalyMaker::new(side, TextureSource::default());
            let mut random = Pcg64Mcg::seed_from_u64(u64::from(width));
            let (picture, mask) = maker.make(&RgbImage::new(width, height), &mut random);
            prop_assert_eq!(picture.dimensions(), (side as u32, side as u32));
            prop_assert_eq!(mask.len(), side * side);
        }
    }

    #[test]
    fn masks_are_rarely_empty_and_never_cover_everything() {
        let shares: Vec<f64> = (0..600)
            .map(|seed| {
                let set = made(seed).1.iter().filter(|v| **v == 255).count();
                set as f64 / (SIDE * SIDE) as f64
            })
            .collect();
        let empty = shares.iter().filter(|share| **share == 0.0).count();
        assert!(empty < 60, "{empty} of 600 masks are empty, less than a tenth is expected");
        assert!(shares.iter().all(|share| *share < 0.6), "{shares:?}");
        let small = shares.iter().filter(|share| **share > 0.0 && **share < 0.02).count();
        assert!(small > 60, "{small} of 600 masks are small: scars should be");
    }

    /// Writes a sheet of anomalies beside their masks, for looking at; run by hand with
    /// `ONENIPD_CONTACT_SHEET=sheet.png cargo test --release contact_sheet`.
    #[test]
    fn contact_sheet() {
        let side = 224;
        let tiles = 12;
        let maker = PseudoAnomalyMaker::new(side as usize, maker().textures);
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/photo.png");
        let photo = crate::dataset::read_picture(std::path::Path::new(golden)).unwrap();
        let mut sheet = RgbImage::new(tiles * side, 8 * side);
        let mut changed = 0;
        for index in 0..tiles * 4 {
            let mut random = Pcg64Mcg::seed_from_u64(index.into());
            let (picture, mask) = maker.make(&photo, &mut random);
            let (left, top) = (index % tiles * side, index / tiles * 2 * side);
            changed += usize::from(mask.contains(&255));
            for (x, y, pixel) in picture.enumerate_pixels() {
                sheet.put_pixel(left + x, top + y, *pixel);
                let value = mask[(y * side + x) as usize];
                sheet.put_pixel(left + x, top + side + y, Rgb([value; 3]));
            }
        }
        assert!(changed > 40, "{changed} of 48 have an anomaly");
        if let Some(path) = std::env::var_os("ONENIPD_CONTACT_SHEET") {
            sheet.save(path).unwrap();
        }
    }
}

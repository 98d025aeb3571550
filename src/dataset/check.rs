//! Looks at every picture and mask of a product before minutes are spent on it.

use super::read::{decode, read_picture};
use super::{DatasetError, ProductData};
use rayon::prelude::*;

/// A product without what cannot be used, and what that was.
#[derive(Debug)]
pub struct CheckedProduct {
    /// The pictures that can be read, with the masks that fit.
    pub product: ProductData,
    /// Pictures left out.
    pub unreadable: Vec<DatasetError>,
    /// Masks left out; their pictures stay.
    pub unusable_masks: Vec<DatasetError>,
    /// Defective test pictures that have no mask, for whatever reason.
    pub without_mask: usize,
}

/// Reads every picture and mask of a product, on all cores. Nothing is left out unsaid: what cannot
/// be read and masks of another size than their picture are returned, in the order of the listing.
pub fn check_product(listed: &ProductData) -> CheckedProduct {
    let mut product = listed.clone();
    let (mut unreadable, mut unusable_masks) = (Vec::new(), Vec::new());
    let train: Vec<_> = listed.train_good.par_iter().map(|path| read_picture(path)).collect();
    let mut train = train.into_iter();
    product.train_good.retain(|_| keep(train.next(), &mut unreadable));
    let looked_at = listed.test.par_iter().map(|test| {
        let picture = read_picture(&test.path).map(|picture| picture.dimensions())?;
        let Some(mask) = &test.mask else { return Ok(Ok(())) };
        Ok(decode(mask).and_then(|decoded| {
            let mask_size = (decoded.width(), decoded.height());
            if mask_size == picture {
                return Ok(());
            }
            Err(DatasetError::MaskSize { mask: mask.clone(), mask_size, picture_size: picture })
        }))
    });
    let looked_at: Vec<Result<Result<(), DatasetError>, DatasetError>> = looked_at.collect();
    product.test.clear();
    for (test, result) in listed.test.iter().zip(looked_at) {
        let mut test = test.clone();
        match result {
            Err(error) => {
                unreadable.push(error);
                continue;
            }
            Ok(Err(error)) => {
                unusable_masks.push(error);
                test.mask = None;
            }
            Ok(Ok(())) => {}
        }
        product.test.push(test);
    }
    let without = product.test.iter().filter(|test| test.defect.is_some() && test.mask.is_none());
    let without_mask = without.count();
    CheckedProduct { product, unreadable, unusable_masks, without_mask }
}

fn keep<T>(result: Option<Result<T, DatasetError>>, errors: &mut Vec<DatasetError>) -> bool {
    match result {
        Some(Err(error)) => {
            errors.push(error);
            false
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::open;
    use image::{GrayImage, RgbImage};
    use std::fs;

    #[test]
    fn bad_pictures_and_masks_are_counted_and_the_rest_stays() {
        let root = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let folder = root.path().join("bolt").join(name);
            fs::create_dir_all(&folder).unwrap();
            folder
        };
        RgbImage::new(8, 6).save(folder("train/good").join("1.png")).unwrap();
        fs::write(folder("train/good").join("2.png"), b"not a picture").unwrap();
        for name in ["1.png", "2.png", "3.png"] {
            RgbImage::new(8, 6).save(folder("test/dent").join(name)).unwrap();
        }
        fs::write(folder("test/dent").join("4.jpg"), b"").unwrap();
        GrayImage::new(8, 6).save(folder("ground_truth/dent").join("1_mask.png")).unwrap();
        GrayImage::new(6, 8).save(folder("ground_truth/dent").join("2_mask.png")).unwrap();
        let checked = check_product(&open(root.path()).unwrap().products[0]);
        assert_eq!((checked.product.train_good.len(), checked.product.test.len()), (1, 3));
        let said: Vec<String> = checked.unreadable.iter().map(ToString::to_string).collect();
        assert!(said[0].contains("good/2.png is not a known picture"), "{said:?}");
        assert!(said[1].contains("dent/4.jpg cannot be decoded (the file is empty)"), "{said:?}");
        let said = checked.unusable_masks[0].to_string();
        assert!(said.contains("2_mask.png has 6x8 pixels, its picture 8x6"), "{said}");
        assert_eq!(checked.without_mask, 2);
        let masks: Vec<bool> = checked.product.test.iter().map(|t| t.mask.is_some()).collect();
        assert_eq!(masks, [true, false, false]);
    }
}

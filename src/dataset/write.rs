//! Writes one product of a data set.

use super::DatasetError;
use image::{GrayImage, ImageFormat, RgbImage};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Writes a product as PNG files in MVTec layout. The product's folder appears whole, by the
/// rename in [`DataSetWriter::finish`]; dropped before that, nothing remains.
#[derive(Debug)]
pub struct DataSetWriter {
    partial: PathBuf,
    folder: PathBuf,
    /// Pictures written so far, by folder: the next file's number.
    numbers: BTreeMap<PathBuf, usize>,
    finished: bool,
}

impl DataSetWriter {
    /// Starts product `name` under `root`; refuses a product that exists.
    pub fn create(root: &Path, name: &str) -> Result<Self, DatasetError> {
        check_name(name)?;
        let folder = root.join(name);
        if folder.exists() {
            return Err(DatasetError::ProductExists { folder });
        }
        let partial = root.join(format!(".{name}.partial"));
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(DatasetError::io(&partial))?;
        }
        fs::create_dir_all(&partial).map_err(DatasetError::io(&partial))?;
        Ok(Self { partial, folder, numbers: BTreeMap::new(), finished: false })
    }

    /// Adds a good training picture.
    pub fn add_train_good(&mut self, picture: &RgbImage) -> Result<(), DatasetError> {
        self.add("train", "good", picture).map(|_| ())
    }

    /// Adds a good test picture.
    pub fn add_test_good(&mut self, picture: &RgbImage) -> Result<(), DatasetError> {
        self.add("test", "good", picture).map(|_| ())
    }

    /// Adds a defective test picture and its mask (0 or 255, of the picture's size, not empty).
    pub fn add_test_defect(
        &mut self,
        defect: &str,
        picture: &RgbImage,
        mask: &GrayImage,
    ) -> Result<(), DatasetError> {
        check_name(defect)?;
        if defect == "good" {
            let remedy = "call the defect otherwise: good is for good parts";
            return Err(DatasetError::Name { name: defect.into(), remedy });
        }
        let wrong = |problem| DatasetError::Mask { defect: defect.into(), problem };
        if mask.dimensions() != picture.dimensions() {
            return Err(wrong("has another size than the picture: draw it at the same size"));
        }
        if mask.pixels().all(|pixel| pixel.0 == [0]) {
            return Err(wrong("is empty: a defect that cannot be seen belongs among the good"));
        }
        let number = self.add("test", defect, picture)?;
        let folder = self.partial.join("ground_truth").join(defect);
        fs::create_dir_all(&folder).map_err(DatasetError::io(&folder))?;
        let path = folder.join(format!("{number:04}_mask.png"));
        mask.save_with_format(&path, ImageFormat::Png).map_err(|e| not_saved(&path, e))
    }

    fn add(&mut self, set: &str, kind: &str, picture: &RgbImage) -> Result<usize, DatasetError> {
        let folder = self.partial.join(set).join(kind);
        let next = self.numbers.entry(folder.clone()).or_insert(0);
        let number = *next;
        *next += 1;
        fs::create_dir_all(&folder).map_err(DatasetError::io(&folder))?;
        let path = folder.join(format!("{number:04}.png"));
        picture.save_with_format(&path, ImageFormat::Png).map_err(|e| not_saved(&path, e))?;
        Ok(number)
    }

    /// Puts the product in place and returns its folder.
    pub fn finish(mut self) -> Result<PathBuf, DatasetError> {
        fs::rename(&self.partial, &self.folder).map_err(DatasetError::io(&self.folder))?;
        self.finished = true;
        Ok(self.folder.clone())
    }
}

impl Drop for DataSetWriter {
    fn drop(&mut self) {
        if !self.finished {
            // Nothing more can be done about a folder that cannot be removed; it is hidden.
            let _ = fs::remove_dir_all(&self.partial);
        }
    }
}

fn check_name(name: &str) -> Result<(), DatasetError> {
    let bad = name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', '\0']);
    let remedy = "use a name without slashes that does not begin with a dot";
    if bad { Err(DatasetError::Name { name: name.into(), remedy }) } else { Ok(()) }
}

fn not_saved(path: &Path, error: image::ImageError) -> DatasetError {
    let reason = match error {
        image::ImageError::IoError(reason) => reason,
        other => std::io::Error::other(other.to_string()),
    };
    DatasetError::Io { path: path.to_path_buf(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{open, read_mask, read_picture};
    use image::{Luma, Rgb};

    #[test]
    fn what_is_written_is_read_back() {
        let root = tempfile::tempdir().unwrap();
        let picture = RgbImage::from_fn(32, 16, |x, y| Rgb([x as u8, y as u8, 7]));
        let mask = GrayImage::from_fn(32, 16, |x, _| Luma([u8::from(x < 8) * 255]));
        let mut writer = DataSetWriter::create(root.path(), "bolt").unwrap();
        writer.add_train_good(&picture).unwrap();
        writer.add_test_good(&picture).unwrap();
        writer.add_test_defect("dent", &picture, &mask).unwrap();
        writer.add_test_defect("dent", &picture, &mask).unwrap();
        assert!(open(root.path()).is_err(), "nothing is seen before the end");
        writer.finish().unwrap();
        let product = open(root.path()).unwrap().products.remove(0);
        assert_eq!((product.train_good.len(), product.test.len()), (1, 3));
        assert_eq!(read_picture(&product.train_good[0]).unwrap(), picture);
        let read = read_mask(product.test[1].mask.as_ref().unwrap(), 16).unwrap();
        assert_eq!(read.iter().map(|v| usize::from(*v)).sum::<usize>(), 4 * 16);
        let again = DataSetWriter::create(root.path(), "bolt").unwrap_err();
        assert!(again.to_string().contains("exists"));
    }

    #[test]
    fn wrong_names_and_masks_are_refused_and_leave_nothing() {
        let root = tempfile::tempdir().unwrap();
        for name in ["", "..", "a/b", ".x"] {
            assert!(DataSetWriter::create(root.path(), name).is_err(), "{name}");
        }
        let picture = RgbImage::new(4, 4);
        let mut writer = DataSetWriter::create(root.path(), "bolt").unwrap();
        assert!(writer.add_test_defect("good", &picture, &GrayImage::new(4, 4)).is_err());
        assert!(writer.add_test_defect("dent", &picture, &GrayImage::new(4, 4)).is_err());
        assert!(writer.add_test_defect("dent", &picture, &GrayImage::new(5, 4)).is_err());
        drop(writer);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }
}

//! From files to pixels (specification 2.1, steps 1 and 4).

use super::DatasetError;
use image::{DynamicImage, ImageDecoder, ImageReader, RgbImage};
use rayon::prelude::*;
use std::path::{Path, PathBuf};

/// Reads a picture as 8-bit RGB: alpha dropped, grey replicated, 16 bits reduced to their upper
/// 8, EXIF orientation applied. The content decides the format, not the name.
pub fn read_picture(path: &Path) -> Result<RgbImage, DatasetError> {
    let reader = ImageReader::open(path).map_err(DatasetError::io(path))?;
    let reader = reader.with_guessed_format().map_err(DatasetError::io(path))?;
    let decode = || -> image::ImageResult<DynamicImage> {
        let mut decoder = reader.into_decoder()?;
        let orientation = decoder.orientation()?;
        let mut picture = DynamicImage::from_decoder(decoder)?;
        picture.apply_orientation(orientation);
        Ok(picture)
    };
    match decode() {
        Ok(picture) => Ok(to_rgb8(picture)),
        Err(reason) => {
            Err(DatasetError::Decode { path: path.to_path_buf(), reason: reason.to_string() })
        }
    }
}

fn to_rgb8(picture: DynamicImage) -> RgbImage {
    match picture {
        DynamicImage::ImageLuma16(_)
        | DynamicImage::ImageLumaA16(_)
        | DynamicImage::ImageRgb16(_)
        | DynamicImage::ImageRgba16(_) => {
            let wide = picture.into_rgb16();
            let mut narrow = RgbImage::new(wide.width(), wide.height());
            for (to, from) in narrow.pixels_mut().zip(wide.pixels()) {
                to.0 = from.0.map(|value| (value >> 8) as u8);
            }
            narrow
        }
        other => other.into_rgb8(),
    }
}

/// Reads a mask at `side` x `side`, row-major, 1 where the mask is not black.
///
/// Nearest neighbour with the reference's accumulated positions (specification 2.1, step 4).
pub fn read_mask(path: &Path, side: usize) -> Result<Vec<u8>, DatasetError> {
    let picture = read_picture(path)?;
    let columns = nearest_positions(picture.width(), side);
    let rows = nearest_positions(picture.height(), side);
    let mut mask = Vec::with_capacity(side * side);
    for &y in &rows {
        let set = |&x: &u32| u8::from(picture.get_pixel(x, y).0 != [0, 0, 0]);
        mask.extend(columns.iter().map(set));
    }
    Ok(mask)
}

/// Which source pixel each of `side` outputs takes. Accumulated on purpose: the closed form
/// differs where a position falls on a pixel's border.
fn nearest_positions(size: u32, side: usize) -> Vec<u32> {
    let ratio = f64::from(size) / side as f64;
    let mut position = 0.5 * ratio;
    let last = size.saturating_sub(1);
    let mut positions = Vec::with_capacity(side);
    for _ in 0..side {
        positions.push((position as u32).min(last));
        position += ratio;
    }
    positions
}

/// Reads many pictures, on all cores, in the order given. Unreadable ones are handed to `skipped`
/// and left out; an error only when none can be read (or none is given).
pub fn read_all(
    paths: &[PathBuf],
    skipped: &mut dyn FnMut(&DatasetError),
) -> Result<Vec<(PathBuf, RgbImage)>, DatasetError> {
    let read: Vec<_> = paths.par_iter().map(|path| read_picture(path)).collect();
    let mut pictures = Vec::with_capacity(read.len());
    for (path, result) in paths.iter().zip(read) {
        match result {
            Ok(picture) => pictures.push((path.clone(), picture)),
            Err(error) => skipped(&error),
        }
    }
    if pictures.is_empty() {
        let first = paths.first().cloned().unwrap_or_default();
        return Err(DatasetError::NoneReadable { count: paths.len(), first });
    }
    Ok(pictures)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::codecs::png::PngEncoder;
    use image::{ExtendedColorType, GrayImage, ImageEncoder, Luma, Rgb};

    fn golden() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
    }

    #[test]
    fn mask_equals_the_golden_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mask.png");
        let mask = GrayImage::from_fn(288, 256, |x, y| {
            let inside = (100..=130).contains(&y) && (61..=179).contains(&x);
            Luma([if inside { 255 } else { u8::from((x, y) == (7, 7)) * 3 }])
        });
        mask.save(&path).unwrap();
        let bytes = std::fs::read(golden().join("real-224.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let expected = file.tensor("mask_nearest_u8").unwrap();
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let info = &header.metadata().as_ref().unwrap()["info"];
        let info: serde_json::Value = serde_json::from_str(info).unwrap();
        let info = &info["mask_nearest_u8"];
        let step = info["step"].as_u64().unwrap() as usize;
        let found = read_mask(&path, 224).unwrap();
        assert_eq!(expected.shape(), [found.len().div_ceil(step)]);
        for (value, mask) in expected.data().chunks_exact(4).zip(found.iter().step_by(step)) {
            let value = f32::from_le_bytes([value[0], value[1], value[2], value[3]]);
            assert_eq!(u8::from(value > 0.0), *mask);
        }
        // The mean of all pixels, which the subset cannot show: 255 each, and one pixel of 3.
        let sum = 255.0 * (found.iter().filter(|v| **v == 1).count() - 1) as f64 + 3.0;
        let mean = info["mean"].as_f64().unwrap();
        assert!((sum / found.len() as f64 - mean).abs() < 1e-4 * mean, "{sum} against {mean}");
    }

    #[test]
    fn accumulated_positions_differ_from_the_closed_form() {
        let found = nearest_positions(1024, 224);
        let closed = |o: usize| ((o as f64 + 0.5) * 1024.0 / 224.0).floor() as u32;
        let different = (0..224).filter(|o| found[*o] != closed(*o)).count();
        assert!(different > 0, "the specification names this pair as one where they differ");
        assert!(found.iter().all(|p| *p < 1024));
        assert_eq!(nearest_positions(224, 224), (0..224).collect::<Vec<u32>>());
    }

    #[test]
    fn every_kind_of_picture_becomes_eight_bit_colour() {
        let folder = tempfile::tempdir().unwrap();
        let write = |bytes: &[u8], kind| {
            let path = folder.path().join("picture.png");
            let file = std::fs::File::create(&path).unwrap();
            PngEncoder::new(file).write_image(bytes, 1, 1, kind).unwrap();
            read_picture(&path).unwrap().get_pixel(0, 0).0
        };
        assert_eq!(write(&[9], ExtendedColorType::L8), [9, 9, 9]);
        assert_eq!(write(&[9, 0], ExtendedColorType::La8), [9, 9, 9]);
        assert_eq!(write(&[1, 2, 3, 0], ExtendedColorType::Rgba8), [1, 2, 3]);
        let wide: Vec<u8> = [0x01ff_u16, 0x80fe, 0xffff].map(u16::to_ne_bytes).concat();
        assert_eq!(write(&wide, ExtendedColorType::Rgb16), [1, 0x80, 0xff]);
    }

    #[test]
    fn orientation_of_the_camera_is_applied() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("turned.jpg");
        let mut bytes = Vec::new();
        RgbImage::from_fn(16, 8, |x, _| Rgb([if x < 8 { 255 } else { 0 }; 3]))
            .write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Jpeg)
            .unwrap();
        // An EXIF block with the single entry 0x112 (orientation) = 6: turn clockwise.
        let mut exif =
            b"\xff\xe1\x00\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
        exif.extend_from_slice(&[6, 0, 0, 0, 0, 0, 0, 0]);
        bytes.splice(2..2, exif);
        std::fs::write(&path, bytes).unwrap();
        let picture = read_picture(&path).unwrap();
        assert_eq!(picture.dimensions(), (8, 16));
        assert!(picture.get_pixel(4, 2).0[0] > 200 && picture.get_pixel(4, 13).0[0] < 50);
    }

    #[test]
    fn unreadable_pictures_are_named_and_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let good = folder.path().join("good.png");
        let bad = folder.path().join("bad.png");
        RgbImage::new(4, 4).save(&good).unwrap();
        std::fs::write(&bad, b"not a picture").unwrap();
        let mut said = Vec::new();
        let paths = [bad.clone(), good.clone()];
        let read = read_all(&paths, &mut |error| said.push(error.to_string())).unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].0, good);
        assert!(said[0].contains("bad.png") && said[0].contains("PNG or JPEG"), "{said:?}");
        let none = read_all(&paths[..1], &mut |_| ()).unwrap_err();
        assert!(none.to_string().contains("none of 1 pictures"));
        assert!(read_all(&[], &mut |_| ()).is_err());
    }
}

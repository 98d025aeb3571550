//! From files to pixels (specification 2.1, steps 1 and 4). The one place that decodes pictures.
//!
//! A picture is read as a person sees it in a viewer: grey is grey, EXIF orientation is applied,
//! CMYK and YCCK become colours, 16 bits their upper 8. What is transparent is laid over white, the
//! page a viewer shows it on: the colour stored under it is seen by nobody and must not be learnt.
//! (The reference drops alpha, which shows that colour; opaque pictures are the same in both.)

use super::DatasetError;
use image::error::{LimitError, LimitErrorKind};
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, RgbImage};
use rayon::prelude::*;
use std::io::Cursor;
use std::path::{Path, PathBuf};

/// Pixels of the largest picture that is read: beyond any camera of a line, and little enough to be
/// held several times. A header may claim anything.
const MOST_PIXELS: u64 = 256_000_000;

/// Reads a picture as 8-bit RGB. PNG and JPEG, told by their content, not by their name.
pub fn read_picture(path: &Path) -> Result<RgbImage, DatasetError> {
    Ok(over_white(decode(path)?))
}

pub(super) fn decode(path: &Path) -> Result<DynamicImage, DatasetError> {
    let bytes = std::fs::read(path).map_err(DatasetError::io(path))?;
    let wrong = |reason: &dyn std::fmt::Display| DatasetError::Decode {
        path: path.to_path_buf(),
        reason: reason.to_string(),
    };
    if bytes.is_empty() {
        return Err(wrong(&"the file is empty"));
    }
    let format = image::guess_format(&bytes).ok();
    match format {
        Some(ImageFormat::Png) => {}
        Some(ImageFormat::Jpeg) if is_cut_off(&bytes) => return Err(wrong(&"the file is cut off")),
        Some(ImageFormat::Jpeg) => {}
        other => {
            let found = other.map_or("not a known picture".into(), |format| {
                format.extensions_str().first().copied().unwrap_or("another kind").to_uppercase()
            });
            return Err(DatasetError::Format { path: path.to_path_buf(), found });
        }
    }
    let mut reader = ImageReader::new(Cursor::new(&bytes));
    if let Some(format) = format {
        reader.set_format(format);
    }
    let decode = || -> image::ImageResult<DynamicImage> {
        let mut decoder = reader.into_decoder()?;
        let (width, height) = decoder.dimensions();
        if u64::from(width) * u64::from(height) > MOST_PIXELS {
            let kind = LimitErrorKind::DimensionError;
            return Err(ImageError::Limits(LimitError::from_kind(kind)));
        }
        let orientation = decoder.orientation()?;
        let mut picture = DynamicImage::from_decoder(decoder)?;
        picture.apply_orientation(orientation);
        Ok(picture)
    };
    decode().map_err(|reason| wrong(&reason))
}

/// Whether a JPEG's last scan has no end. The decoder fills the rest with grey and says nothing; in
/// a scan's data neither marker can occur.
fn is_cut_off(bytes: &[u8]) -> bool {
    let last = |marker: [u8; 2]| bytes.windows(2).rposition(|pair| pair == marker);
    last([0xff, 0xd9]) < last([0xff, 0xda])
}

/// 16-bit values keep their upper 8 bits (specification 2.1); alpha is laid over white.
fn over_white(picture: DynamicImage) -> RgbImage {
    let picture = match picture {
        DynamicImage::ImageLuma16(_)
        | DynamicImage::ImageLumaA16(_)
        | DynamicImage::ImageRgb16(_)
        | DynamicImage::ImageRgba16(_) => narrow(picture),
        other => other,
    };
    if !picture.color().has_alpha() {
        return picture.into_rgb8();
    }
    let clear = picture.into_rgba8();
    let mut opaque = RgbImage::new(clear.width(), clear.height());
    for (to, from) in opaque.pixels_mut().zip(clear.pixels()) {
        let [red, green, blue, alpha] = from.0.map(u32::from);
        let over = |value: u32| ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
        to.0 = [red, green, blue].map(over);
    }
    opaque
}

fn narrow(picture: DynamicImage) -> DynamicImage {
    let wide = picture.into_rgba16();
    let mut narrow = image::RgbaImage::new(wide.width(), wide.height());
    for (to, from) in narrow.pixels_mut().zip(wide.pixels()) {
        to.0 = from.0.map(|value| (value >> 8) as u8);
    }
    DynamicImage::ImageRgba8(narrow)
}

/// Reads a mask at `side` x `side`, row-major, 1 where the mask is neither black nor transparent,
/// however faint: data sets store 255, 1 or small class numbers, in 8 or 16 bits.
///
/// Nearest neighbour with the reference's accumulated positions (specification 2.1, step 4).
pub fn read_mask(path: &Path, side: usize) -> Result<Vec<u8>, DatasetError> {
    let picture = decode(path)?.into_rgba16();
    let columns = nearest_positions(picture.width(), side);
    let rows = nearest_positions(picture.height(), side);
    let mut mask = Vec::with_capacity(side * side);
    for &y in &rows {
        let set = |&x: &u32| {
            let [red, green, blue, alpha] = picture.get_pixel(x, y).0;
            u8::from(alpha != 0 && (red | green | blue) != 0)
        };
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
    use image::{ExtendedColorType, GrayImage, ImageEncoder, Luma};

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

    /// The scene of tests/pictures/make.py: red, green / blue, light grey.
    const SCENE: [[u8; 3]; 4] = [[200, 30, 30], [30, 160, 40], [40, 50, 190], [210; 3]];

    fn blocks(name: &str) -> [[u8; 3]; 4] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures");
        let picture = read_picture(&folder.join(name)).unwrap();
        assert_eq!(picture.dimensions(), (24, 16), "{name}");
        [(3, 3), (20, 3), (3, 12), (20, 12)].map(|(x, y)| picture.get_pixel(x, y).0)
    }

    fn near(found: [[u8; 3]; 4], expected: [[u8; 3]; 4], tolerance: u8) -> bool {
        let pairs = found.iter().flatten().zip(expected.iter().flatten());
        pairs.into_iter().all(|(a, b)| a.abs_diff(*b) <= tolerance)
    }

    #[test]
    fn every_kind_of_picture_is_read_as_seen() {
        for name in ["rgb.png", "rgb16.png", "palette.png", "interlaced.png", "exif-6.png"] {
            assert_eq!(blocks(name), SCENE, "{name}");
        }
        for name in ["rgb.jpg", "progressive.jpg", "cmyk.jpg", "ycck.jpg"] {
            assert!(near(blocks(name), SCENE, 3), "{name}: {:?}", blocks(name));
        }
        for orientation in 1..=8 {
            let found = blocks(&format!("exif-{orientation}.jpg"));
            assert!(near(found, SCENE, 3), "{orientation}: {found:?}");
        }
        assert_eq!(blocks("grey.png"), [[81; 3], [107; 3], [63; 3], [210; 3]]);
        assert!(near(blocks("grey.jpg"), [[81; 3], [107; 3], [63; 3], [210; 3]], 2));
        assert_eq!(blocks("grey16.png"), [[87; 3], [77; 3], [93; 3], [210; 3]]);
        assert_eq!(blocks("one-bit.png"), [[0; 3], [0; 3], [0; 3], [255; 3]]);
        let white = [255; 3];
        assert_eq!(blocks("transparent.png"), [SCENE[0], white, SCENE[2], white]);
    }

    #[test]
    fn alpha_is_laid_over_white() {
        let folder = tempfile::tempdir().unwrap();
        let write = |bytes: &[u8], kind| {
            let path = folder.path().join("picture.png");
            let file = std::fs::File::create(&path).unwrap();
            PngEncoder::new(file).write_image(bytes, 1, 1, kind).unwrap();
            read_picture(&path).unwrap().get_pixel(0, 0).0
        };
        assert_eq!(write(&[9, 0], ExtendedColorType::La8), [255; 3]);
        assert_eq!(write(&[9, 255], ExtendedColorType::La8), [9; 3]);
        assert_eq!(write(&[0, 100, 255, 51], ExtendedColorType::Rgba8), [204, 224, 255]);
        let wide: Vec<u8> = [0x01ff_u16, 0x80fe, 0xffff, 0xffff].map(u16::to_ne_bytes).concat();
        assert_eq!(write(&wide, ExtendedColorType::Rgba16), [1, 0x80, 0xff]);
    }

    #[test]
    fn faint_masks_count_and_transparent_ones_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mask.png");
        let write = |bytes: &[u8], kind| {
            let file = std::fs::File::create(&path).unwrap();
            PngEncoder::new(file).write_image(bytes, 2, 1, kind).unwrap();
            read_mask(&path, 2).unwrap()
        };
        let wide: Vec<u8> = [0u16, 1].map(u16::to_ne_bytes).concat();
        assert_eq!(write(&wide, ExtendedColorType::L16), [0, 1, 0, 1]);
        assert_eq!(write(&[0, 3], ExtendedColorType::L8), [0, 1, 0, 1]);
        assert_eq!(write(&[255, 0, 255, 255], ExtendedColorType::La8), [0, 1, 0, 1]);
    }

    #[test]
    fn what_is_not_read_is_named_with_the_remedy() {
        let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures");
        let said = |path: &Path| read_picture(path).unwrap_err().to_string();
        assert!(said(&pictures.join("scene.bmp")).contains("scene.bmp is BMP: PNG and JPEG"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("half.jpg");
        let whole = std::fs::read(pictures.join("rgb.jpg")).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 20]).unwrap();
        assert!(said(&path).contains("half.jpg cannot be decoded (the file is cut off)"));
        std::fs::write(&path, b"").unwrap();
        assert!(said(&path).contains("is empty"));
        // Cameras append data of their own.
        std::fs::write(&path, [whole.as_slice(), b"made by camera 7"].concat()).unwrap();
        assert!(read_picture(&path).is_ok());
    }

    #[test]
    fn a_header_that_claims_the_world_allocates_nothing() {
        let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures");
        let mut bytes = std::fs::read(pictures.join("rgb.jpg")).unwrap();
        let frame = bytes.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
        // Marker, length, precision; then height and width.
        bytes[frame + 5..frame + 9].fill(0x7f);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("forged.jpg");
        std::fs::write(&path, bytes).unwrap();
        let said = read_picture(&path).unwrap_err().to_string();
        assert!(said.contains("forged.jpg") && said.contains("exceeds limit"), "{said}");
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
        assert!(said[0].contains("bad.png") && said[0].contains("PNG and JPEG"), "{said:?}");
        let none = read_all(&paths[..1], &mut |_| ()).unwrap_err();
        assert!(none.to_string().contains("none of 1 pictures"));
        assert!(read_all(&[], &mut |_| ()).is_err());
    }
}

//! A picture of the camera, on its way to the engine.

use super::{ColourConversion, LineTime};
use std::fmt;

/// How pixels lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelFormat {
    /// Three bytes, red first.
    Rgb8,
    /// One byte.
    Gray8,
    /// Four bytes: blue, green, red, one of no meaning.
    Bgrx8,
    /// A plane of luma, then one of U and V by turns at half the width and height.
    Nv12(ColourConversion),
    /// A plane of luma, then one of U and one of V, each at half the width and height.
    I420(ColourConversion),
}

impl PixelFormat {
    /// Bytes of one pixel in the first plane.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Rgb8 => 3,
            Self::Gray8 | Self::Nv12(_) | Self::I420(_) => 1,
            Self::Bgrx8 => 4,
        }
    }

    /// Red, green and blue of a pixel differ only where this says so.
    pub const fn is_grey(self) -> bool {
        matches!(self, Self::Gray8)
    }

    /// Planes after the first, and the bytes of a row of each for pictures `width` across.
    const fn chroma(self, width: usize) -> (usize, usize) {
        match self {
            Self::Rgb8 | Self::Gray8 | Self::Bgrx8 => (0, 0),
            Self::Nv12(_) => (1, width.div_ceil(2) * 2),
            Self::I420(_) => (2, width.div_ceil(2)),
        }
    }
}

/// Memory that holds a frame: a camera's own buffer (no copy) or an owned picture.
pub trait PixelBuffer: Send + Sync {
    /// All rows of a plane, one stride apart; empty for a plane that does not exist.
    fn plane(&self, plane: usize) -> &[u8];
}

impl PixelBuffer for Vec<u8> {
    fn plane(&self, plane: usize) -> &[u8] {
        if plane == 0 { self } else { &[] }
    }
}

impl PixelBuffer for Vec<Vec<u8>> {
    fn plane(&self, plane: usize) -> &[u8] {
        self.get(plane).map_or(&[], Vec::as_slice)
    }
}

impl PixelBuffer for image::RgbImage {
    fn plane(&self, plane: usize) -> &[u8] {
        if plane == 0 { self.as_raw() } else { &[] }
    }
}

/// One frame. Holds the camera's slot until dropped, so it is dropped as soon as it is preprocessed.
pub struct Frame {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Bytes from one row of the first plane to the next; at least `width * format.bytes()`.
    pub stride_bytes: usize,
    /// Bytes from one row to the next in the planes of chroma, if there are any.
    pub chroma_stride_bytes: usize,
    /// Layout of the pixels.
    pub format: PixelFormat,
    /// The camera's frame counter; a jump means frames were lost.
    pub number: u64,
    /// When the picture was taken, as well as the camera can tell.
    pub captured: LineTime,
    pixels: Box<dyn PixelBuffer>,
}

impl Frame {
    /// Wraps camera memory of one plane. `None` when the memory is too small for the geometry.
    pub fn new(
        size: (u32, u32),
        stride_bytes: usize,
        format: PixelFormat,
        number: u64,
        captured: LineTime,
        pixels: Box<dyn PixelBuffer>,
    ) -> Option<Self> {
        Self::with_planes(size, (stride_bytes, 0), format, number, captured, pixels)
    }

    /// Wraps camera memory; the strides are those of the first plane and of the planes of chroma.
    /// `None` when the memory is too small for the geometry.
    pub fn with_planes(
        (width, height): (u32, u32),
        (stride_bytes, chroma_stride_bytes): (usize, usize),
        format: PixelFormat,
        number: u64,
        captured: LineTime,
        pixels: Box<dyn PixelBuffer>,
    ) -> Option<Self> {
        let row = (width as usize).checked_mul(format.bytes())?;
        let rows = height as usize;
        let (chroma_planes, chroma_row) = format.chroma(width as usize);
        let chroma_rows = rows.div_ceil(2);
        let fits = width > 0
            && holds(pixels.plane(0), stride_bytes, row, rows)?
            && (1..=chroma_planes).try_fold(true, |fits, plane| {
                let memory = pixels.plane(plane);
                Some(fits && holds(memory, chroma_stride_bytes, chroma_row, chroma_rows)?)
            })?;
        fits.then_some(Self {
            width,
            height,
            stride_bytes,
            chroma_stride_bytes,
            format,
            number,
            captured,
            pixels,
        })
    }

    /// A frame made of an owned picture. `None` for an empty picture.
    pub fn from_picture(picture: image::RgbImage, number: u64, captured: LineTime) -> Option<Self> {
        let (width, height) = picture.dimensions();
        let stride_bytes = width as usize * 3;
        let size = (width, height);
        Self::new(size, stride_bytes, PixelFormat::Rgb8, number, captured, Box::new(picture))
    }

    /// All rows of a plane, one stride apart.
    pub fn plane(&self, plane: usize) -> &[u8] {
        self.pixels.plane(plane)
    }

    /// Row `y` of the first plane without its padding; empty when `y` is outside.
    pub fn row(&self, y: u32) -> &[u8] {
        let start = y as usize * self.stride_bytes;
        let end = start + self.width as usize * self.format.bytes();
        self.plane(0).get(start..end).unwrap_or(&[])
    }

    /// Writes the pixels of row `y` from `x` on to `out`, three bytes each, red first. Pixels
    /// outside the frame leave `out` as it is.
    pub fn copy_rgb(&self, x: u32, y: u32, out: &mut [u8]) {
        let row = self.row(y).get(x as usize * self.format.bytes()..).unwrap_or(&[]);
        let out = out.as_chunks_mut::<3>().0.iter_mut();
        match self.format {
            PixelFormat::Rgb8 => {
                row.as_chunks::<3>().0.iter().zip(out).for_each(|(pixel, out)| *out = *pixel);
            }
            PixelFormat::Gray8 => row.iter().zip(out).for_each(|(v, out)| *out = [*v; 3]),
            PixelFormat::Bgrx8 => {
                let pixels = row.as_chunks::<4>().0.iter();
                pixels.zip(out).for_each(|([b, g, r, _], out)| *out = [*r, *g, *b]);
            }
            PixelFormat::Nv12(colour) => {
                let chroma = self.chroma_row(1, y);
                let at = |x: usize| (chroma[x / 2 * 2], chroma[x / 2 * 2 + 1]);
                convert(colour, row, x as usize, at, out);
            }
            PixelFormat::I420(colour) => {
                let (u, v) = (self.chroma_row(1, y), self.chroma_row(2, y));
                convert(colour, row, x as usize, |x| (u[x / 2], v[x / 2]), out);
            }
        }
    }

    fn chroma_row(&self, plane: usize, y: u32) -> &[u8] {
        let start = y as usize / 2 * self.chroma_stride_bytes;
        let (_, row) = self.format.chroma(self.width as usize);
        self.plane(plane).get(start..start + row).unwrap_or(&[])
    }

    /// An owned colour copy (observers and files only, never the way itself).
    pub fn to_picture(&self) -> image::RgbImage {
        let mut picture = image::RgbImage::new(0, 0);
        self.copy_to(&mut picture);
        picture
    }

    /// As [`Self::to_picture`], into memory that is there already: allocates only when it is of
    /// another size.
    pub fn copy_to(&self, picture: &mut image::RgbImage) {
        if picture.dimensions() != (self.width, self.height) {
            *picture = image::RgbImage::new(self.width, self.height);
        }
        let row_bytes = self.width as usize * 3;
        for (y, row) in picture.chunks_exact_mut(row_bytes).enumerate() {
            self.copy_rgb(0, y as u32, row);
        }
    }
}

/// Whether `memory` has `rows` of `row` bytes, `stride` apart; `None` for absurd numbers.
fn holds(memory: &[u8], stride: usize, row: usize, rows: usize) -> Option<bool> {
    let needed = stride.checked_mul(rows.checked_sub(1)?)?.checked_add(row)?;
    Some(stride >= row && memory.len() >= needed)
}

/// Luma from `first` on, with the chroma of each place.
fn convert<'a>(
    colour: ColourConversion,
    luma: &[u8],
    first: usize,
    chroma: impl Fn(usize) -> (u8, u8),
    out: impl Iterator<Item = &'a mut [u8; 3]>,
) {
    for ((x, y), out) in (first..).zip(luma).zip(out) {
        let (u, v) = chroma(x);
        *out = colour.rgb(*y, u, v);
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame {} ({}x{} {:?})", self.number, self.width, self.height, self.format)
    }
}

#[cfg(test)]
mod tests {
    use super::super::ColourMatrix;
    use super::*;

    #[test]
    fn rows_skip_padding_and_short_memory_is_refused() {
        let bytes = vec![1, 2, 9, 9, 3, 4];
        let time = LineTime::ZERO;
        let frame = Frame::new((2, 2), 4, PixelFormat::Gray8, 0, time, Box::new(bytes.clone()));
        let frame = frame.unwrap();
        assert_eq!(frame.row(1), [3, 4]);
        assert_eq!(frame.row(2), [] as [u8; 0]);
        assert_eq!(frame.to_picture().get_pixel(0, 1).0, [3, 3, 3]);
        assert!(Frame::new((2, 3), 4, PixelFormat::Gray8, 0, time, Box::new(bytes)).is_none());
        assert!(Frame::from_picture(image::RgbImage::new(0, 0), 0, time).is_none());
    }

    #[test]
    fn every_format_shows_the_same_colours() {
        let colour = ColourConversion::new(ColourMatrix::Bt601, true);
        let time = LineTime::ZERO;
        // Three pixels across and down, so that the last chroma of a row serves one pixel.
        let luma: Vec<u8> = vec![10, 20, 30, 0, 40, 50, 60, 0, 70, 80, 90, 0];
        let (u, v) = (vec![100, 140, 90, 200], vec![120, 130, 140, 150]);
        let mixed = vec![100, 120, 140, 130, 9, 90, 140, 200, 150, 9];
        let nv12 = PixelFormat::Nv12(colour);
        let i420 = PixelFormat::I420(colour);
        let nv12 = Frame::with_planes(
            (3, 3),
            (4, 5),
            nv12,
            0,
            time,
            Box::new(vec![luma.clone(), mixed.clone()]),
        );
        let i420 =
            Frame::with_planes((3, 3), (4, 2), i420, 0, time, Box::new(vec![luma.clone(), u, v]));
        let picture = nv12.unwrap().to_picture();
        assert_eq!(picture, i420.unwrap().to_picture());
        assert_eq!(picture.get_pixel(2, 2).0, colour.rgb(90, 200, 150));
        assert_eq!(picture.get_pixel(1, 0).0, colour.rgb(20, 100, 120));
        let bgrx: Vec<u8> = picture.pixels().flat_map(|p| [p.0[2], p.0[1], p.0[0], 77]).collect();
        let bgrx = Frame::new((3, 3), 12, PixelFormat::Bgrx8, 0, time, Box::new(bgrx)).unwrap();
        assert_eq!(bgrx.to_picture(), picture);
        let mut part = [0; 6];
        bgrx.copy_rgb(1, 2, &mut part);
        assert_eq!(part[3..], picture.get_pixel(2, 2).0);
        // One byte of chroma is missing.
        let short = vec![luma, mixed[..8].to_vec()];
        let nv12 = PixelFormat::Nv12(colour);
        assert!(Frame::with_planes((3, 3), (4, 5), nv12, 0, time, Box::new(short)).is_none());
    }
}

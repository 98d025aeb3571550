//! A picture of the camera, on its way to the engine.

use super::LineTime;
use std::fmt;

/// How a pixel lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelFormat {
    /// Three bytes, red first.
    Rgb8,
    /// One byte.
    Gray8,
}

impl PixelFormat {
    /// Bytes of one pixel.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Rgb8 => 3,
            Self::Gray8 => 1,
        }
    }
}

/// Memory that holds a frame: a camera's own buffer (no copy) or an owned picture.
pub trait PixelBuffer: Send + Sync {
    /// All rows, `stride_bytes` apart.
    fn bytes(&self) -> &[u8];
}

impl PixelBuffer for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

impl PixelBuffer for image::RgbImage {
    fn bytes(&self) -> &[u8] {
        self.as_raw()
    }
}

/// One frame. Holds the camera's slot until dropped, so it is dropped as soon as it is preprocessed.
pub struct Frame {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Bytes from one row to the next; at least `width * format.bytes()`.
    pub stride_bytes: usize,
    /// Layout of a pixel.
    pub format: PixelFormat,
    /// The camera's frame counter; a jump means frames were lost.
    pub number: u64,
    /// When the picture was taken, as well as the camera can tell.
    pub captured: LineTime,
    pixels: Box<dyn PixelBuffer>,
}

impl Frame {
    /// Wraps camera memory. `None` when the memory is too small for the geometry.
    pub fn new(
        (width, height): (u32, u32),
        stride_bytes: usize,
        format: PixelFormat,
        number: u64,
        captured: LineTime,
        pixels: Box<dyn PixelBuffer>,
    ) -> Option<Self> {
        let row = (width as usize).checked_mul(format.bytes())?;
        let needed =
            stride_bytes.checked_mul((height as usize).checked_sub(1)?)?.checked_add(row)?;
        let fits = width > 0 && stride_bytes >= row && pixels.bytes().len() >= needed;
        fits.then_some(Self { width, height, stride_bytes, format, number, captured, pixels })
    }

    /// A frame made of an owned picture. `None` for an empty picture.
    pub fn from_picture(picture: image::RgbImage, number: u64, captured: LineTime) -> Option<Self> {
        let (width, height) = picture.dimensions();
        let stride_bytes = width as usize * 3;
        let size = (width, height);
        Self::new(size, stride_bytes, PixelFormat::Rgb8, number, captured, Box::new(picture))
    }

    /// All rows, `stride_bytes` apart.
    pub fn bytes(&self) -> &[u8] {
        self.pixels.bytes()
    }

    /// Row `y` without its padding; empty when `y` is outside.
    pub fn row(&self, y: u32) -> &[u8] {
        let start = y as usize * self.stride_bytes;
        let end = start + self.width as usize * self.format.bytes();
        self.bytes().get(start..end).unwrap_or(&[])
    }

    /// An owned colour copy (observers and files only, never the way itself).
    pub fn to_picture(&self) -> image::RgbImage {
        let mut picture = image::RgbImage::new(self.width, self.height);
        for (y, row) in picture.rows_mut().enumerate() {
            let source = self.row(y as u32).chunks_exact(self.format.bytes());
            for (pixel, s) in row.zip(source) {
                pixel.0 = match *s {
                    [r, g, b] => [r, g, b],
                    [v] => [v, v, v],
                    _ => [0, 0, 0],
                };
            }
        }
        picture
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame {} ({}x{} {:?})", self.number, self.width, self.height, self.format)
    }
}

#[cfg(test)]
mod tests {
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
}

//! The observers' own pictures: a bounded pool of buffers that go round.

use crossbeam_channel::{Receiver, Sender, bounded};
use image::RgbImage;
use std::ops::{Deref, DerefMut};

/// A bounded number of picture buffers; what is dropped comes back.
#[derive(Clone, Debug)]
pub struct PicturePool {
    free: Receiver<RgbImage>,
    back: Sender<RgbImage>,
}

/// A picture of the pool.
#[derive(Debug)]
pub struct PooledPicture {
    picture: RgbImage,
    back: Option<Sender<RgbImage>>,
}

impl PicturePool {
    /// At most `count` pictures at a time; their memory is taken at first use and kept.
    pub fn new(count: usize) -> Self {
        let (back, free) = bounded(count);
        for _ in 0..count {
            let _ = back.try_send(RgbImage::new(0, 0));
        }
        Self { free, back }
    }

    /// A buffer with whatever it held before; `None` while all are in use.
    pub fn take(&self) -> Option<PooledPicture> {
        let picture = self.free.try_recv().ok()?;
        Some(PooledPicture { picture, back: Some(self.back.clone()) })
    }
}

impl From<RgbImage> for PooledPicture {
    /// A picture of no pool.
    fn from(picture: RgbImage) -> Self {
        Self { picture, back: None }
    }
}

impl Deref for PooledPicture {
    type Target = RgbImage;
    fn deref(&self) -> &RgbImage {
        &self.picture
    }
}

impl DerefMut for PooledPicture {
    fn deref_mut(&mut self) -> &mut RgbImage {
        &mut self.picture
    }
}

impl Drop for PooledPicture {
    fn drop(&mut self) {
        if let Some(back) = &self.back {
            // The pool has as many places as pictures.
            let _ = back.try_send(std::mem::take(&mut self.picture));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_go_round_and_no_more_than_there_are() {
        let pool = PicturePool::new(1);
        let mut first = pool.take().unwrap();
        assert!(pool.take().is_none());
        *first = RgbImage::new(8, 4);
        drop(first);
        assert_eq!(pool.take().unwrap().dimensions(), (8, 4));
        drop(PooledPicture::from(RgbImage::new(1, 1)));
        assert_eq!(pool.take().unwrap().dimensions(), (8, 4));
    }
}

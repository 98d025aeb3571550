//! Pixels of a whole picture as the network wants them (specification 2.1 step 3).

use crate::bundle::Normalisation;
use image::RgbImage;

/// (v/255 - mean) / deviation of a picture that has the input's size already: [3,H,W].
pub fn normalise_picture(picture: &RgbImage, normalisation: &Normalisation) -> Vec<f32> {
    let pixels = picture.width() as usize * picture.height() as usize;
    let mut input = vec![0.0; 3 * pixels];
    for (channel, plane) in input.chunks_exact_mut(pixels.max(1)).enumerate() {
        let mean = normalisation.mean[channel];
        let deviation = normalisation.deviation[channel];
        for (value, pixel) in plane.iter_mut().zip(picture.pixels()) {
            *value = (f32::from(pixel.0[channel]) / 255.0 - mean) / deviation;
        }
    }
    input
}

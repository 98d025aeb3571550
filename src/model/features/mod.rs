//! The frozen backbone in burn (specification 2).

mod backbone;
mod neck;

pub use backbone::FrozenBackbone;
pub use neck::neck;

use super::network::NetworkError;
use super::network::weights::{constant, read};
use crate::bundle::Normalisation;
use image::RgbImage;

/// Features of pictures of side S: one [L, C] per picture, token h·G + w (specification 2.5, 3.1).
pub fn features(
    backbone: &FrozenBackbone,
    normalisation: &Normalisation,
    pictures: &[RgbImage],
) -> Result<Vec<Vec<f32>>, NetworkError> {
    let Some(first) = pictures.first() else { return Ok(Vec::new()) };
    let (width, height) = (first.width() as usize, first.height() as usize);
    let mut values = Vec::with_capacity(pictures.len() * 3 * width * height);
    for picture in pictures {
        for channel in 0..3 {
            let (mean, deviation) = (normalisation.mean[channel], normalisation.deviation[channel]);
            let pixels = picture.as_raw().iter().skip(channel).step_by(3);
            values.extend(pixels.map(|v| (f32::from(*v) / 255.0 - mean) / deviation));
        }
    }
    let images = constant([pictures.len(), 3, height, width], values);
    let features = neck(backbone.taps(images));
    let [batch, channels, grid, _] = features.dims();
    let tokens = features.permute([0, 2, 3, 1]).reshape([batch, grid * grid * channels]);
    Ok(read(tokens)?.chunks_exact(grid * grid * channels).map(<[f32]>::to_vec).collect())
}

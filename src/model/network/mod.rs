//! The head: input projection, encoder, decoder, output projection, refiner (specification 3).

pub mod kernels;
mod layers;
mod refiner;
pub mod weights;

pub use kernels::Dropouts;
pub use layers::{DecoderLayer, EncoderLayer, Pass};
pub use refiner::BatchStatistics;
pub use weights::{NetworkError, Weights};

use super::interpolation::resize;
use burn::tensor::{Tensor, activation};
use layers::{Attention, Linear, Norm};
use refiner::Refiner;

const LAYERS: usize = 4;

/// The head as functions of tensors; built anew from the weights for every pass, which is cheap.
#[derive(Clone, Debug)]
pub struct Head {
    grid: usize,
    input: Linear,
    /// [L, D].
    positions: Tensor<2>,
    encoder: Vec<EncoderLayer>,
    decoder: Vec<DecoderLayer>,
    final_attention: Attention,
    norm: Norm,
    output: Linear,
    refiner: Refiner,
}

impl Head {
    /// The head of `weights` (names of specification 7, `reconstruction.…`).
    pub fn new(weights: &Weights) -> Result<Self, NetworkError> {
        const TRANSFORMER: &str = "reconstruction.transformer";
        let rows: Tensor<2> = weights.tensor("reconstruction.pos_embed.row_embed.weight")?;
        let columns: Tensor<2> = weights.tensor("reconstruction.pos_embed.col_embed.weight")?;
        let encoder = (0..LAYERS)
            .map(|i| EncoderLayer::new(weights, &format!("{TRANSFORMER}.encoder.layers.{i}")));
        let decoder = (0..LAYERS)
            .map(|i| DecoderLayer::new(weights, &format!("{TRANSFORMER}.decoder.layers.{i}")));
        Ok(Self {
            grid: rows.dims()[0],
            input: Linear::new(weights, "reconstruction.input_proj")?,
            positions: positions(rows, columns),
            encoder: encoder.collect::<Result<_, _>>()?,
            decoder: decoder.collect::<Result<_, _>>()?,
            final_attention: Attention::new(
                weights,
                &format!("{TRANSFORMER}.decoder.final_attn_token_to_image"),
            )?,
            norm: Norm::new(weights, &format!("{TRANSFORMER}.decoder.norm"))?,
            output: Linear::new(weights, "reconstruction.output_proj")?,
            refiner: Refiner::new(weights, "reconstruction.seghead")?,
        })
    }

    /// Token grid side G.
    pub const fn grid(&self) -> usize {
        self.grid
    }

    /// Positions [L, D] (3.1).
    pub fn positions(&self) -> Tensor<2> {
        self.positions.clone()
    }

    /// Encoder layers, first to last.
    pub fn encoder_layers(&self) -> &[EncoderLayer] {
        &self.encoder
    }

    /// Decoder layers, first to last.
    pub fn decoder_layers(&self) -> &[DecoderLayer] {
        &self.decoder
    }

    /// What the layers of one pass share.
    pub fn pass<'a>(&self, dropouts: &'a mut Dropouts) -> Pass<'a> {
        Pass { positions: self.positions.clone(), grid: self.grid, dropouts }
    }

    /// Features [B·L, C] → tokens [B·L, D].
    pub fn project(&self, features: Tensor<2>) -> Tensor<2> {
        self.input.apply(features)
    }

    /// Features [B·L, C] → memory M [B·L, D] (3.3).
    pub fn encode(&self, features: Tensor<2>, pass: &mut Pass) -> Tensor<2> {
        self.encoder.iter().fold(self.project(features), |x, layer| layer.apply(x, pass))
    }

    /// Memories of prompt and target, [B·L, D] each → reconstruction [B·L, C] (3.4, 3.5).
    pub fn decode(&self, prompt: Tensor<2>, target: Tensor<2>, pass: &mut Pass) -> Tensor<2> {
        let [prompt, target] = self
            .decoder
            .iter()
            .fold([prompt, target], |[prompt, target], layer| layer.apply(prompt, target, pass));
        self.output.apply(self.finish(prompt, target, pass))
    }

    /// Last attention and norm: decoder output o [B·L, D] (3.5).
    pub fn finish(&self, prompt: Tensor<2>, target: Tensor<2>, pass: &mut Pass) -> Tensor<2> {
        let streams = [&prompt, &target];
        let attended = DecoderLayer::final_attention(&self.final_attention, streams, pass);
        self.norm.add(prompt, attended, pass)
    }

    /// Decoder output [B·L, D] → reconstruction [B·L, C].
    pub fn reconstruct(&self, output: Tensor<2>) -> Tensor<2> {
        self.output.apply(output)
    }

    /// Differences |r - f| [B·L, C] → logits [B, 4G, 4G] (3.6).
    pub fn refine(
        &self,
        difference: Tensor<2>,
        training: Option<&mut Vec<BatchStatistics>>,
    ) -> Tensor<3> {
        self.refiner.apply(difference, self.grid, training)
    }
}

/// pos[h·G + w] = concat(col[w], row[h]) (3.1).
fn positions(rows: Tensor<2>, columns: Tensor<2>) -> Tensor<2> {
    let [grid, width] = rows.dims();
    let rows = rows.unsqueeze_dim::<3>(1).expand([grid, grid, width]);
    let columns = columns.unsqueeze_dim::<3>(0).expand([grid, grid, width]);
    Tensor::cat(vec![columns, rows], 2).reshape([grid * grid, 2 * width])
}

/// Distance map [B, G, G] of r and f, both [B·L, C] (3.7).
pub fn distance_grid(reconstruction: Tensor<2>, features: Tensor<2>, grid: usize) -> Tensor<3> {
    let [rows, _] = features.dims();
    let squares = (reconstruction - features).square().sum_dim(1);
    squares.sqrt().reshape([rows / (grid * grid), grid, grid])
}

/// Grids [B, G, G] → maps [B, S, S] (3.7).
pub fn distance_map(grid: Tensor<3>, side: usize) -> Tensor<3> {
    resize(grid, side)
}

/// Logits [B, 4G, 4G] → refined maps [B, S, S]: resized first, sigmoid after (3.7).
pub fn refined_map(logits: Tensor<3>, side: usize) -> Tensor<3> {
    activation::sigmoid(resize(logits, side))
}

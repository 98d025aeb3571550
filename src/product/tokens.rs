//! Memory tokens: what a product remembers of its good parts.

use super::teacher::TeachError;
use super::{TEACHING_SEED, k_center::k_center};
use crate::bundle::Manifest;
use crate::part::{NamedTensors, Tensor};
use rand::SeedableRng;
use rand_pcg::Pcg64;

/// Sizes of a product's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenSizes {
    /// Tokens of a picture, L.
    pub tokens: usize,
    /// Neck channels, C.
    pub channels: usize,
    /// Channels of the levels a token is made of: strides 8 and 16.
    pub levels: [usize; 2],
    /// Good tokens, N.
    pub good_tokens: usize,
    /// Cell pictures, M.
    pub cell_pictures: usize,
}

impl TokenSizes {
    /// Sizes the manifest asks for.
    pub fn of(manifest: &Manifest) -> Self {
        let geometry = manifest.geometry();
        let [_, _, stride_8, stride_16] = manifest.backbone.tap_channels();
        Self {
            tokens: geometry.tokens,
            channels: geometry.channels,
            levels: [stride_8, stride_16],
            good_tokens: manifest.good_tokens,
            cell_pictures: manifest.cell_pictures,
        }
    }

    /// Channels of a token, E.
    pub const fn width(&self) -> usize {
        self.levels[0] + self.levels[1]
    }
}

/// k of every token [L,E]: the last two levels of f [L,C], each divided by its length (at least
/// 1e-6).
pub fn unit_tokens(features: &Tensor, sizes: &TokenSizes) -> Result<Vec<f32>, TeachError> {
    if features.shape() != [sizes.tokens, sizes.channels] {
        return Err(TeachError::Encoding {
            what: format!("features of shape {:?}", features.shape()),
            expected: format!("[{}, {}]", sizes.tokens, sizes.channels),
        });
    }
    let mut tokens = Vec::with_capacity(sizes.tokens * sizes.width());
    for row in features.values().chunks_exact(sizes.channels) {
        let mut rest = &row[sizes.channels - sizes.width()..];
        for width in sizes.levels {
            let (level, after) = rest.split_at(width);
            let length = level.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-6);
            tokens.extend(level.iter().map(|v| v / length));
            rest = after;
        }
    }
    Ok(tokens)
}

/// Rounds to the numbers FP16 can store, so that scales and thresholds are those of what is kept.
pub(super) fn round_to_half(values: &mut [f32]) {
    for value in values {
        *value = half::f16::from_f32(*value).to_f32();
    }
}

/// Good tokens and cell tokens, as stored.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    /// [N,E].
    pub good_tokens: Vec<f32>,
    /// [M,L,E].
    pub cell_tokens: Vec<f32>,
}

impl Memory {
    /// Memory of whole pictures, each [L,E] and rounded: N tokens by greedy k-center, M pictures
    /// drawn without replacement; fewer are repeated in turn.
    pub fn of_pictures(pictures: &[&[f32]], sizes: &TokenSizes) -> Self {
        let good_tokens = good_tokens(&pictures.concat(), sizes);
        Self { good_tokens, cell_tokens: cell_tokens(pictures, sizes) }
    }

    /// The same, but good tokens are those of all copies by stride 16 alone, as in
    /// [`Memory::of_copies`].
    pub fn of_pictures_and_copies(
        pictures: &[&[f32]],
        copies: &[&[Vec<f32>]],
        sizes: &TokenSizes,
    ) -> Self {
        let all = copies.iter().flat_map(|copies| copies.iter());
        let all: Vec<f32> = all.flat_map(|copy| by_stride_16(copy, sizes)).collect();
        Self { good_tokens: good_tokens(&all, sizes), cell_tokens: cell_tokens(pictures, sizes) }
    }

    /// Memory of one to seven pictures, each as its copies ([L,E], the picture itself first): good
    /// tokens are those of all copies, cell pictures the pictures themselves and then as moved by
    /// one cell in each of eight directions, so that a cell is compared with its neighbours as
    /// well. Stride 8 counts nothing; stride 16 is doubled and counts for both, so distances stay as
    /// large.
    ///
    /// Chosen on held-out good parts and pseudo-anomalies of three products, the same by any two
    /// of them (docs/reference/accuracy.md, "What one picture is worth").
    pub fn of_copies(pictures: &[&[Vec<f32>]], sizes: &TokenSizes) -> Self {
        let width = sizes.width();
        let all = pictures.iter().flat_map(|copies| copies.iter());
        let all: Vec<f32> = all.flat_map(|copy| by_stride_16(copy, sizes)).collect();
        let themselves = pictures.iter().filter_map(|copies| copies.first());
        let themselves: Vec<Vec<f32>> = themselves.map(|copy| by_stride_16(copy, sizes)).collect();
        let mut cells = themselves.concat();
        for picture in &themselves {
            for (row, column) in NEIGHBOURS {
                moved(picture, sizes, row, column, &mut cells);
            }
        }
        let cell_tokens = in_turn(&cells, sizes.cell_pictures * sizes.tokens * width);
        let good_tokens = good_tokens(&all, sizes);
        Self { good_tokens, cell_tokens }
    }

    /// The product tensors the manifest lists.
    pub fn into_tensors(
        self,
        manifest: &Manifest,
        prompt_memory: Option<&Tensor>,
        scales: [f32; 3],
    ) -> Result<NamedTensors, TeachError> {
        let mut tensors = NamedTensors::new();
        let Self { mut good_tokens, mut cell_tokens } = self;
        for input in &manifest.inputs {
            let values = match input.name.as_str() {
                "good_tokens" => std::mem::take(&mut good_tokens),
                "cell_tokens" => std::mem::take(&mut cell_tokens),
                "fusion_scales" => scales.to_vec(),
                "prompt_memory" => match prompt_memory {
                    Some(memory) => memory.values().to_vec(),
                    None => {
                        return Err(TeachError::Encoding {
                            what: "no prompt memory".into(),
                            expected: format!("one of shape {:?}", input.shape),
                        });
                    }
                },
                _ => return Err(TeachError::UnknownInput(input.name.clone())),
            };
            let tensor = Tensor::new(input.shape.clone(), values)
                .map_err(|source| TeachError::Shape { name: input.name.clone(), source })?;
            tensors.insert(input.name.clone(), tensor);
        }
        Ok(tensors)
    }
}

/// N of these tokens by greedy k-center; fewer are repeated in turn.
fn good_tokens(all: &[f32], sizes: &TokenSizes) -> Vec<f32> {
    let width = sizes.width();
    if all.len() / width <= sizes.good_tokens {
        return in_turn(all, sizes.good_tokens * width);
    }
    let chosen = k_center(all, width, sizes.good_tokens, TEACHING_SEED);
    chosen.iter().flat_map(|&i| &all[i * width..][..width]).copied().collect()
}

/// M pictures drawn without replacement; fewer are repeated in turn.
fn cell_tokens(pictures: &[&[f32]], sizes: &TokenSizes) -> Vec<f32> {
    let drawn = if pictures.len() > sizes.cell_pictures {
        let mut generator = Pcg64::seed_from_u64(TEACHING_SEED);
        rand::seq::index::sample(&mut generator, pictures.len(), sizes.cell_pictures).into_vec()
    } else {
        (0..pictures.len()).collect()
    };
    let cells: Vec<f32> = drawn.iter().flat_map(|&i| pictures[i]).copied().collect();
    in_turn(&cells, sizes.cell_pictures * sizes.tokens * sizes.width())
}

/// Tokens whose stride 8 counts nothing and whose stride 16 is doubled and counts for both.
fn by_stride_16(tokens: &[f32], sizes: &TokenSizes) -> Vec<f32> {
    let mut tokens = tokens.to_vec();
    for token in tokens.chunks_exact_mut(sizes.width()) {
        let (stride_8, stride_16) = token.split_at_mut(sizes.levels[0]);
        stride_8.fill(0.0);
        stride_16.iter_mut().for_each(|value| *value *= 2.0);
    }
    tokens
}

/// The eight cells around a cell: rows down, columns right.
const NEIGHBOURS: [(isize, isize); 8] =
    [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)];

/// Appends `picture` [L,E] so that each cell holds the token of the cell that lies `rows` and
/// `columns` away; the border goes on outside.
fn moved(picture: &[f32], sizes: &TokenSizes, rows: isize, columns: isize, to: &mut Vec<f32>) {
    let side = sizes.tokens.isqrt();
    let at = |cell: usize, step: isize| cell.saturating_add_signed(step).min(side - 1);
    for row in 0..side {
        for column in 0..side {
            let cell = at(row, rows) * side + at(column, columns);
            to.extend_from_slice(&picture[cell * sizes.width()..][..sizes.width()]);
        }
    }
}

/// `count` values, beginning again when they run out.
fn in_turn(values: &[f32], count: usize) -> Vec<f32> {
    values.iter().copied().cycle().take(count).collect()
}

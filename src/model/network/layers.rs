//! The transformer's layers (specification 3.2 to 3.4).

use super::kernels::{self, AttentionPlan, Dropouts};
use super::weights::{NetworkError, Weights};
use burn::tensor::Tensor;

/// Hidden width D.
pub const WIDTH: usize = 256;
/// Attention heads.
pub const HEADS: usize = 8;

/// What every layer of one pass shares.
pub struct Pass<'a> {
    /// Position of every token [L, D].
    pub positions: Tensor<2>,
    /// Token grid side G.
    pub grid: usize,
    /// Dropouts still to be drawn.
    pub dropouts: &'a mut Dropouts,
}

impl Pass<'_> {
    /// x + pos, for queries and keys: [B·L, D].
    fn with_positions(&self, x: &Tensor<2>) -> Tensor<2> {
        let [rows, width] = x.dims();
        let tokens = self.grid * self.grid;
        let pictures = x.clone().reshape([rows / tokens, tokens, width]);
        (pictures + self.positions.clone().unsqueeze()).reshape([rows, width])
    }

    /// Half side of the hidden neighbourhood: floor(floor(G/2)/2).
    const fn reach(&self) -> usize {
        self.grid / 2 / 2
    }
}

/// A dense layer.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Tensor<2>,
    bias: Tensor<1>,
}

impl Linear {
    /// `name`.weight and `name`.bias.
    pub fn new(weights: &Weights, name: &str) -> Result<Self, NetworkError> {
        Ok(Self {
            weight: weights.tensor(&format!("{name}.weight"))?,
            bias: weights.tensor(&format!("{name}.bias"))?,
        })
    }

    /// x·Wᵀ + b.
    pub fn apply(&self, x: Tensor<2>) -> Tensor<2> {
        kernels::linear(x, self.weight.clone(), self.bias.clone())
    }
}

/// Affine layer normalisation.
#[derive(Clone, Debug)]
pub struct Norm {
    weight: Tensor<1>,
    bias: Tensor<1>,
}

impl Norm {
    /// `name`.weight and `name`.bias.
    pub fn new(weights: &Weights, name: &str) -> Result<Self, NetworkError> {
        Ok(Self {
            weight: weights.tensor(&format!("{name}.weight"))?,
            bias: weights.tensor(&format!("{name}.bias"))?,
        })
    }

    /// LN(x + dropout(branch)).
    pub fn add(&self, x: Tensor<2>, branch: Tensor<2>, pass: &mut Pass) -> Tensor<2> {
        let dropout = pass.dropouts.draw();
        kernels::add_norm(x, branch, self.weight.clone(), self.bias.clone(), dropout)
    }
}

/// Multi-head attention with its projections.
#[derive(Clone, Debug)]
pub struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
}

impl Attention {
    /// The packed projection q, k, v and the output projection under `name`.
    pub fn new(weights: &Weights, name: &str) -> Result<Self, NetworkError> {
        let weight: Tensor<2> = weights.tensor(&format!("{name}.in_proj_weight"))?;
        let bias: Tensor<1> = weights.tensor(&format!("{name}.in_proj_bias"))?;
        let part = |index: usize| Linear {
            weight: weight.clone().narrow(0, index * WIDTH, WIDTH),
            bias: bias.clone().narrow(0, index * WIDTH, WIDTH),
        };
        Ok(Self {
            query: part(0),
            key: part(1),
            value: part(2),
            output: Linear::new(weights, &format!("{name}.out_proj"))?,
        })
    }

    /// att(query, key, value), all [B·L, D]; `masked`: neighbours hidden.
    pub fn apply(&self, inputs: [Tensor<2>; 3], masked: bool, pass: &mut Pass) -> Tensor<2> {
        let [query, key, value] = inputs;
        let plan = AttentionPlan {
            batch: query.dims()[0] / (pass.grid * pass.grid),
            grid: pass.grid,
            heads: HEADS,
            hidden_reach: masked.then(|| pass.reach()),
            dropout: pass.dropouts.draw(),
        };
        let (query, key) = (self.query.apply(query), self.key.apply(key));
        self.output.apply(kernels::attention(query, key, self.value.apply(value), plan))
    }
}

/// One encoder layer.
#[derive(Clone, Debug)]
pub struct EncoderLayer {
    attention: Attention,
    expand: Linear,
    contract: Linear,
    norms: [Norm; 2],
}

impl EncoderLayer {
    /// The layer under `name`.
    pub fn new(weights: &Weights, name: &str) -> Result<Self, NetworkError> {
        Ok(Self {
            attention: Attention::new(weights, &format!("{name}.self_attn"))?,
            expand: Linear::new(weights, &format!("{name}.linear1"))?,
            contract: Linear::new(weights, &format!("{name}.linear2"))?,
            norms: [
                Norm::new(weights, &format!("{name}.norm1"))?,
                Norm::new(weights, &format!("{name}.norm2"))?,
            ],
        })
    }

    /// x [B·L, D] → [B·L, D].
    pub fn apply(&self, x: Tensor<2>, pass: &mut Pass) -> Tensor<2> {
        let placed = pass.with_positions(&x);
        let attended = self.attention.apply([placed.clone(), placed, x.clone()], true, pass);
        let x = self.norms[0].add(x, attended, pass);
        let hidden = kernels::relu_dropout(self.expand.apply(x.clone()), pass.dropouts.draw());
        self.norms[1].add(x, self.contract.apply(hidden), pass)
    }
}

/// One bidirectional decoder layer.
#[derive(Clone, Debug)]
pub struct DecoderLayer {
    prompt_to_target: Attention,
    target_to_prompt: Attention,
    expand: Linear,
    contract: Linear,
    norms: [Norm; 3],
}

impl DecoderLayer {
    /// The layer under `name`.
    pub fn new(weights: &Weights, name: &str) -> Result<Self, NetworkError> {
        Ok(Self {
            prompt_to_target: Attention::new(
                weights,
                &format!("{name}.cross_attn_prompt_to_image"),
            )?,
            target_to_prompt: Attention::new(
                weights,
                &format!("{name}.cross_attn_image_to_prompt"),
            )?,
            expand: Linear::new(weights, &format!("{name}.mlp.lin1"))?,
            contract: Linear::new(weights, &format!("{name}.mlp.lin2"))?,
            norms: [
                Norm::new(weights, &format!("{name}.norm1"))?,
                Norm::new(weights, &format!("{name}.norm2"))?,
                Norm::new(weights, &format!("{name}.norm3"))?,
            ],
        })
    }

    /// Prompt and target streams, [B·L, D] each, one layer on.
    pub fn apply(&self, prompt: Tensor<2>, target: Tensor<2>, pass: &mut Pass) -> [Tensor<2>; 2] {
        let placed_target = pass.with_positions(&target);
        let inputs = [pass.with_positions(&prompt), placed_target.clone(), target.clone()];
        let attended = self.prompt_to_target.apply(inputs, true, pass);
        let prompt = self.norms[0].add(prompt, attended, pass);
        // No dropout inside: the reference never applies it there (4.5).
        let hidden = kernels::relu_dropout(self.expand.apply(prompt.clone()), None);
        let prompt = self.norms[1].add(prompt, self.contract.apply(hidden), pass);
        let inputs = [placed_target, pass.with_positions(&prompt), prompt.clone()];
        let attended = self.target_to_prompt.apply(inputs, true, pass);
        let target = self.norms[2].add(target, attended, pass);
        [prompt, target]
    }

    /// The unmasked last attention of the prompt stream on the target stream (3.5, before LN).
    pub fn final_attention(
        attention: &Attention,
        streams: [&Tensor<2>; 2],
        pass: &mut Pass,
    ) -> Tensor<2> {
        let [prompt, target] = streams;
        let inputs = [pass.with_positions(prompt), pass.with_positions(target), target.clone()];
        attention.apply(inputs, false, pass)
    }
}

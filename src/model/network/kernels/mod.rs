//! The network's own operations for burn: fused passes over all cores with hand-written gradients.
//!
//! burn's flex back end runs element-wise operations on one core and its autodiff takes softmax and
//! normalisation apart; these five operations are where the time of a training step goes.

mod attention;
mod convolution;
mod dropout;
mod feed_forward;
mod linear;
mod norm;
mod simd;

pub use attention::AttentionPlan;
pub use dropout::{Dropout, Dropouts};

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{Tensor, TensorData};
use burn_flex::FlexTensor;

/// Operations of the network that burn does not offer in one piece.
#[backend_extension(Flex, Autodiff)]
pub trait Kernels: Backend {
    /// x·Wᵀ + b.
    fn linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// Scaled, masked attention of all heads.
    fn attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        plan: AttentionPlan,
    ) -> FloatTensor<Self>;

    /// Dropout of max(x, 0).
    fn relu_dropout(x: FloatTensor<Self>, dropout: Option<Dropout>) -> FloatTensor<Self>;

    /// 3x3 convolution, channels last.
    fn convolution(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        side: usize,
    ) -> FloatTensor<Self>;

    /// Layer normalisation of x + dropout(branch).
    fn add_norm(
        x: FloatTensor<Self>,
        branch: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        dropout: Option<Dropout>,
    ) -> FloatTensor<Self>;
}

impl Kernels for Flex {
    fn linear(x: FlexTensor, weight: FlexTensor, bias: FlexTensor) -> FlexTensor {
        linear::forward(&x, &weight, &bias)
    }

    fn attention(
        query: FlexTensor,
        key: FlexTensor,
        value: FlexTensor,
        plan: AttentionPlan,
    ) -> FlexTensor {
        attention::forward(&query, &key, &value, plan).0
    }

    fn relu_dropout(x: FlexTensor, dropout: Option<Dropout>) -> FlexTensor {
        feed_forward::forward(x, dropout)
    }

    fn convolution(x: FlexTensor, weight: FlexTensor, side: usize) -> FlexTensor {
        convolution::forward(&x, &weight, side)
    }

    fn add_norm(
        x: FlexTensor,
        branch: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        dropout: Option<Dropout>,
    ) -> FlexTensor {
        norm::forward(&x, &branch, &weight, &bias, dropout).0
    }
}

impl<C: CheckpointStrategy> Kernels for Autodiff<Flex, C> {
    fn linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        linear::tracked::<C>(x, weight, bias)
    }

    fn attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        plan: AttentionPlan,
    ) -> FloatTensor<Self> {
        attention::tracked::<C>(query, key, value, plan)
    }

    fn relu_dropout(x: FloatTensor<Self>, dropout: Option<Dropout>) -> FloatTensor<Self> {
        feed_forward::tracked::<C>(x, dropout)
    }

    fn convolution(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        side: usize,
    ) -> FloatTensor<Self> {
        convolution::tracked::<C>(x, weight, side)
    }

    fn add_norm(
        x: FloatTensor<Self>,
        branch: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        dropout: Option<Dropout>,
    ) -> FloatTensor<Self> {
        norm::tracked::<C>(x, branch, [weight, bias], dropout)
    }
}

/// x·Wᵀ + b: x [n, i], W [o, i], b [o] → [n, o].
pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as Kernels>::linear(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
    ))
}

/// Attention of all heads of `plan` on query, key and value [B·L, D] each → [B·L, D]
/// (specification 3.2, without the projections).
pub fn attention(
    query: Tensor<2>,
    key: Tensor<2>,
    value: Tensor<2>,
    plan: AttentionPlan,
) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as Kernels>::attention(
        query.into_dispatch(),
        key.into_dispatch(),
        value.into_dispatch(),
        plan,
    ))
}

/// Dropout of max(x, 0).
pub fn relu_dropout(x: Tensor<2>, dropout: Option<Dropout>) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as Kernels>::relu_dropout(x.into_dispatch(), dropout))
}

/// 3x3 convolution of x [B·side², I], padded by one, with weight [O, 9·I], whose columns run over
/// tap line, tap column, channel → [B·side², O].
pub fn convolution(x: Tensor<2>, weight: Tensor<2>, side: usize) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as Kernels>::convolution(
        x.into_dispatch(),
        weight.into_dispatch(),
        side,
    ))
}

/// Layer normalisation (eps 1e-5) of x + dropout(branch), both [n, D].
pub fn add_norm(
    x: Tensor<2>,
    branch: Tensor<2>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    dropout: Option<Dropout>,
) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as Kernels>::add_norm(
        x.into_dispatch(),
        branch.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        dropout,
    ))
}

/// Row-major values of a tensor that `to_contiguous` made.
fn values(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().unwrap_or_default()
}

/// A tensor of `values`.
fn tensor<const D: usize>(shape: [usize; D], values: Vec<f32>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// Rows and columns of a matrix.
fn dims(tensor: &FlexTensor) -> [usize; 2] {
    let shape = tensor.layout().shape();
    [shape[0], shape[1]]
}

#[cfg(test)]
mod tests;

//! The fused operations against the same formulas in plain burn operations.

use super::*;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, activation};
use rand::{Rng, SeedableRng};
use rand_distr::StandardNormal;
use rand_pcg::Pcg64Mcg;

fn random<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    let random = Pcg64Mcg::seed_from_u64(seed);
    let values = random.sample_iter(StandardNormal).take(shape.iter().product());
    let data = TensorData::new(values.collect::<Vec<f32>>(), shape);
    Tensor::from_data(data, &Device::flex().autodiff()).require_grad()
}

/// Output and gradients of `inputs` under a loss that weighs every output element differently.
fn run(inputs: &[Tensor<2>], operation: impl Fn(&[Tensor<2>]) -> Tensor<2>) -> Vec<Vec<f32>> {
    let output = operation(inputs);
    let factors = random(output.dims(), 99).detach();
    let gradients = (output.clone() * factors).sum().backward();
    let mut found = vec![output.inner().try_into_vec_as().unwrap()];
    for input in inputs {
        found.push(input.grad(&gradients).unwrap().try_into_vec_as().unwrap());
    }
    found
}

fn assert_close(fused: &[Vec<f32>], plain: &[Vec<f32>]) {
    for (index, (fused, plain)) in fused.iter().zip(plain).enumerate() {
        assert_eq!(fused.len(), plain.len());
        let size = plain.iter().fold(0.0_f32, |size, value| size.max(value.abs()));
        for (a, b) in fused.iter().zip(plain) {
            assert!((a - b).abs() <= 2e-5 * size, "tensor {index}: {a} {b} (size {size})");
        }
    }
}

/// The factors of a dropout as a constant.
fn factors<const D: usize>(dropout: Option<Dropout>, shape: [usize; D]) -> Tensor<D> {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count as u32)
        .map(|index| dropout.map_or(1.0, |dropout| dropout.factor(index)))
        .collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

const DROPOUTS: [Option<Dropout>; 2] = [None, Some(Dropout::new(0x1234_5678_9abc, 0.3))];

#[test]
fn linear_is_the_plain_product() {
    let inputs = [random([70, 24], 1), random([40, 24], 2), random([1, 40], 3)];
    let fused = run(&inputs, |t| linear(t[0].clone(), t[1].clone(), t[2].clone().reshape([40])));
    let plain = run(&inputs, |t| t[0].clone().matmul(t[1].clone().transpose()) + t[2].clone());
    assert_close(&fused, &plain);
}

#[test]
fn relu_dropout_is_the_plain_product() {
    for dropout in DROPOUTS {
        let inputs = [random([33, 20], 4)];
        let fused = run(&inputs, |t| relu_dropout(t[0].clone(), dropout));
        let plain = run(&inputs, |t| activation::relu(t[0].clone()) * factors(dropout, [33, 20]));
        assert_close(&fused, &plain);
    }
}

#[test]
fn add_norm_is_the_plain_formula() {
    for dropout in DROPOUTS {
        let inputs =
            [random([150, 32], 5), random([150, 32], 6), random([1, 32], 7), random([1, 32], 8)];
        let fused = run(&inputs, |t| {
            let [weight, bias] = [&t[2], &t[3]].map(|t| t.clone().reshape([32]));
            add_norm(t[0].clone(), t[1].clone(), weight, bias, dropout)
        });
        let plain = run(&inputs, |t| {
            let sum = t[0].clone() + t[1].clone() * factors(dropout, [150, 32]);
            let centred = sum.clone() - sum.mean_dim(1);
            let variance = centred.clone().square().mean_dim(1);
            centred / (variance + 1e-5).sqrt() * t[2].clone() + t[3].clone()
        });
        assert_close(&fused, &plain);
    }
}

/// 0 where a query sees a key, -infinity in its neighbourhood.
fn mask(grid: usize, reach: Option<usize>) -> Tensor<2> {
    let tokens = grid * grid;
    let hidden = |query: usize, key: usize| {
        reach.is_some_and(|reach| {
            (query / grid).abs_diff(key / grid) <= reach
                && (query % grid).abs_diff(key % grid) <= reach
        })
    };
    let values: Vec<f32> = (0..tokens * tokens)
        .map(|i| if hidden(i / tokens, i % tokens) { f32::NEG_INFINITY } else { 0.0 })
        .collect();
    Tensor::from_data(TensorData::new(values, [tokens, tokens]), &Device::flex())
}

#[test]
fn attention_is_the_plain_formula() {
    const BATCH: usize = 3;
    const GRID: usize = 5;
    const TOKENS: usize = GRID * GRID;
    for (dropout, hidden_reach) in [(None, None), (None, Some(1)), (DROPOUTS[1], Some(1))] {
        let plan = AttentionPlan { batch: BATCH, grid: GRID, heads: 2, hidden_reach, dropout };
        let inputs = [9, 10, 11].map(|seed| random([BATCH * TOKENS, 16], seed));
        let fused = run(&inputs, |t| attention(t[0].clone(), t[1].clone(), t[2].clone(), plan));
        let plain = run(&inputs, |t| {
            let heads = |t: &Tensor<2>| t.clone().reshape([BATCH, TOKENS, 2, 8]).swap_dims(1, 2);
            let logits = heads(&t[0]).matmul(heads(&t[1]).transpose()) / 8.0_f32.sqrt()
                + mask(GRID, hidden_reach).unsqueeze();
            let weights =
                activation::softmax(logits, 3) * factors(dropout, [BATCH, 2, TOKENS, TOKENS]);
            weights.matmul(heads(&t[2])).swap_dims(1, 2).reshape([BATCH * TOKENS, 16])
        });
        assert_close(&fused, &plain);
    }
}

#[test]
fn convolution_is_burns_own() {
    const SIDE: usize = 5;
    let inputs = [random([3 * SIDE * SIDE, 4], 14), random([6, 36], 15)];
    let fused = run(&inputs, |t| convolution(t[0].clone(), t[1].clone(), SIDE));
    let plain = run(&inputs, |t| {
        let maps = t[0].clone().reshape([3, SIDE, SIDE, 4]).permute([0, 3, 1, 2]);
        let weight = t[1].clone().reshape([6, 3, 3, 4]).permute([0, 3, 1, 2]);
        let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
        let output = conv2d(maps, weight, None, options);
        output.permute([0, 2, 3, 1]).reshape([3 * SIDE * SIDE, 6])
    });
    assert_close(&fused, &plain);
}

#[test]
fn nothing_is_recorded_without_autodiff() {
    let plain = random([4, 8], 12).inner();
    let weight = random([8, 8], 13).inner();
    let output = linear(plain, weight, Tensor::zeros([8], &Device::flex()));
    assert!(!output.is_autodiff());
}

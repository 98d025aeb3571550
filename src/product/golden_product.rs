//! The product behind a bundle's golden scores: taught by the rule image `prompt` alone, so that
//! any box can make it again and prove its engine.

use super::teacher::{TeachError, Teacher};
use super::tokens::{Memory, TokenSizes, unit_tokens};
use crate::part::NamedTensors;

/// Tensors of a product whose memory is the tokens of `prompt` ([3,S,S], normalised), every map at
/// scale 1 (the network alone for a network without memory).
pub fn golden_product(
    teacher: &mut dyn Teacher,
    prompt: &[f32],
) -> Result<NamedTensors, TeachError> {
    let sizes = TokenSizes::of(teacher.manifest());
    let encoding = teacher.encode(prompt)?;
    let tokens = unit_tokens(&encoding.features, &sizes)?;
    let memory = Memory::of_pictures(&[&tokens], &sizes);
    let network = f32::from(teacher.manifest().has_network());
    let prompt_memory = encoding.prompt_memory.as_ref();
    memory.into_tensors(teacher.manifest(), prompt_memory, [network, 1.0, 1.0])
}

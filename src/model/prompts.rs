//! The prompt of each training product: which, and how typical.

use super::data::{ProductSamples, Samples, Sources, is_held_out};
use super::train::{TrainError, TrainSettings};
use crate::bundle::{Manifest, Recipe, TrainingPrompt};
use crate::part::Tensor;
use crate::product::{Spread, TokenSizes, unit_tokens};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which of the good parts trained on is a product's prompt wherever something is measured: losses
/// on held-out parts, K, fusion and what one picture needs. Every step draws its prompts at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PromptChoice {
    /// The first by name.
    First,
    /// The one nearest to the middle of all.
    Auto,
}

/// Chooses the prompt of every product and says how typical each is.
pub fn choose_prompts(
    settings: &TrainSettings,
    sources: &Sources,
    samples: &mut Samples,
) -> Result<BTreeMap<String, TrainingPrompt>, TrainError> {
    let manifest = Manifest::new(settings.backbone, settings.side, Recipe::Untrained);
    let sizes = TokenSizes::of(&manifest);
    let mut prompts = BTreeMap::new();
    for (product, pictures) in samples.products.iter_mut().zip(&sources.products) {
        if product.training.is_empty() {
            continue;
        }
        let spread = spread_of(product, &sizes)?;
        if settings.prompt == PromptChoice::Auto {
            product.prompt = spread.nearest();
        }
        let place = spread.place_of_part(product.prompt);
        let kept = pictures.good.iter().enumerate().filter(|(index, _)| !is_held_out(*index));
        let file = kept.map(|(_, path)| path).nth(product.prompt).and_then(|path| path.file_name());
        let prompt = TrainingPrompt {
            picture: file.unwrap_or_default().to_string_lossy().into_owned(),
            distance: place.distance,
            median: place.median,
            largest: place.largest,
        };
        prompts.insert(product.name.clone(), prompt);
    }
    Ok(prompts)
}

fn spread_of(product: &ProductSamples, sizes: &TokenSizes) -> Result<Spread, TrainError> {
    let failed = |reason: String| TrainError::Features(reason);
    let tokens = product.training.iter().map(|sample| {
        let features = Tensor::new(vec![sizes.tokens, sizes.channels], sample.features.clone())
            .map_err(|error| failed(error.to_string()))?;
        unit_tokens(&features, sizes).map_err(|error| failed(error.to_string()))
    });
    let tokens = tokens.collect::<Result<Vec<_>, _>>()?;
    Ok(Spread::of_tokens(&tokens.iter().map(Vec::as_slice).collect::<Vec<_>>(), sizes))
}

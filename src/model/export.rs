//! From a trained head to what a bundle holds.

use super::data::Sources;
use super::losses::Objective;
use super::train::{Budget, TrainError, TrainProgress, TrainSettings, Trained};
use crate::bundle::{Recipe, TrainingRecord, rule};
use crate::part::NamedTensors;
use std::collections::BTreeMap;

/// What training hands to the bundle.
#[derive(Clone, Debug)]
pub struct TrainOutcome {
    /// All weights: backbone as read, head with running statistics, official names.
    pub weights: NamedTensors,
    /// The recipe, `Untrained` for a budget of no steps.
    pub recipe: Recipe,
    /// K, 0 without a network.
    pub constant_k: f32,
    /// How the weights came to be.
    pub record: TrainingRecord,
}

/// Assembles the weights and the record of a training.
pub fn finish(
    settings: &TrainSettings,
    sources: &Sources,
    trained: Trained,
    _progress: &mut dyn FnMut(&TrainProgress),
) -> Result<TrainOutcome, TrainError> {
    let recipe = match settings.budget {
        Budget::Steps(0) => Recipe::Untrained,
        _ => settings.recipe,
    };
    let mut metrics = BTreeMap::new();
    if let Some(figures) = &trained.held_out {
        metrics.extend([
            ("reconstruction_loss".to_owned(), trained.record.reconstruction_loss),
            ("dice_loss".to_owned(), trained.record.dice_loss),
            ("held_out_reconstruction_loss".to_owned(), figures.reconstruction_loss),
            ("held_out_pseudo_reconstruction_loss".to_owned(), figures.pseudo_reconstruction_loss),
            ("held_out_dice_loss".to_owned(), figures.dice_loss),
            ("held_out_loss".to_owned(), figures.loss()),
            ("held_out_pictures".to_owned(), figures.pictures as f64),
        ]);
    }
    if let Some(best) = trained.record.best.filter(|_| settings.recipe == Recipe::Default) {
        metrics.insert("weights_of_step".to_owned(), best.step as f64);
    }
    Ok(TrainOutcome {
        weights: weights(settings, trained.head)?,
        recipe,
        constant_k: match (trained.held_out, settings.objective) {
            (Some(figures), Objective::Full | Objective::WithoutRestoration) => figures.constant_k,
            _ => 0.0,
        },
        record: TrainingRecord {
            command: settings.command.clone(),
            seed: settings.seed,
            steps: trained.record.step,
            seconds: trained.record.seconds,
            data_sha256: trained.record.identity.data_sha256,
            products: sources.products.iter().map(|product| product.name.clone()).collect(),
            metrics,
            prompts: BTreeMap::new(),
            source: None,
        },
    })
}

/// The backbone's tensors up to its last tap, as read, and the head's.
fn weights(settings: &TrainSettings, head: NamedTensors) -> Result<NamedTensors, TrainError> {
    let mut weights = head;
    for (name, _) in rule::backbone_shapes(settings.backbone) {
        let tensor = settings.backbone_weights.get(&name);
        let tensor = tensor.ok_or_else(|| super::network::NetworkError::Missing(name.clone()))?;
        weights.insert(name, tensor.clone());
    }
    Ok(weights)
}

//! The `engine` thread: owns the session, judges what it sees, loads products between two parts.

use super::ActiveProduct;
use super::observation::{Drops, InspectedPart, Observation};
use crate::engine::{Engine, EngineError, Inspection};
use crate::judge::{Judge, RegionRule};
use crate::line::LineEvent;
use crate::part::{
    Decision, LineTime, PartAnnouncement, Reason, RegionOfInterest, SequenceNumber, Verdict,
};
use arc_swap::ArcSwapOption;
use crossbeam_channel::{Receiver, Sender, select_biased};
use image::RgbImage;
use std::sync::Arc;
use std::thread::JoinHandle;

/// One part, ready for the engine.
pub struct Work {
    /// The part.
    pub part: PartAnnouncement,
    /// Input tensor [3, S, S] from the pool.
    pub tensor: Vec<f32>,
    /// The revision of the product it is judged by.
    pub product: Arc<ActiveProduct>,
    /// The part of the frame that is inspected.
    pub inspected: RegionOfInterest,
    /// A copy for observers, if a slot was free.
    pub picture: Option<RgbImage>,
}

/// Looks a product up by its number.
pub type ProductLoader = Box<dyn FnMut(u16) -> Result<ActiveProduct, ProductLoadError> + Send>;

/// Why a product cannot become active.
#[derive(Debug, thiserror::Error)]
pub enum ProductLoadError {
    /// No product has this number.
    #[error("no product has number {0}; `onenipd product list` shows what there is")]
    Unknown(u16),
    /// It exists but cannot be used.
    #[error("product {number}: {reason}")]
    Unusable {
        /// Its number.
        number: u16,
        /// What is wrong, with the remedy.
        reason: String,
    },
}

/// Everything the thread owns or is handed.
pub struct EngineStage {
    /// The engine.
    pub engine: Box<dyn Engine>,
    /// Parts to inspect, in order of sequence.
    pub work: Receiver<Work>,
    /// Product numbers to load.
    pub loads: Receiver<u16>,
    /// Looks products up.
    pub loader: ProductLoader,
    /// Region rule, if one is configured.
    pub region_rule: Option<RegionRule>,
    /// The product parts are judged as.
    pub product: Arc<ArcSwapOption<ActiveProduct>>,
    /// Tensors go back here.
    pub return_tensors: Sender<Vec<f32>>,
    /// A picture slot is free again.
    pub free_picture_slot: Sender<()>,
    /// To the line.
    pub events: Sender<LineEvent>,
    /// To the observers.
    pub observations: Sender<Observation>,
    /// Counted drops.
    pub drops: Arc<Drops>,
}

impl EngineStage {
    /// Starts the thread; it ends when line and preprocessing are gone.
    pub fn spawn(self) -> std::io::Result<JoinHandle<()>> {
        let judge = Judge::new(self.engine.side());
        let mut thread = EngineThread { stage: self, judge };
        std::thread::Builder::new().name("engine".into()).spawn(move || thread.run())
    }
}

struct EngineThread {
    stage: EngineStage,
    judge: Judge,
}

impl EngineThread {
    fn run(&mut self) {
        let (loads, work) = (self.stage.loads.clone(), self.stage.work.clone());
        loop {
            // Parts first: a product change waits until no earlier part is left.
            select_biased! {
                recv(work) -> part => match part {
                    Ok(part) => self.inspect(part),
                    Err(_) => return,
                },
                recv(loads) -> number => match number {
                    Ok(number) => self.load(number),
                    Err(_) => return,
                },
            }
        }
    }

    fn inspect(&mut self, work: Work) {
        let sequence = work.part.sequence;
        // What cannot be decided in time is not started.
        if LineTime::now() >= work.part.deadline {
            self.give_back(work);
            return self.send(Verdict::nothing_known(sequence, Reason::Deadline));
        }
        let slot = self.stage.engine.input();
        if slot.len() != work.tensor.len() {
            self.give_back(work);
            return self.send(Verdict::nothing_known(sequence, Reason::EngineError));
        }
        slot.copy_from_slice(&work.tensor);
        let thresholds = work.product.thresholds;
        let rule = self.stage.region_rule.as_ref();
        let judged = match self.stage.engine.run() {
            Ok(inspection) => {
                let Inspection { score, anomaly_map, .. } = inspection;
                let judge = &mut self.judge;
                let inspected = work.inspected;
                let verdict =
                    judge.judge(sequence, score, anomaly_map, inspected, &thresholds, rule);
                // The verdict leaves before anything is copied for people.
                send(&self.stage.events, verdict);
                let keep = verdict.decision() != Decision::Pass && work.picture.is_some();
                Ok(keep.then(|| anomaly_map.to_vec()))
            }
            Err(error) => Err(error),
        };
        match judged {
            Ok(Some(anomaly_map)) => self.show(work, anomaly_map),
            Ok(None) => self.give_back(work),
            Err(error) => self.failed(sequence, &error, work),
        }
    }

    fn failed(&self, sequence: SequenceNumber, error: &EngineError, work: Work) {
        self.send(Verdict::nothing_known(sequence, Reason::EngineError));
        self.say(log::Level::Error, format!("part {sequence}: {error}"));
        self.give_back(work);
    }

    fn show(&self, work: Work, anomaly_map: Vec<f32>) {
        let Work { part, tensor, product, inspected, picture } = work;
        // The pool holds as many places as there are tensors.
        let _ = self.stage.return_tensors.try_send(tensor);
        let Some(picture) = picture else { return };
        let inspected_part = InspectedPart {
            sequence: part.sequence,
            product_name: Arc::clone(&product.name),
            picture,
            anomaly_map,
            side: self.stage.engine.side(),
            inspected,
            pixel_threshold: product.thresholds.pixel,
            regions: self.judge.regions().to_vec(),
        };
        self.observe(Observation::Inspected(Box::new(inspected_part)));
        let _ = self.stage.free_picture_slot.try_send(());
    }

    fn load(&mut self, number: u16) {
        let loaded = (self.stage.loader)(number).and_then(|product| {
            self.stage.engine.set_product(&product.tensors).map_err(|error| {
                ProductLoadError::Unusable { number, reason: error.to_string() }
            })?;
            Ok(product)
        });
        let (product, result) = match loaded {
            Ok(product) => {
                self.say(
                    log::Level::Info,
                    format!("product {number} ({}) is active", product.name),
                );
                self.stage.product.store(Some(Arc::new(product)));
                (number, 0)
            }
            Err(error) => {
                self.stage.product.store(None);
                self.say(log::Level::Error, error.to_string());
                (0, if matches!(error, ProductLoadError::Unknown(_)) { 2 } else { 5 })
            }
        };
        let time = LineTime::now();
        let _ = self.stage.events.send(LineEvent::ProductChanged { product, result, time });
    }

    fn give_back(&self, work: Work) {
        let _ = self.stage.return_tensors.try_send(work.tensor);
        if work.picture.is_some() {
            let _ = self.stage.free_picture_slot.try_send(());
        }
    }

    fn send(&self, verdict: Verdict) {
        send(&self.stage.events, verdict);
    }

    fn say(&self, level: log::Level, message: String) {
        self.observe(Observation::Said { level, message });
    }

    fn observe(&self, observation: Observation) {
        if self.stage.observations.try_send(observation).is_err() {
            Drops::count(&self.stage.drops.observations);
        }
    }
}

fn send(events: &Sender<LineEvent>, verdict: Verdict) {
    // Should the line be gone, its outputs are safe already.
    let _ = events.send(LineEvent::Verdict { verdict, time: LineTime::now() });
}

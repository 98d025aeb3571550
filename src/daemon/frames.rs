//! The `preprocess` thread: pairs frames with parts and turns them into the engine's input.

use super::inspection::Work;
use super::observation::{Drops, Observation};
use super::pairing::{FrameFate, FrameWindow, Pairing};
use crate::camera::{FrameProblem, HealthCheck, HealthLimits};
use crate::line::LineEvent;
use crate::part::{
    Duration, Frame, LineTime, PartAnnouncement, Reason, RegionOfInterest, SequenceNumber, Verdict,
};
use crate::preprocess::CpuPreprocessor;
use arc_swap::ArcSwapOption;
use crossbeam_channel::{Receiver, Sender, select};
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Frames kept that came before their announcement.
const EARLY_FRAMES: usize = 2;
/// How long the thread sleeps at most when nothing is due.
const IDLE: Duration = Duration::from_millis(500);

/// Everything the thread owns or is handed.
pub struct FrameStage {
    /// Parts of the line.
    pub announcements: Receiver<PartAnnouncement>,
    /// Frames of the camera.
    pub frames: Receiver<Frame>,
    /// To the engine.
    pub work: Sender<Work>,
    /// Free input tensors, [3, S, S] each.
    pub free_tensors: Receiver<Vec<f32>>,
    /// Given back when a part gets no further.
    pub return_tensors: Sender<Vec<f32>>,
    /// To the line.
    pub events: Sender<LineEvent>,
    /// To the observers.
    pub observations: Sender<Observation>,
    /// The product parts are judged as.
    pub product: Arc<ArcSwapOption<super::ActiveProduct>>,
    /// Free places for pictures on their way to observers.
    pub picture_slots: Receiver<()>,
    /// Frame into tensor.
    pub preprocessor: CpuPreprocessor,
    /// When a frame belongs to a trigger.
    pub window: FrameWindow,
    /// Every frame is a part: the frame itself is the trigger.
    pub free_run: bool,
    /// Counted drops.
    pub drops: Arc<Drops>,
}

impl FrameStage {
    /// Starts the thread; it ends when line and camera are gone.
    pub fn spawn(self) -> std::io::Result<JoinHandle<()>> {
        let pairing = Pairing::new(self.window);
        let early = VecDeque::with_capacity(EARLY_FRAMES + 1);
        let health = HealthCheck::new(HealthLimits::default());
        let mut thread = FrameThread { stage: self, pairing, early, health };
        std::thread::Builder::new().name("preprocess-0".into()).spawn(move || thread.run())
    }
}

/// A frame without a part so far.
struct EarlyFrame {
    frame: Frame,
    until: LineTime,
}

struct FrameThread {
    stage: FrameStage,
    pairing: Pairing,
    early: VecDeque<EarlyFrame>,
    health: HealthCheck,
}

impl FrameThread {
    fn run(&mut self) {
        let announcements = self.stage.announcements.clone();
        let mut frames = self.stage.frames.clone();
        loop {
            let now = LineTime::now();
            let kept = self.early.iter().map(|early| early.until);
            let due = kept.chain(self.pairing.next_due()).min();
            let wait = due.map_or(IDLE, |due| due.since(now));
            select! {
                recv(announcements) -> part => match part {
                    Ok(part) => self.announced(part),
                    Err(_) => return,
                },
                recv(frames) -> frame => match frame {
                    Ok(frame) => self.arrived(frame),
                    // The camera is gone; the parts still need their "no frame".
                    Err(_) => frames = crossbeam_channel::never(),
                },
                default(wait) => {}
            }
            self.expire(LineTime::now());
        }
    }

    fn announced(&mut self, part: PartAnnouncement) {
        if !self.pairing.announce(part) {
            self.nothing_known(part.sequence, Reason::Overrun);
            return;
        }
        // The frame may have been faster than its announcement.
        for _ in 0..self.early.len() {
            if let Some(early) = self.early.pop_front() {
                self.pair(early.frame);
            }
        }
    }

    fn arrived(&mut self, frame: Frame) {
        if self.stage.free_run {
            let time = frame.captured;
            let source = crate::line::TriggerSource::FreeRun;
            if self.stage.events.send(LineEvent::Trigger { time, source }).is_err() {
                return;
            }
        }
        self.pair(frame);
    }

    fn pair(&mut self, frame: Frame) {
        match self.pairing.frame(frame.captured, LineTime::now()) {
            FrameFate::Part(part) => self.prepare(part, &frame),
            FrameFate::Early { until } => {
                if self.early.len() == EARLY_FRAMES {
                    self.give_up_oldest();
                }
                self.early.push_back(EarlyFrame { frame, until });
            }
            FrameFate::Mismatch => self.tell_mismatch(),
        }
    }

    fn give_up_oldest(&mut self) {
        if let Some(early) = self.early.pop_front() {
            Drops::count(&self.stage.drops.frames_without_trigger);
            self.pairing.given_up(early.frame.captured);
            self.tell_mismatch();
        }
    }

    fn tell_mismatch(&self) {
        for &sequence in self.pairing.mismatched() {
            self.nothing_known(sequence, Reason::FrameTriggerMismatch);
        }
    }

    fn prepare(&mut self, part: PartAnnouncement, frame: &Frame) {
        if let Some(problem) = self.health.observe(frame) {
            self.say_problem(problem);
            return self.nothing_known(part.sequence, Reason::BadFrame);
        }
        let product = self.stage.product.load_full();
        let Some(product) = product.filter(|product| product.number == part.product) else {
            return self.nothing_known(part.sequence, Reason::ModelMissing);
        };
        let Ok(mut tensor) = self.stage.free_tensors.try_recv() else {
            return self.nothing_known(part.sequence, Reason::Overrun);
        };
        let roi = product.region_of_interest;
        let done = self.stage.preprocessor.run(frame, roi, &mut tensor);
        if let Err(error) = done {
            let message = format!("frame {}: {error}", frame.number);
            self.observe(Observation::Said { level: log::Level::Warn, message });
            self.give_back(tensor);
            return self.nothing_known(part.sequence, Reason::BadFrame);
        }
        let whole = RegionOfInterest { x: 0, y: 0, width: frame.width, height: frame.height };
        let picture = match self.stage.picture_slots.try_recv() {
            Ok(()) => Some(frame.to_picture()),
            Err(_) => {
                Drops::count(&self.stage.drops.pictures);
                None
            }
        };
        let inspected = roi.unwrap_or(whole);
        let work = Work { part, tensor, product, inspected, picture };
        if let Err(refused) = self.stage.work.try_send(work) {
            let work = refused.into_inner();
            self.give_back(work.tensor);
            self.nothing_known(part.sequence, Reason::Overrun);
        }
    }

    fn expire(&mut self, now: LineTime) {
        while let Some(sequence) = self.pairing.expired(now) {
            self.nothing_known(sequence, Reason::NoFrame);
        }
        while self.early.iter().any(|early| early.until <= now) {
            // Frames come in order, so what came before an expired one has no part either.
            self.give_up_oldest();
        }
    }

    fn nothing_known(&self, sequence: SequenceNumber, reason: Reason) {
        let verdict = Verdict::nothing_known(sequence, reason);
        // Should the line be gone, its outputs are safe already.
        let _ = self.stage.events.send(LineEvent::Verdict { verdict, time: LineTime::now() });
    }

    fn give_back(&self, tensor: Vec<f32>) {
        // The pool holds as many places as there are tensors.
        let _ = self.stage.return_tensors.try_send(tensor);
    }

    fn say_problem(&self, problem: FrameProblem) {
        let message = format!("camera: {problem}");
        self.observe(Observation::Said { level: log::Level::Warn, message });
    }

    fn observe(&self, observation: Observation) {
        if self.stage.observations.try_send(observation).is_err() {
            Drops::count(&self.stage.drops.observations);
        }
    }
}

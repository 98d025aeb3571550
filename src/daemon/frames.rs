//! The `preprocess` thread: pairs frames with parts and turns them into the engine's input.

use super::inspection::{Input, Work};
use super::observation::{Drops, Observation};
use super::pairing::{Fate, FrameWindow, Pairing, Stamped};
use crate::camera::{FrameProblem, HealthCheck, HealthLimits};
use crate::line::LineEvent;
use crate::line_io::channel;
use crate::part::{
    Duration, Frame, LineTime, PartAnnouncement, Reason, SequenceNumber, StageTimes, Verdict,
};
use crate::preprocess::{CpuPreprocessor, PreprocessError, check_region};
use crate::records::{PicturePool, PooledPicture};
use arc_swap::ArcSwapOption;
use crossbeam_channel::{Receiver, Sender, TryRecvError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Lost frames of a camera that runs freely are parts nobody saw, as long as no more are missing;
/// a counter that jumps further has begun anew.
const MISSING_FRAMES: u64 = 8;
/// How long the thread sleeps at most when nothing is due.
const IDLE: Duration = Duration::from_millis(500);

/// Everything the thread owns or is handed.
pub struct FrameStage {
    /// Parts of the line.
    pub announcements: channel::Receiver<PartAnnouncement>,
    /// Frames of the camera; who sends one wakes the announcements' receiver.
    pub frames: Receiver<Frame>,
    /// To the engine.
    pub work: Sender<Work>,
    /// Free input tensors, [3, S, S] each.
    pub free_tensors: Receiver<Vec<f32>>,
    /// Given back when a part gets no further.
    pub return_tensors: Sender<Vec<f32>>,
    /// To the line.
    pub events: channel::Sender<LineEvent>,
    /// To the observers.
    pub observations: channel::Sender<Observation>,
    /// The product parts are judged as.
    pub product: Arc<ArcSwapOption<super::ActiveProduct>>,
    /// Pictures for observers.
    pub pictures: Option<PicturePool>,
    /// The engine brings frames into its slot by itself.
    pub takes_frames: Arc<AtomicBool>,
    /// Frame into tensor, for an engine that does not.
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
        let health = HealthCheck::new(HealthLimits::default());
        let mut thread = FrameThread { stage: self, pairing, health, last_free: None };
        std::thread::Builder::new().name("preprocess-0".into()).spawn(move || thread.run())
    }
}

/// A frame and when it came.
struct Arrived {
    frame: Frame,
    arrived: LineTime,
}

struct FrameThread {
    stage: FrameStage,
    pairing: Pairing<Arrived>,
    health: HealthCheck,
    /// Free run: counter and stamp of the frame before.
    last_free: Option<(u64, LineTime)>,
}

impl FrameThread {
    fn run(&mut self) {
        loop {
            let now = LineTime::now();
            let wait = self.pairing.next_due().map_or(IDLE, |due| due.since(now));
            let part = self.stage.announcements.try_recv();
            // The camera may be gone; the parts still need their "no frame".
            let frame = self.stage.frames.try_recv();
            match (part, frame) {
                (Err(TryRecvError::Disconnected), _) => return,
                (Err(TryRecvError::Empty), Err(_)) => self.stage.announcements.wait(wait),
                (part, frame) => {
                    part.into_iter().for_each(|part| self.pairing.announce(part));
                    frame.into_iter().for_each(|frame| self.arrived(frame));
                }
            }
            self.pairing.expire(LineTime::now());
            while let Some(fate) = self.pairing.next_fate() {
                self.carry_out(fate);
            }
        }
    }

    fn arrived(&mut self, frame: Frame) {
        let (number, captured) = (frame.number, frame.captured);
        if self.stage.free_run {
            self.trigger_by(number, captured);
        }
        let arrived = LineTime::now();
        self.pairing.frame(Stamped { number, captured, frame: Arrived { frame, arrived } });
    }

    /// Free run: the frame is the trigger. Where the camera's counter tells of lost frames, those
    /// were parts too: they are announced where they must have been, and get no frame.
    fn trigger_by(&mut self, number: u64, captured: LineTime) {
        let last = self.last_free.replace((number, captured));
        if let Some((last_number, last_captured)) = last {
            let steps = number.wrapping_sub(last_number);
            if (2..=MISSING_FRAMES + 1).contains(&steps) {
                let step = captured.since(last_captured) / steps as u32;
                (1..steps as u32).for_each(|i| self.trigger(last_captured + step * i));
            }
        }
        self.trigger(captured);
    }

    fn trigger(&self, time: LineTime) {
        let source = crate::line::TriggerSource::FreeRun;
        // Should the line be gone, its outputs are safe already.
        let _ = self.stage.events.send(LineEvent::Trigger { time, source });
    }

    fn carry_out(&mut self, fate: Fate<Arrived>) {
        match fate {
            Fate::Paired(part, arrived) => {
                // Only shown (ACQUIRING): what waits for the line more than this is not held up.
                let (sequence, time) = (part.sequence, LineTime::now());
                let _ = self.stage.events.try_send(LineEvent::Captured { sequence, time });
                self.prepare(part, arrived);
            }
            Fate::Undecided(sequence, reason) => {
                self.nothing_known(sequence, reason);
                if reason == Reason::FrameTriggerMismatch {
                    let message = format!(
                        "part {sequence}: more than one frame fits it, or the camera's counter \
                         disagrees; a camera that runs freely needs camera.triggered = false"
                    );
                    self.observe(Observation::Said { level: log::Level::Warn, message });
                }
            }
            Fate::Stray => Drops::count(&self.stage.drops.frames_without_trigger),
        }
    }

    fn prepare(&mut self, part: PartAnnouncement, Arrived { frame, arrived }: Arrived) {
        let paired = LineTime::now();
        if let Some(problem) = self.health.observe(&frame) {
            self.say_problem(problem);
            return self.nothing_known(part.sequence, Reason::BadFrame);
        }
        let product = self.stage.product.load_full();
        let Some(product) = product.filter(|product| product.number == part.product) else {
            return self.nothing_known(part.sequence, Reason::ModelMissing);
        };
        let (number, captured) = (frame.number, frame.captured);
        let inspected = match check_region(&frame, product.region_of_interest) {
            Ok(inspected) => inspected,
            Err(error) => return self.unfit(part.sequence, number, &error),
        };
        let picture = self.picture(&frame);
        let input = if self.stage.takes_frames.load(Ordering::Relaxed) {
            Input::Frame(frame)
        } else {
            let Ok(mut tensor) = self.stage.free_tensors.try_recv() else {
                return self.nothing_known(part.sequence, Reason::Overrun);
            };
            let done = self.stage.preprocessor.run(&frame, Some(inspected), &mut tensor);
            if let Err(error) = done {
                self.give_back(Some(Input::Tensor(tensor)));
                return self.unfit(part.sequence, number, &error);
            }
            Input::Tensor(tensor)
        };
        let times = StageTimes {
            captured,
            arrived,
            paired,
            prepared: LineTime::now(),
            ..StageTimes::default()
        };
        let input = Some(input);
        let work = Work { part, input, product, inspected, picture, times };
        if let Err(refused) = self.stage.work.try_send(work) {
            self.give_back(refused.into_inner().input);
            self.nothing_known(part.sequence, Reason::Overrun);
        }
    }

    /// A frame that cannot be brought into the engine's slot.
    fn unfit(&self, sequence: SequenceNumber, number: u64, error: &PreprocessError) {
        let message = format!("frame {number}: {error}");
        self.observe(Observation::Said { level: log::Level::Warn, message });
        self.nothing_known(sequence, Reason::BadFrame);
    }

    /// A copy for observers, if they want one and have room.
    fn picture(&self, frame: &Frame) -> Option<PooledPicture> {
        let Some(mut picture) = self.stage.pictures.as_ref()?.take() else {
            Drops::count(&self.stage.drops.pictures);
            return None;
        };
        frame.copy_to(&mut picture);
        Some(picture)
    }

    fn nothing_known(&self, sequence: SequenceNumber, reason: Reason) {
        let verdict = Verdict::nothing_known(sequence, reason);
        // Should the line be gone, its outputs are safe already.
        let _ = self.stage.events.send(LineEvent::Verdict { verdict, time: LineTime::now() });
    }

    fn give_back(&self, input: Option<Input>) {
        if let Some(Input::Tensor(tensor)) = input {
            // The pool holds as many places as there are tensors.
            let _ = self.stage.return_tensors.try_send(tensor);
        }
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

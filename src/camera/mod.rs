//! Cameras: something that pushes frames, stamped and counted, and never blocks.

use crate::part::Frame;
use crossbeam_channel::{Sender, TrySendError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use thiserror::Error;

/// A running camera. Dropping it stops it.
pub trait Camera: Send {
    /// Stops the stream; frames already sent stay valid.
    fn stop(&mut self);
}

/// Where a camera puts its frames. A full queue is a counted overrun, never a wait.
#[derive(Clone)]
pub struct FrameSink {
    frames: Sender<Frame>,
    troubles: Sender<CameraError>,
    overruns: Arc<AtomicU64>,
    delivered: Arc<AtomicU64>,
}

impl FrameSink {
    /// `frames`: bounded queue of the way; `troubles`: bounded queue of the supervisor.
    pub fn new(frames: Sender<Frame>, troubles: Sender<CameraError>) -> Self {
        Self { frames, troubles, overruns: Arc::default(), delivered: Arc::default() }
    }

    /// Hands a frame over; drops and counts it when the way is full or gone.
    pub fn push(&self, frame: Frame) {
        match self.frames.try_send(frame) {
            Ok(()) => self.delivered.fetch_add(1, Ordering::Relaxed),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.overruns.fetch_add(1, Ordering::Relaxed)
            }
        };
    }

    /// Says that the stream has failed; the supervisor decides what follows.
    pub fn fail(&self, trouble: CameraError) {
        // The supervisor acts on the first trouble; more of them say nothing new.
        let _ = self.troubles.try_send(trouble);
    }

    /// Frames dropped because the way was full.
    pub fn overruns(&self) -> u64 {
        self.overruns.load(Ordering::Relaxed)
    }

    /// Frames handed over.
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }
}

/// Why a camera gives no frames.
#[derive(Debug, Error)]
pub enum CameraError {
    /// The description cannot be parsed or names a missing element.
    #[error("camera pipeline `{description}`: {reason}")]
    Pipeline {
        /// The gst-launch description.
        description: String,
        /// What GStreamer said, with the remedy.
        reason: String,
    },
    /// The device, file or stream is missing or failed.
    #[error("camera {source_name}: {reason}")]
    Stream {
        /// Device, URI or folder.
        source_name: String,
        /// What happened, with the remedy.
        reason: String,
    },
    /// The stream has ended.
    #[error("camera {source_name}: the stream has ended")]
    Ended {
        /// Device, URI or folder.
        source_name: String,
    },
}

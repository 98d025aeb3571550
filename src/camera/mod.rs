//! Cameras: something that pushes frames, stamped and counted, and never blocks.

mod folder;
mod gstreamer;
mod health;
mod library;
mod remedy;
mod simulated;
mod stream;

pub use folder::{FolderCamera, FolderPicture, FolderStream, pictures_in};
pub use gstreamer::GStreamerCamera;
pub use health::{FrameProblem, HealthCheck, HealthLimits};
pub use library::{library_version, missing_elements};
pub use simulated::{PictureFeed, SimulatedCamera};

use crate::part::Frame;
use crossbeam_channel::{Sender, TrySendError};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use thiserror::Error;

/// Where the pictures come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CameraSource {
    /// A gst-launch description. `! videoconvert ! video/x-raw,format={RGB,GRAY8,NV12,I420,BGRx} !
    /// appsink` is appended, unless it ends in an appsink named `onenipd` already.
    Pipeline(String),
    /// Anything GStreamer can play: `rtsp://`, `http://`, `file://`.
    Uri(String),
    /// A V4L2 device, such as `/dev/video0`.
    Device(PathBuf),
    /// Pictures of a folder, by name, over and over.
    Folder(PathBuf),
}

/// What to start.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraSettings {
    /// Where the pictures come from.
    pub source: CameraSource,
    /// Width and height asked of a device; the other sources say it themselves.
    pub size: Option<(u32, u32)>,
    /// Rate asked of a device, or kept by a folder ([`FolderStream::DEFAULT_RATE`]); the other
    /// sources say it themselves.
    pub frames_per_second: Option<f64>,
}

/// Starts the camera that `settings` describe; from then on frames arrive in `sink`.
///
/// # Errors
/// A missing device, element, stream or folder, with the remedy. May take some seconds.
pub fn start(settings: &CameraSettings, sink: FrameSink) -> Result<Box<dyn Camera>, CameraError> {
    Ok(match &settings.source {
        CameraSource::Folder(folder) => {
            let rate = settings.frames_per_second.unwrap_or(FolderStream::DEFAULT_RATE);
            Box::new(FolderStream::start(folder, rate, sink)?)
        }
        CameraSource::Pipeline(_) | CameraSource::Uri(_) | CameraSource::Device(_) => {
            Box::new(GStreamerCamera::start(settings, sink)?)
        }
    })
}

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
    wake: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl FrameSink {
    /// `frames`: bounded queue of the way; `troubles`: bounded queue of the supervisor.
    pub fn new(frames: Sender<Frame>, troubles: Sender<CameraError>) -> Self {
        let (overruns, delivered) = (Arc::default(), Arc::default());
        Self { frames, troubles, overruns, delivered, wake: None }
    }

    /// Calls `wake` after each frame handed over.
    pub fn waking(self, wake: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self { wake: Some(wake), ..self }
    }

    /// Hands a frame over; drops and counts it when the way is full or gone.
    pub fn push(&self, frame: Frame) {
        match self.frames.try_send(frame) {
            Ok(()) => {
                self.delivered.fetch_add(1, Ordering::Relaxed);
                self.wake.iter().for_each(|wake| wake());
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.overruns.fetch_add(1, Ordering::Relaxed);
            }
        }
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

//! Pictures of a folder in place of a camera: one per trigger (replay), or at a steady rate.

use super::{Camera, CameraError, FrameSink};
use crate::dataset;
use crate::part::{Duration, Frame, LineTime};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use image::RgbImage;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// Pictures decoded ahead: one more than is in use, so that decoding and inspecting overlap.
const DECODED_AHEAD: usize = 2;

/// A decoded picture of the folder, ready to be shot.
#[derive(Debug)]
pub struct FolderPicture {
    /// Where it lies.
    pub path: PathBuf,
    /// Its place among the paths, from 0; becomes the frame's number.
    pub index: usize,
    /// The picture.
    pub picture: RgbImage,
}

/// Gives the pictures of `paths` one by one, decoded ahead on a thread of its own.
pub struct FolderCamera {
    // Dropped before the thread is joined: that ends it.
    decoded: Option<Receiver<Result<FolderPicture, CameraError>>>,
    decoder: Option<JoinHandle<()>>,
    sink: FrameSink,
}

impl FolderCamera {
    /// Starts decoding.
    ///
    /// # Errors
    /// No paths, or no thread.
    pub fn start(paths: Vec<PathBuf>, sink: FrameSink) -> Result<Self, CameraError> {
        let Some(first) = paths.first() else {
            return Err(unreadable(Path::new("no folder"), "there are no pictures to show"));
        };
        let first = first.clone();
        let (sender, decoded) = bounded(DECODED_AHEAD);
        let decoder = std::thread::Builder::new()
            .name("camera-folder".to_owned())
            .spawn(move || decode_all(paths, &sender))
            .map_err(|error| unreadable(&first, &format!("no thread to read it: {error}")))?;
        Ok(Self { decoded: Some(decoded), decoder: Some(decoder), sink })
    }

    /// The next picture, waiting for its decoding if need be; `None` after the last.
    ///
    /// # Errors
    /// The next file is not a readable picture; the one after it follows at the next call.
    pub fn next_picture(&mut self) -> Option<Result<FolderPicture, CameraError>> {
        self.decoded.as_ref()?.recv().ok()
    }

    /// Pushes `picture` as a frame taken at `time`, usually the moment of its trigger.
    pub fn shoot(&self, picture: FolderPicture, time: LineTime) {
        if let Some(frame) = Frame::from_picture(picture.picture, picture.index as u64, time) {
            self.sink.push(frame);
        }
    }
}

impl Camera for FolderCamera {
    fn stop(&mut self) {
        self.decoded = None;
        if let Some(decoder) = self.decoder.take() {
            let _ = decoder.join();
        }
    }
}

impl Drop for FolderCamera {
    fn drop(&mut self) {
        self.stop();
    }
}

fn unreadable(path: &Path, reason: &str) -> CameraError {
    CameraError::Stream { source_name: path.display().to_string(), reason: reason.to_owned() }
}

fn decode_all(paths: Vec<PathBuf>, sender: &Sender<Result<FolderPicture, CameraError>>) {
    for (index, path) in paths.into_iter().enumerate() {
        let picture = decode(&path).map(|picture| FolderPicture { path, index, picture });
        if sender.send(picture).is_err() {
            return;
        }
    }
}

fn decode(path: &Path) -> Result<RgbImage, CameraError> {
    dataset::read_picture(path).map_err(|error| unreadable(path, &error.to_string()))
}

/// The pictures of `folder`, by name.
///
/// # Errors
/// The folder cannot be read, or holds no picture.
pub fn pictures_in(folder: &Path) -> Result<Vec<PathBuf>, CameraError> {
    dataset::list_pictures(folder).map_err(|error| unreadable(folder, &error.to_string()))
}

/// A folder shown over and over at a steady rate, as a camera that runs freely. Frames are numbered
/// from 0 and stamped as they are sent.
pub struct FolderStream {
    // Dropped before the thread is joined: that ends it.
    keep_going: Option<Sender<()>>,
    shower: Option<JoinHandle<()>>,
}

impl FolderStream {
    /// Frames per second when nothing is asked for.
    pub const DEFAULT_RATE: f64 = 10.0;

    /// Starts showing `folder` at `frames_per_second`.
    ///
    /// # Errors
    /// No readable folder with pictures, or a rate that is not positive.
    pub fn start(
        folder: &Path,
        frames_per_second: f64,
        sink: FrameSink,
    ) -> Result<Self, CameraError> {
        let period = Some(1.0 / frames_per_second)
            .filter(|seconds| *seconds > 0.0)
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .ok_or_else(|| unreadable(folder, "the rate must be more than 0 per second"))?;
        let paths = pictures_in(folder)?;
        let (keep_going, stopped) = bounded(0);
        let shower = std::thread::Builder::new()
            .name("camera-folder".to_owned())
            .spawn(move || show(&paths, period, &stopped, &sink))
            .map_err(|error| unreadable(folder, &format!("no thread to read it: {error}")))?;
        Ok(Self { keep_going: Some(keep_going), shower: Some(shower) })
    }
}

impl Camera for FolderStream {
    fn stop(&mut self) {
        self.keep_going = None;
        if let Some(shower) = self.shower.take() {
            let _ = shower.join();
        }
    }
}

impl Drop for FolderStream {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Shows pictures until `stopped` is closed or one cannot be read.
fn show(paths: &[PathBuf], period: Duration, stopped: &Receiver<()>, sink: &FrameSink) {
    let mut due = LineTime::now();
    for (number, path) in (0_u64..).zip(paths.iter().cycle()) {
        let picture = match decode(path) {
            Ok(picture) => picture,
            Err(trouble) => return sink.fail(trouble),
        };
        let wait = due.since(LineTime::now());
        if stopped.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
        let time = LineTime::now();
        if let Some(frame) = Frame::from_picture(picture, number, time) {
            sink.push(frame);
        }
        // After a slow picture the rate goes on from now; it does not catch up in a burst.
        due = time.max(due) + period;
    }
}

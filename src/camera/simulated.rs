//! A camera whose pictures a caller draws, through a real GStreamer pipeline.

use super::stream::{Stamps, Stream, TAIL, parse};
use super::{Camera, CameraError, FrameSink};
use crate::part::LineTime;
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use image::RgbImage;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Name of the element that takes the pictures.
const FEED_NAME: &str = "onenipd_feed";
/// Pictures that may wait between feed and way: enough for a burst of triggers while the pipeline's
/// thread gets no turn, and bounded.
const WAITING_PICTURES: u64 = 8;

/// The camera of the simulator: appsrc, convert, appsink, as a real one would be read.
pub struct SimulatedCamera {
    stream: Stream,
}

/// The way into a [`SimulatedCamera`]: whoever draws the pictures holds it.
#[derive(Clone)]
pub struct PictureFeed {
    source: gst_app::AppSrc,
    size: (u32, u32),
    numbers: Arc<AtomicU64>,
    dropped: Arc<AtomicU64>,
}

impl SimulatedCamera {
    /// Starts a camera of `width` x `height` pixels. Both at least 1.
    ///
    /// # Errors
    /// GStreamer or one of its elements is missing.
    pub fn start(
        width: u32,
        height: u32,
        sink: FrameSink,
    ) -> Result<(Self, PictureFeed), CameraError> {
        let name = "simulated camera";
        let description = format!(
            "appsrc name={FEED_NAME} is-live=true format=time block=false max-bytes=0 \
             max-buffers={WAITING_PICTURES} ! {TAIL}"
        );
        let pipeline = parse(&description, name)?;
        let refused =
            |reason: String| CameraError::Pipeline { description: description.clone(), reason };
        let source = pipeline.by_name(FEED_NAME).and_downcast::<gst_app::AppSrc>();
        let source = source.ok_or_else(|| refused("it has no appsrc".to_owned()))?;
        let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::Rgb, width, height)
            .fps(gst::Fraction::new(0, 1))
            .build();
        let caps = info.and_then(|info| info.to_caps());
        source.set_caps(Some(&caps.map_err(|error| refused(error.to_string()))?));
        let stream = Stream::start(pipeline, name, Stamps::Given, sink)?;
        let (numbers, dropped) = (Arc::default(), Arc::default());
        Ok((Self { stream }, PictureFeed { source, size: (width, height), numbers, dropped }))
    }
}

impl Camera for SimulatedCamera {
    fn stop(&mut self) {
        self.stream.stop();
    }
}

impl PictureFeed {
    /// Sends a picture taken at `captured`, which the frame will carry. Never waits. `false`: the
    /// picture is dropped and counted (of another size, too many are waiting, or the camera is
    /// stopped).
    pub fn push(&self, picture: RgbImage, captured: LineTime) -> bool {
        // Counted before anything can fail: a dropped picture shows as a jump of the number.
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let room = self.source.current_level_buffers() < WAITING_PICTURES;
        let sent = room
            && self
                .buffer(picture, number, captured)
                .is_some_and(|buffer| self.source.push_buffer(buffer).is_ok());
        if !sent {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        sent
    }

    /// Pictures dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn buffer(&self, picture: RgbImage, number: u64, captured: LineTime) -> Option<gst::Buffer> {
        let (width, height) = self.size;
        if picture.dimensions() != self.size {
            return None;
        }
        let stride = i32::try_from(width.checked_mul(3)?).ok()?;
        let mut buffer = gst::Buffer::from_mut_slice(picture.into_raw());
        let writable = buffer.get_mut()?;
        writable.set_pts(gst::ClockTime::from_nseconds(captured.as_nanos()));
        writable.set_offset(number);
        writable.set_offset_end(number + 1);
        // GStreamer would expect rows padded to four bytes; ours are not.
        gst_video::VideoMeta::add_full(
            writable,
            gst_video::VideoFrameFlags::empty(),
            gst_video::VideoFormat::Rgb,
            width,
            height,
            &[0],
            &[stride],
        )
        .ok()?;
        Some(buffer)
    }
}

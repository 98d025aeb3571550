//! A running GStreamer pipeline that ends in an appsink: frames to the sink without a copy,
//! errors and the end of the stream to the supervisor.
//!
//! Threads: GStreamer's own call `take_sample`; one of ours waits on the bus. Neither ever blocks
//! on the way.

use super::{CameraError, FrameSink, remedy};
use crate::part::{ColourConversion, ColourMatrix, Frame, LineTime, PixelBuffer, PixelFormat};
use gst::prelude::*;
use gst_video::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

/// Name of the appsink frames are taken from.
pub(super) const SINK_NAME: &str = "onenipd";
/// What makes any video end in frames this house can read. Two buffers, the older one dropped: a
/// camera is never held up, and what is inspected is never stale.
pub(super) const TAIL: &str = "videoconvert ! video/x-raw,\
                               format={(string)RGB,(string)GRAY8,(string)NV12,(string)I420,\
                               (string)BGRx} ! \
                               appsink name=onenipd max-buffers=2 drop=true sync=false";
/// How long a source that is not live may take to give its first picture.
const START_TIMEOUT: gst::ClockTime = gst::ClockTime::from_seconds(10);
/// Name of the message that ends the bus thread.
const STOP_MESSAGE: &str = "onenipd-stop";

/// What a frame's time means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stamps {
    /// Presentation times are the `LineTime` of the picture itself.
    Given,
    /// A live source stamps on the pipeline's clock, which is made the monotonic system clock, so
    /// base time + running time is the capture time; a source that is not live has no capture
    /// time, and its frames are stamped at arrival.
    Clock,
}

/// A pipeline that plays. Dropping it stops it.
pub(super) struct Stream {
    pipeline: gst::Pipeline,
    watcher: Option<JoinHandle<()>>,
}

/// Parses a gst-launch description; `shown` is what errors call it.
pub(super) fn parse(description: &str, shown: &str) -> Result<gst::Pipeline, CameraError> {
    gst::init().map_err(|error| remedy::unparsable(shown, &error, &[]))?;
    let mut context = gst::ParseContext::new();
    let flags = gst::ParseFlags::FATAL_ERRORS;
    let element = gst::parse::launch_full(description, Some(&mut context), flags)
        .map_err(|error| remedy::unparsable(shown, &error, &context.missing_elements()))?;
    // A description of one element gives that element alone.
    match element.downcast::<gst::Pipeline>() {
        Ok(pipeline) => Ok(pipeline),
        Err(element) => {
            let pipeline = gst::Pipeline::new();
            pipeline.add(&element).map_err(|error| CameraError::Pipeline {
                description: shown.to_owned(),
                reason: error.to_string(),
            })?;
            Ok(pipeline)
        }
    }
}

impl Stream {
    /// Plays `pipeline`; `name` is what errors call it. Waits for the first picture of a source
    /// that is not live.
    pub(super) fn start(
        pipeline: gst::Pipeline,
        name: &str,
        stamps: Stamps,
        sink: FrameSink,
    ) -> Result<Self, CameraError> {
        let appsink = pipeline.by_name(SINK_NAME).and_downcast::<gst_app::AppSink>();
        let appsink = appsink.ok_or_else(|| CameraError::Pipeline {
            description: name.to_owned(),
            reason: format!("the element named `{SINK_NAME}` is not an appsink"),
        })?;
        let clock = gst::SystemClock::obtain();
        if let Some(clock) = clock.downcast_ref::<gst::SystemClock>() {
            clock.set_clock_type(gst::ClockType::Monotonic);
        }
        pipeline.use_clock(Some(&clock));

        let taker = Arc::new(FrameTaker {
            name: name.to_owned(),
            stamps,
            live: AtomicBool::new(false),
            taken: AtomicU64::new(0),
            sink: sink.clone(),
        });
        let callbacks = gst_app::AppSinkCallbacks::builder();
        let for_samples = Arc::clone(&taker);
        appsink
            .set_callbacks(callbacks.new_sample(move |sink| for_samples.take_sample(sink)).build());

        let bus = pipeline.bus();
        let stream = Self { pipeline, watcher: None };
        let bus = bus.ok_or_else(|| stream_error(name, "the pipeline has no bus".to_owned()))?;
        stream.play(&bus, name, &taker)?;
        stream.watched(bus, name, sink)
    }

    /// Pauses first: only then is it known whether the source is live, before any frame flows.
    fn play(&self, bus: &gst::Bus, name: &str, taker: &FrameTaker) -> Result<(), CameraError> {
        match self.pipeline.set_state(gst::State::Paused) {
            Ok(gst::StateChangeSuccess::NoPreroll) => taker.live.store(true, Ordering::Relaxed),
            Ok(gst::StateChangeSuccess::Async) => wait_for_first_picture(bus, name)?,
            Ok(gst::StateChangeSuccess::Success) => {}
            Err(_) => return Err(cause_on_bus(bus, name)),
        }
        match self.pipeline.set_state(gst::State::Playing) {
            Ok(_) => Ok(()),
            Err(_) => Err(cause_on_bus(bus, name)),
        }
    }

    fn watched(mut self, bus: gst::Bus, name: &str, sink: FrameSink) -> Result<Self, CameraError> {
        let name_of_stream = name.to_owned();
        let watcher = std::thread::Builder::new()
            .name("camera-bus".to_owned())
            .spawn(move || watch(&bus, &name_of_stream, &sink))
            .map_err(|error| stream_error(name, format!("no thread for its bus: {error}")))?;
        self.watcher = Some(watcher);
        Ok(self)
    }

    /// Stops the stream and waits for its threads.
    pub(super) fn stop(&mut self) {
        // Going to Null empties the bus, so the watcher has to go first.
        if let Some((watcher, bus)) = self.watcher.take().zip(self.pipeline.bus()) {
            let stop = gst::Structure::new_empty(STOP_MESSAGE);
            if bus.post(gst::message::Application::new(stop)).is_ok() {
                let _ = watcher.join();
            }
        }
        if self.pipeline.set_state(gst::State::Null).is_err() {
            log::warn!("the camera's pipeline does not stop cleanly");
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop();
    }
}

fn stream_error(name: &str, reason: String) -> CameraError {
    CameraError::Stream { source_name: name.to_owned(), reason }
}

/// Reads the bus until something ends the stream, or the stream is stopped (`None`).
fn next_trouble(bus: &gst::Bus, name: &str, timeout: Option<gst::ClockTime>) -> BusNews {
    let mut missing_plugin = None;
    for message in bus.iter_timed(timeout) {
        match message.view() {
            gst::MessageView::Error(error) => {
                let reason = remedy::explain(error, missing_plugin.as_deref());
                return BusNews::Trouble(stream_error(name, reason));
            }
            gst::MessageView::Eos(_) => {
                return BusNews::Trouble(CameraError::Ended { source_name: name.to_owned() });
            }
            gst::MessageView::Warning(warning) => {
                log::warn!("camera {name}: {}", warning.error().message());
            }
            gst::MessageView::Element(element) => {
                let structure = element.structure().filter(|s| s.name() == "missing-plugin");
                if let Some(structure) = structure {
                    missing_plugin = structure.get::<String>("name").ok();
                }
            }
            gst::MessageView::AsyncDone(_) => return BusNews::FirstPicture,
            gst::MessageView::Application(application)
                if application.structure().is_some_and(|s| s.name() == STOP_MESSAGE) =>
            {
                return BusNews::Stopped;
            }
            _ => {}
        }
    }
    BusNews::Silence
}

enum BusNews {
    FirstPicture,
    Trouble(CameraError),
    Stopped,
    Silence,
}

fn watch(bus: &gst::Bus, name: &str, sink: &FrameSink) {
    loop {
        match next_trouble(bus, name, None) {
            // What follows the first trouble are its consequences.
            BusNews::Trouble(trouble) => return sink.fail(trouble),
            BusNews::Stopped | BusNews::Silence => return,
            BusNews::FirstPicture => {}
        }
    }
}

fn wait_for_first_picture(bus: &gst::Bus, name: &str) -> Result<(), CameraError> {
    match next_trouble(bus, name, Some(START_TIMEOUT)) {
        BusNews::FirstPicture => Ok(()),
        BusNews::Trouble(trouble) => Err(trouble),
        BusNews::Stopped | BusNews::Silence => Err(stream_error(
            name,
            format!(
                "no picture within {} s; check that the source sends and can be reached",
                START_TIMEOUT.seconds()
            ),
        )),
    }
}

/// The state change has failed; the message that says why lies on the bus already.
fn cause_on_bus(bus: &gst::Bus, name: &str) -> CameraError {
    match next_trouble(bus, name, Some(gst::ClockTime::from_mseconds(200))) {
        BusNews::Trouble(trouble) => trouble,
        _ => stream_error(name, "it cannot be started and does not say why".to_owned()),
    }
}

/// Turns samples into frames, on GStreamer's thread.
struct FrameTaker {
    name: String,
    stamps: Stamps,
    live: AtomicBool,
    taken: AtomicU64,
    sink: FrameSink,
}

/// The camera's own memory, mapped for reading.
struct MappedPicture(gst_video::VideoFrame<gst_video::video_frame::Readable>);

impl PixelBuffer for MappedPicture {
    fn plane(&self, plane: usize) -> &[u8] {
        u32::try_from(plane).ok().and_then(|plane| self.0.plane_data(plane).ok()).unwrap_or(&[])
    }
}

/// The layout of a picture's pixels, if this house can read it.
fn pixel_format(info: &gst_video::VideoInfo) -> Option<PixelFormat> {
    let colorimetry = info.colorimetry();
    let matrix = match colorimetry.matrix() {
        gst_video::VideoColorMatrix::Bt709 => ColourMatrix::Bt709,
        gst_video::VideoColorMatrix::Bt2020 => ColourMatrix::Bt2020,
        _ => ColourMatrix::Bt601,
    };
    let full_range = colorimetry.range() == gst_video::VideoColorRange::Range0_255;
    let conversion = ColourConversion::new(matrix, full_range);
    match info.format() {
        gst_video::VideoFormat::Rgb => Some(PixelFormat::Rgb8),
        gst_video::VideoFormat::Gray8 => Some(PixelFormat::Gray8),
        gst_video::VideoFormat::Bgrx => Some(PixelFormat::Bgrx8),
        gst_video::VideoFormat::Nv12 => Some(PixelFormat::Nv12(conversion)),
        gst_video::VideoFormat::I420 => Some(PixelFormat::I420(conversion)),
        _ => None,
    }
}

impl FrameTaker {
    fn take_sample(&self, appsink: &gst_app::AppSink) -> Result<gst::FlowSuccess, gst::FlowError> {
        let arrived = LineTime::now();
        let sample = appsink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        let frame = self.frame(appsink, &sample, arrived).map_err(|reason| {
            self.sink.fail(stream_error(&self.name, reason));
            gst::FlowError::NotNegotiated
        })?;
        self.sink.push(frame);
        Ok(gst::FlowSuccess::Ok)
    }

    fn frame(
        &self,
        appsink: &gst_app::AppSink,
        sample: &gst::Sample,
        arrived: LineTime,
    ) -> Result<Frame, String> {
        let caps = sample.caps().ok_or("a picture without a format")?;
        let info = gst_video::VideoInfo::from_caps(caps)
            .map_err(|_| format!("`{caps}` is not a raw picture; end with `videoconvert`"))?;
        let format = pixel_format(&info).ok_or_else(|| {
            format!(
                "its pictures are {}; end the description with \
                 `videoconvert ! video/x-raw,format=RGB`",
                info.format()
            )
        })?;
        let buffer = sample.buffer_owned().ok_or("a picture without memory")?;
        let captured = self.captured(appsink, sample, &buffer, arrived);
        let number = self.number(&buffer);
        let mapped = gst_video::VideoFrame::from_buffer_readable(buffer, &info)
            .map_err(|_| "its memory cannot be read; end with `videoconvert`".to_owned())?;
        let strides = mapped.plane_stride();
        let stride = |plane: usize| {
            let stride = strides.get(plane).copied().unwrap_or(0);
            usize::try_from(stride).map_err(|_| "its rows run upwards".to_owned())
        };
        if strides.get(2).is_some_and(|third| *third != strides[1]) {
            return Err("its planes of chroma differ; end with `videoconvert`".to_owned());
        }
        let strides = (stride(0)?, stride(1)?);
        let size = (mapped.width(), mapped.height());
        let pixels = Box::new(MappedPicture(mapped));
        Frame::with_planes(size, strides, format, number, captured, pixels)
            .ok_or_else(|| "a picture's memory is smaller than its size says".to_owned())
    }

    /// The source's own counter where it keeps one, else a count of what arrived.
    fn number(&self, buffer: &gst::BufferRef) -> u64 {
        let taken = self.taken.fetch_add(1, Ordering::Relaxed);
        // A frame counter counts by one; a file's offset is in bytes.
        match (buffer.offset(), buffer.offset_end()) {
            (offset, end) if offset != u64::MAX && end == offset.wrapping_add(1) => offset,
            _ => taken,
        }
    }

    fn captured(
        &self,
        appsink: &gst_app::AppSink,
        sample: &gst::Sample,
        buffer: &gst::BufferRef,
        arrived: LineTime,
    ) -> LineTime {
        if self.stamps == Stamps::Given {
            return buffer.pts().map_or(arrived, |pts| LineTime::from_nanos(pts.nseconds()));
        }
        if !self.live.load(Ordering::Relaxed) {
            return arrived;
        }
        let segment = sample.segment().and_then(|s| s.downcast_ref::<gst::ClockTime>());
        let running = segment.zip(buffer.pts()).and_then(|(s, pts)| s.to_running_time(pts));
        let Some((base, running)) = appsink.base_time().zip(running) else {
            return arrived;
        };
        // No picture was taken after it arrived, whatever its stamp says.
        LineTime::from_nanos(base.nseconds().saturating_add(running.nseconds())).min(arrived)
    }
}

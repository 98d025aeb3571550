//! Cameras by GStreamer: any pipeline, a V4L2 device, a stream.

use super::stream::{SINK_NAME, Stamps, Stream, TAIL, parse};
use super::{Camera, CameraError, CameraSettings, CameraSource, FrameSink};
use gst::prelude::*;
use gstreamer as gst;
use std::str::FromStr;

/// Name of the element whose properties are set here: no quoting, whatever the value.
const SOURCE_NAME: &str = "onenipd_source";
/// Name of the filter that asks a device for size and rate.
const FILTER_NAME: &str = "onenipd_filter";

/// A camera that GStreamer plays.
///
/// - `Frame::number`: the source's own counter (buffer offset) where it keeps one, so that a jump
///   shows lost frames; else a count of the frames that arrived.
/// - `Frame::captured`: for a live source its time stamp, on the monotonic clock (the pipeline is
///   made to use it; V4L2 stamps when the driver has the picture, a network camera about when its
///   packets arrive). A source that is not live, such as a file, has no capture time: arrival.
pub struct GStreamerCamera {
    stream: Stream,
}

impl GStreamerCamera {
    /// Plays what `settings` describe. Waits up to ten seconds for a source that is not live.
    ///
    /// # Errors
    /// A malformed description, a missing element, device or file, with the remedy. A folder is
    /// not for GStreamer ([`super::start`] takes it). A network camera that does not answer shows
    /// only later, at [`FrameSink::fail`].
    pub fn start(settings: &CameraSettings, sink: FrameSink) -> Result<Self, CameraError> {
        let (pipeline, name) = match &settings.source {
            CameraSource::Pipeline(description) => {
                (parse(&with_sink(description), description)?, description.clone())
            }
            CameraSource::Uri(uri) => (of_uri(uri)?, uri.clone()),
            CameraSource::Device(device) => {
                let device = device.display().to_string();
                (of_device(&device, settings)?, device)
            }
            CameraSource::Folder(folder) => {
                let source_name = folder.display().to_string();
                let reason = "a folder is not played by GStreamer".to_owned();
                return Err(CameraError::Stream { source_name, reason });
            }
        };
        let stream = Stream::start(pipeline, &name, Stamps::Clock, sink)?;
        Ok(Self { stream })
    }
}

impl Camera for GStreamerCamera {
    fn stop(&mut self) {
        self.stream.stop();
    }
}

/// The description with our appsink, unless it brings its own.
fn with_sink(description: &str) -> String {
    let own = format!("name={SINK_NAME}");
    if description.split_whitespace().any(|word| word == own) {
        description.to_owned()
    } else {
        format!("{description} ! {TAIL}")
    }
}

fn of_uri(uri: &str) -> Result<gst::Pipeline, CameraError> {
    let pipeline = parse(&format!("uridecodebin name={SOURCE_NAME} ! {TAIL}"), uri)?;
    if let Some(source) = pipeline.by_name(SOURCE_NAME) {
        source.set_property("uri", uri);
    }
    Ok(pipeline)
}

fn of_device(device: &str, settings: &CameraSettings) -> Result<gst::Pipeline, CameraError> {
    let description =
        format!("v4l2src name={SOURCE_NAME} ! capsfilter name={FILTER_NAME} ! decodebin ! {TAIL}");
    let pipeline = parse(&description, device)?;
    if let Some(source) = pipeline.by_name(SOURCE_NAME) {
        source.set_property("device", device);
    }
    let caps = device_caps(settings);
    let caps = gst::Caps::from_str(&caps).map_err(|_| CameraError::Stream {
        source_name: device.to_owned(),
        reason: format!("size and rate `{caps}` cannot be asked for"),
    })?;
    if let Some(filter) = pipeline.by_name(FILTER_NAME) {
        filter.set_property("caps", caps);
    }
    Ok(pipeline)
}

/// Raw pictures first, else JPEG (many cameras send their full rate only so).
fn device_caps(settings: &CameraSettings) -> String {
    let mut asked = String::new();
    if let Some((width, height)) = settings.size {
        asked.push_str(&format!(",width={width},height={height}"));
    }
    if let Some(rate) = settings.frames_per_second.and_then(gst::Fraction::approximate_f64) {
        asked.push_str(&format!(",framerate={}/{}", rate.numer(), rate.denom()));
    }
    format!("video/x-raw{asked};image/jpeg{asked}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_a_device_for_size_and_rate_in_either_format() {
        let source = CameraSource::Device("/dev/video0".into());
        let size = Some((1280, 1024));
        let settings = CameraSettings { source, size, frames_per_second: Some(29.97) };
        gst::init().unwrap();
        let caps = gst::Caps::from_str(&device_caps(&settings)).unwrap();
        assert_eq!(caps.size(), 2);
        for structure in caps.iter() {
            assert_eq!(structure.get::<i32>("width"), Ok(1280));
            assert_eq!(structure.get::<i32>("height"), Ok(1024));
            let rate = structure.get::<gst::Fraction>("framerate").unwrap();
            assert!((f64::from(rate.numer()) / f64::from(rate.denom()) - 29.97).abs() < 1e-6);
        }
        let free = CameraSettings { size: None, frames_per_second: None, ..settings };
        assert_eq!(device_caps(&free), "video/x-raw;image/jpeg");
    }

    #[test]
    fn appends_a_sink_only_where_there_is_none() {
        assert!(with_sink("videotestsrc").ends_with(TAIL));
        let own = "videotestsrc ! appsink name=onenipd";
        assert_eq!(with_sink(own), own);
        assert!(with_sink("videotestsrc name=onenipd2").ends_with(TAIL));
    }
}

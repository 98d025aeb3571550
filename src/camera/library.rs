//! GStreamer as it is on this box.

use gstreamer::ElementFactory;

/// Elements every camera needs, and what they are for.
const ELEMENTS: [(&str, &str); 5] = [
    ("videoconvert", "gstreamer1.0-plugins-base"),
    ("appsink", "gstreamer1.0-plugins-base"),
    ("decodebin", "gstreamer1.0-plugins-base"),
    ("uridecodebin", "gstreamer1.0-plugins-base"),
    ("v4l2src", "gstreamer1.0-plugins-good"),
];

/// Its version, or why it does not start.
pub fn library_version() -> Result<String, String> {
    gstreamer::init().map_err(|error| error.to_string())?;
    let (major, minor, micro, _) = gstreamer::version();
    Ok(format!("{major}.{minor}.{micro}"))
}

/// Elements that are needed and missing, each with the package that has it. GStreamer has started.
pub fn missing_elements() -> Vec<(&'static str, &'static str)> {
    let missing = |(name, _): &(&str, &str)| ElementFactory::find(name).is_none();
    ELEMENTS.into_iter().filter(missing).collect()
}

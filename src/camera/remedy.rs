//! What GStreamer's errors mean for the person at the box, and what helps.

use super::CameraError;
use gstreamer as gst;

/// Which package brings which elements (Debian's and Ubuntu's names); the first match counts.
const PACKAGES: [(&[&str], &str); 5] = [
    (&["avdec_", "avenc_"], "gstreamer1.0-libav"),
    (
        &["h264parse", "h265parse", "jpegparse", "openh264", "v4l2sl", "v4l2codecs", "srt"],
        "gstreamer1.0-plugins-bad",
    ),
    (
        &[
            "v4l2",
            "rtsp",
            "rtp",
            "jpeg",
            "png",
            "multifile",
            "imagefreeze",
            "souphttp",
            "avidemux",
            "matroska",
            "qtdemux",
            "vp8",
            "vp9",
        ],
        "gstreamer1.0-plugins-good",
    ),
    (
        &["video", "app", "decodebin", "uridecodebin", "playbin", "typefind", "ogg", "theora"],
        "gstreamer1.0-plugins-base",
    ),
    (&["nv"], "NVIDIA's JetPack (package nvidia-l4t-gstreamer)"),
];

/// The description of a pipeline that could not be made.
pub(super) fn unparsable(
    description: &str,
    error: &gst::glib::Error,
    missing: &[String],
) -> CameraError {
    let mut reason = error.message().to_owned();
    // The parser lists an element as missing after other errors as well.
    let missing = if error.matches(gst::ParseError::NoSuchElement) { missing } else { &[] };
    for element in missing {
        reason.push_str("; ");
        reason.push_str(&missing_element(element));
    }
    if missing.is_empty() {
        reason.push_str("; try the description with `gst-launch-1.0`");
    }
    CameraError::Pipeline { description: description.to_owned(), reason }
}

fn missing_element(element: &str) -> String {
    let brings = |(starts, _): &&(&[&str], &str)| starts.iter().any(|s| element.starts_with(s));
    match PACKAGES.iter().find(brings) {
        Some((_, package)) => {
            format!("element `{element}` is missing or misspelt: install {package}")
        }
        None => format!(
            "element `{element}` is missing or misspelt: `gst-inspect-1.0` lists what is installed"
        ),
    }
}

/// An error of a running or starting pipeline: who, what, and the remedy. `plugin`: what a
/// missing-plugin message before it named.
pub(super) fn explain(error: &gst::message::Error, plugin: Option<&str>) -> String {
    let who = error.src().map(gst::prelude::GstObjectExt::name);
    // Elements named by this house say nothing to the reader.
    let who = who.filter(|name| !name.starts_with("onenipd"));
    let who = who.map_or_else(String::new, |name| format!("{name}: "));
    let cause = error.error();
    // The first line of the debug text is a place in GStreamer's sources; the rest is the cause.
    let details = error.debug().unwrap_or_default();
    let details = details.lines().skip(1).collect::<Vec<_>>().join(" ");
    let what = cause.message().trim_end_matches('.');
    let details = if details.is_empty() { details } else { format!(" ({details})") };
    let all = format!("{who}{what}{details}");
    match remedy(&cause, &all, plugin) {
        Some(remedy) => format!("{all}; {remedy}"),
        None => all,
    }
}

fn remedy(cause: &gst::glib::Error, all: &str, plugin: Option<&str>) -> Option<String> {
    if let Some(plugin) = plugin {
        return Some(format!(
            "missing: {plugin}; install gstreamer1.0-plugins-good, gstreamer1.0-plugins-bad or \
             gstreamer1.0-libav"
        ));
    }
    let known = if all.contains("Permission denied") {
        "this user may not open it: add it to the group `video` (`usermod -aG video USER`)"
    } else if all.contains("not-negotiated") || cause.matches(gst::CoreError::Negotiation) {
        "the formats do not fit: the size or rate asked for may not be offered \
         (`v4l2-ctl --list-formats-ext` lists them)"
    } else {
        match (cause.kind::<gst::ResourceError>(), cause.kind::<gst::StreamError>()) {
            (Some(gst::ResourceError::NotFound), _) => {
                if all.contains("/dev/") {
                    "check that it is connected; `ls /dev/video*` lists the devices"
                } else {
                    "check the name"
                }
            }
            (Some(gst::ResourceError::Busy), _) => {
                "another program uses it (`fuser -v DEVICE` names it)"
            }
            (_, Some(gst::StreamError::CodecNotFound)) => {
                "no decoder: install gstreamer1.0-plugins-bad or gstreamer1.0-libav"
            }
            _ => return None,
        }
    };
    Some(known.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_package_of_a_missing_element() {
        for (element, package) in [
            ("avdec_h264", "gstreamer1.0-libav"),
            ("h264parse", "-bad"),
            ("v4l2src", "-good"),
            ("v4l2slh264dec", "-bad"),
            ("videotestsrc", "-base"),
            ("nvvidconv", "JetPack"),
            ("nosuchthing", "gst-inspect-1.0"),
        ] {
            let text = missing_element(element);
            assert!(text.contains(package) && text.contains(element), "{text}");
        }
    }
}

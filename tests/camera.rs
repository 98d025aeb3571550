//! Cameras as they run: real GStreamer pipelines, real files, nothing scripted.

// A test may fail by a panic; clippy knows that only of functions marked as tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crossbeam_channel::{Receiver, bounded};
use image::RgbImage;
use onenipd::camera::{
    self, Camera, CameraError, CameraSettings, CameraSource, FolderCamera, FrameSink,
    GStreamerCamera, SimulatedCamera, pictures_in,
};
use onenipd::part::{Duration, Frame, LineTime, PixelFormat};
use std::path::Path;

/// Far longer than anything here takes; only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

struct Way {
    frames: Receiver<Frame>,
    troubles: Receiver<CameraError>,
    sink: FrameSink,
}

fn way(frames: usize) -> Way {
    let (frame_sender, frames) = bounded(frames);
    let (trouble_sender, troubles) = bounded(4);
    Way { frames, troubles, sink: FrameSink::new(frame_sender, trouble_sender) }
}

impl Way {
    fn frame(&self) -> Frame {
        self.frames.recv_timeout(PATIENCE).expect("a frame")
    }

    fn trouble(&self) -> String {
        self.troubles.recv_timeout(PATIENCE).expect("a trouble").to_string()
    }

    fn play(&self, source: CameraSource) -> Result<GStreamerCamera, CameraError> {
        let settings = CameraSettings { source, size: None, frames_per_second: None };
        GStreamerCamera::start(&settings, self.sink.clone())
    }

    fn play_pipeline(&self, description: &str) -> Result<GStreamerCamera, CameraError> {
        self.play(CameraSource::Pipeline(description.to_owned()))
    }

    fn refusal(&self, source: CameraSource) -> String {
        self.play(source).err().expect("an error").to_string()
    }
}

/// A picture that says in every pixel where it is and which number it has.
fn numbered(width: u32, height: u32, number: u8) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| image::Rgb([number, x as u8, y as u8]))
}

fn folder_of(pictures: &[RgbImage]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (number, picture) in pictures.iter().enumerate() {
        picture.save(folder.path().join(format!("part{number:02}.png"))).unwrap();
    }
    folder
}

#[test]
fn a_live_source_counts_and_stamps_on_the_monotonic_clock() {
    let way = way(8);
    let before = LineTime::now();
    let mut camera = way
        .play_pipeline(
            "videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=50/1",
        )
        .unwrap();
    let frames: Vec<Frame> = (0..5).map(|_| way.frame()).collect();
    let after = LineTime::now();
    camera.stop();
    for pair in frames.windows(2) {
        assert_eq!(pair[1].number, pair[0].number + 1);
        // Nominal stamps of a live test source: exactly one period apart, so not arrival times.
        let apart = pair[1].captured.since(pair[0].captured).as_micros();
        assert!((19_990..=20_010).contains(&apart) || pair[0].number == 0, "{apart} us apart");
    }
    for frame in &frames {
        assert_eq!((frame.width, frame.height), (320, 240));
        assert!(before <= frame.captured && frame.captured <= after);
    }
    assert_eq!(way.sink.overruns(), 0);
}

#[test]
fn colour_and_grey_pictures_keep_their_rows_at_odd_widths() {
    for (format, expected) in [("RGB", PixelFormat::Rgb8), ("GRAY8", PixelFormat::Gray8)] {
        let way = way(4);
        let description = format!(
            "videotestsrc num-buffers=1 pattern=solid-color foreground-color=0xff808080 ! \
             video/x-raw,format={format},width=101,height=37"
        );
        let mut camera = way.play_pipeline(&description).unwrap();
        let frame = way.frame();
        camera.stop();
        assert_eq!((frame.width, frame.height, frame.format), (101, 37, expected));
        assert_eq!(frame.stride_bytes % 4, 0);
        let first = frame.row(0)[0];
        assert!((0..37).all(|y| frame.row(y).iter().all(|v| v.abs_diff(first) <= 1)));
        assert_eq!(frame.row(36).len(), 101 * expected.bytes());
    }
}

#[test]
fn the_cameras_own_formats_come_without_a_conversion_and_in_their_colours() {
    for format in ["BGRx", "NV12", "I420"] {
        for colorimetry in ["bt601", "bt709", "1:4:0:0"] {
            let way = way(4);
            let description = format!(
                "videotestsrc num-buffers=1 pattern=solid-color foreground-color=0xffc86432 ! \
                 video/x-raw,format=RGB,width=101,height=37 ! videoconvert ! \
                 video/x-raw,format={format}{}",
                if format == "BGRx" {
                    String::new()
                } else {
                    format!(",colorimetry={colorimetry}")
                }
            );
            let mut camera = way.play_pipeline(&description).unwrap();
            let frame = way.frame();
            camera.stop();
            let same = match frame.format {
                PixelFormat::Bgrx8 => format == "BGRx",
                PixelFormat::Nv12(_) => format == "NV12",
                PixelFormat::I420(_) => format == "I420",
                PixelFormat::Rgb8 | PixelFormat::Gray8 => false,
            };
            assert!(same, "{format} came as {:?}", frame.format);
            for pixel in frame.to_picture().pixels() {
                let near = pixel.0.iter().zip([0xc8_u8, 0x64, 0x32]);
                assert!(
                    near.clone().all(|(found, sent)| found.abs_diff(sent) <= 4),
                    "{format} {colorimetry}: {:?}",
                    pixel.0
                );
            }
        }
    }
}

#[test]
fn a_frame_outlives_its_camera() {
    let way = way(4);
    let mut camera = way.play_pipeline("videotestsrc pattern=white num-buffers=1").unwrap();
    let frame = way.frame();
    camera.stop();
    drop(camera);
    assert!(frame.to_picture().pixels().all(|p| p.0.iter().all(|v| *v >= 254)));
}

#[test]
fn a_full_way_counts_overruns_and_never_holds_the_camera_up() {
    let way = way(1);
    let _camera = way.play_pipeline("videotestsrc num-buffers=6").unwrap();
    assert!(way.trouble().contains("ended"));
    assert_eq!((way.sink.delivered(), way.sink.overruns()), (1, 5));
    assert_eq!(way.frame().number, 0);
}

#[test]
fn an_appsink_of_the_descriptions_own_is_used() {
    let way = way(8);
    let _camera = way
        .play_pipeline(
            "videotestsrc num-buffers=3 ! video/x-raw,format=RGB,width=16,height=16 ! \
             appsink name=onenipd sync=false",
        )
        .unwrap();
    assert_eq!(way.frame().format, PixelFormat::Rgb8);

    let other = self::way(8);
    let started = other
        .play_pipeline("videotestsrc ! video/x-raw,format=UYVY ! appsink name=onenipd sync=false");
    let trouble = other.trouble();
    assert!(trouble.contains("UYVY") && trouble.contains("videoconvert"), "{trouble}");
    drop(started);
    let refusal =
        other.refusal(CameraSource::Pipeline("videotestsrc ! fakesink name=onenipd".to_owned()));
    assert!(refusal.contains("not an appsink"), "{refusal}");
}

#[test]
fn a_png_folder_plays_through_multifilesrc() {
    let folder = folder_of(&[numbered(51, 33, 7), numbered(51, 33, 8)]);
    let way = way(8);
    let location = folder.path().join("part%02d.png");
    let description = format!(
        "multifilesrc location={} caps=image/png,framerate=1/1 ! pngdec",
        location.display()
    );
    let _camera = way.play_pipeline(&description).unwrap();
    for number in [7, 8] {
        assert_eq!(way.frame().to_picture(), numbered(51, 33, number));
    }
    assert!(way.trouble().contains("ended"));
}

#[test]
fn a_uri_plays_and_a_missing_one_is_named() {
    let folder = folder_of(&[numbered(48, 32, 9)]);
    let way = way(8);
    let file = folder.path().join("part00.png");
    let _camera = way.play(CameraSource::Uri(format!("file://{}", file.display()))).unwrap();
    assert_eq!(way.frame().to_picture(), numbered(48, 32, 9));

    let refusal = way.refusal(CameraSource::Uri("file:///no/such/file.mp4".to_owned()));
    assert!(refusal.contains("/no/such/file.mp4"), "{refusal}");
    assert!(refusal.contains("check the name"), "{refusal}");
}

#[test]
fn errors_name_what_is_missing_and_what_helps() {
    let way = way(1);
    let pipeline = |text: &str| CameraSource::Pipeline(text.to_owned());

    let text = way.refusal(pipeline("nosuchsrc ! videoconvert"));
    assert!(text.contains("nosuchsrc") && text.contains("gst-inspect-1.0"), "{text}");
    let text = way.refusal(pipeline("videotestsrc ! ! fakesink"));
    assert!(text.contains("videotestsrc ! !") && text.contains("gst-launch-1.0"), "{text}");
    let text = way.refusal(pipeline("videotestsrc colour=blue"));
    assert!(text.contains("colour"), "{text}");
    let text = way.refusal(pipeline(""));
    assert!(text.contains("camera pipeline"), "{text}");

    let text = way.refusal(CameraSource::Device("/dev/video-none".into()));
    assert!(text.contains("/dev/video-none"), "{text}");
    assert!(text.contains("ls /dev/video*"), "{text}");
    let text = way.refusal(CameraSource::Folder("/dev".into()));
    assert!(text.contains("/dev"), "{text}");
    assert!(way.frames.is_empty());
}

#[test]
fn a_source_that_breaks_while_it_plays_is_reported() {
    let folder = folder_of(&[numbered(20, 20, 1), numbered(20, 20, 2)]);
    std::fs::write(folder.path().join("part01.png"), b"not a picture").unwrap();
    let way = way(8);
    let location = folder.path().join("part%02d.png");
    let description = format!(
        "multifilesrc location={} caps=image/png,framerate=1/1 ! pngdec",
        location.display()
    );
    let _camera = way.play_pipeline(&description).unwrap();
    assert_eq!(way.frame().to_picture(), numbered(20, 20, 1));
    let trouble = way.trouble();
    assert!(trouble.contains("pngdec"), "{trouble}");
}

#[test]
fn a_camera_can_be_stopped_twice_and_started_again() {
    for _ in 0..3 {
        let way = way(2);
        let mut camera = way.play_pipeline("videotestsrc is-live=true").unwrap();
        way.frame();
        camera.stop();
        camera.stop();
        while way.frames.try_recv().is_ok() {}
        let delivered = way.sink.delivered();
        assert!(way.frames.recv_timeout(Duration::from_millis(60)).is_err());
        assert_eq!(way.sink.delivered(), delivered);
        assert!(way.troubles.is_empty());
    }
}

#[test]
fn simulated_pictures_arrive_as_drawn_with_their_own_time() {
    for (width, height) in [(64, 48), (61, 47)] {
        let way = way(64);
        let (mut camera, feed) = SimulatedCamera::start(width, height, way.sink.clone()).unwrap();
        for number in 0..20_u8 {
            // Times of a simulated line: neither now nor in order.
            let captured = LineTime::from_millis(1000 + u64::from(number ^ 1) * 7);
            assert!(feed.push(numbered(width, height, number), captured));
            let frame = way.frame();
            assert_eq!((frame.number, frame.captured), (u64::from(number), captured));
            assert_eq!(frame.to_picture(), numbered(width, height, number));
        }
        assert!(!feed.push(numbered(width + 1, height, 0), LineTime::ZERO));
        camera.stop();
        assert!(!feed.push(numbered(width, height, 0), LineTime::ZERO));
        assert_eq!(feed.dropped(), 2);
    }
}

#[test]
fn replay_gives_every_picture_once_and_reports_unreadable_ones() {
    let folder = folder_of(&[numbered(9, 7, 0), numbered(9, 7, 1), numbered(9, 7, 2)]);
    std::fs::write(folder.path().join("part01.png"), b"not a picture").unwrap();
    std::fs::write(folder.path().join("notes.txt"), b"no picture at all").unwrap();
    let paths = pictures_in(folder.path()).unwrap();
    assert_eq!(paths.len(), 3);

    let way = way(4);
    let mut camera = FolderCamera::start(paths.clone(), way.sink.clone()).unwrap();
    let mut shot = Vec::new();
    while let Some(next) = camera.next_picture() {
        match next {
            Ok(picture) => {
                let (index, time) = (picture.index, LineTime::from_millis(shot.len() as u64));
                assert_eq!(picture.path, paths[index]);
                camera.shoot(picture, time);
                let frame = way.frame();
                assert_eq!((frame.number, frame.captured), (index as u64, time));
                assert_eq!(frame.to_picture(), numbered(9, 7, index as u8));
                shot.push(index.to_string());
            }
            Err(error) => shot.push(error.to_string()),
        }
    }
    assert_eq!((shot[0].as_str(), shot[2].as_str(), shot.len()), ("0", "2", 3));
    assert!(shot[1].contains("part01.png"), "{}", shot[1]);
}

#[test]
fn replay_can_stop_before_the_end() {
    let folder = folder_of(&vec![numbered(9, 7, 0); 12]);
    let way = way(1);
    let paths = pictures_in(folder.path()).unwrap();
    let mut camera = FolderCamera::start(paths, way.sink.clone()).unwrap();
    assert!(camera.next_picture().is_some());
    camera.stop();
    assert!(camera.next_picture().is_none());
}

#[test]
fn a_folder_runs_freely_over_and_over() {
    let folder = folder_of(&[numbered(9, 7, 0), numbered(9, 7, 1)]);
    let source = CameraSource::Folder(folder.path().to_owned());
    let settings = CameraSettings { source, size: None, frames_per_second: Some(500.0) };
    let way = way(64);
    let mut camera = camera::start(&settings, way.sink.clone()).unwrap();
    let mut before = LineTime::ZERO;
    for number in 0..5_u64 {
        let frame = way.frame();
        assert_eq!(frame.number, number);
        assert_eq!(frame.to_picture(), numbered(9, 7, (number % 2) as u8));
        assert!(frame.captured > before);
        before = frame.captured;
    }
    camera.stop();

    let nowhere = CameraSource::Folder(Path::new("/no/such/folder").to_owned());
    let settings = CameraSettings { source: nowhere, ..settings };
    let text = camera::start(&settings, way.sink.clone()).err().unwrap().to_string();
    assert!(text.contains("/no/such/folder"), "{text}");
    let none = FolderCamera::start(Vec::new(), way.sink.clone()).err().unwrap().to_string();
    assert!(none.contains("no pictures"), "{none}");
}

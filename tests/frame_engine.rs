//! An engine that takes frames as the camera gives them, as the one of the GPU does: the real way
//! around a scripted engine.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use image::RgbImage;
use onenipd::engine::{Engine, EngineError, FrameInput, Inspection};
use onenipd::part::{
    Decision, Duration, Frame, LineTime, NamedTensors, PixelBuffer, PixelFormat, Reason,
    RegionOfInterest,
};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use support::{Act, Bench, product};

const REGION: RegionOfInterest = RegionOfInterest { x: 8, y: 8, width: 40, height: 32 };

/// Size and region of a frame.
type Filled = ((u32, u32), Option<RegionOfInterest>);

/// What the engine was given.
#[derive(Default)]
struct Seen {
    frames: Mutex<Vec<Filled>>,
    tensors: AtomicUsize,
    /// The next frame cannot be brought in: the GPU is lost.
    fails: AtomicBool,
    /// Pictures somebody held while the network ran.
    held: AtomicUsize,
    picture: Mutex<Option<Arc<RgbImage>>>,
}

struct FrameEngine {
    inner: Box<dyn Engine>,
    takes_frames: bool,
    seen: Arc<Seen>,
}

impl Engine for FrameEngine {
    fn side(&self) -> usize {
        self.inner.side()
    }

    fn set_product(&mut self, tensors: &NamedTensors) -> Result<(), EngineError> {
        self.inner.set_product(tensors)
    }

    fn input(&mut self) -> &mut [f32] {
        self.seen.tensors.fetch_add(1, Ordering::Relaxed);
        self.inner.input()
    }

    fn frames(&mut self) -> Option<&mut dyn FrameInput> {
        self.takes_frames.then_some(self)
    }

    fn run(&mut self) -> Result<Inspection<'_>, EngineError> {
        if let Some(picture) = &*self.seen.picture.lock().unwrap() {
            self.seen.held.store(Arc::strong_count(picture), Ordering::Relaxed);
        }
        self.inner.run()
    }
}

impl FrameInput for FrameEngine {
    fn fill(&mut self, frame: &Frame, roi: Option<RegionOfInterest>) -> Result<(), EngineError> {
        if self.seen.fails.swap(false, Ordering::Relaxed) {
            return Err(EngineError::Accelerator("scripted".into()));
        }
        self.seen.frames.lock().unwrap().push(((frame.width, frame.height), roi));
        Ok(())
    }
}

/// A way whose first engine takes frames, and whose later ones do as `later` says.
fn bench(seen: &Arc<Seen>, later: bool) -> Bench {
    let (given, seen) = (Arc::clone(seen), Arc::clone(seen));
    let mut bench = Bench::start_tuned(
        || Act::Score(0.0),
        move |parts| {
            parts.loader = Box::new(|number| Ok(product(number, Some(REGION))));
            parts.window.one_per_trigger = false;
            let mut factory = std::mem::replace(&mut parts.engine, Box::new(|| unreachable!()));
            let mut takes_frames = true;
            parts.engine = Box::new(move || {
                let seen = Arc::clone(&seen);
                let engine = FrameEngine { inner: factory()?, takes_frames, seen };
                takes_frames = later;
                Ok(Box::new(engine) as Box<dyn Engine>)
            });
        },
    );
    // The first part after a start meets the purge.
    let first = bench.part();
    bench.results(1);
    bench.until(|_| LineTime::now() > first + Duration::from_millis(500));
    bench.results.clear();
    given.frames.lock().unwrap().clear();
    bench
}

fn last(bench: &mut Bench, count: usize) -> (Decision, Reason) {
    let result = &bench.results(count)[count - 1];
    (result.decision, result.reason)
}

/// Camera memory that somebody else can watch.
struct Lent(Arc<RgbImage>);

impl PixelBuffer for Lent {
    fn plane(&self, plane: usize) -> &[u8] {
        self.0.plane(plane)
    }
}

#[test]
fn frames_reach_the_engine_and_are_given_back_before_it_runs() {
    let seen = Arc::new(Seen::default());
    let mut bench = bench(&seen, true);
    let picture = RgbImage::from_fn(64, 48, |x, y| image::Rgb([(x * 3) as u8, (y * 5) as u8, 9]));
    let picture = Arc::new(picture);
    *seen.picture.lock().unwrap() = Some(Arc::clone(&picture));
    let time = bench.trigger();
    let memory = Box::new(Lent(Arc::clone(&picture)));
    let frame = Frame::new((64, 48), 64 * 3, PixelFormat::Rgb8, 1, time, memory).unwrap();
    bench.way.sink.push(frame);
    assert_eq!(last(&mut bench, 1).0, Decision::Pass);
    assert_eq!(*seen.frames.lock().unwrap(), [((64, 48), Some(REGION))]);
    assert_eq!(seen.tensors.load(Ordering::Relaxed), 0, "a tensor was made beside the frame");
    // Here and in the test: the frame holds it no more.
    assert_eq!(seen.held.load(Ordering::Relaxed), 2, "the camera waits for the network");
    bench.stop();
}

#[test]
fn a_region_outside_the_frame_is_a_bad_frame_before_the_engine_sees_it() {
    let seen = Arc::new(Seen::default());
    let mut bench = bench(&seen, true);
    let time = bench.trigger();
    bench.push(time, (40, 40));
    assert_eq!(last(&mut bench, 1), (Decision::NoDecision, Reason::BadFrame));
    assert!(seen.frames.lock().unwrap().is_empty());
    assert_rejected(&mut bench, time);
    bench.stop();
}

#[test]
fn where_the_gpu_is_lost_the_part_is_rejected_and_the_next_goes_the_new_engines_way() {
    for later in [true, false] {
        let seen = Arc::new(Seen::default());
        let mut bench = bench(&seen, later);
        seen.fails.store(true, Ordering::Relaxed);
        let time = bench.part();
        assert_eq!(last(&mut bench, 1), (Decision::NoDecision, Reason::EngineError));
        assert_rejected(&mut bench, time);
        for count in 2..5 {
            bench.wait(Duration::from_millis(100));
            bench.part();
            assert_eq!(last(&mut bench, count).0, Decision::Pass, "later: {later}");
        }
        let frames = seen.frames.lock().unwrap().len();
        let tensors = seen.tensors.load(Ordering::Relaxed);
        assert_eq!((frames, tensors), if later { (3, 0) } else { (0, 3) });
        bench.stop();
    }
}

/// Waits until the part is past the ejector, 300 ms behind its trigger.
fn assert_rejected(bench: &mut Bench, triggered: LineTime) {
    let (from, to) = (Duration::from_millis(286), Duration::from_millis(340));
    let (from, to) = (triggered + from, triggered + to);
    bench.until(|_| LineTime::now() > to);
    assert!(bench.rejected_within(from, to), "a part of which nothing is known was not rejected");
}

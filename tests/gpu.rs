//! On a machine with a GPU: its kernels against the CPU's path, TensorRT against ONNX Runtime.
//! Without one each test says why it is skipped.
#![cfg(feature = "cuda")]
#![allow(clippy::unwrap_used, clippy::panic)]

use onenipd::bundle::Normalisation;
use onenipd::cuda::{Device, compiler};
use onenipd::part::{
    ColourConversion, ColourMatrix, Frame, LineTime, PixelFormat, RegionOfInterest,
};
use onenipd::preprocess::{CpuPreprocessor, CudaPreprocessor};
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;

fn gpu() -> Option<Device> {
    match Device::open(0).and_then(|device| compiler().map(|_| device)) {
        Ok(device) => {
            println!("{}, {}", device.name().unwrap(), device.architecture().unwrap());
            Some(device)
        }
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

/// A frame of noise whose rows do not follow one another closely.
fn noise(random: &mut Pcg64, size: (u32, u32), format: PixelFormat) -> Frame {
    let (width, height) = (size.0 as usize, size.1 as usize);
    let padding = random.random_range(0..5);
    let half_width = width.div_ceil(2);
    let stride = width * format.bytes() + padding;
    let (planes, chroma_stride) = match format {
        PixelFormat::Nv12(_) => (1, 2 * half_width + padding),
        PixelFormat::I420(_) => (2, half_width + padding),
        _ => (0, 0),
    };
    let lengths = [stride * height].into_iter().chain([chroma_stride * height.div_ceil(2); 2]);
    let lengths = lengths.take(1 + planes);
    let memory: Vec<Vec<u8>> =
        lengths.map(|length| (0..length).map(|_| random.random()).collect()).collect();
    let strides = (stride, chroma_stride);
    Frame::with_planes(size, strides, format, 0, LineTime::ZERO, Box::new(memory)).unwrap()
}

#[test]
fn frames_of_every_format_and_odd_sizes_come_out_as_on_the_cpu() {
    let Some(device) = gpu() else { return };
    let mut random = Pcg64::seed_from_u64(2);
    let video = ColourConversion::new(ColourMatrix::Bt601, false);
    let high = ColourConversion::new(ColourMatrix::Bt709, true);
    let formats = [
        PixelFormat::Rgb8,
        PixelFormat::Gray8,
        PixelFormat::Bgrx8,
        PixelFormat::Nv12(video),
        PixelFormat::Nv12(high),
        PixelFormat::I420(video),
        PixelFormat::I420(high),
    ];
    let sizes = [(1, 1), (1, 37), (63, 1), (17, 23), (224, 224), (641, 479), (1281, 1023)];
    for side in [7, 64, 224] {
        let mut cpu = CpuPreprocessor::new(side, &Normalisation::LITE);
        let mut cuda = CudaPreprocessor::new(&device, side, &Normalisation::LITE).unwrap();
        let mut out = device.stream().alloc_zeros::<f32>(3 * side * side).unwrap();
        let mut expected = vec![0.0; 3 * side * side];
        for (format, size) in formats.iter().flat_map(|f| sizes.iter().map(move |s| (*f, *s))) {
            let frame = noise(&mut random, size, format);
            let x = random.random_range(0..size.0);
            let y = random.random_range(0..size.1);
            let width = random.random_range(1..=size.0 - x);
            let height = random.random_range(1..=size.1 - y);
            for roi in [None, Some(RegionOfInterest { x, y, width, height })] {
                cpu.run(&frame, roi, &mut expected).unwrap();
                cuda.run(&frame, roi, &mut out).unwrap();
                let found = device.stream().clone_dtoh(&out).unwrap();
                let differing = found.iter().zip(&expected).filter(|(a, b)| a != b).count();
                assert_eq!(differing, 0, "{format:?}, {size:?}, {roi:?}, side {side}");
            }
        }
    }
}

#[cfg(feature = "tensorrt")]
#[test]
fn tensorrt_agrees_with_onnx_runtime() {
    use onenipd::bundle::rule;
    use onenipd::config::{Configuration, EngineDevice};
    use onenipd::daemon::EngineKind;
    use onenipd::daemon::assemble::EngineRoom;
    use onenipd::product::{BundleTeacher, golden_product};

    if gpu().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut configuration = Configuration::default();
    configuration.engine.bundle = concat!(env!("CARGO_MANIFEST_DIR"), "/engines/demo").into();
    configuration.state.directory = folder.path().to_owned();
    configuration.engine.device = EngineDevice::Tensorrt;
    let accelerated = match EngineRoom::open(&configuration, &mut || true) {
        Ok(room) => room,
        Err(error) if error.to_string().contains("TensorRT library") => {
            return println!("skipped: {error}");
        }
        Err(error) => panic!("{error}"),
    };
    assert_eq!(accelerated.choice().taken, EngineKind::TensorRt);
    configuration.engine.device = EngineDevice::Cpu;
    let plain = EngineRoom::open(&configuration, &mut || true).unwrap();
    let manifest = plain.bundle.manifest();
    let mut teacher = BundleTeacher::open(&plain.runtime, &plain.graphs, manifest, 2).unwrap();
    let prompt = rule::rule_image("prompt", manifest.side);
    let product = golden_product(&mut teacher, prompt.values()).unwrap();
    let mut fast = accelerated.inspector(2)().unwrap();
    let mut slow = plain.inspector(2)().unwrap();
    fast.set_product(&product).unwrap();
    slow.set_product(&product).unwrap();
    for name in manifest.golden_scores.keys() {
        let image = rule::rule_image(name, manifest.side);
        fast.input().copy_from_slice(image.values());
        slow.input().copy_from_slice(image.values());
        let (found, expected) = (fast.run().unwrap(), slow.run().unwrap());
        let relative = (found.score - expected.score).abs() / expected.score.abs().max(1e-6);
        let peak = expected.anomaly_map.iter().copied().fold(0.0, f32::max);
        let pairs = found.anomaly_map.iter().zip(expected.anomaly_map);
        let map = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / peak.max(1e-6);
        println!("{name}: score {relative:.1e}, map {map:.1e} of its peak");
        assert!(relative <= 1e-2 && map <= 5e-2, "{name}: {relative} {map}");
    }
    frames_come_out_as_tensors(&mut *fast, &manifest.normalisation);
    // A plan that does not load is forgotten and built again, once.
    let plans = std::fs::read_dir(folder.path().join("plans")).unwrap();
    for plan in plans {
        std::fs::write(plan.unwrap().path(), b"no plan").unwrap();
    }
    assert!(accelerated.inspector(2)().is_ok());
}

/// Frames that the engine brings in by itself are seen as those that the processor prepares.
#[cfg(feature = "tensorrt")]
fn frames_come_out_as_tensors(
    engine: &mut dyn onenipd::engine::Engine,
    normalisation: &Normalisation,
) {
    let mut random = Pcg64::seed_from_u64(3);
    let mut cpu = CpuPreprocessor::new(engine.side(), normalisation);
    let high = ColourConversion::new(ColourMatrix::Bt709, true);
    for format in [PixelFormat::Bgrx8, PixelFormat::Nv12(high)] {
        for size in [(641, 479), (1281, 1023)] {
            let frame = noise(&mut random, size, format);
            let roi = Some(RegionOfInterest { x: 3, y: 5, width: 301, height: 299 });
            cpu.run(&frame, roi, engine.input()).unwrap();
            let expected = engine.run().unwrap().anomaly_map.to_vec();
            engine.frames().unwrap().fill(&frame, roi).unwrap();
            drop(frame);
            let found = engine.run().unwrap().anomaly_map;
            assert_eq!(found, expected, "{format:?}, {size:?}");
        }
    }
}

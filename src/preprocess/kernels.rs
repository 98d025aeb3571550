//! The GPU's kernels: their text, and the check of their arithmetic against the CPU's path.

/// What NVRTC compiles.
pub const SOURCE: &str =
    concat!(include_str!("kernels/arithmetic.h"), include_str!("kernels/kernels.cu"));

#[cfg(test)]
mod tests {
    use super::super::resize::Axis;
    use super::*;
    use crate::bundle::Normalisation;
    use crate::part::{
        ColourConversion, ColourMatrix, Frame, LineTime, PixelFormat, RegionOfInterest,
    };
    use crate::preprocess::CpuPreprocessor;
    use half::f16;
    use rand::Rng;
    use rand::SeedableRng;
    use rand_pcg::Pcg64;
    use std::cmp::Ordering;
    use std::io::Write;
    use std::process::{Command, Stdio};

    const NORMALISATION: Normalisation =
        Normalisation { mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225] };

    /// What the GPU would write for `input`: the arithmetic compiled by the system's C++ compiler.
    fn run(input: &[u8]) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("check");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/preprocess/kernels/check.cpp");
        let options = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-o"];
        let undefined = ["-fsanitize=undefined", "-fno-sanitize-recover=all"];
        let mut compiler = Command::new("c++");
        let compiled = compiler.args(undefined).args(options).arg(&program).arg(source).status();
        assert!(compiled.unwrap().success(), "the kernels' arithmetic does not compile");
        let mut check = Command::new(&program);
        let mut child = check.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let output = std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(input).unwrap());
            child.wait_with_output().unwrap()
        });
        assert!(output.status.success());
        output.stdout
    }

    fn put(input: &mut Vec<u8>, values: &[i32]) {
        values.iter().for_each(|value| input.extend(value.to_le_bytes()));
    }

    fn put_axis(input: &mut Vec<u8>, source: usize, side: usize) {
        let axis = Axis::new(source, side);
        put(input, &[axis.taps as i32]);
        axis.starts.iter().for_each(|start| put(input, &[*start as i32]));
        axis.weights.iter().for_each(|weight| input.extend(weight.to_le_bytes()));
    }

    fn floats(bytes: &[u8]) -> Vec<f32> {
        bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    fn halves(bytes: &[u8]) -> Vec<u16> {
        bytes.as_chunks::<2>().0.iter().map(|b| u16::from_le_bytes(*b)).collect()
    }

    /// A frame of noise with padded rows.
    fn noise(random: &mut Pcg64, size: (u32, u32), format: PixelFormat) -> Frame {
        let (width, height) = (size.0 as usize, size.1 as usize);
        let (rows, half_width) = (height.div_ceil(2), width.div_ceil(2));
        let padding = random.random_range(0..5);
        let stride = width * format.bytes() + padding;
        let (planes, chroma_stride) = match format {
            PixelFormat::Nv12(_) => (1, 2 * half_width + padding),
            PixelFormat::I420(_) => (2, half_width + padding),
            _ => (0, 0),
        };
        let lengths = [stride * height].into_iter().chain([chroma_stride * rows; 2]);
        let memory: Vec<Vec<u8>> = lengths
            .take(1 + planes)
            .map(|length| (0..length).map(|_| random.random()).collect())
            .collect();
        let strides = (stride, chroma_stride);
        Frame::with_planes(size, strides, format, 0, LineTime::ZERO, Box::new(memory)).unwrap()
    }

    fn put_frame(input: &mut Vec<u8>, frame: &Frame, region: RegionOfInterest, side: usize) {
        let none = ColourConversion::new(ColourMatrix::Bt601, true);
        let (format, colour) = match frame.format {
            PixelFormat::Rgb8 => (0, none),
            PixelFormat::Gray8 => (1, none),
            PixelFormat::Bgrx8 => (2, none),
            PixelFormat::Nv12(colour) => (3, colour),
            PixelFormat::I420(colour) => (4, colour),
        };
        let (stride, chroma) = (frame.stride_bytes as i32, frame.chroma_stride_bytes as i32);
        put(input, &[0, format, stride, chroma, region.x as i32, region.y as i32]);
        put(input, &[colour.luma_offset, colour.luma, colour.red_v, colour.green_u]);
        put(input, &[colour.green_v, colour.blue_u, side as i32]);
        for plane in 0..3 {
            put(input, &[frame.plane(plane).len() as i32]);
            input.extend(frame.plane(plane));
        }
        put_axis(input, region.width as usize, side);
        put_axis(input, region.height as usize, side);
        for (mean, deviation) in NORMALISATION.mean.iter().zip(NORMALISATION.deviation) {
            for byte in 0..256 {
                input.extend(((byte as f32 / 255.0 - mean) / deviation).to_le_bytes());
            }
        }
    }

    #[test]
    fn frames_of_every_format_come_out_as_on_the_cpu() {
        let mut random = Pcg64::seed_from_u64(1);
        let video = ColourConversion::new(ColourMatrix::Bt601, false);
        let high = ColourConversion::new(ColourMatrix::Bt709, true);
        let formats = [
            PixelFormat::Rgb8,
            PixelFormat::Gray8,
            PixelFormat::Bgrx8,
            PixelFormat::Nv12(video),
            PixelFormat::I420(high),
        ];
        let (mut input, mut expected) = (Vec::new(), Vec::new());
        for round in 0..60 {
            let format = formats[round % formats.len()];
            let size = (random.random_range(1..150), random.random_range(1..150));
            let side = random.random_range(1..60);
            let frame = noise(&mut random, size, format);
            let x = random.random_range(0..size.0);
            let y = random.random_range(0..size.1);
            let width = random.random_range(1..=size.0 - x);
            let height = random.random_range(1..=size.1 - y);
            let region = RegionOfInterest { x, y, width, height };
            put_frame(&mut input, &frame, region, side);
            let mut out = vec![f32::NAN; 3 * side * side];
            CpuPreprocessor::new(side, &NORMALISATION).run(&frame, Some(region), &mut out).unwrap();
            expected.push((format, size, region, out));
        }
        let mut found = &run(&input)[..];
        for (format, size, region, expected) in expected {
            let case = format!("{format:?} {size:?} {region:?}");
            let (full, rest) = found.split_at(4 * expected.len());
            let (half, rest) = rest.split_at(2 * expected.len());
            assert!(floats(full) == expected, "{case}");
            let rounded: Vec<u16> = expected.iter().map(|v| f16::from_f32(*v).to_bits()).collect();
            assert!(halves(half) == rounded, "{case}");
            found = rest;
        }
        assert!(found.is_empty());
    }

    #[test]
    fn half_precision_is_rounded_as_ieee_754_says() {
        let mut random = Pcg64::seed_from_u64(2);
        let special = [0.0, -0.0, f32::INFINITY, 65519.0, 65520.0, 6e-8, 2.9e-8, 6.1e-5, -1e-9];
        let mut values: Vec<f32> = special.into();
        values.extend((0..=u16::MAX).map(|bits| f16::from_bits(bits).to_f32()));
        values.extend((0..50_000).map(|_| f32::from_bits(random.random())));
        let mut input = Vec::new();
        put(&mut input, &[2, values.len() as i32]);
        values.iter().for_each(|value| input.extend(value.to_le_bytes()));
        for (found, value) in halves(&run(&input)).into_iter().zip(&values) {
            let expected = f16::from_f32(*value);
            let same = found == expected.to_bits();
            assert!(same || (value.is_nan() && f16::from_bits(found).is_nan()), "{value:e}");
        }
    }

    #[test]
    fn the_mask_is_the_judges_and_what_is_no_number_is_in_it() {
        let (side, block, threshold) = (70_usize, 4_usize, 0.75_f32);
        let mut random = Pcg64::seed_from_u64(3);
        let mut map: Vec<f32> = (0..side * side).map(|_| random.random()).collect();
        map[17] = threshold;
        map[4321] = f32::NAN;
        let mut input = Vec::new();
        put(&mut input, &[1, side as i32, block as i32]);
        input.extend(threshold.to_le_bytes());
        map.iter().for_each(|value| input.extend(value.to_le_bytes()));
        let found = run(&input);
        let words = (side * side).div_ceil(32);
        let (mask, small) = found.split_at(4 * words);
        for (index, value) in map.iter().enumerate() {
            let bit = mask[index / 8] >> (index % 8) & 1 == 1;
            let below = value.partial_cmp(&threshold) == Some(Ordering::Less);
            assert_eq!(bit, !below, "{index}");
        }
        let blocks = side.div_ceil(block);
        let small = floats(small);
        assert_eq!(small.len(), blocks * blocks);
        for (index, peak) in small.iter().enumerate() {
            let (bx, by) = (index % blocks * block, index / blocks * block);
            let cells = (by..(by + block).min(side))
                .flat_map(|y| (bx..(bx + block).min(side)).map(move |x| y * side + x));
            let values: Vec<f32> = cells.map(|cell| map[cell]).collect();
            let expected = values.iter().copied().fold(f32::MIN, f32::max);
            assert!(*peak == expected || (peak.is_nan() && values.iter().any(|v| v.is_nan())));
        }
    }

    #[test]
    fn the_text_holds_every_kernel() {
        for name in ["preprocess_f32", "preprocess_f16", "threshold_map"] {
            assert!(SOURCE.contains(&format!("{name}(")), "{name}");
        }
    }
}

//! From luma and chroma to red, green and blue, in whole numbers: CPU and GPU agree bit for bit.

/// Fractional bits of the factors.
const FACTOR_BITS: u32 = 16;
/// One half in the fixed point, so that the shift rounds.
const HALF: i32 = 1 << (FACTOR_BITS - 1);

/// Which standard the camera's colours follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColourMatrix {
    /// ITU-R BT.601: standard definition, and most cameras of the industry.
    Bt601,
    /// ITU-R BT.709: high definition.
    Bt709,
    /// ITU-R BT.2020: ultra high definition.
    Bt2020,
}

/// Factors with 16 fractional bits that turn 8-bit luma and chroma into red, green and blue.
///
/// `repr(C)`: the kernels of the preprocessor read it as it lies here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ColourConversion {
    /// Luma of black.
    pub luma_offset: i32,
    /// Luma to all three.
    pub luma: i32,
    /// V to red.
    pub red_v: i32,
    /// U to green.
    pub green_u: i32,
    /// V to green.
    pub green_v: i32,
    /// U to blue.
    pub blue_u: i32,
}

impl ColourConversion {
    /// The factors of a standard; `full_range`: luma and chroma use all of 0 to 255 (JPEG), not
    /// 16 to 235 and 16 to 240.
    pub fn new(matrix: ColourMatrix, full_range: bool) -> Self {
        let (red, blue) = match matrix {
            ColourMatrix::Bt601 => (0.299, 0.114),
            ColourMatrix::Bt709 => (0.2126, 0.0722),
            ColourMatrix::Bt2020 => (0.2627, 0.0593),
        };
        let green: f64 = 1.0 - red - blue;
        let (luma_range, chroma_range) = if full_range { (255.0, 255.0) } else { (219.0, 224.0) };
        let fixed = |factor: f64| (factor * f64::from(1 << FACTOR_BITS)).round() as i32;
        let chroma = |factor: f64| fixed(2.0 * factor * 255.0 / chroma_range);
        Self {
            luma_offset: if full_range { 0 } else { 16 },
            luma: fixed(255.0 / luma_range),
            red_v: chroma(1.0 - red),
            green_u: chroma(-(1.0 - blue) * blue / green),
            green_v: chroma(-(1.0 - red) * red / green),
            blue_u: chroma(1.0 - blue),
        }
    }

    /// One pixel, red first.
    pub fn rgb(&self, y: u8, u: u8, v: u8) -> [u8; 3] {
        let luma = (i32::from(y) - self.luma_offset) * self.luma + HALF;
        let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
        let byte = |sum: i32| (sum >> FACTOR_BITS).clamp(0, 255) as u8;
        [
            byte(luma + self.red_v * v),
            byte(luma + self.green_u * u + self.green_v * v),
            byte(luma + self.blue_u * u),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MATRICES: [ColourMatrix; 3] =
        [ColourMatrix::Bt601, ColourMatrix::Bt709, ColourMatrix::Bt2020];

    #[test]
    fn greys_stay_grey_and_the_ends_of_the_range_are_black_and_white() {
        for matrix in MATRICES {
            let (full, video) =
                (ColourConversion::new(matrix, true), ColourConversion::new(matrix, false));
            for y in 0..=255 {
                assert_eq!(full.rgb(y, 128, 128), [y; 3]);
            }
            assert_eq!(video.rgb(16, 128, 128), [0; 3]);
            assert_eq!(video.rgb(235, 128, 128), [255; 3]);
            assert_eq!((video.rgb(0, 128, 128), video.rgb(255, 128, 128)), ([0; 3], [255; 3]));
        }
    }

    #[test]
    fn colours_come_back_from_the_definition_of_the_standard() {
        for (matrix, red, blue) in [
            (ColourMatrix::Bt601, 0.299, 0.114),
            (ColourMatrix::Bt709, 0.2126, 0.0722),
            (ColourMatrix::Bt2020, 0.2627, 0.0593),
        ] {
            for full in [true, false] {
                let conversion = ColourConversion::new(matrix, full);
                for rgb in [[255, 0, 0], [0, 255, 0], [0, 0, 255], [200, 120, 40], [3, 250, 90]] {
                    let [r, g, b] = rgb.map(|v: u8| f64::from(v) / 255.0);
                    let y = red * r + (1.0 - red - blue) * g + blue * b;
                    let (u, v) = ((b - y) / (2.0 * (1.0 - blue)), (r - y) / (2.0 * (1.0 - red)));
                    let (offset, range, chroma) =
                        if full { (0.0, 255.0, 255.0) } else { (16.0, 219.0, 224.0) };
                    let code = |value: f64| value.round().clamp(0.0, 255.0) as u8;
                    let [y, u, v] = [
                        code(offset + range * y),
                        code(128.0 + chroma * u),
                        code(128.0 + chroma * v),
                    ];
                    for (found, expected) in conversion.rgb(y, u, v).into_iter().zip(rgb) {
                        assert!(found.abs_diff(expected) <= 3, "{matrix:?} {full} {rgb:?}");
                    }
                }
            }
        }
    }
}

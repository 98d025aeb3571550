//! Random textures from small tables: fast, and the same for the same seed.

use rand::Rng;
use rand_pcg::Pcg64Mcg;

const GRAIN_SIDE: usize = 128;
const STRIP_LENGTH: usize = 1024;

/// Smooth random values over the plane, -1 to 1, repeating every 128 cells.
#[derive(Clone, Debug)]
pub(super) struct Grain {
    table: Vec<f32>,
}

impl Grain {
    pub fn new(random: &mut Pcg64Mcg) -> Self {
        let table = (0..GRAIN_SIDE * GRAIN_SIDE).map(|_| random.random_range(-1.0..1.0)).collect();
        Self { table }
    }

    /// The value at a point, one cell per unit.
    pub fn at(&self, x: f32, y: f32) -> f32 {
        let (cell_x, cell_y) = (floor(x), floor(y));
        let smooth = |t: f32| t * t * (3.0 - 2.0 * t);
        let (tx, ty) = (smooth(x - cell_x as f32), smooth(y - cell_y as f32));
        let wrap = GRAIN_SIDE - 1;
        let (left, top) = (cell_x as usize & wrap, cell_y as usize & wrap);
        let (right, bottom) = ((left + 1) & wrap, (top + 1) & wrap);
        let row = |y: usize| {
            let (a, b) = (self.table[y * GRAIN_SIDE + left], self.table[y * GRAIN_SIDE + right]);
            a + (b - a) * tx
        };
        let (upper, lower) = (row(top), row(bottom));
        upper + (lower - upper) * ty
    }

    /// The table's own value at a whole cell: unsmoothed, for grain as fine as a pixel.
    pub fn raw(&self, x: usize, y: usize) -> f32 {
        let wrap = GRAIN_SIDE - 1;
        self.table[(y & wrap) * GRAIN_SIDE + (x & wrap)]
    }
}

/// The whole number below; quicker than the library's on processors taken as the least.
fn floor(value: f32) -> i32 {
    let cut = value as i32;
    cut - i32::from(value < cut as f32)
}

/// Random values along a line, -1 to 1, of several widths at once: turning rings, grinding marks.
#[derive(Clone, Debug)]
pub(super) struct Strip {
    table: Vec<f32>,
}

impl Strip {
    pub fn new(random: &mut Pcg64Mcg) -> Self {
        let mut table = vec![0.0; STRIP_LENGTH];
        for (width, share) in [(1, 0.45), (3, 0.3), (11, 0.25)] {
            let mut value = 0.0;
            for (index, entry) in table.iter_mut().enumerate() {
                if index % width == 0 {
                    value = random.random_range(-1.0..1.0);
                }
                *entry += share * value;
            }
        }
        Self { table }
    }

    /// The value at a place, one entry per unit.
    pub fn at(&self, place: f32) -> f32 {
        let cell = floor(place);
        let wrap = STRIP_LENGTH - 1;
        let left = cell as usize & wrap;
        let (a, b) = (self.table[left], self.table[(left + 1) & wrap]);
        a + (b - a) * (place - cell as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn textures_are_continuous_bounded_and_defined_left_of_zero() {
        let mut random = Pcg64Mcg::seed_from_u64(5);
        let (grain, strip) = (Grain::new(&mut random), Strip::new(&mut random));
        for step in -4000..4000 {
            let place = step as f32 * 0.05;
            let (here, next) =
                (grain.at(place, -place * 0.3), grain.at(place + 0.001, -place * 0.3));
            assert!(here.abs() <= 1.0 && (here - next).abs() < 0.01);
            let (here, next) = (strip.at(place), strip.at(place + 0.001));
            assert!(here.abs() <= 1.0 && (here - next).abs() < 0.01);
        }
    }
}

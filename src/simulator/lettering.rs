//! Print on parts: a five by seven dot font, as separate dots (ink jet) or closed (laser, screen).

use super::canvas::{Canvas, Material, Pose, coverage, length};

/// How the dots of a character are laid down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Separate round dots.
    Dots,
    /// Strokes.
    Closed,
}

/// One line of print.
#[derive(Clone, Debug)]
pub(super) struct Print<'a> {
    pub text: &'a str,
    /// Middle of the line in the coordinates of the pose it is printed with.
    pub at: (f32, f32),
    /// Distance of the dots in pixels.
    pub pitch: f32,
    pub style: Style,
    pub ink: Material,
    /// Share of the ground hidden by full ink.
    pub density: f32,
}

/// What went wrong while printing.
#[derive(Clone, Copy, Debug)]
pub(super) enum Misprint {
    /// Wiped while wet, in this direction and over this length in pixels.
    Smear { direction: (f32, f32), length: f32 },
    /// No ink from `from` to `to` (shares of the line's length).
    Gap { from: f32, to: f32 },
}

impl Print<'_> {
    fn half_size(&self) -> (f32, f32) {
        (self.text.len() as f32 * 3.0 * self.pitch, 4.5 * self.pitch)
    }

    /// Lays the line down on the canvas.
    pub fn paint(&self, canvas: &mut Canvas, pose: &Pose, misprint: Option<Misprint>) {
        let half = self.half_size();
        let margin = match misprint {
            Some(Misprint::Smear { length, .. }) => length,
            _ => 0.0,
        };
        let reach = (half.0 + margin, half.1 + margin);
        canvas.paint(pose, self.at, reach, |u, v, texel| {
            let (du, dv) = (u - self.at.0, v - self.at.1);
            let ink = match misprint {
                None => self.ink_at(du, dv),
                Some(Misprint::Gap { from, to }) => {
                    let along = (du + half.0) / (2.0 * half.0);
                    if (from..to).contains(&along) { 0.0 } else { self.ink_at(du, dv) }
                }
                Some(Misprint::Smear { direction, length }) => {
                    let mut most = 0.6 * self.ink_at(du, dv);
                    for step in 1..=6 {
                        let back = step as f32 / 6.0;
                        let (bu, bv) = (direction.0 * length, direction.1 * length);
                        let wiped = self.ink_at(du - bu * back, dv - bv * back);
                        most = most.max(wiped * (0.8 - 0.5 * back));
                    }
                    most
                }
            };
            texel.tint(self.ink.colour, self.density * ink);
            texel.shine *= 1.0 - self.density * ink;
            texel.gloss += (self.ink.gloss - texel.gloss) * self.density * ink;
        });
    }

    /// Ink at a point relative to the middle of the line, 0 to 1.
    fn ink_at(&self, du: f32, dv: f32) -> f32 {
        let half = self.half_size();
        let (column, row) = ((du + half.0) / self.pitch - 0.5, dv / self.pitch + 3.0);
        match self.style {
            Style::Dots => {
                let (cell_u, cell_v) = (column.round(), row.round());
                if self.dot(cell_u as i32, cell_v as i32) == 0.0 {
                    return 0.0;
                }
                let away = length(column - cell_u, row - cell_v) * self.pitch;
                coverage(away - 0.52 * self.pitch)
            }
            Style::Closed => {
                let (left, top) = (column.floor(), row.floor());
                let (tu, tv) = (column - left, row - top);
                let dot =
                    |right: i32, below: i32| self.dot(left as i32 + right, top as i32 + below);
                let upper = dot(0, 0) * (1.0 - tu) + dot(1, 0) * tu;
                let lower = dot(0, 1) * (1.0 - tu) + dot(1, 1) * tu;
                let value = upper * (1.0 - tv) + lower * tv;
                ((value - 0.42) * self.pitch * 1.3 + 0.5).clamp(0.0, 1.0)
            }
        }
    }

    fn dot(&self, column: i32, row: i32) -> f32 {
        if !(0..7).contains(&row) || column < 0 {
            return 0.0;
        }
        let (index, bit) = ((column / 6) as usize, column % 6);
        let Some(&character) = self.text.as_bytes().get(index) else { return 0.0 };
        if bit < 5 && glyph(character)[row as usize] >> (4 - bit) & 1 == 1 { 1.0 } else { 0.0 }
    }
}

/// Seven rows of five dots, most significant of the five bits left.
fn glyph(character: u8) -> [u8; 7] {
    match character {
        b'0' => [0x0e, 0x11, 0x13, 0x15, 0x19, 0x11, 0x0e],
        b'1' => [0x04, 0x0c, 0x04, 0x04, 0x04, 0x04, 0x0e],
        b'2' => [0x0e, 0x11, 0x01, 0x02, 0x04, 0x08, 0x1f],
        b'3' => [0x1f, 0x02, 0x04, 0x02, 0x01, 0x11, 0x0e],
        b'4' => [0x02, 0x06, 0x0a, 0x12, 0x1f, 0x02, 0x02],
        b'5' => [0x1f, 0x10, 0x1e, 0x01, 0x01, 0x11, 0x0e],
        b'6' => [0x06, 0x08, 0x10, 0x1e, 0x11, 0x11, 0x0e],
        b'7' => [0x1f, 0x01, 0x02, 0x04, 0x08, 0x08, 0x08],
        b'8' => [0x0e, 0x11, 0x11, 0x0e, 0x11, 0x11, 0x0e],
        b'9' => [0x0e, 0x11, 0x11, 0x0f, 0x01, 0x02, 0x0c],
        b'A' => [0x0e, 0x11, 0x11, 0x1f, 0x11, 0x11, 0x11],
        b'B' => [0x1e, 0x11, 0x11, 0x1e, 0x11, 0x11, 0x1e],
        b'C' => [0x0e, 0x11, 0x10, 0x10, 0x10, 0x11, 0x0e],
        b'D' => [0x1c, 0x12, 0x11, 0x11, 0x11, 0x12, 0x1c],
        b'E' => [0x1f, 0x10, 0x10, 0x1e, 0x10, 0x10, 0x1f],
        b'F' => [0x1f, 0x10, 0x10, 0x1e, 0x10, 0x10, 0x10],
        b'H' => [0x11, 0x11, 0x11, 0x1f, 0x11, 0x11, 0x11],
        b'K' => [0x11, 0x12, 0x14, 0x18, 0x14, 0x12, 0x11],
        b'L' => [0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x1f],
        b'M' => [0x11, 0x1b, 0x15, 0x15, 0x11, 0x11, 0x11],
        b'N' => [0x11, 0x11, 0x19, 0x15, 0x13, 0x11, 0x11],
        b'O' => [0x0e, 0x11, 0x11, 0x11, 0x11, 0x11, 0x0e],
        b'P' => [0x1e, 0x11, 0x11, 0x1e, 0x10, 0x10, 0x10],
        b'Q' => [0x0e, 0x11, 0x11, 0x11, 0x15, 0x12, 0x0d],
        b'R' => [0x1e, 0x11, 0x11, 0x1e, 0x14, 0x12, 0x11],
        b'S' => [0x0f, 0x10, 0x10, 0x0e, 0x01, 0x01, 0x1e],
        b'T' => [0x1f, 0x04, 0x04, 0x04, 0x04, 0x04, 0x04],
        b'U' => [0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x0e],
        b'V' => [0x11, 0x11, 0x11, 0x11, 0x11, 0x0a, 0x04],
        b'X' => [0x11, 0x11, 0x0a, 0x04, 0x0a, 0x11, 0x11],
        b'-' => [0x00, 0x00, 0x00, 0x1f, 0x00, 0x00, 0x00],
        b'.' => [0x00, 0x00, 0x00, 0x00, 0x00, 0x0c, 0x0c],
        b'/' => [0x00, 0x01, 0x02, 0x04, 0x08, 0x10, 0x00],
        _ => [0; 7],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_printed_where_the_font_has_them() {
        let ink = Material { colour: [1.0; 3], gloss: 0.0 };
        let print =
            Print { text: "L1", at: (0.0, 0.0), pitch: 4.0, style: Style::Dots, ink, density: 1.0 };
        let mut canvas = Canvas::new(&Material { colour: [0.0; 3], gloss: 0.0 });
        print.paint(&mut canvas, &Pose::new((160.0, 160.0), 0.0, 1.0), None);
        let at = |x: usize, y: usize| canvas.texels()[y * 320 + x].colour[0];
        // The line is 12 columns of 4 px wide: "L" starts at 136, its foot is the lowest row.
        assert!(at(138, 148) > 0.9 && at(138, 172) > 0.9 && at(154, 172) > 0.9);
        assert!(at(154, 148) < 0.1);
    }
}

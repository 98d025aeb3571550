//! The drawing ground: a square of texels (colour, height, gloss), painted shape by shape in the
//! part's own coordinates and then lit as one relief.

/// Side of every picture in pixels.
pub(super) const SIDE: usize = 320;

/// A colour in linear light, red, green, blue, 0 to 1.
pub(super) type Colour = [f32; 3];

/// Linear light from the value a display shows (gamma 2, as [`super::exposure`] applies it).
pub(super) const fn colour(red: u8, green: u8, blue: u8) -> Colour {
    let [r, g, b] = [red as f32 / 255.0, green as f32 / 255.0, blue as f32 / 255.0];
    [r * r, g * g, b * b]
}

/// What a surface is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Material {
    pub colour: Colour,
    /// Strength of the mirror-like share, 0 (cloth) to about 1 (solder).
    pub gloss: f32,
}

/// One point of the scene, before light falls on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Texel {
    pub colour: Colour,
    /// Height over the belt in pixels; its slope makes edges, dents and grooves visible.
    pub height: f32,
    pub gloss: f32,
    /// Light a brushed or mirroring surface adds whatever its colour.
    pub shine: f32,
}

impl Texel {
    /// Lays `material` at `height` over the texel, `coverage` 0 to 1.
    pub fn cover(&mut self, material: &Material, height: f32, coverage: f32) {
        for (old, new) in self.colour.iter_mut().zip(material.colour) {
            *old += (new - *old) * coverage;
        }
        self.height += (height - self.height) * coverage;
        self.gloss += (material.gloss - self.gloss) * coverage;
        self.shine -= self.shine * coverage;
    }

    /// Moves the colour towards `tint` by `share`.
    pub fn tint(&mut self, tint: Colour, share: f32) {
        for (old, new) in self.colour.iter_mut().zip(tint) {
            *old += (new - *old) * share;
        }
    }

    /// Multiplies colour and shine.
    pub fn dim(&mut self, factor: f32) {
        for channel in &mut self.colour {
            *channel *= factor;
        }
        self.shine *= factor;
    }
}

/// Where the part's coordinates (pixels, origin in its middle) lie in the picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pose {
    centre: (f32, f32),
    cos: f32,
    sin: f32,
    scale: f32,
}

impl Pose {
    pub fn new(centre: (f32, f32), angle_rad: f32, scale: f32) -> Self {
        Self { centre, cos: angle_rad.cos(), sin: angle_rad.sin(), scale }
    }

    /// The pose of something that sits at `at` on this one, turned by `angle_rad`.
    pub fn child(&self, at: (f32, f32), angle_rad: f32) -> Self {
        let (cos, sin) = (angle_rad.cos(), angle_rad.sin());
        Self {
            centre: self.to_picture(at),
            cos: self.cos * cos - self.sin * sin,
            sin: self.sin * cos + self.cos * sin,
            scale: self.scale,
        }
    }

    /// The same pose with everything on it enlarged by `factor`.
    pub fn scaled(self, factor: f32) -> Self {
        Self { scale: self.scale * factor, ..self }
    }

    /// Part coordinates of a picture point.
    pub fn to_part(self, (x, y): (f32, f32)) -> (f32, f32) {
        let (dx, dy) = ((x - self.centre.0) / self.scale, (y - self.centre.1) / self.scale);
        (dx * self.cos + dy * self.sin, dy * self.cos - dx * self.sin)
    }

    /// Picture point of part coordinates.
    pub fn to_picture(self, (u, v): (f32, f32)) -> (f32, f32) {
        (
            self.centre.0 + self.scale * (u * self.cos - v * self.sin),
            self.centre.1 + self.scale * (u * self.sin + v * self.cos),
        )
    }

    /// A direction of the picture in part coordinates (no shift, no scale).
    pub fn direction_to_part(self, (x, y): (f32, f32)) -> (f32, f32) {
        (x * self.cos + y * self.sin, y * self.cos - x * self.sin)
    }
}

/// The scene as seen from above.
#[derive(Clone, Debug)]
pub(super) struct Canvas {
    texels: Vec<Texel>,
}

impl Canvas {
    /// A canvas filled with `material` at height 0.
    pub fn new(material: &Material) -> Self {
        let texel =
            Texel { colour: material.colour, height: 0.0, gloss: material.gloss, shine: 0.0 };
        Self { texels: vec![texel; SIDE * SIDE] }
    }

    /// Rows of texels, top to bottom.
    pub fn rows_mut(&mut self) -> impl Iterator<Item = &mut [Texel]> {
        self.texels.chunks_exact_mut(SIDE)
    }

    /// One row of texels.
    pub fn row(&self, y: usize) -> &[Texel] {
        &self.texels[y * SIDE..(y + 1) * SIDE]
    }

    /// All texels, row by row.
    pub fn texels(&self) -> &[Texel] {
        &self.texels
    }

    /// Calls `brush(u, v, texel)` for every texel whose part coordinates may lie in the box
    /// `centre` ± `half`.
    pub fn paint(
        &mut self,
        pose: &Pose,
        centre: (f32, f32),
        half: (f32, f32),
        mut brush: impl FnMut(f32, f32, &mut Texel),
    ) {
        let (cx, cy) = pose.to_picture(centre);
        let reach_x = pose.scale * (half.0 * pose.cos.abs() + half.1 * pose.sin.abs()) + 1.5;
        let reach_y = pose.scale * (half.0 * pose.sin.abs() + half.1 * pose.cos.abs()) + 1.5;
        let clamp = |value: f32| value.clamp(0.0, SIDE as f32) as usize;
        let columns = clamp((cx - reach_x).floor())..clamp((cx + reach_x).ceil());
        let (step_u, step_v) = (pose.cos / pose.scale, -pose.sin / pose.scale);
        for y in clamp((cy - reach_y).floor())..clamp((cy + reach_y).ceil()) {
            let (mut u, mut v) = pose.to_part((columns.start as f32, y as f32));
            for texel in &mut self.texels[y * SIDE + columns.start..y * SIDE + columns.end] {
                brush(u, v, texel);
                u += step_u;
                v += step_v;
            }
        }
    }

    /// Darkens what lies under a shape: `distance` is the shape's outline, `offset` (part
    /// coordinates) how far the shadow falls, `softness` its width in pixels.
    pub fn shadow(
        &mut self,
        pose: &Pose,
        half: (f32, f32),
        shadow: &Shadow,
        distance: impl Fn(f32, f32) -> f32,
    ) {
        let margin = shadow.softness;
        let half = (half.0 + margin, half.1 + margin);
        self.paint(pose, shadow.offset, half, |u, v, texel| {
            let d = distance(u - shadow.offset.0, v - shadow.offset.1);
            let share = (0.5 - d / shadow.softness).clamp(0.0, 1.0);
            texel.dim(1.0 - shadow.strength * share);
        });
    }
}

/// A soft shadow; see [`Canvas::shadow`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Shadow {
    pub offset: (f32, f32),
    pub softness: f32,
    pub strength: f32,
}

impl Shadow {
    /// The same shadow in coordinates turned by `angle_rad`.
    pub fn turned(self, angle_rad: f32) -> Self {
        let (sin, cos) = angle_rad.sin_cos();
        let (u, v) = self.offset;
        Self { offset: (u * cos + v * sin, v * cos - u * sin), ..self }
    }
}

/// Coverage of a texel whose middle is `distance` pixels outside an outline.
pub(super) fn coverage(distance: f32) -> f32 {
    (0.5 - distance).clamp(0.0, 1.0)
}

/// Length of a vector; `hypot` guards against overflow that pictures do not know, and is slow.
pub(super) fn length(u: f32, v: f32) -> f32 {
    (u * u + v * v).sqrt()
}

/// 0 below `from`, 1 above `to`, straight between.
pub(super) fn ramp(value: f32, from: f32, to: f32) -> f32 {
    ((value - from) / (to - from)).clamp(0.0, 1.0)
}

/// Distance outside a box with rounded corners around the origin.
pub(super) fn box_distance(u: f32, v: f32, half: (f32, f32), radius: f32) -> f32 {
    let (du, dv) = (u.abs() - half.0 + radius, v.abs() - half.1 + radius);
    let outside = length(du.max(0.0), dv.max(0.0));
    outside + du.max(dv).min(0.0) - radius
}

/// Distance of a point to a chain of points, and where along the chain (0 to 1) it is nearest.
pub(super) fn chain_distance(u: f32, v: f32, points: &[(f32, f32)]) -> (f32, f32) {
    let segments = points.len().saturating_sub(1).max(1) as f32;
    let mut nearest = (f32::MAX, 0.0);
    for (index, pair) in points.windows(2).enumerate() {
        let (a, b) = (pair[0], pair[1]);
        let (du, dv) = (b.0 - a.0, b.1 - a.1);
        let length_squared = (du * du + dv * dv).max(1e-6);
        let t = (((u - a.0) * du + (v - a.1) * dv) / length_squared).clamp(0.0, 1.0);
        let squared = (u - a.0 - t * du).powi(2) + (v - a.1 - t * dv).powi(2);
        if squared < nearest.0 {
            nearest = (squared, (index as f32 + t) / segments);
        }
    }
    (nearest.0.sqrt(), nearest.1)
}

/// The box (centre, half size) around a chain of points, widened by `margin`.
pub(super) fn chain_box(points: &[(f32, f32)], margin: f32) -> ((f32, f32), (f32, f32)) {
    let (mut low, mut high) = ((f32::MAX, f32::MAX), (f32::MIN, f32::MIN));
    for &(u, v) in points {
        low = (low.0.min(u), low.1.min(v));
        high = (high.0.max(u), high.1.max(v));
    }
    let centre = ((low.0 + high.0) / 2.0, (low.1 + high.1) / 2.0);
    (centre, ((high.0 - low.0) / 2.0 + margin, (high.1 - low.1) / 2.0 + margin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poses_turn_back_what_they_turned() {
        let pose = Pose::new((150.0, 170.0), 0.7, 1.03).child((12.0, -30.0), -1.9);
        let (u, v) = pose.to_part(pose.to_picture((17.0, 4.0)));
        assert!((u - 17.0).abs() < 1e-3 && (v - 4.0).abs() < 1e-3, "{u} {v}");
    }

    #[test]
    fn a_box_is_painted_where_its_outline_says() {
        let mut canvas = Canvas::new(&Material { colour: [0.0; 3], gloss: 0.0 });
        let white = Material { colour: [1.0; 3], gloss: 0.0 };
        let pose = Pose::new((160.0, 160.0), 0.4, 1.0);
        canvas.paint(&pose, (0.0, 0.0), (30.0, 20.0), |u, v, texel| {
            texel.cover(&white, 0.0, coverage(box_distance(u, v, (30.0, 20.0), 3.0)));
        });
        let area: f32 = canvas.texels().iter().map(|texel| texel.colour[0]).sum();
        let wanted = 60.0 * 40.0 - (4.0 - std::f32::consts::PI) * 9.0;
        assert!((area - wanted).abs() < 6.0, "{area} instead of {wanted}");
    }

    #[test]
    fn the_nearest_point_of_a_chain_is_found_with_its_place() {
        let chain = [(0.0, 0.0), (10.0, 0.0), (10.0, 10.0)];
        let (distance, place) = chain_distance(13.0, 5.0, &chain);
        assert!((distance - 3.0).abs() < 1e-5 && (place - 0.75).abs() < 1e-5);
    }
}

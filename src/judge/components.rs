//! Connected components (8-connected) of a map at or above a threshold, by union-find.
//!
//! Two raster passes: the first joins each cell with the neighbours already seen, the second adds
//! up each component. The root of a component is its first cell in raster order.

/// Marks a cell below the threshold.
const BELOW: u32 = u32::MAX;

/// One component, in cells of the map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Component {
    /// First column.
    pub left: u32,
    /// First row.
    pub top: u32,
    /// Last column.
    pub right: u32,
    /// Last row.
    pub bottom: u32,
    /// Number of cells.
    pub cells: u32,
    /// Largest value.
    pub peak: f32,
}

/// Scratch for maps of one size.
pub(super) struct Components {
    side: usize,
    /// Per cell: a cell of the same component nearer to its root, or [`BELOW`].
    parents: Vec<u32>,
    /// Per root cell: its place in `found`.
    places: Vec<u32>,
    found: Vec<Component>,
}

impl Components {
    pub fn new(side: usize) -> Self {
        let most = side.div_ceil(2).pow(2); // isolated cells, every second one both ways
        Self {
            side,
            parents: vec![BELOW; side * side],
            places: vec![0; side * side],
            found: Vec::with_capacity(most),
        }
    }

    /// All components of `map` (`side * side` values), in raster order of their first cells.
    pub fn find(&mut self, map: &[f32], threshold: f32) -> &[Component] {
        self.join(map, threshold);
        self.add_up(map);
        &self.found
    }

    fn join(&mut self, map: &[f32], threshold: f32) {
        let side = self.side;
        for (cell, value) in map.iter().enumerate() {
            let above = *value >= threshold; // false for NaN
            self.parents[cell] = if above { cell as u32 } else { BELOW };
            if !above {
                continue;
            }
            let (column, row) = (cell % side, cell / side);
            if column > 0 {
                self.unite(cell, cell - 1);
            }
            if row > 0 {
                let up = cell - side;
                self.unite(cell, up);
                if column > 0 {
                    self.unite(cell, up - 1);
                }
                if column + 1 < side {
                    self.unite(cell, up + 1);
                }
            }
        }
    }

    fn unite(&mut self, cell: usize, neighbour: usize) {
        if self.parents[neighbour] == BELOW {
            return;
        }
        let (a, b) = (self.root(cell), self.root(neighbour));
        self.parents[a.max(b)] = a.min(b) as u32;
    }

    fn root(&mut self, mut cell: usize) -> usize {
        while self.parents[cell] as usize != cell {
            let parent = self.parents[cell] as usize;
            self.parents[cell] = self.parents[parent]; // halves the path for the next walk
            cell = self.parents[cell] as usize;
        }
        cell
    }

    fn add_up(&mut self, map: &[f32]) {
        self.found.clear();
        for (cell, &value) in map.iter().enumerate() {
            if self.parents[cell] == BELOW {
                continue;
            }
            let (column, row) = ((cell % self.side) as u32, (cell / self.side) as u32);
            let root = self.root(cell);
            if root == cell {
                self.places[root] = self.found.len() as u32;
                let (left, right, top, bottom) = (column, column, row, row);
                self.found.push(Component { left, top, right, bottom, cells: 0, peak: value });
            }
            let component = &mut self.found[self.places[root] as usize];
            component.left = component.left.min(column);
            component.right = component.right.max(column);
            component.bottom = row;
            component.cells += 1;
            component.peak = component.peak.max(value);
        }
    }
}

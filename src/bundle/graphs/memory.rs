//! Search and cell: distances to a product's good tokens (architecture, "The inspector's inputs
//! and outputs"). Needs no training.

use super::neck;
use super::resampling::Matrix;
use crate::bundle::Geometry;
use crate::bundle::onnx::{GraphBuilder, Value};

/// Least length by which a level is divided.
const LEAST_LENGTH: f32 = 1e-6;
/// Least squared distance.
const LEAST_SQUARE: f32 = 1e-4;

/// k [L, E]: each of the levels at strides 8 and 16 divided by its length.
pub(super) fn keys(graph: &mut GraphBuilder, levels: &[Value]) -> Value {
    let mut normalised = Vec::with_capacity(levels.len());
    for (index, level) in levels.iter().enumerate() {
        let name = format!("keys{index}");
        let length = graph.reduce("ReduceL2", &format!("{name}.length"), level, &[1], true);
        let length = graph.clip(&format!("{name}.divisor"), &length, LEAST_LENGTH, None);
        normalised.push(graph.binary("Div", &name, level, &length));
    }
    let parts: Vec<&Value> = normalised.iter().collect();
    let joined = graph.concatenate("keys.joined", &parts, 1);
    neck::tokens(graph, "keys", &joined)
}

/// Distance grid [1, G, G] to the nearest of all good tokens [N, E].
pub(super) fn search(
    graph: &mut GraphBuilder,
    keys: &Value,
    good_tokens: &Value,
    grid: usize,
) -> Value {
    let products = graph.gemm_transposed("search.products", keys, good_tokens);
    let nearest = graph.reduce("ReduceMax", "search.nearest", &products, &[1], false);
    distance(graph, "search_grid", &nearest, grid)
}

/// Distance grid [1, G, G] to the nearest of the M good tokens [M, L, E] of the same cell.
pub(super) fn cell(
    graph: &mut GraphBuilder,
    keys: &Value,
    cell_tokens: &Value,
    grid: usize,
) -> Value {
    // One small product per cell and picture instead is five times slower in ONNX Runtime.
    let products = graph.binary("Mul", "cell.terms", cell_tokens, keys);
    let products = graph.reduce_sum("cell.products", &products, &[2]);
    let nearest = graph.reduce("ReduceMax", "cell.nearest", &products, &[0], false);
    distance(graph, "cell_grid", &nearest, grid)
}

/// √max(4 − 2x, 1e-4): two unit vectors side by side have a square of 2.
fn distance(graph: &mut GraphBuilder, name: &str, nearest: &Value, grid: usize) -> Value {
    let minus_two = graph.constant(&format!("{name}.minus_two"), &[], &[-2.0]);
    let four = graph.constant(&format!("{name}.four"), &[], &[4.0]);
    let scaled = graph.binary("Mul", &format!("{name}.scaled"), nearest, &minus_two);
    let square = graph.binary("Add", &format!("{name}.square"), &scaled, &four);
    let limited = graph.clip(&format!("{name}.limited"), &square, LEAST_SQUARE, None);
    let flat = graph.unary("Sqrt", &format!("{name}.flat"), &limited);
    graph.reshape(name, &flat, &[1, grid, grid])
}

/// Distance grids [maps, G, G] to smooth maps [maps, S, S]: bilinear, then a Gaussian of S/56.
pub(super) fn smooth(
    graph: &mut GraphBuilder,
    name: &str,
    grids: &Value,
    geometry: Geometry,
) -> Value {
    let Geometry { side, grid, .. } = geometry;
    let smoothing = Matrix::gaussian(side, side as f64 / 56.0);
    smoothing.after(&Matrix::bilinear(side, grid)).apply(graph, name, grids)
}

//! Neck: four taps brought to the token grid (specification 2.5).

use super::resampling::Matrix;
use crate::bundle::onnx::{GraphBuilder, Value};

/// Each tap at [1, channels, G, G], the last as it is.
pub(super) fn levels(graph: &mut GraphBuilder, taps: &[Value], grid: usize) -> Vec<Value> {
    let mut levels = Vec::with_capacity(taps.len());
    for (index, tap) in taps.iter().enumerate() {
        let side = tap.shape()[3];
        levels.push(if side == grid {
            tap.clone()
        } else {
            Matrix::bilinear(grid, side).apply(graph, &format!("level{index}"), tap)
        });
    }
    levels
}

/// f [1, C, G, G]: the levels on top of each other, finest first.
pub(super) fn join(graph: &mut GraphBuilder, levels: &[Value]) -> Value {
    let levels: Vec<&Value> = levels.iter().collect();
    graph.concatenate("neck", &levels, 1)
}

/// Tokens [G*G, channels] of maps [1, channels, G, G].
pub(super) fn tokens(graph: &mut GraphBuilder, name: &str, maps: &Value) -> Value {
    let [channels, grid] = [maps.shape()[1], maps.shape()[3]];
    let flat = graph.reshape(&format!("{name}.flat"), maps, &[channels, grid * grid]);
    graph.transpose(name, &flat, &[1, 0])
}

/// Maps [1, channels, G, G] of tokens [G*G, channels].
pub(super) fn maps(graph: &mut GraphBuilder, name: &str, tokens: &Value, grid: usize) -> Value {
    let flat = graph.transpose(&format!("{name}.flat"), tokens, &[1, 0]);
    graph.reshape(name, &flat, &[1, tokens.shape()[1], grid, grid])
}

//! From single maps to one map and a score (specification 5.3, architecture).

use super::head::NetworkMaps;
use super::resampling::Matrix;
use crate::bundle::onnx::{GraphBuilder, Value};

/// Side of the window whose mean decides the score.
const SCORE_WINDOW: usize = 16;

/// 0.5·rec + 0.5·K·ref, [1, 1, S, S].
pub(super) fn network_map(graph: &mut GraphBuilder, maps: &NetworkMaps, constant_k: f32) -> Value {
    let half = graph.constant("network.half", &[], &[0.5]);
    let half_k = graph.constant("network.half_k", &[], &[0.5 * constant_k]);
    let reconstruction = graph.binary("Mul", "network.reconstruction", &maps.reconstruction, &half);
    let refined = graph.binary("Mul", "network.refined", &maps.refined, &half_k);
    graph.binary("Add", "network_map", &reconstruction, &refined)
}

/// The outputs `map_peaks` [1, 3], `anomaly_map` [1, 1, S, S] and `score` [1] of the maps
/// [maps, S, S]: search and cell, before them the network's where there is one.
pub(super) fn outputs(graph: &mut GraphBuilder, maps: &Value, scales: &Value) {
    let [count, side] = [maps.shape()[0], maps.shape()[1]];
    let peaks = graph.reduce("ReduceMax", "peaks", maps, &[1, 2], false);
    let (peaks, scales) = if count == 3 {
        (peaks, scales.clone())
    } else {
        // Without a network its scale is unused and its peak 0.
        let zero = graph.constant("peaks.network", &[1], &[0.0]);
        let scales = graph.split("scales", scales, &[1, 2]).remove(1);
        (graph.concatenate("peaks.all", &[&zero, &peaks], 0), scales)
    };
    let peaks = graph.reshape("map_peaks", &peaks, &[1, 3]);
    let scales = graph.reshape("scales.row", &scales, &[1, count]);
    let flat = graph.reshape("maps.flat", maps, &[count, side * side]);
    let fused = graph.matmul("anomaly.flat", &scales, &flat);
    let anomaly = graph.reshape("anomaly_map", &fused, &[1, 1, side, side]);
    let mean = Matrix::moving_mean(side, SCORE_WINDOW).apply(graph, "score.means", &anomaly);
    let score = graph.reduce("ReduceMax", "score", &mean, &[1, 2, 3], false);
    for output in [&score, &anomaly, &peaks] {
        graph.output(output);
    }
}

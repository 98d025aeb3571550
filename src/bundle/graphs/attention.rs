//! Attention and feed-forward with their constants folded (specification 3.2, 8.2, 8.3).

use super::weights::Weights;
use crate::bundle::BundleError;
use crate::bundle::onnx::{GraphBuilder, Value};

/// Hidden width D.
pub(super) const WIDTH: usize = 256;
const HEADS: usize = 8;
const HEAD_WIDTH: usize = WIDTH / HEADS;
const FEED_FORWARD: usize = 1024;
const NORM_EPSILON: f32 = 1e-5;

/// Learned positions: column table first, row table second half (3.1).
pub(super) struct Positions<'a> {
    grid: usize,
    columns: &'a [f32],
    rows: &'a [f32],
}

impl<'a> Positions<'a> {
    pub(super) fn new(head: &Weights<'a>, grid: usize) -> Result<Self, BundleError> {
        let tables = head.under("pos_embed.");
        let columns = tables.values("col_embed.weight")?;
        Ok(Self { grid, columns, rows: tables.values("row_embed.weight")? })
    }

    /// pos [L, 256] itself: the graphs hold it only folded into products.
    pub(super) fn table(&self) -> Vec<f32> {
        const HALF: usize = WIDTH / 2;
        let rows = self.rows.chunks_exact(HALF);
        rows.flat_map(|row| {
            let columns = self.columns.chunks_exact(HALF);
            columns.flat_map(move |column| column.iter().chain(row).copied())
        })
        .collect()
    }

    /// pos · Wᵀ for W [outputs, 256]: [L, outputs]. Linear in both tables, so each is multiplied
    /// only once per row of it.
    fn project(&self, weight: &[f32]) -> Vec<f64> {
        const HALF: usize = WIDTH / 2;
        let outputs = weight.len() / WIDTH;
        let half = |table: &[f32], start: usize| -> Vec<f64> {
            let rows = table.chunks_exact(HALF);
            rows.flat_map(|position| {
                let weights = weight.chunks_exact(WIDTH);
                weights.map(move |row| {
                    let pairs = position.iter().zip(&row[start..start + HALF]);
                    pairs.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>()
                })
            })
            .collect()
        };
        let (columns, rows) = (half(self.columns, 0), half(self.rows, HALF));
        let mut table = Vec::with_capacity(self.grid * self.grid * outputs);
        for row in rows.chunks_exact(outputs) {
            for column in columns.chunks_exact(outputs) {
                table.extend(column.iter().zip(row).map(|(a, b)| a + b));
            }
        }
        table
    }
}

/// x [L, 256] to [L, outputs]: a product and a constant per token.
pub(super) struct Projection {
    outputs: usize,
    /// [256, outputs].
    weights: Vec<f32>,
    /// [L, outputs].
    table: Vec<f32>,
}

impl Projection {
    /// Side by side: one product for all.
    pub(super) fn merged(parts: &[&Self]) -> Self {
        let outputs = parts.iter().map(|part| part.outputs).sum();
        let beside = |matrix: fn(&Self) -> &[f32], rows: usize| {
            let mut merged = Vec::with_capacity(rows * outputs);
            for row in 0..rows {
                for part in parts {
                    let width = part.outputs;
                    merged.extend_from_slice(&matrix(part)[row * width..(row + 1) * width]);
                }
            }
            merged
        };
        let tokens = parts[0].table.len() / parts[0].outputs;
        Self {
            outputs,
            weights: beside(|part| &part.weights, WIDTH),
            table: beside(|part| &part.table, tokens),
        }
    }

    /// Heads [8, L, 32] of each merged part.
    pub(super) fn heads(&self, graph: &mut GraphBuilder, name: &str, x: &Value) -> Vec<Value> {
        let tokens = x.shape()[0];
        let (outputs, parts) = (self.outputs, self.outputs / WIDTH);
        let weights = graph.constant(&format!("{name}.weight"), &[WIDTH, outputs], &self.weights);
        let table = graph.constant(&format!("{name}.table"), &[tokens, outputs], &self.table);
        let rows = graph.gemm(&format!("{name}.rows"), x, &weights, &table);
        let shape = [tokens, parts * HEADS, HEAD_WIDTH];
        let split = graph.reshape(&format!("{name}.split"), &rows, &shape);
        let heads = graph.transpose(&format!("{name}.heads"), &split, &[1, 0, 2]);
        if parts == 1 { vec![heads] } else { graph.split(name, &heads, &vec![HEADS; parts]) }
    }
}

/// One multi-head attention: projections and output, everything constant folded.
pub(super) struct Attention {
    pub(super) query: Projection,
    pub(super) key: Projection,
    pub(super) value: Projection,
    /// [256, 256], inputs first.
    output: Vec<f32>,
    output_bias: Vec<f32>,
}

impl Attention {
    /// Positions enter queries and keys; 1/√32 is in the query; the key's bias only adds a
    /// constant per query and is dropped; the value's bias goes through to the output's.
    pub(super) fn new(weights: &Weights, positions: &Positions) -> Result<Self, BundleError> {
        let packed = weights.values("in_proj_weight")?;
        let bias = weights.values("in_proj_bias")?;
        let third = |index: usize| &packed[index * WIDTH * WIDTH..(index + 1) * WIDTH * WIDTH];
        let (query, key, value) = (third(0), third(1), third(2));
        let scale = 1.0 / (HEAD_WIDTH as f64).sqrt();
        let biases = bias[..WIDTH].iter().cycle();
        let query_table = positions.project(query).into_iter().zip(biases);
        let query_table = query_table.map(|(v, &bias)| ((v + f64::from(bias)) * scale) as f32);
        let query_weights =
            transposed(query, WIDTH).iter().map(|&v| (f64::from(v) * scale) as f32).collect();
        let key_table: Vec<f32> = positions.project(key).iter().map(|&v| v as f32).collect();
        let value_table = vec![0.0; key_table.len()];
        let output = weights.values("out_proj.weight")?;
        let mut output_bias = Vec::with_capacity(WIDTH);
        for (row, &own) in output.chunks_exact(WIDTH).zip(weights.values("out_proj.bias")?) {
            let pairs = row.iter().zip(&bias[2 * WIDTH..]);
            let through: f64 = pairs.map(|(&w, &b)| f64::from(w) * f64::from(b)).sum();
            output_bias.push((f64::from(own) + through) as f32);
        }
        let projection = |weights, table| Projection { outputs: WIDTH, weights, table };
        Ok(Self {
            query: projection(query_weights, query_table.collect()),
            key: projection(transposed(key, WIDTH), key_table),
            value: projection(transposed(value, WIDTH), value_table),
            output: transposed(output, WIDTH),
            output_bias,
        })
    }

    /// Heads to [L, 256].
    pub(super) fn attend(
        &self,
        graph: &mut GraphBuilder,
        name: &str,
        [query, key, value]: [&Value; 3],
        mask: Option<&Value>,
    ) -> Value {
        let keys = graph.transpose(&format!("{name}.keys"), key, &[0, 2, 1]);
        let mut scores = graph.matmul(&format!("{name}.scores"), query, &keys);
        if let Some(mask) = mask {
            scores = graph.binary("Add", &format!("{name}.masked"), &scores, mask);
        }
        let shares = graph.softmax(&format!("{name}.shares"), &scores);
        let mixed = graph.matmul(&format!("{name}.mixed"), &shares, value);
        let tokens = query.shape()[1];
        let rows = graph.transpose(&format!("{name}.rows"), &mixed, &[1, 0, 2]);
        let joined = graph.reshape(&format!("{name}.joined"), &rows, &[tokens, WIDTH]);
        let weights = graph.constant(&format!("{name}.weight"), &[WIDTH, WIDTH], &self.output);
        let bias = graph.constant(&format!("{name}.bias"), &[WIDTH], &self.output_bias);
        graph.gemm(name, &joined, &weights, &bias)
    }
}

/// LN(x + update).
pub(super) fn add_norm(
    graph: &mut GraphBuilder,
    norm: &Weights,
    name: &str,
    x: &Value,
    update: &Value,
) -> Result<Value, BundleError> {
    let sum = graph.binary("Add", &format!("{name}.sum"), x, update);
    let weight = graph.constant(&format!("{name}.weight"), &[WIDTH], norm.values("weight")?);
    let bias = graph.constant(&format!("{name}.bias"), &[WIDTH], norm.values("bias")?);
    Ok(graph.layer_norm(name, &sum, &weight, &bias, NORM_EPSILON))
}

/// W2·relu(W1·x + b1) + b2; `weights` is under the common start of both names.
pub(super) fn feed_forward(
    graph: &mut GraphBuilder,
    weights: &Weights,
    name: &str,
    x: &Value,
) -> Result<Value, BundleError> {
    let wide = format!("{name}.wide");
    let wide = linear(graph, &weights.under("1."), &wide, x, FEED_FORWARD)?;
    let positive = graph.unary("Relu", &format!("{name}.positive"), &wide);
    linear(graph, &weights.under("2."), name, &positive, WIDTH)
}

/// x · Wᵀ + b.
pub(super) fn linear(
    graph: &mut GraphBuilder,
    weights: &Weights,
    name: &str,
    x: &Value,
    outputs: usize,
) -> Result<Value, BundleError> {
    let inputs = x.shape()[1];
    let values = transposed(weights.values("weight")?, inputs);
    let weight = graph.constant(&format!("{name}.weight"), &[inputs, outputs], &values);
    let bias = graph.constant(&format!("{name}.bias"), &[outputs], weights.values("bias")?);
    Ok(graph.gemm(name, x, &weight, &bias))
}

/// Hides the neighbourhood, itself included (3.2): [L, L], 0 or a large negative logit.
pub(super) fn neighbour_mask(graph: &mut GraphBuilder, grid: usize) -> Value {
    const HIDDEN: f32 = -1e4;
    let window = grid / 2 / 2;
    let tokens = grid * grid;
    let mut values = Vec::with_capacity(tokens * tokens);
    for query in 0..tokens {
        for key in 0..tokens {
            let near = (query / grid).abs_diff(key / grid) <= window
                && (query % grid).abs_diff(key % grid) <= window;
            values.push(if near { HIDDEN } else { 0.0 });
        }
    }
    graph.constant("neighbour_mask", &[tokens, tokens], &values)
}

/// [rows, columns] to [columns, rows].
fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    let rows = matrix.len() / columns;
    (0..columns)
        .flat_map(|column| (0..rows).map(move |row| matrix[row * columns + column]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_column_then_row() {
        let (columns, rows): (Vec<f32>, Vec<f32>) =
            ((0..256).map(|v| v as f32).collect(), (0..256).map(|v| 1000.0 + v as f32).collect());
        let positions = Positions { grid: 2, columns: &columns, rows: &rows };
        // With the identity as weights the table is the positions themselves.
        let mut identity = vec![0.0; WIDTH * WIDTH];
        (0..WIDTH).for_each(|index| identity[index * (WIDTH + 1)] = 1.0);
        let table = positions.project(&identity);
        // Token 1 is row 0, column 1; token 2 is row 1, column 0.
        assert_eq!((table[WIDTH], table[WIDTH + 128]), (128.0, 1000.0));
        assert_eq!((table[2 * WIDTH], table[2 * WIDTH + 128]), (0.0, 1128.0));
    }

    #[test]
    fn transposing_a_wide_matrix() {
        assert_eq!(transposed(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }
}

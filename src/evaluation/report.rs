//! The report: JSON (stable names) and a table for people.

use super::gathered::Details;
use crate::product::PromptPlace;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Shares of good parts rejected at which escapes are counted.
pub const FALSE_REJECT_SHARES: [f64; 3] = [0.001, 0.005, 0.01];

/// Metrics as fractions; absent where the data allow none.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Metrics {
    /// Image AUROC.
    pub image_auroc: Option<f64>,
    /// Image average precision.
    pub image_ap: Option<f64>,
    /// Pixel AUROC.
    pub pixel_auroc: Option<f64>,
    /// Pixel average precision.
    pub pixel_ap: Option<f64>,
    /// Per-region overlap up to a false-positive rate of 30 %, exact.
    pub aupro: Option<f64>,
    /// Share of defective parts that pass, by the false-reject share the threshold was set to
    /// from held-back good parts of `train`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub escape_rate: BTreeMap<String, f64>,
    /// Share of good test parts that are rejected at the same thresholds: what came of the share
    /// asked for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub false_reject_rate: BTreeMap<String, f64>,
}

/// Times of single pictures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Milliseconds {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
}

impl Milliseconds {
    /// Of many times; `None` without any.
    pub(super) fn of(mut times: Vec<f64>) -> Option<Self> {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times.get((share * (times.len() as f64 - 1.0)).round() as usize);
        Some(Self { p50: *at(0.5)?, p99: *at(0.99)? })
    }
}

/// Metrics of one product.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProductMetrics {
    /// Its name.
    pub product: String,
    /// Good test pictures.
    pub good: usize,
    /// Defective test pictures.
    pub defective: usize,
    /// Defective test pictures without a mask, left out of the pixel metrics.
    pub without_mask: usize,
    /// Good pictures it was taught by.
    pub taught_by: usize,
    /// Where the prompt lies among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<PromptPlace>,
    /// Wall time of teaching.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teach_seconds: Option<f64>,
    /// From camera pixels to score, one picture after the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inspect_ms: Option<Milliseconds>,
    /// The metrics.
    #[serde(flatten)]
    pub metrics: Metrics,
    /// What a person should know of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What the page shows.
    #[serde(skip)]
    pub details: Option<Details>,
}

/// Rows beside the bundle's own.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rows {
    /// Per product.
    pub products: Vec<ProductMetrics>,
    /// Unweighted mean over the products.
    pub mean: Metrics,
}

impl Rows {
    fn new(products: Vec<ProductMetrics>) -> Self {
        Self { mean: mean(&products), products }
    }
}

/// Rows of one map of the network.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MapRows {
    /// What the map is made of.
    pub map: String,
    /// The rows.
    #[serde(flatten)]
    pub rows: Rows,
}

impl MapRows {
    pub(super) fn new(map: String, products: Vec<ProductMetrics>) -> Self {
        Self { map, rows: Rows::new(products) }
    }
}

/// What `evaluate` reports.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EvaluationReport {
    /// The bundle.
    pub engine: String,
    /// The data set.
    pub data: String,
    /// Wall time.
    pub seconds: f64,
    /// Per product.
    pub products: Vec<ProductMetrics>,
    /// Unweighted mean over the products.
    pub mean: Metrics,
    /// Plain nearest neighbours, where asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Rows>,
    /// Parts of the network's map, each by itself, where asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub network_maps: Vec<MapRows>,
}

impl EvaluationReport {
    pub(super) fn new(
        products: Vec<ProductMetrics>,
        baseline: Option<Vec<ProductMetrics>>,
    ) -> Self {
        Self {
            engine: String::new(),
            data: String::new(),
            seconds: 0.0,
            mean: mean(&products),
            products,
            baseline: baseline.map(Rows::new),
            network_maps: Vec::new(),
        }
    }
}

/// Mean over the products that have the metric.
fn mean(products: &[ProductMetrics]) -> Metrics {
    let of = |metric: &dyn Fn(&Metrics) -> Option<f64>| {
        let values: Vec<f64> = products.iter().filter_map(|p| metric(&p.metrics)).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let shares = FALSE_REJECT_SHARES.map(|share| share.to_string());
    let rates = |rates: fn(&Metrics) -> &BTreeMap<String, f64>| -> BTreeMap<String, f64> {
        let named = |share: &String| Some((share.clone(), of(&|m| rates(m).get(share).copied())?));
        shares.iter().filter_map(named).collect()
    };
    Metrics {
        image_auroc: of(&|m| m.image_auroc),
        image_ap: of(&|m| m.image_ap),
        pixel_auroc: of(&|m| m.pixel_auroc),
        pixel_ap: of(&|m| m.pixel_ap),
        aupro: of(&|m| m.aupro),
        escape_rate: rates(|metrics| &metrics.escape_rate),
        false_reject_rate: rates(|metrics| &metrics.false_reject_rate),
    }
}

impl fmt::Display for EvaluationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.products.iter().map(|product| product.product.chars().count());
        let width = names.max().unwrap_or(0).max("nearest neighbours:".len());
        writeln!(f, "{} on {} ({:.0} s), per cent", self.engine, self.data, self.seconds)?;
        write!(f, "{:width$}   good    bad", "")?;
        for column in ["I-AUROC", "I-AP", "P-AUROC", "P-AP", "AUPRO"] {
            write!(f, " {column:>7}")?;
        }
        writeln!(f, "  escapes at {}", FALSE_REJECT_SHARES.map(percent_word).join(" / "))?;
        rows(f, width, &self.products, &self.mean)?;
        if let Some(baseline) = &self.baseline {
            writeln!(f, "nearest neighbours:")?;
            rows(f, width, &baseline.products, &baseline.mean)?;
        }
        for MapRows { map, rows: network } in &self.network_maps {
            writeln!(f, "network, {map}:")?;
            rows(f, width, &network.products, &network.mean)?;
        }
        for product in &self.products {
            let name = &product.product;
            if let (Some(place), true) = (product.prompt, product.taught_by > 1) {
                writeln!(f, "prompt of {name}: {place}")?;
            }
            if let (Some(teach), Some(inspect)) = (product.teach_seconds, product.inspect_ms) {
                let Milliseconds { p50, p99 } = inspect;
                writeln!(
                    f,
                    "times of {name}: taught in {teach:.1} s, a picture {p50:.0} ms (p99 {p99:.0})"
                )?;
            }
            for note in &product.notes {
                writeln!(f, "note on {name}: {note}")?;
            }
        }
        Ok(())
    }
}

fn rows(
    f: &mut fmt::Formatter<'_>,
    width: usize,
    products: &[ProductMetrics],
    mean: &Metrics,
) -> fmt::Result {
    for product in products {
        write!(f, "{:width$} {:>6} {:>6}", product.product, product.good, product.defective)?;
        row(f, &product.metrics)?;
    }
    write!(f, "{:width$} {:>6} {:>6}", "mean", "", "")?;
    row(f, mean)
}

fn row(f: &mut fmt::Formatter<'_>, metrics: &Metrics) -> fmt::Result {
    let Metrics { image_auroc, image_ap, pixel_auroc, pixel_ap, aupro, escape_rate, .. } = metrics;
    for metric in [image_auroc, image_ap, pixel_auroc, pixel_ap, aupro] {
        match metric {
            Some(value) => write!(f, " {:>7.1}", value * 100.0)?,
            None => write!(f, " {:>7}", "-")?,
        }
    }
    let escapes: Vec<String> =
        escape_rate.values().map(|rate| format!("{:.1}", rate * 100.0)).collect();
    if escapes.is_empty() { writeln!(f) } else { writeln!(f, "  {}", escapes.join(" / ")) }
}

fn percent_word(share: f64) -> String {
    format!("{} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product(name: &str, auroc: Option<f64>) -> ProductMetrics {
        let escape_rate = FALSE_REJECT_SHARES.map(|share| (share.to_string(), 0.25));
        let metrics = Metrics {
            image_auroc: auroc,
            pixel_ap: Some(0.5),
            escape_rate: BTreeMap::from(escape_rate),
            ..Metrics::default()
        };
        ProductMetrics {
            product: name.into(),
            good: 3,
            defective: 4,
            without_mask: 0,
            taught_by: 9,
            prompt: None,
            teach_seconds: None,
            inspect_ms: None,
            metrics,
            notes: vec!["look".into()],
            details: None,
        }
    }

    #[test]
    fn json_has_the_documented_names() {
        let products = vec![product("a", Some(0.9)), product("b", None)];
        let report = EvaluationReport::new(products, Some(vec![product("a", Some(0.5))]));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["products"][0]["product"], "a");
        assert_eq!(json["products"][0]["image_auroc"], 0.9);
        assert_eq!(json["products"][0]["escape_rate"]["0.005"], 0.25);
        assert_eq!(json["products"][0]["escape_rate"]["0.001"], 0.25);
        assert_eq!(json["products"][0]["escape_rate"]["0.01"], 0.25);
        assert!(json["products"][1]["image_auroc"].is_null());
        assert_eq!(json["mean"]["image_auroc"], 0.9, "the mean of those that have it");
        assert_eq!(json["baseline"]["mean"]["image_auroc"], 0.5);
    }

    #[test]
    fn the_table_has_a_row_for_each_product_and_the_mean() {
        let report = EvaluationReport::new(vec![product("a", Some(0.987))], None);
        let table = report.to_string();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 5);
        assert_eq!(lines[4], "note on a: look");
        assert!(lines[1].ends_with("escapes at 0.1 % / 0.5 % / 1 %"), "{table}");
        assert!(lines[2].contains(" 98.7 ") && lines[2].contains(" 50.0"), "{table}");
        assert!(lines[2].ends_with("25.0 / 25.0 / 25.0"), "{table}");
    }
}

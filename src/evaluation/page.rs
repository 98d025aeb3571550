//! The report as one self-contained page: tables, curves, histograms, the worst pictures. Nothing
//! is fetched, nothing runs; it prints on A4, and no information is in colour alone.

mod chart;
mod picture;

use super::gathered::{Details, Example};
use super::report::{EvaluationReport, FALSE_REJECT_SHARES, Metrics, ProductMetrics};
use crate::bundle::Manifest;
use std::fmt::{self, Display, Write as _};

const STYLE: &str = include_str!("page/style.css");

/// What the page says of the engine.
#[derive(Clone, Copy, Debug)]
pub struct EngineFacts<'a> {
    /// The bundle's manifest.
    pub manifest: &'a Manifest,
    /// The bundle's hash.
    pub hash: &'a str,
    /// Loss curves of its training as an SVG element, where the bundle has them.
    pub loss_plot: Option<&'a str>,
}

/// The page. `report` carries the details of its products.
pub fn page(report: &EvaluationReport, facts: &EngineFacts<'_>) -> String {
    let mut html = String::new();
    // Writing into a string cannot fail.
    let _ = write_page(&mut html, report, facts);
    html
}

/// Text that comes from outside (names of files, products, commands), made harmless.
struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // A name that turns the writing direction or ends the line is shown as it is made.
                c if c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c) => {
                    write!(f, "{}", c.escape_unicode())?;
                }
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

fn write_page(
    html: &mut String,
    report: &EvaluationReport,
    facts: &EngineFacts<'_>,
) -> fmt::Result {
    let (engine, data) = (Text(&report.engine), Text(&report.data));
    write!(
        html,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>Evaluation of {engine} on {data}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header><h1>Evaluation of {engine}</h1>\n<p>on {data}, in {:.0} s. Every product was taught \
         by its good training pictures, then its test pictures were inspected. Labels are folders; \
         metrics are exact; pixels are those of the network's input.</p></header>\n",
        report.seconds
    )?;
    write_table(html, report)?;
    write_thresholds(html, report)?;
    let noted = report.products.iter().filter(|product| !product.notes.is_empty());
    if noted.clone().next().is_some() {
        html.push_str("<section>\n<h2>Notes</h2>\n<ul>\n");
        for product in noted {
            for note in &product.notes {
                writeln!(html, "<li><b>{}</b>: {}</li>", Text(&product.product), Text(note))?;
            }
        }
        html.push_str("</ul>\n</section>\n");
    }
    for product in &report.products {
        if let Some(details) = &product.details {
            write_product(html, product, details)?;
        }
    }
    write_engine(html, facts)?;
    html.push_str("</body>\n</html>\n");
    Ok(())
}

fn write_table(html: &mut String, report: &EvaluationReport) -> fmt::Result {
    html.push_str(
        "<section>\n<h2>Figures</h2>\n<table>\n<thead><tr><th class=\"name\">per cent</th><th>good</th>\
         <th>defective</th><th>I-AUROC</th><th>I-AP</th><th>P-AUROC</th><th>P-AP</th><th>AUPRO</th>\
         </tr></thead>\n<tbody>\n",
    );
    let baseline = report.baseline.as_ref();
    for (index, product) in report.products.iter().enumerate() {
        let counts = [product.good, product.defective].map(|count| count.to_string());
        write_row(html, "", Text(&product.product), counts, &product.metrics)?;
        if let Some(row) = baseline.and_then(|baseline| baseline.products.get(index)) {
            write_row(html, " class=\"beside\"", NEIGHBOURS, Default::default(), &row.metrics)?;
        }
    }
    write_row(html, " class=\"mean\"", "mean", Default::default(), &report.mean)?;
    if let Some(baseline) = baseline {
        write_row(html, " class=\"beside\"", NEIGHBOURS, Default::default(), &baseline.mean)?;
    }
    html.push_str(
        "</tbody>\n</table>\n<p class=\"small\">I: images, P: pixels. AUPRO: mean overlap with the \
         defect regions up to 30 % false-positive pixels.",
    );
    if baseline.is_some() {
        html.push_str(
            " <i>Nearest neighbours</i>: distance to 20,000 random patches of the same pictures, \
             same backbone, nothing else.",
        );
    }
    html.push_str("</p>\n</section>\n");
    Ok(())
}

const NEIGHBOURS: &str = "nearest neighbours";

fn write_row(
    html: &mut String,
    class: &str,
    name: impl Display,
    counts: [String; 2],
    metrics: &Metrics,
) -> fmt::Result {
    let [good, defective] = counts;
    write!(html, "<tr{class}><th class=\"name\">{name}</th><td>{good}</td><td>{defective}</td>")?;
    let Metrics { image_auroc, image_ap, pixel_auroc, pixel_ap, aupro, .. } = metrics;
    for metric in [image_auroc, image_ap, pixel_auroc, pixel_ap, aupro] {
        write!(html, "<td>{}</td>", Percent(*metric))?;
    }
    html.push_str("</tr>\n");
    Ok(())
}

/// A share in per cent; a dash where there is none.
struct Percent(Option<f64>);

impl Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(share) => write!(f, "{:.1}", share * 100.0),
            None => f.write_str("–"),
        }
    }
}

fn write_thresholds(html: &mut String, report: &EvaluationReport) -> fmt::Result {
    html.push_str(
        "<section>\n<h2>Escapes and times</h2>\n<table>\n<thead><tr><th class=\"name\"></th>",
    );
    for share in FALSE_REJECT_SHARES {
        write!(html, "<th colspan=\"2\">at {} %</th>", share * 100.0)?;
    }
    html.push_str(
        "<th>taught by</th><th>in</th><th colspan=\"2\">a picture takes</th></tr>\n<tr><th \
         class=\"name\">per cent</th>",
    );
    html.push_str(&"<th>escapes</th><th>good rejected</th>".repeat(3));
    html.push_str(
        "<th>pictures</th><th>s</th><th>ms, median</th><th>99th</th></tr></thead>\n<tbody>\n",
    );
    for product in &report.products {
        write!(html, "<tr><th class=\"name\">{}</th>", Text(&product.product))?;
        write_rates(html, &product.metrics)?;
        write!(html, "<td>{}</td>", product.taught_by)?;
        let numbers = [
            product.teach_seconds,
            product.inspect_ms.map(|ms| ms.p50),
            product.inspect_ms.map(|ms| ms.p99),
        ];
        for number in numbers {
            match number {
                Some(number) => write!(html, "<td>{number:.1}</td>")?,
                None => html.push_str("<td>–</td>"),
            }
        }
        html.push_str("</tr>\n");
    }
    html.push_str("<tr class=\"mean\"><th class=\"name\">mean</th>");
    write_rates(html, &report.mean)?;
    html.push_str(
        "<td></td><td></td><td></td><td></td></tr>\n</tbody>\n</table>\n<p class=\"small\">The share \
         above each pair is the share of good parts the threshold was set to reject, from held-back \
         good training pictures alone. Escapes: defective test parts that pass at it. Good rejected: \
         what came of that share on the good test parts.</p>\n</section>\n",
    );
    Ok(())
}

fn write_rates(html: &mut String, metrics: &Metrics) -> fmt::Result {
    for share in FALSE_REJECT_SHARES.map(|share| share.to_string()) {
        let escapes = Percent(metrics.escape_rate.get(&share).copied());
        let rejects = Percent(metrics.false_reject_rate.get(&share).copied());
        write!(html, "<td>{escapes}</td><td>{rejects}</td>")?;
    }
    Ok(())
}

fn write_product(html: &mut String, product: &ProductMetrics, details: &Details) -> fmt::Result {
    writeln!(html, "<section class=\"product\">\n<h2>{}</h2>", Text(&product.product))?;
    if let (Some(place), true) = (product.prompt, product.taught_by > 1) {
        writeln!(html, "<p>Prompt: {place}.</p>")?;
    }
    html.push_str("<div class=\"charts\">\n");
    let (images, pixels) = (details.image_curves.as_ref(), details.pixel_curves.as_ref());
    let lines = [("images", images), ("pixels", pixels)];
    chart::roc(html, lines.map(|(name, curves)| (name, curves.map(|curves| &curves.roc))))?;
    chart::precision_recall(
        html,
        lines.map(|(name, curves)| (name, curves.map(|curves| &curves.precision_recall))),
    )?;
    chart::histogram(html, details)?;
    html.push_str("</div>\n");
    let threshold = details.thresholds[1];
    write_examples(
        html,
        "Defective parts with the lowest scores",
        &details.misses,
        details,
        &|score| if score < threshold { "ESCAPES" } else { "rejected" },
    )?;
    write_examples(
        html,
        "Good parts with the highest scores",
        &details.false_alarms,
        details,
        &|score| if score < threshold { "passes" } else { "FALSE ALARM" },
    )?;
    html.push_str("</section>\n");
    Ok(())
}

fn write_examples(
    html: &mut String,
    title: &str,
    examples: &[Example],
    details: &Details,
    outcome: &dyn Fn(f32) -> &'static str,
) -> fmt::Result {
    if examples.is_empty() {
        return Ok(());
    }
    let (threshold, share) = (details.thresholds[1], FALSE_REJECT_SHARES[1] * 100.0);
    writeln!(
        html,
        "<h3>{title}</h3>\n<p class=\"small\">Each: picture, truth, map (outlined where it is above \
         the pixel threshold). Threshold at {share} %: {threshold:.3}.</p>\n<div class=\"examples\">"
    )?;
    for example in examples {
        let name = Text(&example.name);
        let word = outcome(example.score);
        html.push_str("<figure>\n");
        picture::photograph(html, &example.picture, &format!("picture {name}"))?;
        match &example.mask {
            Some(mask) => picture::truth(html, mask, &format!("truth of {name}"))?,
            None => html.push_str("<span class=\"nothing\">good: no truth to show</span>\n"),
        }
        let map = picture::outlined(&example.picture, &example.map, details.pixel_threshold);
        picture::photograph(html, &map, &format!("map of {name}"))?;
        let score = example.score;
        writeln!(
            html,
            "<figcaption>{name}<br>score {score:.3}: <b>{word}</b></figcaption>\n</figure>"
        )?;
    }
    html.push_str("</div>\n");
    Ok(())
}

fn write_engine(html: &mut String, facts: &EngineFacts<'_>) -> fmt::Result {
    let Manifest { backbone, side, recipe, fusion, one_picture, training, .. } = facts.manifest;
    html.push_str("<section>\n<h2>Engine</h2>\n<table class=\"facts\">\n<tbody>\n");
    let mut fact = |name: &str, value: &dyn Display| {
        writeln!(html, "<tr><th>{name}</th><td>{value}</td></tr>")
    };
    let [network, search, cell] = fusion.weights;
    fact("bundle", &Text(facts.hash))?;
    fact("backbone, input, recipe", &format!("{backbone:?}, {side}x{side}, {recipe:?}"))?;
    fact("fusion", &format!("network {network}, search {search}, cell {cell}"))?;
    fact("constant K", &fusion.constant_k)?;
    fact("threshold of one picture", &one_picture.threshold)?;
    fact("trained by", &Text(&training.command))?;
    fact(
        "training",
        &format!("{} steps in {:.0} s, seed {}", training.steps, training.seconds, training.seed),
    )?;
    fact("training data", &Text(&training.data_sha256))?;
    fact("training products", &Text(&training.products.join(", ")))?;
    for (name, value) in &training.metrics {
        fact(&Text(&name.replace('_', " ")).to_string(), &format!("{value:.4}"))?;
    }
    html.push_str("</tbody>\n</table>\n");
    if let Some(plot) = facts.loss_plot {
        writeln!(html, "<figure class=\"plot\">{plot}<figcaption>losses</figcaption></figure>")?;
    }
    html.push_str("</section>\n");
    Ok(())
}

#[cfg(test)]
mod tests;

//! Curves and histograms as SVG. Lines differ by their dashes, not by their colour.

use crate::evaluation::gathered::Details;
use crate::evaluation::metrics::Curve;
use crate::evaluation::report::FALSE_REJECT_SHARES;
use std::fmt::{self, Write as _};

// The plot, with room around it for numbers and names of the axes.
const LEFT: f64 = 38.0;
const TOP: f64 = 22.0;
const WIDTH: f64 = 200.0;
const HEIGHT: f64 = 150.0;
const BINS: usize = 40;

/// Curves by name; drawn solid and dashed.
type Lines<'a> = [(&'a str, Option<&'a Curve>); 2];
/// Writes a point into a path: its index and place.
type WritePoint<'a> = &'a dyn Fn(&mut String, usize, (f64, f64)) -> fmt::Result;

/// ROC: straight between the points.
pub(super) fn roc(svg: &mut String, lines: Lines<'_>) -> fmt::Result {
    begin(svg, "ROC", "false-positive rate", "true-positive rate")?;
    unit_ticks(svg)?;
    writeln!(svg, "<path class=\"chance\" d=\"M{} {}L{} {}\"/>", x(0.0), y(0.0), x(1.0), y(1.0))?;
    draw(svg, lines, 0.55, &|path, index, point| {
        let command = if index == 0 { 'M' } else { 'L' };
        write!(path, "{command}{:.1} {:.1}", x(point.0), y(point.1))
    })?;
    end(svg)
}

/// Precision over recall: steps, as average precision sums them.
pub(super) fn precision_recall(svg: &mut String, lines: Lines<'_>) -> fmt::Result {
    begin(svg, "Precision and recall", "recall", "precision")?;
    unit_ticks(svg)?;
    draw(svg, lines, 0.04, &|path, index, point| {
        let (x, y, start) = (x(point.0), y(point.1), x(0.0));
        if index == 0 {
            write!(path, "M{start:.1} {y:.1}H{x:.1}")
        } else {
            write!(path, "V{y:.1}H{x:.1}")
        }
    })?;
    end(svg)
}

fn draw(
    svg: &mut String,
    lines: Lines<'_>,
    legend_left: f64,
    write_point: WritePoint<'_>,
) -> fmt::Result {
    for (index, (name, curve)) in lines.into_iter().enumerate() {
        let class = if index == 0 { "solid" } else { "dashed" };
        let (left, top) = (x(legend_left), y(0.16 - 0.09 * index as f64));
        let (line_end, text_left, text_base) = (left + 22.0, left + 26.0, top + 3.5);
        if let Some(curve) = curve {
            let mut path = String::new();
            for (index, point) in curve.points().enumerate() {
                write_point(&mut path, index, point)?;
            }
            writeln!(svg, "<path class=\"{class}\" d=\"{path}\"/>")?;
        }
        writeln!(svg, "<path class=\"{class}\" d=\"M{left:.1} {top:.1}H{line_end:.1}\"/>")?;
        let none = if curve.is_some() { "" } else { ": none" };
        writeln!(svg, "<text x=\"{text_left:.1}\" y=\"{text_base:.1}\">{name}{none}</text>")?;
    }
    Ok(())
}

/// Scores of good test parts upwards, of defective ones downwards, held-back good training parts
/// as ticks below, and the threshold between.
pub(super) fn histogram(svg: &mut String, details: &Details) -> fmt::Result {
    begin(svg, "Scores", "image score (ticks: good parts held back)", "defective · good")?;
    let Details { good_scores, defective_scores, held_back_scores, .. } = details;
    let threshold = details.thresholds[1];
    let scores = good_scores.iter().chain(defective_scores).chain(held_back_scores);
    let seen = scores.chain([&threshold]).copied().filter(|score| score.is_finite());
    let (low, high) = seen.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), score| {
        (low.min(score), high.max(score))
    });
    if high < low {
        writeln!(svg, "<text x=\"{}\" y=\"{}\">no scores</text>", x(0.4), y(0.5))?;
        return end(svg);
    }
    let span = f64::from(high - low).max(1e-6);
    let place = |score: f32| x(f64::from(score - low) / span);
    let count = |scores: &[f32]| {
        let mut bins = [0usize; BINS];
        for score in scores {
            let bin = (f64::from(score - low) / span * BINS as f64) as usize;
            bins[bin.min(BINS - 1)] += 1;
        }
        bins
    };
    let (good, defective) = (count(good_scores), count(defective_scores));
    let tallest = good.iter().chain(&defective).copied().max().unwrap_or(0).max(1);
    let zero = TOP + HEIGHT / 2.0;
    for (class, bins, upwards) in [("good", good, true), ("bad", defective, false)] {
        for (bin, &count) in bins.iter().enumerate().filter(|(_, count)| **count > 0) {
            let height = count as f64 / tallest as f64 * (HEIGHT / 2.0 - 6.0);
            let top = if upwards { zero - height } else { zero };
            let (left, width) = (x(bin as f64 / BINS as f64), WIDTH / BINS as f64);
            writeln!(
                svg,
                "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" \
                 height=\"{height:.1}\"/>"
            )?;
        }
    }
    let bottom = TOP + HEIGHT;
    let mut ticks = String::new();
    for score in held_back_scores {
        write!(ticks, "M{:.1} {:.1}V{bottom:.1}", place(*score), bottom - 7.0)?;
    }
    writeln!(svg, "<path class=\"axis\" d=\"M{LEFT} {zero}H{:.1}\"/>", x(1.0))?;
    writeln!(svg, "<path class=\"tick\" d=\"{ticks}\"/>")?;
    for (number, base) in [(tallest, TOP + 6.0), (0, zero), (tallest, bottom - 6.0)] {
        let (right, base) = (LEFT - 4.0, base + 3.5);
        writeln!(svg, "<text x=\"{right}\" y=\"{base}\" text-anchor=\"end\">{number}</text>")?;
    }
    if threshold.is_finite() {
        let at = place(threshold);
        let (anchor, text) = if at > x(0.6) { ("end", at - 3.0) } else { ("start", at + 3.0) };
        writeln!(svg, "<path class=\"threshold\" d=\"M{at:.1} {TOP}V{bottom}\"/>")?;
        writeln!(
            svg,
            "<text x=\"{text:.1}\" y=\"{}\" text-anchor=\"{anchor}\">threshold at {} %</text>",
            TOP + 9.0,
            FALSE_REJECT_SHARES[1] * 100.0
        )?;
    }
    let (left, right, numbers) = (x(0.0), x(1.0), bottom + 12.0);
    writeln!(svg, "<text x=\"{left}\" y=\"{numbers}\">{low:.2}</text>")?;
    writeln!(svg, "<text x=\"{right}\" y=\"{numbers}\" text-anchor=\"end\">{high:.2}</text>")?;
    end(svg)
}

fn begin(svg: &mut String, title: &str, across: &str, up: &str) -> fmt::Result {
    let (width, height) = (LEFT + WIDTH + 8.0, TOP + HEIGHT + 30.0);
    let (middle, base) = (LEFT + WIDTH / 2.0, TOP + HEIGHT + 25.0);
    let side = TOP + HEIGHT / 2.0;
    writeln!(
        svg,
        "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{title}\">\n\
         <text class=\"title\" x=\"{LEFT}\" y=\"13\">{title}</text>\n\
         <rect class=\"frame\" x=\"{LEFT}\" y=\"{TOP}\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n\
         <text x=\"{middle}\" y=\"{base}\" text-anchor=\"middle\">{across}</text>\n\
         <text x=\"10\" y=\"{side}\" text-anchor=\"middle\" transform=\"rotate(-90 10 {side})\">{up}\
         </text>"
    )
}

fn unit_ticks(svg: &mut String) -> fmt::Result {
    for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let (across, up) = (x(tick), y(tick));
        let (below, left, base) = (TOP + HEIGHT + 12.0, LEFT - 4.0, up + 3.5);
        writeln!(svg, "<text x=\"{across}\" y=\"{below}\" text-anchor=\"middle\">{tick}</text>")?;
        writeln!(svg, "<text x=\"{left}\" y=\"{base}\" text-anchor=\"end\">{tick}</text>")?;
        writeln!(
            svg,
            "<path class=\"grid\" d=\"M{across} {TOP}V{}M{LEFT} {up}H{}\"/>",
            TOP + HEIGHT,
            LEFT + WIDTH
        )?;
    }
    Ok(())
}

fn end(svg: &mut String) -> fmt::Result {
    svg.write_str("</svg>\n")
}

/// From the unit square to the drawing.
fn x(value: f64) -> f64 {
    LEFT + WIDTH * value
}

fn y(value: f64) -> f64 {
    TOP + HEIGHT * (1.0 - value)
}

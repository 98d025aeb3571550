//! The course of a training as a picture: `training.csv` of a bundle to SVG.

use std::fmt::Write;

const WIDTH: f64 = 720.0;
const PANEL_HEIGHT: f64 = 130.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 12.0;
/// Most points of a line; more steps are averaged in groups.
const MOST_POINTS: usize = 300;

/// One curve: the column of the log, its caption, whether only a few steps have it.
const CURVES: [(&str, &str, bool); 4] = [
    ("reconstruction_loss", "reconstruction loss (mean square)", false),
    ("dice_loss", "Dice loss", false),
    ("gradient_norm", "length of the gradient before the clip", false),
    ("held_out_loss", "loss on held-out good parts and pseudo-anomalies", true),
];

/// The losses and gradient of `csv` by step, one panel each, as an SVG element of a fixed size in
/// the colour of the text around it; none where there is nothing to draw. The drop of the learning
/// rate is a dashed line. Fields that are no finite numbers are left out.
pub fn loss_plot_svg(csv: &str) -> Option<String> {
    let mut lines = csv.lines();
    let header: Vec<&str> = lines.next()?.split(',').collect();
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    let points = |name: &str| points(&header, &rows, name);
    let panels: Vec<_> = CURVES
        .into_iter()
        .map(|(name, caption, sparse)| (points(name), caption, sparse))
        .filter(|(points, ..)| !points.is_empty())
        .collect();
    let last =
        panels.iter().flat_map(|(points, ..)| points.last()).map(|p| p.0).fold(1.0, f64::max);
    if panels.is_empty() {
        return None;
    }
    let drop = points("learning_rate").windows(2).find(|w| w[1].1 < w[0].1).map(|w| w[1].0);
    let height = PANEL_HEIGHT * panels.len() as f64 + 22.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" role=\"img\" font-size=\"12\" \
         font-family=\"sans-serif\" fill=\"currentColor\" stroke=\"none\">\
         <title>Losses and gradient by training step</title>"
    );
    for (index, (points, caption, sparse)) in panels.iter().enumerate() {
        panel(&mut svg, PANEL_HEIGHT * index as f64, points, caption, *sparse, last, drop);
    }
    let _ = write!(
        svg,
        "<text x=\"{LEFT}\" y=\"{y}\">1</text><text x=\"{right}\" y=\"{y}\" \
         text-anchor=\"end\">step {last}</text></svg>",
        y = height - 8.0,
        right = WIDTH - RIGHT,
    );
    Some(svg)
}

/// Step and value of every row that has both.
fn points(header: &[&str], rows: &[Vec<&str>], name: &str) -> Vec<(f64, f64)> {
    let Some(column) = header.iter().position(|column| *column == name) else { return Vec::new() };
    let number = |row: &Vec<&str>, column: usize| -> Option<f64> {
        row.get(column)?.parse().ok().filter(|value: &f64| value.is_finite())
    };
    rows.iter().filter_map(|row| Some((number(row, 0)?, number(row, column)?))).collect()
}

fn panel(
    svg: &mut String,
    top: f64,
    points: &[(f64, f64)],
    caption: &str,
    sparse: bool,
    last: f64,
    drop: Option<f64>,
) {
    let shown = averaged(points, if sparse { usize::MAX } else { MOST_POINTS });
    let low = shown.iter().map(|p| p.1).fold(f64::INFINITY, f64::min);
    let high = shown.iter().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max);
    let span = if high > low { high - low } else { 1.0 };
    let (upper, lower) = (top + TOP, top + PANEL_HEIGHT - BOTTOM);
    let x = |step: f64| LEFT + (step - 1.0) / (last - 1.0).max(1.0) * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| lower - (value - low) / span * (lower - upper);
    let _ = write!(
        svg,
        "<text x=\"{LEFT}\" y=\"{}\">{caption}</text>\
         <path d=\"M{LEFT} {upper}V{lower}H{}\" fill=\"none\" stroke=\"currentColor\" \
         stroke-opacity=\"0.4\"/>",
        top + 16.0,
        WIDTH - RIGHT,
    );
    for (value, at) in [(high, upper + 9.0), (low, lower)] {
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{at:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            short(value),
        );
    }
    if let Some(step) = drop {
        let _ = write!(
            svg,
            "<path d=\"M{0:.1} {upper}V{lower}\" stroke=\"currentColor\" stroke-opacity=\"0.4\" \
             stroke-dasharray=\"4 3\"/>",
            x(step),
        );
    }
    let places: Vec<String> =
        shown.iter().map(|(step, value)| format!("{:.1},{:.1}", x(*step), y(*value))).collect();
    let _ = write!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#3b76c4\" stroke-width=\"1.5\"/>",
        places.join(" "),
    );
    if sparse {
        for (step, value) in &shown {
            let _ = write!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"#3b76c4\"/>",
                x(*step),
                y(*value),
            );
        }
    }
}

/// At most `most` points: means of groups of neighbours.
fn averaged(points: &[(f64, f64)], most: usize) -> Vec<(f64, f64)> {
    let group = points.len().div_ceil(most).max(1);
    let mean = |group: &[(f64, f64)]| {
        let count = group.len() as f64;
        let sum = group.iter().fold((0.0, 0.0), |sum, p| (sum.0 + p.0, sum.1 + p.1));
        (sum.0 / count, sum.1 / count)
    };
    points.chunks(group).map(mean).collect()
}

/// Three significant digits.
fn short(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let digits = 2 - value.abs().log10().floor() as i32;
    match digits {
        0..=6 => format!("{value:.*}", digits as usize),
        _ => format!("{value:.2e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "step,learning_rate,reconstruction_loss,dice_loss,gradient_norm,seconds,\
                          waiting_share,held_out_loss\n";

    fn log(steps: usize) -> String {
        let row = |step: usize| {
            let rate = if step > steps * 4 / 5 { "0.00001" } else { "0.0001" };
            let held_out = if step.is_multiple_of(100) { "12.5" } else { "" };
            format!("{step},{rate},{},{},2.5,1.0,0.0,{held_out}\n", 30.0 / step as f64, 0.5)
        };
        HEADER.to_owned() + &(1..=steps).map(row).collect::<String>()
    }

    #[test]
    fn every_curve_has_its_panel_and_long_ones_are_thinned() {
        let svg = loss_plot_svg(&log(1000)).unwrap();
        assert_eq!(svg.matches("<polyline").count(), 4);
        assert_eq!(svg.matches("<circle").count(), 10);
        assert!(svg.contains("stroke-dasharray") && svg.contains("step 1000"), "{svg}");
        let line = svg.split("<polyline points=\"").nth(1).unwrap().split('"').next().unwrap();
        assert!(line.split(' ').count() <= MOST_POINTS);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn a_short_or_damaged_log_is_drawn_as_far_as_it_goes() {
        assert_eq!(loss_plot_svg(""), None);
        assert_eq!(loss_plot_svg(HEADER), None);
        assert_eq!(loss_plot_svg("no log\nat all"), None);
        let one = loss_plot_svg(&log(1)).unwrap();
        assert_eq!(one.matches("<polyline").count(), 3);
        let damaged = log(4) + "5,0.0001,NaN,inf";
        assert!(!loss_plot_svg(&damaged).unwrap().contains("NaN"));
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(["30", "0.500", "1.23e-5", "0", "1.20e4"].join(" "), {
            let values = [30.0, 0.5, 1.23e-5, 0.0, 12_000.0];
            values.map(short).join(" ").replace("30.0", "30")
        });
    }
}

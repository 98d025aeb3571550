use super::*;
use crate::bundle::{Backbone, Fusion, Normalisation, OnePicture, Recipe, TrainingRecord};
use crate::evaluation::metrics::ranking_with_curves;
use image::RgbImage;

const HOSTILE: &str = "a<script>alert('1')</script>&\"b\u{202e}gpj\n.png";

fn example(score: f32, mask: Option<Vec<u8>>) -> Example {
    let picture = RgbImage::new(16, 16);
    Example { name: HOSTILE.into(), score, picture, mask, map: vec![0.5; 256] }
}

fn product() -> ProductMetrics {
    let scores = [0.5, 1.0, 1.5, 2.0];
    let (ranking, curves) = ranking_with_curves(&scores, &[false, false, true, true]).unwrap();
    let metrics = Metrics { image_auroc: Some(ranking.auroc), ..Metrics::default() };
    let details = Details {
        image_curves: Some(curves),
        good_scores: scores[..2].to_vec(),
        defective_scores: scores[2..].to_vec(),
        held_back_scores: vec![0.6],
        thresholds: [1.7; 3],
        pixel_threshold: 0.4,
        misses: vec![example(1.5, Some(vec![1; 256])), example(2.0, None)],
        false_alarms: vec![example(1.0, None)],
        ..Details::default()
    };
    ProductMetrics {
        product: HOSTILE.into(),
        good: 2,
        defective: 2,
        without_mask: 1,
        taught_by: 8,
        prompt: None,
        teach_seconds: Some(1.25),
        inspect_ms: None,
        metrics,
        notes: vec![HOSTILE.into()],
        details: Some(details),
    }
}

fn made(loss_plot: Option<&str>) -> String {
    let manifest = Manifest {
        format_version: 1,
        backbone: Backbone::Lite0,
        side: 224,
        recipe: Recipe::Untrained,
        good_tokens: 1,
        cell_pictures: 1,
        normalisation: Normalisation::LITE,
        fusion: Fusion { constant_k: 0.0, weights: [0.0, 1.0, 1.0] },
        one_picture: OnePicture { scales: [0.0; 3], threshold: 1.0, pixel_threshold: 1.0 },
        inputs: Vec::new(),
        golden_scores: Default::default(),
        training: TrainingRecord { command: HOSTILE.into(), ..TrainingRecord::default() },
        licences: Default::default(),
        files: Default::default(),
    };
    let mut report = EvaluationReport::new(vec![product()], Some(vec![product()]));
    report.engine = HOSTILE.into();
    page(&report, &EngineFacts { manifest: &manifest, hash: "00ff", loss_plot })
}

#[test]
fn the_page_stands_alone_and_no_name_breaks_it() {
    let html = made(None);
    assert!(!html.contains("<script") && !html.contains("alert('1')"));
    assert!(!html.contains('\u{202e}') && html.contains("\\u{202e}"));
    assert!(html.contains("a&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;&quot;b"));
    for outside in ["http:", "https:", "src=\"/", "url(", "@import", "<link"] {
        assert!(!html.contains(outside), "{outside}");
    }
    for tag in ["table", "section", "svg", "figure", "div", "tr", "td", "th", "ul", "p", "text"] {
        let opened =
            html.matches(&format!("<{tag}>")).count() + html.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, html.matches(&format!("</{tag}>")).count(), "{tag}");
    }
}

#[test]
fn the_page_says_what_escapes() {
    let html = made(Some("<svg id=\"losses\"></svg>"));
    assert_eq!(html.matches("ESCAPES").count(), 1, "1.5 is below 1.7, 2.0 is not");
    assert_eq!(html.matches("<b>rejected</b>").count(), 1);
    assert_eq!(html.matches("<b>passes</b>").count(), 1);
    assert_eq!(html.matches("data:image/jpeg").count(), 6);
    assert_eq!(html.matches("data:image/png").count(), 1);
    assert!(html.contains("images") && html.contains("pixels: none"));
    assert!(html.contains("<svg id=\"losses\"></svg>"));
    assert!(html.contains(">100.0<") && html.contains("nearest neighbours"));
}

//! Signing over time as one HTML page, with nothing in it from elsewhere.

use std::fmt::Write as _;
use std::time::Duration;

use crate::measure::Spread;

/// Time that one point stands for.
pub(super) const SLICE: Duration = Duration::from_secs(2);
/// Size of the picture.
const WIDTH: f64 = 1_100.0;
const HEIGHT: f64 = 420.0;
const MARGIN: f64 = 50.0;

/// Draws p50 and p99 of each slice on a logarithmic scale, and when which bulk work went on.
pub(super) fn page(slices: &[Spread], marks: &[(&str, Duration, Duration)]) -> String {
    let seconds = (slices.len().max(1) as f64) * SLICE.as_secs_f64();
    let top = slices.iter().map(|slice| slice.p99_us / 1e3).fold(10.0, f64::max).log10();
    let x = |at: f64| MARGIN + at / seconds * (WIDTH - 2.0 * MARGIN);
    let y = |millis: f64| HEIGHT - MARGIN - (millis.max(1.0).log10() / top) * (HEIGHT - 2.0 * MARGIN);
    let mut svg = String::new();
    for (place, (what, from, until)) in marks.iter().enumerate() {
        let (left, right) = (x(from.as_secs_f64()), x(until.as_secs_f64()));
        let _ = write!(
            svg,
            "<rect x='{left:.1}' y='{MARGIN}' width='{:.1}' height='{}' fill='#eee'/><text x='{left:.1}' y='{}'>{what}</text>",
            right - left,
            HEIGHT - 2.0 * MARGIN,
            MARGIN - 6.0 - 14.0 * (place % 2) as f64
        );
    }
    for millis in [1.0_f64, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0].into_iter().filter(|millis| millis.log10() <= top) {
        let at = y(millis);
        let _ = write!(svg, "<path d='M{MARGIN} {at:.1}H{}' stroke='#ccc'/><text x='2' y='{at:.1}'>{millis} ms</text>", WIDTH - MARGIN);
    }
    for (colour, is_high) in [("#36c", false), ("#c33", true)] {
        let points = slices.iter().enumerate().filter(|(_, slice)| slice.count > 0);
        let points: Vec<String> = points
            .map(|(place, slice)| format!("{:.1},{:.1}", x((place as f64 + 0.5) * SLICE.as_secs_f64()), y(quantile(slice, is_high))))
            .collect();
        let _ = write!(svg, "<polyline points='{}' fill='none' stroke='{colour}'/>", points.join(" "));
    }
    format!(
        "<!doctype html><meta charset='utf-8'><title>custody</title><style>text{{font:12px sans-serif}}</style>\
         <p>Time from a document's instant to its checked answer, in slices of {} s: p50 <span style='color:#36c'>blue</span>, \
         p99 <span style='color:#c33'>red</span>. Grey: bulk work.</p><svg width='{WIDTH}' height='{HEIGHT}'>{svg}</svg>\n",
        SLICE.as_secs()
    )
}

fn quantile(slice: &Spread, is_high: bool) -> f64 {
    (if is_high { slice.p99_us } else { slice.p50_us }) / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slice_with_documents_is_a_point_of_both_lines_and_bulk_work_is_named() {
        let slice = |count| Spread { count, p50_us: 5_000.0, p99_us: 20_000.0, max_us: 30_000.0 };
        let page = page(&[slice(100), slice(0), slice(90)], &[("refresh", Duration::from_secs(2), Duration::from_secs(4))]);
        assert_eq!(page.matches("<polyline").count(), 2);
        let points = page.split("points='").nth(1).and_then(|rest| rest.split('\'').next()).expect("points");
        assert_eq!(points.split(' ').count(), 2, "{points}");
        assert!(page.contains(">refresh</text>"));
    }
}

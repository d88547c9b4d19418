//! Signing over time as one HTML page, with nothing in it from elsewhere.

use std::fmt::Write as _;
use std::time::Duration;

use crate::measure::Spread;

/// Size of the picture.
const WIDTH: f64 = 1_100.0;
const HEIGHT: f64 = 420.0;
const MARGIN: f64 = 50.0;

/// What is drawn over time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plot<'a> {
    /// Time that one point stands for.
    pub(crate) slice: Duration,
    /// Signing in each slice.
    pub(crate) slices: &'a [Spread],
    /// What went on meanwhile.
    pub(crate) marks: &'a [(&'a str, Duration, Duration)],
    /// When documents came that were not signed.
    pub(crate) failures: &'a [Duration],
}

impl Plot<'_> {
    /// The picture: p50 and p99 of each slice on a logarithmic scale, documents a second on a linear one, and when what went on.
    pub(crate) fn svg(&self) -> String {
        let (slices, slice) = (self.slices, self.slice.as_secs_f64());
        let seconds = (slices.len().max(1) as f64) * slice;
        let top = slices.iter().map(|slice| slice.p99_us / 1e3).fold(10.0, f64::max).log10();
        let most = slices.iter().map(|slice| slice.count).max().unwrap_or(0).max(1) as f64;
        let x = |at: f64| MARGIN + at / seconds * (WIDTH - 2.0 * MARGIN);
        let height = |part: f64| HEIGHT - MARGIN - part * (HEIGHT - 2.0 * MARGIN);
        let y = |millis: f64| height(millis.max(1.0).log10() / top);
        let middle = |place: usize| x((place as f64 + 0.5) * slice);
        let mut svg = format!("<svg width='{WIDTH}' height='{HEIGHT}'>");
        for (place, (what, from, until)) in self.marks.iter().enumerate() {
            let (left, right) = (x(from.as_secs_f64()), x(until.as_secs_f64()));
            let _ = write!(
                svg,
                "<rect x='{left:.1}' y='{MARGIN}' width='{:.1}' height='{}' fill='#eee'/><text x='{left:.1}' y='{}'>{what}</text>",
                right - left,
                HEIGHT - 2.0 * MARGIN,
                MARGIN - 6.0 - 14.0 * (place % 3) as f64
            );
        }
        for millis in
            [1.0_f64, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0].into_iter().filter(|millis| millis.log10() <= top)
        {
            let at = y(millis);
            let _ = write!(svg, "<path d='M{MARGIN} {at:.1}H{}' stroke='#ccc'/><text x='2' y='{at:.1}'>{millis} ms</text>", WIDTH - MARGIN);
        }
        let _ = write!(svg, "<text x='{}' y='{MARGIN}'>{:.0}/s</text>", WIDTH - MARGIN + 2.0, most / slice);
        let mut line = |colour: &str, points: Vec<(f64, f64)>| {
            let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let _ = write!(svg, "<polyline points='{}' fill='none' stroke='{colour}'/>", points.join(" "));
        };
        let rate = slices.iter().enumerate();
        line("#9b9", rate.map(|(place, slice)| (middle(place), height(slice.count as f64 / most))).collect());
        for (colour, is_high) in [("#36c", false), ("#c33", true)] {
            let points = slices.iter().enumerate().filter(|(_, slice)| slice.count > 0);
            line(colour, points.map(|(place, slice)| (middle(place), y(quantile(slice, is_high)))).collect());
        }
        for failure in self.failures {
            let at = x(failure.as_secs_f64());
            let _ = write!(svg, "<path d='M{at:.1} {}v12' stroke='#000'/>", HEIGHT - MARGIN);
        }
        svg.push_str("</svg>\n");
        svg
    }

    /// What the lines are, in words.
    pub(crate) fn legend(&self) -> String {
        format!(
            "<p>Time from a document's instant to its checked answer, in slices of {} s: p50 <span style='color:#36c'>blue</span>, \
             p99 <span style='color:#c33'>red</span>; documents signed, by the instant at which they came, \
             <span style='color:#797'>green</span>; black ticks: documents that were not signed.</p>\n",
            self.slice.as_secs_f64()
        )
    }
}

/// A page of its own.
pub(crate) fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><meta charset='utf-8'><title>{title}</title><style>text{{font:12px sans-serif}}body{{font:14px sans-serif}}\
         td,th{{padding:2px 8px;text-align:left;vertical-align:top}}</style>\n{body}\n"
    )
}

/// Text in a page.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn quantile(slice: &Spread, is_high: bool) -> f64 {
    (if is_high { slice.p99_us } else { slice.p50_us }) / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slice_with_documents_is_a_point_of_the_lines_and_what_went_on_is_named() {
        let slice = |count| Spread { count, p50_us: 5_000.0, p99_us: 20_000.0, max_us: 30_000.0 };
        let slices = [slice(100), slice(0), slice(90)];
        let marks = [("refresh", Duration::from_secs(2), Duration::from_secs(4))];
        let plot = Plot { slice: Duration::from_secs(2), slices: &slices, marks: &marks, failures: &[Duration::from_secs(3)] };
        let svg = plot.svg();
        let counts: Vec<usize> =
            svg.split("points='").skip(1).filter_map(|rest| rest.split('\'').next()).map(|points| points.split(' ').count()).collect();
        assert_eq!(counts, [3, 2, 2], "{svg}");
        assert!(svg.contains(">refresh</text>") && svg.contains("v12"));
        assert!(page("custody", &svg).contains(&svg));
        assert_eq!(escaped("a < b & c"), "a &lt; b &amp; c");
    }
}

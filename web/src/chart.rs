//! Charts: series of numbers in, geometry out. Templates draw it as SVG and print it as a table; CSV and JSON are the same numbers.
//!
//! Nothing here is text of others but series' names, which templates escape. NaN is a gap. Long series are shown by buckets of
//! minimum, mean and maximum, so that no spike disappears.

use std::fmt::Write as _;

use crate::words;

/// Size of the drawing, and of its margins: left, right, top, bottom.
const SIZE: (f64, f64) = (560.0, 220.0);
const MARGIN: (f64, f64, f64, f64) = (46.0, 10.0, 10.0, 26.0);
/// Most points of a line.
const POINTS: usize = 300;
/// Most rows of a table.
const ROWS: usize = 50;

/// One series.
#[derive(Debug, Clone, Default)]
pub(crate) struct Series {
    pub(crate) name: String,
    /// (x, y), x rising.
    pub(crate) points: Vec<(f64, f64)>,
    /// Lower and upper end of each point's interval, where there is one.
    pub(crate) ends: Vec<(f64, f64)>,
}

/// How a chart is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Lines,
    /// Shares on top of each other, from 0 to 1.
    Stacked,
}

/// A chart, ready to be drawn.
#[derive(Debug)]
pub(crate) struct Chart {
    /// Name in addresses.
    pub(crate) key: &'static str,
    /// The question it answers.
    pub(crate) title: &'static str,
    /// What is to be seen, in words.
    pub(crate) sentence: String,
    pub(crate) x_name: &'static str,
    pub(crate) series: Vec<Series>,
    pub(crate) drawn: Vec<Drawn>,
    pub(crate) x_ticks: Vec<Tick>,
    pub(crate) y_ticks: Vec<Tick>,
    percent: bool,
}

/// One series as shapes.
#[derive(Debug)]
pub(crate) struct Drawn {
    /// 0 to 7: colour and dash.
    pub(crate) style: usize,
    pub(crate) name: String,
    /// Its line, or the outline of its area.
    pub(crate) path: String,
    pub(crate) filled: bool,
    /// (x, y, interval's low y, high y) of points that are drawn one by one.
    pub(crate) dots: Vec<Dot>,
    /// Its last value in words.
    pub(crate) last: String,
}

/// A point with its interval.
#[derive(Debug)]
pub(crate) struct Dot {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// What it says.
    pub(crate) words: String,
}

/// A mark of an axis.
#[derive(Debug)]
pub(crate) struct Tick {
    pub(crate) at: f64,
    pub(crate) words: String,
}

impl Chart {
    /// A chart of `series`; `percent` says that values are shares.
    pub(crate) fn new(
        key: &'static str,
        title: &'static str,
        x_name: &'static str,
        kind: Kind,
        percent: bool,
        series: Vec<Series>,
    ) -> Self {
        let finite = |x: &f64| x.is_finite();
        let xs: Vec<f64> = series.iter().flat_map(|s| s.points.iter().map(|p| p.0)).filter(finite).collect();
        let ys = series.iter().flat_map(|s| s.points.iter().map(|p| p.1).chain(s.ends.iter().flat_map(|e| [e.0, e.1]))).filter(finite);
        let (x0, x1) = extent(xs.into_iter(), None);
        let (y0, y1) = if kind == Kind::Stacked { (0.0, 1.0) } else { extent(ys, Some(0.0)) };
        let y_marks = marks(y0, y1, 4);
        let (y0, y1) = (y_marks.first().copied().unwrap_or(y0).min(y0), y_marks.last().copied().unwrap_or(y1).max(y1));
        let at_x = |x: f64| round(MARGIN.0 + (x - x0) / (x1 - x0) * (SIZE.0 - MARGIN.0 - MARGIN.1));
        let at_y = |y: f64| round(SIZE.1 - MARGIN.3 - (y - y0) / (y1 - y0) * (SIZE.1 - MARGIN.2 - MARGIN.3));
        let said = |y: f64| if percent { words::percent(y) } else { words::number(y) };
        let drawn = match kind {
            Kind::Lines => series.iter().enumerate().map(|(i, s)| line(i, s, &at_x, &at_y, &said)).collect(),
            Kind::Stacked => stack(&series, &at_x, &at_y, &said),
        };
        let short = |y: f64| if percent { format!("{:.0} %", 100.0 * y) } else { words::number(y) };
        let whole = |x: &f64| x.fract() == 0.0;
        Self {
            key,
            title,
            sentence: sentence(&series, kind, &said),
            x_name,
            x_ticks: marks(x0, x1, 6)
                .into_iter()
                .filter(|x| whole(x) && (x0..=x1).contains(x))
                .map(|x| Tick { at: at_x(x), words: format!("{x:.0}") })
                .collect(),
            y_ticks: y_marks.into_iter().map(|y| Tick { at: at_y(y), words: short(y) }).collect(),
            drawn,
            series,
            percent,
        }
    }

    /// True where there is nothing to show yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.series.iter().all(|s| s.points.is_empty())
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.series.iter().map(|s| s.name.as_str()).collect()
    }

    /// At most 50 rows of (x, values in words), evenly chosen; the last is always there.
    pub(crate) fn rows(&self) -> Vec<(String, Vec<String>)> {
        let table = self.table();
        let every = table.len().div_ceil(ROWS).max(1);
        let said = |y: &Option<f64>| match y {
            Some(y) if self.percent => words::percent(*y),
            Some(y) => words::number(*y),
            None => String::new(),
        };
        let chosen = table.iter().enumerate().filter(|(i, _)| i % every == 0 || i + 1 == table.len());
        chosen.map(|(_, (x, ys))| (format!("{x:.0}"), ys.iter().map(said).collect())).collect()
    }

    /// All numbers by x; none where a series has no number there.
    fn table(&self) -> Vec<(f64, Vec<Option<f64>>)> {
        let mut xs: Vec<f64> = self.series.iter().flat_map(|s| s.points.iter().map(|p| p.0)).collect();
        xs.sort_by(f64::total_cmp);
        xs.dedup();
        let mut rows: Vec<(f64, Vec<Option<f64>>)> = xs.into_iter().map(|x| (x, vec![None; self.series.len()])).collect();
        for (i, s) in self.series.iter().enumerate() {
            for (x, y) in s.points.iter().filter(|p| p.1.is_finite()) {
                if let Ok(row) = rows.binary_search_by(|r| r.0.total_cmp(x)) {
                    rows[row].1[i] = Some(*y);
                }
            }
        }
        rows
    }

    /// The numbers as CSV. A name that a spreadsheet would take for a formula is quoted as text.
    pub(crate) fn csv(&self) -> String {
        let mut out = String::from("x");
        for name in self.names() {
            let guard = if name.starts_with(['=', '+', '-', '@', '\t']) { "'" } else { "" };
            let _ = write!(out, ",\"{guard}{}\"", name.replace('"', "\"\""));
        }
        out.push('\n');
        for (x, ys) in self.table() {
            let _ = write!(out, "{x}");
            for y in ys {
                out.push(',');
                if let Some(y) = y {
                    let _ = write!(out, "{y}");
                }
            }
            out.push('\n');
        }
        out
    }

    /// The numbers as JSON, by column.
    pub(crate) fn json(&self) -> serde_json::Value {
        let table = self.table();
        let column = |i: usize| table.iter().map(|(_, ys)| ys.get(i).copied().flatten()).collect::<Vec<_>>();
        let series: Vec<_> = self.series.iter().enumerate().map(|(i, s)| serde_json::json!({ "name": s.name, "y": column(i) })).collect();
        serde_json::json!({ "title": self.title, "x_name": self.x_name, "x": table.iter().map(|r| r.0).collect::<Vec<_>>(), "series": series })
    }
}

fn line(i: usize, s: &Series, at_x: &dyn Fn(f64) -> f64, at_y: &dyn Fn(f64) -> f64, said: &dyn Fn(f64) -> String) -> Drawn {
    let mut path = String::new();
    let mut pen_down = false;
    for (x, y) in thin(&s.points) {
        if !y.is_finite() {
            pen_down = false;
            continue;
        }
        let _ = write!(path, "{}{} {}", if pen_down { 'L' } else { 'M' }, at_x(x), at_y(y));
        pen_down = true;
    }
    let dot = |(p, e): (&(f64, f64), &(f64, f64))| Dot {
        x: at_x(p.0),
        y: at_y(p.1),
        low: at_y(e.0),
        high: at_y(e.1),
        words: format!("{}, step {:.0}: {} ({} to {})", s.name, p.0, said(p.1), said(e.0), said(e.1)),
    };
    let finite = |(p, e): &(&(f64, f64), &(f64, f64))| [p.1, e.0, e.1].iter().all(|v| v.is_finite());
    let dots = s.points.iter().zip(&s.ends).filter(finite).map(dot).collect();
    Drawn { style: i % 8, name: s.name.clone(), path, filled: false, dots, last: last(s, said) }
}

fn stack(series: &[Series], at_x: &dyn Fn(f64) -> f64, at_y: &dyn Fn(f64) -> f64, said: &dyn Fn(f64) -> String) -> Vec<Drawn> {
    let n = series.iter().map(|s| s.points.len()).max().unwrap_or(0);
    let mut below = vec![0.0; n];
    let mut drawn = Vec::with_capacity(series.len());
    for (i, s) in series.iter().enumerate() {
        let mut path = String::new();
        let above: Vec<f64> =
            below.iter().enumerate().map(|(j, b)| b + s.points.get(j).map_or(0.0, |p| if p.1.is_finite() { p.1 } else { 0.0 })).collect();
        let xs: Vec<f64> = s.points.iter().map(|p| p.0).collect();
        for (j, x) in xs.iter().enumerate() {
            let _ = write!(path, "{}{} {}", if j == 0 { 'M' } else { 'L' }, at_x(*x), at_y(above[j].min(1.0)));
        }
        for (j, x) in xs.iter().enumerate().rev() {
            let _ = write!(path, "L{} {}", at_x(*x), at_y(below[j].min(1.0)));
        }
        if !path.is_empty() {
            path.push('Z');
        }
        below = above;
        drawn.push(Drawn { style: i, name: s.name.clone(), path, filled: true, dots: Vec::new(), last: last(s, said) });
    }
    drawn
}

fn last(s: &Series, said: &dyn Fn(f64) -> String) -> String {
    s.points.iter().rev().find(|p| p.1.is_finite()).map(|p| said(p.1)).unwrap_or_default()
}

fn sentence(series: &[Series], kind: Kind, said: &dyn Fn(f64) -> String) -> String {
    let one = |s: &Series| {
        let finite: Vec<f64> = s.points.iter().map(|p| p.1).filter(|y| y.is_finite()).collect();
        match (finite.first(), finite.last()) {
            (Some(first), Some(last)) if finite.len() > 1 => Some(format!("{}: from {} to {}", s.name, said(*first), said(*last))),
            (Some(only), _) => Some(format!("{}: {}", s.name, said(*only))),
            _ => None,
        }
    };
    let shown: Vec<String> = match kind {
        Kind::Lines => series.iter().filter_map(one).take(6).collect(),
        // of a stack, what is left at the end
        Kind::Stacked => series.iter().filter(|s| s.points.last().is_some_and(|p| p.1 > 0.005)).filter_map(one).collect(),
    };
    if shown.is_empty() { "Nothing to show yet.".into() } else { format!("{}.", shown.join("; ")) }
}

/// At most 300 points: in each bucket the lowest and the highest, in their order.
fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= POINTS {
        return points.to_vec();
    }
    let size = points.len().div_ceil(POINTS / 2);
    let mut out = Vec::with_capacity(POINTS);
    for bucket in points.chunks(size) {
        let low = bucket.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1));
        let high = bucket.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
        let mut pair: Vec<(f64, f64)> = low.into_iter().chain(high).collect();
        pair.sort_by(|a, b| a.0.total_cmp(&b.0));
        pair.dedup();
        out.extend(pair);
    }
    out
}

/// Smallest and largest, widened where they are equal, so that a division by their difference is one by a positive number.
fn extent(values: impl Iterator<Item = f64>, include: Option<f64>) -> (f64, f64) {
    let (low, high) = values.chain(include).fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    match (low.is_finite() && high.is_finite(), low < high) {
        (true, true) => (low, high),
        (true, false) => (low, low + 1.0),
        _ => (0.0, 1.0),
    }
}

/// About `n` round numbers from below `low` to above `high`.
fn marks(low: f64, high: f64, n: usize) -> Vec<f64> {
    let rough = (high - low) / n as f64;
    let unit = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * unit).find(|s| *s >= rough).unwrap_or(unit);
    if !step.is_finite() || step <= 0.0 {
        return vec![low, high];
    }
    let (first, last) = ((low / step).floor() as i64, (high / step).ceil() as i64);
    (first..=last).take(50).map(|i| i as f64 * step).collect()
}

fn round(x: f64) -> f64 {
    (x * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(points: &[(f64, f64)]) -> Series {
        Series { name: "=a".into(), points: points.to_vec(), ends: Vec::new() }
    }

    #[test]
    fn nan_is_a_gap_and_one_point_or_none_is_no_division_by_zero() {
        let chart = Chart::new("k", "t", "step", Kind::Lines, false, vec![series(&[(1.0, 1.0), (2.0, f64::NAN), (3.0, 2.0)])]);
        assert_eq!(chart.drawn[0].path.matches('M').count(), 2);
        for points in [&[][..], &[(1.0, 0.0)], &[(1.0, f64::NAN)], &[(5.0, 1e300), (6.0, -1e300)]] {
            for kind in [Kind::Lines, Kind::Stacked] {
                let chart = Chart::new("k", "t", "step", kind, true, vec![series(points)]);
                assert!(!chart.drawn[0].path.contains("NaN") && !chart.drawn[0].path.contains("inf"), "{points:?}");
                assert!(!chart.sentence.is_empty() && chart.rows().len() <= 2);
            }
        }
    }

    #[test]
    fn long_series_keep_their_spikes() {
        let points: Vec<(f64, f64)> = (0..10_000).map(|i| (f64::from(i), if i == 7777 { 9.0 } else { 1.0 })).collect();
        let thin = thin(&points);
        assert!(thin.len() <= POINTS && thin.contains(&(7777.0, 9.0)));
        assert!(thin.windows(2).all(|w| w[0].0 <= w[1].0));
        let chart = Chart::new("k", "t", "step", Kind::Lines, false, vec![series(&points)]);
        assert!(chart.rows().len() <= ROWS + 1);
    }

    #[test]
    fn a_csv_holds_every_number_and_no_formula() {
        let chart = Chart::new("k", "t", "step", Kind::Lines, false, vec![series(&[(1.0, 0.5), (2.0, f64::NAN)])]);
        assert_eq!(chart.csv(), "x,\"'=a\"\n1,0.5\n2,\n");
        assert_eq!(chart.json()["series"][0]["y"], serde_json::json!([0.5, null]));
    }
}

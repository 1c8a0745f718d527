//! Charts: series of numbers in, geometry out. Templates draw it as SVG and print it as a table; CSV and JSON are the same numbers.
//!
//! Nothing here is text of others but series' names, which templates escape. NaN is a gap. Long series are shown by buckets of
//! minimum, mean and maximum, so that no spike disappears.

mod draw;

use std::fmt::Write as _;

use crate::words;
use draw::{line, stack};

/// Size of the drawing, and of its margins: left, right, top, bottom.
const SIZE: (f64, f64) = (560.0, 220.0);
const MARGIN: (f64, f64, f64, f64) = (46.0, 10.0, 10.0, 26.0);
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
    /// Name in the legend, where it says more than `name` does in a table.
    pub(crate) label: Option<String>,
    /// What made its numbers.
    pub(crate) href: Option<String>,
    /// What made each point that has an interval.
    pub(crate) hrefs: Vec<String>,
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
    /// What made all of its numbers.
    pub(crate) rollouts: Option<String>,
    /// Address of the steps, and how many steps of the x axis come before step 1.
    steps: Option<(String, usize)>,
}

/// One series as shapes.
#[derive(Debug)]
pub(crate) struct Drawn {
    /// Colour and dash of a line, 0 to 23; of an area its place in the stack.
    pub(crate) style: usize,
    pub(crate) name: String,
    /// Its line, or the outline of its area.
    pub(crate) path: String,
    pub(crate) filled: bool,
    /// (x, y, interval's low y, high y) of points that are drawn one by one.
    pub(crate) dots: Vec<Dot>,
    /// Its last value in words.
    pub(crate) last: String,
    /// What made its numbers.
    pub(crate) href: Option<String>,
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
    /// What made it.
    pub(crate) href: Option<String>,
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
            rollouts: None,
            steps: None,
        }
    }

    /// With the addresses of what made its numbers: all of them, and each step's after the first `before` steps of the x axis.
    pub(crate) fn made_by(self, rollouts: Option<String>, steps: Option<(String, usize)>) -> Self {
        Self { rollouts, steps, ..self }
    }

    /// True where there is nothing to show yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.series.iter().all(|s| s.points.is_empty())
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.series.iter().map(|s| s.name.as_str()).collect()
    }

    /// At most 50 rows of (x, values in words, address of the step), evenly chosen; the last is always there.
    pub(crate) fn rows(&self) -> Vec<(String, Vec<String>, Option<String>)> {
        let table = self.table();
        let every = table.len().div_ceil(ROWS).max(1);
        let said = |y: &Option<f64>| match y {
            Some(y) if self.percent => words::percent(*y),
            Some(y) => words::number(*y),
            None => String::new(),
        };
        let chosen = table.iter().enumerate().filter(|(i, _)| i % every == 0 || i + 1 == table.len());
        let href = |x: f64| {
            let (base, before) = self.steps.as_ref()?;
            (x > *before as f64).then(|| format!("{base}/{:.0}", x - *before as f64))
        };
        chosen.map(|(_, (x, ys))| (format!("{x:.0}"), ys.iter().map(said).collect(), href(*x))).collect()
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

    /// The numbers as CSV; a series with intervals has a column for each of their ends. A name that a spreadsheet would take for a
    /// formula is quoted as text.
    pub(crate) fn csv(&self) -> String {
        let table = self.table();
        let intervals: Vec<_> = self.series.iter().map(|s| intervals(s, &table)).collect();
        let mut out = String::from("x");
        for (s, interval) in self.series.iter().zip(&intervals) {
            let guard = if s.name.starts_with(['=', '+', '-', '@', '\t']) { "'" } else { "" };
            let name = s.name.replace('"', "\"\"");
            let ends: &[&str] = if interval.is_some() { &["", " low", " high"] } else { &[""] };
            for end in ends {
                let _ = write!(out, ",\"{guard}{name}{end}\"");
            }
        }
        out.push('\n');
        for (row, (x, ys)) in table.iter().enumerate() {
            let _ = write!(out, "{x}");
            for (y, interval) in ys.iter().zip(&intervals) {
                let ends = interval.iter().flat_map(|i| [i[row].map(|e| e.0), i[row].map(|e| e.1)]);
                for value in std::iter::once(*y).chain(ends) {
                    out.push(',');
                    if let Some(value) = value {
                        let _ = write!(out, "{value}");
                    }
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
        let one = |(i, s): (usize, &Series)| {
            let mut one = serde_json::json!({ "name": s.name, "y": column(i) });
            if let Some(ends) = intervals(s, &table) {
                one["low"] = ends.iter().map(|e| e.map(|e| e.0)).collect();
                one["high"] = ends.iter().map(|e| e.map(|e| e.1)).collect();
            }
            one
        };
        let series: Vec<_> = self.series.iter().enumerate().map(one).collect();
        serde_json::json!({ "title": self.title, "x_name": self.x_name, "x": table.iter().map(|r| r.0).collect::<Vec<_>>(), "series": series })
    }
}

/// The ends of a series' intervals, a pair for each row of the table; none where it has no intervals.
fn intervals(s: &Series, table: &[(f64, Vec<Option<f64>>)]) -> Option<Vec<Option<(f64, f64)>>> {
    let mut found = vec![None; table.len()];
    for ((x, _), (low, high)) in s.points.iter().zip(&s.ends).filter(|(p, _)| p.1.is_finite()) {
        if let Ok(row) = table.binary_search_by(|r| r.0.total_cmp(x)) {
            found[row] = (low.is_finite() && high.is_finite()).then_some((*low, *high));
        }
    }
    (!s.ends.is_empty()).then_some(found)
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
    use super::draw::{POINTS, thin};
    use super::*;

    fn series(points: &[(f64, f64)]) -> Series {
        Series { name: "=a".into(), points: points.to_vec(), ..Series::default() }
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
    fn one_step_alone_is_seen() {
        let stacked = Chart::new("k", "t", "step", Kind::Stacked, true, vec![series(&[(3.0, 0.25)]), series(&[(3.0, 0.75)])]);
        assert_eq!(stacked.drawn[0].path, "M46 148L106 148L106 194L46 194Z");
        let line = Chart::new("k", "t", "step", Kind::Lines, false, vec![series(&[(1.0, 1.0), (2.0, f64::NAN), (3.0, 2.0), (4.0, 2.0)])]);
        assert_eq!(line.drawn[0].dots.len(), 1, "only the first point has no line through it");
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
        assert_eq!(chart.json()["series"][0], serde_json::json!({ "name": "=a", "y": [0.5, null] }));
    }

    #[test]
    fn intervals_are_columns_beside_their_series() {
        let plain = series(&[(2.0, 4.0)]);
        let measured = Series { name: "m".into(), ends: vec![(0.25, 0.75), (f64::NAN, 1.0)], ..series(&[(1.0, 0.5), (3.0, 0.5)]) };
        let chart = Chart::new("k", "t", "step", Kind::Lines, true, vec![plain, measured]);
        assert_eq!(chart.csv(), "x,\"'=a\",\"m\",\"m low\",\"m high\"\n1,,0.5,0.25,0.75\n2,4,,,\n3,,0.5,,\n");
        let json = chart.json();
        assert_eq!(json["series"][0].as_object().map(|s| s.len()), Some(2));
        assert_eq!(json["series"][1]["low"], serde_json::json!([0.25, null, null]));
        assert_eq!(json["series"][1]["high"], serde_json::json!([0.75, null, null]));
    }
}

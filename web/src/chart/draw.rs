//! Series to shapes: lines with gaps, stacked areas, points that stand alone.

use std::fmt::Write as _;

use super::{Dot, Drawn, Series};

/// Width of a step that stands alone in a stack.
const BAR: f64 = 60.0;
/// Looks of a line in the style sheet: eight colours, each with three dashes.
const STYLES: usize = 24;
/// Most points of a line.
pub(super) const POINTS: usize = 300;

pub(super) fn line(i: usize, s: &Series, at_x: &dyn Fn(f64) -> f64, at_y: &dyn Fn(f64) -> f64, said: &dyn Fn(f64) -> String) -> Drawn {
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
    let mut dots = Vec::with_capacity(s.points.len());
    for (i, (&(x, y), &(low, high))) in s.points.iter().zip(&s.ends).enumerate() {
        if [y, low, high].iter().all(|v| v.is_finite()) {
            dots.push(Dot {
                x: at_x(x),
                y: at_y(y),
                low: at_y(low),
                high: at_y(high),
                words: format!("{}, step {x:.0}: {} ({} to {})", s.name, said(y), said(low), said(high)),
                href: s.hrefs.get(i).cloned(),
            });
        }
    }
    if dots.is_empty() {
        dots = alone(s)
            .map(|(x, y)| Dot {
                x: at_x(x),
                y: at_y(y),
                low: at_y(y),
                high: at_y(y),
                words: format!("{}: {}", s.name, said(y)),
                href: None,
            })
            .collect();
    }
    Drawn { style: i % STYLES, path, filled: false, dots, ..drawn(s, said) }
}

/// Points without a neighbour, through which no line goes.
fn alone(s: &Series) -> impl Iterator<Item = (f64, f64)> {
    let there = |i: Option<usize>| i.and_then(|i| s.points.get(i)).is_some_and(|p| p.1.is_finite());
    let alone = move |i: &usize| there(Some(*i)) && !there(i.checked_sub(1)) && !there(i.checked_add(1));
    (0..s.points.len()).filter(alone).map(|i| s.points[i])
}

/// What a series is called and leads to.
fn drawn(s: &Series, said: &dyn Fn(f64) -> String) -> Drawn {
    let name = s.label.clone().unwrap_or_else(|| s.name.clone());
    Drawn { style: 0, name, path: String::new(), filled: false, dots: Vec::new(), last: last(s, said), href: s.href.clone() }
}

pub(super) fn stack(series: &[Series], at_x: &dyn Fn(f64) -> f64, at_y: &dyn Fn(f64) -> f64, said: &dyn Fn(f64) -> String) -> Vec<Drawn> {
    let n = series.iter().map(|s| s.points.len()).max().unwrap_or(0);
    let mut below = vec![0.0; n];
    let mut layers = Vec::with_capacity(series.len());
    for (i, s) in series.iter().enumerate() {
        let mut path = String::new();
        let above: Vec<f64> =
            below.iter().enumerate().map(|(j, b)| b + s.points.get(j).map_or(0.0, |p| if p.1.is_finite() { p.1 } else { 0.0 })).collect();
        // one step alone is a bar: an area from one x to the same x would be nothing
        let xs: Vec<f64> = s.points.iter().map(|p| p.0).collect();
        let places: Vec<(usize, f64)> = match xs.as_slice() {
            [only] => vec![(0, at_x(*only)), (0, at_x(*only) + BAR)],
            _ => xs.iter().map(|x| at_x(*x)).enumerate().collect(),
        };
        for (k, (j, x)) in places.iter().enumerate() {
            let _ = write!(path, "{}{x} {}", if k == 0 { 'M' } else { 'L' }, at_y(above[*j].min(1.0)));
        }
        for (j, x) in places.iter().rev() {
            let _ = write!(path, "L{x} {}", at_y(below[*j].min(1.0)));
        }
        if !path.is_empty() {
            path.push('Z');
        }
        below = above;
        layers.push(Drawn { style: i, path, filled: true, ..drawn(s, said) });
    }
    layers
}

fn last(s: &Series, said: &dyn Fn(f64) -> String) -> String {
    s.points.iter().rev().find(|p| p.1.is_finite()).map(|p| said(p.1)).unwrap_or_default()
}

/// At most 300 points: in each bucket the lowest and the highest, in their order.
pub(super) fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
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

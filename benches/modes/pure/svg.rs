//! Charts as SVG, to stand in a page: colours are the page's variables, and every line has a shape, a dash and a label of its own, so that none of them is
//! told by its colour alone.

use std::fmt::Write;

/// Where things are in a drawing, in units that are pixels where it is shown at its full size.
struct Layout {
    class: &'static str,
    width: f64,
    /// Where the plot ends to the right.
    right: f64,
    /// And at its foot.
    floor: f64,
    /// Whether the names of the lines are beside their ends, or in rows below the plot.
    names_beside: bool,
}

/// For a phone, and for where there is more room; `page.css` shows the one that fits, so that its text can be read.
const LAYOUTS: [Layout; 2] = [
    Layout { class: "wide", width: 500.0, right: 336.0, floor: 254.0, names_beside: true },
    Layout { class: "narrow", width: 340.0, right: 322.0, floor: 214.0, names_beside: false },
];

const LEFT: f64 = 66.0;
const TOP: f64 = 14.0;

/// Below the plot, for its axis.
const BOTTOM: f64 = 46.0;

/// Between the names of two lines.
const NAME_GAP: f64 = 16.0;

/// In rows below the plot.
const NAMES_IN_ROW: usize = 2;

/// How many marks an axis has, about.
const TICKS: f64 = 5.0;

/// How values are laid out along an axis.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scale {
    /// From 0.
    Linear,
    Log,
    /// Values 0, 1, 2 … are these, side by side.
    Names(Vec<String>),
}

#[derive(Clone, Debug)]
pub(crate) struct Axis {
    pub(crate) label: String,
    pub(crate) scale: Scale,
    pub(crate) show: fn(f64) -> String,
}

/// A line of a chart.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    pub(crate) name: String,
    /// Which of the styles.
    pub(crate) style: usize,
    pub(crate) points: Vec<(f64, f64)>,
    /// A gap in the line after the point with this index.
    pub(crate) gaps: Vec<usize>,
    /// Points with a ring around them.
    pub(crate) ringed: Vec<(f64, f64)>,
    /// Points of the line that may be higher.
    pub(crate) at_least: Vec<(f64, f64)>,
    /// Points beside the line that say nothing of it; they have its shape, open.
    pub(crate) crossed: Vec<(f64, f64)>,
    /// Whether every point has its shape: of many it would only be a thick line.
    pub(crate) shapes: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Chart {
    /// For who does not see it.
    pub(crate) description: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) lines: Vec<Line>,
    /// A level with its name.
    pub(crate) level: Option<(f64, String)>,
    /// A part of the x axis with its name.
    pub(crate) band: Option<(f64, f64, String)>,
}

/// From values to places in the drawing.
struct Placed<'a> {
    scale: &'a Scale,
    values: (f64, f64),
    places: (f64, f64),
}

impl Placed<'_> {
    fn at(&self, value: f64) -> f64 {
        let ((low, high), (from, to)) = (self.values, self.places);
        let part = match self.scale {
            Scale::Log => (value.max(low) / low).ln() / (high / low).ln(),
            Scale::Linear | Scale::Names(_) => (value - low) / (high - low),
        };
        from + part * (to - from)
    }

    fn ticks(&self) -> Vec<f64> {
        let (low, high) = self.values;
        match self.scale {
            Scale::Names(names) => (0..names.len()).map(|at| at as f64).collect(),
            Scale::Linear => {
                let step = step(high / TICKS);
                (0..).map(|tick| f64::from(tick) * step).take_while(|tick| *tick <= high * 1.0001).collect()
            }
            Scale::Log => {
                let decades = (high / low).log10();
                let steps: &[f64] = if decades > 3.5 { &[1.0] } else { &[1.0, 2.0, 5.0] };
                let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
                let all = decades.flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)));
                all.filter(|tick| (low * 0.999..=high * 1.001).contains(tick)).collect()
            }
        }
    }
}

/// The next greater of 1, 2, 5, 10, 20 …
fn step(least: f64) -> f64 {
    let unit = 10_f64.powf(least.max(f64::MIN_POSITIVE).log10().floor());
    let steps = [1.0, 2.0, 5.0].map(|step| step * unit);
    steps.into_iter().find(|step| *step >= least * 0.9999).unwrap_or(10.0 * unit)
}

/// The values that an axis shows: a bit more than there is.
fn shown(scale: &Scale, values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    match scale {
        Scale::Names(names) => (-0.4, names.len() as f64 - 0.6),
        _ if !low.is_finite() => (0.1, 1.0),
        Scale::Linear => (0.0, if high > 0.0 { high * 1.05 } else { 1.0 }),
        Scale::Log => {
            let low = low.max(1e-3);
            (low / 1.3, high.max(low * 2.0) * 1.3)
        }
    }
}

/// Moves labels apart that would overlap: each stays as near to its place as the others let it, within the bounds.
pub(crate) fn spread(places: &[f64], gap: f64, bounds: (f64, f64)) -> Vec<f64> {
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by(|a, b| f64::total_cmp(&place(places, *a), &place(places, *b)));
    let mut spread = places.to_vec();
    let mut least = bounds.0;
    for at in &order {
        if let Some(place) = spread.get_mut(*at) {
            *place = place.max(least);
            least = *place + gap;
        }
    }
    let mut most = bounds.1;
    for at in order.iter().rev() {
        if let Some(place) = spread.get_mut(*at) {
            *place = place.min(most);
            most = *place - gap;
        }
    }
    spread
}

fn place(places: &[f64], at: usize) -> f64 {
    places.get(at).copied().unwrap_or(0.0)
}

/// Text that stands in XML or HTML.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

impl Chart {
    /// The drawing, in every layout.
    pub(crate) fn render(&self) -> String {
        LAYOUTS.iter().map(|layout| self.draw(layout)).collect()
    }

    /// Writing to a string cannot fail.
    fn draw(&self, layout: &Layout) -> String {
        let x_values = self.lines.iter().flat_map(Line::all).map(|(x, _)| x);
        let y_values = self.lines.iter().flat_map(Line::all).map(|(_, y)| y).chain(self.level.iter().map(|l| l.0));
        let Layout { class, width, right, floor, names_beside } = *layout;
        let x = Placed { scale: &self.x.scale, values: shown(&self.x.scale, x_values), places: (LEFT, right) };
        let y = Placed { scale: &self.y.scale, values: shown(&self.y.scale, y_values), places: (floor, TOP) };
        let rows = if names_beside { 0 } else { self.lines.len().div_ceil(NAMES_IN_ROW) };
        let height = floor + BOTTOM + rows as f64 * NAME_GAP;
        let mut out = String::new();
        let description = escaped(&self.description);
        let _ = write!(
            out,
            "<svg class=\"{class}\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{description}\"><title>{description}</title>"
        );
        self.draw_band(&x, layout, &mut out);
        self.draw_axes(&x, &y, layout, &mut out);
        if let Some((level, name)) = &self.level {
            let at = y.at(*level);
            let _ = write!(out, "<path class=\"level\" d=\"M{LEFT} {at:.1}H{right}\"/>");
            let _ = write!(
                out,
                "<text class=\"note\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                LEFT + 5.0,
                at - 5.0,
                escaped(name)
            );
        }
        self.lines.iter().for_each(|line| line.draw(&x, &y, &mut out));
        if names_beside {
            self.draw_names_beside(&x, &y, layout, &mut out);
        } else {
            self.draw_names_below(layout, &mut out);
        }
        out.push_str("</svg>");
        out
    }

    fn draw_band(&self, x: &Placed<'_>, layout: &Layout, out: &mut String) {
        let Some((from, to, name)) = &self.band else { return };
        let (from, to, height) = (x.at(*from), x.at(*to), layout.floor - TOP);
        let width = (to - from).max(2.0);
        let _ =
            write!(out, "<rect class=\"band\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{height}\"/>");
        // Before it: what comes after it is more likely to be high.
        let (at, name) = (from - 4.0, escaped(name));
        let _ =
            write!(out, "<text class=\"note\" text-anchor=\"end\" x=\"{at:.1}\" y=\"{:.1}\">{name}</text>", TOP + 11.0);
    }

    fn draw_axes(&self, x: &Placed<'_>, y: &Placed<'_>, layout: &Layout, out: &mut String) {
        let Layout { right, floor, .. } = *layout;
        for tick in y.ticks() {
            let (at, text) = (y.at(tick), escaped(&(self.y.show)(tick)));
            let _ = write!(out, "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{right}\"/>");
            let _ = write!(
                out,
                "<text class=\"tick\" text-anchor=\"end\" x=\"{:.1}\" y=\"{:.1}\">{text}</text>",
                LEFT - 6.0,
                at + 4.0
            );
        }
        let mut last = f64::NEG_INFINITY;
        for (number, tick) in x.ticks().into_iter().enumerate() {
            let at = x.at(tick);
            let _ = write!(out, "<path class=\"axis\" d=\"M{at:.1} {floor}v4\"/>");
            let text = match x.scale {
                Scale::Names(names) => names.get(number).cloned().unwrap_or_default(),
                Scale::Linear | Scale::Log => (self.x.show)(tick),
            };
            // A text that would run into the one before is left out; its mark stays.
            let half = text.chars().count() as f64 * 3.6;
            if at - half > last + 4.0 {
                last = at + half;
                let _ = write!(
                    out,
                    "<text class=\"tick\" text-anchor=\"middle\" x=\"{at:.1}\" y=\"{:.1}\">{}</text>",
                    floor + 17.0,
                    escaped(&text)
                );
            }
        }
        let _ = write!(out, "<path class=\"axis\" d=\"M{LEFT} {TOP}V{floor}H{right}\"/>");
        let (middle, label) = ((LEFT + right) / 2.0, escaped(&self.x.label));
        let _ = write!(
            out,
            "<text class=\"label\" text-anchor=\"middle\" x=\"{middle}\" y=\"{:.1}\">{label}</text>",
            floor + BOTTOM - 8.0
        );
        let (middle, label) = ((TOP + floor) / 2.0, escaped(&self.y.label));
        let _ = write!(
            out,
            "<text class=\"label\" text-anchor=\"middle\" transform=\"translate(12 {middle}) rotate(-90)\">{label}</text>"
        );
    }

    /// Each at the height where its line ends, as near as the others let it.
    fn draw_names_beside(&self, x: &Placed<'_>, y: &Placed<'_>, layout: &Layout, out: &mut String) {
        let ends: Vec<(&Line, f64, f64)> =
            self.lines.iter().filter_map(|line| line.end().map(|(px, py)| (line, x.at(px), y.at(py)))).collect();
        let places: Vec<f64> = ends.iter().map(|(_, _, py)| *py).collect();
        let places = spread(&places, NAME_GAP, (TOP + 4.0, layout.floor - 4.0));
        let from = layout.right + 8.0;
        for ((line, px, py), at) in ends.into_iter().zip(places) {
            let _ = write!(out, "<path class=\"leader\" d=\"M{:.1} {py:.1}L{from:.1} {at:.1}\"/>", px + 5.0);
            line.draw_name(from + 6.0, at, out);
        }
    }

    fn draw_names_below(&self, layout: &Layout, out: &mut String) {
        let width = (layout.width - LEFT / 2.0) / NAMES_IN_ROW as f64;
        let named = self.lines.iter().filter(|line| line.end().is_some());
        for (number, line) in named.enumerate() {
            let (row, column) = (number / NAMES_IN_ROW, number % NAMES_IN_ROW);
            let (at, height) =
                (LEFT / 2.0 + column as f64 * width, layout.floor + BOTTOM + 8.0 + row as f64 * NAME_GAP);
            line.draw_name(at, height, out);
        }
    }
}

impl Line {
    fn all(&self) -> impl Iterator<Item = (f64, f64)> {
        self.points.iter().chain(&self.ringed).chain(&self.crossed).copied()
    }

    /// The rightmost of what there is of it.
    fn end(&self) -> Option<(f64, f64)> {
        self.all().max_by(|(a, _), (b, _)| f64::total_cmp(a, b))
    }

    fn draw_name(&self, x: f64, y: f64, out: &mut String) {
        let (style, name) = (self.style, escaped(&self.name));
        let _ = write!(out, "<g class=\"s{style}\">{}</g>", shape(style, x, y));
        let _ = write!(out, "<text class=\"name\" x=\"{:.1}\" y=\"{:.1}\">{name}</text>", x + 8.0, y + 4.0);
    }

    fn draw(&self, x: &Placed<'_>, y: &Placed<'_>, out: &mut String) {
        let _ = write!(out, "<g class=\"s{}\">", self.style);
        let mut path = String::new();
        let mut begins = true;
        for (at, (px, py)) in self.points.iter().enumerate() {
            let _ = write!(path, "{}{:.1} {:.1}", if begins { "M" } else { "L" }, x.at(*px), y.at(*py));
            begins = self.gaps.contains(&at);
        }
        if !path.is_empty() {
            let _ = write!(out, "<path class=\"line\" d=\"{path}\"/>");
        }
        let open = |px: f64, py: f64| format!("<g class=\"open\">{}</g>", shape(self.style, px, py));
        let sure = self.points.iter().filter(|point| self.shapes && !self.at_least.contains(point));
        sure.for_each(|(px, py)| out.push_str(&shape(self.style, x.at(*px), y.at(*py))));
        for (px, py) in &self.at_least {
            let (px, py) = (x.at(*px), y.at(*py));
            let _ =
                write!(out, "{}<path class=\"arrow\" d=\"M{px:.1} {:.1}v-9l-3 3m3 -3l3 3\"/>", open(px, py), py - 6.0);
        }
        for (px, py) in &self.ringed {
            let _ = write!(out, "<circle class=\"ring\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"9\"/>", x.at(*px), y.at(*py));
        }
        for (px, py) in &self.crossed {
            let (px, py) = (x.at(*px), y.at(*py));
            let _ = write!(
                out,
                "{}<path class=\"cross\" d=\"M{:.1} {:.1}l14 14m0 -14l-14 14\"/>",
                open(px, py),
                px - 7.0,
                py - 7.0
            );
        }
        out.push_str("</g>");
    }
}

/// The shape of a style: circle, square, triangle, triangle upside down, diamond.
fn shape(style: usize, x: f64, y: f64) -> String {
    match style % 5 {
        0 => format!("<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.6\"/>"),
        1 => format!("<rect class=\"dot\" x=\"{:.1}\" y=\"{:.1}\" width=\"7\" height=\"7\"/>", x - 3.5, y - 3.5),
        2 => format!("<path class=\"dot\" d=\"M{x:.1} {:.1}l4.5 8h-9z\"/>", y - 5.0),
        3 => format!("<path class=\"dot\" d=\"M{x:.1} {:.1}l4.5 -8h-9z\"/>", y + 5.0),
        _ => format!("<path class=\"dot\" d=\"M{x:.1} {:.1}l4.8 4.8l-4.8 4.8l-4.8 -4.8z\"/>", y - 4.8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(scale: &Scale, values: (f64, f64)) -> Placed<'_> {
        Placed { scale, values, places: (0.0, 100.0) }
    }

    #[test]
    fn values_have_their_places() {
        assert_eq!(placed(&Scale::Linear, (0.0, 50.0)).at(25.0), 50.0);
        assert!((placed(&Scale::Log, (1.0, 10_000.0)).at(100.0) - 50.0).abs() < 1e-9);
        assert_eq!(placed(&Scale::Log, (1.0, 100.0)).at(0.0), 0.0, "what has no logarithm is at the edge");
    }

    #[test]
    fn marks_are_round_numbers() {
        assert_eq!(placed(&Scale::Linear, (0.0, 47.0)).ticks(), [0.0, 10.0, 20.0, 30.0, 40.0]);
        assert_eq!(placed(&Scale::Log, (8.0, 120.0)).ticks(), [10.0, 20.0, 50.0, 100.0]);
        assert_eq!(placed(&Scale::Log, (0.9, 2e4)).ticks(), [1.0, 10.0, 100.0, 1000.0, 10_000.0]);
        let names = Scale::Names(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(placed(&names, (-0.4, 1.4)).ticks(), [0.0, 1.0]);
    }

    #[test]
    fn labels_do_not_overlap() {
        let spread = spread(&[50.0, 10.0, 51.0, 98.0, 99.0], 10.0, (0.0, 100.0));
        let mut sorted = spread.clone();
        sorted.sort_by(f64::total_cmp);
        assert!(sorted.windows(2).all(|pair| pair[1] - pair[0] >= 10.0 - 1e-9), "{spread:?}");
        assert!(sorted[0] >= 0.0 && sorted[4] <= 100.0);
        assert_eq!(spread[1], 10.0, "who is alone stays");
        assert!(spread[0] < spread[2] && spread[3] < spread[4], "their order stays");
    }

    #[test]
    fn a_chart_is_xml_with_every_line_told_three_ways() {
        let line = |style, y| Line {
            name: format!("<{style}>"),
            style,
            points: vec![(1.0, y), (10.0, y * 2.0), (100.0, y * 9.0)],
            gaps: vec![0],
            ringed: vec![(10.0, y * 2.0)],
            at_least: vec![(100.0, y * 9.0)],
            crossed: vec![(50.0, y)],
            shapes: true,
        };
        let axis = |label: &str, scale| Axis { label: label.to_owned(), scale, show: |v| v.to_string() };
        let chart = Chart {
            description: "a & b".to_owned(),
            x: axis("x", Scale::Log),
            y: axis("y", Scale::Linear),
            lines: vec![line(0, 1.0), line(1, 3.0)],
            level: Some((5.0, "bound".to_owned())),
            band: Some((2.0, 3.0, "down".to_owned())),
        };
        let svg = chart.render();
        for part in [
            "aria-label=\"a &amp; b\"",
            "class=\"s0\"",
            "class=\"s1\"",
            "&lt;1&gt;",
            "<circle class=\"dot\"",
            "<rect class=\"dot\"",
            "ring",
            "cross",
            "arrow",
            "class=\"wide\"",
            "class=\"narrow\"",
            "bound",
            "down",
        ] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert_eq!(svg.matches("<g").count(), svg.matches("</g>").count());
        assert_eq!(svg.matches("&lt;1&gt;").count(), LAYOUTS.len(), "each line is named once in every layout");
        assert_eq!(
            svg.matches("class=\"arrow\"").count(),
            2 * LAYOUTS.len(),
            "a point that may be higher has an arrow"
        );
    }

    #[test]
    fn a_line_of_which_nothing_is_known_has_a_name_too() {
        let line = Line { name: "crossed".to_owned(), crossed: vec![(1.0, 1.0)], ..Line::default() };
        let axis = || Axis { label: String::new(), scale: Scale::Linear, show: |v| v.to_string() };
        let chart =
            Chart { description: String::new(), x: axis(), y: axis(), lines: vec![line], level: None, band: None };
        let svg = chart.render();
        assert_eq!(svg.matches(">crossed</text>").count(), LAYOUTS.len());
        assert!(svg.contains("<g class=\"open\"><circle"), "it is told by its shape: {svg}");
    }

    #[test]
    fn a_chart_of_nothing_is_no_nonsense() {
        let axis = |scale| Axis { label: String::new(), scale, show: |v| v.to_string() };
        let lines = vec![Line::default()];
        let chart = Chart {
            description: String::new(),
            x: axis(Scale::Log),
            y: axis(Scale::Linear),
            lines,
            level: None,
            band: None,
        };
        assert!(!chart.render().contains("NaN"));
    }
}

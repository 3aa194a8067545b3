//! Line charts as SVG text: panels side by side over one legend.

use std::fmt::Write;

const PANEL_WIDTH: f64 = 350.0;
const PANEL_HEIGHT: f64 = 240.0;
/// Space around a panel: left of it for the numbers, above for the title, below for the axis.
const LEFT: f64 = 66.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 46.0;
const LEGEND_ROW: f64 = 22.0;
/// What a letter of the legend takes at most.
const LETTER: f64 = 7.8;

/// Okabe and Ito's colours (2008), which stay apart for colour-blind readers, each with a dash
/// pattern of its own for print.
const STYLES: [(&str, &str); 6] = [
    ("#0072b2", ""),
    ("#d55e00", "7 3"),
    ("#009e73", "2 3"),
    ("#cc79a7", "9 3 2 3"),
    ("#e69f00", "4 2"),
    ("#000000", "1 2"),
];

/// One chart.
pub struct Panel {
    pub title: &'static str,
    pub x_label: &'static str,
    pub x: [f64; 2],
    pub y: [f64; 2],
    /// Whether the vertical axis counts powers of ten.
    pub log: bool,
    /// One curve for each name of the figure.
    pub curves: Vec<Vec<[f64; 2]>>,
}

/// Panels whose curves have the same names.
pub struct Figure {
    pub names: Vec<String>,
    pub panels: Vec<Panel>,
}

impl Figure {
    /// The figure as SVG.
    pub fn svg(&self) -> String {
        let width = self.panels.len() as f64 * (LEFT + PANEL_WIDTH) + 24.0;
        let (legend, rows) = self.legend(width, TOP + PANEL_HEIGHT + BOTTOM);
        let height = TOP + PANEL_HEIGHT + BOTTOM + rows as f64 * LEGEND_ROW + 8.0;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"sans-serif\" font-size=\"13\" fill=\"#222\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
        );
        for (i, panel) in self.panels.iter().enumerate() {
            panel.draw(&mut out, LEFT + i as f64 * (LEFT + PANEL_WIDTH), i);
        }
        out + &legend + "</svg>\n"
    }

    /// The names with their lines, from `top` on, and how many rows they take.
    fn legend(&self, width: f64, top: f64) -> (String, usize) {
        let (mut out, mut x, mut row) = (String::new(), LEFT, 0);
        for (i, name) in self.names.iter().enumerate() {
            let wide = 34.0 + name.len() as f64 * LETTER;
            if x + wide > width {
                (x, row) = (LEFT, row + 1);
            }
            let y = top + row as f64 * LEGEND_ROW + 10.0;
            let line = format!("M{x:.1} {y:.1}h25");
            out += &path(&line, i);
            let _ = writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{:.1}\">{name}</text>",
                x + 31.0,
                y + 4.5
            );
            x += wide;
        }
        (out, row + 1)
    }
}

impl Panel {
    fn draw(&self, out: &mut String, left: f64, index: usize) {
        let at = |[x, y]: [f64; 2]| {
            let [low, high] = self.y.map(|y| self.height_of(y));
            let across = (x - self.x[0]) / (self.x[1] - self.x[0]);
            let up = (self.height_of(y) - low) / (high - low);
            [left + across * PANEL_WIDTH, TOP + (1.0 - up) * PANEL_HEIGHT]
        };
        let (right, bottom) = (left + PANEL_WIDTH, TOP + PANEL_HEIGHT);
        for x in ticks(self.x) {
            let [at_x, _] = at([x, self.y[0]]);
            let _ = writeln!(
                out,
                "<path d=\"M{at_x:.1} {TOP}V{bottom}\" stroke=\"#ddd\"/>\
                 <text x=\"{at_x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 17.0,
                number(x)
            );
        }
        for y in self.y_ticks() {
            let [_, at_y] = at([self.x[0], y]);
            let label = if self.log {
                format!("{y:e}")
            } else {
                number(y)
            };
            let _ = writeln!(
                out,
                "<path d=\"M{left} {at_y:.1}H{right}\" stroke=\"#ddd\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                left - 7.0,
                at_y + 4.5
            );
        }
        let middle = left + PANEL_WIDTH / 2.0;
        let _ = writeln!(
            out,
            "<clipPath id=\"panel{index}\"><rect x=\"{left}\" y=\"{TOP}\" width=\"{PANEL_WIDTH}\" height=\"{PANEL_HEIGHT}\"/></clipPath>\n\
             <path d=\"M{left} {TOP}V{bottom}H{right}V{TOP}Z\" fill=\"none\" stroke=\"#888\"/>\n\
             <text x=\"{middle}\" y=\"{:.1}\" text-anchor=\"middle\" font-weight=\"bold\">{}</text>\n\
             <text x=\"{middle}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n\
             <g clip-path=\"url(#panel{index})\">",
            TOP - 12.0,
            self.title,
            bottom + 35.0,
            self.x_label
        );
        for (i, curve) in self.curves.iter().enumerate() {
            let mut line = String::new();
            for (k, &point) in curve.iter().enumerate() {
                let [x, y] = at(point);
                let _ = write!(line, "{}{x:.1} {y:.1}", if k == 0 { "M" } else { "L" });
            }
            *out += &path(&line, i);
        }
        *out += "</g>\n";
    }

    fn height_of(&self, y: f64) -> f64 {
        if self.log { y.log10() } else { y }
    }

    fn y_ticks(&self) -> Vec<f64> {
        if !self.log {
            return ticks(self.y);
        }
        let [low, high] = self.y.map(|y| y.log10().round() as i32);
        let step = ((high - low) / 6).max(1);
        (low..=high)
            .filter(|power| (power - high) % step == 0)
            .map(|power| 10f64.powi(power))
            .collect()
    }
}

/// Round numbers between the ends, some five to nine of them.
fn ticks([low, high]: [f64; 2]) -> Vec<f64> {
    let raw = (high - low) / 8.0;
    let power = 10f64.powf(raw.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    let step = steps
        .into_iter()
        .find(|&step| step >= raw)
        .unwrap_or(10.0 * power);
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

/// A number without the digits that its rounding made.
fn number(value: f64) -> String {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    text.to_owned()
}

fn path(line: &str, style: usize) -> String {
    let (colour, dashes) = STYLES[style % STYLES.len()];
    format!(
        "<path d=\"{line}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/>\n"
    )
}

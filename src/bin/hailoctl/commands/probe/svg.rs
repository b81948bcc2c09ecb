//! A picture of `probe link`: a bar for each combination, lines where the model expects the link.

use std::fmt::Write as _;

use hailo_vfio::device::probe::{LinkPoint, Way};
use hailo_vfio::pci::link::Rate;

use super::link::{arrow, label};

const ROW: f64 = 22.0;
const LEFT: f64 = 260.0;
const WIDTH: f64 = 520.0;
const RIGHT: f64 = 110.0;

/// Draws it.
pub(super) fn draw(device: &str, points: &[LinkPoint], rate: impl Fn(Way) -> Rate) -> String {
    let ways = [Way::ToDevice, Way::FromDevice];
    let most = points.iter().map(|point| point.mb_per_s);
    let most = most
        .chain(ways.iter().map(|&way| rate(way).at_most))
        .fold(1.0, f64::max)
        * 1.05;
    let x = |mb: f64| LEFT + mb / most * WIDTH;
    let mut body = String::new();
    let mut y = 58.0;
    let mut put = |text: String| {
        body += &text;
        body.push('\n');
    };
    for way in ways {
        let of: Vec<_> = points.iter().filter(|point| point.way == way).collect();
        if of.is_empty() {
            continue;
        }
        put(format!(
            "<text x=\"12\" y=\"{:.0}\" font-weight=\"bold\">{}</text>",
            y + 14.0,
            arrow(way)
        ));
        let top = y + 22.0;
        y = top;
        for point in &of {
            let end = x(point.mb_per_s);
            put(format!(
                "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>\
                 <rect x=\"{LEFT}\" y=\"{:.0}\" width=\"{:.1}\" height=\"14\" fill=\"#4c78a8\"/>\
                 <text x=\"{:.1}\" y=\"{:.0}\">{:.0}</text>",
                LEFT - 8.0,
                y + 13.0,
                label(point),
                y + 2.0,
                end - LEFT,
                end + 6.0,
                y + 13.0,
                point.mb_per_s
            ));
            y += ROW;
        }
        let Rate { at_most, about } = rate(way);
        for (mb, name, dash, dy) in [
            (about, "about", "4 3", 26.0),
            (at_most, "at most", "none", 13.0),
        ] {
            put(format!(
                "<line x1=\"{0:.1}\" y1=\"{top:.0}\" x2=\"{0:.1}\" y2=\"{1:.0}\" stroke=\"#e45756\" stroke-dasharray=\"{dash}\"/>\
                 <text x=\"{0:.1}\" y=\"{2:.0}\" text-anchor=\"middle\" fill=\"#e45756\">{name} {mb:.0}</text>",
                x(mb),
                y,
                y + dy,
            ));
        }
        y += 40.0;
    }
    let mut text = String::new();
    let (width, height) = (LEFT + WIDTH + RIGHT, y);
    let written = write!(
        text,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"12\" y=\"28\" font-size=\"16\">{}: MB/s over the link</text>\n{body}</svg>\n",
        escaped(device)
    );
    debug_assert!(written.is_ok(), "a string takes everything");
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

//! What stands on the terminal while a chip is watched: pure text, made to fit.

use std::collections::VecDeque;
use std::time::Instant;

use anstream::adapter::strip_str;
use anstyle::Style;

use super::look::{Look, Said};
use super::watch::Running;
use crate::output::{BAD, BOLD, CARE, DIM, GOOD, visible};

/// Looks that are remembered: as many as the widest graph shows.
const MOST: usize = 120;
/// Notifications that are remembered.
const MOST_SAID: usize = 100;
/// Columns of the names, and of the values behind them.
const NAMES: usize = 13;
const VALUES: usize = 23;
/// Least columns of a graph that says anything.
const LEAST: usize = 8;
/// Degrees that a graph of temperatures spans at least.
const SPAN: f32 = 5.0;

/// Looks, and what was said between them.
pub(super) struct View {
    title: String,
    /// Whether networks run in this process.
    runs: bool,
    began: Instant,
    look: Option<Look>,
    running: Vec<Running>,
    temperature: Past,
    power: Past,
    nnc: Past,
    cpu: Past,
    dsp: Past,
    memory: Past,
    /// When, in seconds since the start, and what.
    said: VecDeque<(u64, Said)>,
}

/// What a value was, the latest last.
#[derive(Default)]
struct Past(VecDeque<Option<f32>>);

impl Past {
    fn add(&mut self, value: Option<f32>) {
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back(value);
    }

    /// Lowest and highest.
    fn ends(&self) -> Option<(f32, f32)> {
        let known = || self.0.iter().flatten().copied();
        let low = known().reduce(f32::min)?;
        Some((low, known().fold(low, f32::max)))
    }

    /// The last values, a column each, of a scale from `low` to `high`.
    fn graph(&self, (low, high): (f32, f32), width: usize) -> String {
        const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let last = self.0.len().saturating_sub(width);
        let column = |value: &Option<f32>| {
            let part = ((*value)? - low) / (high - low) * 8.0;
            // The first level that reaches so high.
            let level = (1_u8..8).position(|level| part < f32::from(level));
            Some(LEVELS[level.unwrap_or(7)])
        };
        let columns = self.0.iter().skip(last);
        columns.map(|value| column(value).unwrap_or(' ')).collect()
    }
}

impl View {
    /// A view without looks; `runs` tells that networks run in this process.
    pub(super) fn new(title: &str, runs: bool) -> Self {
        Self {
            title: title.to_owned(),
            runs,
            began: Instant::now(),
            look: None,
            running: Vec::new(),
            temperature: Past::default(),
            power: Past::default(),
            nnc: Past::default(),
            cpu: Past::default(),
            dsp: Past::default(),
            memory: Past::default(),
            said: VecDeque::new(),
        }
    }

    /// Seconds since the start.
    pub(super) fn seconds(&self) -> u64 {
        self.began.elapsed().as_secs()
    }

    /// How the networks of this process are now.
    pub(super) fn run(&mut self, running: Vec<Running>) {
        self.running = running;
    }

    /// Takes a look in.
    pub(super) fn look(&mut self, look: Look) {
        let load = &look.load;
        let warmer = look.temperature.map(|both| both.ts0.max(both.ts1));
        self.temperature.add(warmer);
        self.power.add(look.power_w);
        self.nnc.add(load.nnc);
        self.cpu.add(load.cpu);
        let dsp = load.dsp.and_then(|percent| u8::try_from(percent).ok());
        self.dsp.add(dsp.map(f32::from));
        let part = |used: u64, total: u64| {
            let percent = used.saturating_mul(100).checked_div(total)?;
            u8::try_from(percent).ok().map(f32::from)
        };
        let memory = load.ram_used.zip(load.ram_total);
        self.memory
            .add(memory.and_then(|(used, total)| part(used, total)));
        self.look = Some(look);
    }

    /// Takes in what the chip said.
    pub(super) fn said(&mut self, said: Said) {
        if self.said.len() == MOST_SAID {
            self.said.pop_front();
        }
        let at = self.seconds();
        self.said.push_back((at, said));
    }

    /// The lines of a terminal of so many columns and rows.
    pub(super) fn lines(&self, (columns, rows): (usize, usize), colored: bool) -> Vec<String> {
        let clock = clock(self.seconds());
        let room = columns.saturating_sub(clock.len() + 2);
        let title = clipped(&self.title, room);
        let mut lines = vec![
            format!("{BOLD}{title:room$}{BOLD:#}  {DIM}{clock}{DIM:#}"),
            String::new(),
        ];
        self.facts(columns, &mut lines);
        lines.push(String::new());
        self.networks(&mut lines);
        let room = rows.saturating_sub(lines.len() + 1);
        if !self.said.is_empty() && room > 2 {
            lines.push(String::new());
            lines.push(format!("{BOLD}NOTIFICATIONS{BOLD:#}"));
            let last = self.said.len().saturating_sub(room - 2);
            for (at, Said { text, .. }) in self.said.iter().skip(last) {
                lines.push(format!("{DIM}{}{DIM:#}  {text}", self::clock(*at)));
            }
        }
        lines.truncate(rows.saturating_sub(1));
        lines.resize(rows.saturating_sub(1), String::new());
        lines.push(format!("{DIM}q ends{DIM:#}"));
        let fit = |line: String| {
            let line = if colored {
                line
            } else {
                strip_str(&line).to_string()
            };
            clipped(&line, columns)
        };
        lines.into_iter().map(fit).collect()
    }

    fn facts(&self, columns: usize, lines: &mut Vec<String>) {
        let room = columns.saturating_sub(NAMES + VALUES).min(MOST);
        let graph = |past: &Past, scale, room: usize| {
            if room < LEAST {
                String::new()
            } else {
                past.graph(scale, room)
            }
        };
        let mut fact = |name: &str, value: String, graph: String| {
            let fill = " ".repeat(VALUES.saturating_sub(visible(&value)));
            lines.push(
                format!("{DIM}{name:NAMES$}{DIM:#}{value}{fill}{graph}")
                    .trim_end()
                    .to_owned(),
            );
        };
        let look = self.look.as_ref();
        let missing = |why: fn(&Look) -> &Option<String>| match look {
            None => format!("{DIM}asking…{DIM:#}"),
            Some(look) => match why(look) {
                Some(why) => format!("{DIM}not known: {why}{DIM:#}"),
                None => format!("{DIM}not told{DIM:#}"),
            },
        };
        // Degrees and watts have no scale of their own: that of what was seen, with the ends beside it.
        let seen = |past: &Past, least: f32, unit: &str| {
            let Some((low, high)) = past.ends() else {
                return String::new();
            };
            let ends = format!("  {low:.1} to {high:.1} {unit}");
            let scale = (low, high.max(low + least));
            let room = room.saturating_sub(visible(&ends));
            graph(past, scale, room) + &format!("{DIM}{ends}{DIM:#}")
        };
        let temperature = look.and_then(|look| look.temperature);
        let value = match temperature {
            Some(both) => format!("{:.1} and {:.1} °C", both.ts0, both.ts1),
            None => missing(|look| &look.missing.temperature),
        };
        fact("temperature", value, seen(&self.temperature, SPAN, "°C"));
        match look.and_then(|look| look.power_w) {
            Some(watts) => {
                let seen = seen(&self.power, 0.5, "W");
                fact("power", format!("{watts:.2} W"), seen);
            }
            None => fact("power", missing(|look| &look.missing.power), String::new()),
        }
        let load = look.map(|look| &look.load);
        let percent = |value: Option<f32>| match value {
            Some(percent) => format!("{percent:.1} %"),
            None => missing(|look| &look.missing.load),
        };
        let units = [
            ("neural core", &self.nnc),
            ("processors", &self.cpu),
            ("signal proc.", &self.dsp),
        ];
        for (name, past) in units {
            let value = percent(past.0.back().copied().flatten());
            fact(name, value, graph(past, (0.0, 100.0), room));
        }
        let value = look.and_then(Look::memory);
        let value = value.unwrap_or_else(|| missing(|look| &look.missing.load));
        fact("memory", value, graph(&self.memory, (0.0, 100.0), room));
        if let Some(count) = load.and_then(|load| load.ddr_transactions) {
            fact("", format!("{count} transactions"), String::new());
        }
        fact("throttling", self.throttling(), String::new());
    }

    /// The state of throttling; the chip tells only changes of it.
    fn throttling(&self) -> String {
        let state = self.look.as_ref().and_then(|look| look.throttling.as_ref());
        let mut said = self.said.iter().rev();
        let last = said.find_map(|(at, said)| Some((*at, said.throttling.as_ref()?)));
        let (since, state) = match (last, state) {
            (Some((at, state)), _) => (format!(", since {}", clock(at)), state),
            (None, Some(state)) => (String::new(), state),
            (None, None) => return format!("{DIM}the chip told no change yet{DIM:#}"),
        };
        let style: Style = match state.as_str() {
            "none" => GOOD,
            "light" => CARE,
            _ => BAD,
        };
        format!("{style}{state}{style:#}{since}")
    }

    fn networks(&self, lines: &mut Vec<String>) {
        if !self.runs {
            lines.push(format!("{DIM}{:NAMES$}{DIM:#}those of other programs are not told; hailoctl run --monitor shows its own", "networks"));
            return;
        }
        let name = |running: &Running| running.network.chars().count();
        let width = self.running.iter().map(name).max().unwrap_or(0).max(7) + 2;
        lines.push(format!(
            "{BOLD}{:width$}{:>12}{:>14}{BOLD:#}",
            "NETWORK", "FRAMES", "FRAMES/S"
        ));
        for Running {
            network,
            frames,
            fps,
        } in &self.running
        {
            lines.push(format!("{network:width$}{frames:>12}{fps:>14.1}"));
        }
    }
}

/// `01:02:03`, hours first.
fn clock(seconds: u64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    format!("{hours:02}:{:02}:{:02}", minutes % 60, seconds % 60)
}

/// The first `columns` characters that are seen; colours take no room, and end with the line.
fn clipped(line: &str, columns: usize) -> String {
    let mut clipped = String::with_capacity(line.len());
    let (mut seen, mut escape, mut styled) = (0, false, false);
    for c in line.chars() {
        if escape {
            // Only colours come here: a letter ends them.
            escape = !c.is_ascii_alphabetic();
            clipped.push(c);
        } else if c == '\x1b' {
            (escape, styled) = (true, true);
            clipped.push(c);
        } else if seen < columns && !c.is_control() {
            seen += 1;
            clipped.push(c);
        }
    }
    if styled {
        clipped += "\x1b[0m";
    }
    clipped
}

#[cfg(test)]
mod tests {
    use super::super::look::{Missing, NO_LOAD};
    use super::*;
    use hailo_vfio::soc::{Performance, Temperature};
    use serde_json::json;

    fn look(celsius: f32, nnc: f32) -> Look {
        Look {
            temperature: Some(Temperature {
                ts0: celsius,
                ts1: celsius - 1.0,
            }),
            power_w: None,
            load: Performance {
                nnc: Some(nnc),
                ram_used: Some(1 << 30),
                ram_total: Some(4 << 30),
                ..NO_LOAD
            },
            throttling: None,
            missing: Missing {
                power: Some("the board has no sensor".to_owned()),
                ..Missing::default()
            },
        }
    }

    fn said(state: &str) -> Said {
        Said {
            text: format!("throttling {state}"),
            object: json!({}),
            throttling: Some(state.to_owned()),
        }
    }

    #[test]
    fn everything_fits_whatever_the_terminal() {
        let mut view = View::new("sim:default  Hailo-10H, firmware 5.2.0", true);
        for step in 0..200_u8 {
            let running = vec![Running {
                network: "a/very/long/name of a network\x1b[2J\n".repeat(3),
                frames: u64::MAX,
                fps: 1e9,
            }];
            view.look(look(40.0 + f32::from(step) / 9.0, 50.0));
            view.run(running);
            view.said(said("light"));
        }
        for size in [(1, 1), (10, 3), (40, 12), (80, 24), (400, 100)] {
            for colored in [false, true] {
                let lines = view.lines(size, colored);
                assert_eq!(lines.len(), size.1);
                for line in lines {
                    let plain = strip_str(&line).to_string();
                    assert!(plain.chars().count() <= size.0, "{size:?}: {plain}");
                    assert!(!plain.contains('\n'));
                    assert!(colored || !line.contains('\x1b'), "{line:?}");
                }
            }
        }
    }

    #[test]
    fn a_view_tells_what_is_known_and_why_the_rest_is_not() {
        let mut view = View::new("sim", false);
        assert!(view.lines((80, 24), false)[2].contains("asking"));
        view.look(look(40.0, 0.0));
        view.look(look(50.0, 100.0));
        view.said(said("heavy"));
        let lines = view.lines((80, 24), false);
        let text = lines.join("\n");
        for wanted in [
            "temperature  50.0 and 49.0 °C       ▁█  40.0 to 50.0 °C",
            "power        not known: the board has no sensor",
            "neural core  100.0 %                ▁█",
            "processors   not told",
            "memory       1.0 GiB of 4.0 GiB     ▃▃",
            "throttling   heavy, since 00:00:0",
            "networks     those of other programs are not told",
            "NOTIFICATIONS",
            "throttling heavy",
            "q ends",
        ] {
            assert!(text.contains(wanted), "no {wanted:?} in\n{text}");
        }
    }

    #[test]
    fn the_last_notifications_are_those_that_are_shown() {
        let mut view = View::new("sim", false);
        view.look(look(40.0, 0.0));
        for number in 0..150 {
            view.said(said(&format!("number {number}")));
        }
        let text = view.lines((80, 24), false).join("\n");
        assert!(text.contains("number 149") && !text.contains("number 120"));
        assert_eq!(clock(3_723), "01:02:03");
    }
}

//! Watches a chip: looks again and again in a thread of its own, and shows a view, lines or objects meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use hailo_vfio::deadline::Deadline;
use hailo_vfio::soc::NOTICE_SLICE;
use serde::Serialize;

use super::look::{HEAD, Look, Said, Source};
use super::view::View;
use crate::commands::meter::Meter;
use crate::exit::Result;
use crate::output::{BOLD, Output};
use crate::screen::Screen;

/// How soon a key, another size of the terminal or the end of what is watched shows.
const PACE: Duration = Duration::from_millis(100);

/// What is watched, and how.
pub(crate) struct Watch<'a> {
    pub(crate) source: &'a dyn Source,
    /// From one look to the next.
    pub(crate) interval: Duration,
    /// What the view begins with.
    pub(crate) title: String,
    /// The networks that run in this process, where that is known.
    pub(crate) networks: Option<Vec<Counted>>,
    /// Whether the whole terminal is taken for a view.
    pub(crate) view: bool,
}

/// A network that runs in this process.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) name: String,
    /// Frames that are through.
    pub(crate) done: Arc<AtomicU64>,
    /// How fast it is.
    pub(crate) meter: Meter,
}

/// How a network was at a look.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Running {
    pub(super) network: String,
    pub(super) frames: u64,
    pub(super) fps: f64,
}

impl Counted {
    fn look(&mut self) -> Running {
        let frames = self.done.load(Ordering::Relaxed);
        Running {
            network: self.name.clone(),
            frames,
            fps: self.meter.rate(frames, Instant::now()),
        }
    }
}

/// Why watching ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// As was asked for by `stop`.
    Stopped,
    /// By a key.
    Left,
}

/// What the looking thread has to tell.
enum News {
    Look(Result<Look>),
    Said(Said),
}

#[derive(Serialize)]
struct Object<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'static str>,
    #[serde(flatten)]
    look: &'a Look,
    #[serde(skip_serializing_if = "Option::is_none")]
    networks: Option<&'a [Running]>,
}

impl Watch<'_> {
    /// Shows what is seen until `stop`, or until the user presses `q` in the view.
    pub(crate) fn run(mut self, output: &mut Output, stop: &dyn Fn() -> bool) -> Result<End> {
        let networks = self.networks.take();
        let ended = AtomicBool::new(false);
        let (send, receive) = mpsc::channel();
        let (this, ended) = (&self, &ended);
        thread::scope(|scope| {
            scope.spawn(move || this.sample(&send, ended));
            let shown = if this.view {
                this.draw(networks, &receive, output, stop)
            } else {
                this.print(networks, &receive, output, stop)
            };
            ended.store(true, Ordering::Relaxed);
            shown
        })
    }

    /// Looks until nobody wants to know, or a look fails.
    fn sample(&self, send: &Sender<News>, ended: &AtomicBool) {
        let mut throttling = None;
        let over = || ended.load(Ordering::Relaxed);
        while !over() {
            let began = Instant::now();
            let look = self.source.look().map(|look| Look {
                throttling: look.throttling.clone().or_else(|| throttling.clone()),
                ..look
            });
            let failed = look.is_err();
            if send.send(News::Look(look)).is_err() || failed {
                return;
            }
            let next = began + self.interval;
            while !over() {
                let left = next.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                match self.source.notice(&Deadline::after(left.min(NOTICE_SLICE))) {
                    Ok(None) => {}
                    Ok(Some(said)) => {
                        throttling = said.throttling.clone().or(throttling);
                        if send.send(News::Said(said)).is_err() {
                            return;
                        }
                    }
                    Err(error) => {
                        if send.send(News::Look(Err(error))).is_err() {
                            log::debug!("nobody waits for looks any more");
                        }
                        return;
                    }
                }
            }
        }
    }

    fn print(
        &self,
        mut networks: Option<Vec<Counted>>,
        receive: &Receiver<News>,
        output: &mut Output,
        stop: &dyn Fn() -> bool,
    ) -> Result<End> {
        let mut first = true;
        while !stop() {
            let look = match receive.recv_timeout(PACE) {
                Ok(News::Look(look)) => look?,
                Ok(News::Said(said)) if output.is_json() => {
                    output.event(&said.object)?;
                    continue;
                }
                Ok(News::Said(said)) => {
                    output.line(format_args!("{}", said.text))?;
                    output.flush()?;
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let running = networks.as_mut().map(|networks| {
                let look = |network: &mut Counted| network.look();
                networks.iter_mut().map(look).collect::<Vec<_>>()
            });
            tell(&look, running.as_deref(), first, output)?;
            first = false;
        }
        Ok(End::Stopped)
    }

    fn draw(
        &self,
        mut networks: Option<Vec<Counted>>,
        receive: &Receiver<News>,
        output: &Output,
        stop: &dyn Fn() -> bool,
    ) -> Result<End> {
        let mut view = View::new(&self.title, networks.is_some());
        let screen = Screen::take()?;
        let mut drawn = None;
        while !stop() {
            let news = match receive.recv_timeout(PACE) {
                Ok(news) => Some(news),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let changed = news.is_some();
            match news {
                Some(News::Look(look)) => view.look(look?),
                Some(News::Said(said)) => view.said(said),
                None => {}
            }
            if screen.is_left() {
                return Ok(End::Left);
            }
            // The clock shows seconds.
            let now = (screen.size(), view.seconds());
            if changed || drawn != Some(now) {
                view.run(networks.iter_mut().flatten().map(Counted::look).collect());
                screen.draw(&view.lines(now.0, output.is_colored()))?;
                drawn = Some(now);
            }
        }
        Ok(End::Stopped)
    }
}

/// Tells of a look, in a line or an object.
pub(super) fn tell(
    look: &Look,
    networks: Option<&[Running]>,
    first: bool,
    output: &mut Output,
) -> Result<()> {
    if output.is_json() {
        return output.event(&Object {
            event: networks.map(|_| "look"),
            look,
            networks,
        });
    }
    if first {
        for (what, why) in [
            ("temperature", &look.missing.temperature),
            ("power", &look.missing.power),
            ("load", &look.missing.load),
        ] {
            if let Some(why) = why {
                output.note(format_args!("no {what}: {why}"))?;
            }
        }
        output.line(format_args!("{BOLD}{HEAD}{BOLD:#}"))?;
    }
    output.line(format_args!("{}", look.line()))?;
    for Running {
        network,
        frames,
        fps,
    } in networks.unwrap_or_default()
    {
        output.line(format_args!(
            "  {network}: {frames} frames, {fps:.1} a second"
        ))?;
    }
    output.flush()
}

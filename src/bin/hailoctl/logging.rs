//! `-v`: the library's log on standard error, each line with the time since the start.

use std::io::Write;
use std::time::Instant;

use log::LevelFilter;

/// Starts logging where the user asked for it. Each line of the library names its device first.
pub(crate) fn start(verbose: u8) {
    let level = match verbose {
        0 => return,
        1 => LevelFilter::Info,
        2 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    };
    let started = Instant::now();
    env_logger::Builder::new()
        .filter_level(level)
        .format(move |line, record| {
            let seconds = started.elapsed().as_secs_f64();
            let level = record.level().as_str().to_ascii_lowercase();
            writeln!(line, "[{seconds:9.4}] {level:5} {}", record.args())
        })
        .init();
}

//! Processor time of the driver, as a benchmark's measure.

use std::fs;
use std::time::Duration;

use criterion::BenchmarkGroup;
use criterion::measurement::WallTime;

/// Runs between two looks at the processor time: a look costs as much as one of them.
const RUNS: u32 = 256;

/// Time that this thread and the driver's have had a processor.
fn cpu_time() -> Duration {
    let own = nix::unistd::gettid().to_string();
    let tasks = fs::read_dir("/proc/self/task").expect("procfs");
    let nanoseconds = tasks
        .filter_map(|task| {
            let task = task.ok()?;
            let name = fs::read_to_string(task.path().join("comm")).ok()?;
            if !name.starts_with("h10-") && task.file_name() != *own {
                return None;
            }
            let spent = fs::read_to_string(task.path().join("schedstat")).ok()?;
            spent.split(' ').next()?.parse::<u64>().ok()
        })
        .sum();
    Duration::from_nanos(nanoseconds)
}

/// Measures the processor time of this thread and of the driver's. Where processors are idle, the time in which the
/// kernel wakes one is in it.
pub(crate) fn by_cpu(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, mut once: impl FnMut()) {
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|times| {
            let begin = cpu_time();
            for _ in 0..times * u64::from(RUNS) {
                once();
            }
            (cpu_time() - begin) / RUNS
        });
    });
}

//! What a frame and a switch between networks cost in NNC mode: register accesses, mappings, allocations. The first
//! network has one context, the second two; each has one input and one output.

#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(
    unsafe_code,
    reason = "an allocator that counts what some threads ask for"
)]

#[path = "support/mod.rs"]
mod bench;
#[path = "support/calls.rs"]
mod calls;
#[path = "support/nnc.rs"]
mod nnc;
#[path = "support/strace.rs"]
mod strace;
#[path = "support/hef/mod.rs"]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

use bench::{Bench, Way};
use hailo_vfio::deadline::Deadline;
use hailo_vfio::device::Device;
use hailo_vfio::hef::Hef;
use hailo_vfio::infer::{ConfigureOptions, Frame};
use hailo_vfio::nnc::infer::{Configured, Runtime};
use hailo_vfio::spec::board::Mode;
use hailo_vfio::transport::Transport;
use hailo_vfio::transport::trace::Tracer;

/// Counts the allocations of the driver's threads, not those of the chip's.
struct Counting;

/// Whose allocations count; 0 where nobody's do.
static WATCHED: [AtomicI32; 3] = [const { AtomicI32::new(0) }; 3];
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

fn count() {
    if WATCHED[0].load(Ordering::Relaxed) == 0 {
        return;
    }
    let own = nix::unistd::gettid().as_raw();
    if WATCHED.iter().any(|id| id.load(Ordering::Relaxed) == own) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: everything is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as this function's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as this function's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The thread of this name.
fn thread(name: &str) -> i32 {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let found = tasks.filter_map(|task| {
        let path = task.unwrap().path();
        let comm = fs::read_to_string(path.join("comm")).unwrap();
        comm.starts_with(name)
            .then(|| path.file_name()?.to_str()?.parse().ok())?
    });
    found.last().unwrap_or_else(|| panic!("no thread {name}"))
}

/// Allocations of this thread, of the interrupt thread and of the thread that switches, in `work`.
fn allocations(work: impl FnOnce()) -> u64 {
    let threads = [
        nix::unistd::gettid().as_raw(),
        thread("h10-irq"),
        thread("h10-nnc-turns"),
    ];
    let before = ALLOCATIONS.load(Ordering::SeqCst);
    for (place, id) in WATCHED.iter().zip(threads) {
        place.store(id, Ordering::SeqCst);
    }
    work();
    for place in &WATCHED {
        place.store(0, Ordering::SeqCst);
    }
    ALLOCATIONS.load(Ordering::SeqCst) - before
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

struct Running {
    tracer: Arc<Tracer>,
    runtime: Runtime,
    networks: [Configured; 2],
    _device: Device,
}

impl Running {
    /// Runs a frame of a network, by its number, over and over in the same memory.
    fn turns(&self) -> impl FnMut(usize) {
        let frames = self.networks.each_ref();
        let mut frames = frames.map(|network| Some(network.frame().unwrap()));
        move |of| {
            let frame = frames[of].take().unwrap();
            frames[of] = Some(run(&self.networks[of], frame));
        }
    }
}

fn running() -> Running {
    let bench = Bench::new(Way::Local, "default,mode=nnc,timing=off,loaded=5.2.0", "");
    let tracer = Arc::new(Tracer::new(bench.transport()));
    let device = Device::with_mode(tracer.clone() as Arc<dyn Transport>, Some(Mode::Nnc)).unwrap();
    let runtime = Runtime::new(&device.nnc().unwrap()).unwrap();
    let configure = |hef: Hef| {
        let model = runtime.load(&hef, "").unwrap();
        model.configure(&ConfigureOptions::default()).unwrap()
    };
    Running {
        networks: [
            configure(nnc::worked_example()),
            configure(nnc::two_contexts()),
        ],
        tracer,
        runtime,
        _device: device,
    }
}

fn run(network: &Configured, frame: Frame) -> Frame {
    network.run(frame, &soon()).unwrap()
}

const FRAMES: u64 = 200;

#[test]
fn a_frame_that_is_polled_for_costs_a_register_write_a_stream_and_nothing_else() {
    let Running {
        tracer,
        runtime,
        networks: [network, other],
        _device,
    } = running();
    // Alone on the chip no frame needs to interrupt anybody.
    other.close().unwrap();
    runtime.set_polling(true);
    let mut frame = Some(network.frame().unwrap());
    for _ in 0..3 {
        frame = Some(run(&network, frame.take().unwrap()));
    }
    let mut measured = || {
        let before = tracer.counts();
        let allocated = allocations(|| {
            for _ in 0..FRAMES {
                frame = Some(run(&network, frame.take().unwrap()));
            }
        });
        (tracer.counts() - before, allocated)
    };
    // A long wait looks at the registers, and on a busy machine one may last so long.
    let (cost, allocated) = (0..5)
        .map(|_| measured())
        .min_by_key(|(cost, _)| cost.reads())
        .unwrap();
    assert_eq!(cost.reads(), 0);
    assert_eq!(cost.writes(), 2 * FRAMES);
    assert_eq!((cost.maps, cost.unmaps), (0, 0));
    assert_eq!(allocated, 0);
}

#[test]
fn a_frame_by_interrupt_costs_at_most_four_reads_and_six_writes() {
    let running = running();
    let mut turn = running.turns();
    for _ in 0..3 {
        turn(0);
    }
    let before = running.tracer.counts();
    let allocated = allocations(|| {
        for _ in 0..FRAMES {
            turn(0);
        }
    });
    let cost = running.tracer.counts() - before;
    println!(
        "{FRAMES} frames: {} reads, {} writes",
        cost.reads(),
        cost.writes()
    );
    assert!(cost.reads() <= 4 * FRAMES, "{} reads", cost.reads());
    assert!(cost.writes() <= 6 * FRAMES, "{} writes", cost.writes());
    assert_eq!((cost.maps, cost.unmaps), (0, 0));
    assert_eq!(allocated, 0);
}

#[test]
fn a_switch_maps_nothing_and_allocates_nothing() {
    let running = running();
    let mut turn = running.turns();
    // What a frame costs without a switch.
    let mut alone = [(0, 0); 2];
    for (of, cost) in alone.iter_mut().enumerate() {
        for _ in 0..3 {
            turn(of);
        }
        let before = running.tracer.counts();
        for _ in 0..FRAMES {
            turn(of);
        }
        let counts = running.tracer.counts() - before;
        *cost = (counts.reads(), counts.writes());
    }
    for _ in 0..3 {
        turn(0);
        turn(1);
    }
    let before = running.tracer.counts();
    let allocated = allocations(|| {
        for _ in 0..FRAMES {
            turn(0);
            turn(1);
        }
    });
    let cost = running.tracer.counts() - before;
    let switches = 2 * FRAMES;
    let [one, two] = alone;
    let reads = (cost.reads() - one.0 - two.0) / switches;
    let writes = (cost.writes() - one.1 - two.1) / switches;
    println!("a switch: {reads} register reads, {writes} writes");
    assert_eq!((cost.maps, cost.unmaps), (0, 0));
    assert_eq!(allocated, 0);
    assert!(
        reads <= 60 && writes <= 40,
        "{reads} reads, {writes} writes"
    );
}

const MARK: &str = "NNC_COST_UNDER_STRACE";

/// What runs under strace: frames, then switches, between marks on standard error.
fn marked() {
    let running = running();
    let mut turn = running.turns();
    for of in [0, 1, 0, 1, 0, 0, 0] {
        turn(of);
    }
    eprintln!("{MARK} frames");
    for _ in 0..FRAMES {
        turn(0);
    }
    eprintln!("{MARK} end");
    turn(1);
    eprintln!("{MARK} switches");
    for _ in 0..FRAMES {
        turn(0);
        turn(1);
    }
    eprintln!("{MARK} end");
}

/// Starts itself again under strace.
#[test]
fn a_frame_by_interrupt_costs_at_most_six_system_calls() {
    if std::env::var_os(MARK).is_some() {
        return marked();
    }
    let Some(log) = strace::of_myself("a_frame_by_interrupt_costs_at_most_six_system_calls", MARK)
    else {
        return;
    };
    let threads = ["h10-irq", "h10-nnc-turns"];
    let frames = calls::between(&log, MARK, "frames", &threads);
    println!("{} system calls in {FRAMES} frames", frames.len());
    assert!(
        frames.len() <= usize::try_from(6 * FRAMES).unwrap(),
        "{} system calls in {FRAMES} frames, the first:\n{}",
        frames.len(),
        frames[..frames.len().min(40)].join("\n")
    );
    let switches = calls::between(&log, MARK, "switches", &threads);
    println!(
        "{} system calls in {} switches with a frame each",
        switches.len(),
        2 * FRAMES
    );
    let maps = |line: &&String| line.contains("mmap(") || line.contains("munmap(");
    assert_eq!(switches.iter().find(maps), None);
}

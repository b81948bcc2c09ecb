//! What a frame costs: register accesses, mappings, allocations, system calls. The frame is one input of 230,400 bytes
//! and eight outputs.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/hef/mod.rs"]
mod hef_support;
#[path = "support/mod.rs"]
mod support;

#[path = "support/calls.rs"]
mod calls;

#[path = "support/strace.rs"]
mod strace;

use std::sync::Arc;
use std::time::Duration;

use hailo_vfio::deadline::Deadline;
use hailo_vfio::device::Device;
use hailo_vfio::hef::{
    Body, Connection, Context, CoreOp, DataType, Direction, EdgeLayer, Hef, Layer,
    LayerQuantization, Order, Program, Shape,
};
use hailo_vfio::soc::Soc;
use hailo_vfio::soc::infer::{ConfigureOptions, Configured, Frame, Model};
use hailo_vfio::transport::Transport;
use hailo_vfio::transport::trace::Tracer;
use hef_support::model::{Description, Group};
use hef_support::random::Sample;
use support::{Bench, Way};

const OUTPUTS: u8 = 8;

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

fn layer(name: String, stream_index: u8, shape: Shape, direction: Direction) -> EdgeLayer {
    let layer = Layer {
        original_names: Vec::new(),
        name,
        network_index: 0,
        stream_index,
        engine: 0,
        shape,
        hw_shape: shape,
        data_type: DataType::Uint8,
        order: Order::Nhwc,
        transposed: false,
        core_bytes_per_buffer: 960,
        core_buffers_per_frame: 240,
        fifo_bytes: 0,
        feature_padding_payload: None,
        quantization: LayerQuantization::default(),
        nms: None,
        buffer: None,
    };
    EdgeLayer {
        direction,
        connection: Connection::Boundary,
        pad: None,
        body: Body::Plain(layer),
    }
}

/// A network with an input of 230,400 bytes and eight outputs of up to 100 KB.
fn network() -> Vec<u8> {
    let input = Shape::new(240, 320, 3);
    let mut layers = vec![layer("net/in".into(), 1, input, Direction::HostToDevice)];
    for output in 0..OUTPUTS {
        let shape = Shape::new(40, 32, 10 * (u32::from(output) + 1));
        let name = format!("net/out{output}");
        layers.push(layer(name, output + 1, shape, Direction::DeviceToHost));
    }
    let core = CoreOp {
        layout: None,
        networks: vec!["net".into()],
        config_channel_engines: vec![0],
        preliminary: Program::default(),
        contexts: vec![Context {
            name: String::new(),
            program: Program::default(),
            layers,
        }],
    };
    let group = Group {
        name: "net".into(),
        variants: vec![core],
        output_order: (0..OUTPUTS)
            .map(|output| format!("net/out{output}"))
            .collect(),
        flow: None,
        bottleneck_fps: 0.0,
        latency: 0.0,
        computational_ops: 0,
    };
    let sample = Sample {
        version: 3,
        description: Description {
            architecture: 103,
            proto_version: 1,
            compiler: (5, 2, 0),
            timestamp: 0,
            extensions: vec![0, 3, 12, 26],
            optional: vec![11],
            groups: vec![group],
        },
        config: Vec::new(),
        blobs: Vec::new(),
        proto_digest: true,
    };
    sample.file()
}

struct Running {
    tracer: Arc<Tracer>,
    device: Device,
    soc: Soc,
    _model: Model,
    configured: Configured,
}

fn running() -> Running {
    let bench = Bench::new(Way::Local, "default,timing=off,loaded=5.2.0,echo=7", "");
    let tracer = Arc::new(Tracer::new(bench.transport()));
    let device = Device::new(tracer.clone() as Arc<dyn Transport>).unwrap();
    let soc = device.soc().unwrap();
    let model = soc.load(&Hef::from_bytes(network()).unwrap()).unwrap();
    let configured = model.configure(&ConfigureOptions::default()).unwrap();
    assert_eq!(configured.inputs()[0].frame_bytes, 230_400);
    assert_eq!(configured.outputs().len(), usize::from(OUTPUTS));
    Running {
        tracer,
        device,
        soc,
        _model: model,
        configured,
    }
}

fn run(configured: &Configured, frame: Frame) -> Frame {
    configured.run(frame, &soon()).unwrap()
}

#[test]
fn a_frame_that_is_polled_for_reads_no_register_and_rings_twice() {
    let running = running();
    running.configured.vdevice().connection().set_polling(true);
    let mut frame = running.configured.frame().unwrap();
    for _ in 0..3 {
        frame = run(&running.configured, frame);
    }
    // Somebody else's session that the chip closes changes nothing.
    let other = running.soc.session(7, &soon()).unwrap();
    other.send(&[0xff; 8], &soon()).unwrap();
    other.receive(&mut [0; 8], &soon()).unwrap_err();
    other.close().unwrap();
    let mut frame = Some(frame);
    let mut measured = || {
        let before = running.tracer.counts();
        let interrupts = running.device.interrupt_counts();
        for _ in 0..100 {
            let idle = frame.take().unwrap();
            frame = Some(run(&running.configured, idle));
        }
        let quiet = running.device.interrupt_counts() == interrupts;
        (running.tracer.counts() - before, quiet)
    };
    // A wait of 200 ms looks at the registers, and on a busy machine one may last so long.
    let (cost, quiet) = (0..5)
        .map(|_| measured())
        .min_by_key(|(cost, _)| cost.reads())
        .unwrap();
    assert_eq!(cost.reads(), 0);
    assert_eq!(cost.writes(), 200, "one doorbell a direction and frame");
    assert_eq!((cost.maps, cost.unmaps), (0, 0));
    assert!(quiet, "an interrupt came");
}

#[test]
fn a_frame_by_interrupt_costs_at_most_nine_reads_and_nine_writes() {
    let running = running();
    let mut frame = running.configured.frame().unwrap();
    for _ in 0..3 {
        frame = run(&running.configured, frame);
    }
    let before = running.tracer.counts();
    let interrupts = running.device.interrupt_counts().interrupts;
    for _ in 0..100 {
        frame = run(&running.configured, frame);
    }
    let cost = running.tracer.counts() - before;
    let interrupts = running.device.interrupt_counts().interrupts - interrupts;
    assert!(cost.reads() <= 900, "{} reads in 100 frames", cost.reads());
    assert!(
        cost.writes() <= 900,
        "{} writes in 100 frames",
        cost.writes()
    );
    assert!(interrupts <= 202, "{interrupts} interrupts in 100 frames");
    assert_eq!((cost.maps, cost.unmaps), (0, 0));
    println!(
        "100 frames: {} reads, {} writes, {interrupts} interrupts",
        cost.reads(),
        cost.writes()
    );
}

#[test]
fn a_frame_allocates_nothing() {
    let running = running();
    running.configured.vdevice().connection().set_polling(true);
    let mut frame = Some(running.configured.frame().unwrap());
    for _ in 0..10 {
        frame = Some(run(&running.configured, frame.take().unwrap()));
    }
    let counts = allocation_counter::measure(|| {
        for _ in 0..100 {
            frame = Some(run(&running.configured, frame.take().unwrap()));
        }
    });
    assert_eq!(counts.count_total, 0);
}

const MARK: &str = "INFER_COST_UNDER_STRACE";
const FRAMES: usize = 100;

/// What runs under strace: sessions, then frames, between marks on standard error.
fn marked() {
    let running = running();
    let mut frame = running.configured.frame().unwrap();
    for _ in 0..3 {
        frame = run(&running.configured, frame);
    }
    eprintln!("{MARK} frames");
    for _ in 0..FRAMES {
        frame = run(&running.configured, frame);
    }
    eprintln!("{MARK} end");
    running.soc.connect().unwrap().close().unwrap();
    eprintln!("{MARK} session");
    running.soc.connect().unwrap().close().unwrap();
    eprintln!("{MARK} end");
}

/// Starts itself again under strace.
#[test]
fn a_frame_by_interrupt_costs_at_most_six_system_calls_and_a_session_twenty() {
    if std::env::var_os(MARK).is_some() {
        return marked();
    }
    let Some(log) = strace::of_myself(
        "a_frame_by_interrupt_costs_at_most_six_system_calls_and_a_session_twenty",
        MARK,
    ) else {
        return;
    };
    let frames = calls::between(&log, MARK, "frames", &["h10-irq"]);
    println!("{} system calls in {FRAMES} frames", frames.len());
    assert!(
        frames.len() <= 6 * FRAMES,
        "{} system calls in {FRAMES} frames, the first:\n{}",
        frames.len(),
        frames[..frames.len().min(40)].join("\n")
    );
    let session = calls::between(&log, MARK, "session", &["h10-irq"]);
    println!("{} system calls in a session's life", session.len());
    assert!(
        session.len() < 20,
        "{} calls:\n{}",
        session.len(),
        session.join("\n")
    );
}

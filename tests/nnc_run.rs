//! Networks in NNC mode on the software chip: what comes out is what the file's function says, whatever else happens.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/mod.rs"]
mod bench;
#[path = "support/nnc.rs"]
mod nnc;
#[path = "support/oracle.rs"]
mod oracle;
#[path = "support/hef/mod.rs"]
mod support;
#[path = "support/vectors.rs"]
mod vectors;

use std::sync::Arc;
use std::time::Duration;

use bench::{Bench, Way};
use hailo_vfio::ErrorKind;
use hailo_vfio::deadline::Deadline;
use hailo_vfio::device::Device;
use hailo_vfio::hef::Hef;
use hailo_vfio::infer::{Cache, ConfigureOptions, Left};
use hailo_vfio::nnc::infer::{Cause, InferError, Run, Runtime};
use hailo_vfio::spec::board::Mode;
use hailo_vfio::transport::Transport;
use nnc::{caches, ring, two_contexts, worked_example};
use oracle::Network;
use vectors::golden;

const PROFILE: &str = "default,mode=nnc,timing=off,loaded=5.2.0";

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

/// A chip that runs NNC firmware, and its runtime.
struct Chip {
    bench: Bench,
    device: Device,
    runtime: Runtime,
}

impl Chip {
    fn new(faults: &str) -> Self {
        Self::by(Way::Local, faults)
    }

    fn by(way: Way, faults: &str) -> Self {
        let bench = Bench::new(way, PROFILE, faults);
        let device = open(bench.transport());
        let runtime = Runtime::new(&device.nnc().unwrap()).unwrap();
        Self {
            bench,
            device,
            runtime,
        }
    }

    fn network(&self, hef: &Hef, options: &ConfigureOptions) -> Network {
        let model = self.runtime.load(hef, "").unwrap();
        Network::new(model.configure(options).unwrap(), hef, "")
    }

    /// Everything ends as it should, and the chip has nothing to say.
    fn close(self) {
        self.runtime.close().unwrap();
        self.bench.assert_no_complaints();
    }
}

fn open(transport: Arc<dyn Transport>) -> Device {
    Device::with_mode(transport, Some(Mode::Nnc)).unwrap()
}

fn options(batch: u16) -> ConfigureOptions {
    ConfigureOptions {
        batch,
        ..Default::default()
    }
}

fn sample(name: &str) -> Hef {
    Hef::open(golden("hef").join(name).with_extension("hef")).unwrap()
}

/// Waits in vain until what is told of the wait holds all of this: the chip takes its time to get there.
fn stands(mut run: Run, wanted: &[&str]) -> Run {
    let deadline = soon();
    loop {
        let error = run
            .wait(&Deadline::after(Duration::from_millis(20)))
            .unwrap_err();
        assert!(
            matches!(*error.reason, InferError::TimedOut { .. }),
            "{error}"
        );
        let text = error.to_string();
        let Left::Run(left) = error.left else {
            panic!("the run goes on");
        };
        if wanted.iter().all(|part| text.contains(part)) {
            return left;
        }
        assert!(!deadline.expired(), "{text}");
        run = left;
    }
}

#[test]
fn one_context_runs_frame_after_frame() {
    for way in [Way::Local, Way::Socket, Way::Apart] {
        let chip = Chip::by(way, "");
        let network = chip.network(&worked_example(), &options(1));
        network.run(50);
        chip.close();
    }
}

#[test]
fn two_contexts_hand_their_data_over_in_batches_of_any_size() {
    let hef = two_contexts();
    for batch in [1, 2, 5] {
        let chip = Chip::new("");
        let network = chip.network(&hef, &options(batch));
        network.run(40);
        // What does not fill a batch runs as well.
        network.run(1);
        network.run(u64::from(batch) + 1);
        chip.close();
    }
}

#[test]
fn rows_through_a_ring_in_memory_come_back() {
    let chip = Chip::new("");
    chip.network(&ring(), &options(1)).run(30);
    chip.close();
}

#[test]
fn caches_move_on_when_they_are_told_to() {
    let chip = Chip::new("");
    let mut moving = options(1);
    moving.cache = Cache::Moves;
    let network = chip.network(&caches(), &moving);
    for number in 0..20_u32 {
        let frame = network.frame(number.into());
        let frame = network.configured.run(frame, &soon()).unwrap();
        network.check(&frame);
        let offset = (number + 1) * 2 % 6;
        network.configured.set_cache_offset(offset).unwrap();
        network.oracle.move_caches(offset);
    }
    let still = chip.network(&caches(), &options(1));
    still.oracle.share_caches(&network.oracle);
    still.run(1);
    let none = chip.network(&worked_example(), &options(1));
    let error = none.configured.set_cache_offset(1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    chip.close();
}

#[test]
fn a_smaller_batch_on_request() {
    let chip = Chip::new("");
    let network = chip.network(&two_contexts(), &options(4));
    network.run(8);
    for batch in [1, 3, 4, 2] {
        network.configured.set_batch(batch).unwrap();
        network.run(12);
    }
    let error = network.configured.set_batch(5).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    chip.close();
}

/// `v3_multi_context` can't: nothing in it waits for what its first context hands over.
#[test]
fn every_sample_file_that_can_run_gives_its_function() {
    let names = [
        "v0_single",
        "v1_single",
        "v2_single",
        "v3_single",
        "v3_multi_network",
        "v3_mux",
        "v3_planes_nv12",
        "v3_quant_per_feature",
        "v3_flow_argmax",
        "v3_flow_yolov8",
        "v3_flow_yolov5seg",
    ];
    for name in names {
        println!("{name}");
        let chip = Chip::new("");
        chip.network(&sample(name), &options(1)).run(6);
        chip.close();
    }
}

#[test]
fn detections_in_bursts_that_nobody_can_count_are_refused() {
    let chip = Chip::new("");
    for name in ["v3_nms_bbox", "v3_nms_burst"] {
        let model = chip.runtime.load(&sample(name), "").unwrap();
        let error = model.configure(&options(1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
    chip.close();
}

#[test]
fn polling_looks_at_memory_only() {
    let chip = Chip::new("");
    chip.runtime.set_polling(true);
    let one = chip.network(&worked_example(), &options(1));
    one.run(20);
    let two = chip.network(&two_contexts(), &options(2));
    two.run(8);
    one.run(8);
    chip.close();
}

#[test]
fn networks_on_one_chip_take_turns_by_themselves() {
    let chip = Chip::new("");
    let (first, second) = (worked_example(), two_contexts());
    let networks = [
        chip.network(&first, &options(1)),
        chip.network(&second, &options(2)),
        chip.network(&sample("v3_single"), &options(1)),
    ];
    for _ in 0..5 {
        for network in &networks {
            network.run(3);
        }
    }
    // All at once.
    std::thread::scope(|scope| {
        for network in &networks {
            scope.spawn(|| network.run(60));
        }
    });
    chip.close();
}

#[test]
fn a_network_that_is_closed_leaves_the_others_running() {
    let chip = Chip::new("");
    let first = chip.network(&worked_example(), &options(1));
    let second = chip.network(&two_contexts(), &options(2));
    let third = chip.network(&worked_example(), &options(1));
    first.run(2);
    third.run(2);
    first.configured.close().unwrap();
    second.run(6);
    third.run(6);
    let fourth = chip.network(&two_contexts(), &options(1));
    fourth.run(6);
    third.configured.close().unwrap();
    second.configured.close().unwrap();
    fourth.run(2);
    chip.close();
}

#[test]
fn frames_of_a_network_that_is_closed_come_back() {
    let chip = Chip::new("");
    let network = chip.network(&two_contexts(), &options(4));
    let mut slow = options(4);
    slow.timeout = Some(Duration::from_secs(100));
    let waiting = chip.network(&two_contexts(), &slow);
    // Half a batch waits for the other half.
    let run = waiting.configured.submit(waiting.frame(1)).unwrap();
    let run = stands(run, &[]);
    waiting.configured.cancel().unwrap();
    let error = run.wait(&soon()).unwrap_err();
    assert!(
        matches!(*error.reason, InferError::Ended(Cause::Cancelled)),
        "{error}"
    );
    assert!(matches!(error.left, Left::Frame(_)));
    network.run(4);
    chip.close();
}

#[test]
fn more_frames_than_there_is_room_for_are_refused() {
    let chip = Chip::new("");
    let mut slow = options(2);
    slow.threshold = Some(60);
    let network = chip.network(&two_contexts(), &slow);
    let depth = network.configured.queue_depth();
    let runs: Vec<_> = (0..depth)
        .map(|_| {
            network
                .configured
                .submit(network.configured.frame().unwrap())
        })
        .collect::<Result<_, _>>()
        .unwrap();
    let error = network.configured.submit(network.frame(0)).unwrap_err();
    assert!(matches!(*error.reason, InferError::Full { .. }), "{error}");
    network.configured.set_threshold(1);
    for run in runs {
        network.check(&run.wait(&soon()).unwrap());
    }
    // A frame of something else is none of this network's.
    let other = chip.network(&sample("v3_single"), &options(1));
    let error = network.configured.submit(other.frame(0)).unwrap_err();
    assert!(matches!(*error.reason, InferError::BadFrame(_)), "{error}");
    chip.close();
}

#[test]
fn memory_full_at_any_chunk_leaves_what_was_there() {
    let first = worked_example();
    let second = two_contexts();
    for chunk in 0..5 {
        // Four chunks of the first network come before.
        let chip = Chip::new(&format!("nnc-status=0x4013007a@33+{}", 4 + chunk));
        let network = chip.network(&first, &options(1));
        network.run(3);
        let model = chip.runtime.load(&second, "").unwrap();
        let error = model.configure(&options(2)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
        network.run(3);
        let other = Network::new(model.configure(&options(2)).unwrap(), &second, "");
        other.run(4);
        network.run(3);
        chip.close();
    }
}

#[test]
fn other_failures_of_a_configuration_are_undone() {
    let second = two_contexts();
    for fault in [
        "nnc-status=0x40130014@32+1",
        "nnc-status=0x4013006e@33+6",
        "nnc-drop@32+1",
        "nnc-late=1200@33+5",
        "nnc-wrong-opcode@33+5",
    ] {
        let chip = Chip::new(fault);
        let network = chip.network(&worked_example(), &options(1));
        network.run(2);
        let model = chip.runtime.load(&second, "").unwrap();
        model.configure(&options(2)).unwrap_err();
        network.run(2);
        let other = Network::new(model.configure(&options(2)).unwrap(), &second, "");
        other.run(4);
        network.run(2);
        chip.runtime.close().unwrap();
    }
}

#[test]
fn an_activation_whose_answer_is_lost_or_refused_is_tried_again() {
    for fault in [
        "nnc-drop@37+1",
        "nnc-late=1200@37+1",
        "nnc-lose-irq@37+1",
        "nnc-status=0x4013003e@37+1",
    ] {
        let chip = Chip::new(fault);
        let network = chip.network(&worked_example(), &options(1));
        network.run(5);
        chip.runtime.close().unwrap();
    }
}

#[test]
fn an_action_that_fails_is_named_and_the_network_runs_again() {
    let chip = Chip::new("nnc-fail-action=3");
    let network = chip.network(&two_contexts(), &options(2));
    let other = chip.network(&worked_example(), &options(1));
    let runs: Vec<_> = (0..2)
        .map(|number| network.configured.submit(network.frame(number)).unwrap())
        .collect();
    for run in runs {
        let error = run.wait(&soon()).unwrap_err();
        let InferError::Ended(Cause::RunTime(failed)) = &*error.reason else {
            panic!("{error}");
        };
        assert_eq!((failed.network.as_str(), failed.action), ("net", 3));
        let text = error.to_string();
        assert!(text.contains("dynamic 0, action 3"), "{text}");
        assert!(matches!(error.left, Left::Frame(_)));
    }
    network.run(6);
    other.run(3);
    chip.close();
}

#[test]
fn a_channel_that_stops_is_shown_and_can_be_left() {
    for channel in [1, 16] {
        let chip = Chip::new(&format!("nnc-stop-channel={channel}"));
        let network = chip.network(&worked_example(), &options(1));
        let run = network.configured.submit(network.frame(1)).unwrap();
        let run = stands(run, &[&format!("channel {channel} (net/"), "available"]);
        network.configured.cancel().unwrap();
        run.wait(&soon()).unwrap_err();
        network.run(5);
        chip.runtime.close().unwrap();
    }
}

#[test]
fn a_lost_interrupt_of_a_frame_costs_time_only() {
    let chip = Chip::new("nnc-lose-boundary-irq");
    let network = chip.network(&worked_example(), &options(1));
    network.run(5);
    chip.close();
}

#[test]
fn a_wait_that_never_ends_is_explained() {
    let chip = Chip::new("nnc-stuck-wait");
    let network = chip.network(&two_contexts(), &options(1));
    let run = network.configured.submit(network.frame(1)).unwrap();
    let run = stands(run, &["is preliminary, action 1", "channel 1 "]);
    network.configured.cancel().unwrap();
    run.wait(&soon()).unwrap_err();
    network.run(3);
    chip.close();
}

#[test]
fn a_network_that_keeps_the_core_from_others_is_given_up_and_explained() {
    let chip = Chip::new("nnc-stuck-wait");
    let network = chip.network(&two_contexts(), &options(1));
    let other = chip.network(&worked_example(), &options(1));
    let run = network.configured.submit(network.frame(1)).unwrap();
    // Until it has the core: where both wait, the other one's turn comes first.
    let run = stands(run, &["is preliminary, action 1"]);
    other.run(1);
    let error = run.wait(&soon()).unwrap_err().to_string();
    let reason = "no frame came or went in 10 s; the last action done is preliminary";
    assert!(error.contains(reason), "{error}");
    network.run(3);
    other.run(3);
    chip.close();
}

#[test]
fn a_reset_of_the_core_in_the_middle_of_frames_is_survived() {
    let chip = Chip::new("nnc-stuck-wait");
    let network = chip.network(&two_contexts(), &options(1));
    let run = network.configured.submit(network.frame(1)).unwrap();
    let run = stands(run, &["is preliminary, action 1"]);
    chip.device.nnc().unwrap().reset_core().unwrap();
    let error = run.wait(&soon()).unwrap_err();
    assert!(
        matches!(&*error.reason, InferError::Ended(Cause::Closed { .. })),
        "{error}"
    );
    network.run(5);
    chip.runtime.close().unwrap();
}

#[test]
fn a_network_in_trouble_is_no_reason_to_refuse_another() {
    let chip = Chip::new("nnc-stuck-wait");
    let network = chip.network(&two_contexts(), &options(1));
    let run = network.configured.submit(network.frame(1)).unwrap();
    let run = stands(run, &["is preliminary, action 1"]);
    // Nobody looks why its frame does not come before the next network is brought to the chip.
    chip.device.nnc().unwrap().reset_core().unwrap();
    let other = chip.network(&worked_example(), &options(1));
    let error = run.wait(&soon()).unwrap_err();
    assert!(
        matches!(&*error.reason, InferError::Ended(Cause::Closed { .. })),
        "{error}"
    );
    other.run(3);
    network.run(3);
    chip.runtime.close().unwrap();
}

#[test]
fn what_stops_all_inference_stops_it_until_the_runtime_is_opened_again() {
    for event in [3, 13] {
        let chip = Chip::new(&format!("nnc-event={event}@37+1"));
        let network = chip.network(&worked_example(), &options(1));
        let run = network.configured.submit(network.frame(1));
        let failed = match run {
            Ok(run) => loop_until_stopped(&network, run),
            Err(error) => error,
        };
        assert!(
            matches!(&*failed.reason, InferError::Ended(Cause::Stopped(_))),
            "{failed}"
        );
        network.configured.submit(network.frame(2)).unwrap_err();
        drop(network);
        chip.runtime.close().unwrap();
        let runtime = Runtime::new(&chip.device.nnc().unwrap()).unwrap();
        let model = runtime.load(&worked_example(), "").unwrap();
        let configured = model.configure(&options(1)).unwrap();
        Network::new(configured, &worked_example(), "").run(3);
        runtime.close().unwrap();
    }
}

#[test]
fn firmware_that_is_silent_keeps_the_memory_that_it_may_use() {
    let bench = Bench::new(Way::Local, PROFILE, "nnc-drop@37+2:always");
    let tracer = Arc::new(hailo_vfio::transport::trace::Tracer::new(bench.transport()));
    let device = open(tracer.clone());
    let runtime = Runtime::new(&device.nnc().unwrap()).unwrap();
    let mapped = || tracer.counts().maps - tracer.counts().unmaps;
    let before = mapped();
    let model = runtime.load(&worked_example(), "").unwrap();
    let network = Network::new(model.configure(&options(1)).unwrap(), &worked_example(), "");
    network.run(3);
    let error = model.configure(&options(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    let error = network.configured.submit(network.frame(1)).unwrap_err();
    assert!(
        matches!(&*error.reason, InferError::Ended(Cause::Stopped(_))),
        "{error}"
    );
    drop((error, network, model));
    runtime.close().unwrap();
    assert!(mapped() > before);
}

/// Frames may come through before the chip tells.
fn loop_until_stopped(network: &Network, mut run: Run) -> hailo_vfio::nnc::infer::RunError {
    loop {
        let frame = match run.wait(&soon()) {
            Ok(frame) => frame,
            Err(error) => return error,
        };
        run = match network.configured.submit(frame) {
            Ok(run) => run,
            Err(error) => return error,
        };
    }
}

#[test]
fn a_device_that_leaves_the_bus_in_a_switch_ends_all_frames() {
    // Accesses to the registers until the networks run, from a chip on which nothing happens.
    let (first, second) = (worked_example(), two_contexts());
    for more in [20, 45, 70, 95, 120, 250] {
        let bench = Bench::new(Way::Local, PROFILE, "");
        let tracer = Arc::new(hailo_vfio::transport::trace::Tracer::new(bench.transport()));
        let device = open(tracer.clone());
        let runtime = Runtime::new(&device.nnc().unwrap()).unwrap();
        let networks: Vec<Network> = [&first, &second]
            .map(|hef| {
                let model = runtime.load(hef, "").unwrap();
                Network::new(model.configure(&options(1)).unwrap(), hef, "")
            })
            .into();
        let counts = tracer.counts();
        let accesses = counts.reads() + counts.writes() + more;
        drop(networks);
        runtime.close().unwrap();
        drop((device, tracer));

        let chip = Chip::new(&format!("all-ones-after={accesses}"));
        let networks = [
            chip.network(&first, &options(1)),
            chip.network(&second, &options(1)),
        ];
        let failed = networks.iter().cycle().take(40).any(|network| {
            let run = network.configured.submit(network.frame(1));
            match run.and_then(|run| run.wait(&soon())) {
                Ok(frame) => {
                    network.check(&frame);
                    false
                }
                Err(error) => {
                    let shown = error.into_error("sim", "a frame failed");
                    assert_eq!(shown.kind(), ErrorKind::Gone, "{shown:?}");
                    true
                }
            }
        });
        assert!(failed, "the device went after {accesses} accesses");
    }
}

#[test]
fn the_core_alone_is_measured_while_others_wait() {
    let chip = Chip::new("");
    let network = chip.network(&worked_example(), &options(1));
    network.run(3);
    let measured = network.configured.benchmark().unwrap();
    assert!(measured.frames > 0 && measured.cycles > 0, "{measured:?}");
    network.run(3);
    chip.close();
}

#[test]
fn one_runtime_at_a_time() {
    let chip = Chip::new("");
    let again = Runtime::new(&chip.device.nnc().unwrap()).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Busy);
    let device = &chip.device;
    chip.runtime.close().unwrap();
    Runtime::new(&device.nnc().unwrap())
        .unwrap()
        .close()
        .unwrap();
}

//! Breakpoints on the software chip in NNC mode: the core stops where it is told, the host hears where that is in words
//! of its own plan, and nothing is lost.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/mod.rs"]
mod bench;
#[path = "support/nnc.rs"]
mod nnc;
#[path = "support/oracle.rs"]
mod oracle;
#[path = "support/hef/mod.rs"]
mod support;

use std::time::Duration;

use bench::{Bench, Way};
use hailo_vfio::ErrorKind;
use hailo_vfio::deadline::Deadline;
use hailo_vfio::device::Device;
use hailo_vfio::hef::Hef;
use hailo_vfio::infer::{ConfigureOptions, Left};
use hailo_vfio::nnc::infer::{Breakpoint, Reached, Runtime, StopAt};
use hailo_vfio::spec::board::Mode;
use hailo_vfio::spec::nnc::switch::BreakpointState;
use nnc::{two_contexts, worked_example};
use oracle::Network;

const PROFILE: &str = "default,mode=nnc,timing=off,loaded=5.2.0";

/// The first dynamic context, as the firmware counts.
const DYNAMIC: u16 = 3;

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

fn briefly() -> Deadline {
    Deadline::after(Duration::from_millis(100))
}

fn running(way: Way, faults: &str) -> (Bench, Device, Runtime) {
    let bench = Bench::new(way, PROFILE, faults);
    let device = Device::with_mode(bench.transport(), Some(Mode::Nnc)).unwrap();
    let runtime = Runtime::new(&device.nnc().unwrap()).unwrap();
    (bench, device, runtime)
}

fn network(runtime: &Runtime, hef: &Hef, batch: u16) -> Network {
    let options = ConfigureOptions {
        batch,
        ..Default::default()
    };
    let model = runtime.load(hef, "").unwrap();
    Network::new(model.configure(&options).unwrap(), hef, "")
}

fn at(context: u16, action: u16) -> StopAt {
    StopAt {
        context,
        action: Some(action),
        batch: None,
    }
}

fn reached(breakpoint: &Breakpoint) -> Reached {
    breakpoint.wait(&soon()).unwrap().expect("it is reached")
}

#[test]
fn the_core_stops_where_it_is_told_and_goes_on() {
    for way in [Way::Local, Way::Socket, Way::Apart] {
        let (bench, _device, runtime) = running(way, "");
        let network = network(&runtime, &two_contexts(), 1);
        let place = at(DYNAMIC + 1, 2);
        let breakpoint = network.configured.set_breakpoint(place).unwrap();
        assert_eq!(breakpoint.place(), place);
        assert_eq!(breakpoint.state().unwrap(), BreakpointState::Waiting);
        assert_eq!(breakpoint.wait(&briefly()).unwrap(), None);
        for batch in 0..3 {
            let run = network
                .configured
                .submit(network.frame(batch.into()))
                .unwrap();
            let found = reached(&breakpoint);
            assert_eq!((found.network.as_str(), found.batch), ("net", batch));
            assert_eq!((found.context, found.action), (DYNAMIC + 1, 2));
            let unit = network.configured.plan().locate(DYNAMIC + 1, 2).unwrap();
            assert_eq!(found.place, Some(unit.to_string()));
            assert_eq!(breakpoint.state().unwrap(), BreakpointState::Reached);
            // Told once; the frame stays where it is, and a wait for it says why.
            assert_eq!(breakpoint.wait(&briefly()).unwrap(), None);
            let error = run.wait(&briefly()).unwrap_err();
            let why = format!("the core stands at a breakpoint: {unit}");
            assert!(error.to_string().contains(&why), "{error}");
            let Left::Run(run) = error.left else {
                panic!("the run goes on");
            };
            breakpoint.resume().unwrap();
            network.check(&run.wait(&soon()).unwrap());
        }
        breakpoint.clear().unwrap();
        network.run(10);
        runtime.close().unwrap();
        bench.assert_no_complaints();
    }
}

#[test]
fn one_batch_or_every_action_of_a_context() {
    let (bench, _device, runtime) = running(Way::Local, "");
    let network = network(&runtime, &two_contexts(), 2);
    // Two frames are one batch, however late the second one comes.
    network.configured.set_timeout(Duration::from_secs(20));
    let second = StopAt {
        batch: Some(1),
        ..at(DYNAMIC, 0)
    };
    let second = network.configured.set_breakpoint(second).unwrap();
    network.run(2); // Nothing stops the first one.
    let run = network.configured.submit(network.frame(1)).unwrap();
    let other = network.configured.submit(network.frame(2)).unwrap();
    assert_eq!(reached(&second).batch, 1);
    let everywhere = StopAt {
        action: None,
        ..at(DYNAMIC + 1, 0)
    };
    let everywhere = network.configured.set_breakpoint(everywhere).unwrap();
    second.clear().unwrap();
    let context = &network.configured.plan().contexts[usize::from(DYNAMIC) + 1];
    let mut actions = Vec::new();
    while actions.last() != Some(&(context.units.len() - 1)) {
        let found = reached(&everywhere);
        assert_eq!(found.context, DYNAMIC + 1);
        actions.push(usize::from(found.action));
        everywhere.resume().unwrap();
    }
    actions.dedup(); // A block stops at each of its actions.
    assert_eq!(actions, (0..context.units.len()).collect::<Vec<_>>());
    network.check(&run.wait(&soon()).unwrap());
    network.check(&other.wait(&soon()).unwrap());
    drop(everywhere);
    network.run(4);
    runtime.close().unwrap();
    bench.assert_no_complaints();
}

#[test]
fn a_breakpoint_stays_with_its_network_when_numbers_change() {
    let (bench, device, runtime) = running(Way::Local, "");
    let hef = two_contexts();
    let first = network(&runtime, &hef, 1);
    let second = network(&runtime, &hef, 1);
    let of_first = first.configured.set_breakpoint(at(DYNAMIC, 1)).unwrap();
    let of_second = second.configured.set_breakpoint(at(DYNAMIC, 2)).unwrap();
    let stops = |network: &Network, breakpoint: &Breakpoint, action| {
        let run = network.configured.submit(network.frame(1)).unwrap();
        assert_eq!(reached(breakpoint).action, action);
        breakpoint.resume().unwrap();
        network.check(&run.wait(&soon()).unwrap());
    };
    stops(&first, &of_first, 1);
    stops(&second, &of_second, 2);
    first.configured.close().unwrap();
    let gone = of_first.wait(&soon()).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::BadInput);
    assert!(format!("{gone:?}").contains("closed"), "{gone:?}");
    stops(&second, &of_second, 2);
    // The core forgets them with everything else, and gets them again. What was told before is of no use then.
    while of_second.wait(&briefly()).unwrap().is_some() {}
    device.nnc().unwrap().reset_core().unwrap();
    stops(&second, &of_second, 2);
    drop(of_first);
    of_second.clear().unwrap();
    second.run(3);
    runtime.close().unwrap();
    drop(bench);
}

#[test]
fn places_that_there_are_not_are_refused() {
    let (bench, _device, runtime) = running(Way::Local, "");
    let network = network(&runtime, &worked_example(), 1);
    for (place, expected) in [
        (at(0, 0), "its context is 1 to 3, not 0"),
        (at(4, 0), "its context is 1 to 3, not 4"),
        (at(3, 99), "there is no number 99"),
    ] {
        let error = network.configured.set_breakpoint(place).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadInput);
        assert!(format!("{error:?}").contains(expected), "{error:?}");
    }
    runtime.close().unwrap();
    bench.assert_no_complaints();
}

#[test]
fn dropping_one_lets_the_core_go_on() {
    let (bench, _device, runtime) = running(Way::Local, "");
    let network = network(&runtime, &worked_example(), 1);
    let breakpoint = network.configured.set_breakpoint(at(2, 1)).unwrap();
    let run = network.configured.submit(network.frame(1)).unwrap();
    assert_eq!(reached(&breakpoint).context, 2);
    drop(breakpoint);
    network.check(&run.wait(&soon()).unwrap());
    runtime.close().unwrap();
    bench.assert_no_complaints();
}

#[test]
fn what_ends_the_runtime_ends_the_wait() {
    let (bench, _device, runtime) = running(Way::Local, "");
    let network = network(&runtime, &two_contexts(), 1);
    let breakpoint = network.configured.set_breakpoint(at(DYNAMIC, 1)).unwrap();
    let run = network.configured.submit(network.frame(1)).unwrap();
    reached(&breakpoint);
    // With the core standing there.
    runtime.close().unwrap();
    assert!(breakpoint.wait(&soon()).is_err());
    assert!(run.wait(&soon()).is_err());
    breakpoint.clear().unwrap();
    bench.assert_no_complaints();
}

#[test]
fn a_core_that_does_not_stand_there_can_not_be_told_to_go_on() {
    let (_bench, _device, runtime) = running(Way::Local, "");
    let network = network(&runtime, &worked_example(), 1);
    let breakpoint = network.configured.set_breakpoint(at(DYNAMIC, 1)).unwrap();
    let refused = breakpoint.resume().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Protocol, "{refused}");
    let run = network.configured.submit(network.frame(1)).unwrap();
    reached(&breakpoint);
    breakpoint.resume().unwrap();
    network.check(&run.wait(&soon()).unwrap());
}

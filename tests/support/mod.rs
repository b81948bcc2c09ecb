//! What the behaviour suites share: a chip, a firmware set, and each way to reach the chip.

#![allow(dead_code, reason = "each suite uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "a test may panic"
)]

pub(crate) mod apart;

use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use hailo_vfio::boot::{BootOptions, FirmwareSet};
use hailo_vfio::device::Device;
use hailo_vfio::model::mkfw::MakeFirmware;
use hailo_vfio::model::server::Server;
use hailo_vfio::model::{Chip, FaultPlan};
use hailo_vfio::transport::Transport;
use hailo_vfio::transport::local::LocalTransport;
use hailo_vfio::transport::vfio_user::{Options, VfioUserTransport};
use nix::sys::eventfd::{EfdFlags, EventFd};

/// A firmware set in a folder that goes when this is dropped.
pub(crate) struct Set {
    /// The folder.
    pub(crate) dir: tempfile::TempDir,
    /// The set.
    pub(crate) set: FirmwareSet,
}

/// Writes a set and opens it.
pub(crate) fn firmware(spec: &MakeFirmware) -> Set {
    let dir = tempfile::tempdir().unwrap();
    spec.write(dir.path()).unwrap();
    let set = FirmwareSet::open(dir.path(), None).unwrap();
    Set { dir, set }
}

/// A chip with a profile and faults, by their texts.
pub(crate) fn chip(profile: &str, faults: &str) -> Arc<Chip> {
    let faults: FaultPlan = faults.parse().unwrap();
    Chip::new(profile.parse().unwrap(), faults).unwrap()
}

/// The ways to a chip: the same suite runs over each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// In this process.
    Local,
    /// Behind a vfio-user server on a socket.
    Socket,
    /// In this process, on a host without an IOMMU, an interrupt and coherent caches.
    Apart,
}

/// A chip and how it is reached.
pub(crate) struct Bench {
    /// The chip.
    pub(crate) chip: Arc<Chip>,
    /// How it is reached.
    pub(crate) way: Way,
    server: Option<Serving>,
}

/// A server thread that ends when this is dropped.
struct Serving {
    path: std::path::PathBuf,
    stop: EventFd,
    thread: Option<JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

impl Serving {
    fn start(chip: Arc<Chip>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("chip.sock");
        let server = Server::bind(&path, chip).unwrap();
        let stop = EventFd::from_flags(EfdFlags::EFD_CLOEXEC).unwrap();
        let stopper = stop.as_fd().try_clone_to_owned().unwrap();
        let thread = std::thread::spawn(move || server.serve(stopper.as_fd()).unwrap());
        Self {
            path,
            stop,
            thread: Some(thread),
            _dir: dir,
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.write(1).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Bench {
    /// A chip behind `way`.
    pub(crate) fn new(way: Way, profile: &str, faults: &str) -> Self {
        let chip = chip(profile, faults);
        let server = (way == Way::Socket).then(|| Serving::start(chip.clone()));
        Self { chip, way, server }
    }

    /// A new connection to the chip.
    pub(crate) fn transport(&self) -> Arc<dyn Transport> {
        match self.way {
            Way::Local => Arc::new(LocalTransport::open("sim", self.chip.clone()).unwrap()),
            Way::Apart => {
                let local = LocalTransport::open("sim", self.chip.clone()).unwrap();
                Arc::new(apart::Apart::new(Arc::new(local), 1024))
            }
            Way::Socket => {
                let path = &self.server.as_ref().unwrap().path;
                Arc::new(VfioUserTransport::connect(path, Options::default()).unwrap())
            }
        }
    }

    /// The chip, opened.
    pub(crate) fn open(&self) -> Device {
        Device::new(self.transport()).unwrap()
    }

    /// Asserts that the host did nothing wrong in the chip's eyes.
    pub(crate) fn assert_no_complaints(&self) {
        assert_eq!(
            self.chip.complaints(),
            Vec::<String>::new(),
            "{:?}",
            self.way
        );
    }
}

/// Runs a test over each way.
pub(crate) fn each_way(test: impl Fn(Way)) {
    for way in [Way::Local, Way::Socket] {
        test(way);
    }
}

/// The SHA-256 of a file, in hexadecimal.
pub(crate) fn sha256(path: &std::path::Path) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(std::fs::read(path).unwrap())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Boot options with the given number of retries.
pub(crate) fn retries(retries: u32) -> BootOptions {
    BootOptions {
        retries,
        ..Default::default()
    }
}

//! The server on the chip's system: RPC over a stream, in each dialect that field firmware speaks.
//!
//! Written from the specification of the protocol; nothing is shared with the driver's side but layouts
//! ([`crate::spec::rpc`]). It is the same over a vDMA session and over a socket.
//!
//! | part | file |
//! |---|---|
//! | the server, what it stands on | here |
//! | one client: framing, faults, replies; requests that wait | `connection`; `window` |
//! | methods by number | `dispatch` |
//! | virtual devices, models, who holds what | `objects`; `network`, `configured` |
//! | inference: jobs, the NN core's time; what comes out | `infer`, `run`; [`output`] |
//! | device objects: who it is, logs, power | `device`, `power` |
//! | temperature, load; notifications | `sensors`, `notify` |
//! | the server behind TCP ports; on bytes in memory | [`listen`]; [`recorded`] |

mod configured;
mod connection;
mod device;
mod dispatch;
mod infer;
pub mod listen;
mod network;
mod notify;
mod objects;
pub mod output;
mod power;
pub mod recorded;
mod run;
mod sensors;
mod window;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::fault::FaultPlan;
use super::profile::Profile;
use super::service::Stream;
use crate::spec::board::Chip;
use crate::spec::firmware::Version;
use crate::spec::rpc::Dialect;
use connection::Connection;
use objects::Objects;
use power::Power;
use sensors::Sensors;

/// What the server stands on: the rest of the chip.
pub(super) trait System: Send + Sync {
    /// Notes what a client did that none may do.
    fn complain(&self, text: String);

    /// Reboots the system: every stream closes.
    fn reboot(&self);

    /// The server dies, and every stream with it; another one listens after `pause`.
    fn die(&self, pause: Duration);

    /// The log of the system control unit.
    fn control_log(&self) -> Vec<u8>;
}

/// What a server is made from.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) version: Version,
    pub(super) dialect: Dialect,
    pub(super) chip: Chip,
    /// Whether work takes the time it takes on a board.
    timing: bool,
    /// By how much every ordinary reply is held back.
    reply_delay: Duration,
    /// Whether outputs are inputs where their sizes agree.
    loopback: bool,
    /// Whether it has the vendor's defects.
    quirks: bool,
    /// Of the board, where it tells one.
    serial: Option<String>,
    /// Temperature of the idle chip in degrees Celsius.
    idle_temperature: f64,
    /// Whether the board has a power sensor.
    power_sensor: bool,
}

impl Settings {
    /// The server of firmware `version`; `None` for releases before 5.0, whose protocol is unknown.
    pub(super) fn new(profile: &Profile, version: Version) -> Option<Self> {
        let dialect = Dialect::of(version).or(match (version.major, version.minor) {
            (0..5, _) => None,
            (5, 0) => Some(Dialect::A),
            (5, 1) => Some(Dialect::C),
            _ => Some(Dialect::D),
        });
        Some(Self {
            version,
            dialect: dialect?,
            chip: profile.chip(),
            timing: profile.timing,
            reply_delay: profile.reply_delay,
            loopback: profile.loopback,
            quirks: profile.quirks,
            serial: profile.serial.clone(),
            idle_temperature: f64::from(profile.temperature) + 0.5,
            power_sensor: profile.power_sensor,
        })
    }
}

/// The server: one for each life of the system. It has no thread of its own; each client brings three.
pub(super) struct Server {
    settings: Settings,
    system: Box<dyn System>,
    faults: Arc<Mutex<FaultPlan>>,
    objects: Mutex<Objects>,
    /// A virtual device became free.
    freed: Condvar,
    sensors: Mutex<Sensors>,
    power: Mutex<Power>,
    /// When the NN core is free again.
    core_free: Mutex<Instant>,
    /// Length of the one echo buffer (a quirk); 0 where there is none.
    echo: Mutex<usize>,
    /// The system's log since it was last fetched.
    log: Mutex<String>,
    connections: AtomicU32,
    notifications: AtomicU32,
}

/// The lock, also where a thread panicked with it: what it guards is valid at every moment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    pub(super) fn new(
        settings: Settings,
        system: Box<dyn System>,
        faults: Arc<Mutex<FaultPlan>>,
    ) -> Arc<Self> {
        let server = Arc::new(Self {
            sensors: Mutex::new(Sensors::new(settings.idle_temperature, Instant::now())),
            system,
            faults,
            objects: Mutex::default(),
            freed: Condvar::new(),
            power: Mutex::default(),
            core_free: Mutex::new(Instant::now()),
            echo: Mutex::default(),
            log: Mutex::default(),
            connections: AtomicU32::new(0),
            notifications: AtomicU32::new(0),
            settings,
        });
        server.say(format_args!(
            "server of release {} started",
            server.settings.version
        ));
        server
    }

    /// Serves one client until it goes, or has to.
    pub(super) fn serve(self: &Arc<Self>, stream: Arc<dyn Stream>) {
        let id = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        self.say(format_args!("connection {id} opened"));
        Connection::new(self.clone(), stream, id).serve();
        lock(&self.objects).release(id);
        self.freed.notify_all();
        self.say(format_args!("connection {id} closed"));
    }

    /// A line for the system's log.
    fn say(&self, line: std::fmt::Arguments<'_>) {
        /// The log's file; more is cut off in front.
        const LONGEST: usize = 1 << 20;
        let mut log = lock(&self.log);
        if log.len() > LONGEST {
            log.clear();
        }
        log.push_str("hailort_server: ");
        log.push_str(&line.to_string());
        log.push('\n');
    }
}

//! The life of a session: CONNECT, two rings, CLOSE. What travels is others' business.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{ControlError, Hub};
use crate::deadline::Deadline;
use crate::dma::{Channel, Completion, DmaError};
use crate::irq::Sink;
use crate::spec::control::errno;
use crate::spec::session::{CONNECT_PAUSE, CONNECT_TRIES};
use crate::transport::TransportError;

/// Why a session is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// It was closed here.
    #[error("the session was closed")]
    Closed,
    /// The device closed it.
    #[error("the device closed the session")]
    ClosedByPeer,
    /// The device was lost, or reset.
    #[error("{0}")]
    Lost(String),
    /// A transfer failed.
    #[error("a transfer failed: {0}")]
    Failed(String),
    /// The peer broke the protocol.
    #[error("the device broke the protocol: {0}")]
    Protocol(String),
    /// A transfer that can't be taken back did not complete in time.
    #[error("{what} did not complete in {:.1} s", .waited.as_secs_f64())]
    TimedOut {
        /// What.
        what: &'static str,
        /// How long it was awaited.
        waited: Duration,
    },
}

impl From<DmaError> for Cause {
    fn from(error: DmaError) -> Self {
        match error {
            DmaError::Closed { .. } => Self::ClosedByPeer,
            DmaError::Transport(
                error @ (TransportError::Gone { .. } | TransportError::Closed(_)),
            ) => Self::Lost(error.to_string()),
            other => Self::Failed(other.to_string()),
        }
    }
}

/// Why a session could not be opened, or an operation on it failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// Nobody listens on the port.
    #[error("nobody listens on port {0}")]
    Refused(u16),
    /// The device has no room for the session now.
    #[error("port {port} is busy: the device refused {tries} times")]
    Busy {
        /// Which port.
        port: u16,
        /// How often it was tried.
        tries: u32,
    },
    /// The mailbox's failure.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The rings' failure.
    #[error(transparent)]
    Dma(#[from] DmaError),
    /// The session is over.
    #[error(transparent)]
    Over(#[from] Cause),
    /// Not complete yet; what is in flight stays so.
    #[error("{what} is not complete after {:.1} s", .waited.as_secs_f64())]
    TimedOut {
        /// What was awaited.
        what: &'static str,
        /// How long.
        waited: Duration,
    },
}

/// One open session, without its rings: those are its user's, under the user's lock.
#[derive(Debug)]
pub(super) struct Pair {
    hub: Arc<Hub>,
    port: u16,
    channels: u32,
    life: u32,
    closed: AtomicBool,
}

/// The rings of a session.
#[derive(Debug)]
pub(super) struct Rings {
    pub(super) to_device: Channel,
    pub(super) from_device: Channel,
}

impl Pair {
    /// Opens a session on `port`: tries again while the device is busy.
    pub(super) fn connect(
        hub: &Arc<Hub>,
        port: u16,
        deadline: &Deadline,
    ) -> Result<(Self, Rings), SessionError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match Self::try_connect(hub, port) {
                Ok(Some(open)) => return Ok(open),
                Ok(None) => {}
                Err(SessionError::Control(ControlError::Refused { status, .. }))
                    if status == errno::AGAIN => {}
                Err(SessionError::Control(ControlError::Refused { status, .. }))
                    if status == errno::CONNECTION_REFUSED =>
                {
                    return Err(SessionError::Refused(port));
                }
                Err(error) => return Err(error),
            }
            if tries == CONNECT_TRIES || deadline.expired() {
                return Err(SessionError::Busy { port, tries });
            }
            std::thread::sleep(CONNECT_PAUSE.min(deadline.remaining()));
        }
    }

    /// `None` where the device closed a session while this one was started: it may have been this one, and
    /// that would not show in its registers.
    fn try_connect(hub: &Arc<Hub>, port: u16) -> Result<Option<(Self, Rings)>, SessionError> {
        let lists = (hub.list()?, hub.list()?);
        let closes = hub.interrupts().closes();
        // Held to the end: a session that is being closed must not free channels that this one gets.
        let mut mailbox = hub.mailbox();
        let connected = mailbox.connect(hub.interrupts(), port, hub.busy());
        let (to_device, from_device) = match connected {
            Ok(channels) => channels,
            Err(error) => {
                hub.put_list(Some(lists.0));
                hub.put_list(Some(lists.1));
                return Err(error.into());
            }
        };
        let channels = 1 << to_device | 1 << from_device;
        hub.take_channels(channels);
        let pair = Self {
            hub: hub.clone(),
            port,
            channels,
            // Before the mailbox is free: a reset takes it.
            life: hub.life(),
            closed: AtomicBool::new(false),
        };
        drop(mailbox);
        let started = Self::start(hub, (to_device, from_device), lists);
        match started {
            Ok(rings) if hub.interrupts().closes() == closes => Ok(Some((pair, rings))),
            Ok(rings) => {
                pair.close(rings, &Cause::Closed).1?;
                Ok(None)
            }
            Err(error) => {
                pair.say_close()?;
                Err(error.into())
            }
        }
    }

    fn start(
        hub: &Arc<Hub>,
        channels: (u32, u32),
        lists: (crate::dma::DescriptorList, crate::dma::DescriptorList),
    ) -> Result<Rings, DmaError> {
        let (transport, options) = (hub.transport(), hub.options());
        let mut rings = Rings {
            to_device: Channel::with_list(transport, channels.0, options, lists.0)?,
            from_device: Channel::with_list(transport, channels.1, options, lists.1)?,
        };
        for channel in [&rings.to_device, &rings.from_device] {
            hub.interrupts().clear_channel(channel.number());
        }
        for ring in [&mut rings.to_device, &mut rings.from_device] {
            ring.start()?;
            ring.note_peer()?;
        }
        Ok(rings)
    }

    pub(super) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Has `sink` called for the session's channels.
    pub(super) fn register(&self, sink: Arc<dyn Sink>) {
        self.hub.interrupts().register(self.channels, sink.clone());
        if self.is_of_an_earlier_life() {
            sink.lost("the function was reset"); // Before the sink was there to be told.
        }
    }

    /// Ends that. The caller holds no lock that the sink takes.
    pub(super) fn unregister(&self) {
        self.hub.interrupts().unregister(self.channels);
    }

    /// Whether the function was reset since.
    pub(super) fn is_of_an_earlier_life(&self) -> bool {
        self.life != self.hub.life()
    }

    /// Stops both rings, then tells the device; gives back what was in flight, to the device and from it.
    /// `cause` is why: a device that is lost is not spoken to.
    pub(super) fn close(
        &self,
        mut rings: Rings,
        cause: &Cause,
    ) -> ([Vec<Completion>; 2], Result<(), SessionError>) {
        if self.is_of_an_earlier_life() {
            let back = [rings.to_device.was_reset(), rings.from_device.was_reset()];
            self.keep(rings);
            return (back, Ok(()));
        }
        let mut failed = None;
        let back = [&mut rings.to_device, &mut rings.from_device].map(|ring| {
            ring.stop().unwrap_or_else(|error| {
                failed = Some(error);
                Vec::new()
            })
        });
        self.keep(rings);
        let said = match (cause, failed) {
            (Cause::Lost(_), _) => {
                self.hub.free_channels(self.channels);
                Ok(())
            }
            (_, Some(error)) => self.say_close().and(Err(error.into())),
            (_, None) => self.say_close(),
        };
        (back, said)
    }

    fn keep(&self, rings: Rings) {
        for ring in [rings.to_device, rings.from_device] {
            self.hub.put_list(ring.into_list());
        }
    }

    /// Sends CLOSE, once. The channels stay marked in use where that fails.
    fn say_close(&self) -> Result<(), SessionError> {
        if self.closed.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let mut mailbox = self.hub.mailbox();
        if self.is_of_an_earlier_life() {
            return Ok(()); // Reset while this waited for the mailbox.
        }
        mailbox.close(self.hub.interrupts(), self.channels)?;
        self.hub.free_channels(self.channels);
        Ok(())
    }
}

//! Sessions as the driver on the chip keeps them: pairs of channels, what is posted on them, their end.
//!
//! A session is channel n and channel 16 + n. At CONNECT the driver starts its sides of both, on lists of 65,536
//! descriptors in DRAM; a service of the system then posts buffers, to be filled by what the host writes or to be
//! read by it. The pages of a buffer follow from its length: all full but the last. So the model keeps the buffers
//! and counts descriptors, as the registers of the device side show them, but does not write them out.
//!
//! Source: inferred from the host's side of the protocol (vendor hailort-drivers v5.3.0, `linux/pcie/src/soc.c`);
//! unconfirmed.

mod posted;

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use super::core::Core;
use super::fault::Fault;
use super::service::Service;
use super::soc::Settings;
use super::spare::Spare;
use crate::spec::control::{Response, code, errno, software};
use crate::spec::firmware::Version;
use crate::spec::session::{MAX_SESSIONS, PAGE, port};
use crate::spec::vdma_bar::FIRST_FROM_DEVICE;

/// Sessions at a time: one channel of each direction for each.
pub(super) const PAIRS: usize = MAX_SESSIONS;
/// From the host to the chip, as an index.
pub(super) const TO_CHIP: usize = 0;
/// From the chip to the host, as an index.
pub(super) const TO_HOST: usize = 1;

/// Where the driver keeps its lists, one after the other. Source: any place in DRAM will do.
const LISTS: u64 = 0x1_4000_0000;
const LIST_BYTES: u64 = 0x10_0000;

/// The session is closed, from whichever side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone;

/// One session, never to be confused with a later one of the same channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SessionId {
    pub(super) pair: usize,
    number: u64,
}

/// A buffer of the chip with its place in the ring.
#[derive(Debug)]
struct Posted {
    /// Empty while the engine has it.
    bytes: Vec<u8>,
    len: usize,
    moved: usize,
    /// Descriptors made available.
    given: u32,
}

/// One direction.
#[derive(Debug, Default)]
struct Way {
    posted: VecDeque<Posted>,
    done: VecDeque<Vec<u8>>,
    /// The host started its side.
    started: bool,
    /// CLOSE came for it.
    closed: bool,
    /// The two ends cut their transfers differently, and bytes flow on: so many of the host's descriptor are moved.
    adrift: Option<usize>,
}

#[derive(Debug)]
struct Session {
    number: u64,
    page: u32,
    ways: [Way; 2],
    spare: Spare,
    /// Both ends take part.
    open: bool,
    /// To be closed by the chip as soon as the host has started its sides: before that nobody would notice.
    doomed: bool,
}

/// A part of a posted buffer, for the engine.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) id: SessionId,
    pub(super) way: usize,
    pub(super) bytes: Vec<u8>,
    /// Bytes that moved already.
    pub(super) at: usize,
    pub(super) page: usize,
    /// Where the two ends cut differently.
    pub(super) drift: Option<Drift>,
}

/// A part whose pages are not the host's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drift {
    /// Bytes of the host's first descriptor that moved already.
    pub(super) taken: usize,
    /// Where in the part the descriptors end that are available.
    pub(super) limit: usize,
}

/// All sessions, and who listens.
#[derive(Debug)]
pub(super) struct Sessions {
    pairs: Vec<Option<Session>>,
    next: u64,
    listening: BTreeMap<u16, Service>,
    /// Counts the lives of the server: objects of one mean nothing to the next.
    pub(super) life: u64,
    /// Connected, not yet given to a thread.
    pub(super) accepted: Vec<(SessionId, Service)>,
    /// Pairs whose threads have news: bit n for pair n.
    pub(super) woken: u32,
    /// Channels that the host was given and that belong to no session (a fault).
    pretended: u32,
}

impl Sessions {
    pub(super) fn new() -> Self {
        Self {
            pairs: (0..PAIRS).map(|_| None).collect(),
            next: 0,
            listening: BTreeMap::new(),
            life: 0,
            accepted: Vec::new(),
            woken: 0,
            pretended: 0,
        }
    }

    /// The host is given channels that belong to no session (a fault): what it does with them is not its mistake.
    pub(super) fn pretend(&mut self, channels: [u8; 2]) {
        for channel in channels {
            self.pretended |= 1_u32.checked_shl(channel.into()).unwrap_or(0);
        }
    }

    pub(super) fn listen(&mut self, port: u16, service: Service) {
        self.listening.insert(port, service);
    }

    /// Nobody listens any more, and every session is gone without a word.
    pub(super) fn clear(&mut self) {
        self.stop_listening();
        self.pretended = 0;
        self.pairs.fill_with(|| None);
        self.woken = u32::MAX;
    }

    pub(super) fn stop_listening(&mut self) {
        self.listening.clear();
        self.life += 1;
    }

    /// The sessions that are open.
    pub(super) fn open(&self) -> Vec<SessionId> {
        let pairs = (0..).zip(&self.pairs);
        pairs
            .filter_map(|(pair, session)| {
                let session = session.as_ref().filter(|session| session.open)?;
                Some(SessionId {
                    pair,
                    number: session.number,
                })
            })
            .collect()
    }

    /// The session that a channel belongs to, and its direction.
    fn of_channel(&mut self, channel: u32) -> Option<(usize, usize, &mut Session)> {
        let pair = usize::try_from(channel % FIRST_FROM_DEVICE).ok()?;
        let way = usize::from(channel >= FIRST_FROM_DEVICE);
        let session = self.pairs.get_mut(pair)?.as_mut()?;
        Some((pair, way, session))
    }

    /// Whether a channel belongs to a session that is open.
    pub(super) fn uses(&mut self, channel: u32) -> bool {
        self.of_channel(channel)
            .is_some_and(|(_, _, session)| session.open)
    }

    /// Whether a channel belongs to a session that the chip closed and the host has not.
    pub(super) fn is_over(&mut self, channel: u32) -> bool {
        self.of_channel(channel)
            .is_some_and(|(_, way, session)| !session.open && !session.ways[way].closed)
    }

    fn get(&mut self, id: SessionId) -> Result<&mut Session, Gone> {
        let session = self.pairs.get_mut(id.pair).and_then(Option::as_mut);
        session
            .filter(|session| session.open && session.number == id.number)
            .ok_or(Gone)
    }

    fn wake(&mut self, pair: usize) {
        self.woken |= 1 << pair;
    }
}

fn channel_of(pair: usize, way: usize) -> u32 {
    let pair = u32::try_from(pair).unwrap_or(0);
    if way == TO_CHIP {
        pair
    } else {
        pair + FIRST_FROM_DEVICE
    }
}

impl Core {
    /// CONNECT: a pair of channels, or a negated error number.
    pub(super) fn connect(&mut self, port: u16) -> Response {
        let forced = self.faults.fire(|fault| match fault {
            Fault::ConnectStatus(status) => Some(*status),
            _ => None,
        });
        let service = self.sessions.listening.get(&port).copied();
        let free = self.sessions.pairs.iter().position(Option::is_none);
        let (pair, service) = match (forced, service, free) {
            (Some(status), _, _) => return Response::status(code::CONNECT, status),
            (None, None, _) => return Response::status(code::CONNECT, errno::CONNECTION_REFUSED),
            (None, _, None) => return Response::status(code::CONNECT, errno::AGAIN),
            (None, Some(service), Some(pair)) => (pair, service),
        };
        self.sessions.next += 1;
        let number = self.sessions.next;
        self.sessions.pairs[pair] = Some(Session {
            number,
            page: PAGE.min(self.config.max_read_request().max(128)),
            ways: Default::default(),
            spare: Spare::default(),
            open: true,
            doomed: false,
        });
        for way in [TO_CHIP, TO_HOST] {
            let channel = channel_of(pair, way);
            let list = LISTS + LIST_BYTES * u64::from(channel);
            self.channels.start_device_side(channel, list);
        }
        let id = SessionId { pair, number };
        if self.faults.fires(Fault::DropSession) {
            self.drop_session(id);
        } else {
            self.sessions.accepted.push((id, service));
            self.work = true;
        }
        let channel = |way| u8::try_from(channel_of(pair, way)).unwrap_or(0);
        Response::connected(channel(TO_CHIP), channel(TO_HOST))
    }

    /// CLOSE: the chip's sides of the channels in `bitmap` stop, what was pending is dropped.
    pub(super) fn close(&mut self, bitmap: u32) -> Response {
        let mut strangers = 0;
        for channel in (0..2 * FIRST_FROM_DEVICE).filter(|channel| bitmap >> channel & 1 != 0) {
            if self.channels.host_side_is_active(channel) {
                self.complaints.add(format!(
                    "CLOSE of channel {channel}, whose host side still runs"
                ));
            }
            let pretended = self.sessions.pretended >> channel & 1 != 0;
            self.sessions.pretended &= !(1 << channel);
            let Some((pair, way, session)) = self.sessions.of_channel(channel) else {
                strangers |= u32::from(!pretended) << channel;
                continue;
            };
            session.open = false;
            session.ways[way] = Way {
                closed: true,
                ..Way::default()
            };
            let over = session.ways.iter().all(|way| way.closed);
            if over {
                self.sessions.pairs[pair] = None;
            }
            self.sessions.wake(pair);
            self.channels.stop_device_side(channel);
        }
        if strangers != 0 {
            self.complaints.add(format!(
                "CLOSE of channels {strangers:#010x}, which are not open"
            ));
        }
        Response::status(code::CLOSE, 0)
    }

    /// The chip closes a session. What the host should notice comes once it has started its sides.
    pub(super) fn drop_session(&mut self, id: SessionId) {
        let Ok(session) = self.sessions.get(id) else {
            return;
        };
        if session.ways.iter().all(|way| way.started) {
            self.break_pair(id.pair);
        } else {
            session.doomed = true;
        }
    }

    /// Stops both channels of a session at both ends and tells the host. It still has to send CLOSE.
    fn break_pair(&mut self, pair: usize) {
        let Some(session) = self.sessions.pairs.get_mut(pair).and_then(Option::as_mut) else {
            return;
        };
        if !std::mem::take(&mut session.open) {
            return;
        }
        for way in &mut session.ways {
            way.posted.clear();
            way.done.clear();
        }
        for way in [TO_CHIP, TO_HOST] {
            self.channels.stop_both_sides(channel_of(pair, way));
        }
        self.sessions.wake(pair);
        self.bridge.raise_software(software::SOC_CLOSED);
    }

    /// Something went wrong on a channel: its session is over.
    pub(super) fn break_channel(&mut self, channel: u32) {
        if let Some((pair, _, _)) = self.sessions.of_channel(channel) {
            self.break_pair(pair);
        }
    }

    /// Every session is closed by the chip: its server died, or it is switched off.
    pub(super) fn drop_all_sessions(&mut self) {
        for id in self.sessions.open() {
            self.drop_session(id);
        }
    }

    /// The server dies, and listens again at `again`.
    pub(super) fn kill_server(&mut self, again: Instant) {
        self.sessions.stop_listening();
        self.drop_all_sessions();
        self.firmware.listen_due = Some(again);
        self.work = true;
    }

    /// The services of the system listen.
    pub(super) fn listen(&mut self, version: Version) {
        if Settings::new(&self.profile, version).is_some() {
            self.sessions.listen(port::RPC, Service::Rpc);
        }
        if let Some(port) = self.profile.echo {
            self.sessions.listen(port, Service::Echo);
        }
    }

    /// The host started its side of a channel.
    pub(super) fn note_started(&mut self, channel: u32) {
        let pretended = self.sessions.pretended >> channel & 1 != 0;
        let Some((pair, way, session)) = self.sessions.of_channel(channel) else {
            if self.firmware.is_running() && !pretended {
                self.complaints.add(format!(
                    "the host side of channel {channel} was started, and no session uses it"
                ));
            }
            return;
        };
        if !session.open {
            return;
        }
        let again = std::mem::replace(&mut session.ways[way].started, true);
        let doomed = session.doomed && session.ways.iter().all(|way| way.started);
        if again {
            self.complaints.add(format!(
                "the host side of channel {channel} was started again in the same session"
            ));
        }
        if again || doomed {
            self.break_pair(pair);
        }
    }
}

//! What a connection knows: its rings, who waits for what, and what the server's limits leave room for.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Notice;
use super::method::{is_exclusive, is_pipelined};
use super::receive::Posted;
use super::send::Sent;
use super::slot::{Phase, SLOTS, Slot};
use crate::dma::{Completion, DmaBuffer};
use crate::infer::Part;
use crate::irq::Event;
use crate::soc::pair::{Cause, Rings};
use crate::spec::rpc::{Method, SERVER_WINDOW};

/// Notifications kept until somebody asks; older ones go first.
const NOTICES: usize = 256;

#[derive(Debug)]
pub(super) struct State {
    pub(super) rings: Option<Rings>,
    pub(super) over: Option<Cause>,
    /// After the end: all buffers are back in their slots.
    pub(super) settled: bool,
    next_id: u32,
    pub(super) slots: Box<[Slot]>,
    free: Vec<usize>,
    pub(super) sent: VecDeque<Sent>,
    pub(super) posted: VecDeque<Posted>,
    pub(super) spare: Vec<DmaBuffer>,
    /// Requests that the server answers one by one.
    ordinary: u32,
    exclusive: bool,
    pub(super) notices: VecDeque<Notice>,
    pub(super) missed: u64,
    /// Slots whose owners are to be woken, bit n for slot n.
    pub(super) wake: u128,
}

const _: () = assert!(SLOTS == 128, "one bit each");

/// The state, locked. Owners of slots are woken when the lock is free again, not to run into it.
#[derive(Debug)]
pub(super) struct Locked<'a> {
    state: Option<MutexGuard<'a, State>>,
    events: &'a [Event],
}

impl<'a> Locked<'a> {
    pub(super) fn new(state: &'a Mutex<State>, events: &'a [Event]) -> Self {
        let state = state.lock().unwrap_or_else(PoisonError::into_inner);
        Self {
            state: Some(state),
            events,
        }
    }
}

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        self.state.as_ref().expect("locked until dropped")
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        self.state.as_mut().expect("locked until dropped")
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let mut wake = std::mem::take(&mut self.wake);
        self.state = None;
        while wake != 0 {
            let slot = wake.trailing_zeros();
            wake &= wake - 1;
            if let Some(event) = usize::try_from(slot)
                .ok()
                .and_then(|slot| self.events.get(slot))
            {
                event.signal();
            }
        }
    }
}

impl State {
    pub(super) fn new(rings: Rings) -> Self {
        Self {
            rings: Some(rings),
            over: None,
            settled: false,
            next_id: 0,
            slots: (0..SLOTS).map(|_| Slot::free()).collect(),
            free: (0..SLOTS).rev().collect(),
            sent: VecDeque::with_capacity(SLOTS),
            posted: VecDeque::with_capacity(SLOTS),
            spare: Vec::with_capacity(SLOTS),
            ordinary: 0,
            exclusive: false,
            notices: VecDeque::new(),
            missed: 0,
            wake: 0,
        }
    }

    /// A request was answered: the server takes another.
    pub(super) fn answered(&mut self, method: Method) {
        if is_exclusive(method) {
            self.exclusive = false;
        }
        if !is_pipelined(method) {
            self.ordinary = self.ordinary.saturating_sub(1);
        }
    }

    pub(super) fn keep(&mut self, notice: Notice) {
        if self.notices.len() == NOTICES {
            self.notices.pop_front();
            self.missed += 1;
        }
        self.notices.push_back(notice);
    }

    /// A place for a request; the caller has looked for room.
    pub(super) fn admit(&mut self, method: Method) -> Option<(usize, u32)> {
        let slot = self.free.pop()?;
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        self.exclusive |= is_exclusive(method);
        self.ordinary += u32::from(!is_pipelined(method));
        Some((slot, id))
    }

    /// What keeps `method` from being sent now.
    pub(super) fn room(&self, method: Method) -> Option<&'static str> {
        let exclusive = is_exclusive(method) && self.ordinary > 0;
        if self.exclusive || exclusive {
            Some("a request that tolerates no other beside it is out")
        } else if !is_pipelined(method) && self.ordinary >= SERVER_WINDOW {
            Some("two requests are out already")
        } else if self.free.is_empty() {
            Some("all places for requests are in use")
        } else {
            None
        }
    }

    /// Whether a request is not done.
    pub(super) fn is_under_way(&self) -> bool {
        let out = |slot: &Slot| slot.phase != Phase::Free && !slot.is_done();
        self.slots.iter().any(out)
    }

    pub(super) fn release(&mut self, slot: usize) {
        self.slots[slot] = Slot {
            // Kept for the next request here, so that it allocates nothing.
            body: std::mem::take(&mut self.slots[slot].body),
            ..Slot::free()
        };
        self.slots[slot].body.clear();
        self.free.push(slot);
    }

    /// A buffer of a slot is back from the ring: 0 to the device, 1 from it.
    pub(super) fn back(&mut self, slot: usize, way: usize, completion: Completion) {
        let slot = &mut self.slots[slot];
        slot.out[way] -= 1;
        let Completion { buffer, bytes, .. } = completion;
        let parts = match way {
            0 => &mut slot.buffers.to_device,
            _ => &mut slot.buffers.from_device,
        };
        parts.push(Part { buffer, bytes });
    }
}

//! What the sessions of one open device share: mailbox, interrupts, and memory that is mapped already.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Mailbox;
use crate::dma::{ChannelOptions, CompletionSignal, DescriptorList, DmaBuffer, DmaError};
use crate::irq::Interrupts;
use crate::spec::board::Board;
use crate::spec::session::{DESCRIPTORS, PAGE};
use crate::transport::{Direction, Transport, TransportError};

/// Bytes of a small buffer: one message.
pub(crate) const SMALL: usize = 4096;

/// What the sessions of one open device share. Dropping the last handle switches bus mastering off.
#[derive(Debug)]
pub struct Hub {
    // Dropped before the transport: the thread ends, interrupts are masked.
    interrupts: Interrupts,
    transport: Arc<dyn Transport>,
    board: &'static Board,
    options: ChannelOptions,
    mailbox: Mutex<Mailbox>,
    shelf: Mutex<Shelf>,
    /// Channels of open sessions, bit n for channel n.
    busy: AtomicU32,
    /// How often the function was reset: a session of an earlier life must not touch channels of this one.
    life: AtomicU32,
}

/// Mapped memory that waits for its next use: a session then costs no system call for memory.
#[derive(Debug, Default)]
struct Shelf {
    lists: Vec<DescriptorList>,
    small: Vec<DmaBuffer>,
}

impl Hub {
    /// The hub of a device whose function is up. `page_limit` is the largest descriptor page of its link.
    #[must_use]
    pub fn new(
        transport: Arc<dyn Transport>,
        interrupts: Interrupts,
        board: &'static Board,
        page_limit: u32,
    ) -> Self {
        let able = transport.capabilities();
        let options = ChannelOptions {
            descriptors: 1 << able.longest_list.clamp(2, DESCRIPTORS).ilog2(),
            page: PAGE.min(page_limit),
            // Where caches are not coherent a look at memory costs more than a look at a register.
            signal: if able.coherent {
                CompletionSignal::Memory
            } else {
                CompletionSignal::Interrupt
            },
        };
        Self {
            interrupts,
            board,
            options,
            mailbox: Mutex::new(Mailbox::new(transport.clone(), board)),
            transport,
            shelf: Mutex::default(),
            busy: AtomicU32::new(0),
            life: AtomicU32::new(0),
        }
    }

    /// The seam below.
    #[must_use]
    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }

    /// The interrupt thread.
    #[must_use]
    pub fn interrupts(&self) -> &Interrupts {
        &self.interrupts
    }

    /// The mailbox; the guard keeps other exchanges away.
    pub fn mailbox(&self) -> MutexGuard<'_, Mailbox> {
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Board data.
    #[must_use]
    pub fn board(&self) -> &'static Board {
        self.board
    }

    /// How the rings of sessions are set up.
    pub(crate) fn options(&self) -> ChannelOptions {
        self.options
    }

    /// Ends all sessions, since the function is about to be reset. They close without a word to the device.
    pub fn end_sessions(&self) {
        self.life.fetch_add(1, Ordering::SeqCst);
        self.busy.store(0, Ordering::SeqCst);
        self.interrupts.break_sinks("the device was reset");
    }

    /// A new mailbox, after a reset.
    pub fn was_reset(&self, mailbox: &mut Mailbox) {
        *mailbox = Mailbox::new(self.transport.clone(), self.board);
    }

    pub(super) fn life(&self) -> u32 {
        self.life.load(Ordering::SeqCst)
    }

    pub(super) fn busy(&self) -> u32 {
        self.busy.load(Ordering::SeqCst)
    }

    pub(super) fn take_channels(&self, channels: u32) {
        self.busy.fetch_or(channels, Ordering::SeqCst);
    }

    pub(super) fn free_channels(&self, channels: u32) {
        self.busy.fetch_and(!channels, Ordering::SeqCst);
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn list(&self) -> Result<DescriptorList, DmaError> {
        let list = self.shelf().lists.pop();
        match list {
            Some(list) => Ok(list),
            None => DescriptorList::new(
                &self.transport,
                self.options.descriptors,
                self.options.signal == CompletionSignal::Memory,
            ),
        }
    }

    pub(super) fn put_list(&self, list: Option<DescriptorList>) {
        self.shelf().lists.extend(list);
    }

    /// A buffer of [`SMALL`] bytes that can go both ways.
    pub(crate) fn small(&self) -> Result<DmaBuffer, TransportError> {
        let small = self.shelf().small.pop();
        match small {
            Some(small) => Ok(small),
            None => DmaBuffer::new(&self.transport, SMALL, Direction::Both),
        }
    }

    pub(crate) fn put_small(&self, small: impl IntoIterator<Item = DmaBuffer>) {
        let small = small.into_iter().filter(|buffer| buffer.len() == SMALL);
        self.shelf().small.extend(small);
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        // Buffers in flight are the channels' business; after this nothing is reached any more.
        if let Err(error) = self.transport.quiesce() {
            log::debug!(
                "{}: switching bus mastering off: {error}",
                self.transport.name()
            );
        }
    }
}

//! The function's host: direct accesses first, messages to the client for the rest.

use std::os::fd::AsFd;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use zerocopy::{FromBytes, IntoBytes};

use super::maps::Piece;
use super::session::{Answer, Outstanding, Session, lock};
use crate::addr::Iova;
use crate::deadline::Deadline;
use crate::spec::vfio_user::{Command, DmaAccess, Header, flags};
use crate::transport::frame;
use crate::transport::local::{DmaFault, Host};

/// How deep register accesses may nest inside DMA inside register accesses.
const DEEPEST: usize = 8;

impl Host for Session {
    fn read(&self, address: Iova, into: &mut [u8]) -> Result<(), DmaFault> {
        let (len, mut done) = (into.len(), 0);
        while done < len {
            let fault = DmaFault {
                address,
                len,
                write: false,
            };
            let at = further(address, done).ok_or(fault)?;
            done += match self.maps.read(at, &mut into[done..]) {
                Piece::Done(bytes) => bytes,
                Piece::Ask(bytes) => {
                    let bytes = self.clip(bytes);
                    if !self.ask_read(at, &mut into[done..done + bytes]) {
                        return Err(fault);
                    }
                    bytes
                }
            };
        }
        Ok(())
    }

    fn write(&self, address: Iova, from: &[u8]) -> Result<(), DmaFault> {
        let (len, mut done) = (from.len(), 0);
        while done < len {
            let fault = DmaFault {
                address,
                len,
                write: true,
            };
            let at = further(address, done).ok_or(fault)?;
            done += match self.maps.write(at, &from[done..]) {
                Piece::Done(bytes) => bytes,
                Piece::Ask(bytes) => {
                    let bytes = self.clip(bytes);
                    if !self.ask_write(at, &from[done..done + bytes]) {
                        return Err(fault);
                    }
                    bytes
                }
            };
        }
        Ok(())
    }

    fn interrupt(&self) {
        let signal = self.signal.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(signal) = signal.as_ref() {
            signal.send(&self.name);
        }
    }
}

fn further(address: Iova, done: usize) -> Option<u64> {
    address.0.checked_add(u64::try_from(done).ok()?)
}

impl Session {
    /// Sends a command and waits for its reply. `None` where there is none, for whatever reason.
    fn ask(&self, command: Command, access: &DmaAccess, data: &[u8]) -> Option<(Header, Vec<u8>)> {
        let id = {
            let mut outstanding = lock(&self.outstanding);
            if outstanding.closed {
                return None;
            }
            let mut id = outstanding.next_id;
            while outstanding.answers.contains_key(&id) {
                id = id.wrapping_add(1);
            }
            outstanding.next_id = id.wrapping_add(1);
            outstanding.answers.insert(id, Answer::Awaited);
            id
        };
        let deadline = Deadline::after(self.patience);
        let head = frame::header(
            id,
            command.code(),
            flags::COMMAND,
            DmaAccess::LEN + data.len(),
        );
        let parts = [head.as_bytes(), access.as_bytes(), data];
        let sent = {
            let socket = self.twin.get().unwrap_or(&self.main);
            let _sending = lock(&self.sending);
            frame::send(socket.as_fd(), &parts, &[], &deadline)
        };
        if let Err(error) = sent {
            log::warn!("{}: {command:?} could not be sent: {error}", self.name);
            // Half a message may be under way: nothing may follow it.
            self.close();
        } else if self.thread.get() == Some(&std::thread::current().id()) {
            self.await_nested(id, &deadline);
        } else {
            self.await_asleep(id, &deadline);
        }
        match lock(&self.outstanding).answers.remove(&id) {
            Some(Answer::Here { header, payload }) => Some((header, payload)),
            _ => {
                log::warn!(
                    "{}: no answer to {command:?} of {} bytes at {:#x} in {:?}",
                    self.name,
                    access.count,
                    access.address,
                    deadline.waited()
                );
                None
            }
        }
    }

    fn pending(&self, outstanding: &Outstanding, id: u16) -> bool {
        !outstanding.closed && matches!(outstanding.answers.get(&id), Some(Answer::Awaited))
    }

    fn await_asleep(&self, id: u16, deadline: &Deadline) {
        let mut outstanding = lock(&self.outstanding);
        while self.pending(&outstanding, id) && !deadline.expired() {
            outstanding = self
                .answered
                .wait_timeout(outstanding, deadline.remaining())
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn await_nested(&self, id: u16, deadline: &Deadline) {
        if self.depth.fetch_add(1, Ordering::Relaxed) < DEEPEST {
            while self.pending(&lock(&self.outstanding), id) && !deadline.expired() {
                if let Err(ended) = self.step(Some(deadline)) {
                    // The outer loop finds the same when it reads or polls again.
                    log::debug!("{}: {ended} while it was asked for memory", self.name);
                    self.close();
                }
            }
        }
        self.depth.fetch_sub(1, Ordering::Relaxed);
    }

    /// Reads by message; false where the client refuses or does not answer.
    fn ask_read(&self, address: u64, into: &mut [u8]) -> bool {
        let access = dma(address, into.len());
        let Some((header, payload)) = self.ask(Command::DmaRead, &access, &[]) else {
            return false;
        };
        if header.is_error() {
            log::debug!(
                "{}: no read at {address:#x}: error {}",
                self.name,
                header.error
            );
            return false;
        }
        let data = DmaAccess::read_from_prefix(&payload)
            .ok()
            .filter(|(found, data)| {
                header.command.get() == Command::DmaRead.code()
                    && found == &access
                    && data.len() == into.len()
            });
        match data {
            Some((_, data)) => into.copy_from_slice(data),
            None => log::warn!("{}: a malformed reply to a DMA read", self.name),
        }
        data.is_some()
    }

    /// Writes by message; false where the client refuses or does not answer.
    fn ask_write(&self, address: u64, from: &[u8]) -> bool {
        let access = dma(address, from.len());
        let Some((header, payload)) = self.ask(Command::DmaWrite, &access, from) else {
            return false;
        };
        if header.is_error() {
            log::debug!(
                "{}: no write at {address:#x}: error {}",
                self.name,
                header.error
            );
            return false;
        }
        // Address and the low half of the count: some peers send no more.
        let sound = header.command.get() == Command::DmaWrite.code()
            && payload.get(..12) == Some(&access.as_bytes()[..12]);
        if !sound {
            log::warn!("{}: a malformed reply to a DMA write", self.name);
        }
        sound
    }

    /// The most bytes of one DMA message.
    fn clip(&self, len: usize) -> usize {
        let most = self.transfer.load(Ordering::Relaxed);
        usize::try_from(most).map_or(len, |most| len.min(most))
    }
}

fn dma(address: u64, len: usize) -> DmaAccess {
    DmaAccess {
        address: address.into(),
        count: u64::try_from(len).unwrap_or(u64::MAX).into(),
    }
}

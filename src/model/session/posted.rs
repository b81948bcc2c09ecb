//! Buffers that the system posts on its sides of a session, and how the engine takes them.

use std::collections::VecDeque;

use super::super::bridge::EventSide;
use super::super::core::Core;
use super::super::job::Job;
use super::{Drift, Gone, Part, Posted, SessionId, TO_CHIP, channel_of};
use crate::spec::session::DESCRIPTORS;

/// Most descriptors in a ring: full and empty would look alike.
const ROOM: u32 = DESCRIPTORS - 1;

/// Descriptors that are done of a buffer of `len` bytes when `moved` of them are moved.
fn pages_done(moved: usize, len: usize, page: usize) -> u32 {
    let pages = if moved == len {
        moved.div_ceil(page.max(1))
    } else {
        moved / page.max(1)
    };
    u32::try_from(pages).unwrap_or(u32::MAX)
}

impl Core {
    /// Gives a buffer of the chip to a session: to be filled, or to be sent. Not empty.
    pub(in crate::model) fn post(
        &mut self,
        id: SessionId,
        way: usize,
        bytes: Vec<u8>,
    ) -> Result<(), Gone> {
        let session = self.sessions.get(id)?;
        session.ways[way].posted.push_back(Posted {
            len: bytes.len(),
            bytes,
            moved: 0,
            given: 0,
        });
        self.offer(id.pair, way);
        self.work |= self.both_sides_wait(channel_of(id.pair, way));
        Ok(())
    }

    /// Makes descriptors of posted buffers available, as far as the ring has room.
    fn offer(&mut self, pair: usize, way: usize) {
        let Some(session) = self.sessions.pairs.get_mut(pair).and_then(Option::as_mut) else {
            return;
        };
        let channel = channel_of(pair, way);
        let mut room = ROOM - self.channels.device_side_waits(channel).min(ROOM);
        let page = session.page.max(1);
        for buffer in &mut session.ways[way].posted {
            let whole = u32::try_from(buffer.len).unwrap_or(u32::MAX).div_ceil(page);
            let more = room.min(whole - buffer.given);
            buffer.given += more;
            room -= more;
            self.channels.feed_device_side(channel, more);
            if room == 0 {
                break;
            }
        }
    }

    /// The next buffer that is filled or sent.
    pub(in crate::model) fn take_done(
        &mut self,
        id: SessionId,
        way: usize,
    ) -> Result<Option<Vec<u8>>, Gone> {
        Ok(self.sessions.get(id)?.ways[way].done.pop_front())
    }

    /// A buffer that the session is through with, for `len` bytes.
    pub(in crate::model) fn take_spare(&mut self, id: SessionId, len: usize) -> Option<Vec<u8>> {
        self.sessions.get(id).ok()?.spare.take(len)
    }

    /// Keeps a buffer for the session's next transfers; what is too much comes back, to be freed by the caller.
    pub(in crate::model) fn put_spare(&mut self, id: SessionId, buffer: Vec<u8>) -> Vec<Vec<u8>> {
        match self.sessions.get(id) {
            Ok(session) => session.spare.put(buffer),
            Err(Gone) => vec![buffer],
        }
    }

    /// Takes away what is kept for the session's next transfers, to be freed by the caller.
    pub(in crate::model) fn clear_spare(&mut self, id: SessionId) -> VecDeque<Vec<u8>> {
        let session = self.sessions.get(id);
        session.map_or_else(|Gone| VecDeque::new(), |session| session.spare.clear())
    }

    /// Buffers that wait to be moved, and their bytes.
    pub(in crate::model) fn pending(
        &mut self,
        id: SessionId,
        way: usize,
    ) -> Result<(usize, usize), Gone> {
        let posted = &self.sessions.get(id)?.ways[way].posted;
        Ok((posted.len(), posted.iter().map(|buffer| buffer.len).sum()))
    }

    /// Takes the first posted buffer of a channel for the engine, with the number of descriptors that are left of it.
    pub(in crate::model) fn begin_part(&mut self, channel: u32) -> Option<(Part, u32)> {
        let (pair, way, session) = self.sessions.of_channel(channel)?;
        let moved = session.ways[way].posted.front()?.moved;
        let (number, page) = (session.number, usize::try_from(session.page).ok()?);
        let adrift = session.ways[way].adrift;
        let front = session.ways[way].posted.front_mut()?;
        let given = page.saturating_mul(usize::try_from(front.given).ok()?);
        let part = Part {
            id: SessionId { pair, number },
            way,
            bytes: std::mem::take(&mut front.bytes),
            at: moved,
            page,
            drift: adrift.map(|taken| Drift {
                taken,
                limit: given.min(front.len),
            }),
        };
        Some((
            part,
            front
                .given
                .saturating_sub(pages_done(front.moved, front.len, page)),
        ))
    }

    /// So many bytes of the part that the engine has were moved.
    pub(in crate::model) fn note_moved(&mut self, id: SessionId, way: usize, bytes: usize) {
        if let Ok(session) = self.sessions.get(id)
            && let Some(front) = session.ways[way].posted.front_mut()
        {
            front.moved += bytes;
        }
    }

    /// The two ends of a channel's session cut their transfers differently: from here on bytes flow as in one stream.
    pub(in crate::model) fn set_adrift(&mut self, channel: u32) {
        if let Some((_, way, session)) = self.sessions.of_channel(channel) {
            session.ways[way].adrift = Some(0);
        }
        if let Some(channel) = self.channels.get_mut(channel) {
            for side in &mut channel.sides {
                side.drop_fetched();
            }
        }
        self.work = true;
    }

    /// Notes what moved where the two ends cut differently: each side is through with descriptors of its own.
    /// `pages` of the host's are done, and `taken` bytes of the next; `asked` is for the host's interrupt.
    pub(in crate::model) fn commit_adrift(
        &mut self,
        job: &Job,
        part: &Part,
        pages: u32,
        taken: usize,
        asked: bool,
    ) {
        let Ok(session) = self.sessions.get(part.id) else {
            return;
        };
        let way = &mut session.ways[part.way];
        let Some(front) = way.posted.front_mut() else {
            return;
        };
        let (before, after) = [front.moved, part.at]
            .map(|at| pages_done(at, front.len, part.page))
            .into();
        let bytes = u64::try_from(part.at - front.moved).unwrap_or(0);
        front.moved = part.at;
        way.adrift = Some(taken);
        if let Some(channel) = self.channels.get_mut(job.channel) {
            channel.sides[job.host_side()].finish(pages);
            channel.sides[job.device_side()].finish(after - before);
            for side in &mut channel.sides {
                side.drop_fetched();
            }
        }
        self.counters.descriptors += u64::from(pages);
        let (counter, asker) = if job.to_device() {
            (&mut self.counters.bytes_to_device, EventSide::Source)
        } else {
            (&mut self.counters.bytes_from_device, EventSide::Destination)
        };
        *counter += bytes;
        if asked {
            self.bridge.raise_channel(asker, job.channel);
        }
    }

    /// The engine gives a part back; what is of no more use is returned, to be freed by the caller.
    pub(in crate::model) fn end_part(&mut self, part: Part) -> Vec<Vec<u8>> {
        let Part { id, way, bytes, .. } = part;
        let Ok(session) = self.sessions.get(id) else {
            return vec![bytes];
        };
        let way_of = &mut session.ways[way];
        let Some(front) = way_of.posted.front_mut() else {
            return vec![bytes];
        };
        front.bytes = bytes;
        let mut spent = Vec::new();
        if front.moved == front.len
            && let Some(done) = way_of.posted.pop_front()
        {
            if way == TO_CHIP {
                way_of.done.push_back(done.bytes);
            } else {
                spent = session.spare.put(done.bytes);
            }
            self.sessions.wake(id.pair);
        }
        self.offer(id.pair, way);
        spent
    }
}

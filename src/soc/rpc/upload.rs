//! A buffer behind a request that is longer than memory should be: it goes in pieces, whose cuts the other end
//! does not see.

use super::connection::Connection;
use super::slot::Buffers;
use super::{Request, RpcError, decode, time_limit};
use crate::deadline::Deadline;
use crate::dma::{DmaBuffer, DmaError};
use crate::infer::Part;
use crate::irq::Waited;
use crate::soc::pair::Cause;
use crate::transport::Direction;

/// Bytes of a piece: a multiple of every page size.
const PIECE: usize = 4 << 20;
/// Pieces at once: one is filled while one is on its way.
const PIECES: usize = 2;

/// Fills a buffer with what lies at an offset.
pub type Fill<'a> =
    dyn FnMut(u64, &mut [u8]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> + 'a;

impl Connection {
    /// Sends a request with one buffer of `len` bytes behind it, which `fill` brings piece by piece, and waits
    /// for the reply.
    ///
    /// # Errors
    /// As [`Self::call`]. Where `fill` fails, or the server answers before it has everything, the connection is
    /// over, since the stream is out of step.
    pub fn upload<R: Request>(
        &self,
        body: &R::Body,
        len: u64,
        fill: &mut Fill<'_>,
    ) -> Result<R::Response, RpcError> {
        let deadline = Deadline::after(time_limit(R::METHOD));
        let ticket = self.start::<R>(body, Buffers::default(), &deadline)?;
        let (mut offset, mut idle, mut made) = (0, Vec::new(), 0);
        while offset < len {
            let left = usize::try_from(len - offset).unwrap_or(usize::MAX);
            let bytes = left.min(PIECE);
            idle.extend(ticket.take_sent());
            let buffer = match idle.pop() {
                Some(Part { buffer, .. }) => buffer,
                None if made < PIECES => {
                    made += 1;
                    let transport = self.hub().transport();
                    DmaBuffer::new(transport, bytes, Direction::ToDevice).map_err(DmaError::from)?
                }
                None => {
                    if ticket.is_answered() {
                        break;
                    }
                    if ticket.wait_event(&deadline) == Waited::TimedOut {
                        let (what, waited) = ("a piece of a file", deadline.waited());
                        return Err(self.abandon(Cause::TimedOut { what, waited }));
                    }
                    if let Some(cause) = self.over() {
                        return Err(cause.into());
                    }
                    continue;
                }
            };
            let mut part = Part { buffer, bytes };
            if let Err(error) = fill(offset, part.bytes_mut()) {
                return Err(self.abandon(Cause::Failed(error.to_string())));
            }
            ticket.send_more(part)?;
            offset += u64::try_from(bytes).unwrap_or(u64::MAX);
        }
        let early = offset < len;
        let reply = ticket.wait(&deadline)?;
        if early {
            self.abandon(Cause::Protocol(
                "the reply came before the whole request was taken".into(),
            ));
        }
        decode::<R>(reply).map(|(response, _)| response)
    }
}

//! Descriptor lists in memory that the device reads.

use std::sync::Arc;

use zerocopy::FromBytes;

use super::{DmaError, Mapping};
use crate::addr::Iova;
use crate::spec::descriptor::{
    ADDRESS_ALIGNMENT, Descriptor, LEN, MAX_PAGE, MIN_PAGE, Status, control,
};
use crate::spec::vdma_bar::{LIST_ALIGNMENT, MAX_DESCRIPTORS, MIN_DESCRIPTORS};
use crate::transport::{Direction, Placement, Segment, Sync, Transport};

/// Read requests where a function does not tell: the least that a link can have. Source: PCI Express base specification,
/// device control register.
const LEAST_READ_REQUEST: u32 = 128;

/// Largest descriptor page on a link whose read requests are at most `max_read_request` bytes; 0 where that is unknown.
///
/// Source: vendor hailort-drivers v5.3.0, `linux/pcie/src/pcie.c` (a hardware bug is behind it).
#[must_use]
pub fn page_limit(max_read_request: u32) -> u32 {
    match max_read_request {
        512.. => MAX_PAGE,
        small => small.max(LEAST_READ_REQUEST),
    }
}

/// A list of descriptors, 64 KiB aligned, mapped for the device.
///
/// Nothing is ever read back from it to learn what was programmed; only status words are read.
#[derive(Debug)]
pub struct DescriptorList {
    mapping: Mapping,
    address: Iova,
    len: u32,
}

impl DescriptorList {
    /// A zeroed list of `len` descriptors, 2 to 65,536. The device may write it (status words) where
    /// `statuses` is asked for.
    ///
    /// # Errors
    /// A bad length, or no memory that fits.
    pub fn new(transport: &Arc<dyn Transport>, len: u32, statuses: bool) -> Result<Self, DmaError> {
        if !(MIN_DESCRIPTORS..=MAX_DESCRIPTORS).contains(&len) {
            return Err(DmaError::BadListLength(len));
        }
        let bytes = usize::try_from(len).map_err(|_| DmaError::BadListLength(len))? * LEN;
        let memory = Arc::new(transport.allocate(bytes, Placement::List)?);
        let direction = if statuses {
            Direction::Both
        } else {
            Direction::ToDevice
        };
        let mapping = Mapping::new(transport, memory, Placement::List, direction)?;
        let address = mapping.segments().base().unwrap_or_default();
        if mapping.segments().0.len() != 1 || !address.is_aligned_to(LIST_ALIGNMENT) {
            return Err(DmaError::BadListAddress(address));
        }
        Ok(Self {
            mapping,
            address,
            len,
        })
    }

    /// Where the device finds the list.
    #[must_use]
    pub fn address(&self) -> Iova {
        self.address
    }

    /// Descriptors in the list.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Never: a list has at least two descriptors.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Programs one buffer from index `first` on: `bytes` of `segments` in pages of `page` bytes, the
    /// last one shorter where they do not divide; the last descriptor carries `last_control`. Returns
    /// how many descriptors were written. Where the list wraps, so does the buffer.
    ///
    /// The caller has made sure that the device owns none of these descriptors and that they fit.
    ///
    /// # Errors
    /// A segment that can't be cut into pages; the list's end in the middle where it does not wrap.
    pub fn program(&self, buffer: &Chunk<'_>, first: u32) -> Result<u32, DmaError> {
        let count = buffer.descriptors();
        let mut pages = Pages::new(buffer);
        if let [_] = buffer.segments {
            // One run of addresses: no look at the segment for each page.
            pages.enter();
            if pages.left > 0 {
                pages.bad = buffer.segments.first().copied();
            } else {
                self.fill(first, count, || pages.step())?;
            }
        } else {
            self.fill(first, count, || pages.next())?;
        }
        if let Some(bad) = pages.bad {
            return Err(DmaError::BadSegment {
                address: bad.address,
                len: bad.len,
                page: buffer.page,
            });
        }
        let last = (first + count - 1) % self.len;
        let short = buffer.bytes - to_usize(count - 1) * to_usize(buffer.page);
        self.amend(last, to_u32(short), buffer.last_control)?;
        self.sync(first, count);
        Ok(count)
    }

    /// Writes `count` descriptors from index `first` on, around the end.
    #[inline(always)]
    fn fill(
        &self,
        first: u32,
        count: u32,
        mut record: impl FnMut() -> [u32; 4],
    ) -> Result<(), DmaError> {
        let to_end = (self.len - first).min(count);
        let memory = self.mapping.memory();
        memory.fill16(to_usize(first) * LEN, to_usize(to_end), &mut record)?;
        Ok(memory.fill16(0, to_usize(count - to_end), record)?)
    }

    /// Sets size and control of one descriptor, whose other words stay.
    fn amend(&self, index: u32, bytes: u32, control: u32) -> Result<(), DmaError> {
        Ok(self
            .mapping
            .memory()
            .store32(to_usize(index) * LEN, bytes << 8 | control)?)
    }

    /// The status word of descriptor `index`, for completion by memory: on coherent hosts only.
    ///
    /// # Errors
    /// The index is outside the list.
    pub fn status(&self, index: u32) -> Result<Status, DmaError> {
        Ok(Status(
            self.mapping
                .memory()
                .load32(to_usize(index) * LEN + Status::OFFSET)?,
        ))
    }

    /// Whether the processor's caches followed when the device wrote the status word of descriptor `index`:
    /// it was read before the device was told to go ([`Self::status`]), so a cache has it, and has not been
    /// looked at since. `None` where there is no status, or the transport does no maintenance that would
    /// bring it to light.
    ///
    /// That they did not follow is certain. That they did may be an accident: a line leaves a cache now and
    /// then by itself.
    ///
    /// # Errors
    /// The index is outside the list.
    pub fn caches_followed(&self, index: u32) -> Result<Option<bool>, DmaError> {
        if self.status(index)?.is_done() {
            return Ok(Some(true));
        }
        let offset = to_usize(index) * LEN;
        let transport = self.mapping.transport();
        transport.sync(self.mapping.memory(), offset, LEN, Sync::ForCpu);
        Ok(self.status(index)?.is_done().then_some(false))
    }

    /// Descriptor `index` as it lies in memory, for reports only.
    ///
    /// # Errors
    /// The index is outside the list.
    pub fn look(&self, index: u32) -> Result<Descriptor, DmaError> {
        let (memory, offset) = (self.mapping.memory(), to_usize(index) * LEN);
        if !self.mapping.transport().capabilities().coherent {
            let transport = self.mapping.transport();
            transport.sync(memory, offset, LEN, Sync::ForCpu);
        }
        let mut bytes = [0; LEN];
        memory.read(offset, &mut bytes)?;
        Ok(Descriptor::read_from_bytes(&bytes).unwrap_or_default())
    }

    /// Makes `count` descriptors from `first` on visible where the host is not coherent.
    fn sync(&self, first: u32, count: u32) {
        let transport = self.mapping.transport();
        if !transport.capabilities().coherent {
            let to_end = (self.len - first).min(count);
            let part = |first, count| {
                transport.sync(
                    self.mapping.memory(),
                    to_usize(first) * LEN,
                    to_usize(count) * LEN,
                    Sync::ForDevice,
                );
            };
            part(first, to_end);
            part(0, count - to_end);
        }
    }
}

/// The pages of a buffer, one after the other, as descriptors.
struct Pages<'a> {
    segments: std::slice::Iter<'a, Segment>,
    /// Pages of the buffer are powers of two: a shift where a division would cost more than a page.
    shift: u32,
    page: u64,
    word0: u32,
    data_id: u64,
    /// Bytes of the buffer behind the current segment.
    left: usize,
    at: u64,
    /// Pages left in the current segment.
    here: usize,
    /// A segment that can't be cut into pages: what was written is then not to be used.
    bad: Option<Segment>,
}

impl<'a> Pages<'a> {
    fn new(buffer: &Chunk<'a>) -> Self {
        Self {
            segments: buffer.segments.iter(),
            shift: buffer.page.trailing_zeros(),
            page: buffer.page.into(),
            word0: buffer.page << 8 | control::PLAIN,
            data_id: buffer.data_id.into(),
            left: buffer.bytes,
            at: 0,
            here: 0,
            bad: None,
        }
    }

    #[inline(always)]
    fn next(&mut self) -> [u32; 4] {
        if self.here == 0 {
            self.enter();
        }
        self.here -= 1;
        self.step()
    }

    /// The next page of the current segment.
    #[inline(always)]
    fn step(&mut self) -> [u32; 4] {
        let at = Iova(self.at);
        self.at = self.at.wrapping_add(self.page);
        [self.word0, at.low(), at.high(), 0]
    }

    /// Goes on to the next segment.
    #[inline]
    fn enter(&mut self) {
        let end = Segment {
            address: Iova(0),
            len: 0,
        };
        let segment = self.segments.next().copied().unwrap_or(end);
        let bytes = segment.len.min(self.left);
        self.left -= bytes;
        let mask = (1 << self.shift) - 1;
        // Only the end of the buffer may be shorter than a page.
        let whole = bytes > 0 && (self.left == 0 || bytes & mask == 0);
        if !whole || !segment.address.is_aligned_to(ADDRESS_ALIGNMENT) {
            self.bad.get_or_insert(segment);
        }
        self.at = segment.address.0 | self.data_id;
        self.here = ((bytes + mask) >> self.shift).max(1);
    }
}

/// The part of `segments` that holds `len` bytes from `offset` on.
pub(crate) fn part(segments: &[Segment], offset: usize, len: usize) -> Vec<Segment> {
    let mut parts = Vec::new();
    let (mut skip, mut left) = (offset, len);
    for segment in segments {
        if left == 0 {
            break;
        }
        if skip >= segment.len {
            skip -= segment.len;
            continue;
        }
        let take = (segment.len - skip).min(left);
        parts.push(Segment {
            address: Iova(segment.address.0 + u64::try_from(skip).unwrap_or(u64::MAX)),
            len: take,
        });
        (skip, left) = (0, left - take);
    }
    parts
}

/// One buffer to program: see [`DescriptorList::program`].
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    /// Where the bytes are, in order.
    pub segments: &'a [Segment],
    /// How many of them; at least 1.
    pub bytes: usize,
    /// Page size in bytes: a power of two from 64 to 4096.
    pub page: u32,
    /// Memory that the addresses are in, see [`crate::spec::descriptor::data_id`].
    pub data_id: u32,
    /// Control bits of the last descriptor.
    pub last_control: u32,
}

impl Chunk<'_> {
    /// Descriptors that the buffer takes.
    #[must_use]
    pub fn descriptors(&self) -> u32 {
        to_u32(self.bytes.div_ceil(to_usize(self.page)))
    }
}

/// Checks a page size.
///
/// # Errors
/// It is no power of two from 64 to 4096.
pub(super) fn check_page(page: u32) -> Result<(), DmaError> {
    let good = page.is_power_of_two() && (MIN_PAGE..=MAX_PAGE).contains(&page);
    if good {
        Ok(())
    } else {
        Err(DmaError::BadPageSize(page))
    }
}

/// Lossless on the 64-bit hosts that have PCI Express.
pub(super) const fn to_usize(value: u32) -> usize {
    const _: () = assert!(usize::BITS >= 32);
    value as usize
}

/// Saturates: a count above 32 bits fits no list and is refused as too long.
pub(super) fn to_u32(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_small_where_read_requests_are() {
        let limits = [0, 128, 256, 512, 4096].map(page_limit);
        assert_eq!(limits, [128, 128, 256, 4096, 4096]);
    }

    #[test]
    fn a_part_of_segments_keeps_their_order_and_bytes() {
        let segment = |address, len| Segment {
            address: Iova(address),
            len,
        };
        let all = [
            segment(0x1000, 100),
            segment(0x8000, 50),
            segment(0x4000, 200),
        ];
        assert_eq!(part(&all, 0, 350), all);
        assert_eq!(
            part(&all, 90, 30),
            [segment(0x1000 + 90, 10), segment(0x8000, 20)]
        );
        assert_eq!(part(&all, 150, 10), [segment(0x4000, 10)]);
        assert_eq!(part(&all, 350, 10), []);
    }
}

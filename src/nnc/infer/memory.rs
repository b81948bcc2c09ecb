//! What of a network lies in host memory: configuration words, data between contexts, rings, caches, and all descriptor
//! lists. All of it is mapped and written before the firmware hears of the network.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::InferError;
use crate::addr::Iova;
use crate::dma::{Chunk, DescriptorList, DmaError, Mapping};
use crate::hef::Hef;
use crate::nnc::plan::{
    Buffer, BufferId, BufferUse, Cache, ListId, ListUse, Plan, Run, Slot, slots,
};
use crate::spec::descriptor::{control, data_id};
use crate::transport::{Direction, Placement, Segment, Sync, Transport, TransportError};

/// Caches by their number: networks that name the same one share it.
pub(super) type Caches = BTreeMap<u32, Weak<Mapping>>;

/// The memory of one network.
#[derive(Debug, Default)]
pub(super) struct Memory {
    buffers: Vec<Arc<Mapping>>,
    /// A boundary list is with its channel.
    lists: Vec<Option<DescriptorList>>,
    addresses: Vec<Iova>,
}

impl Memory {
    /// Allocates, maps and writes everything. `statuses` says whether the device writes status words into the lists
    /// of boundary channels.
    pub(super) fn new(
        transport: &Arc<dyn Transport>,
        hef: &Hef,
        plan: &Plan,
        statuses: bool,
        caches: &mut Caches,
    ) -> Result<Self, InferError> {
        let mut buffers = Vec::with_capacity(plan.buffers.len());
        for (id, buffer) in plan.buffers.iter().enumerate() {
            buffers.push(place(transport, hef, plan, BufferId(id), buffer, caches)?);
        }
        let mut lists = Vec::with_capacity(plan.lists.len());
        for list in &plan.lists {
            let boundary = matches!(list.serves, ListUse::Boundary { .. });
            let made = DescriptorList::new(transport, list.descriptors, boundary && statuses)?;
            for slot in list.programmed() {
                program(&made, &buffers, list.page, &slot)?;
            }
            lists.push(made);
        }
        let made = Self {
            buffers,
            addresses: lists.iter().map(DescriptorList::address).collect(),
            lists: lists.into_iter().map(Some).collect(),
        };
        for cache in &plan.caches {
            made.point(plan, cache, 0)?;
        }
        Ok(made)
    }

    /// Where the lists are, by their number in the plan.
    pub(super) fn addresses(&self) -> &[Iova] {
        &self.addresses
    }

    /// Hands a boundary list over to its channel.
    pub(super) fn take_list(&mut self, list: ListId) -> Result<DescriptorList, InferError> {
        let taken = self.lists.get_mut(list.0).and_then(Option::take);
        taken.ok_or_else(|| InferError::Inconsistent(format!("list {} is taken", list.0)))
    }

    /// Writes both lists of a cache in place: reading starts at entry `offset` from now on.
    pub(super) fn point(&self, plan: &Plan, cache: &Cache, offset: u32) -> Result<(), InferError> {
        let [read, write] = cache.runs(offset);
        self.rewrite(plan, cache.read_list, &read)?;
        self.rewrite(plan, cache.write_list, &write)
    }

    fn rewrite(&self, plan: &Plan, list: ListId, runs: &[Run]) -> Result<(), InferError> {
        let (Some(Some(made)), Some(planned)) = (self.lists.get(list.0), plan.lists.get(list.0))
        else {
            let what = format!("list {} of a cache is not there", list.0);
            return Err(InferError::Inconsistent(what));
        };
        for slot in slots(planned.page, runs) {
            program(made, &self.buffers, planned.page, &slot)?;
        }
        Ok(())
    }

    /// Bytes of all buffers.
    pub(super) fn bytes(&self) -> usize {
        self.buffers
            .iter()
            .map(|buffer| buffer.memory().len())
            .sum()
    }
}

fn place(
    transport: &Arc<dyn Transport>,
    hef: &Hef,
    plan: &Plan,
    id: BufferId,
    buffer: &Buffer,
    caches: &mut Caches,
) -> Result<Arc<Mapping>, InferError> {
    let too_long = || InferError::Inconsistent(format!("a buffer of {} bytes", buffer.bytes));
    let len = usize::try_from(buffer.bytes).map_err(|_| too_long())?;
    let map = |direction| -> Result<Mapping, TransportError> {
        let memory = Arc::new(transport.allocate(len, Placement::Data)?);
        Mapping::new(transport, memory, Placement::Data, direction)
    };
    match &buffer.holds {
        BufferUse::Config { .. } => {
            let mut words = vec![0; len];
            plan.fill_config(hef, id, &mut words)?;
            let mapping = map(Direction::ToDevice)?;
            let written = mapping.memory().write(0, &words);
            written.map_err(DmaError::from)?;
            if !transport.capabilities().coherent {
                transport.sync(mapping.memory(), 0, len, Sync::ForDevice);
            }
            Ok(Arc::new(mapping))
        }
        BufferUse::Cache { id } => {
            let known = caches.get(id).and_then(Weak::upgrade);
            if let Some(known) = known.filter(|known| known.memory().len() >= len) {
                return Ok(known);
            }
            let made = Arc::new(map(Direction::Both)?);
            caches.insert(*id, Arc::downgrade(&made));
            Ok(made)
        }
        BufferUse::InterContext { .. } | BufferUse::Ddr { .. } => {
            Ok(Arc::new(map(Direction::Both)?))
        }
    }
}

/// Writes one descriptor.
fn program(
    list: &DescriptorList,
    buffers: &[Arc<Mapping>],
    page: u32,
    slot: &Slot,
) -> Result<(), InferError> {
    let lost = || InferError::Inconsistent(format!("descriptor {} leads nowhere", slot.index));
    let buffer = buffers.get(slot.buffer.0).ok_or_else(lost)?;
    let bytes = usize::try_from(slot.bytes).map_err(|_| lost())?;
    let offset = usize::try_from(slot.offset).map_err(|_| lost())?;
    let segment = at(&buffer.segments().0, offset, bytes).ok_or_else(lost)?;
    let chunk = Chunk {
        segments: &[segment],
        bytes,
        page,
        data_id: data_id::HOST,
        last_control: control::PLAIN,
    };
    list.program(&chunk, slot.index)?;
    Ok(())
}

/// The piece of `len` bytes from `offset` on, where it lies in one segment: mappings are cut at multiples of a page of
/// the system, descriptors do not reach across one.
fn at(segments: &[Segment], mut offset: usize, len: usize) -> Option<Segment> {
    for segment in segments {
        if offset < segment.len {
            let address = segment.address.0.checked_add(u64::try_from(offset).ok()?)?;
            let whole = offset.checked_add(len)? <= segment.len;
            return whole.then_some(Segment {
                address: Iova(address),
                len,
            });
        }
        offset -= segment.len;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_found_in_its_segment_and_never_across_two() {
        let segment = |address, len| Segment {
            address: Iova(address),
            len,
        };
        let all = [segment(0x1000, 0x1000), segment(0x8000, 0x2000)];
        assert_eq!(at(&all, 0x200, 0x200), Some(segment(0x1200, 0x200)));
        assert_eq!(at(&all, 0x1000, 0x1000), Some(segment(0x8000, 0x1000)));
        assert_eq!(at(&all, 0xe00, 0x400), None);
        assert_eq!(at(&all, 0x2e00, 0x200), Some(segment(0x9e00, 0x200)));
        assert_eq!(at(&all, 0x3000, 1), None);
    }
}

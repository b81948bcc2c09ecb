//! Memory for a device that no IOMMU confines: it is told physical addresses, as the host bridge
//! translates them, and nothing but its own good behaviour keeps it from other memory.
//!
//! What an IOMMU does otherwise is done here by hand:
//!
//! | | |
//! |---|---|
//! | where a page is | [`frames`]: the kernel's page map, which root may read |
//! | that it stays there | [`pins`]: long-term pins of io_uring |
//! | at which address the device finds it | [`Inbound`]: the windows of the host bridge |
//! | lists in one piece | [`runs`]: contiguous pages are found among many |
//! | caches | [`cache`]: where the host is not coherent |
//! | that pages outlive the device's DMA | [`guardian`] |
//!
//! Why io_uring: `mlock` and huge pages leave pages movable or need a kernel with huge pages, which that
//! of the Raspberry Pi is not; memory of a dma-heap is contiguous, but no interface tells where it is; a
//! udmabuf would pin as well, takes at most 64 MiB each, and its module is not in every kernel.

mod cache;
mod frames;
mod guarded;
mod guardian;
mod pins;
mod runs;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, PoisonError};

pub(super) use guarded::{Guarded, Lock};
pub(super) use guardian::Closing;
use guardian::Guardian;

use super::{
    Capabilities, Direction, Placement, ResetAbility, Result, Segment, Segments, TransportError,
};
use crate::addr::{Bdf, Iova};
use crate::mem::{HostMemory, PagePool, page_size};
use crate::pci::{Inbound, Root};
use crate::spec::descriptor;
use crate::spec::vdma_bar::{LIST_ALIGNMENT, MAX_DESCRIPTORS, MIN_DESCRIPTORS};
use frames::{FrameError, PageMap};
use pins::{Pin, Pins};
use runs::Runs;

/// Bytes of memory in which the longest list is looked for.
const SAMPLE: usize = 8 << 20;
/// Lists that must fit into the sample: those of a boot, with some to spare.
const LISTS: usize = 6;
/// Most memory in which a place for one list is looked for.
const MOST: usize = 64 << 20;

/// Physical memory of one device.
#[derive(Debug)]
pub(super) struct PhysicalSpace {
    name: String,
    inbound: Inbound,
    coherent: bool,
    longest_list: u32,
    map: PageMap,
    pins: Pins,
    mapped: Mutex<BTreeMap<u64, Vec<Mapped>>>,
}

/// Memory that the device knows.
#[derive(Debug)]
struct Mapped {
    memory: Arc<HostMemory>,
    frames: Vec<u64>,
    pin: Pin,
}

/// Bytes as pages.
fn pages(len: usize) -> usize {
    len.div_ceil(page_size())
}

fn to_u64(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

impl From<FrameError> for TransportError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Hidden => Self::HiddenFrames,
            FrameError::NotPresent { .. } => Self::Protocol(error.to_string()),
            FrameError::Read(source) => Self::Os {
                action: "reading where memory is (/proc/self/pagemap)",
                source,
            },
        }
    }
}

fn os(action: &'static str) -> impl Fn(io::Error) -> TransportError {
    move |source| TransportError::Os { action, source }
}

impl PhysicalSpace {
    /// Prepares for the function at `address`: finds out whether this process may know where memory is,
    /// whether pages can be pinned, and how long a list can be.
    ///
    /// # Errors
    /// One of these is not possible, or the host's caches can't be maintained by a program.
    pub(super) fn new(root: &Root, address: Bdf) -> Result<Self> {
        let inbound = Inbound::read(root, address);
        // Where nothing says that caches follow, it is assumed that they do not: that costs time only.
        let coherent = inbound.coherent.unwrap_or(false);
        if !coherent && !cache::POSSIBLE {
            return Err(TransportError::Unsupported {
                what: "cache maintenance on this processor",
                backend: "a program",
            });
        }
        let pins = Pins::new().map_err(|source| TransportError::CannotPin { source })?;
        let map = PageMap::open().map_err(FrameError::Read)?;
        let mut this = Self {
            name: address.to_string(),
            inbound,
            coherent,
            longest_list: 0,
            map,
            pins,
            mapped: Mutex::new(BTreeMap::new()),
        };
        this.longest_list = this.measure()?;
        log::debug!(
            "{}: lists of up to {} descriptors, caches {}, {} windows to memory",
            this.name,
            this.longest_list,
            if this.coherent {
                "follow"
            } else {
                "are maintained"
            },
            this.inbound.windows.len()
        );
        Ok(this)
    }

    /// What a back end with this memory can do.
    pub(super) fn capabilities(
        &self,
        backend: &'static str,
        interrupt: bool,
        reset: ResetAbility,
    ) -> Capabilities {
        Capabilities {
            backend,
            confined: false,
            interrupt,
            coherent: self.coherent,
            one_way_mappings: false,
            file_mappings: false,
            longest_list: self.longest_list,
            map_granularity: page_size(),
            reset,
        }
    }

    /// What holds all pages in place.
    pub(super) fn pins(&self) -> BorrowedFd<'_> {
        self.pins.descriptor()
    }

    /// The bus address of the page in this frame.
    fn bus(&self, frame: u64) -> Option<Iova> {
        let page = to_u64(page_size());
        self.inbound.translate(frame.checked_mul(page)?, page)
    }

    /// Whether a list may begin in this frame.
    fn begins_list(&self, frame: u64) -> bool {
        self.bus(frame)
            .is_some_and(|address| address.is_aligned_to(LIST_ALIGNMENT))
    }

    fn sample(&self, len: usize) -> Result<(PagePool, Runs)> {
        let pool = PagePool::new(len).map_err(os("allocating DMA memory"))?;
        let frames = self.map.frames(pool.address(), pool.pages())?;
        Ok((pool, Runs::new(&frames)))
    }

    /// The longest list of which several find a place now. It may be fewer later.
    fn measure(&self) -> Result<u32> {
        let (_pool, runs) = self.sample(SAMPLE)?;
        let mut longest = MAX_DESCRIPTORS;
        while longest > MIN_DESCRIPTORS {
            let bytes = usize::try_from(longest).unwrap_or(usize::MAX) * descriptor::LEN;
            if runs.count(pages(bytes), |frame| self.begins_list(frame)) >= LISTS {
                break;
            }
            longest /= 2;
        }
        Ok(longest)
    }

    /// As [`Transport::allocate`](super::Transport::allocate).
    pub(super) fn allocate(&self, len: usize, placement: Placement) -> Result<HostMemory> {
        match placement {
            Placement::Data => HostMemory::anonymous(len).map_err(os("allocating DMA memory")),
            Placement::List => self.contiguous(len),
        }
    }

    /// Memory in one piece. Looks in more and more memory; what is not wanted of it goes back at once.
    fn contiguous(&self, len: usize) -> Result<HostMemory> {
        let wanted = pages(len);
        let mut room = len.saturating_mul(4);
        loop {
            let (pool, runs) = self.sample(room)?;
            if let Some(run) = runs.find(wanted, |frame| self.begins_list(frame)) {
                let memory = pool.pick(&run).map_err(os("arranging DMA memory"))?;
                if self.stays_in_one_piece(&memory)? {
                    return Ok(memory);
                }
            }
            room = room.saturating_mul(2);
            if room > MOST {
                return Err(TransportError::NotContiguous { len });
            }
        }
    }

    /// Whether memory is contiguous when it is pinned: pages that the kernel had only lent (from the
    /// memory it keeps for cameras and displays) are moved out of there first.
    fn stays_in_one_piece(&self, memory: &HostMemory) -> Result<bool> {
        let pin = self.pin(memory)?;
        let frames = self.frames(memory);
        self.unpin(&pin)?;
        Ok(frames?.windows(2).all(|pair| pair[0] + 1 == pair[1]))
    }

    fn pin(&self, memory: &HostMemory) -> Result<Pin> {
        let pinned = self.pins.pin(memory);
        pinned.map_err(os("pinning memory for the device"))
    }

    fn unpin(&self, pin: &Pin) -> Result<()> {
        let unpinned = self.pins.unpin(pin);
        unpinned.map_err(os("unpinning memory of the device"))
    }

    fn frames(&self, memory: &HostMemory) -> Result<Vec<u64>> {
        let address = memory.address().map_err(os("finding DMA memory"))?;
        Ok(self.map.frames(address, pages(memory.len()))?)
    }

    /// As [`Transport::map`](super::Transport::map): pages that lie side by side are one segment.
    pub(super) fn map(
        &self,
        memory: &Arc<HostMemory>,
        placement: Placement,
        direction: Direction,
    ) -> Result<Segments> {
        if direction.device_writes() && !memory.is_writable() {
            return Err(TransportError::Unsupported {
                what: "a device that writes into a file",
                backend: "physical memory",
            });
        }
        let pin = self.pin(memory)?;
        let placed = self.place(memory, placement);
        let (segments, frames) = match placed {
            Ok(placed) => placed,
            Err(error) => {
                self.unpin(&pin)?;
                return Err(error);
            }
        };
        let base = segments.base().unwrap_or_default();
        let mapped = Mapped {
            memory: memory.clone(),
            frames,
            pin,
        };
        self.mapped().entry(base.0).or_default().push(mapped);
        Ok(segments)
    }

    fn place(&self, memory: &HostMemory, placement: Placement) -> Result<(Segments, Vec<u64>)> {
        let frames = self.frames(memory)?;
        let mut segments: Vec<Segment> = Vec::new();
        let mut left = memory.len();
        for &frame in &frames {
            let len = left.min(page_size());
            left -= len;
            let address = self.bus(frame).ok_or(TransportError::OutOfReach {
                physical: frame.saturating_mul(to_u64(page_size())),
            })?;
            match segments.last_mut() {
                Some(last) if last.address.checked_add(to_u64(last.len)) == Some(address) => {
                    last.len += len;
                }
                _ => segments.push(Segment { address, len }),
            }
        }
        if placement == Placement::List && segments.len() != 1 {
            return Err(TransportError::NotContiguous { len: memory.len() });
        }
        Ok((Segments(segments), frames))
    }

    /// As [`Transport::unmap`](super::Transport::unmap).
    pub(super) fn unmap(&self, segments: &Segments) -> Result<()> {
        let base = segments.base().unwrap_or_default();
        let mut mapped = self.mapped();
        let here = mapped.get_mut(&base.0);
        let Some(one) = here.and_then(Vec::pop) else {
            return Err(TransportError::Protocol(format!(
                "nothing is mapped for the device at {base}"
            )));
        };
        mapped.retain(|_, all| !all.is_empty());
        drop(mapped);
        // A page that moved in spite of its pin: the device worked on memory that was not ours.
        if self.frames(&one.memory)? != one.frames {
            log::error!(
                "{}: memory moved while the device used it: its contents, and other memory, may be wrong",
                self.name
            );
        }
        self.unpin(&one.pin)
    }

    fn mapped(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Vec<Mapped>>> {
        self.mapped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Transport::sync`](super::Transport::sync). Both ways it takes the same: lines are written back
    /// and dropped, so that none that is older than what the device wrote is read, or written later.
    pub(super) fn sync(&self, memory: &HostMemory, offset: usize, len: usize) {
        if self.coherent || len == 0 {
            return;
        }
        let inside = offset.checked_add(len).filter(|end| *end <= memory.len());
        let (Some(end), Ok(address)) = (inside, memory.address()) else {
            log::error!("{}: cache maintenance outside of its memory", self.name);
            return;
        };
        let start = address.as_ptr().addr();
        cache::clean_and_invalidate(start + offset..start + end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where this process may not know where memory is there is nothing to test.
    fn space() -> Option<PhysicalSpace> {
        let root = tempfile::tempdir().unwrap();
        let space = PhysicalSpace::new(&Root::new(root.path()), "03:00.0".parse().unwrap());
        match space {
            Ok(space) => Some(space),
            Err(error) => {
                eprintln!("NOT RUN: no physical memory here: {error}");
                None
            }
        }
    }

    #[test]
    fn a_list_is_in_one_piece_and_aligned() {
        let Some(space) = space() else { return };
        assert!(space.longest_list >= 256, "{}", space.longest_list);
        let len = usize::try_from(space.longest_list).unwrap() * descriptor::LEN;
        let lists: Vec<_> = (0..4)
            .map(|_| {
                let memory = Arc::new(space.allocate(len, Placement::List).unwrap());
                let segments = space
                    .map(&memory, Placement::List, Direction::Both)
                    .unwrap();
                assert_eq!(segments.0.len(), 1);
                assert!(segments.base().unwrap().is_aligned_to(LIST_ALIGNMENT));
                assert!(segments.0[0].len >= len);
                segments
            })
            .collect();
        for list in &lists {
            space.unmap(list).unwrap();
        }
        assert!(space.unmap(&lists[0]).is_err(), "it is unmapped already");
    }

    #[test]
    fn data_has_a_segment_for_each_run_of_pages_and_stays_where_it_is() {
        let Some(space) = space() else { return };
        let len = 64 * page_size();
        let memory = Arc::new(space.allocate(len, Placement::Data).unwrap());
        let segments = space
            .map(&memory, Placement::Data, Direction::Both)
            .unwrap();
        let bytes: usize = segments.0.iter().map(|segment| segment.len).sum();
        assert_eq!(bytes, len);
        assert!(
            segments
                .0
                .iter()
                .all(|segment| segment.len % page_size() == 0)
        );
        let frames = space.frames(&memory).unwrap();
        memory.write(0, &vec![7; len]).unwrap();
        assert_eq!(space.frames(&memory).unwrap(), frames);
        space.unmap(&segments).unwrap();
    }

    #[test]
    fn a_page_that_no_window_shows_is_out_of_reach() {
        let Some(mut space) = space() else { return };
        space.inbound.windows = vec![crate::pci::inbound::Window {
            bus: 0,
            physical: 1 << 50,
            size: 1 << 20,
        }];
        let memory = Arc::new(space.allocate(1, Placement::Data).unwrap());
        let refused = space.map(&memory, Placement::Data, Direction::ToDevice);
        assert!(matches!(refused, Err(TransportError::OutOfReach { .. })));
        let none = space.allocate(64, Placement::List);
        assert!(matches!(
            none,
            Err(TransportError::NotContiguous { len: 64 })
        ));
    }
}

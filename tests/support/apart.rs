//! The hardest host there is: no IOMMU's conveniences, no interrupt, and caches that nobody keeps in step.
//!
//! The device has memory of its own, as behind caches: what the processor writes arrives there with
//! `sync` only, and what the device writes arrives at the processor with `sync` only. A line that the
//! processor changed and never synced is written back later over what the device wrote, as a cache would.
//! Every page lies somewhere else on the bus.

use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex};

use hailo_vfio::mem::{HostMemory, page_size};
use hailo_vfio::spec::register::Bar;
use hailo_vfio::transport::{
    Capabilities, Direction, Placement, Region, Result, Segments, Sync, Transport, Width,
};

const LINE: usize = 64;

/// Memory that the device has instead of one of ours.
#[derive(Debug)]
struct Shadow {
    memory: Arc<HostMemory>,
    /// What of ours is in step with the device's: what a cache holds unchanged.
    clean: Vec<u8>,
    pieces: Vec<(Arc<HostMemory>, Segments)>,
    piece: usize,
}

impl Shadow {
    fn line(&self, at: usize) -> (&HostMemory, usize) {
        (&self.pieces[at / self.piece].0, at % self.piece)
    }

    /// What the instruction that cleans and invalidates a line does.
    fn sync_line(&mut self, at: usize) {
        let mut ours = [0; LINE];
        self.memory.read(at, &mut ours).unwrap();
        let (theirs, offset) = self.line(at);
        if ours == self.clean[at..at + LINE] {
            theirs.read(offset, &mut ours).unwrap();
            self.memory.write(at, &ours).unwrap();
        } else {
            theirs.write(offset, &ours).unwrap();
        }
        self.clean[at..at + LINE].copy_from_slice(&ours);
    }
}

/// A transport that takes conveniences away from another one.
#[derive(Debug)]
pub(crate) struct Apart {
    inner: Arc<dyn Transport>,
    capabilities: Capabilities,
    shadows: Mutex<Vec<Shadow>>,
}

impl Apart {
    /// Takes them from `inner`; lists have at most `longest_list` descriptors.
    pub(crate) fn new(inner: Arc<dyn Transport>, longest_list: u32) -> Self {
        let capabilities = Capabilities {
            confined: false,
            interrupt: false,
            coherent: false,
            one_way_mappings: false,
            file_mappings: false,
            longest_list,
            ..inner.capabilities().clone()
        };
        Self {
            inner,
            capabilities,
            shadows: Mutex::default(),
        }
    }
}

impl Transport for Apart {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn region(&self, bar: Bar) -> Region {
        self.inner.region(bar)
    }

    fn read32(&self, bar: Bar, offset: u32) -> Result<u32> {
        self.inner.read32(bar, offset)
    }

    fn write32(&self, bar: Bar, offset: u32, value: u32) -> Result<()> {
        self.inner.write32(bar, offset, value)
    }

    fn config_read(&self, offset: u16, width: Width) -> Result<u32> {
        self.inner.config_read(offset, width)
    }

    fn config_write(&self, offset: u16, width: Width, value: u32) -> Result<()> {
        self.inner.config_write(offset, width, value)
    }

    fn arm_interrupt(&self) -> Result<Option<BorrowedFd<'_>>> {
        Ok(None)
    }

    fn disarm_interrupt(&self) -> Result<()> {
        Ok(())
    }

    fn allocate(&self, len: usize, placement: Placement) -> Result<HostMemory> {
        let longest = usize::try_from(self.capabilities.longest_list).unwrap() * 16;
        assert!(
            placement == Placement::Data || len <= longest,
            "a list of {len} bytes"
        );
        self.inner.allocate(len, placement)
    }

    fn map(
        &self,
        memory: &Arc<HostMemory>,
        placement: Placement,
        direction: Direction,
    ) -> Result<Segments> {
        let piece = match placement {
            Placement::List => memory.len(),
            Placement::Data => page_size(),
        };
        let mut clean = vec![0; memory.len()];
        memory.read(0, &mut clean).unwrap();
        // Whatever was changed so far is in the cache only.
        clean.iter_mut().for_each(|byte| *byte = !*byte);
        let mut pieces = Vec::new();
        // Backwards, so that no two pages follow one another on the bus.
        for _ in (0..memory.len()).step_by(piece) {
            let theirs = HostMemory::anonymous(piece).unwrap();
            theirs.write(0, &vec![0xa5; piece]).unwrap();
            let theirs = Arc::new(theirs);
            let segments = self.inner.map(&theirs, placement, direction)?;
            pieces.insert(0, (theirs, segments));
        }
        let all = pieces.iter().flat_map(|(_, segments)| segments.0.clone());
        let segments = Segments(all.collect());
        self.shadows.lock().unwrap().push(Shadow {
            memory: memory.clone(),
            clean,
            pieces,
            piece,
        });
        Ok(segments)
    }

    fn unmap(&self, segments: &Segments) -> Result<()> {
        let mut shadows = self.shadows.lock().unwrap();
        let base = segments.base();
        let place = shadows
            .iter()
            .position(|one| one.pieces[0].1.base() == base);
        let shadow = shadows.remove(place.expect("it was mapped"));
        shadow
            .pieces
            .iter()
            .try_for_each(|(_, segments)| self.inner.unmap(segments))
    }

    fn sync(&self, memory: &HostMemory, offset: usize, len: usize, _: Sync) {
        let mut shadows = self.shadows.lock().unwrap();
        let of = |one: &&mut Shadow| std::ptr::eq(&raw const *one.memory, memory);
        let shadow = shadows
            .iter_mut()
            .find(of)
            .expect("only mapped memory is synced");
        assert!(offset + len <= memory.len());
        if len > 0 {
            let first = offset - offset % LINE;
            (first..offset + len)
                .step_by(LINE)
                .for_each(|at| shadow.sync_line(at));
        }
    }

    fn reset(&self) -> Result<()> {
        self.inner.reset()
    }
}

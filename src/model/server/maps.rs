//! What the client lets the function reach, and the direct way there.
//!
//! Memory is reached by positioned reads and writes on the descriptor that the client shared: a
//! client that truncates its file makes an access fail, never this process. With a guest IOMMU there
//! are thousands of mappings of one file, so one descriptor is kept for each file, not for each
//! mapping. What can't be reached directly is left to a message to the client ([`Piece::Ask`]).

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::{SFlag, fstat};

use crate::mem::page_size;
use crate::spec::vfio_user::{DEFAULT_MAPPINGS, DEFAULT_PAGE, DmaMap, DmaUnmap, access, unmap};

/// A file that the client shared.
#[derive(Debug)]
struct SharedFile {
    file: File,
    /// A write has failed: hugetlbfs has none, a seal or the open mode may forbid it.
    unwritable: AtomicBool,
}

/// Which file, opened how: device, inode, access mode.
type FileKey = (u64, u64, i32);

#[derive(Debug)]
struct Mapping {
    len: u64,
    /// See [`access`].
    flags: u32,
    /// Where it begins in the file.
    offset: u64,
    file: Option<Arc<SharedFile>>,
}

#[derive(Debug, Default)]
struct Maps {
    by_address: BTreeMap<u64, Mapping>,
    files: HashMap<FileKey, Weak<SharedFile>>,
}

/// What became of the first bytes of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// So many bytes are done.
    Done(usize),
    /// So many bytes must be asked for: they are not mapped (for this direction), or not reachable.
    Ask(usize),
}

/// The mappings of one client.
#[derive(Debug, Default)]
pub(super) struct MapTable(RwLock<Maps>);

impl MapTable {
    /// Adds a mapping.
    ///
    /// # Errors
    /// `EEXIST` where it overlaps another, `EINVAL` where its numbers make no sense, `ENOSPC` where
    /// there are too many.
    pub(super) fn insert(
        &self,
        request: &DmaMap,
        descriptor: Option<OwnedFd>,
    ) -> Result<(), Errno> {
        let (address, len) = (request.address.get(), request.size.get());
        let (offset, flags) = (request.offset.get(), request.flags.get());
        let last = len
            .checked_sub(1)
            .and_then(|more| address.checked_add(more))
            .ok_or(Errno::EINVAL)?;
        let aligned = address.is_multiple_of(DEFAULT_PAGE) && len.is_multiple_of(DEFAULT_PAGE);
        let known = flags != 0 && flags & !(access::READ | access::WRITE) == 0;
        if !aligned || !known {
            return Err(Errno::EINVAL);
        }
        let shared = match descriptor {
            Some(descriptor) => self.adopt(descriptor, offset, len)?,
            None => None,
        };
        let mut maps = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let before = maps.by_address.range(..=last).next_back();
        if before.is_some_and(|(&start, other)| start + (other.len - 1) >= address) {
            return Err(Errno::EEXIST);
        }
        if u32::try_from(maps.by_address.len()).map_or(true, |count| count >= DEFAULT_MAPPINGS) {
            return Err(Errno::ENOSPC);
        }
        let file = shared.map(|(key, file)| {
            let kept = maps.files.get(&key).and_then(Weak::upgrade);
            kept.unwrap_or_else(|| {
                let file = Arc::new(file);
                maps.files.insert(key, Arc::downgrade(&file));
                file
            })
        });
        let mapping = Mapping {
            len,
            flags,
            offset,
            file,
        };
        maps.by_address.insert(address, mapping);
        Ok(())
    }

    /// Looks at a descriptor; `None` where it is no file with positions (device memory, say), which
    /// is then reached by messages.
    fn adopt(
        &self,
        descriptor: OwnedFd,
        offset: u64,
        len: u64,
    ) -> Result<Option<(FileKey, SharedFile)>, Errno> {
        let stat = fstat(&descriptor)?;
        if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
            return Ok(None);
        }
        let mode = fcntl(&descriptor, FcntlArg::F_GETFL)? & OFlag::O_ACCMODE.bits();
        let size = u64::try_from(stat.st_size).map_err(|_| Errno::EINVAL)?;
        let end = offset.checked_add(len).ok_or(Errno::EINVAL)?;
        if whole_pages(size) < end {
            return Err(Errno::EINVAL);
        }
        let file = SharedFile {
            file: File::from(descriptor),
            unwritable: AtomicBool::new(false),
        };
        Ok(Some(((stat.st_dev, stat.st_ino, mode), file)))
    }

    /// Removes all mappings inside a range. When this returns no access uses them any more.
    ///
    /// # Errors
    /// `EINVAL` where a mapping lies across the border, or the numbers make no sense.
    pub(super) fn remove(&self, request: &DmaUnmap) -> Result<(), Errno> {
        let (address, len) = (request.address.get(), request.size.get());
        let mut maps = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match request.flags.get() {
            unmap::ALL => maps.by_address.clear(),
            0 => {
                let last = len
                    .checked_sub(1)
                    .and_then(|more| address.checked_add(more))
                    .ok_or(Errno::EINVAL)?;
                let end = |(&start, mapping): (&u64, &Mapping)| start + (mapping.len - 1);
                let before = maps.by_address.range(..address).next_back().map(end);
                let inside = maps.by_address.range(address..=last);
                let starts: Vec<u64> = inside.clone().map(|(&start, _)| start).collect();
                let inside = inside.last().map(end);
                if before.is_some_and(|end| end >= address) || inside.is_some_and(|end| end > last)
                {
                    return Err(Errno::EINVAL);
                }
                for start in starts {
                    maps.by_address.remove(&start);
                }
            }
            _ => return Err(Errno::EINVAL),
        }
        maps.files.retain(|_, file| file.strong_count() > 0);
        Ok(())
    }

    /// Removes everything and closes all files.
    pub(super) fn clear(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Maps::default();
    }

    /// Reads the first bytes at `address`; `into` has one at least.
    pub(super) fn read(&self, address: u64, into: &mut [u8]) -> Piece {
        self.first(address, into.len(), access::READ, |file, offset, len| {
            read_mapped(&file.file, offset, &mut into[..len]).is_ok()
        })
    }

    /// Writes the first bytes at `address`; `from` has one at least.
    pub(super) fn write(&self, address: u64, from: &[u8]) -> Piece {
        self.first(address, from.len(), access::WRITE, |file, offset, len| {
            let done = !file.unwritable.load(Ordering::Relaxed)
                && file.file.write_all_at(&from[..len], offset).is_ok();
            if !done {
                file.unwritable.store(true, Ordering::Relaxed);
            }
            done
        })
    }

    fn first(
        &self,
        address: u64,
        len: usize,
        wanted: u32,
        access: impl FnOnce(&SharedFile, u64, usize) -> bool,
    ) -> Piece {
        let clip = |left: u64| usize::try_from(left).unwrap_or(usize::MAX).min(len);
        let maps = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let before = maps.by_address.range(..=address).next_back();
        let found = before.filter(|(start, mapping)| address - *start < mapping.len);
        let Some((start, mapping)) = found else {
            let next = maps.by_address.range(address..).next();
            return Piece::Ask(next.map_or(len, |(start, _)| clip(start - address)));
        };
        let inside = address - start;
        let len = clip(mapping.len - inside);
        match &mapping.file {
            Some(file) if mapping.flags & wanted != 0 => {
                // Checked when it was mapped: offset and length stay below 2^64.
                if access(file, mapping.offset + inside, len) {
                    Piece::Done(len)
                } else {
                    Piece::Ask(len)
                }
            }
            _ => Piece::Ask(len),
        }
    }
}

fn whole_pages(bytes: u64) -> u64 {
    let page = u64::try_from(page_size()).unwrap_or(DEFAULT_PAGE);
    bytes.checked_next_multiple_of(page).unwrap_or(bytes)
}

/// Reads as a mapping of the file would: behind the file's end its last page is zero, and further on
/// there is nothing.
fn read_mapped(file: &File, offset: u64, into: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < into.len() {
        let at = u64::try_from(done).map_or(u64::MAX, |done| offset.saturating_add(done));
        match file.read_at(&mut into[done..], at) {
            Ok(0) => {
                let room = whole_pages(file.metadata()?.len()).saturating_sub(at);
                let rest = &mut into[done..];
                if usize::try_from(room).is_ok_and(|room| room < rest.len()) {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                rest.fill(0);
                return Ok(());
            }
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::HostMemory;
    use std::os::unix::fs::MetadataExt;

    fn map(address: u64, size: u64, offset: u64, flags: u32) -> DmaMap {
        DmaMap {
            argsz: 32.into(),
            flags: flags.into(),
            offset: offset.into(),
            address: address.into(),
            size: size.into(),
        }
    }

    fn unmapping(address: u64, size: u64, flags: u32) -> DmaUnmap {
        DmaUnmap {
            argsz: 24.into(),
            flags: flags.into(),
            address: address.into(),
            size: size.into(),
        }
    }

    fn shared(memory: &HostMemory) -> Option<OwnedFd> {
        Some(memory.descriptor().0.try_clone_to_owned().unwrap())
    }

    const BOTH: u32 = access::READ | access::WRITE;

    #[test]
    fn one_descriptor_is_kept_for_thousands_of_mappings_of_one_file() {
        let memory = HostMemory::anonymous(64 << 20).unwrap();
        let table = MapTable::default();
        let inode = fstat(memory.descriptor().0).unwrap().st_ino;
        let open = || {
            let entries = std::fs::read_dir("/proc/self/fd").unwrap();
            let files = entries.filter_map(|entry| std::fs::metadata(entry.ok()?.path()).ok());
            files.filter(|file| file.ino() == inode).count()
        };
        let before = open();
        for page in 0..2000 {
            let at = page * 0x1000;
            table
                .insert(
                    &map(0x10_0000_0000 + 2 * at, 0x1000, at, BOTH),
                    shared(&memory),
                )
                .unwrap();
        }
        assert_eq!(open(), before + 1);
        table.remove(&unmapping(0, u64::MAX, 0)).unwrap();
        assert_eq!(open(), before);
    }

    #[test]
    fn an_access_goes_through_the_mapping_and_asks_for_what_is_outside() {
        let memory = HostMemory::anonymous(0x4000).unwrap();
        memory.write(0x1ffe, &[1, 2, 3, 4]).unwrap();
        let table = MapTable::default();
        table
            .insert(&map(0x1_0000, 0x2000, 0, BOTH), shared(&memory))
            .unwrap();
        table
            .insert(&map(0x1_2000, 0x1000, 0x2000, access::READ), None)
            .unwrap();
        table
            .insert(
                &map(0x2_0000, 0x1000, 0x3000, access::READ),
                shared(&memory),
            )
            .unwrap();
        let mut bytes = [0; 4];
        assert_eq!(table.read(0x1_1ffe, &mut bytes), Piece::Done(2));
        assert_eq!(bytes, [1, 2, 0, 0]);
        assert_eq!(table.read(0x1_2000, &mut bytes), Piece::Ask(4));
        assert_eq!(table.read(0x1_2ffe, &mut bytes), Piece::Ask(2));
        assert_eq!(table.read(0x1_3000, &mut bytes), Piece::Ask(4));
        assert_eq!(table.read(0x1_fffe, &mut bytes), Piece::Ask(2));
        assert_eq!(table.write(0x1_0000, &[9, 9]), Piece::Done(2));
        assert_eq!(table.write(0x2_0000, &[9, 9]), Piece::Ask(2));
        let mut seen = [0; 2];
        memory.read(0, &mut seen).unwrap();
        assert_eq!(seen, [9, 9]);
    }

    #[test]
    fn overlaps_and_nonsense_are_refused() {
        let table = MapTable::default();
        table.insert(&map(0x4000, 0x2000, 0, BOTH), None).unwrap();
        for (address, size) in [
            (0x4000, 0x2000),
            (0x3000, 0x2000),
            (0x5000, 0x1000),
            (0, 0x1_0000),
        ] {
            let overlap = table.insert(&map(address, size, 0, BOTH), None);
            assert_eq!(overlap, Err(Errno::EEXIST), "{address:#x}+{size:#x}");
        }
        for bad in [
            map(0x8000, 0, 0, BOTH),
            map(0x8000, 0x1001, 0, BOTH),
            map(0x8001, 0x1000, 0, BOTH),
            map(0x8000, 0x1000, 0, 0),
            map(0x8000, 0x1000, 0, 7),
            map(u64::MAX - 0xfff, 0x2000, 0, BOTH),
        ] {
            assert_eq!(table.insert(&bad, None), Err(Errno::EINVAL), "{bad:x?}");
        }
        table
            .insert(&map(u64::MAX - 0xfff, 0x1000, 0, BOTH), None)
            .unwrap();
        let memory = HostMemory::anonymous(0x1000).unwrap();
        let beyond = map(0x10_0000, 0x100_0000, 0, BOTH);
        assert_eq!(table.insert(&beyond, shared(&memory)), Err(Errno::EINVAL));
        let offset = map(0x10_0000, 0x1000, u64::MAX - 10, BOTH);
        assert_eq!(table.insert(&offset, shared(&memory)), Err(Errno::EINVAL));
    }

    #[test]
    fn an_unmap_takes_whole_mappings_only() {
        let table = MapTable::default();
        for start in [0x1000, 0x2000, 0x4000] {
            table.insert(&map(start, 0x1000, 0, BOTH), None).unwrap();
        }
        table.insert(&map(0x8000, 0x4000, 0, BOTH), None).unwrap();
        for (address, size) in [(0x9000, 0x1000), (0x7000, 0x2000), (0xb000, 0x2000), (0, 0)] {
            let across = table.remove(&unmapping(address, size, 0));
            assert_eq!(across, Err(Errno::EINVAL), "{address:#x}+{size:#x}");
        }
        table.remove(&unmapping(0x1000, 0x4000, 0)).unwrap();
        assert_eq!(table.0.read().unwrap().by_address.len(), 1);
        table.remove(&unmapping(0, 0, unmap::ALL)).unwrap();
        assert_eq!(table.0.read().unwrap().by_address.len(), 0);
        assert_eq!(table.remove(&unmapping(0, 0x1000, 1)), Err(Errno::EINVAL));
    }

    #[test]
    fn a_file_reads_like_its_mapping_even_when_it_shrinks() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[5; 5000], 0).unwrap();
        let len = whole_pages(5000);
        let table = MapTable::default();
        let descriptor = file.try_clone().unwrap().into();
        table
            .insert(&map(0x10_0000, len, 0, BOTH), Some(descriptor))
            .unwrap();
        let mut bytes = [1; 16];
        assert_eq!(table.read(0x10_0000 + 4992, &mut bytes), Piece::Done(16));
        assert_eq!(bytes, [5, 5, 5, 5, 5, 5, 5, 5, 0, 0, 0, 0, 0, 0, 0, 0]);
        file.set_len(0).unwrap();
        assert_eq!(table.read(0x10_0000, &mut bytes), Piece::Ask(16));
    }

    #[test]
    fn what_is_no_file_is_left_to_messages() {
        let (pipe, _other) = nix::unistd::pipe().unwrap();
        let table = MapTable::default();
        table
            .insert(&map(0x1000, 0x1000, 0, BOTH), Some(pipe))
            .unwrap();
        assert_eq!(table.read(0x1000, &mut [0; 4]), Piece::Ask(4));
    }
}

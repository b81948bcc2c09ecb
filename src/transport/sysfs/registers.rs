//! The base address registers of a function, mapped from its files in sysfs.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::mem::page_size;
use crate::pci::sysfs;
use crate::spec::register::Bar;
use crate::transport::mmio::MappedBar;
use crate::transport::reason::Reason;
use crate::transport::{Region, Result, function};

/// Registers behind one base address register.
#[derive(Debug)]
struct Place {
    len: u32,
    mapped: Option<MappedBar>,
}

/// The three regions.
#[derive(Debug)]
pub(super) struct Registers {
    bars: [Place; 3],
    /// Whether the function answers memory accesses. While it does not, an access may be fatal to this
    /// process or to the machine: then a read gives all ones, and a write goes nowhere, as on the bus.
    answers: AtomicBool,
}

/// First address and bytes of each base address register, from the file `resource`.
fn resources(text: &str) -> Option<Vec<(u64, u64)>> {
    let hex = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    let resource = |line: &str| {
        let mut numbers = line.split_whitespace().map(hex);
        let (start, end) = (numbers.next()??, numbers.next()??);
        let len = match (start, end) {
            (0, 0) => 0,
            _ => end.checked_sub(start)?.checked_add(1)?,
        };
        Some((start, len))
    };
    text.lines().map(resource).collect()
}

impl Registers {
    /// Maps the registers of the function at `directory`. Nothing is accessed yet.
    pub(super) fn map(directory: &Path) -> std::result::Result<Self, Reason> {
        let text = sysfs::text(&directory.join("resource"));
        let all = text.and_then(|text| resources(&text));
        let all = all.ok_or(Reason::Nonsense {
            what: "what sysfs tells about its registers",
        })?;
        let place = |bar: Bar| {
            let index = bar.index();
            let resource = all.get(usize::from(index)).copied().unwrap_or_default();
            place(directory, index, resource)
        };
        let [config, vdma, access] = Bar::ALL.map(place);
        Ok(Self {
            bars: [config?, vdma?, access?],
            answers: AtomicBool::new(false),
        })
    }

    pub(super) fn set_answers(&self, answers: bool) {
        self.answers.store(answers, Ordering::Release);
    }

    fn place(&self, bar: Bar) -> &Place {
        &self.bars[bar.position()]
    }

    pub(super) fn region(&self, bar: Bar) -> Region {
        let place = self.place(bar);
        Region {
            len: place.len,
            mapped: place.mapped.is_some(),
        }
    }

    /// The mapping that has the word, while the function answers.
    fn check(&self, bar: Bar, offset: u32) -> Result<Option<&MappedBar>> {
        let place = self.place(bar);
        function::check_register(bar, offset, place.len)?;
        let answers = self.answers.load(Ordering::Acquire);
        Ok(place.mapped.as_ref().filter(|_| answers))
    }

    pub(super) fn read(&self, bar: Bar, offset: u32) -> Result<u32> {
        let mapped = self.check(bar, offset)?;
        Ok(mapped.map_or(u32::MAX, |mapped| mapped.read(offset)))
    }

    pub(super) fn write(&self, bar: Bar, offset: u32, value: u32) -> Result<()> {
        if let Some(mapped) = self.check(bar, offset)? {
            mapped.write(offset, value);
        }
        Ok(())
    }
}

/// Maps one region. Sysfs maps whole pages from that on in which it begins, and has no other way to the
/// registers of memory regions: what can't be mapped can't be reached.
fn place(
    directory: &Path,
    index: u8,
    (start, len): (u64, u64),
) -> std::result::Result<Place, Reason> {
    if len == 0 {
        return Ok(Place {
            len: 0,
            mapped: None,
        });
    }
    let len = u32::try_from(len).ok().filter(|len| len.is_multiple_of(4));
    let len = len.filter(|_| start != 0).ok_or(Reason::Nonsense {
        what: "a region of registers that has no address",
    })?;
    let page = u64::try_from(page_size()).unwrap_or(u64::MAX);
    let skip = u32::try_from(start % page).unwrap_or(u32::MAX);
    let file = directory.join(format!("resource{index}"));
    let opened = OpenOptions::new().read(true).write(true).open(&file);
    let mapped = opened.and_then(|file| MappedBar::new(&file, 0, skip, len));
    match mapped {
        Ok(mapped) => Ok(Place {
            len,
            mapped: Some(mapped),
        }),
        Err(source) => Err(Reason::Sysfs { file, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn function(resource: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("resource"), resource).unwrap();
        for index in [0, 2, 4] {
            let file = directory.path().join(format!("resource{index}"));
            fs::write(&file, vec![index; 2 * page_size().max(0x4000)]).unwrap();
        }
        directory
    }

    const NONE: &str = "0x0000000000000000 0x0000000000000000 0x0000000000000000\n";

    fn line(start: u64, len: u64) -> String {
        format!(
            "{start:#018x} {:#018x} 0x000000000014220c\n",
            start + len - 1
        )
    }

    #[test]
    fn a_region_in_the_middle_of_a_page_begins_there() {
        let text = [
            line(0x18_8000_0000, 0x4000),
            NONE.into(),
            line(0x18_8000_8400, 0x400),
        ];
        let function = function(&text.concat());
        fs::write(function.path().join("resource2"), {
            let mut bytes = vec![0; page_size()];
            let at = 0x8400 % page_size();
            bytes[at..at + 4].copy_from_slice(&[1, 2, 3, 4]);
            bytes
        })
        .unwrap();
        let registers = Registers::map(function.path()).unwrap();
        let region = Region {
            len: 0x400,
            mapped: true,
        };
        assert_eq!(registers.region(Bar::Vdma), region);
        assert_eq!(registers.region(Bar::Access).len, 0);
        // Asleep it reads as on the bus.
        assert_eq!(registers.read(Bar::Vdma, 0).unwrap(), u32::MAX);
        registers.write(Bar::Vdma, 0, 0).unwrap();
        registers.set_answers(true);
        assert_eq!(registers.read(Bar::Vdma, 0).unwrap(), 0x0403_0201);
        registers.write(Bar::Vdma, 0x3fc, 7).unwrap();
        assert_eq!(registers.read(Bar::Vdma, 0x3fc).unwrap(), 7);
        assert!(registers.read(Bar::Vdma, 0x400).is_err());
        assert!(registers.read(Bar::Access, 0).is_err());
    }

    #[test]
    fn a_region_without_an_address_is_refused() {
        let refused = |text: &str| Registers::map(function(text).path()).unwrap_err();
        let unassigned = "0x0000000000000000 0x0000000000003fff 0x000000002014220c\n";
        assert!(matches!(refused(unassigned), Reason::Nonsense { .. }));
        assert!(matches!(refused("rubbish\n"), Reason::Nonsense { .. }));
    }
}

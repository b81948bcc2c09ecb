//! Page sizes and lengths of descriptor lists.
//!
//! Source: vendor hailort v5.2.0, `hailort_driver.cpp`, `buffer_requirements.cpp`, `resource_manager.cpp`.

use super::error::Refusal;
use crate::hef::DeviceArch;
use crate::spec::nnc::context::{DEFAULT_PAGE, MAX_DESCRIPTORS, MIN_DESCRIPTORS, MIN_PAGE};

/// Transfers that a boundary queue holds beside those of two batches, for each transfer of a frame.
const MAX_ACTIVE: u64 = 32;
/// Batches that a boundary queue holds at least.
const MIN_ACTIVE: u64 = 2;

/// Page sizes of a link.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pages {
    /// Where every plan starts, and the page of configuration.
    pub(super) default: u32,
    /// Largest.
    pub(super) max: u32,
}

impl Pages {
    pub(super) fn new(max: u32) -> Self {
        Self {
            default: DEFAULT_PAGE.min(max),
            max,
        }
    }
}

/// What a list is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish<'a> {
    /// Bytes of each transfer.
    pub(super) sizes: &'a [u64],
    /// How often they repeat.
    pub(super) batch: u64,
    /// Whether the list is a ring.
    pub(super) circular: bool,
    /// Whether it is a DDR ring, which has no spare descriptor for each round.
    pub(super) ddr: bool,
    /// Whether small transfers keep the default page.
    pub(super) fixed_page: bool,
    /// Whether the whole batch must fit.
    pub(super) fixed_batch: bool,
    /// Largest page.
    pub(super) cap: u32,
}

impl<'a> Wish<'a> {
    pub(super) fn new(sizes: &'a [u64], batch: u64, cap: u32) -> Self {
        Self {
            sizes,
            batch,
            circular: false,
            ddr: false,
            fixed_page: false,
            fixed_batch: true,
            cap,
        }
    }
}

/// Page and length of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fit {
    pub(super) page: u32,
    pub(super) descriptors: u32,
}

/// Why no list fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoFit {
    /// The page of the transfers is above the cap: no other cap may be tried.
    Page(u32),
    /// More descriptors than a list has.
    Descriptors(u64),
}

impl NoFit {
    pub(super) fn refuse(self, cap: u32) -> Refusal {
        match self {
            Self::Page(page) => {
                Refusal::resource("descriptor page", format!("at most {cap} bytes"), page)
            }
            Self::Descriptors(count) => Refusal::resource(
                "descriptors",
                format!("at most {MAX_DESCRIPTORS} of {cap} bytes"),
                count,
            ),
        }
    }
}

/// Chooses page and length for a wish.
pub(super) fn fit(pages: Pages, wish: &Wish<'_>) -> Result<Fit, NoFit> {
    let most = u64::from(MAX_DESCRIPTORS);
    let largest = wish.sizes.iter().copied().max().unwrap_or(0);
    let mut page = pages.default;
    if !wish.fixed_page && largest < u64::from(page) {
        page = round_up(largest).max(MIN_PAGE);
    }
    if page > wish.cap {
        return Err(NoFit::Page(page));
    }
    let count = |page: u32| {
        let pages = wish.sizes.iter().map(|size| size.div_ceil(page.into()));
        pages.fold(u64::from(!wish.ddr), u64::saturating_add)
    };
    if count(wish.cap) > most {
        return Err(NoFit::Descriptors(count(wish.cap)));
    }
    while count(page).saturating_mul(wish.batch) > most - 1 {
        if page * 2 > wish.cap {
            if wish.fixed_batch {
                return Err(NoFit::Descriptors(count(page).saturating_mul(wish.batch)));
            }
            page = wish.cap;
            break;
        }
        page *= 2;
    }
    let descriptors = if wish.circular {
        count(page).next_power_of_two()
    } else {
        count(page)
    };
    let descriptors = u32::try_from(descriptors).unwrap_or(MAX_DESCRIPTORS);
    Ok(Fit {
        page,
        descriptors: descriptors.clamp(MIN_DESCRIPTORS, MAX_DESCRIPTORS),
    })
}

/// Smallest power of two that holds `size`, which is below a page.
fn round_up(size: u64) -> u32 {
    u32::try_from(size.max(1).next_power_of_two()).unwrap_or(u32::MAX)
}

/// A boundary ring: page, length, and how many transfers it queues.
pub(super) fn boundary(
    pages: Pages,
    device: DeviceArch,
    transfer: u64,
    transfers_per_frame: u64,
    batch: u64,
    fifo: u32,
) -> Result<(Fit, u16), Refusal> {
    let queue = queue(device, transfer, transfers_per_frame, batch);
    let mut cap = pages.default;
    let mut last = NoFit::Page(cap);
    let sizes = [transfer];
    // Without a bound a FIFO as large as a page that does not fit is halved and doubled for ever.
    for _ in 0..2 * u32::BITS {
        if cap > pages.max {
            return Err(last.refuse(pages.max));
        }
        if cap == fifo {
            cap /= 2;
        }
        let wish = Wish {
            circular: true,
            fixed_batch: false,
            ..Wish::new(&sizes, MIN_ACTIVE, cap)
        };
        match fit(pages, &wish) {
            Ok(fit) => {
                let of_transfer = transfer.div_ceil(fit.page.into()).saturating_add(1);
                let wanted = of_transfer.saturating_mul(queue.into()).saturating_add(1);
                let descriptors = u32::try_from(wanted)
                    .unwrap_or(MAX_DESCRIPTORS)
                    .clamp(MIN_DESCRIPTORS, MAX_DESCRIPTORS)
                    .next_power_of_two();
                return Ok((Fit { descriptors, ..fit }, queue));
            }
            Err(error @ NoFit::Page(_)) => return Err(error.refuse(cap)),
            Err(error @ NoFit::Descriptors(_)) => last = error,
        }
        cap *= 2;
    }
    Err(last.refuse(pages.max))
}

/// Transfers that wait at once, by what the core can buffer.
fn queue(device: DeviceArch, transfer: u64, transfers_per_frame: u64, batch: u64) -> u16 {
    let buffered: u64 = match device {
        DeviceArch::Hailo15L | DeviceArch::Hailo12L => 8 << 20,
        _ => 32 << 20,
    };
    let least = transfers_per_frame.saturating_mul(MIN_ACTIVE * batch);
    let most = transfers_per_frame.saturating_mul(MAX_ACTIVE).max(least);
    let frame = transfers_per_frame.saturating_mul(transfer).max(1);
    u16::try_from((buffered / frame).clamp(least, most)).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages() -> Pages {
        Pages::new(4096)
    }

    /// Numbers of the worked example of the specification.
    #[test]
    fn boundary_rings_of_the_worked_example() {
        let ring = |transfer, batch| {
            boundary(pages(), DeviceArch::Hailo10H, transfer, 1, batch, 20480).map_err(|_| ())
        };
        let fit = |page, descriptors| Fit { page, descriptors };
        assert_eq!(ring(8192, 1), Ok((fit(512, 1024), 32)));
        assert_eq!(ring(1000, 1), Ok((fit(512, 128), 32)));
        assert_eq!(ring(1000, 2), Ok((fit(512, 128), 32)));
        assert_eq!(ring(120, 1), Ok((fit(128, 128), 32)));
        assert_eq!(ring(1000, 40), Ok((fit(512, 256), 80)));
        // 32 MiB hold two frames of 12 MiB, but four are asked for; the list is as long as lists get.
        assert_eq!(ring(12 << 20, 2), Ok((fit(512, 65536), 4)));
    }

    #[test]
    fn a_frame_above_what_a_list_covers_doubles_the_page_until_it_is_refused() {
        let ring = |transfer, fifo| {
            boundary(pages(), DeviceArch::Hailo10H, transfer, 1, 1, fifo)
                .map(|(fit, _)| fit.page)
                .map_err(|refusal| refusal.within("g", None).to_string())
        };
        assert_eq!(ring(100 << 20, 20480), Ok(2048));
        assert_eq!(ring(255 << 20, 20480), Ok(4096));
        let refused = "group `g`: descriptors: expected at most 65536 of 4096 bytes, found 73729";
        assert_eq!(ring(288 << 20, 20480), Err(refused.to_owned()));
        // A FIFO of one page: the page must stay below it, and a full page above it is no way out.
        assert_eq!(
            ring(300, 512),
            Err("group `g`: descriptor page: expected at most 256 bytes, found 512".to_owned())
        );
        assert_eq!(ring(200, 512), Ok(256));
        assert!(ring(100 << 20, 1024).is_err());
    }

    #[test]
    fn lists_between_contexts_fit_their_batch_or_are_refused() {
        let list = |size, batch| fit(pages(), &Wish::new(&[size], batch, 4096));
        assert_eq!(
            list(6144, 2),
            Ok(Fit {
                page: 512,
                descriptors: 13
            })
        );
        assert_eq!(
            list(65536 * 100, 63).map(|fit| fit.page),
            Err(NoFit::Descriptors(1601 * 63))
        );
        assert_eq!(list(65536 * 100, 6).map(|fit| fit.page), Ok(1024));
        assert_eq!(
            list(0, 1),
            Ok(Fit {
                page: 64,
                descriptors: 2
            })
        );
    }
}

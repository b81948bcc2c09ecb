//! Walking the capability lists of config space.

use crate::spec::config_space::{
    CAPABILITIES, EXTENDED_CAPABILITIES, LEN, STATUS, STATUS_CAPABILITIES,
};

/// Capabilities are at least 4 bytes each in the 192 bytes behind the header.
const MOST_CAPABILITIES: usize = 48;
/// As above for the extended space.
const MOST_EXTENDED: usize = 960;

/// The offset of the capability with `id`, where there is one. `read` reads an aligned 32-bit word.
///
/// # Errors
/// Those of `read`.
pub fn find<E>(mut read: impl FnMut(u16) -> Result<u32, E>, id: u8) -> Result<Option<u16>, E> {
    let status = read(STATUS & !3)? >> 16;
    if status & STATUS_CAPABILITIES == 0 {
        return Ok(None);
    }
    let mut offset = pointer(read(CAPABILITIES)?);
    for _ in 0..MOST_CAPABILITIES {
        if offset < 0x40 {
            break;
        }
        let header = read(offset)?;
        if header & 0xff == u32::from(id) {
            return Ok(Some(offset));
        }
        offset = pointer(header >> 8);
    }
    Ok(None)
}

/// The offset of the extended capability with `id`, where there is one.
///
/// # Errors
/// Those of `read`.
pub fn find_extended<E>(
    mut read: impl FnMut(u16) -> Result<u32, E>,
    id: u16,
) -> Result<Option<u16>, E> {
    let mut offset = EXTENDED_CAPABILITIES;
    for _ in 0..MOST_EXTENDED {
        let header = read(offset)?;
        if header == 0 || header == u32::MAX {
            break;
        }
        if header & 0xffff == u32::from(id) {
            return Ok(Some(offset));
        }
        offset = u16::try_from(header >> 20 & !3).unwrap_or(0);
        if !(EXTENDED_CAPABILITIES..LEN).contains(&offset) {
            break;
        }
    }
    Ok(None)
}

fn pointer(word: u32) -> u16 {
    u16::from(word.to_le_bytes()[0] & !3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    #[test]
    fn a_list_that_loops_ends() {
        let read = |offset: u16| -> Result<u32, Infallible> {
            Ok(match offset {
                0x04 => STATUS_CAPABILITIES << 16,
                0x34 => 0x40,
                0x40 => 0x5001,
                0x50 => 0x4005,
                _ => 0,
            })
        };
        assert_eq!(find(read, 5), Ok(Some(0x50)));
        assert_eq!(find(read, 0x10), Ok(None));
    }

    #[test]
    fn a_function_that_reads_all_ones_has_no_capabilities() {
        let read = |_| -> Result<u32, Infallible> { Ok(u32::MAX) };
        assert_eq!(find(read, 5), Ok(None));
        assert_eq!(find_extended(read, 1), Ok(None));
    }
}

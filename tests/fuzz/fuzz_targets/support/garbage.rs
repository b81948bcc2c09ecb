//! Host memory that holds the same bytes over and over, and forgets what is written.

use hailo_vfio::addr::Iova;
use hailo_vfio::transport::local::{DmaFault, Host};

pub struct Garbage {
    pub bytes: Vec<u8>,
    /// Addresses that it has: those of so many bits.
    pub bits: u32,
}

impl Host for Garbage {
    fn read(&self, address: Iova, into: &mut [u8]) -> Result<(), DmaFault> {
        if self.bytes.is_empty() || address.0 >> self.bits != 0 {
            return Err(DmaFault {
                address,
                len: into.len(),
                write: false,
            });
        }
        let start = usize::try_from(address.0 & 0xffff).unwrap_or(0);
        let bytes = self.bytes.iter().cycle().skip(start % self.bytes.len());
        into.iter_mut().zip(bytes).for_each(|(to, &from)| *to = from);
        Ok(())
    }

    fn write(&self, _: Iova, _: &[u8]) -> Result<(), DmaFault> {
        Ok(())
    }

    fn interrupt(&self) {}
}

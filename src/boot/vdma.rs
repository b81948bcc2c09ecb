//! Stage 3: the device fetches files from host memory into its own, by two lists a channel.

use std::sync::Arc;
use std::time::Duration;

use super::error::{BootError, ChannelReport};
use super::set::FirmwareFile;
use super::stages::BootContext;
use crate::addr::{DeviceAddr, Iova};
use crate::deadline::{Backoff, CancelToken, Deadline};
use crate::dma::{Chunk, DescriptorList, DmaError, FilePages, Side, Stop, part};
use crate::irq::Waited;
use crate::spec::board::{BOOT_CHANNELS, BOOT_DESCRIPTORS, BOOT_PAGE};
use crate::spec::descriptor::{control, data_id};
use crate::spec::vdma_bar::{
    ChannelControl, ChannelErrorAndListLow, ChannelProgress, MAX_DESCRIPTORS, device_side,
    host_side,
};
use crate::transport::bars::Bars;
use crate::transport::{Segment, Transport, TransportError};

/// One file and where it goes.
pub(super) struct Placed<'a> {
    pub(super) file: &'a FirmwareFile,
    pub(super) address: DeviceAddr,
}

/// How long one look at a channel lasts: between two looks cancellation and errors are checked.
const LOOK: Duration = Duration::from_millis(250);

/// One channel of the boot transfer.
struct BootChannel {
    number: u32,
    host: DescriptorList,
    device: DescriptorList,
    used: u32,
    bytes: u64,
    words: Option<(ChannelControl, ChannelControl)>,
}

impl BootChannel {
    fn sides(&self) -> (Side, Side) {
        (Side(host_side(self.number)), Side(device_side(self.number)))
    }
}

/// The files of the stage as two lists a channel, ready to run. Dropping it stops what runs; where
/// that is not confirmed lists and files are leaked.
pub(super) struct BootTransfer {
    transport: Arc<dyn Transport>,
    /// Descriptors that a channel takes: all but the last of its list.
    each: u32,
    /// Whether it is to be found out if the host is coherent. Where an IOMMU is in use the kernel has made
    /// sure of that.
    watch: bool,
    channels: Vec<BootChannel>,
    files: Vec<FilePages>,
}

impl BootTransfer {
    /// Bytes of file data that had to be copied, since the back end can't map a file's pages.
    pub(super) fn copied(&self) -> u64 {
        self.files
            .iter()
            .map(|file| u64::try_from(file.copied()).unwrap_or(0))
            .sum()
    }

    /// Channels in use.
    pub(super) fn channel_count(&self) -> usize {
        self.channels.len()
    }

    /// Maps the files and starts both sides of each channel that they need; the lists are then
    /// written. No engine reads a descriptor that was not made available.
    pub(super) fn prepare(
        transport: &Arc<dyn Transport>,
        placed: &[Placed<'_>],
        page_limit: u32,
    ) -> Result<Self, BootError> {
        let page = BOOT_PAGE.min(page_limit);
        let descriptors: u64 = placed
            .iter()
            .map(|placed| placed.file.len.div_ceil(u64::from(page)))
            .sum();
        let list = transport.capabilities().longest_list.min(MAX_DESCRIPTORS);
        let each = BOOT_DESCRIPTORS.min(list - 1);
        let most = u64::from(BOOT_CHANNELS * each);
        if descriptors > most {
            return Err(BootError::TooMany {
                descriptors,
                page,
                most,
            });
        }
        let mut transfer = Self {
            transport: transport.clone(),
            each,
            watch: !transport.capabilities().confined,
            channels: Vec::new(),
            files: Vec::new(),
        };
        for placed in placed {
            let len = usize::try_from(placed.file.len).map_err(|_| BootError::TooMany {
                descriptors,
                page,
                most,
            })?;
            transfer
                .files
                .push(FilePages::new(transport, &placed.file.file, len).map_err(DmaError::from)?);
        }
        for (number, _) in (0..BOOT_CHANNELS).zip(0..descriptors.div_ceil(u64::from(each))) {
            let host = DescriptorList::new(transport, list, transfer.watch)?;
            let device = DescriptorList::new(transport, list, false)?;
            transfer.channels.push(BootChannel {
                number,
                host,
                device,
                used: 0,
                bytes: 0,
                words: None,
            });
        }
        for channel in &mut transfer.channels {
            let (host, device) = channel.sides();
            // Set before the second start, so that a failure between the two still stops the first.
            channel.words = Some(Default::default());
            let host = host.start(&**transport, &channel.host)?;
            channel.words = Some((host, device.start(&**transport, &channel.device)?));
        }
        transfer.program(placed, page)?;
        Ok(transfer)
    }

    fn program(&mut self, placed: &[Placed<'_>], page: u32) -> Result<(), DmaError> {
        let mut channels = self.channels.iter_mut();
        let mut current = channels.next();
        for (number, (placed, pages)) in placed.iter().zip(&self.files).enumerate() {
            let last_file = number + 1 == self.files.len();
            let mut offset = 0;
            while offset < pages.len() {
                let Some(channel) = current.as_deref_mut() else {
                    return Err(DmaError::BadListLength(0));
                };
                let free = self.each - channel.used;
                let room = usize::try_from(free * page).unwrap_or(usize::MAX);
                let bytes = room.min(pages.len() - offset);
                let segments = part(&pages.mapping().segments().0, offset, bytes);
                let fills = channel.used
                    + u32::try_from(bytes.div_ceil(to_usize(page))).unwrap_or(free)
                    == self.each;
                let ends = last_file && offset + bytes == pages.len();
                let status = if self.watch {
                    control::REQUEST_STATUS
                } else {
                    0
                };
                let last_control = if fills || ends {
                    control::INTERRUPT_HOST | status
                } else {
                    control::PLAIN
                };
                let chunk = Chunk {
                    segments: &segments,
                    bytes,
                    page,
                    data_id: data_id::HOST,
                    last_control,
                };
                let used = channel.host.program(&chunk, channel.used)?;
                let target = Iova(placed.address.0 + to_u64(offset));
                let target = [Segment {
                    address: target,
                    len: bytes,
                }];
                let data_id = data_id::DEVICE;
                let chunk = Chunk {
                    segments: &target,
                    bytes,
                    page,
                    data_id,
                    last_control: control::PLAIN,
                };
                channel.device.program(&chunk, channel.used)?;
                channel.used += used;
                channel.bytes += to_u64(bytes);
                offset += bytes;
                if fills {
                    current = channels.next();
                }
            }
        }
        Ok(())
    }

    /// Makes all descriptors available, host side then device side, channel by channel.
    pub(super) fn launch(&mut self) -> Result<(), DmaError> {
        if self.watch {
            // Brings the status words into a cache, for `caches_followed`.
            for channel in &self.channels {
                channel.host.status(channel.used - 1)?;
            }
        }
        crate::dma::before_doorbell();
        for channel in &self.channels {
            let (host, device) = channel.sides();
            let (host_word, device_word) = channel.words.unwrap_or_default();
            self.transport
                .write_at(host.0, host_word.with_available(channel.used))?;
            self.transport
                .write_at(device.0, device_word.with_available(channel.used))?;
        }
        Ok(())
    }

    /// Waits until every channel has moved what it was given. `progress` gets the bytes of the
    /// channels that are done.
    pub(super) fn wait(
        &self,
        context: &BootContext<'_>,
        deadline: &Deadline,
        cancel: &CancelToken,
        mut progress: impl FnMut(u64),
    ) -> Result<(), BootError> {
        let mut done = 0;
        for channel in &self.channels {
            self.wait_channel(channel, context, deadline, cancel)?;
            done += channel.bytes;
            progress(done);
        }
        Ok(())
    }

    fn wait_channel(
        &self,
        channel: &BootChannel,
        context: &BootContext<'_>,
        deadline: &Deadline,
        cancel: &CancelToken,
    ) -> Result<(), BootError> {
        loop {
            let look = Deadline::after(LOOK.min(deadline.remaining()));
            let waited = context.interrupts.wait_channel(channel.number, &look);
            if waited == Waited::Lost {
                return Err(BootError::Lost(
                    context.interrupts.loss().unwrap_or_default().to_owned(),
                ));
            }
            let (host, device) = channel.sides();
            let progress: ChannelProgress = self.transport.read_at(host.0)?;
            if progress.processed() == channel.used {
                return Ok(());
            }
            self.transport.check_present()?;
            let host_error: ChannelErrorAndListLow = self.transport.read_at(host.0)?;
            let device_error: ChannelErrorAndListLow = self.transport.read_at(device.0)?;
            if host_error.error() != 0 || device_error.error() != 0 {
                let index = progress.processed();
                let descriptor = channel.host.look(index)?;
                let (host, device) = (
                    host.state(&*self.transport)?,
                    device.state(&*self.transport)?,
                );
                return Err(DmaError::Engine {
                    channel: channel.number,
                    host,
                    device,
                    index,
                    descriptor,
                }
                .into());
            }
            if cancel.is_cancelled() {
                return Err(BootError::Cancelled);
            }
            if deadline.expired() {
                return Err(BootError::DmaTimedOut {
                    waited: deadline.waited(),
                    channels: self.report()?,
                });
            }
        }
    }

    /// After the transfer: whether the processor's caches followed what the device wrote meanwhile; `None`
    /// where that was not looked at, or could not be told.
    pub(super) fn caches_followed(&self) -> Result<Option<bool>, DmaError> {
        let mut followed = None;
        for channel in self.channels.iter().filter(|_| self.watch) {
            match channel.host.caches_followed(channel.used - 1)? {
                Some(false) => return Ok(Some(false)),
                found => followed = followed.or(found),
            }
        }
        Ok(followed)
    }

    /// The registers of all channels, for an error.
    fn report(&self) -> Result<Vec<ChannelReport>, TransportError> {
        let report = |channel: &BootChannel| {
            let (host, device) = channel.sides();
            let (host, device) = (
                host.state(&*self.transport)?,
                device.state(&*self.transport)?,
            );
            Ok(ChannelReport {
                number: channel.number,
                given: channel.used,
                host,
                device,
            })
        };
        self.channels.iter().map(report).collect()
    }

    /// Stops all channels, host side then device side, and frees the memory.
    pub(super) fn finish(mut self) -> Result<(), BootError> {
        self.stop_all()
    }

    fn stop_all(&mut self) -> Result<(), BootError> {
        let mut failed = None;
        for channel in &mut self.channels {
            let (host, device) = channel.sides();
            if channel.words.take().is_none() {
                continue;
            }
            for side in [host, device] {
                match side.stop(&*self.transport) {
                    Ok(Stop::Confirmed) => {}
                    Ok(Stop::NotIdle(state)) => {
                        log::debug!(
                            "{}: channel {} was not idle: {state}",
                            self.transport.name(),
                            channel.number
                        );
                        // Aborted all the same; the engine is given a moment to let go of the bus.
                        failed = wait_abort(&*self.transport, side).err().or(failed);
                    }
                    Err(error) => failed = Some(error.into()),
                }
            }
        }
        let Some(error) = failed else { return Ok(()) };
        // With bus mastering off the device reaches nothing, whatever its channels do.
        if let Err(quiesce) = self.transport.quiesce() {
            log::warn!(
                "{}: neither the channels ({error}) nor bus mastering ({quiesce}) could be stopped; boot lists and files are leaked",
                self.transport.name()
            );
            std::mem::forget((
                self.channels.drain(..).collect::<Vec<_>>(),
                self.files.drain(..).collect::<Vec<_>>(),
            ));
        }
        Err(error)
    }
}

impl Drop for BootTransfer {
    fn drop(&mut self) {
        if let Err(error) = self.stop_all() {
            log::debug!(
                "{}: stopping the boot channels: {error}",
                self.transport.name()
            );
        }
    }
}

/// Waits until a side that was told to abort is no longer active.
fn wait_abort(transport: &dyn Transport, side: Side) -> Result<(), BootError> {
    let deadline = Deadline::after(LOOK);
    let mut backoff = Backoff::default();
    loop {
        if !side.state(transport)?.is_active() {
            return Ok(());
        }
        if deadline.expired() {
            let action = "a channel to abort".to_owned();
            return Err(TransportError::TimedOut {
                action,
                waited: deadline.waited(),
            }
            .into());
        }
        backoff.pause(&deadline);
    }
}

/// Lossless on the hosts that this runs on.
fn to_u64(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

fn to_usize(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

//! Channels and their lists: opening them, binding streams to them.

use super::super::code::{other, switch};
use super::super::layers::{CHANNELS, FIRST_FROM_DEVICE, Layer, Role};
use super::{Checked, Checker, Opened, Problem};
use crate::addr::Iova;
use crate::model::nnc::access::Access;
use crate::spec::descriptor::LEN;
use crate::spec::nnc::context::{
    Action, BufferInfo, BufferType, Direction, LcuId, MAX_DESCRIPTORS, MIN_DESCRIPTORS,
    StreamRegisters,
};
use crate::transport::local::DmaFault;

/// Most bytes of a frame. Source: any number that real networks stay below will do.
const LARGEST_FRAME: usize = 64 << 20;
/// Smallest and largest page of a list in bytes.
const PAGES: std::ops::RangeInclusive<u16> = 64..=4096;
impl Checker<'_, '_> {
    /// A channel of the one engine, whatever a lenient chip lets pass: channels index tables.
    pub(super) fn on_engine(&self, raw: u8) -> Checked {
        if usize::from(raw) < CHANNELS {
            return Ok(());
        }
        Err(Problem::new(
            switch::CHANNEL,
            format!(
                "{}: channel {} of engine {}, expected 0 to 31 of engine 0",
                self.at,
                raw & 0x3f,
                raw >> 6
            ),
        ))
    }

    pub(super) fn channel(&self, raw: u8, direction: Direction) -> Checked {
        self.on_engine(raw)?;
        let from_device = raw & 0x1f >= FIRST_FROM_DEVICE;
        let fits = from_device == (direction == Direction::DEVICE_TO_HOST);
        need!(
            self,
            fits,
            switch::CHANNEL_DIRECTION,
            "channel {raw} does not carry data {direction}"
        );
        Ok(())
    }

    pub(super) fn network(&self, network: u8) -> Checked {
        need!(
            self,
            network < self.scope.header.networks,
            switch::NETWORK,
            "network {network} of {}",
            self.scope.header.networks
        );
        Ok(())
    }

    pub(super) fn lcu(&self, lcu: LcuId) -> Checked {
        need!(
            self,
            lcu.raw() < 0x80,
            switch::LCU,
            "lcu {:#x}, bit 7 is no part of it",
            lcu.raw()
        );
        Ok(())
    }

    fn buffer_type(&self, found: BufferType) -> Checked {
        match found {
            BufferType::DESCRIPTORS => Ok(()),
            BufferType::CONTINUOUS => {
                self.object(other::CONTINUOUS, "a continuous buffer over PCIe")
            }
            unknown => self.object(switch::BUFFER_TYPE, format!("buffer of type {unknown}")),
        }
    }

    pub(super) fn buffer(&self, buffer: &BufferInfo, circular: bool, ring: bool) -> Checked {
        let BufferInfo {
            buffer_type,
            address,
            page,
            descriptors,
            pattern,
        } = *buffer;
        self.buffer_type(buffer_type)?;
        need!(
            self,
            address.is_multiple_of(0x1_0000),
            switch::LIST,
            "list at {address:#x}, expected a multiple of 64 KiB"
        );
        let page_fits = PAGES.contains(&page) && page.is_power_of_two();
        let count_fits = (MIN_DESCRIPTORS..=MAX_DESCRIPTORS).contains(&descriptors);
        // Sizes that a chip can do nothing with refuse even where it is lenient.
        if !page_fits {
            return Err(Problem::new(
                other::PAGE_SIZE,
                format!(
                    "{}: page of {page} bytes, expected a power of two from 64 to 4096",
                    self.at
                ),
            ));
        }
        if !count_fits {
            return Err(Problem::new(
                other::DEPTH,
                format!(
                    "{}: list of {descriptors} descriptors, expected 2 to 65536",
                    self.at
                ),
            ));
        }
        need!(
            self,
            !circular || descriptors.is_power_of_two(),
            other::NOT_POWER_OF_TWO,
            "circular list of {descriptors} descriptors, expected a power of two"
        );
        let needed = pattern.div_ceil(u32::from(page));
        let usable = if ring { descriptors } else { descriptors - 1 };
        if pattern == 0 || needed > usable {
            return Err(Problem::new(
                other::TOO_FEW,
                format!(
                    "{}: a transfer of {pattern} bytes takes {needed} descriptors of {page} bytes, the list has {usable} for it",
                    self.at
                ),
            ));
        }
        if let Err(fault) = probe_list(self.chip, address, descriptors) {
            self.object(switch::LIST, format!("its list can't be read: {fault}"))?;
        }
        Ok(())
    }

    fn registers(&self, registers: &StreamRegisters) -> Checked {
        let StreamRegisters {
            core_bytes,
            core_buffers,
            periph_bytes,
            periph_buffers,
            ..
        } = *registers;
        need!(
            self,
            core_bytes > 0 && periph_bytes > 0,
            switch::BYTES_PER_BUFFER,
            "buffers of {core_bytes} bytes at the core, {periph_bytes} at the interface"
        );
        need!(
            self,
            core_buffers > 0 && periph_buffers > 0,
            switch::BUFFERS_PER_FRAME,
            "{core_buffers} buffers of a frame at the core, {periph_buffers} at the interface"
        );
        if !periph_bytes.is_multiple_of(8) {
            log::info!(
                "sim: {}: {periph_bytes} bytes per interface buffer, not a multiple of 8",
                self.at
            );
        }
        Ok(())
    }

    /// 32, 33.
    pub(super) fn open(&mut self, action: &Action) -> Checked {
        let opened = match *action {
            Action::OpenBoundaryInput {
                channel,
                buffer,
                stream,
                network,
                periph_bytes,
                frame_size,
            } => {
                self.channel(channel.raw(), Direction::HOST_TO_DEVICE)?;
                self.network(network)?;
                let whole = periph_bytes > 0
                    && frame_size > 0
                    && frame_size.is_multiple_of(periph_bytes.into());
                need!(
                    self,
                    whole,
                    switch::CREDIT_SIZE,
                    "a frame of {frame_size} bytes in buffers of {periph_bytes}"
                );
                Opened {
                    channel: channel.raw(),
                    buffer,
                    input: Some((stream, network, frame_size)),
                }
            }
            Action::OpenBoundaryOutput { channel, buffer } => {
                self.channel(channel.raw(), Direction::DEVICE_TO_HOST)?;
                Opened {
                    channel: channel.raw(),
                    buffer,
                    input: None,
                }
            }
            _ => return Ok(()),
        };
        self.buffer(&opened.buffer, true, false)?;
        if let Some((_, _, frame)) = opened.input {
            need!(
                self,
                opened.buffer.pattern == frame,
                other::PATTERN,
                "transfers of {} bytes, frames of {frame}",
                opened.buffer.pattern
            );
        }
        let config = self
            .scope
            .header
            .config_channels
            .iter()
            .take(self.scope.header.config_channel_count.into());
        let twice = self
            .program
            .opened
            .iter()
            .any(|before| before.channel == opened.channel)
            || config
                .into_iter()
                .any(|channel| channel.raw() == opened.channel);
        need!(
            self,
            !twice,
            switch::SET_TWICE,
            "channel {} is in use",
            opened.channel
        );
        self.program.opened.push(opened);
        Ok(())
    }

    /// 6 to 11, 40, 41.
    pub(super) fn set_up(&mut self, layer: Layer) -> Checked {
        let channel = layer.channel;
        self.channel(channel, layer.role.direction())?;
        self.network(layer.network)?;
        self.registers(&layer.registers)?;
        if layer.role.is_boundary() {
            self.buffer_type(layer.buffer.buffer_type)?;
            self.check_opened(&layer)?;
        } else {
            self.buffer(&layer.buffer, layer.role.is_circular(), layer.role.is_ddr())?;
            need!(
                self,
                self.scope.opened(channel).is_none(),
                switch::SET_TWICE,
                "channel {channel} is a boundary channel"
            );
        }
        if layer.frame_bytes() > LARGEST_FRAME {
            let text = format!("{}: frames of {} bytes", self.at, layer.frame_bytes());
            return Err(Problem::new(other::PATTERN, text));
        }
        let batch = self.scope.header.batch;
        if matches!(layer.role, Role::CacheInput | Role::CacheOutput) {
            need!(
                self,
                batch == 1 && !self.scope.is_single(),
                switch::CACHE,
                "a cache in {} contexts with batches of {batch}, expected several and 1",
                self.scope.header.dynamic_contexts
            );
        }
        match layer.role {
            Role::InterContextInput => self.check_producer(&layer)?,
            Role::DdrInput => self.check_ring(&layer)?,
            Role::CacheOutput => {
                let whole = u32::from(layer.entries) * layer.descriptors_per_transfer();
                need!(
                    self,
                    layer.entries > 0 && whole < layer.buffer.descriptors,
                    switch::CACHE,
                    "{} entries of {} bytes in a list of {}",
                    layer.entries,
                    layer.buffer.pattern,
                    layer.buffer.descriptors
                );
            }
            Role::BoundaryInput | Role::BoundaryOutput | Role::InterContextOutput => {
                let moved = u64::from(layer.registers.periph_bytes)
                    * u64::from(layer.registers.periph_buffers);
                need!(
                    self,
                    moved == u64::from(layer.buffer.pattern),
                    other::PATTERN,
                    "stream registers make frames of {moved} bytes, transfers have {}",
                    layer.buffer.pattern
                );
                let needed = layer
                    .descriptors_per_transfer()
                    .saturating_mul(batch.into());
                need!(
                    self,
                    layer.role.is_boundary() || needed < layer.buffer.descriptors,
                    other::TOO_FEW,
                    "{batch} frames take {needed} descriptors, the list has {} and one of them stays free",
                    layer.buffer.descriptors
                );
            }
            Role::DdrOutput => {
                let row = u32::from(layer.registers.core_bytes);
                if layer.buffer.pattern != row {
                    let found = layer.buffer.pattern;
                    let text = format!(
                        "{}: rows of {row} bytes at the core, transfers of {found}",
                        self.at
                    );
                    return Err(Problem::new(other::PATTERN, text));
                }
            }
            Role::Config | Role::CacheInput => {}
        }
        let place = usize::from(channel);
        if let Some(before) = self.active[place].or(self.begun[place]) {
            need!(
                self,
                before == layer,
                switch::TWO_STREAMS,
                "channel {channel} carries stream {} already, or has another list or other registers",
                before.stream
            );
        }
        let clash = self.program.layers.iter().find(|other| {
            other.channel != channel
                && other.stream == layer.stream
                && other.role.is_input() == layer.role.is_input()
        });
        need!(
            self,
            clash.is_none(),
            switch::SET_TWICE,
            "stream {} is on channel {} already",
            layer.stream,
            clash.map_or(0, |other| other.channel)
        );
        self.active[place] = Some(layer);
        self.seen.here.insert(channel);
        if !self.program.layers.contains(&layer) {
            self.program.layers.push(layer);
        }
        Ok(())
    }

    /// A boundary layer names the list that its channel was opened with.
    fn check_opened(&self, layer: &Layer) -> Checked {
        let Some(opened) = self.scope.opened(layer.channel) else {
            return self.object(
                switch::NOT_SET_UP,
                format!(
                    "the activation context does not open channel {}",
                    layer.channel
                ),
            );
        };
        self.same_list(&opened.buffer, &layer.buffer, "the activation context")?;
        if let Some((stream, _, frame)) = opened.input {
            need!(
                self,
                stream == layer.stream,
                other::STREAM,
                "channel {} was opened for stream {stream}, found {}",
                layer.channel,
                layer.stream
            );
            let moved =
                u64::from(layer.registers.periph_bytes) * u64::from(layer.registers.periph_buffers);
            need!(
                self,
                moved == u64::from(frame),
                switch::CREDIT_SIZE,
                "stream registers make frames of {moved} bytes, the channel was opened for {frame}"
            );
        }
        Ok(())
    }

    fn same_list(&self, one: &BufferInfo, other_list: &BufferInfo, whose: &str) -> Checked {
        need!(
            self,
            one.address == other_list.address,
            switch::LIST,
            "list at {:#x}, {whose} has {:#x}",
            other_list.address,
            one.address
        );
        need!(
            self,
            one.page == other_list.page,
            switch::PAGE,
            "page of {} bytes, {whose} has {}",
            other_list.page,
            one.page
        );
        need!(
            self,
            one.descriptors == other_list.descriptors,
            switch::DESCRIPTORS_DIFFER,
            "list of {} descriptors, {whose} has {}",
            other_list.descriptors,
            one.descriptors
        );
        need!(
            self,
            one.pattern == other_list.pattern,
            other::PATTERN,
            "transfers of {} bytes, {whose} has {}",
            other_list.pattern,
            one.pattern
        );
        Ok(())
    }

    /// An inter-context input reads what a context before it wrote.
    fn check_producer(&self, layer: &Layer) -> Checked {
        let earlier = self
            .scope
            .before
            .iter()
            .skip(2)
            .flat_map(|context| &context.program.layers);
        let mut outputs = earlier.filter(|earlier| earlier.role == Role::InterContextOutput);
        match outputs.find(|output| output.buffer.address == layer.buffer.address) {
            Some(output) => self.same_list(&output.buffer, &layer.buffer, "its producer"),
            None => self.object(
                switch::LIST,
                format!(
                    "no context before writes the list at {:#x}",
                    layer.buffer.address
                ),
            ),
        }
    }

    /// The ends of a ring share their list.
    fn check_ring(&self, layer: &Layer) -> Checked {
        self.channel(layer.paired, Direction::DEVICE_TO_HOST)?;
        let writer = self
            .active
            .get(usize::from(layer.paired))
            .copied()
            .flatten();
        match writer.filter(|writer| writer.role == Role::DdrOutput) {
            Some(writer) => self.same_list(&writer.buffer, &layer.buffer, "the writing end"),
            None => self.object(
                other::DDR_PAIRS,
                format!("channel {} is no writing end of a ring", layer.paired),
            ),
        }
    }
}

/// Whether a list can be read: a word of each page of it, and the last one.
fn probe_list(chip: &Access<'_>, address: u64, descriptors: u32) -> Result<(), DmaFault> {
    const PAGE: u64 = 4096;
    let len = u64::from(descriptors) * u64::try_from(LEN).unwrap_or(0);
    let last = len.saturating_sub(u64::try_from(LEN).unwrap_or(0));
    let mut bytes = [0; LEN];
    for at in (0..len)
        .step_by(usize::try_from(PAGE).unwrap_or(1))
        .chain([last])
    {
        chip.read(Iova(address.wrapping_add(at)), &mut bytes)?;
    }
    Ok(())
}

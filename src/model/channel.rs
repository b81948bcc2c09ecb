//! BAR 2: the registers of the 32 channels, both sides of each.
//!
//! Here is what register writes mean; moving data is [`super::engine`]'s.

use super::complaint::Complaints;
use super::side::{Side, error};
use crate::spec::descriptor::data_id;
use crate::spec::register::{Bar, Register};
use crate::spec::vdma_bar::{
    CHANNELS, ChannelControl, ChannelErrorAndListLow, ChannelListHigh, ChannelProgress, SIDES,
    control, device_side, host_side,
};

/// A channel.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Channel {
    /// Source side, destination side.
    pub(super) sides: [Side; 2],
    /// Counts starts and aborts: what the engine fetched under another number is void.
    pub(super) life: u32,
    /// Moves nothing any more (a fault).
    pub(super) stuck: bool,
    /// Whether anything was processed in this life.
    pub(super) moved: bool,
    /// The chip stopped it by itself, and the host has not started it since: it may not know yet.
    pub(super) dropped: bool,
    /// The host started it after the chip had stopped it by itself.
    pub(super) revived: bool,
}

/// What a write to a channel register means to the rest of the chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Nothing.
    None,
    /// A channel runs and has descriptors: they came, or it resumed.
    Fed(u32),
    /// The host started its side of a channel, be it with descriptors already.
    Started(u32),
    /// A count made no sense: the channel stopped.
    Failed(u32),
}

/// All channels.
#[derive(Debug)]
pub(super) struct Channels {
    all: Vec<Channel>,
}

impl Channels {
    pub(super) fn new() -> Self {
        let count = usize::try_from(CHANNELS).unwrap_or(0);
        Self {
            all: vec![Channel::default(); count],
        }
    }

    /// As a reset leaves them; whatever the engine still holds is void.
    pub(super) fn reset(&mut self) {
        for channel in &mut self.all {
            *channel = Channel {
                life: channel.life.wrapping_add(1),
                ..Channel::default()
            };
        }
    }

    pub(super) fn get(&self, channel: u32) -> Channel {
        usize::try_from(channel)
            .ok()
            .and_then(|index| self.all.get(index).copied())
            .unwrap_or_default()
    }

    pub(super) fn get_mut(&mut self, channel: u32) -> Option<&mut Channel> {
        self.all.get_mut(usize::try_from(channel).ok()?)
    }

    /// The sides and registers of BAR 2: instance and byte in it.
    fn side_at(offset: u32) -> Option<(u32, u32)> {
        let (instance, byte) = (offset / 0x10, offset % 0x10);
        (instance < SIDES).then_some((instance, byte))
    }

    fn side(&self, instance: u32) -> Side {
        self.get(instance / 2).sides[usize::from(!instance.is_multiple_of(2))]
    }

    pub(super) fn read(&self, offset: u32, complaints: &mut Complaints) -> u32 {
        let Some((instance, byte)) = Self::side_at(offset) else {
            complaints.once("read of an unknown register", Bar::Vdma, offset);
            return 0;
        };
        let side = self.side(instance);
        if byte == ChannelControl::INFO.offset {
            side.control_word()
        } else if byte == ChannelProgress::INFO.offset {
            u32::from(side.ongoing) << 16 | u32::from(side.processed)
        } else if byte == ChannelErrorAndListLow::INFO.offset {
            let low = u32::try_from(side.list >> 16 & 0xffff).unwrap_or(0);
            low << 16 | u32::from(side.error)
        } else {
            u32::try_from(side.list >> 32).unwrap_or(0)
        }
    }

    pub(super) fn write(
        &mut self,
        offset: u32,
        value: u32,
        mask: u32,
        complaints: &mut Complaints,
    ) -> Event {
        let Some((instance, byte)) = Self::side_at(offset) else {
            complaints.once("write to an unknown register", Bar::Vdma, offset);
            return Event::None;
        };
        let word = self.read(offset, complaints) & !mask | value & mask;
        if byte == ChannelControl::INFO.offset {
            return self.write_control(instance, ChannelControl(word), complaints);
        }
        if byte == ChannelProgress::INFO.offset {
            complaints.once("write to a read-only register", Bar::Vdma, offset);
            return Event::None;
        }
        let side = self.side(instance);
        let list = if byte == ChannelListHigh::INFO.offset {
            u64::from(word) << 32 | side.list & 0xffff_ffff
        } else {
            // The error byte shares this word; what a read-modify-write puts into it is dropped.
            side.list >> 32 << 32 | u64::from(ChannelErrorAndListLow(word).list_low()) << 16
        };
        if list != side.list && side.is_active() {
            complaints.add(format!(
                "the list of {} was moved while it ran",
                Name(instance)
            ));
        }
        self.change(instance, |side| side.list = list);
        Event::None
    }

    pub(super) fn change(&mut self, instance: u32, change: impl FnOnce(&mut Side)) {
        if let Some(channel) = self.get_mut(instance / 2) {
            change(&mut channel.sides[usize::from(!instance.is_multiple_of(2))]);
        }
    }

    fn write_control(
        &mut self,
        instance: u32,
        new: ChannelControl,
        complaints: &mut Complaints,
    ) -> Event {
        let old = self.side(instance);
        let mut side = old;
        side.control = new.control();
        side.depth = new.depth();
        side.data_id = new.data_id();
        side.available = u16::try_from(new.available()).unwrap_or(0);
        let name = Name(instance);
        if old.is_active()
            && side.is_active()
            && (side.depth, side.data_id) != (old.depth, old.data_id)
        {
            complaints.add(format!(
                "depth or data id of {name} was changed while it ran"
            ));
        }
        let host_starts = instance == host_side(instance / 2) && !old.is_active() && side.runs();
        let starts = !old.is_active() && side.is_active();
        let stops = old.is_active() && !side.is_active();
        if starts {
            side.processed = 0;
            side.ongoing = 0;
            side.error = 0;
        }
        let moved = side.available != old.available || starts;
        if moved && side.is_active() && side.available != 0 {
            self.check_available(&mut side, old, starts, name, complaints);
        } else if side.available != old.available
            && side.available != 0
            && !self.get(instance / 2).dropped
        {
            complaints.add(format!(
                "{name} was given descriptors while it was not started"
            ));
        }
        let works = side.runs() && side.waiting() > 0;
        self.change(instance, |place| *place = side);
        if (starts || stops)
            && let Some(channel) = self.get_mut(instance / 2)
        {
            channel.life = channel.life.wrapping_add(1);
            channel.moved = false;
            channel.revived = starts && channel.dropped;
            channel.dropped &= !starts;
            for side in &mut channel.sides {
                side.drop_fetched();
            }
        }
        if side.error != old.error && side.error != 0 {
            Event::Failed(instance / 2)
        } else if host_starts {
            Event::Started(instance / 2)
        } else if works {
            Event::Fed(instance / 2)
        } else {
            Event::None
        }
    }

    fn check_available(
        &self,
        side: &mut Side,
        old: Side,
        starts: bool,
        name: Name,
        complaints: &mut Complaints,
    ) {
        let available = u32::from(side.available);
        if available >= side.len() {
            complaints.add(format!(
                "{name} was given {available} descriptors, its list has {}",
                side.len()
            ));
        } else if !starts && side.distance_to(side.available) < side.distance_to(old.available) {
            complaints.add(format!(
                "the available count of {name} went from {} to {available} with {} processed: back, or over the free room",
                old.available, side.processed
            ));
        } else {
            return;
        }
        side.error = error::DESCRIPTOR;
        side.control = control::ABORT;
    }

    /// A side failed: both stop, the error byte says which.
    pub(super) fn fail(&mut self, channel: u32, side: usize, code: u8) {
        if let Some(channel) = self.get_mut(channel) {
            channel.sides[side].error = code;
            channel.life = channel.life.wrapping_add(1);
            for side in &mut channel.sides {
                side.control = control::ABORT;
                side.drop_fetched();
            }
        }
    }

    /// The chip's driver starts its side on a list of 65,536 descriptors in the chip's memory.
    pub(super) fn start_device_side(&mut self, channel: u32, list: u64) {
        let started = Side {
            control: control::START,
            data_id: data_id::DEVICE,
            list,
            ..Side::default()
        };
        self.change_device_side(channel, |side| *side = started);
    }

    /// The chip's driver stops its side.
    pub(super) fn stop_device_side(&mut self, channel: u32) {
        self.change_device_side(channel, |side| side.control = control::ABORT);
    }

    fn change_device_side(&mut self, channel: u32, change: impl FnOnce(&mut Side)) {
        self.change(device_side(channel), change);
        if let Some(channel) = self.get_mut(channel) {
            channel.life = channel.life.wrapping_add(1);
            for side in &mut channel.sides {
                side.drop_fetched();
            }
        }
    }

    /// The chip's driver makes `count` more descriptors available; the ring has room for them.
    pub(super) fn feed_device_side(&mut self, channel: u32, count: u32) {
        self.change(device_side(channel), |side| side.feed(count));
    }

    /// Descriptors of the device side that are not processed.
    pub(super) fn device_side_waits(&self, channel: u32) -> u32 {
        self.side(device_side(channel)).waiting()
    }

    /// Descriptors of the host side that are not processed.
    pub(super) fn host_side_waits(&self, channel: u32) -> u32 {
        self.side(host_side(channel)).waiting()
    }

    /// Whether the host's side of any channel is active.
    pub(super) fn any_active(&self) -> bool {
        (0..CHANNELS).any(|channel| self.host_side_is_active(channel))
    }

    pub(super) fn host_side_is_active(&self, channel: u32) -> bool {
        self.side(host_side(channel)).is_active()
    }

    /// The chip makes both sides inactive: a session that it closes.
    pub(super) fn stop_both_sides(&mut self, channel: u32) {
        self.stop_device_side(channel);
        self.change(host_side(channel), |side| side.control = control::ABORT);
        if let Some(channel) = self.get_mut(channel) {
            channel.dropped = true;
        }
    }

    /// Active channels with descriptors that are not processed, on the source and the destination side.
    pub(super) fn unfinished(&self) -> Vec<(u32, u32, u32)> {
        (0..)
            .zip(&self.all)
            .filter(|(_, channel)| channel.sides.iter().any(Side::is_active))
            .map(|(number, channel)| (number, channel.sides.map(|side| side.waiting())))
            .filter(|(_, waiting)| *waiting != [0, 0])
            .map(|(number, [source, destination])| (number, source, destination))
            .collect()
    }
}

/// A side's name in complaints.
#[derive(Clone, Copy)]
struct Name(u32);

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let channel = self.0 / 2;
        let whose = if self.0 == device_side(channel) {
            "device"
        } else {
            "host"
        };
        write!(f, "the {whose} side of channel {channel}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Iova;

    struct Bench {
        channels: Channels,
        complaints: Complaints,
    }

    impl Bench {
        fn new() -> Self {
            Self {
                channels: Channels::new(),
                complaints: Complaints::default(),
            }
        }

        fn read(&mut self, offset: u32) -> u32 {
            self.channels.read(offset, &mut self.complaints)
        }

        fn write(&mut self, offset: u32, value: u32) -> Event {
            self.channels
                .write(offset, value, u32::MAX, &mut self.complaints)
        }

        /// The vendor's start of a side: stop, list, depth and data id, control; half-words and
        /// bytes by read-modify-write.
        fn start(&mut self, side: u32, list: u64, depth: u32) {
            self.stop(side);
            let low = self.read(side + 8) & 0xffff | u32::try_from(list & 0xffff_0000).unwrap();
            self.write(side + 8, low);
            self.write(side + 0xc, u32::try_from(list >> 32).unwrap());
            self.write(side, depth << 11);
            let control = self.read(side) & !0xff | 1;
            self.write(side, control);
        }

        fn stop(&mut self, side: u32) {
            for control in [3, 0] {
                let word = self.read(side) & !0xff | control;
                self.write(side, word);
            }
        }
    }

    #[test]
    fn a_start_and_a_launch_as_the_vendor_writes_them() {
        let mut bench = Bench::new();
        bench.start(0x210, 0x12_4011_0000, 16 & 0xf);
        assert_eq!(bench.read(0x210), 1);
        assert_eq!(bench.read(0x218), 0x4011_0000);
        assert_eq!(bench.read(0x21c), 0x12);
        assert_eq!(bench.write(0x210, 5 << 16 | 1), Event::Fed(16));
        let side = bench.channels.get(16).sides[1];
        assert_eq!((side.waiting(), side.next()), (5, 0));
        assert_eq!(side.descriptor(2), Iova(0x12_4011_0020));
        assert_eq!(bench.complaints.list(), [""; 0]);
    }

    #[test]
    fn stops_without_a_list_and_repeated_stops_are_fine() {
        let mut bench = Bench::new();
        for _ in 0..3 {
            bench.stop(0x10);
        }
        bench.start(0x10, 0x10000, 0);
        bench.stop(0x10);
        bench.stop(0x10);
        assert_eq!(bench.read(0x10), 0);
        assert_eq!(bench.complaints.list(), [""; 0]);
    }

    #[test]
    fn a_stop_keeps_the_count_and_a_start_clears_the_progress() {
        let mut bench = Bench::new();
        bench.start(0, 0x10000, 4);
        bench.write(0, 4 << 11 | 7 << 16 | 1);
        let side = &mut bench.channels.get_mut(0).unwrap().sides[0];
        side.fetch(7);
        side.finish(7);
        assert_eq!(bench.read(4), 0x0007_0007);
        bench.stop(0);
        assert_eq!(bench.read(0), 4 << 11 | 7 << 16);
        bench.start(0, 0x10000, 4);
        assert_eq!(bench.read(4), 0);
        assert_eq!(bench.read(0), 4 << 11 | 1);
        assert_eq!(bench.complaints.list(), [""; 0]);
    }

    #[test]
    fn a_count_that_makes_no_sense_stops_the_side() {
        for (depth, first, second) in [(2, 4, 4), (4, 10, 5), (4, 0, 16)] {
            let mut bench = Bench::new();
            bench.start(0, 0x10000, depth);
            bench.write(0, depth << 11 | first << 16 | 1);
            bench.write(0, depth << 11 | second << 16 | 1);
            assert_eq!(bench.read(0) & 3, 0);
            assert_eq!(bench.read(8) & 0xff, u32::from(error::DESCRIPTOR));
            assert_eq!(bench.complaints.list().len(), 1, "{:?}", bench.complaints);
        }
    }

    #[test]
    fn a_running_list_stays_where_it_is() {
        let mut bench = Bench::new();
        bench.start(0, 0x10000, 0);
        bench.write(8, 0x2_0000);
        bench.write(0, 5 << 11 | 1);
        bench.write(4, 1);
        bench.write(0x400, 1);
        assert_eq!(bench.read(0x404), 0);
        assert_eq!(bench.complaints.list().len(), 5);
    }

    #[test]
    fn single_bytes_are_merged_into_their_word() {
        let mut bench = Bench::new();
        bench.start(0, 0x10000, 0);
        let mask = 0xffff_0000;
        let event = bench
            .channels
            .write(0, 3 << 16, mask, &mut bench.complaints);
        assert_eq!(event, Event::Fed(0));
        assert_eq!(bench.read(0), 0x0003_0001);
    }
}

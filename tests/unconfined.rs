//! What must hold on a host without an IOMMU, without an interrupt and without coherent caches: everything.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/registers.rs"]
mod registers;
mod support;

use std::sync::Arc;

use hailo_vfio::ErrorKind;
use hailo_vfio::addr::Iova;
use hailo_vfio::boot::{BootOptions, FirmwareFile};
use hailo_vfio::device::Device;
use hailo_vfio::dma::{Channel, ChannelOptions, CompletionSignal, DmaBuffer};
use hailo_vfio::model::Chip;
use hailo_vfio::model::mkfw::MakeFirmware;
use hailo_vfio::spec::board::Sku;
use hailo_vfio::transport::local::LocalTransport;
use hailo_vfio::transport::{Direction, Transport};
use registers::Registers;
use support::apart::Apart;
use support::{Bench, Set, Way, chip, firmware, sha256};

fn open(chip: &Arc<Chip>, longest_list: u32) -> Device {
    let local = LocalTransport::open("sim", chip.clone()).unwrap();
    Device::new(Arc::new(Apart::new(Arc::new(local), longest_list))).unwrap()
}

fn assert_arrived(chip: &Chip, set: &Set) {
    let received = chip.received();
    let ours = |file: &&FirmwareFile| file.sku.is_none_or(|sku| sku == Sku::Default);
    for file in set.set.files().iter().filter(ours) {
        let kept = received.iter().find(|kept| kept.name == file.name);
        let kept = kept.unwrap_or_else(|| panic!("{} did not arrive", file.name));
        assert_eq!(
            kept.sha256,
            sha256(&set.dir.path().join(&file.name)),
            "{}",
            file.name
        );
    }
    assert_eq!(chip.complaints(), Vec::<String>::new());
}

#[test]
fn a_boot_arrives_whole_though_no_cache_is_in_step() {
    let set = firmware(&MakeFirmware {
        size: 5 << 20,
        ..Default::default()
    });
    let chip = chip("default", "");
    let device = open(&chip, 65_536);
    let booted = device.boot(&set.set, &BootOptions::default(), &mut |_| {});
    let upload = booted.unwrap().upload.unwrap();
    assert_eq!(upload.channels, 1);
    assert!(upload.copied > 0, "files can't be mapped here");
    assert_eq!(upload.caches_follow, Some(false), "and it was noticed");
    assert_arrived(&chip, &set);
}

#[test]
fn a_boot_makes_do_with_short_lists() {
    let set = firmware(&MakeFirmware {
        size: 5 << 20,
        ..Default::default()
    });
    let chip = chip("default", "");
    let booted = open(&chip, 1024).boot(&set.set, &BootOptions::default(), &mut |_| {});
    let channels = booted.unwrap().upload.unwrap().channels;
    assert!(channels > 8, "{channels}");
    assert_arrived(&chip, &set);
}

#[test]
fn a_set_that_short_lists_can_not_hold_goes_through_the_window() {
    let set = firmware(&MakeFirmware {
        size: 3 << 20,
        ..Default::default()
    });
    let chip = chip("default", "");
    let booted = open(&chip, 256).boot(&set.set, &BootOptions::default(), &mut |_| {});
    assert_eq!(booted.unwrap().upload.unwrap().channels, 0);
    assert_eq!(chip.counters().descriptors, 0);
    assert_arrived(&chip, &set);
}

#[test]
fn a_boot_that_an_earlier_owner_left_half_done_is_begun_anew() {
    let set = firmware(&MakeFirmware::default());
    let chip = chip("default", "");
    let options = BootOptions::default();
    let cancel = options.cancel.clone();
    let stopped = open(&chip, 1024).boot(&set.set, &options, &mut |progress| {
        if progress.stage == 2 {
            cancel.cancel();
        }
    });
    assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Interrupted);
    let booted = open(&chip, 1024).boot(&set.set, &BootOptions::default(), &mut |_| {});
    assert!(booted.unwrap().upload.is_some());
    assert_eq!(chip.complaints(), Vec::<String>::new());
}

#[test]
fn a_session_carries_every_byte_both_ways() {
    let bench = Bench::new(Way::Apart, "default,timing=off,loaded=5.2.0", "");
    let device = bench.open();
    let telemetry = device.soc().unwrap().telemetry().unwrap();
    assert_eq!(telemetry.identify().unwrap().firmware, "5.2.0");
    for len in [1, 63, 512, 70_000, 513] {
        let data: Vec<u8> = (0..len).map(|at: u32| at.to_le_bytes()[0] ^ 0x5a).collect();
        assert_eq!(telemetry.echo(&data).unwrap(), data);
    }
    telemetry.close().unwrap();
    bench.assert_no_complaints();
}

/// Bytes and address of descriptor `index` of the list of the side at `base`.
fn descriptor(device: &Registers, base: u32, index: u64) -> (usize, Iova) {
    let [first, low, high, _] = device.descriptor(base, index);
    let address = u64::from(high) << 32 | u64::from(low & !0x3f);
    (usize::try_from(first >> 8).unwrap(), Iova(address))
}

fn bench() -> (Arc<Registers>, Arc<dyn Transport>) {
    let device = Arc::new(Registers::default());
    let local = LocalTransport::open("stub", device.clone()).unwrap();
    (device, Arc::new(Apart::new(Arc::new(local), 1024)))
}

fn started(transport: &Arc<dyn Transport>, number: u32) -> Channel {
    let options = ChannelOptions {
        descriptors: 16,
        page: 512,
        signal: CompletionSignal::Memory,
    };
    let mut channel = Channel::new(transport, number, options).unwrap();
    channel.start().unwrap();
    channel
}

#[test]
fn what_the_device_wrote_is_what_comes_back() {
    const BASE: u32 = 0x210;
    let (device, transport) = bench();
    let mut channel = started(&transport, 16);
    let mut buffer = DmaBuffer::new(&transport, 1024, Direction::FromDevice).unwrap();
    for round in 1..20_u8 {
        // Changed lines of the processor must not end up over what the device writes.
        buffer.fill(0xee);
        channel.submit(buffer, 700).unwrap();
        let first = u64::from(round - 1) * 2 % 16;
        for (index, len) in [(first, 512), (first + 1, 188)] {
            let (bytes, address) = descriptor(&device, BASE, index);
            assert_eq!(bytes, len);
            device.host().write(address, &vec![round; len]).unwrap();
        }
        assert!(channel.reap().unwrap().is_none(), "it is not done yet");
        device.finish(BASE, u32::try_from((first + 2) % 16).unwrap());
        buffer = channel.reap().unwrap().unwrap().buffer;
        assert_eq!(buffer[..700], [round; 700]);
    }
}

#[test]
fn what_the_processor_wrote_is_what_the_device_reads() {
    let (device, transport) = bench();
    let mut channel = started(&transport, 0);
    for round in 1..20_u8 {
        let mut buffer = DmaBuffer::new(&transport, 512, Direction::ToDevice).unwrap();
        buffer.fill(round);
        channel.submit(buffer, 512).unwrap();
        let index = u32::from(round - 1) % 16;
        let (bytes, address) = descriptor(&device, 0, index.into());
        let mut seen = vec![0; bytes];
        device.host().read(address, &mut seen).unwrap();
        assert_eq!(seen, [round; 512]);
        device.finish(0, (index + 1) % 16);
        channel.reap().unwrap().unwrap();
    }
}

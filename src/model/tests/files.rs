//! A firmware set in memory, and its upload as the vendor's driver does it.

use sha2::{Digest, Sha256};

use super::host::Bench;
use crate::model::ReceivedFile;
use crate::spec::board::Sku;

/// Bytes that differ from place to place. Long ones repeat a block, with its number in front.
pub(super) fn noise(len: usize, seed: u32) -> Vec<u8> {
    const BLOCK: usize = 1 << 16;
    let mut state = seed | 1;
    let step = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    let block: Vec<u8> = (0..len.min(BLOCK)).map(step).collect();
    let mut bytes = block.clone();
    while bytes.len() < len {
        let number = bytes.len().to_le_bytes();
        let take = (len - bytes.len()).min(BLOCK);
        bytes.extend_from_slice(&block[..take]);
        let start = bytes.len() - take;
        let stamped = take.min(number.len());
        bytes[start..start + stamped].copy_from_slice(&number[..stamped]);
    }
    bytes
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Parts of a container.
#[derive(Clone)]
pub(super) struct Container {
    pub(super) magic: u32,
    pub(super) version: [u32; 3],
    pub(super) code: Vec<u8>,
    pub(super) code_size: u32,
    pub(super) key: Vec<u8>,
    pub(super) content: Vec<u8>,
}

impl Container {
    pub(super) fn new(version: [u32; 3]) -> Self {
        Self {
            magic: 0xe905_daab,
            version,
            code: noise(5002, 3),
            code_size: 5002,
            key: noise(0x35d, 4),
            content: noise(0x1ff, 5),
        }
    }

    pub(super) fn header(&self) -> Vec<u8> {
        let [major, minor, revision] = self.version;
        let words = [self.magic, 0, major, minor, revision, self.code_size];
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    pub(super) fn file(&self) -> Vec<u8> {
        let sizes = [&self.key, &self.content].map(|part| u32::try_from(part.len()).unwrap());
        let sizes = sizes.iter().flat_map(|size| size.to_le_bytes()).collect();
        [
            self.header(),
            self.code.clone(),
            sizes,
            self.key.clone(),
            self.content.clone(),
        ]
        .concat()
    }

    /// Uploads the parts; the host's pointers are as aligned as they are in the file.
    pub(super) fn upload(&self, bench: &Bench) {
        let header = self.header();
        bench.write_memory(0x8_8000, &header, 0);
        bench.write_memory(0x2_0000, &self.code, header.len() % 4);
        let key = header.len() + self.code.len() + 8;
        bench.write_memory(0x8_8018, &self.key, key % 4);
        bench.write_memory(0x8_86a8, &self.content, (key + self.key.len()) % 4);
    }
}

/// One file of the vDMA stage: name, device address, bytes.
pub(super) type Image = (&'static str, u64, Vec<u8>);

pub(super) fn images_5_1(file_system: usize) -> Vec<Image> {
    vec![
        ("u-boot-spl.bin", 0x8030_0000, noise(70_001, 6)),
        ("u-boot-tfa.itb", 0x8032_c000, noise(4096, 7)),
        ("fitImage", 0x8800_0000, noise(300_000, 8)),
        ("image-fs", 0x9000_0000, noise(file_system, 9)),
    ]
}

pub(super) fn images_old() -> Vec<Image> {
    vec![
        ("u-boot-spl.bin", 0x8500_0000, noise(70_001, 6)),
        ("u-boot-tfa.itb", 0x8600_0000, noise(4096, 7)),
        ("fitImage", 0x8700_0000, noise(300_000, 8)),
        ("image-fs", 0x8800_0000, noise(400_100, 9)),
    ]
}

/// Bit 2 of the PCIe config register, then the files and the trigger of stage 1.
pub(super) fn stage_1(bench: &Bench, container: &Container, before: &[(u64, Vec<u8>)]) {
    let config = bench.read_word(0x20_09dc);
    bench.write_word(0x20_09dc, config | 4);
    bench.write_memory(0xa_0000, &noise(0x7001, 1), 0);
    for (address, bytes) in before {
        bench.write_memory(*address, bytes, 0);
    }
    container.upload(bench);
    bench.write_word(0x8_8c98, 1);
}

pub(super) fn device_tree() -> Vec<u8> {
    noise(0x1235, 2)
}

pub(super) fn stage_2(bench: &Bench) {
    bench.write_memory(0xa_8004, &device_tree(), 0);
    bench.write_word(0xd_eff8, 1);
}

/// The descriptors of one channel: host list, device list, each with its first word's control.
struct Lists {
    host: Vec<u8>,
    device: Vec<u8>,
    count: usize,
}

/// How drivers of different releases program the device list.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum DeviceSizes {
    Same,
    Zero,
}

const PAGE: usize = 512;
const USABLE: usize = 65_535;
const DATA: u64 = 0x1_0000_0000;
pub(super) const LISTS: u64 = 0x4000_0000;

fn descriptor(size: usize, control: u32, address: u64, data_id: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    let first = u32::try_from(size).unwrap() << 8 | control;
    bytes[..4].copy_from_slice(&first.to_le_bytes());
    bytes[4..12].copy_from_slice(&(address | data_id).to_le_bytes());
    bytes
}

/// Starts as many channels as the images need, writes the lists, feeds them; gives the channels.
pub(super) fn feed_images(bench: &Bench, images: &[Image], sizes: DeviceSizes) -> u32 {
    let pages: usize = images
        .iter()
        .map(|(_, _, bytes)| bytes.len().div_ceil(PAGE))
        .sum();
    let count = u32::try_from(pages.div_ceil(USABLE)).unwrap();
    for channel in 0..count {
        let lists = LISTS + u64::from(channel) * 0x20_0000;
        bench.start_side(0x20 * channel, lists, 0);
        bench.start_side(0x20 * channel + 0x10, lists + 0x10_0000, 0);
    }
    let mut all = vec![Lists {
        host: Vec::new(),
        device: Vec::new(),
        count: 0,
    }];
    let mut data = DATA;
    for (number, (_, device, bytes)) in images.iter().enumerate() {
        bench.memory.put_read_only(data, bytes.clone());
        for (page, chunk) in bytes.chunks(PAGE).enumerate() {
            if all.last().unwrap().count == USABLE {
                all.push(Lists {
                    host: Vec::new(),
                    device: Vec::new(),
                    count: 0,
                });
            }
            let list = all.last_mut().unwrap();
            list.count += 1;
            let last = number + 1 == images.len() && (page + 1) * PAGE >= bytes.len();
            let control = if last || list.count == USABLE {
                0x2e
            } else {
                0x02
            };
            let offset = u64::try_from(page * PAGE).unwrap();
            list.host
                .extend(descriptor(chunk.len(), control, data + offset, 0));
            let size = if sizes == DeviceSizes::Zero && chunk.len() == PAGE {
                0
            } else {
                chunk.len()
            };
            list.device
                .extend(descriptor(size, 0x02, device + offset, 6));
        }
        data += 0x4000_0000;
    }
    for (channel, lists) in (0..).zip(&all) {
        let address = LISTS + u64::try_from(channel).unwrap() * 0x20_0000;
        bench.memory.put(address, lists.host.clone());
        bench.memory.put(address + 0x10_0000, lists.device.clone());
    }
    for (channel, lists) in (0..).zip(&all) {
        let available = u32::try_from(lists.count).unwrap();
        bench.feed_side(0x20 * channel, available);
        bench.feed_side(0x20 * channel + 0x10, available);
    }
    count
}

/// The vendor frees the lists before it stops the channels.
pub(super) fn stop_channels(bench: &Bench, count: u32) {
    for channel in 0..count {
        let lists = LISTS + u64::from(channel) * 0x20_0000;
        bench.memory.remove(lists);
        bench.memory.remove(lists + 0x10_0000);
    }
    for channel in 0..count {
        bench.stop_side(0x20 * channel);
        bench.stop_side(0x20 * channel + 0x10);
    }
}

/// The whole vDMA stage.
pub(super) fn vdma_stage(bench: &mut Bench, images: &[Image], sizes: DeviceSizes, trigger: u64) {
    let count = feed_images(bench, images, sizes);
    let others = bench.wait_for(0, u32::MAX >> (32 - count));
    assert_eq!(others, (0, 0), "no stage is done before its trigger");
    bench.write_word(trigger, 1);
    stop_channels(bench, count);
    assert_eq!(bench.wait_for(2, 0), (0, 0));
}

/// A boot of the 5.1 layout, whatever the images.
pub(super) fn boot_5_1(bench: &mut Bench, images: &[Image]) {
    stage_1(bench, &Container::new([5, 2, 0]), &[]);
    assert_eq!(bench.wait_for(2, 0), (0, 0));
    stage_2(bench);
    assert_eq!(bench.wait_for(2, 0), (0, 0));
    vdma_stage(bench, images, DeviceSizes::Same, 0x802f_f000);
}

pub(super) fn assert_received(files: &[ReceivedFile], name: &str, bytes: &[u8]) {
    let file = files
        .iter()
        .find(|file| file.name == name)
        .unwrap_or_else(|| panic!("no {name} in {files:?}"));
    assert_eq!(file.len, u64::try_from(bytes.len()).unwrap(), "{name}");
    assert_eq!(file.sha256, sha256(bytes), "{name}");
}

pub(super) fn tree_name(sku: Sku) -> String {
    sku.file_name()
}

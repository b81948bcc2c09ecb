//! A ring in memory and a tensor between contexts, by a host without a driver: the lists of `made/ddr.txt`, batch 3.

use super::super::host::VDMA;
use super::super::random::Dice;
use super::net::{List, Net, Upload, hex, noise};

const DATA: u64 = 0x30_0000_0000;
const IN: u64 = 0x31_0000_0000;
const OUT: u64 = 0x32_0000_0000;
const FRAMES: u32 = 3;

/// What is uploaded, with the lists of the user's input and output.
struct Ring {
    upload: Upload,
    input: List,
    output: List,
}

fn numbers(line: &str) -> Vec<u32> {
    line.split(|c: char| !c.is_ascii_digit())
        .filter_map(|word| word.parse().ok())
        .collect()
}

impl Ring {
    fn new(net: &Net) -> Self {
        let path = format!(
            "{}/tests/golden/nnc/made/ddr.txt",
            env!("CARGO_MANIFEST_DIR")
        );
        let text = std::fs::read_to_string(path).unwrap();
        let mut header = Vec::new();
        let mut contexts: Vec<(u8, Vec<u8>)> = Vec::new();
        let mut users = Vec::new();
        for line in text.lines() {
            if let Some(digits) = line.strip_prefix("header ") {
                header = hex(digits);
            } else if line.starts_with("list ") {
                let (serves, sizes) = line.rsplit_once("}: ").unwrap();
                let number = u64::from(numbers(serves)[0]);
                let list = Self::list(net, number, serves, &numbers(sizes));
                if serves.contains("Boundary") {
                    users.push(list);
                }
            } else if !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                let list = &mut contexts.last_mut().unwrap().1;
                list.extend(hex(line));
            } else if !line.starts_with(' ') && !line.is_empty() {
                let kind = match line {
                    "activation" => 3,
                    "batch switching" => 2,
                    "preliminary" => 0,
                    _ => 1,
                };
                contexts.push((kind, Vec::new()));
            }
        }
        net.put(IN, vec![0; 128]);
        net.put(OUT, vec![0; 24]);
        Self {
            upload: Upload { header, contexts },
            input: users[0],
            output: users[1],
        }
    }

    /// Sizes: descriptors, page, transfer, written.
    fn list(net: &Net, number: u64, serves: &str, sizes: &[u32]) -> List {
        let list = List::make(net, 0x10_0000_0000 + (number << 16), sizes[1], sizes[0]);
        let data = DATA + (number << 24);
        let written = sizes[3];
        net.put(
            data,
            noise(number, usize::try_from(written * list.page).unwrap()),
        );
        let mut at = 0;
        while at < written && !serves.contains("Boundary") {
            list.transfer(net, at, data + u64::from(at * list.page), sizes[2], 2);
            at += sizes[2].div_ceil(list.page);
        }
        list
    }

    /// Offers a batch of frames, from and to the same memory; gives the counts of both channels.
    fn offer(&self, net: &Net, seed: u64, mut counts: [u32; 2]) -> [u32; 2] {
        net.poke(IN, &noise(seed, 128));
        for _ in 0..FRAMES {
            counts[0] = self.input.transfer(net, counts[0], IN, 128, 0x2e);
            counts[1] = self.output.transfer(net, counts[1], OUT, 24, 0x2e);
        }
        for (channel, count) in [(16, counts[1]), (1, counts[0])] {
            net.bench.write16(VDMA, Net::side(channel) + 2, count);
        }
        counts
    }
}

#[test]
fn rows_come_back_from_a_ring_batch_after_batch() {
    let mut net = Net::new("", "none");
    let ring = Ring::new(&net);
    ring.upload.send(&mut net).unwrap();
    assert!(net.enable(0, 0, 0).ok());
    let mut counts = [0; 2];
    let mut outputs = Vec::new();
    for seed in [1, 2, 1] {
        counts = ring.offer(&net, seed, counts);
        net.wait_processed(16, counts[1], ring.output.len);
        outputs.push(net.peek(OUT, 24));
    }
    assert_eq!(outputs[0], outputs[2]);
    assert_ne!(outputs[0], outputs[1]);
    net.reset();
    assert_eq!(net.complaints(), [""; 0]);
    assert_eq!(net.events, []);
}

/// As `whatever_a_host_uploads_the_firmware_lives`, with what a ring adds.
#[test]
fn whatever_a_host_says_of_a_ring_the_firmware_lives() {
    let mut dice = Dice(0x0bad_5eed);
    let mut ran = 0;
    for round in 0..200_u32 {
        let lenient = if round % 4 == 0 { "" } else { ",lenient=on" };
        let mut net = Net::new(lenient, "none");
        let mut ring = Ring::new(&net);
        for _ in 0..=dice.roll(3) {
            let context = usize::try_from(dice.roll(5)).unwrap();
            let bytes = &mut ring.upload.contexts[context].1;
            let place = dice.roll(u32::try_from(bytes.len()).unwrap());
            bytes[usize::try_from(place).unwrap()] = dice.word().to_le_bytes()[0];
        }
        if dice.roll(4) == 0 {
            let list = 0x10_0002_0000 + (u64::from(dice.roll(4)) << 16);
            let word = u64::from(dice.roll(8));
            net.poke(list + 4 * word, &dice.word().to_le_bytes());
        }
        if ring.upload.send(&mut net).is_ok() && net.enable(0, 0, 0).ok() {
            ran += 1;
            let counts = ring.offer(&net, 1, [0; 2]);
            net.does(72, &[]);
            drop(net.enable(0, 1, 0));
            ring.offer(&net, 2, counts);
            net.does(72, &[]);
        }
        net.reset();
        net.does(71, &[]);
    }
    assert!(ran > 20, "{ran} rounds ran");
}

//! Networks loaded and run by a host that knows no more than bytes and registers.

use super::super::host::VDMA;
use super::net::{List, Net, Upload, bytes, golden, hex, noise};
use crate::model::nnc::output::{ConfigDigest, config_key, context_key, fill_output, frame_seed};

const CONFIG: u64 = 0x10_0001_0000;
const INPUT: u64 = 0x10_0002_0000;
const OUTPUT: u64 = 0x10_0003_0000;
const BETWEEN: u64 = 0x10_0004_0000;
const CONFIGS: [u64; 3] = [CONFIG, 0x10_0005_0000, 0x10_0006_0000];
const DATA: u64 = 0x20_0000_0000;
pub(super) const IN_DATA: u64 = DATA + 0x100_0000;
pub(super) const OUT_DATA: u64 = DATA + 0x200_0000;
const SLOTS: u64 = 8;

/// Words for a config stream, with padding in front of the last ones.
fn configuration(seed: u64, len: usize, padding: usize) -> Vec<u8> {
    let words = noise(seed, len);
    let (head, tail) = words.split_at(len / 16 * 8);
    [head, &vec![0; padding], tail].concat()
}

fn key_of(words: &[u8]) -> u64 {
    let mut digest = ConfigDigest::new();
    digest.update(words);
    config_key(&[(0, digest.finish())])
}

/// The host's memory for one of the two networks, and what the network computes.
pub(super) struct Memory {
    pub(super) input: List,
    pub(super) output: List,
    /// Descriptors written so far on both lists.
    written: [u32; 2],
    slot: u64,
    keys: Vec<u64>,
}

impl Memory {
    fn boundary(net: &Net) -> Self {
        net.put(IN_DATA, vec![0; 8192 * 8]);
        net.put(OUT_DATA, vec![0; 1024 * 8]);
        Self {
            input: List::make(net, INPUT, 512, 1024),
            output: List::make(net, OUTPUT, 512, 128),
            written: [0; 2],
            slot: 0,
            keys: Vec::new(),
        }
    }

    fn config(net: &Net, list: u64, data: u64, len: u32, words: &[u8]) {
        net.put(data, words.to_vec());
        let list = List::make(net, list, 512, len);
        list.transfer(net, 0, data, u32::try_from(words.len()).unwrap(), 2);
    }

    pub(super) fn example(net: &Net) -> Self {
        let mut memory = Self::boundary(net);
        let words = configuration(1, 1272, 264);
        Self::config(net, CONFIG, DATA, 5, &words);
        memory.keys = vec![context_key(key_of(&words), config_key(&[]))];
        memory
    }

    pub(super) fn two_contexts(net: &Net) -> Self {
        let mut memory = Self::boundary(net);
        let all = [
            configuration(2, 1272, 264),
            configuration(3, 512, 0),
            configuration(4, 520, 504),
        ];
        for ((words, list), (len, place)) in all.iter().zip(CONFIGS).zip([(5, 0), (2, 1), (3, 2)]) {
            Self::config(net, list, DATA + 0x1_0000 * place, len, words);
        }
        net.put(DATA + 0x10_0000, vec![0; 12800]);
        let between = List::make(net, BETWEEN, 512, 25);
        for frame in 0..2 {
            between.transfer(
                net,
                frame * 12,
                DATA + 0x10_0000 + u64::from(frame) * 6144,
                6144,
                2,
            );
        }
        memory.keys = all[1..]
            .iter()
            .map(|own| context_key(key_of(&all[0]), key_of(own)))
            .collect();
        memory
    }

    /// As after an activation.
    pub(super) fn restart(&mut self) {
        self.written = [0; 2];
    }

    /// Offers a buffer for an output, then an input frame; gives where the output will be.
    pub(super) fn submit(&mut self, net: &Net, frame: &[u8]) -> u64 {
        let slot = self.slot;
        self.slot = (slot + 1) % SLOTS;
        let (to, from) = (IN_DATA + slot * 8192, OUT_DATA + slot * 1024);
        net.poke(from, &[0xee; 1000]);
        self.written[1] = self.output.transfer(net, self.written[1], from, 1000, 0x2e);
        net.launch(16, self.written[1]);
        net.poke(to, frame);
        self.written[0] = self.input.transfer(net, self.written[0], to, 8192, 0x2e);
        net.launch(1, self.written[0]);
        from
    }

    /// The same of a host that does not look whether the channels are open.
    pub(super) fn offer(&mut self, net: &Net, frame: &[u8]) {
        net.poke(IN_DATA, frame);
        self.written[1] = (self.output).transfer(net, self.written[1], OUT_DATA, 1000, 0x2e);
        self.written[0] = (self.input).transfer(net, self.written[0], IN_DATA, 8192, 0x2e);
        for (channel, written) in [(16, self.written[1]), (1, self.written[0])] {
            net.bench.write16(VDMA, Net::side(channel) + 2, written);
        }
    }

    pub(super) fn wait(&self, net: &mut Net) {
        net.wait_processed(1, self.written[0], self.input.len);
        net.wait_processed(16, self.written[1], self.output.len);
    }

    /// What the network makes of a frame.
    pub(super) fn expected(&self, frame: &[u8]) -> Vec<u8> {
        let mut bytes = frame.to_vec();
        for (place, key) in self.keys.iter().enumerate() {
            let last = place + 1 == self.keys.len();
            let seed = frame_seed(*key, [bytes.as_slice()]);
            bytes = vec![0; if last { 1000 } else { 6144 }];
            fill_output(seed, if last { 4 } else { 5 }, &mut bytes);
        }
        bytes
    }

    /// So many frames go through, a batch at a time.
    pub(super) fn infer(&mut self, net: &mut Net, frames: u64, batch: u64) {
        for first in (0..frames).step_by(usize::try_from(batch).unwrap()) {
            let inputs: Vec<Vec<u8>> = (0..batch)
                .map(|place| noise(1000 + first + place, 8192))
                .collect();
            let places: Vec<u64> = inputs.iter().map(|input| self.submit(net, input)).collect();
            self.wait(net);
            for (input, place) in inputs.iter().zip(places) {
                assert_eq!(
                    net.peek(place, 1000),
                    self.expected(input),
                    "frame {first}, {:?}",
                    net.complaints()
                );
            }
        }
    }
}

pub(super) fn assert_clean(net: &Net) {
    assert_eq!(net.complaints(), [""; 0]);
}

#[test]
fn the_worked_example_runs_from_its_own_bytes() {
    let mut net = Net::new("", "none");
    let mut memory = Memory::example(&net);
    for name in [
        "cs_set_network_group_header",
        "cs_context_activation",
        "cs_context_batch_switching",
        "cs_context_preliminary",
        "cs_context_dynamic0",
        "cs_status_enable",
    ] {
        let answer = net.send(&bytes(&golden(name)["request_hex"]));
        assert!(answer.ok(), "{name}: {answer:x?}, {:?}", net.complaints());
    }
    // Both boundary channels are open on their lists, with nothing available.
    for (channel, list, depth) in [(1, INPUT, 10), (16, OUTPUT, 7)] {
        let side = Net::side(channel);
        assert_eq!(net.bench.read(VDMA, side), depth << 11 | 1);
        assert_eq!(net.bench.read(VDMA, side + 4), 0);
        assert_eq!(
            u64::from(net.bench.read(VDMA, side + 8) >> 16),
            list >> 16 & 0xffff
        );
        assert_eq!(u64::from(net.bench.read(VDMA, side + 12)), list >> 32);
    }
    memory.infer(&mut net, 40, 1);
    net.wait_interrupts(1 << 1 | 1 << 16);
    let answer = net.send(&bytes(&golden("cs_status_reset")["request_hex"]));
    assert!(answer.ok());
    assert_eq!(net.bench.read(VDMA, Net::side(1)) & 3, 0);
    assert_eq!(net.bench.read(VDMA, Net::side(16)) & 3, 0);
    assert!(net.control(71, &[]).ok());
    assert_clean(&net);
    assert_eq!(net.events, []);
}

#[test]
fn two_contexts_hand_a_tensor_over_through_the_host() {
    let mut net = Net::new("", "none");
    let mut memory = Memory::two_contexts(&net);
    Upload::two_contexts().send(&mut net).unwrap();
    assert!(net.enable(0, 0, 0).ok());
    memory.infer(&mut net, 20, 2);
    net.reset();
    assert_clean(&net);
}

#[test]
fn chunks_may_be_cut_anywhere() {
    let mut net = Net::new("", "none");
    let mut memory = Memory::two_contexts(&net);
    let upload = Upload::two_contexts();
    net.does(32, &[&upload.header]);
    for (kind, list) in &upload.contexts {
        assert!(net.context(*kind, list, 7).ok());
    }
    assert!(net.enable(0, 0, 0).ok());
    memory.infer(&mut net, 2, 2);
    assert_clean(&net);
}

#[test]
fn lists_read_back_show_what_has_run() {
    let mut net = Net::new("", "none");
    let _memory = Memory::two_contexts(&net);
    let upload = Upload::two_contexts();
    upload.send(&mut net).unwrap();
    let read = |net: &mut Net, kind: u8, index: u16| {
        let mut list = Vec::new();
        loop {
            let offset = u16::try_from(list.len()).unwrap().to_be_bytes();
            let answer = net.does(36, &[&[0; 4], &[kind], &index.to_le_bytes(), &offset]);
            assert_ne!(answer.parameters[0], [0; 4]);
            list.extend(&answer.parameters[4]);
            if answer.parameters[1] == [1] {
                return list;
            }
        }
    };
    assert_eq!(read(&mut net, 1, 1), upload.contexts[4].1);
    assert!(net.enable(0, 0, 0).ok());
    net.bench.settle();
    // Dynamic context 0 waits for its input: the last stamp is that of action 29.
    let list = read(&mut net, 1, 0);
    assert_eq!(list.len(), upload.contexts[3].1.len());
    let stamps: Vec<bool> = crate::spec::nnc::context::Walk::new(&list)
        .map(|step| step.unwrap().time_stamp != u32::MAX)
        .collect();
    let done = stamps.iter().filter(|done| **done).count();
    assert_eq!(stamps[..done], vec![true; done]);
    // The counter runs down.
    let steps = crate::spec::nnc::context::Walk::new(&list).map(|step| step.unwrap().time_stamp);
    let stamped: Vec<u32> = steps.take(done).collect();
    assert!(
        stamped.is_sorted_by(|one, next| one >= next),
        "{stamped:x?}"
    );
    assert_eq!(
        net.control(36, &[&[0; 4], &[1], &[2, 0], &[0, 0]]).code(),
        0x4013_0013
    );
    assert_eq!(
        net.control(36, &[&[0; 4], &[1], &[0, 0], &[0xff, 0]])
            .code(),
        0x4013_003d
    );
}

#[test]
fn headers_and_constants_are_told() {
    let mut net = Net::new("", "none");
    let _memory = Memory::example(&net);
    let upload = Upload::example();
    upload.send(&mut net).unwrap();
    let header = &net.does(54, &[]).parameters[0];
    assert_eq!((header.len(), header[0]), (1379, 1));
    assert_eq!(header[1..54], upload.header);
    let constants = net.send(&bytes(&golden("get_hw_consts")["request_hex"]));
    assert_eq!(
        constants.parameters,
        [hex("08000000ff3f002000200040000000500000")]
    );
    net.does(59, &[&[0, 1, 0, 0], &[1]]);
}

#[test]
fn a_breakpoint_holds_until_it_is_told_to_go_on() {
    let mut net = Net::new("", "none");
    let mut memory = Memory::two_contexts(&net);
    Upload::two_contexts().send(&mut net).unwrap();
    // Application 0, any batch, dynamic context 1, action 6.
    let at = [0, 0, 1, 0, 0, 0, 0, 0, 4, 0, 0, 6, 0];
    net.does(52, &[&[7, 0, 0, 0], &[0], &at]);
    assert_eq!(net.does(53, &[&[7, 0, 0, 0]]).parameters, [[1]]);
    assert!(net.enable(0, 0, 0).ok());
    let frames = [noise(1, 8192), noise(2, 8192)];
    let places = frames.each_ref().map(|frame| memory.submit(&net, frame));
    assert_eq!(net.wait_event(9), [0, 0, 0, 0, 0, 4, 0, 6, 0]);
    assert_eq!(net.does(53, &[&[7, 0, 0, 0]]).parameters, [[2]]);
    net.bench.settle();
    assert_eq!(net.peek(places[1], 1000), [0xee; 1000]);
    net.does(52, &[&[7, 0, 0, 0], &[1], &at]);
    memory.wait(&mut net);
    net.does(52, &[&[7, 0, 0, 0], &[2], &at]);
    assert_eq!(net.does(53, &[&[7, 0, 0, 0]]).parameters, [[0]]);
    assert_eq!(
        net.control(52, &[&[7, 0, 0, 0], &[1], &at]).code(),
        0x4013_0045
    );
}

#[test]
fn the_benchmark_without_the_host_ends_with_an_event() {
    let mut net = Net::new("", "none");
    let mut memory = Memory::two_contexts(&net);
    Upload::two_contexts().send(&mut net).unwrap();
    for slot in 0..4 {
        memory.written[0] =
            memory
                .input
                .transfer(&net, memory.written[0], IN_DATA + slot * 8192, 8192, 2);
        memory.written[1] =
            memory
                .output
                .transfer(&net, memory.written[1], OUT_DATA + slot * 1024, 1000, 2);
        net.poke(IN_DATA + slot * 8192, &noise(slot, 8192));
    }
    let mut table = vec![0; 481];
    table[..8].copy_from_slice(&[1, 0, 64, 0, 16, 0, 8, 0]);
    table[480] = 2;
    let start =
        |net: &mut Net, table: &[u8]| net.control(74, &[&[0], &[0], &[2, 0], &[2, 0], table, &[0]]);
    let mut short = table.clone();
    short[2] = 63;
    assert_eq!(start(&mut net, &short).code(), 0x402d_001f);
    let answer = start(&mut net, &table);
    assert_eq!(answer.parameters, [[0; 5]]);
    let cycles = net.wait_event(11);
    for slot in 0..4 {
        assert_eq!(
            net.peek(OUT_DATA + slot * 1024, 1000),
            memory.expected(&noise(slot, 8192))
        );
    }
    let stop = net.does(74, &[&[1], &[0], &[1, 0], &[1, 0], &[0; 481], &[0]]);
    assert_eq!(stop.parameters, [[&[1][..], &cycles].concat()]);
    assert_eq!(net.bench.read(VDMA, Net::side(1)) & 3, 0);
}

#[test]
fn what_the_vendor_s_library_uploads_is_taken() {
    let plans = format!("{}/tests/golden/nnc/plans", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(plans)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut taken = 0;
    for path in files.filter(|path| {
        path.extension()
            .is_some_and(|extension| extension == "json")
    }) {
        let plan: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy();
        let profile = if name.starts_with("arch15l") {
            "hailo15l,loaded=5.2.0"
        } else {
            "default,mode=nnc,loaded=5.2.0"
        };
        let mut net = Net::on(profile, "none");
        for list in plan["lists"].as_array().unwrap() {
            let address = u64::from_str_radix(&list[0].as_str().unwrap()[2..], 16).unwrap();
            net.put(
                address,
                vec![0; usize::try_from(list[1].as_u64().unwrap()).unwrap() * 16],
            );
        }
        let answer = net.control(32, &[&bytes(&plan["header"])]);
        assert!(answer.ok(), "{name}: {answer:x?}: {:?}", net.complaints());
        for context in plan["contexts"].as_array().unwrap() {
            let kind = match context["kind"].as_str().unwrap() {
                "activation" => 3,
                "batch-switching" => 2,
                "preliminary" => 0,
                _ => 1,
            };
            let answer = net.context(kind, &bytes(&context["data"]), 1461);
            assert!(answer.ok(), "{name}: {answer:x?}: {:?}", net.complaints());
        }
        assert_eq!(net.complaints(), [""; 0], "{name}");
        taken += 1;
    }
    assert!(taken > 20, "{taken} plans");
}

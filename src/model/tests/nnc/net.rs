//! A host of NNC mode for tests: controls as bytes, descriptor lists, frames. Written from the specification; it shares
//! nothing with the driver in this library.

use super::super::host::{ACCESS, Bench, LONG, VDMA};
pub(super) use super::super::rpc::hex;
use super::host::{digest, request};
use crate::deadline::Deadline;

/// Answer of the firmware: both status words and the parameters.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) major: u32,
    pub(super) minor: u32,
    pub(super) parameters: Vec<Vec<u8>>,
}

impl Answer {
    pub(super) fn ok(&self) -> bool {
        self.major == 0
    }

    /// The word that says why.
    pub(super) fn code(&self) -> u32 {
        if self.minor == 0 {
            self.major
        } else {
            self.minor
        }
    }
}

/// A notification: event number and parameters.
pub(super) type Event = (u32, Vec<u8>);

/// The host.
pub(super) struct Net {
    pub(super) bench: Bench,
    pub(super) events: Vec<Event>,
    /// Channels that interrupted since last asked for.
    pub(super) interrupted: u32,
    doorbell: u32,
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Controls that the core CPU answers here.
const OF_CORE: [u32; 15] = [32, 33, 34, 35, 36, 37, 44, 52, 53, 54, 59, 71, 72, 74, 79];

impl Net {
    pub(super) fn new(profile: &str, faults: &str) -> Self {
        Self::on(&format!("default,mode=nnc,loaded=5.2.0{profile}"), faults)
    }

    /// On any chip of this mode.
    pub(super) fn on(profile: &str, faults: &str) -> Self {
        let doorbell = if profile.starts_with("hailo15l") {
            0x174c
        } else {
            0x1754
        };
        let bench = Bench::new(profile, faults);
        Self {
            bench,
            events: Vec::new(),
            interrupted: 0,
            doorbell,
        }
    }

    fn put_words(&self, offset: u32, bytes: &[u8]) {
        for (place, chunk) in (0..).zip(bytes.chunks(4)) {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            self.bench
                .write(ACCESS, offset + 4 * place, u32::from_le_bytes(word));
        }
    }

    /// Looks after interrupts: collects events and channels.
    fn collect(&mut self) -> u32 {
        let (software, channels) = self.bench.handle();
        self.interrupted |= channels;
        if software & 2 != 0 {
            let head = self.bench.read(ACCESS, 0xc80);
            let message = self
                .bench
                .bytes(0xc84, usize::try_from(head >> 16).unwrap());
            let id = u32::from_le_bytes(message[16..20].try_into().unwrap());
            self.events.push((id, message[28..].to_vec()));
            self.bench.write(ACCESS, 0xc80, head & 0xffff_0000);
        }
        software
    }

    fn wait(&mut self, what: &str, mut done: impl FnMut(&mut Self, u32) -> bool) {
        let deadline = Deadline::after(LONG);
        loop {
            let software = self.collect();
            if done(self, software) {
                return;
            }
            assert!(
                !deadline.remaining().is_zero(),
                "no {what}: {:?}, {:?}",
                self.events,
                self.bench.chip.complaints()
            );
            std::thread::yield_now();
        }
    }

    /// Sends a request as it is.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Answer {
        let opcode = word(bytes, 12);
        self.put_words(0, &digest(bytes));
        self.put_words(0x10, &u32::try_from(bytes.len()).unwrap().to_le_bytes());
        self.put_words(0x14, bytes);
        let bell = if OF_CORE.contains(&opcode) { 2 } else { 1 };
        self.bench.write(ACCESS, self.doorbell, bell);
        self.wait("answer", |_, software| software & 4 != 0);
        let len = usize::try_from(self.bench.read(ACCESS, 0x650)).unwrap();
        let answer = self.bench.bytes(0x654, len);
        assert_eq!(self.bench.bytes(0x640, 16), digest(&answer));
        assert_eq!(word(&answer, 12), opcode);
        let mut parameters = Vec::new();
        let mut rest = answer.get(28..).unwrap_or_default();
        while let Some((head, tail)) = rest.split_first_chunk::<4>() {
            let (parameter, tail) =
                tail.split_at(usize::try_from(u32::from_be_bytes(*head)).unwrap());
            parameters.push(parameter.to_vec());
            rest = tail;
        }
        Answer {
            major: word(&answer, 16),
            minor: word(&answer, 20),
            parameters,
        }
    }

    pub(super) fn control(&mut self, opcode: u32, parameters: &[&[u8]]) -> Answer {
        self.send(&request(opcode, parameters))
    }

    /// The same, and it works.
    pub(super) fn does(&mut self, opcode: u32, parameters: &[&[u8]]) -> Answer {
        let answer = self.control(opcode, parameters);
        assert!(
            answer.ok(),
            "{opcode}: {answer:x?}: {:?}",
            self.bench.chip.complaints()
        );
        answer
    }

    /// A whole context in chunks of so many bytes.
    pub(super) fn context(&mut self, kind: u8, list: &[u8], chunk: usize) -> Answer {
        let chunks: Vec<&[u8]> = if list.is_empty() {
            vec![&[]]
        } else {
            list.chunks(chunk).collect()
        };
        let last = chunks.len() - 1;
        let mut answer = None;
        for (place, chunk) in chunks.into_iter().enumerate() {
            let sent = self.control(
                33,
                &[
                    &[u8::from(place == 0)],
                    &[u8::from(place == last)],
                    &[kind],
                    chunk,
                ],
            );
            if !sent.ok() {
                return sent;
            }
            answer = Some(sent);
        }
        answer.unwrap()
    }

    /// Opcode 37.
    pub(super) fn enable(&mut self, application: u8, batch: u16, batches: u16) -> Answer {
        self.control(
            37,
            &[
                &[1],
                &[application],
                &batch.to_le_bytes(),
                &batches.to_le_bytes(),
            ],
        )
    }

    pub(super) fn reset(&mut self) {
        self.does(37, &[&[0], &[255], &[0, 0], &[0, 0]]);
    }

    /// Memory of the host.
    pub(super) fn put(&self, address: u64, bytes: Vec<u8>) {
        self.bench.memory.put(address, bytes);
    }

    /// Writes into memory that is there.
    pub(super) fn poke(&self, address: u64, bytes: &[u8]) {
        use crate::transport::local::Host;
        self.bench
            .memory
            .write(crate::addr::Iova(address), bytes)
            .unwrap();
    }

    pub(super) fn peek(&self, address: u64, len: usize) -> Vec<u8> {
        use crate::transport::local::Host;
        let mut bytes = vec![0; len];
        self.bench
            .memory
            .read(crate::addr::Iova(address), &mut bytes)
            .unwrap();
        bytes
    }

    pub(super) fn side(channel: u32) -> u32 {
        channel * 0x20 + if channel < 16 { 0 } else { 0x10 }
    }

    /// Makes descriptors of a channel available, as the vendor does it: after a look at the channel.
    pub(super) fn launch(&self, channel: u32, available: u32) {
        let side = Self::side(channel);
        assert_eq!(
            self.bench.read(VDMA, side) & 1,
            1,
            "channel {channel} is not active"
        );
        self.bench.write16(VDMA, side + 2, available);
    }

    /// Waits until a channel has processed up to a descriptor.
    pub(super) fn wait_processed(&mut self, channel: u32, index: u32, len: u32) {
        self.wait("progress", |host, _| {
            host.bench.read16(VDMA, Self::side(channel) + 4) & (len - 1) == index
        });
    }

    pub(super) fn wait_interrupts(&mut self, channels: u32) {
        self.wait("interrupts", |host, _| {
            host.interrupted & channels == channels
        });
        self.interrupted &= !channels;
    }

    pub(super) fn wait_event(&mut self, id: u32) -> Vec<u8> {
        self.wait("event", |host, _| {
            host.events.iter().any(|event| event.0 == id)
        });
        let place = self.events.iter().position(|event| event.0 == id).unwrap();
        self.events.remove(place).1
    }

    /// What is new in the log of the core CPU.
    pub(super) fn core_log(&self) -> String {
        self.bench.read_log(0x3000)
    }

    pub(super) fn complaints(&self) -> Vec<String> {
        self.bench.chip.complaints()
    }

    /// The log of the core CPU and the chip's complaints both give this reason.
    pub(super) fn assert_said(&self, reason: &str) {
        let log = self.core_log();
        assert!(log.contains(reason), "{reason}: {log}");
        let complaints = self.complaints();
        let complained = complaints.iter().any(|text| text.contains(reason));
        assert!(complained, "{reason}: {complaints:?}");
    }
}

/// A descriptor list in host memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    pub(super) address: u64,
    pub(super) page: u32,
    pub(super) len: u32,
}

impl List {
    pub(super) fn make(net: &Net, address: u64, page: u32, len: u32) -> Self {
        net.put(address, vec![0; usize::try_from(len).unwrap() * 16]);
        Self { address, page, len }
    }

    /// One descriptor.
    pub(super) fn set(&self, net: &Net, index: u32, buffer: u64, bytes: u32, control: u32) {
        let low = u32::try_from(buffer & 0xffff_ffff).unwrap();
        let high = u32::try_from(buffer >> 32).unwrap();
        let words = [bytes << 8 | control, low, high, 0];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        net.poke(self.address + 16 * u64::from(index % self.len), &bytes);
    }

    /// A transfer from descriptor `index` on; gives the index after it.
    pub(super) fn transfer(
        &self,
        net: &Net,
        index: u32,
        buffer: u64,
        bytes: u32,
        last: u32,
    ) -> u32 {
        let count = bytes.div_ceil(self.page);
        for place in 0..count {
            let at = place * self.page;
            let control = if place + 1 == count { last } else { 2 };
            self.set(
                net,
                index + place,
                buffer + u64::from(at),
                (bytes - at).min(self.page),
                control,
            );
        }
        (index + count) % self.len
    }
}

/// Bytes that depend on a seed.
pub(super) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    crate::model::nnc::output::fill_output(seed, 200, &mut bytes);
    bytes
}

/// The bytes of a text in a vector.
pub(super) fn bytes(value: &serde_json::Value) -> Vec<u8> {
    hex(value.as_str().unwrap())
}

/// A vector that comes with the specification.
pub(super) fn golden(name: &str) -> serde_json::Value {
    let path = format!(
        "{}/tests/golden/nnc/{name}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// What is uploaded: header, and each context's type and list.
#[derive(Clone, Debug)]
pub(super) struct Upload {
    pub(super) header: Vec<u8>,
    pub(super) contexts: Vec<(u8, Vec<u8>)>,
}

impl Upload {
    /// The worked example: one input of 8192 bytes, one output of 1000, one context.
    pub(super) fn example() -> Self {
        let data = |name: &str, parameter: usize| {
            let vector = golden(name);
            bytes(&vector["decoded"]["request_header"]["parameters"][parameter])
        };
        Self {
            header: data("cs_set_network_group_header", 0),
            contexts: vec![
                (3, data("cs_context_activation", 3)),
                (2, data("cs_context_batch_switching", 3)),
                (0, data("cs_context_preliminary", 3)),
                (1, data("cs_context_dynamic0", 3)),
            ],
        }
    }

    /// Two contexts with a tensor between them, batch 2.
    pub(super) fn two_contexts() -> Self {
        let vector = golden("cs_two_contexts");
        let contexts = vector["contexts"].as_array().unwrap().iter();
        Self {
            header: bytes(&vector["header_hex"]),
            contexts: contexts
                .map(|context| {
                    let kind = u8::try_from(context["context_type"].as_u64().unwrap()).unwrap();
                    (kind, bytes(&context["data_hex"]))
                })
                .collect(),
        }
    }

    /// Configures it; the first answer that is no success.
    pub(super) fn send(&self, net: &mut Net) -> Result<(), Answer> {
        let answer = net.control(32, &[&self.header]);
        if !answer.ok() {
            return Err(answer);
        }
        for (kind, list) in &self.contexts {
            let answer = net.context(*kind, list, 1461);
            if !answer.ok() {
                return Err(answer);
            }
        }
        Ok(())
    }
}

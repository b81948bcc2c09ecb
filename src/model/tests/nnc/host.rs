//! What a host of NNC mode does, from the specification and with numbers of its own.

use md5::{Digest, Md5};

use super::super::files::noise;
use super::super::host::*;

pub(super) const APPLICATION: u32 = 1;
pub(super) const CORE: u32 = 2;
pub(super) const DRIVER_DOWN: u32 = 4;
pub(super) const SOFT_RESET: u32 = 8;

pub(super) const NOTIFICATION: u32 = 2;
pub(super) const RESPONSE: u32 = 4;

/// The two parts of an image.
#[derive(Clone)]
pub(super) struct Image {
    pub(super) magic: u32,
    pub(super) code: Vec<u8>,
    pub(super) key: Vec<u8>,
    pub(super) content: Vec<u8>,
    pub(super) core_magic: u32,
    pub(super) core_code: Vec<u8>,
    pub(super) core_size: u32,
}

impl Image {
    pub(super) fn new() -> Self {
        Self {
            magic: 0xe905_daab,
            code: noise(5001, 3),
            key: noise(0x35d, 4),
            content: noise(0x1ff, 5),
            core_magic: 0xe905_daab,
            core_code: noise(3003, 6),
            core_size: 3003,
        }
    }

    fn header(magic: u32, size: u32) -> Vec<u8> {
        let words = [magic, 0, 5, 2, 0, size];
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn headers(&self) -> [Vec<u8>; 2] {
        let size = u32::try_from(self.code.len()).unwrap();
        [
            Self::header(self.magic, size),
            Self::header(self.core_magic, self.core_size),
        ]
    }

    pub(super) fn file(&self) -> Vec<u8> {
        let sizes = [&self.key, &self.content].map(|part| u32::try_from(part.len()).unwrap());
        let sizes = sizes.iter().flat_map(|size| size.to_le_bytes()).collect();
        let [header, core] = self.headers();
        [
            &header,
            &self.code,
            &sizes,
            &self.key,
            &self.content,
            &core,
            &self.core_code,
        ]
        .map(Vec::as_slice)
        .concat()
    }

    /// The parts in the vendor's order, with pointers as aligned as they are in the file; then the trigger.
    pub(super) fn upload(&self, bench: &Bench) {
        let [header, core] = self.headers();
        bench.write_memory(0x8_8000, &header, 0);
        bench.write_memory(0x2_0000, &self.code, 0);
        let key = 24 + self.code.len() + 8;
        bench.write_memory(0x8_8018, &self.key, key % 4);
        let content = key + self.key.len();
        bench.write_memory(0x8_86a8, &self.content, content % 4);
        let behind = content + self.content.len() + 24;
        bench.write_memory(0x6_0000, &self.core_code, behind % 4);
        bench.write_memory(0xc_0000, &core, (behind - 24) % 4);
        bench.write_word(0x8_8c98, 1);
    }
}

/// The response of an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer(pub(super) Vec<u8>);

impl Answer {
    pub(super) fn word(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.0[at..at + 4].try_into().unwrap())
    }

    pub(super) fn status(&self) -> (u32, u32) {
        (self.word(16), self.word(20))
    }

    /// The one parameter.
    pub(super) fn only(&self) -> &[u8] {
        assert_eq!((self.status(), self.word(24)), ((0, 0), 1), "{self:?}");
        assert_eq!(usize::try_from(self.word(28)), Ok(self.0.len() - 32));
        &self.0[32..]
    }
}

pub(super) fn digest(bytes: &[u8]) -> [u8; 16] {
    Md5::digest(bytes).into()
}

/// A request: header and parameters.
pub(super) fn request(opcode: u32, parameters: &[&[u8]]) -> Vec<u8> {
    let count = u32::try_from(parameters.len()).unwrap();
    let header = [2, 0, 0, opcode, count];
    let mut bytes: Vec<u8> = header.iter().flat_map(|word| word.to_be_bytes()).collect();
    for parameter in parameters {
        bytes.extend(u32::try_from(parameter.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(parameter);
    }
    bytes
}

impl Bench {
    pub(super) fn nnc(profile: &str, faults: &str) -> Self {
        Self::new(&format!("default,mode=nnc,loaded=5.2.0{profile}"), faults)
    }

    /// MD5, length, message, in words, each read back.
    pub(super) fn put_request(&self, bytes: &[u8]) {
        self.put_request_as(bytes, digest(bytes), u32::try_from(bytes.len()).unwrap());
    }

    pub(super) fn put_request_as(&self, bytes: &[u8], md5: [u8; 16], length: u32) {
        let mut image = md5.to_vec();
        image.extend(length.to_le_bytes());
        image.extend_from_slice(bytes);
        image.resize(image.len().next_multiple_of(4), 0);
        for (word, value) in (0..).zip(image.as_chunks::<4>().0) {
            let value = u32::from_le_bytes(*value);
            self.write(ACCESS, 4 * word, value);
            assert_eq!(self.read(ACCESS, 4 * word), value);
        }
    }

    pub(super) fn ring(&self, bits: u32) {
        self.write(ACCESS, 0x1754, bits);
    }

    /// `len` bytes of BAR 4.
    pub(super) fn bytes(&self, offset: u32, len: usize) -> Vec<u8> {
        let words = u32::try_from(len.div_ceil(4)).unwrap();
        let words = (0..words).map(|word| self.read(ACCESS, offset + 4 * word));
        let mut bytes: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
        bytes.truncate(len);
        bytes
    }

    pub(super) fn response(&self) -> Answer {
        let head = self.bytes(0x640, 20);
        let length = u32::from_le_bytes(head[16..].try_into().unwrap());
        assert!(length <= 1500, "{length}");
        let bytes = self.bytes(0x654, usize::try_from(length).unwrap());
        assert_eq!(head[..16], digest(&bytes));
        Answer(bytes)
    }

    /// A whole exchange.
    pub(super) fn ask(&mut self, bytes: &[u8], doorbell: u32) -> Answer {
        self.put_request(bytes);
        self.ring(doorbell);
        self.wait_for(RESPONSE, 0);
        self.response()
    }

    pub(super) fn control(&mut self, cpu: u32, opcode: u32, parameters: &[&[u8]]) -> Answer {
        let answer = self.ask(&request(opcode, parameters), cpu);
        assert_eq!(answer.word(12), opcode);
        answer
    }

    /// A control that is carried out.
    pub(super) fn done(&mut self, cpu: u32, opcode: u32, parameters: &[&[u8]]) -> Answer {
        let answer = self.control(cpu, opcode, parameters);
        assert_eq!(answer.status(), (0, 0), "opcode {opcode}");
        answer
    }

    /// The notification in the slot, which is cleared.
    pub(super) fn take_notification(&self) -> Option<Vec<u8>> {
        let head = self.read(ACCESS, 0xc80);
        let len = usize::try_from(head >> 16).unwrap();
        if head & 0xffff == 0 || len > 1500 {
            return None;
        }
        let bytes = self.bytes(0xc84, len.min(880));
        self.write(ACCESS, 0xc80, head & 0xffff_0000);
        Some(bytes)
    }

    /// What is new in a log ring.
    pub(super) fn read_log(&self, ring: u32) -> String {
        let mut text = Vec::new();
        let (host, chip) = (self.read(ACCESS, ring), self.read(ACCESS, ring + 4));
        assert!(host < 4088 && chip < 4088, "{host} {chip}");
        let mut at = host;
        while at != chip {
            let word = self.read(ACCESS, (ring + 8 + at) & !3);
            text.push(word.to_le_bytes()[usize::try_from((ring + 8 + at) % 4).unwrap()]);
            at = (at + 1) % 4088;
        }
        self.write(ACCESS, ring, chip);
        String::from_utf8(text).unwrap()
    }
}

//! Random files, from a seed. Everything the parser accepts can come up.

use super::container::{self, Blob};
use super::maker::Maker;
use super::model::{Description, Group, Style};

/// A small generator: the same seed gives the same file.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    pub(crate) fn u32(&mut self, low: u32, high: u32) -> u32 {
        u32::try_from(self.between(low.into(), high.into())).unwrap()
    }

    pub(crate) fn u8(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    pub(crate) fn u16(&mut self) -> u16 {
        let [a, b, ..] = self.next().to_le_bytes();
        u16::from_le_bytes([a, b])
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    pub(crate) fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[usize::try_from(self.between(0, u64::try_from(list.len()).unwrap() - 1)).unwrap()]
    }

    pub(crate) fn bytes(&mut self, count: u64) -> Vec<u8> {
        (0..count).map(|_| self.u8()).collect()
    }
}

/// A file with what it was made from.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) version: u32,
    pub(crate) description: Description,
    pub(crate) config: Vec<u8>,
    pub(crate) blobs: Vec<Blob>,
    pub(crate) proto_digest: bool,
}

impl Sample {
    /// Only the proto section.
    pub(crate) fn proto(&self) -> Vec<u8> {
        let words = |offset: u64, bytes: u32| {
            let start = usize::try_from(offset).unwrap();
            self.config[start..start + usize::try_from(bytes).unwrap()].to_vec()
        };
        let placed = container::place(self.config.len(), &self.blobs);
        self.description.proto(
            &placed,
            Style {
                inline: (self.version == 0).then_some(&words),
            },
        )
    }

    /// The whole file.
    pub(crate) fn file(&self) -> Vec<u8> {
        let config: &[u8] = if self.version == 0 { &[] } else { &self.config };
        container::write(
            self.version,
            &self.proto(),
            config,
            &self.blobs,
            self.proto_digest,
        )
    }
}

/// Makes a file from a seed.
pub(crate) fn sample(seed: u64) -> Sample {
    let mut random = Random::new(seed);
    let version = random.u32(0, 3);
    let mut maker = Maker {
        multi_layout: random.chance(20),
        by_feature: random.chance(40),
        nms_burst: random.chance(50),
        net_flow: random.chance(40),
        config: Vec::new(),
        names: 0,
        random,
    };
    let groups: Vec<Group> = (0..maker.random.between(1, 3))
        .map(|i| maker.group(&format!("group{i}")))
        .collect();
    let random = &mut maker.random;
    let blobs = if version == 3 && random.chance(50) {
        ["hailo-config.json", "tokenizer.json", "embeddings.bin"]
            .map(|name| Blob {
                name: name.to_owned(),
                content: random.clone().bytes(100),
                with_digest: random.chance(70),
            })
            .into()
    } else {
        Vec::new()
    };
    let mut extensions = vec![0, 3, 12, 26];
    for (wanted, number) in [
        (maker.by_feature, 25),
        (maker.nms_burst, 19),
        (maker.net_flow, 13),
    ] {
        if wanted {
            extensions.push(number);
        }
    }
    Sample {
        version,
        description: Description {
            architecture: if maker.multi_layout {
                4
            } else {
                random.pick(&[103, 104, 6])
            },
            proto_version: random.between(1, 9),
            compiler: (random.u32(1, 9), random.u32(0, 99), random.u32(0, 9)),
            timestamp: random.next() >> 20,
            extensions,
            optional: vec![8, 11],
            groups,
        },
        proto_digest: random.chance(70),
        config: maker.config,
        blobs,
    }
}

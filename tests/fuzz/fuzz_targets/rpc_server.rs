//! The RPC server of the software chip: whatever a client says, it comes to an end, and what it tells are whole
//! messages.
//!
//! The first byte chooses the release and whether the rest is the stream itself, or messages: method, length, body,
//! then a length and a buffer.

#![no_main]

use std::time::{Duration, Instant};

use hailo_vfio::model::Profile;
use hailo_vfio::model::soc::recorded::answers;
use libfuzzer_sys::fuzz_target;

const MAGIC: u32 = 0x8a55_4432;

fn messages(mut rest: &[u8], whole: bool) -> Vec<u8> {
    let mut said = Vec::new();
    let mut id = 0_u32;
    while let [method, len, tail @ ..] = rest {
        let (body, tail) = tail.split_at(usize::from(*len).min(tail.len()));
        let size = u32::try_from(body.len()).unwrap();
        for word in [MAGIC, size, id, u32::from(*method), 1] {
            said.extend(word.to_le_bytes());
        }
        said.extend(body);
        if whole {
            said.resize(said.len() + 2048 - body.len(), 0);
        }
        id += 1;
        rest = tail;
        if let [len, tail @ ..] = rest {
            let (buffer, tail) = tail.split_at(usize::from(*len).min(tail.len()));
            said.extend(buffer);
            rest = tail;
        }
    }
    said
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&first, rest)) = bytes.split_first() else {
        return;
    };
    let releases = ["5.0.0", "5.1.0", "5.1.1", "5.2.0"];
    let release = releases[usize::from(first & 3)];
    let profile: Profile = format!("default,loaded={release}").parse().unwrap();
    let whole = release == "5.2.0";
    let said = if first & 4 == 0 { rest.to_vec() } else { messages(rest, whole) };
    let begun = Instant::now();
    let told = answers(&profile, said);
    assert!(begun.elapsed() < Duration::from_secs(30));
    if !told.is_empty() {
        assert_eq!(told[..4], MAGIC.to_le_bytes());
        assert!(told.len() >= if whole { 2068 } else { 20 });
    }
});

//! HEF headers: any bytes with any file length are refused, or give sections that tile the file.

#![no_main]

use hailo_vfio::hef::{Container, MAGIC};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((length, bytes)) = input.split_first_chunk::<8>() else {
        return;
    };
    let length = u64::from_le_bytes(*length);
    check(bytes, length);
    // Any bytes behind the magic, so that the fuzzer need not find it again and again.
    let mut file = MAGIC.to_vec();
    file.extend_from_slice(bytes);
    check(&file, length);
});

fn check(bytes: &[u8], length: u64) {
    let bytes = &bytes[..bytes.len().min(56)];
    let Ok(container) = Container::parse(bytes, length) else {
        return;
    };
    let config = container.config();
    assert_eq!(container.proto().start, container.header_bytes);
    assert_eq!(
        config.start,
        container.proto().end + container.padding_bytes
    );
    assert_eq!(config.end + container.additional_bytes, length);
    assert!(container.zero_point() <= length);
    assert_eq!(
        (container.digest.start, container.digest.end),
        (container.header_bytes, length)
    );
    assert!(!container.identity().is_empty());
}

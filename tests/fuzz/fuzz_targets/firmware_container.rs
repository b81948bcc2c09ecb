//! Firmware containers: any bytes are refused, or cut into parts that tile the file.

#![no_main]

use hailo_vfio::boot::Container;
use hailo_vfio::spec::board::MAGICS;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for (magic, _) in MAGICS {
        for core in [false, true] {
            // Any bytes behind the magic, so that the fuzzer need not find it again and again.
            let mut file = magic.to_le_bytes().to_vec();
            file.extend_from_slice(bytes);
            if let Ok(container) = Container::parse(&file, magic, core) {
                check(&container, file.len());
            }
        }
        if Container::parse(bytes, magic, false).is_ok() {
            assert_eq!(bytes[..4], magic.to_le_bytes());
        }
    }
});

fn check(container: &Container, len: usize) {
    assert_eq!(container.header, 0..24);
    assert_eq!(container.code.start, 24);
    assert_eq!(container.key.start, container.code.end + 8);
    assert_eq!(container.content.start, container.key.end);
    let end = match &container.core {
        None => container.content.end,
        Some((header, code)) => {
            assert_eq!(header.start, container.content.end);
            assert_eq!(code.start, header.end);
            code.end
        }
    };
    assert_eq!(end, len);
}

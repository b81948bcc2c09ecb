//! The vfio-user client: whatever a server says, every call returns in bounded time, and after a failure
//! of the connection all later ones fail at once.
//!
//! The first byte chooses: an odd one, and the rest are bytes of the stream; an even one, and a device is
//! introduced first, then the rest are replies (command, flags, length, payload) with the right ids.

#![no_main]

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hailo_vfio::mem::HostMemory;
use hailo_vfio::spec::register::Bar;
use hailo_vfio::transport::vfio_user::{Options, VfioUserTransport};
use hailo_vfio::transport::{Direction, Placement, Transport, TransportError, Width};
use libfuzzer_sys::fuzz_target;

/// More does not fit the socket's buffer, and nobody reads while it is filled.
const LONGEST: usize = 32 << 10;

/// Appends a reply, or a command where `flags` says so.
fn message(stream: &mut Vec<u8>, id: u16, command: u16, flags: u32, payload: &[u8]) {
    let size = u32::try_from(16 + payload.len()).unwrap();
    stream.extend_from_slice(&id.to_le_bytes());
    stream.extend_from_slice(&command.to_le_bytes());
    stream.extend_from_slice(&size.to_le_bytes());
    stream.extend_from_slice(&flags.to_le_bytes());
    stream.extend_from_slice(&[0; 4]);
    stream.extend_from_slice(payload);
}

/// What a device says of itself until it is open: seven replies, no capabilities in config space.
fn introduction(stream: &mut Vec<u8>) -> u16 {
    message(stream, 0, 1, 1, b"\0\0\0\0{\"capabilities\":{}}\0");
    message(
        stream,
        1,
        4,
        1,
        &[16, 0, 0, 0, 3, 0, 0, 0, 9, 0, 0, 0, 5, 0, 0, 0],
    );
    for (id, index, size) in [
        (2, 0, 0x4000_u64),
        (3, 2, 0x1000),
        (4, 4, 0x4000),
        (5, 7, 0x1000),
    ] {
        let mut region = [0; 32];
        (region[0], region[4], region[8]) = (32, 3, index);
        region[16..24].copy_from_slice(&size.to_le_bytes());
        message(stream, id, 5, 1, &region);
    }
    message(
        stream,
        6,
        7,
        1,
        &[16, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0],
    );
    7
}

fn memory() -> &'static Arc<HostMemory> {
    static MEMORY: OnceLock<Arc<HostMemory>> = OnceLock::new();
    MEMORY.get_or_init(|| Arc::new(HostMemory::anonymous(0x1000).unwrap()))
}

/// Uses everything once; true where the connection was given up.
fn use_all(device: &VfioUserTransport) -> bool {
    let results = [
        device.read32(Bar::Config, 0).map(drop),
        device.write32(Bar::Access, 0x100, 1),
        device.config_read(2, Width::Word).map(drop),
        device.config_write(4, Width::Word, 6),
        device.arm_interrupt().map(drop),
        device
            .map(memory(), Placement::Data, Direction::Both)
            .and_then(|segments| device.unmap(&segments)),
        device.disarm_interrupt(),
        device.read32(Bar::Vdma, 0xffc).map(drop),
    ];
    results.iter().any(|result| {
        use TransportError::{Closed, Protocol, TimedOut};
        matches!(result, Err(Closed(_) | Protocol(_) | TimedOut { .. }))
    })
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, mut rest)) = bytes.split_first().filter(|_| bytes.len() < LONGEST) else {
        return;
    };
    let mut stream = Vec::new();
    if kind % 2 == 1 {
        stream.extend_from_slice(rest);
    } else {
        let mut id = introduction(&mut stream);
        while let [command, flags, len, tail @ ..] = rest {
            let (payload, tail) = tail.split_at(usize::from(*len).min(tail.len()));
            message(
                &mut stream,
                id,
                u16::from(*command),
                u32::from(*flags),
                payload,
            );
            // A command of the server takes none of the client's ids.
            id = id.wrapping_add(u16::from(flags & 15 == 1));
            rest = tail;
        }
    }
    let begun = Instant::now();
    let (client, mut server) = UnixStream::pair().unwrap();
    server
        .set_write_timeout(Some(Duration::from_millis(10)))
        .unwrap();
    if server.write_all(&stream).is_err() {
        return;
    }
    server.shutdown(Shutdown::Write).unwrap();
    let options = Options {
        request: Duration::from_millis(50),
        ..Default::default()
    };
    if let Ok(device) = VfioUserTransport::over(client, "fuzz", options) {
        if use_all(&device) {
            let again = Instant::now();
            assert!(device.read32(Bar::Config, 0).is_err());
            assert!(device.write32(Bar::Config, 0, 0).is_err());
            assert!(again.elapsed() < Duration::from_secs(5));
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(20));
});

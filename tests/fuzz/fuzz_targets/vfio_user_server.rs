//! The vfio-user server: whatever a client sends, the session ends when the client does, the device has
//! no host then, and no descriptor is left behind.
//!
//! The first byte chooses: an odd one, and the rest are bytes of the stream; an even one, and the rest
//! are messages (command, flags and descriptors, length, payload) behind a version that is agreed on.

#![no_main]

use std::io::Write;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use hailo_vfio::addr::Iova;
use hailo_vfio::deadline::Deadline;
use hailo_vfio::mem::HostMemory;
use hailo_vfio::model::server::serve_stream;
use hailo_vfio::spec::register::Bar;
use hailo_vfio::transport::frame;
use hailo_vfio::transport::local::{ByteEnables, Endpoint, Host};
use libfuzzer_sys::fuzz_target;
use nix::sys::eventfd::EventFd;

/// More does not fit the socket's buffer, and nobody reads while it is filled.
const LONGEST: usize = 32 << 10;

const VERSION: &[u8] = b"\0\0\0\0{\"capabilities\":{\"max_msg_fds\":8,\"write_multiple\":true}}\0";

/// A device that does DMA where it is told to, from within the access that tells it.
#[derive(Default)]
struct Puppet(Mutex<Option<Arc<dyn Host>>>);

impl std::fmt::Debug for Puppet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Puppet")
    }
}

impl Endpoint for Puppet {
    fn bar_len(&self, bar: Bar) -> u32 {
        bar.usual_len()
    }

    fn read(&self, bar: Bar, offset: u32) -> u32 {
        assert!(offset.is_multiple_of(4) && offset < bar.usual_len());
        offset
    }

    fn write(&self, bar: Bar, offset: u32, value: u32, enables: ByteEnables) {
        assert!(offset.is_multiple_of(4) && offset < bar.usual_len());
        assert!(enables.0 != 0 && enables.0 < 16);
        let host = self.0.lock().unwrap().clone();
        let host = host.expect("accesses come from a client that was agreed with");
        let address = Iova(u64::from(value));
        let mut bytes = [0; 64];
        match offset {
            0 => drop(host.read(address, &mut bytes)),
            4 => drop(host.write(address, &bytes)),
            8 => host.interrupt(),
            _ => {}
        }
    }

    fn config_read(&self, offset: u16) -> u32 {
        assert!(offset.is_multiple_of(4) && offset < 4096);
        0
    }

    fn config_write(&self, offset: u16, _: u32, _: ByteEnables) {
        assert!(offset.is_multiple_of(4) && offset < 4096);
    }

    fn attach(&self, host: Arc<dyn Host>) {
        *self.0.lock().unwrap() = Some(host);
    }

    fn detach(&self) {
        *self.0.lock().unwrap() = None;
    }

    fn reset(&self) {}
}

/// What can come along: memory, an event, and something that is neither.
struct Along {
    memory: HostMemory,
    event: EventFd,
    other: (OwnedFd, OwnedFd),
    stop: EventFd,
}

fn along() -> &'static Along {
    static ALONG: OnceLock<Along> = OnceLock::new();
    ALONG.get_or_init(|| Along {
        memory: HostMemory::anonymous(0x4000).unwrap(),
        event: EventFd::new().unwrap(),
        other: nix::unistd::pipe().unwrap(),
        stop: EventFd::new().unwrap(),
    })
}

/// Sends a message; false when the socket takes no more.
fn message(client: &UnixStream, id: u16, command: u16, bits: u8, payload: &[u8]) -> bool {
    let along = along();
    let chosen: &[BorrowedFd<'_>] = &match bits & 3 {
        1 => vec![along.memory.descriptor().0],
        2 => vec![along.event.as_fd()],
        3 => vec![along.other.0.as_fd(); usize::from(bits >> 5) * 2],
        _ => Vec::new(),
    };
    let size = u32::try_from(16 + payload.len()).unwrap();
    let flags = u32::from(bits >> 2 & 1) << 4 | u32::from(bits >> 3 & 1);
    let mut header = [0; 16];
    header[..2].copy_from_slice(&id.to_le_bytes());
    header[2..4].copy_from_slice(&command.to_le_bytes());
    header[4..8].copy_from_slice(&size.to_le_bytes());
    header[8..12].copy_from_slice(&flags.to_le_bytes());
    let deadline = Deadline::after(Duration::from_millis(1));
    frame::send(client.as_fd(), &[&header, payload], chosen, &deadline).is_ok()
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, rest)) = bytes.split_first().filter(|_| bytes.len() < LONGEST) else {
        return;
    };
    let stop = along().stop.as_fd();
    let before = open_descriptors();
    let begun = Instant::now();
    {
        let (mut client, server) = UnixStream::pair().unwrap();
        client
            .set_write_timeout(Some(Duration::from_millis(1)))
            .unwrap();
        if kind % 2 == 1 {
            if client.write_all(rest).is_err() {
                return;
            }
        } else {
            assert!(message(&client, 0, 1, 0, VERSION));
            let (mut rest, mut replies) = (rest, 0);
            while let [command, bits, len, tail @ ..] = rest {
                let (payload, tail) = tail.split_at(usize::from(*len).min(tail.len()));
                // A reply needs the id of the server's command; they count from 0.
                let id = replies;
                replies += u16::from(bits & 8 != 0);
                if !message(&client, id, u16::from(*command), *bits, payload) {
                    break;
                }
                rest = tail;
            }
        }
        client.shutdown(Shutdown::Write).unwrap();
        let puppet = Arc::new(Puppet::default());
        let patience = Duration::from_millis(1);
        serve_stream("fuzz", server, puppet.clone(), stop, patience).unwrap();
        assert!(puppet.0.lock().unwrap().is_none());
    }
    assert_eq!(open_descriptors(), before);
    assert!(begun.elapsed() < Duration::from_secs(20));
});

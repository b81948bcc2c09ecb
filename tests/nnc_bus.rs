//! The firmware of NNC mode at the seam: the vectors of the specification, byte by byte, in the process and behind a
//! vfio-user socket.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;
#[path = "support/vectors.rs"]
mod vectors;

use std::os::fd::AsFd;

use hailo_vfio::spec::register::Bar;
use hailo_vfio::transport::{Transport, Width};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use support::{Bench, each_way};
use vectors::{bytes, vector};

/// A host with no more than the transport.
struct Host(std::sync::Arc<dyn Transport>);

impl Host {
    fn new(bench: &Bench) -> Self {
        let host = Self(bench.transport());
        host.0.config_write(4, Width::Word, 6).unwrap();
        host.0.write32(Bar::Config, 0x188, 0xff00_ffff).unwrap();
        host
    }

    fn bytes(&self, offset: u32, len: usize) -> Vec<u8> {
        let offsets = (offset..).step_by(4).take(len.div_ceil(4));
        let words = offsets.map(|offset| self.0.read32(Bar::Access, offset).unwrap());
        let mut bytes: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
        bytes.truncate(len);
        bytes
    }

    /// MD5, length, message and doorbell; the response when its interrupt has come.
    fn exchange(&self, image: &[u8], doorbell: u32) -> Vec<u8> {
        let armed = self.0.arm_interrupt().unwrap().unwrap();
        let event = armed.try_clone_to_owned().unwrap();
        for (offset, word) in (0..).step_by(4).zip(image.chunks(4)) {
            let mut bytes = [0; 4];
            bytes[..word.len()].copy_from_slice(word);
            let word = u32::from_le_bytes(bytes);
            self.0.write32(Bar::Access, offset, word).unwrap();
        }
        self.0.write32(Bar::Access, 0x1754, doorbell).unwrap();
        let mut status = 0;
        while status >> 24 & 4 == 0 {
            let mut polled = [PollFd::new(event.as_fd(), PollFlags::POLLIN)];
            assert_eq!(poll(&mut polled, PollTimeout::from(20_000_u16)).unwrap(), 1);
            nix::unistd::read(&event, &mut [0; 8]).unwrap();
            status = self.0.read32(Bar::Config, 0x18c).unwrap();
            self.0.write32(Bar::Config, 0x18c, status).unwrap();
        }
        let len = self.0.read32(Bar::Access, 0x650).unwrap();
        self.bytes(0x654, usize::try_from(len).unwrap())
    }
}

#[test]
fn vectors_are_answered_the_same_way_wherever_the_host_is() {
    each_way(|way| {
        let bench = Bench::new(way, "default,mode=nnc,loaded=5.2.0", "none");
        let host = Host::new(&bench);
        for name in [
            "set_throttling",
            "get_throttling",
            "reset_nn_core",
            "core_identify",
        ] {
            let vector = vector(name);
            let request = bytes(&vector["request_hex"]);
            let mut image = bytes(&vector["request_md5_hex"]);
            image.extend(u32::try_from(request.len()).unwrap().to_le_bytes());
            image.extend(request);
            let doorbell = u32::try_from(vector["doorbell_value"].as_u64().unwrap()).unwrap();
            let told = host.exchange(&image, doorbell);
            assert_eq!(told, bytes(&vector["response_hex"]), "{name} {way:?}");
        }
        bench.assert_no_complaints();
    });
}

#[test]
fn events_and_log_rings_are_seen_wherever_the_host_is() {
    each_way(|way| {
        let bench = Bench::new(way, "hailo15h,loaded=5.2.0", "nnc-event=2");
        let host = Host::new(&bench);
        assert!(bench.chip.wait_idle(hailo_vfio::deadline::Deadline::after(
            std::time::Duration::from_secs(20)
        )));
        let slot = host.bytes(0xc80, 4 + 44);
        assert_eq!(
            slot,
            bytes(&vector("event_temperature")["mailbox_hex"]),
            "{way:?}"
        );
        for ring in [0x2000, 0x3000] {
            let head = host.bytes(ring, 8);
            let chip = u32::from_le_bytes(head[4..].try_into().unwrap());
            let text = host.bytes(ring + 8, usize::try_from(chip).unwrap());
            assert!(text.ends_with(b"firmware 5.2.0 runs\n"), "{way:?}");
        }
        bench.assert_no_complaints();
    });
}

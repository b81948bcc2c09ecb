//! What the driver says on the bus, beside the worked bytes of the specification: mailbox, rings, messages.
//!
//! The chip's side is held to the same bytes in `src/model/tests`, each without the other. Source: soc-session.md
//! sections 2.10, 3.2, 3.3 and 4.7; soc-rpc.md section 8.5.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/vectors.rs"]
mod vectors;

use std::sync::{Arc, Mutex};

use hailo_vfio::addr::Iova;
use hailo_vfio::device::Device;
use hailo_vfio::dma::DmaBuffer;
use hailo_vfio::infer::Part;
use hailo_vfio::model::{Chip, FaultPlan};
use hailo_vfio::soc::infer::VdeviceOptions;
use hailo_vfio::soc::rpc::Buffers;
use hailo_vfio::soc::rpc::method::{
    CreateDevice, EchoBuffer, FetchLogs, GetTemperature, Identify, SetNotification,
};
use hailo_vfio::spec::register::Bar;
use hailo_vfio::spec::rpc::types::{
    CallbackHandle, EchoRequest, Empty, FetchLogsRequest, HandleRequest, SetNotificationRequest,
};
use hailo_vfio::transport::local::{ByteEnables, DmaFault, Endpoint, Host, LocalTransport};
use hailo_vfio::transport::{Direction, Transport};
use vectors::unhex;

/// What the chip was told: register writes, and what it read of the host's memory.
#[derive(Debug, Default)]
struct Heard {
    writes: Mutex<Vec<(Bar, u32, u32)>>,
    reads: Mutex<Vec<(u64, Vec<u8>)>>,
}

impl Heard {
    fn writes(&self, bar: Bar) -> Vec<(u32, u32)> {
        let writes = std::mem::take(&mut *self.writes.lock().unwrap());
        let of_bar = writes.into_iter().filter(|(of, ..)| *of == bar);
        of_bar.map(|(_, offset, value)| (offset, value)).collect()
    }
}

/// A chip, and who listens on its bus.
#[derive(Debug)]
struct Tapped(Arc<Chip>, Arc<Heard>);

struct TappedHost(Arc<dyn Host>, Arc<Heard>);

impl Endpoint for Tapped {
    fn bar_len(&self, bar: Bar) -> u32 {
        self.0.bar_len(bar)
    }

    fn read(&self, bar: Bar, offset: u32) -> u32 {
        self.0.read(bar, offset)
    }

    fn write(&self, bar: Bar, offset: u32, value: u32, enables: ByteEnables) {
        self.1.writes.lock().unwrap().push((bar, offset, value));
        self.0.write(bar, offset, value, enables);
    }

    fn config_read(&self, offset: u16) -> u32 {
        self.0.config_read(offset)
    }

    fn config_write(&self, offset: u16, value: u32, enables: ByteEnables) {
        self.0.config_write(offset, value, enables);
    }

    fn attach(&self, host: Arc<dyn Host>) {
        self.0.attach(Arc::new(TappedHost(host, self.1.clone())));
    }

    fn detach(&self) {
        self.0.detach();
    }

    fn reset(&self) {
        self.0.reset();
    }
}

impl Host for TappedHost {
    fn read(&self, address: Iova, into: &mut [u8]) -> Result<(), DmaFault> {
        self.0.read(address, into)?;
        let mut reads = self.1.reads.lock().unwrap();
        reads.push((address.0, into.to_vec()));
        Ok(())
    }

    fn write(&self, address: Iova, from: &[u8]) -> Result<(), DmaFault> {
        self.0.write(address, from)
    }

    fn interrupt(&self) {
        self.0.interrupt();
    }
}

fn tapped() -> (Arc<Heard>, Arc<dyn Transport>, Device) {
    let profile = "default,timing=off,loaded=5.2.0".parse().unwrap();
    let chip = Chip::new(profile, FaultPlan::default()).unwrap();
    let heard = Arc::<Heard>::default();
    let endpoint = Arc::new(Tapped(chip, heard.clone()));
    let transport: Arc<dyn Transport> = Arc::new(LocalTransport::open("sim", endpoint).unwrap());
    let device = Device::new(transport.clone()).unwrap();
    (heard, transport, device)
}

/// Five words in ascending order, then the doorbell.
fn rung(request: &str) -> Vec<(u32, u32)> {
    let mut bytes = unhex(request);
    bytes.resize(20, 0);
    let words = bytes.as_chunks::<4>().0.iter().copied();
    let writes = (0..).step_by(4).zip(words.map(u32::from_le_bytes));
    writes.chain([(0x1754, 8)]).collect()
}

#[test]
fn the_driver_writes_the_worked_bytes_into_the_mailbox() {
    let (heard, _transport, device) = tapped();
    heard.writes(Bar::Access);
    let soc = device.soc().unwrap();
    assert_eq!(heard.writes(Bar::Access), rung("02 01 00 00"));
    let connection = soc.connect().unwrap();
    assert_eq!(heard.writes(Bar::Access), rung("00 01 00 00|65 2F"));
    connection.close().unwrap();
    assert_eq!(heard.writes(Bar::Access), rung("01 01 00 00|01 00 01 00"));
    soc.power_off().unwrap();
    assert_eq!(heard.writes(Bar::Access), rung("03 01 00 00"));
}

#[test]
fn the_driver_sends_the_worked_bytes_through_its_rings() {
    let (heard, transport, device) = tapped();
    let soc = device.soc().unwrap();
    heard.writes(Bar::Vdma);
    heard.reads.lock().unwrap().clear();
    let vdevice = soc.vdevice(&VdeviceOptions::default()).unwrap();

    // Each channel: its list, no depth bits (16), started; then the first message there, and room for one back.
    let writes = heard.writes(Bar::Vdma);
    let lists = [0x000, 0x210].map(|channel| {
        let last = |offset| writes.iter().rfind(|(at, _)| *at == channel + offset);
        let word = |offset| u64::from(last(offset).unwrap().1);
        let started = |value| writes.contains(&(channel, value));
        assert!(
            started(0) && started(1) && started(0x0005_0001),
            "{writes:x?}"
        );
        word(0x8) & 0xffff_0000 | word(0xc) << 32
    });
    // Five descriptors of a page of 512 bytes and a rest of 20. What interrupts is the driver's choice.
    let of_list = |list: u64, at: u64| (list..list + (1 << 20)).contains(&at);
    let reads = heard.reads.lock().unwrap().clone();
    let mut ring = [0_u8; 5 * 16];
    for (at, bytes) in reads.iter().filter(|(at, _)| of_list(lists[0], *at)) {
        for (place, byte) in (at - lists[0]..).zip(bytes) {
            let place = usize::try_from(place).unwrap();
            ring.get_mut(place).into_iter().for_each(|to| *to = *byte);
        }
    }
    let word = |at: &[u8; 16]| u32::from_le_bytes([at[0], at[1], at[2], at[3]]) >> 8;
    let sizes: Vec<u32> = ring.as_chunks().0.iter().map(word).collect();
    assert_eq!(sizes, [0x200, 0x200, 0x200, 0x200, 0x14]);

    let connection = vdevice.connection();
    let handle = connection.call::<CreateDevice>(&Empty {}).unwrap().handle;
    for notification_id in [13, 14] {
        let callback = Some(CallbackHandle {
            id: notification_id,
            dispatcher_id: 0,
        });
        let body = SetNotificationRequest {
            handle,
            notification_id,
            callback,
        };
        connection.call::<SetNotification>(&body).unwrap();
    }
    let of_device = HandleRequest { handle };
    connection.call::<Identify>(&of_device).unwrap();
    connection.call::<GetTemperature>(&of_device).unwrap();
    let buffer = |len, direction| {
        let buffer = DmaBuffer::new(&transport, len, direction);
        Part::whole(buffer.unwrap())
    };
    let mut echoed = Buffers::default();
    let mut there = buffer(1000, Direction::ToDevice);
    there.bytes_mut().fill(0xa5);
    echoed.to_device.push(there);
    echoed.from_device.push(buffer(1000, Direction::FromDevice));
    let body = EchoRequest { buffer_size: 1000 };
    connection.call_with::<EchoBuffer>(&body, echoed).unwrap();
    let mut log = Buffers::default();
    log.from_device.push(buffer(4096, Direction::FromDevice));
    let body = FetchLogsRequest {
        handle,
        buffer_size: 4096,
        log_type: 1,
    };
    connection.call_with::<FetchLogs>(&body, log).unwrap();

    let mut expected = Vec::new();
    for (request, buffer) in [
        (
            "0C 00 00 00|00 00 00 00|00 00 00 00|01 00 00 00|0A 0A 08 01 12 06 55 4E 49 51 55 45",
            0,
        ),
        ("00 00 00 00|01 00 00 00|14 00 00 00|01 00 00 00", 0),
        (
            "08 00 00 00|02 00 00 00|21 00 00 00|01 00 00 00|0A 00 10 0D 1A 02 08 0D",
            0,
        ),
        (
            "08 00 00 00|03 00 00 00|21 00 00 00|01 00 00 00|0A 00 10 0E 1A 02 08 0E",
            0,
        ),
        ("02 00 00 00|04 00 00 00|16 00 00 00|01 00 00 00|0A 00", 0),
        ("02 00 00 00|05 00 00 00|18 00 00 00|01 00 00 00|0A 00", 0),
        (
            "03 00 00 00|06 00 00 00|24 00 00 00|01 00 00 00|08 E8 07",
            1000,
        ),
        (
            "07 00 00 00|07 00 00 00|23 00 00 00|01 00 00 00|0A 00 10 80 20 18 01",
            0,
        ),
    ] {
        let mut message = unhex(&format!("32 44 55 8A|{request}"));
        message.resize(2068, 0); // What the area behind a body holds is zero.
        expected.extend(message);
        expected.extend(vec![0xa5; buffer]);
    }
    let reads = heard.reads.lock().unwrap();
    let data = reads
        .iter()
        .filter(|(at, _)| !lists.iter().any(|list| of_list(*list, *at)));
    let sent: Vec<u8> = data.flat_map(|(_, bytes)| bytes).copied().collect();
    assert!(sent == expected, "{sent:02x?}");
}

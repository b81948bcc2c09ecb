//! Our server against clients that are not ours: what QEMU sends, and what nobody should.

use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hailo_vfio::mem::HostMemory;
use hailo_vfio::model::server::{Ended, serve_stream};
use hailo_vfio::spec::register::Bar;
use hailo_vfio::spec::vfio_user::capabilities::VersionData;
use hailo_vfio::spec::vfio_user::{
    Command, DeviceInfo, DmaAccess, DmaMap, DmaUnmap, Header, IrqInfo, IrqSet, MultiWrite,
    RegionAccess, RegionInfo, SmallWrite, Version, flags, irq, unmap,
};
use hailo_vfio::transport::frame::{self, LONGEST};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use zerocopy::{FromBytes, IntoBytes};

use crate::board::{self, Board};
use crate::raw::Raw;

/// As QEMU 11 writes it (`hw/vfio-user/proxy.c`).
const QEMU: &[u8] = b"\0\0\0\0{\"capabilities\": {\"write_multiple\": true, \"max_msg_fds\": 16, \
    \"max_data_xfer_size\": 1048576, \"pgsizes\": 4096, \"max_dma_maps\": 65535, \
    \"migration\": {\"pgsize\": 4096, \"max_bitmap_size\": 268435456}}}\0";

struct Bench {
    board: Arc<Board>,
    client: Raw,
    stop: Arc<EventFd>,
    thread: JoinHandle<Ended>,
}

impl Bench {
    fn silent(patience: Duration) -> Self {
        let (near, far) = UnixStream::pair().unwrap();
        let board = Board::new();
        let stop = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC).unwrap());
        let (served, told) = (board.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            serve_stream("test", far, served, told.as_fd(), patience).unwrap()
        });
        Self {
            board,
            client: Raw::new(near),
            stop,
            thread,
        }
    }

    fn new() -> Self {
        Self::patient(Duration::from_secs(10))
    }

    fn patient(patience: Duration) -> Self {
        let mut bench = Self::silent(patience);
        bench.ask(Command::Version, QEMU).unwrap();
        bench
    }

    fn ask(&mut self, command: Command, payload: &[u8]) -> Result<Vec<u8>, Errno> {
        let reply = self.client.ask(command.code(), payload, &[])?;
        assert!(reply.descriptors.is_empty());
        Ok(reply.payload)
    }

    fn read(&mut self, region: u32, offset: u64, count: u32) -> Result<Vec<u8>, Errno> {
        let request = access(region, offset, count);
        let reply = self.ask(Command::RegionRead, request.as_bytes())?;
        let (echo, data) = RegionAccess::read_from_prefix(&reply).unwrap();
        assert_eq!(echo, request);
        assert_eq!(data.len(), usize::try_from(count).unwrap());
        Ok(data.to_vec())
    }

    fn write(&mut self, region: u32, offset: u64, data: &[u8]) -> Result<(), Errno> {
        let reply = self.ask(Command::RegionWrite, &writing(region, offset, data))?;
        let echo = RegionAccess::read_from_bytes(&reply).unwrap();
        assert_eq!(usize::try_from(echo.count.get()).unwrap(), data.len());
        Ok(())
    }

    fn register(&mut self, offset: u32) -> u32 {
        let bytes = self.read(2, offset.into(), 4).unwrap();
        u32::from_le_bytes(bytes.try_into().unwrap())
    }

    fn set(&mut self, offset: u32, value: u32) {
        self.write(2, offset.into(), &value.to_le_bytes()).unwrap();
    }

    /// Programs a transfer and starts it without waiting for the reply to the start.
    fn start(&mut self, address: u64, len: u32, what: u32) {
        self.set(
            board::ADDRESS_LOW,
            u32::try_from(address & 0xffff_ffff).unwrap(),
        );
        self.set(board::ADDRESS_HIGH, u32::try_from(address >> 32).unwrap());
        self.set(board::LENGTH, len);
        let start = writing(2, board::DO.into(), &what.to_le_bytes());
        let command = Command::RegionWrite.code();
        self.client.command(command, flags::NO_REPLY, &start, &[]);
    }

    fn finished(&mut self) -> u32 {
        let begun = Instant::now();
        loop {
            match self.register(board::STATUS) {
                0 => assert!(begun.elapsed() < Duration::from_secs(10), "the board hangs"),
                status => return status,
            }
        }
    }

    /// The connection is in step.
    fn alive(&mut self) {
        assert_eq!(self.read(7, 0, 4).unwrap(), [0x60, 0x1e, 0xc4, 0x45]);
    }

    fn leave(self) -> Ended {
        drop(self.client);
        let ended = self.thread.join().unwrap();
        assert!(self.board.host().is_none(), "the board still has a host");
        ended
    }
}

fn access(region: u32, offset: u64, count: u32) -> RegionAccess {
    RegionAccess {
        offset: offset.into(),
        region: region.into(),
        count: count.into(),
    }
}

fn writing(region: u32, offset: u64, data: &[u8]) -> Vec<u8> {
    let request = access(region, offset, u32::try_from(data.len()).unwrap());
    [request.as_bytes(), data].concat()
}

fn map(address: u64, size: u64) -> DmaMap {
    DmaMap {
        argsz: 32.into(),
        flags: 3.into(),
        offset: 0.into(),
        address: address.into(),
        size: size.into(),
    }
}

fn dma(address: u64, count: u64) -> DmaAccess {
    DmaAccess {
        address: address.into(),
        count: count.into(),
    }
}

fn irqs(bits: u32, index: u32, start: u32, count: u32) -> IrqSet {
    IrqSet {
        argsz: 20.into(),
        flags: bits.into(),
        index: index.into(),
        start: start.into(),
        count: count.into(),
    }
}

#[test]
fn qemu_and_the_server_agree_on_version_0_0() {
    let mut bench = Bench::silent(Duration::from_secs(10));
    let reply = bench.ask(Command::Version, QEMU).unwrap();
    // QEMU takes a reply no longer than its request.
    assert!(reply.len() <= QEMU.len());
    assert_eq!(reply[..4], [0, 0, 0, 0]);
    let (0, text) = reply[4..]
        .split_last()
        .map(|(end, text)| (*end, text))
        .unwrap()
    else {
        panic!("no NUL at the end");
    };
    let data: VersionData = serde_json::from_slice(text).unwrap();
    assert_eq!(data.capabilities.max_data_xfer_size, Some(1 << 20));
    assert_eq!(data.capabilities.write_multiple, Some(true));
    assert_eq!(data.capabilities.twin_socket, None);
    bench.alive();
    assert!(matches!(bench.leave(), Ended::Left));
}

#[test]
fn nothing_comes_before_a_version_that_makes_sense_or_twice() {
    let mut bench = Bench::silent(Duration::from_secs(10));
    let info = DeviceInfo::default();
    assert_eq!(
        bench.ask(Command::GetInfo, info.as_bytes()),
        Err(Errno::EINVAL)
    );
    let version = |major: u16| Version {
        major: major.into(),
        minor: 7.into(),
    };
    let text = |text: &[u8]| [version(0).as_bytes(), text].concat();
    assert_eq!(bench.ask(Command::Version, &[0; 3]), Err(Errno::EINVAL));
    assert_eq!(
        bench.ask(Command::Version, version(1).as_bytes()),
        Err(Errno::ENOTSUP)
    );
    for wrong in [
        &b"{}"[..],
        b"{\0",
        b"\xff\xfe\0",
        b"{\"capabilities\": 3}\0",
        b"\0",
    ] {
        assert_eq!(
            bench.ask(Command::Version, &text(wrong)),
            Err(Errno::EINVAL),
            "{wrong:?}"
        );
    }
    let zero = text(b"{\"capabilities\":{\"max_data_xfer_size\":0}}\0");
    assert_eq!(bench.ask(Command::Version, &zero), Err(Errno::EINVAL));
    assert!(bench.board.host().is_none());
    // A higher minor version is answered with ours.
    let reply = bench.ask(Command::Version, version(0).as_bytes()).unwrap();
    assert_eq!(reply, b"\0\0\0\0{\"capabilities\":{}}\0");
    assert!(bench.board.host().is_some());
    assert_eq!(bench.ask(Command::Version, QEMU), Err(Errno::EINVAL));
    bench.alive();
}

#[test]
fn the_device_says_what_it_is() {
    let mut bench = Bench::new();
    let request = DeviceInfo {
        argsz: 16.into(),
        ..DeviceInfo::default()
    };
    let info = bench.ask(Command::GetInfo, request.as_bytes()).unwrap();
    assert_eq!(info, [16, 0, 0, 0, 3, 0, 0, 0, 9, 0, 0, 0, 5, 0, 0, 0]);
    for index in 0..9_u32 {
        let request = RegionInfo {
            argsz: 32.into(),
            index: index.into(),
            ..RegionInfo::default()
        };
        let reply = bench
            .ask(Command::GetRegionInfo, request.as_bytes())
            .unwrap();
        let info = RegionInfo::read_from_bytes(&reply).unwrap();
        let size = match index {
            0 | 4 => 0x4000,
            2 | 7 => 0x1000,
            _ => 0,
        };
        let bits = if size == 0 { 0 } else { 3 };
        assert_eq!(
            (info.size.get(), info.flags.get()),
            (size, bits),
            "region {index}"
        );
    }
    for index in 0..5_u32 {
        let request = IrqInfo {
            argsz: 16.into(),
            index: index.into(),
            ..IrqInfo::default()
        };
        let reply = bench.ask(Command::GetIrqInfo, request.as_bytes()).unwrap();
        let info = IrqInfo::read_from_bytes(&reply).unwrap();
        let expected = if index == irq::MSI { (1, 9) } else { (0, 0) };
        assert_eq!((info.count.get(), info.flags.get()), expected);
    }
    let mut beyond = RegionInfo::default();
    beyond.argsz.set(32);
    beyond.index.set(9);
    assert_eq!(
        bench.ask(Command::GetRegionInfo, beyond.as_bytes()),
        Err(Errno::EINVAL)
    );
    let mut beyond = IrqInfo::default();
    beyond.argsz.set(16);
    beyond.index.set(5);
    assert_eq!(
        bench.ask(Command::GetIrqInfo, beyond.as_bytes()),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        bench.ask(Command::GetRegionIoFds, &[0; 16]),
        Err(Errno::ENOTSUP)
    );
    assert_eq!(
        bench.ask(Command::DeviceFeature, &[0; 8]),
        Err(Errno::ENOTTY)
    );
    assert_eq!(bench.ask(Command::DmaRead, &[0; 16]), Err(Errno::EINVAL));
    bench.alive();
}

#[test]
fn accesses_of_any_width_reach_their_bytes() {
    let mut bench = Bench::new();
    bench.write(0, 0x101, &[1]).unwrap();
    bench.write(0, 0x102, &[2, 3]).unwrap();
    assert_eq!(bench.board.peek(Bar::Config, 0x100), 0x0302_0100);
    bench.write(4, 0x3ff1, &[9; 15]).unwrap();
    assert_eq!(
        bench.read(4, 0x3ff0, 16).unwrap(),
        [vec![0], vec![9; 15]].concat()
    );
    assert_eq!(bench.read(0, 0x103, 3).unwrap(), [3, 0, 0]);
    let config = bench.read(7, 0, 4096).unwrap();
    assert_eq!(config[..4], [0x60, 0x1e, 0xc4, 0x45]);
    assert_eq!(bench.read(0, 0, 0x4000).unwrap().len(), 0x4000);
    for (region, offset, count) in [
        (0, 0, 0),
        (0, 0x4000, 1),
        (2, 0xffe, 4),
        (7, 0xffd, 4),
        (7, u64::MAX, 2),
        (0, 0, u32::MAX),
        (1, 0, 4),
        (6, 0, 4),
        (99, 0, 4),
    ] {
        assert_eq!(
            bench.read(region, offset, count),
            Err(Errno::EINVAL),
            "{region} {offset:#x}"
        );
        let data = vec![0; usize::try_from(count.min(64)).unwrap()];
        if count < 64 {
            assert_eq!(bench.write(region, offset, &data), Err(Errno::EINVAL));
        }
    }
    let short = writing(0, 0, &[1, 2, 3, 4]);
    assert_eq!(
        bench.ask(Command::RegionWrite, &short[..18]),
        Err(Errno::EINVAL)
    );
    assert_eq!(bench.ask(Command::RegionRead, &short), Err(Errno::EINVAL));
    bench.alive();
}

#[test]
fn a_command_without_reply_has_none_even_when_it_fails() {
    let mut bench = Bench::new();
    let post = |bench: &mut Bench, command: Command, payload: &[u8]| {
        bench
            .client
            .command(command.code(), flags::NO_REPLY, payload, &[]);
    };
    post(
        &mut bench,
        Command::RegionWrite,
        &writing(0, 0x20, &[5, 0, 0, 0]),
    );
    post(
        &mut bench,
        Command::RegionWrite,
        &writing(0, 0x4000, &[5, 0, 0, 0]),
    );
    post(&mut bench, Command::RegionWrite, &[]);
    post(&mut bench, Command::Reset, &[1]);
    bench.client.command(999, flags::NO_REPLY, &[1, 2, 3], &[]);
    // `ask` checks that the next reply is its own.
    assert_eq!(bench.read(0, 0x20, 4).unwrap(), [5, 0, 0, 0]);
}

#[test]
fn thousands_of_posted_writes_are_all_done_in_order() {
    let mut bench = Bench::new();
    for count in 0..20_000_u32 {
        let payload = writing(0, 0x40, &count.to_le_bytes());
        bench
            .client
            .command(Command::RegionWrite.code(), flags::NO_REPLY, &payload, &[]);
    }
    assert_eq!(bench.read(0, 0x40, 4).unwrap(), 19_999_u32.to_le_bytes());
}

#[test]
fn several_writes_in_one_message_are_done_in_order() {
    let mut bench = Bench::new();
    let one = |offset: u64, count: u32, byte: u8| SmallWrite {
        offset: offset.into(),
        region: 0.into(),
        count: count.into(),
        data: [byte; 8],
    };
    let multi = |writes: &[SmallWrite], count: u64| {
        let head = MultiWrite {
            count: count.into(),
        };
        [head.as_bytes(), writes.as_bytes()].concat()
    };
    let good = multi(&[one(0x80, 8, 1), one(0x84, 2, 2)], 2);
    assert_eq!(
        bench.ask(Command::RegionWriteMulti, &good).unwrap(),
        [2, 0, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(bench.read(0, 0x80, 8).unwrap(), [1, 1, 1, 1, 2, 2, 1, 1]);
    for bad in [
        multi(&[one(0x80, 9, 1)], 1),
        multi(&[one(0x80, 0, 1)], 1),
        multi(&[one(0x3ffc, 8, 1)], 1),
        multi(&[one(0x80, 4, 1)], 2),
        multi(&[], u64::MAX),
        multi(&[one(0x80, 4, 1); 201], 201),
    ] {
        assert_eq!(
            bench.ask(Command::RegionWriteMulti, &bad),
            Err(Errno::EINVAL)
        );
    }
    bench.alive();
}

fn counted(event: &EventFd) -> bool {
    let mut source = [PollFd::new(event.as_fd(), PollFlags::POLLIN)];
    let ready = poll(&mut source, 0_u8).unwrap() == 1;
    if ready {
        nix::unistd::read(event, &mut [0; 8]).unwrap();
    }
    ready
}

#[test]
fn interrupts_are_armed_triggered_and_disarmed() {
    use irq::{ACTION_MASK, ACTION_TRIGGER, DATA_BOOL, DATA_EVENTFD, DATA_NONE, MSI};
    let mut bench = Bench::new();
    // A blocking eventfd, as a client may send it.
    let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC).unwrap();
    let set = |bench: &mut Bench, request: IrqSet, data: &[u8], events: usize| {
        let payload = [request.as_bytes(), data].concat();
        let events = vec![event.as_fd(); events];
        let reply = bench.client.ask(Command::SetIrqs.code(), &payload, &events);
        reply.map(|reply| assert!(reply.payload.is_empty()))
    };
    let arm = irqs(DATA_EVENTFD | ACTION_TRIGGER, MSI, 0, 1);
    let trigger = irqs(DATA_NONE | ACTION_TRIGGER, MSI, 0, 1);
    let chosen = irqs(DATA_BOOL | ACTION_TRIGGER, MSI, 0, 1);
    set(&mut bench, trigger, &[], 0).unwrap();
    set(&mut bench, arm, &[], 1).unwrap();
    assert!(!counted(&event));
    set(&mut bench, trigger, &[], 0).unwrap();
    assert!(counted(&event));
    set(&mut bench, chosen, &[0], 0).unwrap();
    assert!(!counted(&event));
    set(&mut bench, chosen, &[1], 0).unwrap();
    assert!(counted(&event));
    // A full counter would block: the interrupt is pending anyway.
    event.write(u64::MAX - 1).unwrap();
    set(&mut bench, trigger, &[], 0).unwrap();
    assert!(counted(&event));
    // Without a descriptor it is disarmed, as by a count of 0.
    set(&mut bench, arm, &[], 0).unwrap();
    set(&mut bench, trigger, &[], 0).unwrap();
    assert!(!counted(&event));
    set(&mut bench, arm, &[], 1).unwrap();
    set(
        &mut bench,
        irqs(DATA_NONE | ACTION_TRIGGER, MSI, 0, 0),
        &[],
        0,
    )
    .unwrap();
    set(&mut bench, trigger, &[], 0).unwrap();
    assert!(!counted(&event));
    for (request, data, events) in [
        (irqs(DATA_EVENTFD | ACTION_TRIGGER, 0, 0, 1), &[][..], 1),
        (irqs(DATA_EVENTFD | ACTION_TRIGGER, MSI, 1, 1), &[], 1),
        (irqs(DATA_EVENTFD | ACTION_TRIGGER, MSI, 0, 2), &[], 2),
        (arm, &[], 2),
        (irqs(DATA_EVENTFD | ACTION_MASK, MSI, 0, 1), &[], 1),
        (irqs(DATA_NONE | ACTION_MASK, MSI, 0, 1), &[], 0),
        (
            irqs(DATA_NONE | DATA_BOOL | ACTION_TRIGGER, MSI, 0, 1),
            &[1],
            0,
        ),
        (irqs(u32::MAX, MSI, 0, 1), &[], 0),
        (irqs(DATA_NONE | ACTION_TRIGGER, MSI, 0, u32::MAX), &[], 0),
        (trigger, &[1], 0),
        (trigger, &[], 1),
        (chosen, &[], 0),
        (chosen, &[1, 1], 0),
    ] {
        let result = set(&mut bench, request, data, events);
        assert_eq!(result, Err(Errno::EINVAL), "{request:x?}");
    }
    bench.alive();
}

/// Descriptors of this process that are the same file.
fn open(memory: &HostMemory) -> usize {
    let inode = nix::sys::stat::fstat(memory.descriptor().0).unwrap().st_ino;
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    let files = entries.filter_map(|entry| std::fs::metadata(entry.ok()?.path()).ok());
    files.filter(|file| file.ino() == inode).count()
}

#[test]
fn no_descriptor_leaks_whatever_it_comes_with() {
    let mut bench = Bench::new();
    let memory = HostMemory::anonymous(0x4000).unwrap();
    let shared = memory.descriptor().0;
    let ask = |bench: &mut Bench, command: u16, payload: &[u8], count: usize| {
        let reply = bench.client.ask(command, payload, &vec![shared; count]);
        reply.map(|_| ())
    };
    let request = map(0x1000, 0x1000);
    let code = Command::DmaMap.code();
    assert_eq!(
        ask(&mut bench, code, request.as_bytes(), 2),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        ask(&mut bench, code, request.as_bytes(), 9),
        Err(Errno::E2BIG)
    );
    assert_eq!(
        ask(&mut bench, code, request.as_bytes(), 253),
        Err(Errno::E2BIG)
    );
    assert_eq!(ask(&mut bench, code, &[0; 31], 1), Err(Errno::EINVAL));
    assert_eq!(
        ask(&mut bench, Command::Reset.code(), &[], 1),
        Err(Errno::EINVAL)
    );
    assert_eq!(ask(&mut bench, 999, &[], 3), Err(Errno::ENOSYS));
    let nowhere = map(0x1000, 0x1_0000);
    assert_eq!(
        ask(&mut bench, code, nowhere.as_bytes(), 1),
        Err(Errno::EINVAL)
    );
    bench.alive();
    assert_eq!(open(&memory), 1);
    assert_eq!(ask(&mut bench, code, request.as_bytes(), 1), Ok(()));
    assert_eq!(
        ask(&mut bench, code, request.as_bytes(), 1),
        Err(Errno::EEXIST)
    );
    assert_eq!(open(&memory), 2);
    let mut all = DmaUnmap {
        argsz: 24.into(),
        flags: unmap::ALL.into(),
        ..DmaUnmap::default()
    };
    let reply = bench.ask(Command::DmaUnmap, all.as_bytes()).unwrap();
    assert_eq!(reply, all.as_bytes());
    assert_eq!(open(&memory), 1);
    all.argsz.set(23);
    assert_eq!(
        bench.ask(Command::DmaUnmap, all.as_bytes()),
        Err(Errno::EINVAL)
    );
    assert_eq!(ask(&mut bench, code, request.as_bytes(), 1), Ok(()));
    bench.leave();
    assert_eq!(open(&memory), 1);
}

#[test]
fn hundreds_of_maps_sent_without_waiting_are_all_answered() {
    let mut bench = Bench::new();
    let memory = HostMemory::anonymous(0x20_0000).unwrap();
    let shared = memory.descriptor().0;
    let ids: Vec<u16> = (0..256)
        .map(|page| {
            let mut request = map(0x10_0000 + page * 0x1000, 0x1000);
            request.offset.set((255 - page) * 0x1000);
            // Every fourth is memory without a descriptor: it must not take its neighbour's.
            let with = if page % 4 == 3 {
                &[][..]
            } else {
                &[shared][..]
            };
            bench
                .client
                .command(Command::DmaMap.code(), 0, request.as_bytes(), with)
        })
        .collect();
    for id in ids {
        let reply = bench.client.next();
        assert_eq!(
            (reply.header.id.get(), reply.header.is_error()),
            (id, false)
        );
    }
    memory.write(254 * 0x1000, &[1; 0x1000]).unwrap();
    memory.write(253 * 0x1000, &[2; 0x1000]).unwrap();
    bench.start(0x10_1000, 0x2000, board::DO_READ);
    assert_eq!(bench.finished(), board::DONE);
    assert_eq!(bench.register(board::VALUE), 3 * 0x1000);
}

/// Takes the server's command and checks what it asks for.
fn asked(bench: &mut Bench, command: Command, wanted: DmaAccess) -> (Header, Vec<u8>) {
    let message = bench.client.next();
    assert!(message.header.is_command());
    assert_eq!(message.command(), command);
    let (found, data) = DmaAccess::read_from_prefix(&message.payload).unwrap();
    assert_eq!(found, wanted);
    (message.header, data.to_vec())
}

#[test]
fn dma_by_message_works_while_the_client_asks_on() {
    let mut bench = Bench::new();
    for by in [0, board::BY_THREAD] {
        bench.start(0x5_0000_1000, 16, board::DO_READ | by);
        let wanted = dma(0x5_0000_1000, 16);
        let (header, _) = asked(&mut bench, Command::DmaRead, wanted);
        // A virtual machine may hold its lock until its own request is answered.
        bench.alive();
        bench.alive();
        let reply = [wanted.as_bytes(), &[2; 16]].concat();
        bench.client.reply(&header, &reply, &[]);
        assert_eq!(bench.finished(), board::DONE);
        assert_eq!(bench.register(board::VALUE), 32);

        bench.set(board::VALUE, 0x55);
        bench.start(0x5_0000_1000, 3, board::DO_WRITE | by);
        let wanted = dma(0x5_0000_1000, 3);
        let (header, data) = asked(&mut bench, Command::DmaWrite, wanted);
        assert_eq!(data, [0x55; 3]);
        bench.alive();
        // As the specification has it: a count of 4 bytes.
        bench.client.reply(&header, &wanted.as_bytes()[..12], &[]);
        assert_eq!(bench.finished(), board::DONE);
    }
}

#[test]
fn dma_by_message_inside_dma_by_message_ends() {
    let mut bench = Bench::patient(Duration::from_millis(300));
    bench.set(board::LENGTH, 4);
    // Each start is answered by a read of the client's memory, which is answered by the next start.
    let start = writing(2, board::DO.into(), &board::DO_READ.to_le_bytes());
    for _ in 0..12 {
        let code = Command::RegionWrite.code();
        bench.client.command(code, flags::NO_REPLY, &start, &[]);
    }
    let begun = Instant::now();
    let command = Command::RegionRead.code();
    let id = bench
        .client
        .command(command, 0, access(7, 0, 4).as_bytes(), &[]);
    while bench.client.next().header.id.get() != id {}
    assert!(begun.elapsed() < Duration::from_secs(10));
    bench.alive();
}

#[test]
fn a_refused_unanswered_or_malformed_dma_message_is_a_fault() {
    let patience = Duration::from_millis(300);
    let mut bench = Bench::patient(patience);
    let wanted = dma(0x9000, 4);
    for by in [0, board::BY_THREAD] {
        bench.start(0x9000, 4, board::DO_READ | by);
        let (header, _) = asked(&mut bench, Command::DmaRead, wanted);
        let refusal = frame::error_reply(&header, Errno::ENODEV);
        bench.client.write(&[refusal.as_bytes()], &[]);
        assert_eq!(bench.finished(), board::FAULT);

        let answers: [&[u8]; 4] = [
            &[],
            wanted.as_bytes(),
            &[wanted.as_bytes(), &[1; 5]].concat(),
            &[dma(0x9004, 4).as_bytes(), &[1; 4]].concat(),
        ];
        for answer in answers {
            bench.start(0x9000, 4, board::DO_READ | by);
            let (header, _) = asked(&mut bench, Command::DmaRead, wanted);
            bench.client.reply(&header, answer, &[]);
            assert_eq!(bench.finished(), board::FAULT);
        }

        bench.start(0x9000, 4, board::DO_WRITE | by);
        let (mut header, _) = asked(&mut bench, Command::DmaWrite, wanted);
        header.command.set(Command::DmaRead.code());
        bench.client.reply(&header, wanted.as_bytes(), &[]);
        assert_eq!(bench.finished(), board::FAULT);

        bench.start(0x9000, 4, board::DO_READ | by);
        let (late, _) = asked(&mut bench, Command::DmaRead, wanted);
        assert_eq!(bench.finished(), board::FAULT);
        // A reply that comes too late, or that nobody awaits, does no harm.
        bench
            .client
            .reply(&late, &[wanted.as_bytes(), &[1; 4]].concat(), &[]);
        bench.client.reply(&Header::default(), &[], &[]);
        bench.alive();
    }
}

#[test]
fn large_dma_by_message_is_cut_to_what_the_client_takes() {
    let mut bench = Bench::silent(Duration::from_secs(10));
    let version = b"\0\0\0\0{\"capabilities\":{\"max_data_xfer_size\":4096}}\0";
    bench.ask(Command::Version, version).unwrap();
    bench.start(0x1_0000, 10_000, board::DO_READ);
    for (at, len) in [(0, 4096), (4096, 4096), (8192, 1808)] {
        let wanted = dma(0x1_0000 + at, len);
        let (header, _) = asked(&mut bench, Command::DmaRead, wanted);
        let data = vec![1; usize::try_from(len).unwrap()];
        bench
            .client
            .reply(&header, &[wanted.as_bytes(), &data].concat(), &[]);
    }
    assert_eq!(bench.finished(), board::DONE);
    assert_eq!(bench.register(board::VALUE), 10_000);
}

#[test]
fn a_client_that_dies_fails_the_transfer_at_once() {
    let mut bench = Bench::new();
    let board = bench.board.clone();
    bench.start(0x9000, 4, board::DO_READ | board::BY_THREAD);
    asked(&mut bench, Command::DmaRead, dma(0x9000, 4));
    let begun = Instant::now();
    assert!(matches!(bench.leave(), Ended::Left));
    while board.peek(Bar::Vdma, board::STATUS) == 0 {
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "the transfer still waits"
        );
        std::thread::yield_now();
    }
    assert_eq!(board.peek(Bar::Vdma, board::STATUS), board::FAULT);
}

#[test]
fn short_unknown_and_long_messages_are_refused_and_the_stream_stays_in_step() {
    let mut bench = Bench::new();
    for command in [0, 14, 17, 18, 19, 0xffff] {
        let reply = bench.client.ask(command, &[1; 40], &[]);
        assert_eq!(reply.err(), Some(Errno::ENOSYS));
    }
    for command in [
        Command::DmaMap,
        Command::DmaUnmap,
        Command::GetInfo,
        Command::GetRegionInfo,
        Command::GetIrqInfo,
        Command::SetIrqs,
        Command::RegionRead,
        Command::RegionWrite,
        Command::RegionWriteMulti,
    ] {
        for len in [0, 1, 7, 15] {
            let payload = vec![0xff; len];
            assert_eq!(
                bench.ask(command, &payload),
                Err(Errno::EINVAL),
                "{command:?} {len}"
            );
        }
    }
    let long = vec![0; LONGEST];
    assert_eq!(bench.ask(Command::RegionWrite, &long), Err(Errno::EMSGSIZE));
    bench.alive();
    assert!(bench.ask(Command::Reset, &[]).unwrap().is_empty());
    assert_eq!(bench.register(board::RESETS), 0x100);
}

#[test]
fn bytes_that_are_no_messages_end_the_connection() {
    let mut short = frame::header(1, 4, 0, 0);
    short.size.set(12);
    let mut huge = frame::header(1, 4, 0, 0);
    huge.size.set(u32::MAX);
    let neither = frame::header(1, 4, 7, 0);
    for garbage in [short, huge, neither] {
        let bench = Bench::new();
        bench.client.write(&[garbage.as_bytes()], &[]);
        let Bench { client, thread, .. } = bench;
        client.closed();
        assert!(matches!(thread.join().unwrap(), Ended::Broken(_)));
    }
    let bench = Bench::new();
    let cut = frame::header(1, 4, 0, 16);
    bench.client.write(&[cut.as_bytes(), &[1; 8]], &[]);
    assert!(matches!(bench.leave(), Ended::Broken(_)));
}

#[test]
fn a_client_that_does_not_read_is_given_up() {
    let mut bench = Bench::patient(Duration::from_millis(300));
    bench
        .client
        .stream
        .set_write_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let request = access(0, 0, 0x4000);
    let header = frame::header(1, Command::RegionRead.code(), 0, RegionAccess::LEN);
    let begun = Instant::now();
    while !bench.thread.is_finished() {
        assert!(begun.elapsed() < Duration::from_secs(10));
        let message = [header.as_bytes(), request.as_bytes()].concat();
        // It fails once the server is gone; partial messages do not matter any more.
        if std::io::Write::write(&mut bench.client.stream, &message).is_err() {
            std::thread::yield_now();
        }
    }
    assert!(matches!(bench.thread.join().unwrap(), Ended::Unsent(_)));
}

#[test]
fn the_server_stops_when_told_even_within_a_message_or_a_transfer() {
    let bench = Bench::new();
    let cut = frame::header(1, 4, 0, 16);
    bench.client.write(&[cut.as_bytes()], &[]);
    bench.stop.write(1).unwrap();
    assert!(matches!(bench.thread.join().unwrap(), Ended::Stopped));

    let mut bench = Bench::new();
    bench.start(0x9000, 4, board::DO_READ);
    asked(&mut bench, Command::DmaRead, dma(0x9000, 4));
    let begun = Instant::now();
    bench.stop.write(1).unwrap();
    assert!(matches!(bench.thread.join().unwrap(), Ended::Stopped));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

//! Client against server.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hailo_vfio::mem::{HostMemory, page_size};
use hailo_vfio::model::server::{BindError, Server};
use hailo_vfio::spec::register::Bar;
use hailo_vfio::transport::vfio_user::{Options, VfioUserTransport};
use hailo_vfio::transport::{Direction, Placement, Segments, Transport, TransportError, Width};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::board::{self, Board};

/// A served board; stopped and joined on drop.
pub(crate) struct Served {
    pub(crate) board: Arc<Board>,
    pub(crate) path: PathBuf,
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
    _directory: tempfile::TempDir,
}

impl Served {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let board = Board::new();
        let server = Server::bind(&path, board.clone()).unwrap();
        let server = server.with_patience(Duration::from_secs(2));
        let stop = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC).unwrap());
        let told = stop.clone();
        let thread = std::thread::spawn(move || server.serve(told.as_fd()).unwrap());
        Self {
            board,
            path,
            stop,
            thread: Some(thread),
            _directory: directory,
        }
    }

    pub(crate) fn client(&self) -> VfioUserTransport {
        VfioUserTransport::connect(&self.path, Options::default()).unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.write(1).unwrap();
        self.thread.take().unwrap().join().unwrap();
        assert!(!self.path.exists(), "the socket file is left behind");
    }
}

/// Lets the board do something and waits for the end of it.
fn act(client: &dyn Transport, address: u64, len: u32, what: u32) -> u32 {
    let write = |offset, value| client.write32(Bar::Vdma, offset, value).unwrap();
    write(
        board::ADDRESS_LOW,
        u32::try_from(address & 0xffff_ffff).unwrap(),
    );
    write(board::ADDRESS_HIGH, u32::try_from(address >> 32).unwrap());
    write(board::LENGTH, len);
    write(board::DO, what);
    let begun = Instant::now();
    loop {
        let status = client.read32(Bar::Vdma, board::STATUS).unwrap();
        if status != 0 {
            return status;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "the board hangs");
        std::thread::yield_now();
    }
}

fn mapped(
    client: &dyn Transport,
    len: usize,
    direction: Direction,
) -> (Arc<HostMemory>, Segments, u64) {
    let memory = Arc::new(HostMemory::anonymous(len).unwrap());
    let segments = client.map(&memory, Placement::Data, direction).unwrap();
    let address = segments.base().unwrap().0;
    (memory, segments, address)
}

#[test]
fn registers_and_config_space_read_back_as_written() {
    let served = Served::new();
    let client = served.client();
    assert_eq!(client.region(Bar::Vdma).len, 0x1000);
    client.write32(Bar::Access, 0x3ffc, 0x1234_5678).unwrap();
    assert_eq!(client.read32(Bar::Access, 0x3ffc).unwrap(), 0x1234_5678);
    assert_eq!(served.board.peek(Bar::Access, 0x3ffc), 0x1234_5678);
    assert_eq!(client.config_read(2, Width::Word).unwrap(), 0x45c4);
    client.config_write(0x61, Width::Byte, 0xab).unwrap();
    client.config_write(0x62, Width::Word, 0xcdef).unwrap();
    assert_eq!(client.config_read(0x60, Width::Long).unwrap(), 0xcdef_ab00);
    assert_eq!(client.config_read(0xffc, Width::Long).unwrap(), 0);
    for (bar, offset) in [
        (Bar::Vdma, 0x1000),
        (Bar::Config, 2),
        (Bar::Access, u32::MAX - 3),
    ] {
        let outside = client.read32(bar, offset);
        assert!(matches!(outside, Err(TransportError::BadOffset { .. })));
    }
    assert!(client.config_read(0x1000, Width::Byte).is_err());
}

#[test]
fn bus_mastering_is_off_after_open() {
    let served = Served::new();
    let client = served.client();
    client.enable().unwrap();
    assert_eq!(client.config_read(4, Width::Word).unwrap() & 6, 6);
    drop(client);
    assert_eq!(served.client().config_read(4, Width::Word).unwrap() & 4, 0);
}

#[test]
fn dma_goes_both_ways_from_either_thread_of_the_device() {
    let served = Served::new();
    let client = served.client();
    let (memory, segments, address) = mapped(&client, 0x3000, Direction::Both);
    memory.write(0x1ff0, &[3; 32]).unwrap();
    for by in [0, board::BY_THREAD] {
        let status = act(&client, address + 0x1ff0, 32, board::DO_READ | by);
        assert_eq!(status, board::DONE);
        assert_eq!(client.read32(Bar::Vdma, board::VALUE).unwrap(), 96);
        client.write32(Bar::Vdma, board::VALUE, 7 + by).unwrap();
        let status = act(&client, address + 0x2ffc, 4, board::DO_WRITE | by);
        assert_eq!(status, board::DONE);
        assert_eq!(memory.load32(0x2ffc).unwrap(), 0x0707_0707);
        memory.store32(0x2ffc, 0).unwrap();
    }
    client.unmap(&segments).unwrap();
    assert_eq!(act(&client, address, 4, board::DO_READ), board::FAULT);
    assert!(client.unmap(&segments).is_err());
}

#[test]
fn an_access_may_cross_mappings_but_not_leave_them() {
    let served = Served::new();
    let client = served.client();
    let page = page_size();
    let (first, _, address) = mapped(&client, page, Direction::Both);
    let (second, _, behind) = mapped(&client, page, Direction::Both);
    assert_eq!(behind, address + u64::try_from(page).unwrap());
    first.write(page - 4, &[1; 4]).unwrap();
    second.write(0, &[2; 4]).unwrap();
    for by in [0, board::BY_THREAD] {
        assert_eq!(
            act(&client, behind - 4, 8, board::DO_READ | by),
            board::DONE
        );
        assert_eq!(client.read32(Bar::Vdma, board::VALUE).unwrap(), 12);
        let end = behind + u64::try_from(page).unwrap();
        assert_eq!(act(&client, end - 4, 8, board::DO_READ | by), board::FAULT);
        assert_eq!(
            act(&client, u64::MAX - 3, 8, board::DO_READ | by),
            board::FAULT
        );
    }
}

#[test]
fn a_mapping_is_for_its_direction_only() {
    let served = Served::new();
    let client = served.client();
    let (_, _, out) = mapped(&client, 0x1000, Direction::ToDevice);
    let (_, _, back) = mapped(&client, 0x1000, Direction::FromDevice);
    for by in [0, board::BY_THREAD] {
        assert_eq!(act(&client, out, 4, board::DO_READ | by), board::DONE);
        assert_eq!(act(&client, out, 4, board::DO_WRITE | by), board::FAULT);
        assert_eq!(act(&client, back, 4, board::DO_READ | by), board::FAULT);
        assert_eq!(act(&client, back, 4, board::DO_WRITE | by), board::DONE);
    }
}

#[test]
fn a_files_pages_are_read_without_a_copy_and_only_read() {
    let served = Served::new();
    let client = served.client();
    let mut file = tempfile::tempfile().unwrap();
    let page = page_size();
    file.write_all(&vec![1; page]).unwrap();
    file.write_all(&[2; 100]).unwrap();
    let offset = u64::try_from(page).unwrap();
    let memory = Arc::new(HostMemory::file(file, offset, 100).unwrap());
    let wrong = client.map(&memory, Placement::Data, Direction::Both);
    assert!(matches!(
        wrong,
        Err(TransportError::Refused {
            errno: Errno::EACCES,
            ..
        })
    ));
    let segments = client
        .map(&memory, Placement::Data, Direction::ToDevice)
        .unwrap();
    let address = segments.base().unwrap().0;
    assert_eq!(act(&client, address, 128, board::DO_READ), board::DONE);
    assert_eq!(client.read32(Bar::Vdma, board::VALUE).unwrap(), 200);
    assert_eq!(act(&client, address, 4, board::DO_WRITE), board::FAULT);
}

#[test]
fn a_list_lies_at_a_multiple_of_64_kib() {
    let served = Served::new();
    let client = served.client();
    let small = Arc::new(HostMemory::anonymous(0x1000).unwrap());
    client
        .map(&small, Placement::Data, Direction::Both)
        .unwrap();
    let list = Arc::new(HostMemory::anonymous(0x1000).unwrap());
    let segments = client.map(&list, Placement::List, Direction::Both).unwrap();
    assert!(segments.base().unwrap().is_aligned_to(0x1_0000));
    assert_eq!(segments.0.len(), 1);
}

fn pending(event: &impl AsFd, patience: u16) -> bool {
    let mut source = [PollFd::new(event.as_fd(), PollFlags::POLLIN)];
    poll(&mut source, patience).unwrap() == 1
}

#[test]
fn an_interrupt_arrives_while_it_is_armed() {
    let served = Served::new();
    let client = served.client();
    assert_eq!(act(&client, 0, 0, board::DO_INTERRUPT), board::DONE);
    let event = client.arm_interrupt().unwrap().unwrap();
    assert!(!pending(&event, 0));
    assert_eq!(client.config_read(0x52, Width::Word).unwrap() & 1, 1);
    for by in [0, board::BY_THREAD] {
        act(&client, 0, 0, board::DO_INTERRUPT | by);
        assert!(pending(&event, 5000));
        nix::unistd::read(event, &mut [0; 8]).unwrap();
    }
    client.disarm_interrupt().unwrap();
    act(&client, 0, 0, board::DO_INTERRUPT);
    assert!(!pending(&event, 0));
    assert_eq!(client.config_read(0x52, Width::Word).unwrap() & 1, 0);
}

#[test]
fn a_reset_goes_through_config_space() {
    let served = Served::new();
    let client = served.client();
    client.enable().unwrap();
    client.reset().unwrap();
    assert_eq!(client.read32(Bar::Vdma, board::RESETS).unwrap(), 1);
    assert_eq!(client.config_read(0x78, Width::Word).unwrap() & 1 << 15, 0);
    assert_eq!(client.config_read(4, Width::Word).unwrap() & 4, 0);
}

#[test]
fn a_second_client_is_told_that_the_device_is_busy() {
    let served = Served::new();
    let first = served.client();
    let second = VfioUserTransport::connect(&served.path, Options::default());
    match second {
        Err(TransportError::Refused { action, errno }) => {
            assert_eq!(errno, Errno::EBUSY);
            assert_eq!(action, "opening the device");
        }
        other => panic!("{other:?}"),
    }
    first.read32(Bar::Config, 0).unwrap();
}

#[test]
fn a_client_that_comes_right_after_another_is_served() {
    let served = Served::new();
    for round in 0..20 {
        let client = served.client();
        assert_eq!(client.read32(Bar::Config, 0x100).unwrap(), round);
        client.write32(Bar::Config, 0x100, round + 1).unwrap();
    }
}

#[test]
fn mappings_and_interrupt_go_with_the_client_and_the_state_stays() {
    let served = Served::new();
    let client = served.client();
    client.write32(Bar::Config, 0x40, 77).unwrap();
    let (_memory, _, address) = mapped(&client, 0x1000, Direction::Both);
    client.arm_interrupt().unwrap();
    assert_eq!(act(&client, address, 4, board::DO_READ), board::DONE);
    drop(client);
    let next = served.client();
    assert_eq!(served.board.attached.load(Ordering::SeqCst), 2);
    assert_eq!(next.read32(Bar::Config, 0x40).unwrap(), 77);
    assert_eq!(act(&next, address, 4, board::DO_READ), board::FAULT);
}

#[test]
fn a_probe_that_says_nothing_does_not_touch_the_device() {
    let served = Served::new();
    drop(UnixStream::connect(&served.path).unwrap());
    let client = served.client();
    client.read32(Bar::Config, 0).unwrap();
    assert_eq!(served.board.attached.load(Ordering::SeqCst), 1);
}

#[test]
fn a_stopped_server_is_noticed_and_all_calls_fail_at_once() {
    let served = Served::new();
    let client = served.client();
    let (_, segments, _) = mapped(&client, 0x1000, Direction::Both);
    assert!(!pending(&client.lost().unwrap(), 0));
    drop(served);
    assert!(pending(&client.lost().unwrap(), 5000));
    let read = client.read32(Bar::Config, 0);
    assert!(matches!(read, Err(TransportError::Closed(_))), "{read:?}");
    let write = client.write32(Bar::Config, 0, 0);
    assert!(matches!(write, Err(TransportError::Closed(_))), "{write:?}");
    assert!(matches!(
        client.unmap(&segments),
        Err(TransportError::Closed(_))
    ));
}

#[test]
fn the_socket_is_its_owners_alone_and_a_live_one_is_not_taken_away() {
    let served = Served::new();
    assert_eq!(served.path.metadata().unwrap().mode() & 0o777, 0o600);
    let second = Server::bind(&served.path, Board::new());
    assert!(matches!(second, Err(BindError::Live(_))));
    served.client();
}

#[test]
fn a_stale_socket_is_replaced_and_a_file_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let stale = directory.path().join("stale");
    drop(UnixListener::bind(&stale).unwrap());
    let server = Server::bind(&stale, Board::new()).unwrap();
    drop(server);
    assert!(!stale.exists());
    let file = directory.path().join("file");
    std::fs::write(&file, "keep me").unwrap();
    let refused = Server::bind(&file, Board::new());
    assert!(matches!(refused, Err(BindError::NotASocket(_))));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "keep me");
    let nowhere = Server::bind(Path::new("/nonexistent/socket"), Board::new());
    assert!(matches!(nowhere, Err(BindError::Os { .. })));
}

#[test]
fn accesses_from_many_threads_do_not_mix() {
    let served = Served::new();
    let client = served.client();
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let client = &client;
            scope.spawn(move || {
                for round in 0..200 {
                    let at = 0x1000 + 4 * thread;
                    client.write32(Bar::Access, at, round).unwrap();
                    assert_eq!(client.read32(Bar::Access, at).unwrap(), round);
                }
            });
        }
    });
}

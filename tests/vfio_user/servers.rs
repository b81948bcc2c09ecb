//! Our client against servers that are not ours: odd ones, lying ones, and ones that are no servers.

use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hailo_vfio::mem::HostMemory;
use hailo_vfio::spec::register::Bar;
use hailo_vfio::spec::vfio_user::{
    Command, DeviceInfo, DmaAccess, Header, IrqInfo, RegionAccess, RegionInfo, flags,
};
use hailo_vfio::transport::frame::{self, LONGEST};
use hailo_vfio::transport::vfio_user::{Options, VfioUserTransport};
use hailo_vfio::transport::{Direction, Placement, Transport, TransportError, Width};
use nix::errno::Errno;
use nix::sys::socket::Backlog;
use zerocopy::{FromBytes, IntoBytes};

use crate::raw::{Message, Raw};

/// How long a client waits that is to be made to wait in vain.
const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes of config space that the good server has: vendor and device, no capabilities.
const CONFIG: [u8; 4] = [0x60, 0x1e, 0xc4, 0x45];

/// What a server that behaves replies.
fn good(message: &Message) -> Vec<u8> {
    let payload = &message.payload;
    match message.command() {
        Command::Version => b"\0\0\0\0{\"capabilities\":{}}\0".to_vec(),
        Command::GetInfo => vec![16, 0, 0, 0, 3, 0, 0, 0, 9, 0, 0, 0, 5, 0, 0, 0],
        Command::GetRegionInfo => {
            let mut info = RegionInfo::read_from_bytes(payload).unwrap();
            let size: u64 = match info.index.get() {
                0 | 4 => 0x4000,
                2 | 7 => 0x1000,
                _ => 0,
            };
            info.size.set(size);
            info.flags.set(3);
            info.as_bytes().to_vec()
        }
        Command::GetIrqInfo => {
            let mut info = IrqInfo::read_from_bytes(payload).unwrap();
            info.flags.set(9);
            info.count.set(1);
            info.as_bytes().to_vec()
        }
        Command::RegionRead => {
            let request = RegionAccess::read_from_bytes(payload).unwrap();
            let offset = usize::try_from(request.offset.get()).unwrap();
            let count = usize::try_from(request.count.get()).unwrap();
            let config = request.region.get() == 7;
            let bytes = (offset..offset + count)
                .map(|at| CONFIG.get(at).copied().filter(|_| config).unwrap_or(0));
            request.as_bytes().iter().copied().chain(bytes).collect()
        }
        Command::RegionWrite => payload[..16].to_vec(),
        Command::DmaUnmap => payload.clone(),
        _ => Vec::new(),
    }
}

/// A server that does `odd` where that is something (true), and the right thing otherwise.
fn server(
    odd: impl FnMut(&mut Raw, &Message) -> bool + Send + 'static,
) -> (UnixStream, JoinHandle<()>) {
    let mut odd = odd;
    let (near, far) = UnixStream::pair().unwrap();
    let thread = std::thread::spawn(move || {
        let mut raw = Raw::new(far);
        while let Some(message) = raw.try_next() {
            if !odd(&mut raw, &message) && !message.header.no_reply() {
                let reply = good(&message);
                raw.reply(&message.header, &reply, &[]);
            }
        }
    });
    (near, thread)
}

fn open(
    odd: impl FnMut(&mut Raw, &Message) -> bool + Send + 'static,
) -> Result<VfioUserTransport, TransportError> {
    let (stream, _) = server(odd);
    VfioUserTransport::over(stream, "test", Options::default())
}

/// A server that is odd when register 0x40 is read.
fn odd_read(odd: impl Fn(&mut Raw, &Message) + Send + 'static) -> VfioUserTransport {
    odd_read_with(Options::default(), odd)
}

/// The same for a client that gives up soon.
fn odd_read_in_vain(odd: impl Fn(&mut Raw, &Message) + Send + 'static) -> VfioUserTransport {
    let options = Options {
        request: PATIENCE,
        ..Default::default()
    };
    odd_read_with(options, odd)
}

fn odd_read_with(
    options: Options,
    odd: impl Fn(&mut Raw, &Message) + Send + 'static,
) -> VfioUserTransport {
    let (stream, _) = server(move |raw, message| {
        let wanted = message.command() == Command::RegionRead && message.payload[0] == 0x40;
        if wanted {
            odd(raw, message);
        }
        wanted
    });
    VfioUserTransport::over(stream, "test", options).unwrap()
}

/// Reads register 0x40, and again: a connection that was given up fails at once for the same reason.
fn fails_twice(client: &VfioUserTransport) -> TransportError {
    let first = client.read32(Bar::Config, 0x40).unwrap_err();
    let second = client.write32(Bar::Config, 0, 0).unwrap_err();
    assert_eq!(first.to_string(), second.to_string());
    first
}

#[test]
fn a_server_that_behaves_is_driven() {
    let client = open(|_, _| false).unwrap();
    assert_eq!(client.config_read(0, Width::Long).unwrap(), 0x45c4_1e60);
    assert_eq!(client.region(Bar::Access).len, 0x4000);
    assert!(client.capabilities().interrupt);
    let memory = Arc::new(HostMemory::anonymous(0x1000).unwrap());
    let segments = client
        .map(&memory, Placement::Data, Direction::Both)
        .unwrap();
    client.unmap(&segments).unwrap();
    client.reset().unwrap();
}

#[test]
fn an_error_reply_is_an_error_and_the_connection_goes_on() {
    let client = odd_read(|raw, message| {
        let reply = frame::error_reply(&message.header, Errno::ENODEV);
        raw.write(&[reply.as_bytes()], &[]);
    });
    for _ in 0..2 {
        match client.read32(Bar::Config, 0x40).unwrap_err() {
            TransportError::Refused { action, errno } => {
                assert_eq!((action.as_str(), errno), ("a register read", Errno::ENODEV));
            }
            other => panic!("{other:?}"),
        }
        client.read32(Bar::Config, 0x44).unwrap();
    }
    // An errno of 0, or one that is none, is an error all the same.
    for errno in [0, u32::MAX, 9999] {
        let client = odd_read(move |raw, message| {
            let mut reply = frame::error_reply(&message.header, Errno::EIO);
            reply.error.set(errno);
            raw.write(&[reply.as_bytes()], &[]);
        });
        let error = client.read32(Bar::Config, 0x40).unwrap_err();
        assert!(
            matches!(
                error,
                TransportError::Refused {
                    errno: Errno::EIO,
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[test]
fn a_server_that_hangs_is_given_up_after_the_time_out() {
    let client = odd_read_in_vain(|_, _| {});
    let error = fails_twice(&client);
    match error {
        TransportError::TimedOut { action, waited } => {
            assert_eq!(action, "a register read");
            assert!(waited >= PATIENCE);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_server_that_trickles_is_given_up_too() {
    let client = odd_read_in_vain(|raw, message| {
        let reply = good(message);
        let header = frame::header(message.header.id.get(), 9, flags::REPLY, reply.len());
        let bytes = [header.as_bytes(), &reply].concat();
        for byte in bytes {
            if nix::unistd::write(&raw.stream, &[byte]).is_err() {
                break;
            }
            std::thread::sleep(PATIENCE / 4);
        }
    });
    let error = fails_twice(&client);
    assert!(matches!(error, TransportError::TimedOut { .. }), "{error}");
}

#[test]
fn a_server_that_dies_is_noticed_in_the_middle_of_a_reply() {
    let client = odd_read(|raw, message| {
        let header = frame::header(message.header.id.get(), 9, flags::REPLY, 20);
        raw.write(&[header.as_bytes(), &[0; 4]], &[]);
        raw.stream.shutdown(std::net::Shutdown::Both).unwrap();
    });
    let error = fails_twice(&client);
    assert!(matches!(error, TransportError::Closed(_)), "{error}");
}

#[test]
fn replies_that_do_not_belong_to_the_request_end_the_connection() {
    type Odd = fn(&mut Raw, &Message);
    let cases: [(&str, Odd); 11] = [
        ("wrong id", |raw, message| {
            let mut header = message.header;
            header.id.set(header.id.get().wrapping_add(1));
            raw.reply(&header, &good(message), &[]);
        }),
        ("wrong command", |raw, message| {
            let mut header = message.header;
            header.command.set(Command::RegionWrite.code());
            raw.reply(&header, &good(message), &[]);
        }),
        ("too little data", |raw, message| {
            raw.reply(&message.header, &good(message)[..19], &[]);
        }),
        ("too much data", |raw, message| {
            let long = [good(message), vec![0; 4]].concat();
            raw.reply(&message.header, &long, &[]);
        }),
        ("no data", |raw, message| {
            raw.reply(&message.header, &[], &[])
        }),
        ("another register's", |raw, message| {
            let mut reply = good(message);
            reply[0] = 0x44;
            raw.reply(&message.header, &reply, &[]);
        }),
        ("another count", |raw, message| {
            let mut reply = good(message);
            reply[12] = 8;
            raw.reply(&message.header, &reply, &[]);
        }),
        ("far too long", |raw, message| {
            let id = message.header.id.get();
            let header = frame::header(id, 9, flags::REPLY, LONGEST);
            raw.write(&[header.as_bytes()], &[]);
        }),
        ("no length at all", |raw, message| {
            let mut header = frame::header(message.header.id.get(), 9, flags::REPLY, 0);
            header.size.set(3);
            raw.write(&[header.as_bytes()], &[]);
        }),
        ("garbage", |raw, _| raw.write(&[&[0xa7; 64]], &[])),
        ("too many descriptors", |raw, message| {
            let stream = raw.stream.try_clone().unwrap();
            let many = vec![stream.as_fd(); 100];
            raw.reply(&message.header, &good(message), &many);
        }),
    ];
    for (name, odd) in cases {
        let client = odd_read(odd);
        let error = fails_twice(&client);
        assert!(
            matches!(error, TransportError::Protocol(_)),
            "{name}: {error}"
        );
    }
}

#[test]
fn descriptors_that_nobody_asked_for_are_closed() {
    let marker = Arc::new(HostMemory::anonymous(0x1000).unwrap());
    let sent = marker.clone();
    let client = odd_read(move |raw, message| {
        let extra = [sent.descriptor().0; 3];
        raw.reply(&message.header, &good(message), &extra);
    });
    let inode = nix::sys::stat::fstat(marker.descriptor().0).unwrap().st_ino;
    for _ in 0..10 {
        client.read32(Bar::Config, 0x40).unwrap();
    }
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    let files = entries.filter_map(|entry| std::fs::metadata(entry.ok()?.path()).ok());
    let same = files.filter(|file| std::os::unix::fs::MetadataExt::ino(file) == inode);
    assert_eq!(same.count(), 1);
}

#[test]
fn a_version_that_can_not_be_spoken_is_refused() {
    let texts: [&[u8]; 9] = [
        b"\x01\0\0\0",
        b"\0\0\x01\0",
        b"\0\0",
        b"\0\0\0\0{}",
        b"\0\0\0\0{\0",
        b"\0\0\0\0{\"capabilities\":{\"pgsizes\":0}}\0",
        b"\0\0\0\0{\"capabilities\":{\"pgsizes\":-1}}\0",
        b"\0\0\0\0{\"capabilities\":{\"twin_socket\":{\"supported\":true}}}\0",
        b"\0\0\0\0{\"capabilities\":{\"twin_socket\":{\"supported\":true,\"fd_index\":0}}}\0",
    ];
    for text in texts {
        let result = open(move |raw, message| {
            let version = message.command() == Command::Version;
            if version {
                raw.reply(&message.header, text, &[]);
            }
            version
        });
        match result {
            Err(TransportError::Protocol(_)) => {}
            other => panic!("{}: {other:?}", String::from_utf8_lossy(text)),
        }
    }
    let plain = open(|raw, message| {
        let version = message.command() == Command::Version;
        if version {
            raw.reply(&message.header, &[0; 4], &[]);
        }
        version
    });
    plain.unwrap();
}

/// A server that says something odd of its device.
fn lie(
    command: Command,
    index: u32,
    change: impl Fn(&mut Vec<u8>) + Send + 'static,
) -> TransportError {
    let result = open(move |raw, message| {
        let wanted = message.command() == command
            && (command == Command::GetInfo || message.payload[8..12] == index.to_le_bytes());
        if wanted {
            let mut reply = good(message);
            change(&mut reply);
            raw.reply(&message.header, &reply, &[]);
        }
        wanted
    });
    result.map(|_| ()).unwrap_err()
}

#[test]
fn a_device_that_can_not_be_is_refused() {
    let info = |flags: u32, regions: u32, irqs: u32| {
        lie(Command::GetInfo, 0, move |reply| {
            *reply = DeviceInfo {
                argsz: 16.into(),
                flags: flags.into(),
                regions: regions.into(),
                irqs: irqs.into(),
            }
            .as_bytes()
            .to_vec();
        })
    };
    assert!(matches!(info(0, 9, 5), TransportError::Unsupported { .. }));
    for (regions, irqs) in [(0, 5), (7, 5), (u32::MAX, 5), (9, u32::MAX)] {
        let error = info(3, regions, irqs);
        assert!(matches!(error, TransportError::Protocol(_)), "{error}");
    }
    let size = |index: u32, size: u64| {
        lie(Command::GetRegionInfo, index, move |reply| {
            reply[16..24].copy_from_slice(&size.to_le_bytes());
        })
    };
    for (index, bytes) in [
        (0, 3),
        (0, 0x4001),
        (2, 1 << 32),
        (4, u64::MAX),
        (7, 0),
        (7, 64),
        (7, 8192),
    ] {
        let error = size(index, bytes);
        assert!(
            matches!(error, TransportError::Protocol(_)),
            "{index} {bytes:#x}: {error}"
        );
    }
    for change in [
        (|reply: &mut Vec<u8>| reply[4] = 1) as fn(&mut Vec<u8>),
        |reply| reply[8] = 3,
        |reply| reply.truncate(31),
    ] {
        let error = lie(Command::GetRegionInfo, 2, change);
        assert!(matches!(error, TransportError::Protocol(_)), "{error}");
    }
    let error = lie(Command::GetIrqInfo, 1, |reply| reply.truncate(15));
    assert!(matches!(error, TransportError::Protocol(_)), "{error}");
}

#[test]
fn a_device_without_interrupt_is_driven_without() {
    let client = open(|raw, message| {
        let wanted = message.command() == Command::GetIrqInfo;
        if wanted {
            let mut reply = good(message);
            reply[12] = 0;
            raw.reply(&message.header, &reply, &[]);
        }
        wanted
    })
    .unwrap();
    assert!(!client.capabilities().interrupt);
    assert!(client.arm_interrupt().unwrap().is_none());
    client.disarm_interrupt().unwrap();
}

#[test]
fn memory_stays_mapped_where_the_server_does_not_unmap_it() {
    let client = open(|raw, message| {
        let wanted = message.command() == Command::DmaUnmap;
        if wanted {
            let reply = frame::error_reply(&message.header, Errno::EBUSY);
            raw.write(&[reply.as_bytes()], &[]);
        }
        wanted
    })
    .unwrap();
    let memory = Arc::new(HostMemory::anonymous(0x1000).unwrap());
    let segments = client
        .map(&memory, Placement::Data, Direction::Both)
        .unwrap();
    assert!(client.unmap(&segments).is_err());
    assert!(Arc::strong_count(&memory) > 1);
    let other = client
        .map(&memory, Placement::Data, Direction::Both)
        .unwrap();
    assert_ne!(other, segments);
}

/// A server that answers a read of register 0x40 after it has asked for memory itself.
fn asking(
    command: Command,
    access: DmaAccess,
    data: Vec<u8>,
) -> (
    VfioUserTransport,
    std::sync::mpsc::Receiver<Result<Vec<u8>, Errno>>,
) {
    let (tell, told) = std::sync::mpsc::channel();
    let client = odd_read(move |raw, message| {
        let payload = [access.as_bytes(), &data].concat();
        let reply = raw.ask(command.code(), &payload, &[]);
        tell.send(reply.map(|reply| reply.payload)).unwrap();
        raw.reply(&message.header, &good(message), &[]);
    });
    (client, told)
}

#[test]
fn the_servers_requests_for_memory_are_answered_while_a_reply_is_awaited() {
    let at = |address: u64, count: u64| DmaAccess {
        address: address.into(),
        count: count.into(),
    };
    let first = 0x1_0000; // The first address that is given out.
    let ask = |command, access: DmaAccess, data: &[u8], direction| {
        let (client, told) = asking(command, access, data.to_vec());
        let memory = Arc::new(HostMemory::anonymous(0x1000).unwrap());
        memory.write(4, &[1, 2, 3, 4]).unwrap();
        client.map(&memory, Placement::Data, direction).unwrap();
        client.read32(Bar::Config, 0x40).unwrap();
        let mut bytes = [0; 4];
        memory.read(4, &mut bytes).unwrap();
        (told.recv().unwrap(), bytes)
    };
    use Command::{DmaRead, DmaWrite};
    use Direction::{Both, FromDevice, ToDevice};
    let access = at(first + 4, 4);
    let (reply, _) = ask(DmaRead, access, &[], ToDevice);
    assert_eq!(reply.unwrap(), [access.as_bytes(), &[1, 2, 3, 4]].concat());
    let (reply, memory) = ask(DmaWrite, access, &[9; 4], FromDevice);
    assert_eq!(reply.unwrap(), access.as_bytes());
    assert_eq!(memory, [9; 4]);
    assert_eq!(ask(DmaRead, access, &[], FromDevice).0, Err(Errno::EPERM));
    let (reply, memory) = ask(DmaWrite, access, &[9; 4], ToDevice);
    assert_eq!((reply, memory), (Err(Errno::EPERM), [1, 2, 3, 4]));
    assert_eq!(
        ask(DmaRead, at(first + 0x1000, 1), &[], Both).0,
        Err(Errno::EFAULT)
    );
    assert_eq!(
        ask(DmaRead, at(first + 0xffe, 4), &[], Both).0,
        Err(Errno::EFAULT)
    );
    assert_eq!(
        ask(DmaRead, at(u64::MAX, 2), &[], Both).0,
        Err(Errno::EFAULT)
    );
    assert_eq!(
        ask(DmaRead, at(first, u64::MAX), &[], Both).0,
        Err(Errno::E2BIG)
    );
    assert_eq!(ask(DmaRead, access, &[1], Both).0, Err(Errno::EINVAL));
    assert_eq!(ask(DmaWrite, access, &[1; 3], Both).0, Err(Errno::EINVAL));
    assert_eq!(
        ask(Command::GetInfo, access, &[], Both).0,
        Err(Errno::ENOSYS)
    );
}

#[test]
fn a_flood_of_requests_does_not_stretch_the_time_out() {
    let client = odd_read_in_vain(|raw, _| {
        raw.stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let header = frame::header(1, Command::DmaRead.code(), flags::NO_REPLY, 0);
        while nix::unistd::write(&raw.stream, header.as_bytes()).is_ok() {}
    });
    let error = fails_twice(&client);
    assert!(
        matches!(
            error,
            TransportError::TimedOut { .. } | TransportError::Closed(_)
        ),
        "{error}"
    );
}

#[test]
fn connecting_to_what_is_no_server_ends() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let missing = VfioUserTransport::connect(&path, Options::default());
    assert!(matches!(missing, Err(TransportError::Os { .. })));
    // It accepts nothing: the connection is made by the kernel and nobody answers.
    let listener = UnixListener::bind(&path).unwrap();
    let short = Options {
        connect: PATIENCE,
        request: PATIENCE,
        ..Default::default()
    };
    let silent = VfioUserTransport::connect(&path, short.clone());
    assert!(matches!(silent, Err(TransportError::TimedOut { .. })));
    // And with a full queue it is not even made.
    nix::sys::socket::listen(&listener, Backlog::new(0).unwrap()).unwrap();
    let mut tries = 0..10;
    loop {
        tries.next().expect("the queue fills up");
        match VfioUserTransport::connect(&path, short.clone()) {
            Err(TransportError::TimedOut { action, .. }) if action.contains("accept") => break,
            Err(TransportError::TimedOut { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    drop(listener);
    let dead = VfioUserTransport::connect(&path, Options::default());
    assert!(matches!(dead, Err(TransportError::Os { .. })));
}

#[test]
fn a_server_that_sends_only_a_header_of_a_reply_to_a_posted_write_is_out_of_step() {
    // As servers of the published crate before 0.1.4 do: they answer what wants no answer.
    let client = open(|raw, message| {
        if message.header.no_reply() {
            raw.reply(&message.header, &good(message), &[]);
        }
        false
    })
    .unwrap();
    client.write32(Bar::Config, 0x44, 1).unwrap();
    let error = fails_twice(&client);
    assert!(matches!(error, TransportError::Protocol(_)), "{error}");

    let (stream, _) = server(|_, message| {
        assert!(!message.header.no_reply());
        false
    });
    let plain = Options {
        posted_writes: false,
        ..Default::default()
    };
    let client = VfioUserTransport::over(stream, "test", plain).unwrap();
    client.write32(Bar::Config, 0x44, 1).unwrap();
    client.read32(Bar::Config, 0x40).unwrap();
}

#[test]
fn headers_of_commands_are_plain() {
    let (stream, _) = server(|_, message| {
        let Header { flags, error, .. } = message.header;
        assert!(flags.get() & !flags::NO_REPLY == 0 && error.get() == 0);
        false
    });
    VfioUserTransport::over(stream, "test", Options::default()).unwrap();
}

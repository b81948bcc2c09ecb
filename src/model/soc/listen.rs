//! The server behind TCP ports, for other clients of its protocol.
//!
//! The same messages and buffers as over PCIe, one after the other in the stream; connecting and closing take the
//! place of CONNECT and CLOSE, and there is no card to boot or to switch off.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;

use super::{Server, Settings, System, lock};
use crate::model::fault::FaultPlan;
use crate::model::profile::Profile;
use crate::model::service::{Ended, Stream};
use crate::spec::firmware::Version;
use crate::spec::session::port;

/// Release of a profile that names none.
const USUAL: Version = Version::new(5, 2, 0);

/// Clients at a time: as many as have sessions over PCIe.
const MOST_CLIENTS: usize = crate::spec::session::MAX_SESSIONS;

/// A client over a socket.
struct SocketStream {
    socket: TcpStream,
    /// A message and its buffers stay together.
    sending: Mutex<()>,
}

fn ended(error: &io::Error) -> Ended {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Ended::TimedOut,
        _ => Ended::Closed,
    }
}

impl Stream for SocketStream {
    fn receive(&self, mut buffer: Vec<u8>, limit: Option<Duration>) -> Result<Vec<u8>, Ended> {
        let received = self
            .socket
            .set_read_timeout(limit)
            .and_then(|()| (&self.socket).read_exact(&mut buffer));
        received.map(|()| buffer).map_err(|error| ended(&error))
    }

    fn send(&self, parts: Vec<Vec<u8>>, limit: Duration) -> Result<(), Ended> {
        let _sending = lock(&self.sending);
        let set = self.socket.set_write_timeout(Some(limit));
        set.map_err(|error| ended(&error))?;
        for part in parts {
            let sent = (&self.socket).write_all(&part);
            sent.map_err(|error| ended(&error))?;
        }
        Ok(())
    }

    fn flush(&self, _limit: Duration) -> Result<(), Ended> {
        Ok(()) // The kernel delivers what was written.
    }

    fn close(&self) {
        if let Err(error) = self.socket.shutdown(Shutdown::Both) {
            log::debug!("sim: closing a client: {error}");
        }
    }
}

/// What is left of the chip: clients to drop, complaints.
#[derive(Default)]
struct Rest {
    clients: Vec<TcpStream>,
    complaints: Vec<String>,
    /// The server is to be made anew, after this time.
    again: Option<Duration>,
    /// Nobody serves any more.
    over: bool,
}

/// The chip around a server that has none.
#[derive(Clone)]
struct NoChip {
    rest: Arc<Mutex<Rest>>,
    /// Wakes who serves: the server is to be made anew. The other one tells that this was done.
    news: Arc<EventFd>,
    heard: Arc<Condvar>,
}

impl NoChip {
    fn new() -> io::Result<Self> {
        Ok(Self {
            rest: Arc::default(),
            news: Arc::new(EventFd::new()?),
            heard: Arc::default(),
        })
    }

    /// Closes every client. The ports of a server that dies are closed before.
    fn drop_clients(&self) {
        let mut rest = lock(&self.rest);
        for client in rest.clients.drain(..) {
            if let Err(error) = client.shutdown(Shutdown::Both) {
                log::debug!("sim: closing a client: {error}");
            }
        }
        rest.again = None;
        self.heard.notify_all();
    }

    /// Has the server made anew after `pause`; comes back when no client is left.
    fn start_again(&self, pause: Duration) {
        let mut rest = lock(&self.rest);
        if rest.over {
            return;
        }
        rest.again = Some(pause);
        if let Err(error) = self.news.write(1) {
            log::error!("sim: the server stays as it is: {error}");
            return;
        }
        while rest.again.is_some() {
            let woken = self.heard.wait(rest);
            rest = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl System for NoChip {
    fn complain(&self, text: String) {
        log::warn!("sim: the host erred: {text}");
        let mut rest = lock(&self.rest);
        if !rest.complaints.contains(&text) {
            rest.complaints.push(text);
        }
    }

    fn reboot(&self) {
        self.start_again(Duration::ZERO);
    }

    fn die(&self, pause: Duration) {
        self.start_again(pause);
    }

    fn control_log(&self) -> Vec<u8> {
        b"scu: none, the server stands alone\n".to_vec()
    }
}

fn listen(addresses: &[SocketAddr]) -> io::Result<Vec<TcpListener>> {
    let bind = |address: &SocketAddr| {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    addresses.iter().map(bind).collect()
}

/// Waits until one of these is readable; which ones are. None where the time was up.
fn wait(fds: &[BorrowedFd<'_>], limit: Option<Duration>) -> io::Result<Vec<bool>> {
    let limit = limit.map_or(Ok(PollTimeout::NONE), PollTimeout::try_from);
    let limit = limit.unwrap_or(PollTimeout::MAX);
    let each = fds.iter();
    let mut waits: Vec<PollFd<'_>> = each.map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    match poll(&mut waits, limit) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    let ready = |wait: &PollFd<'_>| wait.any().unwrap_or(false);
    Ok(waits.iter().map(ready).collect())
}

/// The server behind TCP ports.
///
/// `Send`. Dropping it closes the ports; [`Self::serve`] closes the clients and joins their threads.
pub struct RpcServer {
    addresses: Vec<SocketAddr>,
    /// None while the server is dead.
    listeners: Mutex<Vec<TcpListener>>,
    settings: Settings,
    faults: Arc<Mutex<FaultPlan>>,
    chip: NoChip,
}

impl std::fmt::Debug for RpcServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RpcServer")
            .field("addresses", &self.addresses())
            .finish_non_exhaustive()
    }
}

impl RpcServer {
    /// Listens at `address`, on every port that the server of the profile's release has. `faults` may hold those of
    /// the RPC server; others have no effect.
    ///
    /// # Errors
    /// A port can't be had; or the profile's release is older than 5.0, whose protocol is unknown.
    pub fn bind(address: IpAddr, profile: &Profile, faults: FaultPlan) -> io::Result<Self> {
        Self::bind_to(&[SocketAddr::new(address, port::RPC)], profile, faults)
    }

    /// The same with addresses and ports of the caller's, where 0 is any free port.
    ///
    /// # Errors
    /// As [`Self::bind`].
    pub fn bind_to(
        addresses: &[SocketAddr],
        profile: &Profile,
        mut faults: FaultPlan,
    ) -> io::Result<Self> {
        let version = profile.version.or(profile.loaded).unwrap_or(USUAL);
        let settings = Settings::new(profile, version).ok_or_else(|| {
            let text = format!("the protocol of release {version} is unknown");
            io::Error::new(io::ErrorKind::Unsupported, text)
        })?;
        let listeners = listen(addresses)?;
        let own = listeners.iter().map(TcpListener::local_addr);
        Ok(Self {
            addresses: own.collect::<io::Result<_>>()?,
            listeners: Mutex::new(listeners),
            settings,
            faults: Arc::new(Mutex::new(faults.split_rpc())),
            chip: NoChip::new()?,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.clone()
    }

    /// What clients did wrong, in plain words, without repetitions.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        lock(&self.chip.rest).complaints.clone()
    }

    /// Serves until `stop` is readable.
    ///
    /// # Errors
    /// The ports can't be waited for any more; or not be had again, after the server died (a fault).
    pub fn serve(&self, stop: BorrowedFd<'_>) -> io::Result<()> {
        let mut threads: Vec<JoinHandle<()>> = Vec::new();
        lock(&self.chip.rest).over = false;
        let served = self.serve_with(stop, &mut threads);
        lock(&self.chip.rest).over = true;
        self.chip.drop_clients();
        for thread in threads {
            if thread.join().is_err() {
                log::error!("sim: the service of a client panicked");
            }
        }
        served
    }

    fn serve_with(
        &self,
        stop: BorrowedFd<'_>,
        threads: &mut Vec<JoinHandle<()>>,
    ) -> io::Result<()> {
        let mut listeners = lock(&self.listeners);
        let mut server = self.start();
        loop {
            let news = self.chip.news.as_fd();
            let sockets = listeners.iter().map(AsFd::as_fd);
            let ready = wait(
                &[stop, news].into_iter().chain(sockets).collect::<Vec<_>>(),
                None,
            )?;
            if ready[0] {
                return Ok(());
            }
            if ready[1] {
                self.chip.news.read()?;
                let pause = lock(&self.chip.rest).again.unwrap_or_default();
                if !pause.is_zero() {
                    listeners.clear(); // Refused from now on, as by any port that nobody listens on.
                }
                self.chip.drop_clients();
                if !pause.is_zero() {
                    if wait(&[stop], Some(pause))?[0] {
                        return Ok(());
                    }
                    *listeners = listen(&self.addresses)?;
                }
                server = self.start();
            }
            threads.retain(|thread| !thread.is_finished());
            for listener in listeners.iter() {
                match listener.accept() {
                    Ok((socket, _)) if threads.len() < MOST_CLIENTS => {
                        threads.extend(self.start_client(&server, socket));
                    }
                    Ok(_) => log::warn!("sim: {MOST_CLIENTS} clients are enough"),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => log::warn!("sim: a client got lost: {error}"),
                }
            }
        }
    }

    fn start(&self) -> Arc<Server> {
        let chip = Box::new(self.chip.clone());
        Server::new(self.settings.clone(), chip, self.faults.clone())
    }

    /// The thread of a client, where there is one to be had.
    fn start_client(&self, server: &Arc<Server>, socket: TcpStream) -> Option<JoinHandle<()>> {
        let prepared = socket
            .set_nonblocking(false)
            .and_then(|()| socket.set_nodelay(true))
            .and_then(|()| socket.try_clone());
        let handle = match prepared {
            Ok(handle) => handle,
            Err(error) => {
                log::warn!("sim: a client got lost: {error}");
                return None;
            }
        };
        {
            let mut rest = lock(&self.chip.rest);
            rest.clients.retain(|client| client.peer_addr().is_ok());
            rest.clients.push(handle);
        }
        let server = server.clone();
        let stream = Arc::new(SocketStream {
            socket,
            sending: Mutex::new(()),
        });
        let thread = std::thread::Builder::new().name("sim-service".to_owned());
        match thread.spawn(move || server.serve(stream)) {
            Ok(thread) => Some(thread),
            Err(error) => {
                log::error!("sim: no thread for a client: {error}");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DEVICE__CREATE, or IDENTIFY of device 0.
    fn ask(client: &mut TcpStream, action: u8, body: &[u8]) -> io::Result<Vec<u8>> {
        let mut message = vec![0; 2068];
        message[..4].copy_from_slice(&0x8a55_4432_u32.to_le_bytes());
        message[4] = body.len().try_into().unwrap();
        message[12] = action;
        message[20..20 + body.len()].copy_from_slice(body);
        client.write_all(&message)?;
        client.read_exact(&mut message)?;
        Ok(message)
    }

    fn with_server(faults: &str, test: impl FnOnce(SocketAddr)) -> Vec<String> {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let faults = faults.parse().unwrap();
        let server = RpcServer::bind_to(&[anywhere], &Profile::default(), faults).unwrap();
        let stop = EventFd::new().unwrap();
        std::thread::scope(|scope| {
            let serving = scope.spawn(|| server.serve(stop.as_fd()));
            let tested = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                test(server.addresses()[0]);
            }));
            stop.write(1).unwrap();
            if let Err(panic) = tested {
                std::panic::resume_unwind(panic);
            }
            serving.join().unwrap().unwrap();
        });
        server.complaints()
    }

    #[test]
    fn clients_over_tcp_have_objects_of_their_own() {
        let complaints = with_server("none", |address| {
            let mut first = TcpStream::connect(address).unwrap();
            let mut second = TcpStream::connect(address).unwrap();
            assert_eq!(ask(&mut first, 20, &[]).unwrap()[20..22], [0x0a, 0]);
            assert_eq!(ask(&mut second, 22, &[0x0a, 0]).unwrap()[16], 61);
            assert_eq!(ask(&mut first, 22, &[0x0a, 0]).unwrap()[16], 0);
            drop(first);
            assert_eq!(ask(&mut second, 20, &[]).unwrap()[20..24], [0x0a, 2, 8, 1]);
            // The server goes while this one is still there.
        });
        assert_eq!(complaints, [""; 0]);
    }

    #[test]
    fn a_server_that_dies_takes_its_clients_along_and_comes_back_empty() {
        let complaints = with_server("rpc-die=100@22", |address| {
            let mut first = TcpStream::connect(address).unwrap();
            let mut second = TcpStream::connect(address).unwrap();
            ask(&mut first, 20, &[]).unwrap();
            ask(&mut second, 20, &[]).unwrap();
            assert!(ask(&mut first, 22, &[0x0a, 0]).is_err());
            // One after the other: a request may come in between.
            while ask(&mut second, 24, &[0x0a, 0]).is_ok() {}
            // Refused until it is back.
            let mut third = loop {
                match TcpStream::connect(address) {
                    Ok(client) => break client,
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused),
                }
            };
            assert_eq!(ask(&mut third, 20, &[]).unwrap()[20..22], [0x0a, 0]);
            assert_eq!(ask(&mut third, 99, &[]).unwrap()[16], 7);
            assert!(ask(&mut third, 20, &[]).is_err());
        });
        assert_eq!(complaints, ["RPC client 1: unknown method 99"]);
    }
}

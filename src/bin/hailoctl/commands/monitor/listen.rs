//! A tiny HTTP server for Prometheus: one page, one client at a time, nothing kept.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use hailo_vfio::{Error, ErrorKind};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

use crate::exit::Result;

/// How long a client may take over its request, and over taking the answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most bytes of a request.
const MOST: usize = 8 << 10;
/// How often a stop is looked for, in milliseconds.
const LOOK: u16 = 250;

/// What is wanted of us.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Metrics,
    Index,
    Unknown,
    BadMethod,
}

/// Listens at `address`: `HOST:PORT`, or a port of this machine only.
pub(super) fn bind(address: &str) -> Result<TcpListener> {
    let bound = match address.parse::<u16>() {
        Ok(port) => TcpListener::bind(("127.0.0.1", port)),
        Err(_) => TcpListener::bind(address),
    };
    let ready = bound.and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    ready.map_err(|error| {
        let action = format!("can't listen at {address}");
        Error::new(ErrorKind::Io, "", action).because(error).into()
    })
}

/// Answers until `stop`; `look` makes the page anew for each request of it. A client that misbehaves is dropped.
pub(super) fn serve(
    listener: &TcpListener,
    look: &mut dyn FnMut() -> Result<String>,
    stop: &dyn Fn() -> bool,
) -> Result<()> {
    while !stop() {
        let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, LOOK) {
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(errno) => {
                let action = "waiting for connections failed";
                let error = Error::new(ErrorKind::Io, "", action);
                return Err(error.because(io::Error::from(errno)).into());
            }
        }
        match listener.accept() {
            Ok((stream, client)) => {
                let wanted = request(&stream);
                // The device's failure is ours; the client's is its own.
                let page = match wanted {
                    Ok(Wanted::Metrics) => Some(look()?),
                    _ => None,
                };
                let answered = wanted.and_then(|wanted| answer(&stream, &wanted, page));
                if let Err(error) = answered {
                    log::debug!("{client}: {error}");
                }
            }
            // Gone before it was taken.
            Err(error) => log::debug!("a connection could not be taken: {error}"),
        }
    }
    Ok(())
}

/// Reads a request up to its empty line.
fn request(mut stream: &TcpStream) -> io::Result<Wanted> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut bytes = Vec::new();
    let mut piece = [0; 1024];
    while !bytes.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = stream.read(&mut piece)?;
        if count == 0 || bytes.len() + count > MOST {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "no HTTP request of a sane length",
            ));
        }
        bytes.extend_from_slice(&piece[..count]);
    }
    Ok(wanted(&bytes))
}

fn wanted(request: &[u8]) -> Wanted {
    let line = request.split(|&byte| byte == b'\r').next();
    let line = String::from_utf8_lossy(line.unwrap_or_default());
    let mut words = line.split(' ');
    let path = |target| str::split(target, '?').next();
    match (words.next(), words.next().and_then(path)) {
        (Some("GET"), Some("/metrics")) => Wanted::Metrics,
        (Some("GET"), Some("/")) => Wanted::Index,
        (Some("GET"), Some(_)) => Wanted::Unknown,
        _ => Wanted::BadMethod,
    }
}

fn answer(mut stream: &TcpStream, wanted: &Wanted, page: Option<String>) -> io::Result<()> {
    let (status, body) = match (wanted, page) {
        (_, Some(page)) => ("200 OK", page),
        (Wanted::Index, None) => ("200 OK", "hailoctl monitor: see /metrics\n".to_owned()),
        (Wanted::BadMethod, None) => ("405 Method Not Allowed", "GET only\n".to_owned()),
        _ => ("404 Not Found", "see /metrics\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn asked(request: &'static [u8]) -> String {
        let listener = bind("0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = std::thread::spawn(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            let mut answer = String::new();
            // A server that drops us in the middle resets the connection.
            stream
                .write_all(request)
                .and_then(|()| stream.shutdown(std::net::Shutdown::Write))
                .and_then(|()| stream.read_to_string(&mut answer))
                .map_or_else(|_| String::new(), |_| answer)
        });
        let rounds = Cell::new(0);
        let stop = || {
            rounds.set(rounds.get() + 1);
            client.is_finished()
        };
        serve(&listener, &mut || Ok("page\n".to_owned()), &stop).unwrap();
        client.join().unwrap()
    }

    #[test]
    fn the_page_is_served_and_nothing_else_is() {
        let page = asked(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n") && page.ends_with("\r\n\r\npage\n"));
        assert!(page.contains("Content-Length: 5\r\n"));
        assert!(asked(b"GET /metrics?chip=0 HTTP/1.1\r\n\r\n").ends_with("page\n"));
        assert!(asked(b"GET /else HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"));
        assert!(asked(b"POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405"));
    }

    #[test]
    fn clients_that_say_nothing_sensible_get_nothing() {
        assert_eq!(asked(b"GET /metrics HTTP/1.1\r\n"), "");
        assert_eq!(asked(&[b'x'; MOST + 1]), "");
    }
}

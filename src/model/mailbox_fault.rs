//! What the driver on a software chip does wrong with its mailbox on request.

use std::fmt;

use crate::spec::control::code;

/// How an exchange goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MailboxWrong {
    /// The request is answered with this status. It is carried out where that is none of an error, so not negative.
    Status(i32),
    /// The response has the code of another request.
    WrongCode,
    /// The interrupt comes, but the request still lies where the response should.
    NoWrite,
    /// The interrupt of the response comes again, when nothing is asked.
    Again,
    /// With the response comes the interrupt that tells of a close, and no session was closed.
    StrayClose,
    /// A CONNECT is not carried out, and answered with these channels: to the chip, and to the host.
    Channels(u8, u8),
}

/// A [`MailboxWrong`] with the requests that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailboxFault {
    /// What goes wrong.
    pub what: MailboxWrong,
    /// For requests with this code only.
    pub code: Option<u32>,
    /// So many requests go well before.
    pub skip: u32,
}

/// Requests by name.
const REQUESTS: [(&str, u32); 4] = [
    ("connect", code::CONNECT),
    ("close", code::CLOSE),
    ("query", code::QUERY_DRIVER_INFO),
    ("power-off", code::POWER_OFF),
];

impl MailboxFault {
    /// `NAME[=VALUE][@REQUEST][+SKIP]`, already split at `=`.
    pub(super) fn parse(name: &str, value: Option<&str>) -> Option<Self> {
        let name = name.strip_prefix("mailbox-")?;
        // The part behind the name or the value tells which requests.
        let text = value.unwrap_or(name);
        let (own, rest) = text.split_at(text.find(['@', '+']).unwrap_or(text.len()));
        let (name, value) = match value {
            Some(_) => (name, Some(own)),
            None => (own, None),
        };
        let (request, skip) = match rest.split_once('+') {
            Some((request, skip)) => (request, skip.parse().ok()?),
            None => (rest, 0),
        };
        let code = match request.strip_prefix('@') {
            Some(wanted) => Some(REQUESTS.iter().find(|(name, _)| *name == wanted)?.1),
            None if request.is_empty() => None,
            None => return None,
        };
        let what = match name {
            "status" => MailboxWrong::Status(value?.parse().ok()?),
            "channels" => {
                let (to_chip, to_host) = value?.split_once('/')?;
                MailboxWrong::Channels(to_chip.parse().ok()?, to_host.parse().ok()?)
            }
            _ if value.is_some() => return None,
            "wrong-code" => MailboxWrong::WrongCode,
            "no-write" => MailboxWrong::NoWrite,
            "again" => MailboxWrong::Again,
            "stray-close" => MailboxWrong::StrayClose,
            _ => return None,
        };
        Some(Self { what, code, skip })
    }

    /// Whether it is for requests with this code.
    pub(super) fn is_for(&self, request: u32) -> bool {
        let any = !matches!(self.what, MailboxWrong::Channels(..));
        (any || request == code::CONNECT) && self.code.is_none_or(|wanted| wanted == request)
    }
}

impl fmt::Display for MailboxFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("mailbox-")?;
        match self.what {
            MailboxWrong::Status(status) => write!(f, "status={status}"),
            MailboxWrong::WrongCode => f.write_str("wrong-code"),
            MailboxWrong::NoWrite => f.write_str("no-write"),
            MailboxWrong::Again => f.write_str("again"),
            MailboxWrong::StrayClose => f.write_str("stray-close"),
            MailboxWrong::Channels(to_chip, to_host) => write!(f, "channels={to_chip}/{to_host}"),
        }?;
        let request = REQUESTS.iter().find(|(_, code)| Some(*code) == self.code);
        if let Some((name, _)) = request {
            write!(f, "@{name}")?;
        }
        if self.skip > 0 {
            write!(f, "+{}", self.skip)?;
        }
        Ok(())
    }
}

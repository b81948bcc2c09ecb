//! What the RPC server of a software chip does wrong on request.

use std::fmt;
use std::time::Duration;

/// How a reply goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RpcWrong {
    /// The reply comes so much later.
    Slow(Duration),
    /// No reply.
    Drop,
    /// The reply comes twice.
    Twice,
    /// The reply has another message id.
    WrongId,
    /// The reply has the action of another method.
    WrongAction,
    /// The reply is an error with this status.
    Status(u32),
    /// The reply has a wrong magic.
    BadMagic,
    /// The reply claims 2049 bytes of body.
    BadSize,
    /// The body of the reply makes no sense.
    BadBody,
    /// The session is closed instead of a reply.
    Close,
    /// The session is closed after the reply's message, before its buffers.
    CloseEarly,
    /// The session is closed in the middle of the first buffer of the reply; with less than two pages to send, in front
    /// of it.
    CloseInOutput,
    /// The last buffer of the reply is a byte short.
    ShortOutput,
    /// The session is closed while the first buffer of the request arrives.
    CloseInInput,
    /// So many notifications come in front of the reply; of a reply that registers for one, these.
    Storm(u32),
    /// The server dies instead of replying, and listens again after this time.
    Die(Duration),
}

/// A [`RpcWrong`] with the replies that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RpcFault {
    /// What goes wrong.
    pub what: RpcWrong,
    /// For replies to this method only, by the number on the wire.
    pub method: Option<u32>,
    /// So many replies go well before.
    pub skip: u32,
}

impl RpcFault {
    /// `NAME[=VALUE][@METHOD][+SKIP]`, already split at `=`.
    pub(super) fn parse(name: &str, value: Option<&str>) -> Option<Self> {
        let name = name.strip_prefix("rpc-")?;
        // The part behind the name or the value tells which replies.
        let (name, value, rest) = match value {
            Some(value) => {
                let end = value.find(['@', '+']).unwrap_or(value.len());
                (name, Some(&value[..end]), &value[end..])
            }
            None => {
                let end = name.find(['@', '+']).unwrap_or(name.len());
                (&name[..end], None, &name[end..])
            }
        };
        let (method, skip) = match rest.split_once('+') {
            Some((method, skip)) => (method, skip.parse().ok()?),
            None => (rest, 0),
        };
        let method = match method.strip_prefix('@') {
            Some(number) => Some(number.parse().ok()?),
            None if method.is_empty() => None,
            None => return None,
        };
        let number = || value?.parse::<u32>().ok();
        let time = || Some(Duration::from_millis(value?.parse().ok()?));
        let what = match name {
            "slow" => RpcWrong::Slow(time()?),
            "status" => RpcWrong::Status(number()?),
            "storm" => RpcWrong::Storm(number()?),
            "die" => RpcWrong::Die(time()?),
            _ if value.is_some() => return None,
            "drop" => RpcWrong::Drop,
            "twice" => RpcWrong::Twice,
            "wrong-id" => RpcWrong::WrongId,
            "wrong-action" => RpcWrong::WrongAction,
            "bad-body" => RpcWrong::BadBody,
            "close-in-output" => RpcWrong::CloseInOutput,
            "bad-magic" => RpcWrong::BadMagic,
            "bad-size" => RpcWrong::BadSize,
            "close" => RpcWrong::Close,
            "close-early" => RpcWrong::CloseEarly,
            "short-output" => RpcWrong::ShortOutput,
            "close-in-input" => RpcWrong::CloseInInput,
            _ => return None,
        };
        Some(Self { what, method, skip })
    }
}

impl fmt::Display for RpcFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rpc-")?;
        match self.what {
            RpcWrong::Slow(time) => write!(f, "slow={}", time.as_millis()),
            RpcWrong::Drop => f.write_str("drop"),
            RpcWrong::Twice => f.write_str("twice"),
            RpcWrong::WrongId => f.write_str("wrong-id"),
            RpcWrong::WrongAction => f.write_str("wrong-action"),
            RpcWrong::BadBody => f.write_str("bad-body"),
            RpcWrong::CloseInOutput => f.write_str("close-in-output"),
            RpcWrong::Status(status) => write!(f, "status={status}"),
            RpcWrong::BadMagic => f.write_str("bad-magic"),
            RpcWrong::BadSize => f.write_str("bad-size"),
            RpcWrong::Close => f.write_str("close"),
            RpcWrong::CloseEarly => f.write_str("close-early"),
            RpcWrong::ShortOutput => f.write_str("short-output"),
            RpcWrong::CloseInInput => f.write_str("close-in-input"),
            RpcWrong::Storm(count) => write!(f, "storm={count}"),
            RpcWrong::Die(time) => write!(f, "die={}", time.as_millis()),
        }?;
        if let Some(method) = self.method {
            write!(f, "@{method}")?;
        }
        if self.skip > 0 {
            write!(f, "+{}", self.skip)?;
        }
        Ok(())
    }
}

//! What the firmware of NNC mode does wrong on request.

use std::fmt;
use std::time::Duration;

/// How the firmware goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NncWrong {
    /// No response, though the control is carried out.
    Drop,
    /// A response without its interrupt.
    LoseInterrupt,
    /// The response comes so much later; other controls are served meanwhile.
    Late(Duration),
    /// The response's MD5 is wrong.
    BadDigest,
    /// The response claims 1501 bytes.
    BadSize,
    /// The response has another opcode.
    WrongOpcode,
    /// The response is marked as a request.
    NotAcknowledged,
    /// The response has protocol version 1.
    BadVersion,
    /// The response has a byte too many.
    LongResponse,
    /// The control is not carried out, and refused with this major status.
    Status(u32),
    /// The firmware is back in the boot ROM instead of answering.
    Reset,
    /// So many notifications come in front of the response.
    Storm(u32),
    /// A notification of this number; also one that no firmware knows.
    Event(u32),
    /// A notification of this number that tells a wrong number of parameters.
    EventCount(u32),
    /// A notification of so many bytes, of which the first are a temperature alarm.
    EventSize(u32),
    /// So many bytes into each log ring at once.
    LogFlood(u32),
    /// The firmware's offset in both log rings becomes this.
    LogOffset(u32),
    /// Driver-down is never acknowledged.
    NoDriverDown,
    /// A soft reset by doorbell does nothing.
    NoReset,
    /// The action with this index fails in the next dynamic context that comes to it.
    FailAction(u32),
    /// The channel stops in the middle of a frame.
    StopChannel(u32),
    /// The next interrupt of a boundary channel is lost.
    LoseBoundaryInterrupt,
    /// The next action that waits never ends.
    StuckWait,
}

impl NncWrong {
    /// Whether it strikes where a control is answered.
    pub(in crate::model) const fn is_of_response(self) -> bool {
        matches!(
            self,
            Self::Drop
                | Self::LoseInterrupt
                | Self::Late(_)
                | Self::BadDigest
                | Self::BadSize
                | Self::WrongOpcode
                | Self::NotAcknowledged
                | Self::BadVersion
                | Self::LongResponse
        )
    }

    /// Whether it happens by itself, or after a control where the plan names one.
    pub(in crate::model) const fn is_spontaneous(self) -> bool {
        matches!(
            self,
            Self::Event(_)
                | Self::EventCount(_)
                | Self::EventSize(_)
                | Self::LogFlood(_)
                | Self::LogOffset(_)
        )
    }
}

/// A [`NncWrong`] with the controls that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NncFault {
    /// What goes wrong.
    pub what: NncWrong,
    /// With this opcode only.
    pub opcode: Option<u32>,
    /// So many times it goes well before.
    pub skip: u32,
}

impl NncFault {
    /// `NAME[=VALUE][@OPCODE][+SKIP]`, already split at `=`.
    pub(in crate::model) fn parse(name: &str, value: Option<&str>) -> Option<Self> {
        let name = name.strip_prefix("nnc-")?;
        // The part behind the name or the value tells which controls.
        let text = value.unwrap_or(name);
        let (own, rest) = text.split_at(text.find(['@', '+']).unwrap_or(text.len()));
        let (name, value) = match value {
            Some(_) => (name, Some(own)),
            None => (own, None),
        };
        let (opcode, skip) = match rest.split_once('+') {
            Some((opcode, skip)) => (opcode, skip.parse().ok()?),
            None => (rest, 0),
        };
        let opcode = match opcode.strip_prefix('@') {
            Some(number) => Some(number.parse().ok()?),
            None if opcode.is_empty() => None,
            None => return None,
        };
        let number = || match value?.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16).ok(),
            None => value?.parse().ok(),
        };
        let what = match name {
            "late" => NncWrong::Late(Duration::from_millis(number()?.into())),
            "status" => NncWrong::Status(number()?),
            "storm" => NncWrong::Storm(number()?),
            "event" => NncWrong::Event(number()?),
            "event-count" => NncWrong::EventCount(number()?),
            "event-size" => NncWrong::EventSize(number()?),
            "log-flood" => NncWrong::LogFlood(number()?),
            "log-offset" => NncWrong::LogOffset(number()?),
            "fail-action" => NncWrong::FailAction(number()?),
            "stop-channel" => NncWrong::StopChannel(number()?),
            _ if value.is_some() => return None,
            "drop" => NncWrong::Drop,
            "lose-irq" => NncWrong::LoseInterrupt,
            "bad-md5" => NncWrong::BadDigest,
            "bad-size" => NncWrong::BadSize,
            "wrong-opcode" => NncWrong::WrongOpcode,
            "no-ack" => NncWrong::NotAcknowledged,
            "bad-version" => NncWrong::BadVersion,
            "long" => NncWrong::LongResponse,
            "reset" => NncWrong::Reset,
            "no-driver-down" => NncWrong::NoDriverDown,
            "no-reset" => NncWrong::NoReset,
            "lose-boundary-irq" => NncWrong::LoseBoundaryInterrupt,
            "stuck-wait" => NncWrong::StuckWait,
            _ => return None,
        };
        Some(Self { what, opcode, skip })
    }
}

impl fmt::Display for NncFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nnc-")?;
        match self.what {
            NncWrong::Drop => f.write_str("drop"),
            NncWrong::LoseInterrupt => f.write_str("lose-irq"),
            NncWrong::Late(time) => write!(f, "late={}", time.as_millis()),
            NncWrong::BadDigest => f.write_str("bad-md5"),
            NncWrong::BadSize => f.write_str("bad-size"),
            NncWrong::WrongOpcode => f.write_str("wrong-opcode"),
            NncWrong::NotAcknowledged => f.write_str("no-ack"),
            NncWrong::BadVersion => f.write_str("bad-version"),
            NncWrong::LongResponse => f.write_str("long"),
            NncWrong::Status(status) => write!(f, "status={status:#x}"),
            NncWrong::Reset => f.write_str("reset"),
            NncWrong::Storm(count) => write!(f, "storm={count}"),
            NncWrong::Event(id) => write!(f, "event={id}"),
            NncWrong::EventCount(id) => write!(f, "event-count={id}"),
            NncWrong::EventSize(bytes) => write!(f, "event-size={bytes}"),
            NncWrong::LogFlood(bytes) => write!(f, "log-flood={bytes}"),
            NncWrong::LogOffset(offset) => write!(f, "log-offset={offset}"),
            NncWrong::NoDriverDown => f.write_str("no-driver-down"),
            NncWrong::NoReset => f.write_str("no-reset"),
            NncWrong::FailAction(action) => write!(f, "fail-action={action}"),
            NncWrong::StopChannel(channel) => write!(f, "stop-channel={channel}"),
            NncWrong::LoseBoundaryInterrupt => f.write_str("lose-boundary-irq"),
            NncWrong::StuckWait => f.write_str("stuck-wait"),
        }?;
        if let Some(opcode) = self.opcode {
            write!(f, "@{opcode}")?;
        }
        if self.skip > 0 {
            write!(f, "+{}", self.skip)?;
        }
        Ok(())
    }
}

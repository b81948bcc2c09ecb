//! What a software chip does wrong on request.
//!
//! Faults are looked for where they would strike; [`FaultPlan`] holds the list and its text form.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::mailbox_fault::{MailboxFault, MailboxWrong};
use super::nnc::{NncFault, NncWrong};
use super::profile::parse_sku;
use super::rpc_fault::{RpcFault, RpcWrong};
use crate::spec::board::Sku;
use crate::spec::firmware::Version;

/// One thing that goes wrong; [`FaultPlan`] has the details.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The stage never completes.
    StallStage(u32),
    /// The stage fails with a diagnosis.
    FailStage(u32),
    /// The chip resets itself in the stage.
    ResetAtStage(u32),
    /// Uploads fail after so many bytes.
    FailAfter(u64),
    /// The next interrupt message is lost.
    LoseInterrupt,
    /// An interrupt message without a cause.
    SpuriousInterrupt,
    /// A cause that comes back so many times.
    InterruptStorm(u32),
    /// The card leaves the bus after so many BAR accesses.
    AllOnesAfter(u64),
    /// The descriptor with this index fails.
    DescriptorError(u32),
    /// The channel moves nothing.
    StuckChannel(u32),
    /// The engine writes to a bus address that nobody gave it.
    StrayDma(u64),
    /// QUERY_DRIVER_INFO reports this.
    WrongVersion(Version),
    /// A mailbox request is never answered.
    NoResponse,
    /// The board is this SKU.
    Sku(Sku),
    /// Boot stages and mailbox answers take this much longer.
    Slow(Duration),
    /// CONNECT is answered with this status.
    ConnectStatus(i32),
    /// The chip closes a session as soon as it was accepted.
    DropSession,
    /// The RPC server sends the notification of this id to who registered for it.
    Notify(u32),
    /// An exchange with the mailbox goes wrong.
    Mailbox(MailboxFault),
    /// A reply of the RPC server goes wrong.
    Rpc(RpcFault),
    /// The firmware of NNC mode goes wrong.
    Nnc(NncFault),
}

const STORM: u32 = 1000;
const WRONG_VERSION: Version = Version::new(9, 9, 9);

/// How often a fault fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// This often, then never again.
    Count(u32),
    /// Whenever it can.
    Always,
}

impl Fault {
    /// How often the fault fires where nothing else is said.
    #[must_use]
    pub fn usual_times(self) -> Times {
        match self {
            Self::Sku(_) | Self::Slow(_) => Times::Always,
            _ => Times::Count(1),
        }
    }

    /// Whether it is for the RPC server.
    pub(super) fn is_rpc(self) -> bool {
        matches!(self, Self::Rpc(_) | Self::Notify(_))
    }

    fn parse(name: &str, value: Option<&str>) -> Option<Self> {
        fn number<T: FromStr>(value: Option<&str>) -> Option<T> {
            value?.parse().ok()
        }
        let fault = match name {
            "stall-stage" => Self::StallStage(number(value)?),
            "fail-stage" => Self::FailStage(number(value)?),
            "reset-at-stage" => Self::ResetAtStage(number(value)?),
            "fail-after" => Self::FailAfter(number(value)?),
            "irq-storm" if value.is_none() => Self::InterruptStorm(STORM),
            "irq-storm" => Self::InterruptStorm(number(value)?),
            "all-ones-after" => Self::AllOnesAfter(number(value)?),
            "descriptor-error" => Self::DescriptorError(number(value)?),
            "stuck-channel" => Self::StuckChannel(number(value)?),
            "stray-dma" => Self::StrayDma(number(value)?),
            "wrong-version" if value.is_none() => Self::WrongVersion(WRONG_VERSION),
            "wrong-version" => Self::WrongVersion(number(value)?),
            "sku" => Self::Sku(parse_sku(value?)?),
            "slow" => Self::Slow(Duration::from_millis(number(value)?)),
            "lose-irq" if value.is_none() => Self::LoseInterrupt,
            "spurious-irq" if value.is_none() => Self::SpuriousInterrupt,
            "connect-status" => Self::ConnectStatus(number(value)?),
            "drop-session" if value.is_none() => Self::DropSession,
            "notify" => Self::Notify(number(value)?),
            "no-response" if value.is_none() => Self::NoResponse,
            _ if name.starts_with("mailbox-") => Self::Mailbox(MailboxFault::parse(name, value)?),
            _ if name.starts_with("nnc-") => Self::Nnc(NncFault::parse(name, value)?),
            _ => Self::Rpc(RpcFault::parse(name, value)?),
        };
        Some(fault)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StallStage(stage) => write!(f, "stall-stage={stage}"),
            Self::FailStage(stage) => write!(f, "fail-stage={stage}"),
            Self::ResetAtStage(stage) => write!(f, "reset-at-stage={stage}"),
            Self::FailAfter(bytes) => write!(f, "fail-after={bytes}"),
            Self::LoseInterrupt => f.write_str("lose-irq"),
            Self::SpuriousInterrupt => f.write_str("spurious-irq"),
            Self::InterruptStorm(times) => write!(f, "irq-storm={times}"),
            Self::AllOnesAfter(accesses) => write!(f, "all-ones-after={accesses}"),
            Self::DescriptorError(index) => write!(f, "descriptor-error={index}"),
            Self::StuckChannel(channel) => write!(f, "stuck-channel={channel}"),
            Self::StrayDma(address) => write!(f, "stray-dma={address}"),
            Self::WrongVersion(version) => write!(f, "wrong-version={version}"),
            Self::NoResponse => f.write_str("no-response"),
            Self::Sku(sku) => write!(f, "sku={sku}"),
            Self::ConnectStatus(status) => write!(f, "connect-status={status}"),
            Self::Notify(id) => write!(f, "notify={id}"),
            Self::Mailbox(fault) => write!(f, "{fault}"),
            Self::Rpc(fault) => write!(f, "{fault}"),
            Self::Nnc(fault) => write!(f, "{fault}"),
            Self::DropSession => f.write_str("drop-session"),
            Self::Slow(time) => write!(f, "slow={}", time.as_millis()),
        }
    }
}

/// A fault and how often it is still to fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Planned {
    fault: Fault,
    times: Times,
}

/// The faults that a chip has still to show. The default is none.
///
/// As text a plan is a list of faults with `,` or `;` between them, each `NAME[=VALUE][:TIMES]`. TIMES is
/// `once`, `always` or a number; without it `sku` and `slow` hold always, all others fire once. Faults of the RPC
/// server (`rpc-…`) can end in `@METHOD`, the number of a method on the wire, and `+SKIP`, so many replies that go
/// well before: `rpc-status=82@18+5` is for the sixth reply to method 18. Faults of the firmware in NNC mode (`nnc-…`)
/// can end in `@OPCODE` and `+SKIP` in the same way: `nnc-late=1500@37`; those of the mailbox (`mailbox-…`) in `@connect`,
/// `@close`, `@query` or `@power-off`, and `+SKIP`.
///
/// | text | what happens |
/// |---|---|
/// | `stall-stage=N` | stage N is started and never completes |
/// | `fail-stage=N` | stage N fails with a diagnosis, as with a bad signature |
/// | `reset-at-stage=N` | the chip resets itself in stage N (when its trigger is written, or its first bytes have moved) |
/// | `fail-after=BYTES` | after so many bytes of firmware, by window and DMA together: windows drop writes, DMA fails, until the next reset |
/// | `lose-irq` | the next interrupt message is not sent; its cause stays pending |
/// | `spurious-irq` | an interrupt message without a cause, when interrupts are next enabled |
/// | `irq-storm[=N]` | N times (1000) a cause comes back when it is acknowledged |
/// | `all-ones-after=N` | after N BAR accesses the card is off the bus: everything reads all ones, until the slot is reset or a host attaches |
/// | `descriptor-error=K` | the descriptor with index K fails, in the first channel that comes to it |
/// | `stuck-channel=C` | channel C moves nothing, until the next reset |
/// | `stray-dma=ADDRESS` | before a batch of descriptors the engine writes 16 bytes to this bus address, as mad firmware might |
/// | `wrong-version[=V]` | QUERY_DRIVER_INFO reports V (9.9.9) |
/// | `no-response` | a mailbox request is never answered |
/// | `connect-status=N` | CONNECT is answered with status N, a negated Linux error number |
/// | `drop-session` | the chip closes a session as soon as the host has started its channels |
/// | `notify=ID` | the RPC server sends notification 1, 3, 13 or 14 to a client that registered for it |
/// | `mailbox-status=N` | a request in the mailbox is answered with status N: a negated Linux error number, then it is not carried out; any other number, then it is |
/// | `mailbox-wrong-code`, `mailbox-no-write` | a response has the code of another request; or is not written at all, though its interrupt comes |
/// | `mailbox-again`, `mailbox-stray-close` | the interrupt of a response comes once more, when nothing is asked; with a response comes the interrupt of a close that was none |
/// | `mailbox-channels=IN/OUT` | CONNECT is answered with these channels, and nothing is connected |
/// | `rpc-slow=MS` | a reply comes later |
/// | `rpc-drop`, `rpc-twice` | a reply never comes, comes twice |
/// | `rpc-wrong-id`, `rpc-wrong-action` | a reply has another message id, the action of another method |
/// | `rpc-status=N` | a reply is an error with status N |
/// | `rpc-bad-magic`, `rpc-bad-size`, `rpc-bad-body` | a reply has a wrong magic, claims 2049 bytes, has a body that makes no sense |
/// | `rpc-close`, `rpc-close-early`, `rpc-close-in-output` | the session is closed instead of a reply, between its message and its buffers, in the middle of the first of these |
/// | `rpc-short-output` | the last buffer of a reply is a byte short |
/// | `rpc-close-in-input` | the session is closed while a buffer of a request arrives |
/// | `rpc-storm=N` | N notifications come in front of a reply; with `@33` those that it registers for |
/// | `rpc-die=MS` | the server dies instead of replying, and listens again after so long |
/// | `nnc-drop`, `nnc-lose-irq`, `nnc-late=MS` | a response never comes, comes without its interrupt, comes later (other controls are served meanwhile) |
/// | `nnc-bad-md5`, `nnc-bad-size`, `nnc-wrong-opcode`, `nnc-no-ack`, `nnc-bad-version`, `nnc-long` | a response is damaged: its MD5, a length of 1501, another opcode, no acknowledge bit, version 1, a byte too many |
/// | `nnc-status=N` | a control is refused with major status N (0x… too) |
/// | `nnc-reset` | the firmware falls back into the boot ROM instead of answering |
/// | `nnc-storm=N` | N notifications come in front of a response |
/// | `nnc-event=ID`, `nnc-event-count=ID`, `nnc-event-size=BYTES` | a notification: of this number, with a wrong count of parameters, of so many bytes; at once, or after a control with `@OPCODE` |
/// | `nnc-log-flood=BYTES`, `nnc-log-offset=N` | so many bytes into both log rings; an offset of the firmware there |
/// | `nnc-no-driver-down`, `nnc-no-reset` | driver-down is not acknowledged; a soft reset does nothing |
/// | `nnc-fail-action=K`, `nnc-stuck-wait` | action K of the next dynamic context fails; the next waiting action never ends |
/// | `nnc-stop-channel=C`, `nnc-lose-boundary-irq` | channel C stops in mid-frame; the next interrupt of a boundary channel is lost |
/// | `sku=N` | the board says that it is SKU N (`default` or 0..63) |
/// | `slow=MS` | a boot stage or mailbox answer takes so many milliseconds longer |
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultPlan(Vec<Planned>);

impl FaultPlan {
    /// Adds a fault that fires as often as is usual for it.
    pub fn add(&mut self, fault: Fault) {
        self.add_times(fault, fault.usual_times());
    }

    /// Adds a fault that fires `times`.
    pub fn add_times(&mut self, fault: Fault, times: Times) {
        self.0.push(Planned { fault, times });
    }

    /// The first fault from which `pick` takes something, counted as fired.
    pub(super) fn fire<T>(&mut self, pick: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        let place = self
            .0
            .iter()
            .position(|planned| pick(&planned.fault).is_some())?;
        let picked = pick(&self.0[place].fault);
        match &mut self.0[place].times {
            Times::Always => {}
            Times::Count(left) if *left > 1 => *left -= 1,
            Times::Count(_) => {
                self.0.remove(place);
            }
        }
        picked
    }

    /// The faults of the RPC server, which has its own plan.
    pub(super) fn split_rpc(&mut self) -> Self {
        let (rpc, others) = self.0.drain(..).partition(|planned| planned.fault.is_rpc());
        self.0 = others;
        Self(rpc)
    }

    /// What goes wrong with a reply to the method with this number; counted as fired. `wanted` picks kinds.
    pub(super) fn fire_rpc(
        &mut self,
        method: u32,
        wanted: impl Fn(RpcWrong) -> bool,
    ) -> Option<RpcWrong> {
        let due = |planned: &mut Planned| match &mut planned.fault {
            Fault::Rpc(fault)
                if fault.method.is_none_or(|number| number == method) && wanted(fault.what) =>
            {
                let due = fault.skip == 0;
                fault.skip = fault.skip.saturating_sub(1);
                due.then_some(*fault)
            }
            _ => None,
        };
        let fault = self.0.iter_mut().find_map(due)?;
        self.fires(Fault::Rpc(fault)).then_some(fault.what)
    }

    /// Whether something of the kind that `wanted` picks goes wrong with the next reply to this method; not counted.
    pub(super) fn plans_rpc(&self, method: u32, wanted: impl Fn(RpcWrong) -> bool) -> bool {
        let mut planned = self.0.iter();
        planned.any(|planned| match planned.fault {
            Fault::Rpc(fault) => {
                fault.method.is_none_or(|number| number == method)
                    && wanted(fault.what)
                    && fault.skip == 0
            }
            _ => false,
        })
    }

    /// What goes wrong with a request in the mailbox that has this code; counted as fired.
    pub(super) fn fire_mailbox(&mut self, code: u32) -> Option<MailboxWrong> {
        let due = |planned: &mut Planned| match &mut planned.fault {
            Fault::Mailbox(fault) if fault.is_for(code) => {
                let due = fault.skip == 0;
                fault.skip = fault.skip.saturating_sub(1);
                due.then_some(*fault)
            }
            _ => None,
        };
        let fault = self.0.iter_mut().find_map(due)?;
        self.fires(Fault::Mailbox(fault)).then_some(fault.what)
    }

    /// What goes wrong with the firmware of NNC mode, by a control with this opcode or by itself; counted as fired.
    /// `wanted` picks kinds.
    pub(super) fn fire_nnc(
        &mut self,
        opcode: Option<u32>,
        wanted: impl Fn(NncWrong) -> bool,
    ) -> Option<NncWrong> {
        let due = |planned: &mut Planned| match &mut planned.fault {
            Fault::Nnc(fault)
                if (fault.opcode.is_none() || fault.opcode == opcode) && wanted(fault.what) =>
            {
                let due = fault.skip == 0;
                fault.skip = fault.skip.saturating_sub(1);
                due.then_some(*fault)
            }
            _ => None,
        };
        let fault = self.0.iter_mut().find_map(due)?;
        self.fires(Fault::Nnc(fault)).then_some(fault.what)
    }

    /// Whether exactly this fault is due; counted as fired.
    pub(super) fn fires(&mut self, fault: Fault) -> bool {
        self.fire(|planned| (*planned == fault).then_some(()))
            .is_some()
    }

    /// Whether nothing is planned: the common case, tested on every access.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What `pick` takes from the first fault that has it, without firing.
    pub(super) fn look<T>(&self, pick: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(|planned| pick(&planned.fault))
    }
}

/// The text is no fault plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a fault: {0:?} (expected NAME[=VALUE][:once|:always|:COUNT] with NAME one of stall-stage, \
     fail-stage, reset-at-stage, fail-after, lose-irq, spurious-irq, irq-storm, all-ones-after, \
     descriptor-error, stuck-channel, stray-dma, wrong-version, no-response, connect-status, \
     drop-session, notify, mailbox-status, mailbox-wrong-code, mailbox-no-write, mailbox-again, \
     mailbox-stray-close, mailbox-channels, rpc-slow, rpc-drop, rpc-twice, rpc-wrong-id, rpc-wrong-action, \
     rpc-status, rpc-bad-magic, rpc-bad-size, rpc-bad-body, rpc-close, rpc-close-early, rpc-close-in-output, \
     rpc-short-output, rpc-close-in-input, rpc-storm, rpc-die, nnc-drop, nnc-lose-irq, nnc-late, nnc-bad-md5, nnc-bad-size, nnc-wrong-opcode, nnc-no-ack, \
     nnc-bad-version, nnc-long, nnc-status, nnc-reset, nnc-storm, nnc-event, nnc-event-count, \
     nnc-event-size, nnc-log-flood, nnc-log-offset, nnc-no-driver-down, nnc-no-reset, nnc-fail-action, \
     nnc-stop-channel, nnc-lose-boundary-irq, nnc-stuck-wait, sku, slow)"
)]
pub struct FaultError(pub String);

impl FromStr for FaultPlan {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let mut plan = Self::default();
        if text.is_empty() || text == "none" {
            return Ok(plan);
        }
        for part in text.split([',', ';']) {
            let bad = || FaultError(part.to_owned());
            let (what, times) = match part.split_once(':') {
                Some((what, times)) => (what, Some(times)),
                None => (part, None),
            };
            let (name, value) = match what.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (what, None),
            };
            let fault = Fault::parse(name, value).ok_or_else(bad)?;
            let times = match times {
                None => fault.usual_times(),
                Some("once") => Times::Count(1),
                Some("always") => Times::Always,
                Some(digits) => digits
                    .parse()
                    .ok()
                    .filter(|&count| count > 0)
                    .map(Times::Count)
                    .ok_or_else(bad)?,
            };
            plan.add_times(fault, times);
        }
        Ok(plan)
    }
}

impl fmt::Display for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (place, planned) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(",")?;
            }
            write!(f, "{}", planned.fault)?;
            match planned.times {
                times if times == planned.fault.usual_times() => {}
                Times::Always => f.write_str(":always")?,
                Times::Count(1) => f.write_str(":once")?,
                Times::Count(count) => write!(f, ":{count}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_reads_back_as_it_prints() {
        for text in [
            "none",
            "stall-stage=2",
            "fail-stage=1:3,reset-at-stage=3:always",
            "fail-after=1000,lose-irq,spurious-irq,irq-storm=50",
            "all-ones-after=100,descriptor-error=7,stuck-channel=1,stray-dma=36864",
            "wrong-version=9.9.9,no-response:always,sku=5,sku=default:once,slow=250",
            "connect-status=-11:3,drop-session,notify=14",
            "rpc-slow=11000,rpc-drop@18,rpc-twice@4+2:always,rpc-wrong-id+7,rpc-status=82@18+5:2",
            "rpc-bad-magic,rpc-bad-size,rpc-close,rpc-close-early@18,rpc-short-output",
            "rpc-wrong-action@24,rpc-bad-body,rpc-close-in-output@18+2",
            "mailbox-status=-22@close+1:2,mailbox-wrong-code@query,mailbox-no-write@connect,mailbox-again",
            "mailbox-stray-close+3,mailbox-channels=3/40,mailbox-status=5@power-off",
            "nnc-drop,nnc-lose-irq@0,nnc-late=1500@37+2:always,nnc-bad-md5,nnc-bad-size,nnc-wrong-opcode",
            "nnc-no-ack,nnc-bad-version,nnc-long,nnc-status=0x4013007a@33+5,nnc-reset@7,nnc-storm=500",
            "nnc-event=99,nnc-event-count=2,nnc-event-size=1501@0,nnc-log-flood=9000,nnc-log-offset=5000",
            "nnc-no-driver-down,nnc-no-reset,nnc-fail-action=3,nnc-stop-channel=16,nnc-lose-boundary-irq",
            "nnc-stuck-wait",
            "rpc-close-in-input@2,rpc-storm=50@24,rpc-die=200+1",
        ] {
            assert_eq!(text.parse::<FaultPlan>().unwrap().to_string(), text);
        }
        let plan: FaultPlan = "irq-storm;wrong-version".parse().unwrap();
        assert_eq!(plan.to_string(), "irq-storm=1000,wrong-version=9.9.9");
    }

    #[test]
    fn what_is_no_fault_is_refused() {
        for text in [
            "stall-stage",
            "stall-stage=x",
            "lose-irq=1",
            "lose-irq:0",
            "lose-irq:",
            "lose-irq,",
            "explode",
            "rpc-drop=1",
            "rpc-status",
            "rpc-status=1@",
            "rpc-status=1+x",
            "mailbox-status",
            "mailbox-again@reset",
            "mailbox-channels=1",
            "nnc-drop=1",
            "nnc-late",
            "nnc-what",
            "nnc-event=1@x",
        ] {
            assert!(text.parse::<FaultPlan>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_fault_fires_as_often_as_planned() {
        let mut plan: FaultPlan = "lose-irq:2,slow=1".parse().unwrap();
        assert!(plan.fires(Fault::LoseInterrupt));
        assert!(plan.fires(Fault::LoseInterrupt));
        assert!(!plan.fires(Fault::LoseInterrupt));
        for _ in 0..3 {
            assert!(plan.fires(Fault::Slow(Duration::from_millis(1))));
        }
    }
}

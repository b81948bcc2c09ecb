//! The control mailbox: one request and one response at a time, in the first window of BAR 4.

use std::sync::Arc;
use std::time::Duration;

use zerocopy::{FromBytes, IntoBytes};

use crate::deadline::Deadline;
use crate::irq::{Interrupts, Waited};
use crate::spec::access_bar::doorbell;
use crate::spec::board::Board;
use crate::spec::config_bar::InterruptStatus;
use crate::spec::control::{MAILBOX, RESPONSE_TIMEOUT, Request, Response, code, software};
use crate::spec::firmware::Version;
use crate::spec::register::Bar;
use crate::spec::vdma_bar::{CHANNELS, FIRST_FROM_DEVICE};
use crate::transport::bars::Bars;
use crate::transport::{Transport, TransportError};

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The transport's failure.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The mailbox does not hold what was written; the doorbell was not rung.
    #[error("mailbox (BAR4 + {offset:#x}): wrote {wrote:#010x}, reads {found:#010x}")]
    Mismatch {
        /// Byte offset in BAR 4.
        offset: u32,
        /// What was written.
        wrote: u32,
        /// What it reads.
        found: u32,
    },
    /// No response came.
    #[error("no response to {request} ({code:#x}) in {:.1} s; the mailbox reads {found:#010x}", .waited.as_secs_f64())]
    TimedOut {
        /// Name of the request.
        request: &'static str,
        /// Its code.
        code: u32,
        /// How long it was awaited.
        waited: Duration,
        /// First word of the mailbox.
        found: u32,
    },
    /// The device refused.
    #[error("{request} was refused with status {status}")]
    Refused {
        /// Name of the request.
        request: &'static str,
        /// A negated Linux errno.
        status: i32,
    },
    /// The response makes no sense.
    #[error("response to {request}: code {found:#x} (expected {code:#x}), status {status}")]
    Malformed {
        /// Name of the request.
        request: &'static str,
        /// Code expected.
        code: u32,
        /// Code found.
        found: u32,
        /// Status found.
        status: i32,
    },
    /// CONNECT gave channels that can't be: the wrong direction, or in use.
    #[error(
        "CONNECT gave channels {to_device} and {from_device} (expected 0 to 15 and 16 to 31; in use: {busy:#010x})"
    )]
    BadChannels {
        /// Channel for data to the device.
        to_device: u32,
        /// Channel for data from the device.
        from_device: u32,
        /// Channels in use, bit n for channel n.
        busy: u32,
    },
    /// The device was lost in the middle.
    #[error("the device was lost: {0}")]
    Lost(String),
    /// Earlier requests were never answered.
    #[error("the mailbox is dead: an earlier request was never answered")]
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    /// A response is owed; a late one must not be taken for that of the next request.
    Suspect,
    Dead,
}

/// How an answer is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The interrupt thread tells of it.
    Event,
    /// This thread reads the status register over and over.
    Poll,
}

/// The mailbox of a running SoC. `&mut` keeps exchanges apart.
#[derive(Debug)]
pub struct Mailbox {
    transport: Arc<dyn Transport>,
    board: &'static Board,
    state: State,
}

fn name(code: u32) -> &'static str {
    match code {
        code::CONNECT => "CONNECT",
        code::CLOSE => "CLOSE",
        code::QUERY_DRIVER_INFO => "QUERY_DRIVER_INFO",
        code::POWER_OFF => "POWER_OFF",
        _ => "request",
    }
}

impl Mailbox {
    /// The mailbox of a device whose firmware runs.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>, board: &'static Board) -> Self {
        Self {
            transport,
            board,
            state: State::Idle,
        }
    }

    /// Sends `request` and waits for its response.
    ///
    /// # On the device
    /// Five words to BAR 4 + 0, each read back; the doorbell; then, after the interrupt, six reads.
    ///
    /// # Errors
    /// A refusal, a malformed response, no response in a second, or the transport's.
    pub fn exchange(
        &mut self,
        interrupts: &Interrupts,
        request: &Request,
    ) -> Result<Response, ControlError> {
        let (response, _) = self.transact(interrupts, request, Notice::Event)?;
        self.check(request, &response)?;
        Ok(response)
    }

    /// Asks for the version of the driver on the device, and tells how long it took from the doorbell until
    /// this thread noticed the answer.
    ///
    /// # Errors
    /// As [`Self::exchange`].
    pub fn time_answer(
        &mut self,
        interrupts: &Interrupts,
        notice: Notice,
    ) -> Result<Duration, ControlError> {
        let request = Request::plain(code::QUERY_DRIVER_INFO);
        let (response, took) = self.transact(interrupts, &request, notice)?;
        self.check(&request, &response)?;
        Ok(took)
    }

    /// Sends `request` and reads what comes back.
    fn transact(
        &mut self,
        interrupts: &Interrupts,
        request: &Request,
        notice: Notice,
    ) -> Result<(Response, Duration), ControlError> {
        let code = request.code.get();
        let request_name = name(code);
        self.settle(interrupts)?;
        interrupts.clear_software(software::SOC_CONTROL_DONE);
        for (offset, word) in (MAILBOX..)
            .step_by(4)
            .zip(request.as_bytes().as_chunks::<4>().0)
        {
            let wrote = u32::from_le_bytes(*word);
            self.transport.write32(Bar::Access, offset, wrote)?;
            let found = self.transport.read32(Bar::Access, offset)?;
            if found != wrote {
                self.transport.check_present()?;
                return Err(ControlError::Mismatch {
                    offset,
                    wrote,
                    found,
                });
            }
        }
        let held = (notice == Notice::Poll).then(|| interrupts.hold());
        let deadline = Deadline::after(RESPONSE_TIMEOUT);
        self.transport
            .write32(Bar::Access, self.board.doorbell, doorbell::SOC_CONTROL)?;
        let waited = match notice {
            Notice::Event => interrupts.wait_software(software::SOC_CONTROL_DONE, &deadline),
            Notice::Poll => self.poll(&deadline)?,
        };
        let took = deadline.waited();
        drop(held);
        match waited {
            Waited::Fired => {}
            Waited::Lost => {
                return Err(ControlError::Lost(
                    interrupts.loss().unwrap_or_default().to_owned(),
                ));
            }
            Waited::TimedOut => {
                self.transport.check_present()?;
                self.state = State::Suspect;
                let found = self.transport.read32(Bar::Access, MAILBOX)?;
                return Err(ControlError::TimedOut {
                    request: request_name,
                    code,
                    waited: deadline.waited(),
                    found,
                });
            }
        }
        Ok((self.read_response()?, took))
    }

    /// Reads the interrupt status until the answer shows, acknowledging that cause only. The interrupt
    /// thread is held meanwhile.
    fn poll(&self, deadline: &Deadline) -> Result<Waited, TransportError> {
        let done = InterruptStatus::default().with_software(software::SOC_CONTROL_DONE);
        loop {
            let status: InterruptStatus = self.transport.read()?;
            if status.0 == u32::MAX {
                self.transport.check_present()?;
            }
            if status.0 & done.0 != 0 {
                self.transport.write(done)?;
                return Ok(Waited::Fired);
            }
            if deadline.expired() {
                return Ok(Waited::TimedOut);
            }
        }
    }

    /// The status first, as the vendor's driver has it; then the code.
    fn check(&mut self, request: &Request, response: &Response) -> Result<(), ControlError> {
        let code = request.code.get();
        let request_name = name(code);
        let (found, status) = (response.code.get(), response.status.get());
        if status < 0 {
            if response.as_bytes().iter().all(|&byte| byte == 0xff) {
                self.transport.check_present()?;
            }
            return Err(ControlError::Refused {
                request: request_name,
                status,
            });
        }
        if found != code || status != 0 {
            // An answer to something else: that to this request may still come.
            if found != code {
                self.state = State::Suspect;
            }
            return Err(ControlError::Malformed {
                request: request_name,
                code,
                found,
                status,
            });
        }
        Ok(())
    }

    /// Lets a response that is owed arrive before the next request.
    fn settle(&mut self, interrupts: &Interrupts) -> Result<(), ControlError> {
        if self.state == State::Suspect {
            let deadline = Deadline::after(RESPONSE_TIMEOUT);
            self.state = match interrupts.wait_software(software::SOC_CONTROL_DONE, &deadline) {
                Waited::Fired => State::Idle,
                Waited::TimedOut => State::Dead,
                Waited::Lost => {
                    return Err(ControlError::Lost(
                        interrupts.loss().unwrap_or_default().to_owned(),
                    ));
                }
            };
        }
        if self.state == State::Dead {
            Err(ControlError::Dead)
        } else {
            Ok(())
        }
    }

    fn read_response(&self) -> Result<Response, ControlError> {
        let mut bytes = [0; size_of::<Response>()];
        for (offset, word) in (MAILBOX..).step_by(4).zip(bytes.as_chunks_mut::<4>().0) {
            *word = self.transport.read32(Bar::Access, offset)?.to_le_bytes();
        }
        Response::read_from_bytes(&bytes).map_err(|_| ControlError::Dead)
    }

    /// Asks for the version of the driver on the device.
    ///
    /// # Errors
    /// As [`Self::exchange`].
    pub fn driver_info(&mut self, interrupts: &Interrupts) -> Result<Version, ControlError> {
        let response = self.exchange(interrupts, &Request::plain(code::QUERY_DRIVER_INFO))?;
        Ok(response.version())
    }

    /// Opens a session on `port`: the channel that carries data to the device, and the one that carries it
    /// back. `busy` are channels (bit n for channel n) that the device must not hand out.
    ///
    /// # Errors
    /// As [`Self::exchange`]; [`ControlError::BadChannels`]. What the device then believes to be open is closed.
    pub fn connect(
        &mut self,
        interrupts: &Interrupts,
        port: u16,
        busy: u32,
    ) -> Result<(u32, u32), ControlError> {
        let request = Request::connect(port);
        let (response, _) = self.transact(interrupts, &request, Notice::Event)?;
        let (to_device, from_device) = response.session_channels();
        let (to_device, from_device) = (u32::from(to_device), u32::from(from_device));
        let bit = |channel: u32| 1_u32.checked_shl(channel).unwrap_or(0);
        let both = bit(to_device) | bit(from_device);
        let sane = to_device < FIRST_FROM_DEVICE
            && (FIRST_FROM_DEVICE..CHANNELS).contains(&from_device)
            && both & busy == 0;
        let checked = self.check(&request, &response);
        match (checked, sane) {
            (Ok(()), true) => return Ok((to_device, from_device)),
            (Err(error), _) if response.status.get() <= 0 => return Err(error),
            (checked, sane) => {
                // The device believes that the session is open. Channels in use are another session's.
                if sane || checked.is_ok() {
                    self.close(interrupts, both & !busy)?;
                }
                checked?;
            }
        }
        Err(ControlError::BadChannels {
            to_device,
            from_device,
            busy,
        })
    }

    /// Closes the sessions of the channels whose bits are set.
    ///
    /// # Errors
    /// As [`Self::exchange`].
    pub fn close(&mut self, interrupts: &Interrupts, channels: u32) -> Result<(), ControlError> {
        self.exchange(interrupts, &Request::close(channels))
            .map(drop)
    }

    /// Powers the device off. It is absent until it is booted again.
    ///
    /// # Errors
    /// As [`Self::exchange`].
    pub fn power_off(&mut self, interrupts: &Interrupts) -> Result<(), ControlError> {
        self.exchange(interrupts, &Request::plain(code::POWER_OFF))
            .map(drop)
    }
}

//! The driver on the chip: answers the control mailbox.

use std::time::{Duration, Instant};

use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::boot::{ChipState, MAILBOX};
use super::core::Core;
use super::fault::Fault;
use super::mailbox_fault::MailboxWrong;
use crate::spec::control::{Request, Response, code, errno, software};
use crate::spec::firmware::Version;

/// From the answer to POWER_OFF to the moment when nothing answers any more: the host reads it first.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// From a response to an interrupt that nobody asked for (a fault): the host has read the response by then.
const LATER: Duration = Duration::from_millis(50);

impl Core {
    /// Reads the request, acts, writes the response over it, and interrupts.
    pub(super) fn answer(&mut self) {
        let ChipState::Running(version) = self.firmware.state() else {
            return;
        };
        if std::mem::take(&mut self.firmware.rung_again) {
            self.firmware.answer_due = Some(self.due(self.timing.answer()));
        }
        if self.faults.fires(Fault::NoResponse) {
            return;
        }
        let mut bytes = [0; size_of::<Request>()];
        self.memory.copy_out(MAILBOX, &mut bytes);
        let request = Request::read_from_bytes(&bytes).unwrap_or_else(|_| Request::new_zeroed());
        let asked = request.code.get();
        let wrong = self.faults.fire_mailbox(asked);
        let mut response = match wrong {
            Some(MailboxWrong::Status(status)) if status < 0 => Response::status(asked, status),
            Some(MailboxWrong::Channels(to_chip, to_host)) => {
                self.sessions.pretend([to_chip, to_host]);
                Response::connected(to_chip, to_host)
            }
            _ => self.act(&request, version),
        };
        match wrong {
            Some(MailboxWrong::Status(status)) => response.status = status.into(),
            Some(MailboxWrong::WrongCode) => response.code = (asked ^ 1).into(),
            Some(MailboxWrong::Again) => {
                self.firmware.again_due = Some(Instant::now() + LATER);
            }
            Some(MailboxWrong::StrayClose) => self.bridge.raise_software(software::SOC_CLOSED),
            _ => {}
        }
        if wrong != Some(MailboxWrong::NoWrite) {
            self.memory.copy_in(MAILBOX, response.as_bytes());
        }
        self.bridge.raise_software(software::SOC_CONTROL_DONE);
    }

    fn act(&mut self, request: &Request, version: Version) -> Response {
        let code = request.code.get();
        match code {
            code::QUERY_DRIVER_INFO => {
                let wrong = self.faults.fire(|fault| match fault {
                    Fault::WrongVersion(version) => Some(*version),
                    _ => None,
                });
                Response::driver_info(wrong.unwrap_or(version))
            }
            code::CONNECT => self.connect(request.port()),
            code::CLOSE => self.close(request.channels()),
            code::POWER_OFF => {
                self.sessions.stop_listening();
                self.drop_all_sessions();
                self.firmware.off_due = Some(Instant::now() + LAST_WORDS);
                Response::status(code, 0)
            }
            unknown => {
                self.complaints
                    .add(format!("mailbox request with unknown code {unknown:#x}"));
                Response::status(unknown, errno::INVALID)
            }
        }
    }
}

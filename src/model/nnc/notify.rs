//! Notifications: one slot, a short queue behind it, an interrupt for each.

use std::collections::VecDeque;

use super::super::core::Core;
use super::{MESSAGES, NncWrong};
use crate::addr::DeviceAddr;
use crate::spec::control::software;
use crate::spec::nnc::event::{self, Event, EventForm, HEADER, Notification, Place, Priority};
use crate::spec::nnc::state::{CurrentZone, LogLevel, Zone};
use crate::spec::nnc::status::Status;
use crate::spec::nnc::{Cpu, NOTIFICATION, log, notification};

/// Notifications that wait for the slot. Source: any plausible depth will do; unconfirmed.
const DEPTH: usize = 16;

/// The slot's first word: the flag in its low half, the length in its high half.
const SLOT: DeviceAddr = DeviceAddr(MESSAGES.0 + NOTIFICATION as u64);

/// What waits, and what was lost.
#[derive(Debug, Default)]
pub(super) struct Notifier {
    sequence: u32,
    waiting: VecDeque<(Priority, Vec<u8>)>,
    dropped: u64,
}

/// How much an event matters.
const fn priority(event: &Event) -> Priority {
    match event {
        Event::ClosedStreams { .. }
        | Event::Overcurrent { .. }
        | Event::LcuEcc {
            corrected: false, ..
        }
        | Event::CpuEcc {
            corrected: false, ..
        }
        | Event::RunTimeError { .. }
        | Event::CoreCrc => Priority::Critical,
        _ => Priority::Info,
    }
}

impl Core {
    /// Tells the host of an event as soon as the slot is free.
    pub(in crate::model) fn notify(&mut self, event: Event) {
        let priority = priority(&event);
        self.notify_as(event, priority);
    }

    pub(super) fn notify_as(&mut self, event: Event, priority: Priority) {
        let notification = Notification {
            version: event::VERSION,
            sequence: self.next_sequence(),
            priority,
            module: 0,
            event,
        };
        self.notify_raw(priority, notification.encode(EventForm::Current));
    }

    fn next_sequence(&mut self) -> u32 {
        let notifier = &mut self.nnc.notifier;
        notifier.sequence = notifier.sequence.wrapping_add(1);
        notifier.sequence
    }

    fn notify_raw(&mut self, priority: Priority, message: Vec<u8>) {
        let notifier = &mut self.nnc.notifier;
        if notifier.waiting.len() == DEPTH {
            // The oldest that is only good to know makes room; without one, the new one is lost.
            let oldest = notifier.waiting.iter();
            let mut oldest = oldest.map(|(priority, _)| *priority);
            notifier.dropped += 1;
            let dropped = notifier.dropped;
            if let Some(place) = oldest.position(|priority| priority == Priority::Info) {
                notifier.waiting.remove(place);
            }
            // A line for each would be a flood of its own.
            if dropped.is_power_of_two() {
                let text = format!("{dropped} notifications lost: the host does not take them");
                self.firmware_says(Cpu::Application, LogLevel::Warning, &text);
            }
        }
        let notifier = &mut self.nnc.notifier;
        if notifier.waiting.len() < DEPTH {
            notifier.waiting.push_back((priority, message));
        }
        if !self.fill_slot() {
            // A host that opened its interrupts over the last one has not heard of it.
            self.bridge.raise_software(software::STAGE_DONE);
        }
    }

    /// Puts the next notification into the slot, if there is one; `false` where the slot is in use.
    fn fill_slot(&mut self) -> bool {
        let mut flag = [0; 2];
        self.memory.copy_out(SLOT, &mut flag);
        if flag != [0; 2] {
            return false;
        }
        let Some((_, message)) = self.nnc.notifier.waiting.pop_front() else {
            return true;
        };
        let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
        let stored = &message[..message.len().min(notification::ROOM)];
        self.memory.copy_in(
            DeviceAddr(SLOT.0 + u64::from(notification::MESSAGE)),
            stored,
        );
        self.memory.copy_in(
            DeviceAddr(SLOT.0 + u64::from(notification::LENGTH)),
            &length.to_le_bytes(),
        );
        self.memory.copy_in(SLOT, &1_u16.to_le_bytes());
        self.bridge.raise_software(software::STAGE_DONE); // The same bit, after boot.
        true
    }

    /// The host wrote to the slot's first word: all it may do is clear the flag.
    pub(super) fn check_slot(&mut self, old: u32, new: u32) {
        if old >> 16 != new >> 16 {
            self.complaints.add(format!(
                "the notification slot was cleared with its length changed from {} to {}",
                old >> 16,
                new >> 16
            ));
        }
        if new & 0xffff == 0 {
            self.fill_slot();
        } else if old & 0xffff != new & 0xffff {
            self.complaints.add(format!(
                "the notification slot's flag was set to {:#x}: the host only clears it",
                new & 0xffff
            ));
        }
    }

    /// What the fault plan asks for by itself, or after a control.
    pub(super) fn spontaneous(&mut self, opcode: Option<u32>) {
        for _ in 0..2 * DEPTH {
            let Some(wrong) = self.faults.fire_nnc(opcode, NncWrong::is_spontaneous) else {
                return;
            };
            match wrong {
                NncWrong::Event(number) => self.notify(sample(number)),
                NncWrong::EventCount(number) => self.notify_miscounted(number),
                NncWrong::EventSize(bytes) => self.notify_long(bytes),
                NncWrong::LogFlood(bytes) => self.flood(bytes),
                NncWrong::LogOffset(offset) => {
                    for cpu in Cpu::ALL {
                        self.set_chip_offset(cpu, offset);
                    }
                }
                _ => {}
            }
        }
    }

    fn notify_miscounted(&mut self, number: u32) {
        let notification = Notification {
            version: event::VERSION,
            sequence: self.next_sequence(),
            priority: Priority::Info,
            module: 0,
            event: sample(number),
        };
        let mut message = notification.encode(EventForm::Current);
        if let Some(count) = message.get_mut(20) {
            *count = count.wrapping_add(1);
        }
        self.notify_raw(Priority::Info, message);
    }

    fn notify_long(&mut self, bytes: u32) {
        let notification = Notification {
            version: event::VERSION,
            sequence: self.next_sequence(),
            priority: Priority::Info,
            module: 0,
            event: sample(event::id::TEMPERATURE),
        };
        let mut message = notification.encode(EventForm::Current);
        let length = usize::try_from(bytes)
            .unwrap_or(0)
            .min(usize::from(u16::MAX));
        message.resize(length, 0x5a);
        if let Some(told) = message.get_mut(24..HEADER) {
            let payload = bytes.saturating_sub(u32::try_from(HEADER).unwrap_or(0));
            told.copy_from_slice(&payload.to_le_bytes());
        }
        self.notify_raw(Priority::Info, message);
    }

    fn flood(&mut self, bytes: u32) {
        // More than two rounds look like one.
        let bytes = bytes.min(log::DATA_LEN * 2 + bytes % log::DATA_LEN);
        let line: Vec<u8> = (0..bytes)
            .map(|at| b"0123456789abcde\n"[usize::try_from(at % 16).unwrap_or(0)])
            .collect();
        for cpu in Cpu::ALL {
            self.write_ring(cpu, &line);
        }
    }
}

/// An event of a number, with plausible parameters.
fn sample(number: u32) -> Event {
    let celsius = [103.5, 104.25];
    let place = Place {
        application: 0,
        batch: 7,
        context: 3,
        action: 5,
    };
    match number {
        event::id::ETHERNET_ERROR => Event::EthernetError {
            error: 1,
            queue: 0,
            count: 1,
        },
        event::id::HOST_INFO => Event::HostInfo {
            status: 1,
            link: 1,
            vdma_active: 1,
            port: 0,
            address: 0,
        },
        event::id::TEMPERATURE => Event::Temperature {
            zone: Zone::Orange,
            sensor: 1,
            celsius,
        },
        event::id::CLOSED_STREAMS => Event::ClosedStreams { celsius },
        event::id::OVERCURRENT => Event::Overcurrent {
            zone: CurrentZone::Red,
            threshold: 9000.0,
            last: false,
        },
        event::id::LCU_ECC_CORRECTED | event::id::LCU_ECC => Event::LcuEcc {
            clusters: 1 << 2,
            corrected: number == event::id::LCU_ECC_CORRECTED,
        },
        event::id::CPU_ECC_CORRECTED | event::id::CPU_ECC => Event::CpuEcc {
            memories: 1 << 4,
            corrected: number == event::id::CPU_ECC_CORRECTED,
        },
        event::id::BREAKPOINT => Event::Breakpoint(place),
        event::id::CLOCK_CHANGED => Event::ClockChanged {
            from: 400_000_000,
            to: 200_000_000,
        },
        event::id::HW_INFER_DONE => Event::HwInferDone { cycles: 1_000_000 },
        event::id::RUN_TIME_ERROR => Event::RunTimeError {
            status: Status(0x4013_0020),
            place,
        },
        event::id::CORE_CRC => Event::CoreCrc,
        event::id::THROTTLING => Event::Throttling { state: 1 },
        id => Event::Other {
            id,
            count: 1,
            parameters: vec![1, 2, 3, 4],
        },
    }
}

//! Events as bytes. Old forms show by the number and the lengths of their parameters.
//!
//! Source: vendor hailort v4.17.0 to v5.2.0, `d2h_events.h`.

use super::{Event, EventForm, HEADER, Notification, NotificationError, Place, Priority, id};
use crate::spec::nnc::state::{CurrentZone, Zone};
use crate::spec::nnc::status::Status;

/// Reads little-endian fields one after the other; 0 behind the end.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((field, rest)) => {
                self.0 = rest;
                *field
            }
            None => [0; N],
        }
    }

    fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.take())
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn f32(&mut self) -> f32 {
        f32::from_le_bytes(self.take())
    }

    /// The place of a breakpoint.
    fn place(&mut self, form: EventForm) -> Place {
        let application = self.u8();
        if form == EventForm::Padded {
            self.u8();
        }
        Place {
            application,
            batch: self.batch(form),
            context: self.u16(),
            action: self.u16(),
        }
    }

    fn batch(&mut self, form: EventForm) -> u32 {
        match form {
            EventForm::Current => self.u32(),
            EventForm::Short | EventForm::Padded => self.u16().into(),
        }
    }
}

/// The form of an event with parameters of `len` bytes that has `forms` by length.
fn form(len: usize, forms: [usize; 3]) -> Option<EventForm> {
    let [current, short, padded] = forms;
    match len {
        _ if len == current => Some(EventForm::Current),
        _ if len == short => Some(EventForm::Short),
        _ if len == padded => Some(EventForm::Padded),
        _ => None,
    }
}

/// Bytes of a breakpoint event, by form.
const BREAKPOINT: [usize; 3] = [9, 7, 8];

/// Bytes of a run-time error, by form.
const RUN_TIME_ERROR: [usize; 3] = [13, 11, 12];

/// Number of parameters that the header tells, and their bytes. An over-current alert has three, but tells four.
const fn shape(id: u32) -> Option<(u32, usize)> {
    Some(match id {
        id::ETHERNET_ERROR => (3, 12),
        id::HOST_INFO => (5, 20),
        id::TEMPERATURE => (4, 16),
        id::CLOSED_STREAMS => (2, 8),
        id::OVERCURRENT => (4, 9),
        id::LCU_ECC_CORRECTED | id::LCU_ECC => (1, 2),
        id::CPU_ECC_CORRECTED | id::CPU_ECC => (1, 4),
        id::BREAKPOINT => (4, BREAKPOINT[0]),
        id::CLOCK_CHANGED => (2, 8),
        id::HW_INFER_DONE => (1, 4),
        id::RUN_TIME_ERROR => (5, RUN_TIME_ERROR[0]),
        id::CORE_CRC => (0, 0),
        id::THROTTLING => (1, 2),
        _ => return None,
    })
}

impl Event {
    /// The event of a number with `count` parameters in `bytes`. Old forms show by their lengths.
    fn read(number: u32, count: u32, bytes: &[u8]) -> Self {
        let mut f = Fields(bytes);
        let old = match number {
            id::BREAKPOINT if count == 4 => {
                form(bytes.len(), BREAKPOINT).map(|form| Self::Breakpoint(f.place(form)))
            }
            id::RUN_TIME_ERROR if count == 5 => {
                form(bytes.len(), RUN_TIME_ERROR).map(|form| f.run_time_error(form))
            }
            id::OVERCURRENT if count == 4 && matches!(bytes.len(), 9 | 12) => {
                Some(Self::Overcurrent {
                    zone: CurrentZone::from_raw(f.u32()),
                    threshold: f.f32(),
                    last: f.u8() != 0,
                })
            }
            id::CORE_CRC if count == 1 && bytes.len() == 8 => Some(Self::CacheOffset {
                offset: u64::from_le_bytes(f.take()),
            }),
            _ => None,
        };
        if let Some(event) = old {
            return event;
        }
        if shape(number) != Some((count, bytes.len())) {
            return Self::Other {
                id: number,
                count,
                parameters: bytes.to_vec(),
            };
        }
        match number {
            id::ETHERNET_ERROR => Self::EthernetError {
                error: f.u32(),
                queue: f.u32(),
                count: f.u32(),
            },
            id::HOST_INFO => Self::HostInfo {
                status: f.u32(),
                link: f.u32(),
                vdma_active: f.u32(),
                port: f.u32(),
                address: f.u32(),
            },
            id::TEMPERATURE => Self::Temperature {
                zone: Zone::from_raw(f.u32()),
                sensor: f.u32(),
                celsius: [f.f32(), f.f32()],
            },
            id::CLOSED_STREAMS => Self::ClosedStreams {
                celsius: [f.f32(), f.f32()],
            },
            id::LCU_ECC_CORRECTED | id::LCU_ECC => Self::LcuEcc {
                clusters: f.u16(),
                corrected: number == id::LCU_ECC_CORRECTED,
            },
            id::CPU_ECC_CORRECTED | id::CPU_ECC => Self::CpuEcc {
                memories: f.u32(),
                corrected: number == id::CPU_ECC_CORRECTED,
            },
            id::CLOCK_CHANGED => Self::ClockChanged {
                from: f.u32(),
                to: f.u32(),
            },
            id::HW_INFER_DONE => Self::HwInferDone { cycles: f.u32() },
            id::THROTTLING => Self::Throttling { state: f.u16() },
            _ => Self::CoreCrc,
        }
    }

    /// Appends the parameters in `form` and returns how many the header tells.
    fn write(&self, form: EventForm, out: &mut Vec<u8>) -> u32 {
        let mut put = |bytes: &[u8]| out.extend_from_slice(bytes);
        let mut words = |words: &[u32]| words.iter().for_each(|word| put(&word.to_le_bytes()));
        match self {
            Self::EthernetError {
                error,
                queue,
                count,
            } => words(&[*error, *queue, *count]),
            Self::HostInfo {
                status,
                link,
                vdma_active,
                port,
                address,
            } => words(&[*status, *link, *vdma_active, *port, *address]),
            Self::Temperature {
                zone,
                sensor,
                celsius: [a, b],
            } => words(&[zone.raw(), *sensor, a.to_bits(), b.to_bits()]),
            Self::ClosedStreams { celsius: [a, b] } => words(&[a.to_bits(), b.to_bits()]),
            Self::Overcurrent {
                zone,
                threshold,
                last,
            } => {
                words(&[zone.raw(), threshold.to_bits()]);
                put(&[u8::from(*last)]);
                if form == EventForm::Padded {
                    put(&[0; 3]);
                }
            }
            Self::LcuEcc { clusters, .. } => put(&clusters.to_le_bytes()),
            Self::CpuEcc { memories, .. } => words(&[*memories]),
            Self::Breakpoint(place) => {
                put(&[place.application]);
                if form == EventForm::Padded {
                    put(&[0]);
                }
                put_batch(place, form, out);
            }
            Self::ClockChanged { from, to } => words(&[*from, *to]),
            Self::HwInferDone { cycles } => words(&[*cycles]),
            Self::RunTimeError { status, place } => {
                words(&[status.0]);
                match form {
                    EventForm::Current => {
                        put_batch(place, form, out);
                        out.push(place.application);
                    }
                    EventForm::Short => {
                        put(&[place.application]);
                        put_batch(place, form, out);
                    }
                    EventForm::Padded => {
                        put(&[place.application, 0]);
                        put_batch(place, form, out);
                    }
                }
            }
            Self::CoreCrc => {}
            Self::CacheOffset { offset } => {
                put(&offset.to_le_bytes());
                return 1;
            }
            Self::Throttling { state } => put(&state.to_le_bytes()),
            Self::Other {
                count, parameters, ..
            } => {
                put(parameters);
                return *count;
            }
        }
        shape(self.id()).map_or(0, |(count, _)| count)
    }
}

impl Fields<'_> {
    /// A run-time error; from 5.0 on the application comes last.
    fn run_time_error(&mut self, form: EventForm) -> Event {
        let status = Status(self.u32());
        let place = if form == EventForm::Current {
            Place {
                batch: self.u32(),
                context: self.u16(),
                action: self.u16(),
                application: self.u8(),
            }
        } else {
            self.place(form)
        };
        Event::RunTimeError { status, place }
    }
}

/// Appends batch, context and action. A batch too large for an old form becomes the largest.
fn put_batch(place: &Place, form: EventForm, out: &mut Vec<u8>) {
    match form {
        EventForm::Current => out.extend_from_slice(&place.batch.to_le_bytes()),
        EventForm::Short | EventForm::Padded => {
            let batch = u16::try_from(place.batch).unwrap_or(u16::MAX);
            out.extend_from_slice(&batch.to_le_bytes());
        }
    }
    out.extend_from_slice(&place.context.to_le_bytes());
    out.extend_from_slice(&place.action.to_le_bytes());
}

impl Notification {
    /// Reads a message. An event that is not known, or not as it should be, comes as [`Event::Other`]; the payload
    /// length of the header is no more trusted than the message's own.
    ///
    /// # Errors
    /// There is no whole header.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotificationError> {
        let error = NotificationError { len: bytes.len() };
        let (header, parameters) = bytes.split_first_chunk::<HEADER>().ok_or(error)?;
        let mut f = Fields(header);
        let (version, sequence) = (f.u32(), f.u32());
        let (priority, module) = (Priority::from_raw(f.u32()), f.u32());
        let (number, count, length) = (f.u32(), f.u32(), f.u32());
        let event = if usize::try_from(length) == Ok(parameters.len()) {
            Event::read(number, count, parameters)
        } else {
            Event::Other {
                id: number,
                count,
                parameters: parameters.to_vec(),
            }
        };
        Ok(Self {
            version,
            sequence,
            priority,
            module,
            event,
        })
    }

    /// The message, as a firmware of `form` sends it.
    #[must_use]
    pub fn encode(&self, form: EventForm) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        let count = self.event.write(form, &mut bytes);
        let length = u32::try_from(bytes.len() - HEADER).unwrap_or(u32::MAX);
        let header = [
            self.version,
            self.sequence,
            self.priority.raw(),
            self.module,
            self.event.id(),
            count,
            length,
        ];
        for (place, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(header) {
            *place = word.to_le_bytes();
        }
        bytes
    }
}

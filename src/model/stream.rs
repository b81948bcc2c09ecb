//! The engine in a session: bytes between the host's memory and a buffer of the chip.
//!
//! Both ends must cut what they move into the same pages. The host's are its descriptors; the chip's follow from the
//! length of its buffer. What the hardware does where they differ is unknown; here the session ends, or, on a lenient
//! chip, goes on as a stream of bytes (`drift`).

mod drift;

use super::chip::Shared;
use super::engine::{Engine, Failure, KNOWN_CONTROL, NAMES, SLICE, wants};
use super::fault::Fault;
use super::job::{Cause, Job, Refusal};
use super::session::{Part, TO_CHIP};
use super::side::error;
use crate::addr::Iova;
use crate::spec::descriptor::{Descriptor, MAX_PAGE, Status, control, data_id};

/// Pages that follow each other in the host's memory, not yet copied.
#[derive(Clone, Copy, Default)]
struct Run {
    first: u32,
    pages: u32,
    host: u64,
    len: usize,
}

/// A batch on its way.
struct Batch<'a> {
    job: &'a Job,
    /// Which side is the host's.
    host: usize,
    part: Part,
    run: Run,
}

impl Engine {
    /// Processes a batch of a session.
    pub(super) fn stream(&mut self, shared: &Shared, job: &Job, part: Part) {
        if let Some(drift) = part.drift {
            self.drift(shared, job, part, drift);
            return;
        }
        let mut batch = Batch {
            job,
            host: part.way,
            part,
            run: Run::default(),
        };
        let outcome = self.move_part(shared, &mut batch);
        let mut refused = None;
        let mut asked = [false; 2];
        match outcome {
            Ok(last) => asked[batch.host] = last,
            Err(failure) => refused = Some(self.report(shared, job, batch.host, failure)),
        }
        let done = std::mem::take(&mut self.done);
        if job.last {
            // Data that somebody may wait for: it is there when the link has carried it, and no sooner.
            self.link.occupy(batch.part.way, done.bytes);
            self.link.settle(batch.part.way);
        } else {
            self.link.occupy_on(batch.part.way, done.bytes);
        }
        let part = batch.part;
        let spent = shared.change(|core| {
            if done.pages > 0 && core.commit(job, &done, asked) {
                core.note_moved(part.id, part.way, done.len());
            }
            if let Some((refusal, on_error)) = &refused {
                core.refuse(job, refusal, *on_error);
            }
            core.end_part(part)
        });
        drop(spent); // Not under the chip's lock: it may be large.
    }

    /// Writes the status of a descriptor that failed, where it asks for one; gives the refusal and the sides that ask for
    /// an interrupt.
    fn report(
        &self,
        shared: &Shared,
        job: &Job,
        host: usize,
        failure: Failure,
    ) -> (Refusal, [bool; 2]) {
        let (refusal, index) = failure;
        let descriptor = index.map(|index| self.descriptor(host, index));
        let bits = descriptor.map_or(0, |descriptor| descriptor.control());
        let status = control::REQUEST_STATUS | control::REQUEST_STATUS_ON_ERROR;
        let goes_on = shared.profile.nnc.lenient && matches!(refusal.cause, Cause::Mismatch(_));
        if let Some((index, descriptor)) = index.zip(descriptor)
            && bits & status != 0
            && !goes_on
            && shared.change(|core| core.is_current(job))
        {
            let status = Status::new(descriptor.page_size(), true);
            Self::write_status(job, host, index, status);
        }
        let mut on_error = [false; 2];
        on_error[host] = wants(bits, control::INTERRUPT_ON_ERROR);
        (refusal, on_error)
    }

    /// Moves the pages of a batch; whether the last one asks for the host's interrupt, which is still to be raised.
    fn move_part(&mut self, shared: &Shared, batch: &mut Batch<'_>) -> Result<bool, Failure> {
        let job = batch.job;
        self.fetch(job, batch.host)
            .map_err(|refusal| (refusal, None))?;
        for index in 0..job.count {
            let descriptor = self.descriptor(batch.host, index);
            let at = batch.part.at + batch.run.len;
            if batch.goes_on(&descriptor, at) {
                batch.run.pages += 1;
                batch.run.len += batch.part.page;
                continue;
            }
            let len = match batch.check(index, &descriptor, at) {
                Ok(len) => len,
                Err(refusal) => {
                    self.flush_part(batch)?;
                    return Err((refusal, Some(index)));
                }
            };
            let address = descriptor.address().0;
            let run = &batch.run;
            let so_far = u64::try_from(run.len).unwrap_or(u64::MAX);
            if run.pages == 0 || run.host.wrapping_add(so_far) != address || run.len + len > SLICE {
                self.flush_part(batch)?;
                batch.run = Run {
                    first: index,
                    host: address,
                    ..Run::default()
                };
            }
            batch.run.pages += 1;
            batch.run.len += len;
            let bits = descriptor.control();
            let asked = wants(bits, control::INTERRUPT_WHEN_PROCESSED);
            let status = bits & control::REQUEST_STATUS != 0;
            if status || asked {
                self.flush_part(batch)?;
            }
            if status {
                Self::write_status(job, batch.host, index, Status::new(0, false));
            }
            if asked {
                if index + 1 == job.count {
                    return Ok(true);
                }
                if !self.tell_part(shared, batch) {
                    return Ok(false);
                }
            }
        }
        self.flush_part(batch)?;
        Ok(false)
    }

    /// Makes progress in the middle of a batch visible, with the host's interrupt; `false` where the channel was
    /// stopped meanwhile.
    fn tell_part(&mut self, shared: &Shared, batch: &Batch<'_>) -> bool {
        let done = std::mem::take(&mut self.done);
        self.link.occupy_on(batch.part.way, done.bytes);
        let mut asked = [false; 2];
        asked[batch.host] = true;
        shared.change(|core| {
            let goes_on = core.commit(batch.job, &done, asked);
            if goes_on {
                core.note_moved(batch.part.id, batch.part.way, done.len());
            }
            goes_on
        })
    }

    /// Copies the pages gathered so far; where that fails, again page by page up to the one that is to blame.
    fn flush_part(&mut self, batch: &mut Batch<'_>) -> Result<(), Failure> {
        let run = std::mem::take(&mut batch.run);
        if run.pages == 0 {
            return Ok(());
        }
        if batch.copy(run.host, run.len).is_ok() {
            self.done.add(run.pages, run.len);
            return Ok(());
        }
        for index in run.first..run.first + run.pages {
            let descriptor = self.descriptor(batch.host, index);
            let len = usize::try_from(descriptor.page_size()).unwrap_or(0);
            batch
                .copy(descriptor.address().0, len)
                .map_err(|refusal| (refusal, Some(index)))?;
            self.done.add(1, len);
        }
        Ok(())
    }
}

impl Batch<'_> {
    /// Whether a descriptor is a plain full page right behind the ones gathered: nearly all are. `at` is where its
    /// page begins in the chip's buffer.
    fn goes_on(&self, descriptor: &Descriptor, at: usize) -> bool {
        let (run, page) = (&self.run, self.part.page);
        let so_far = u64::try_from(run.len).unwrap_or(u64::MAX);
        let expected = Descriptor::new(
            u32::try_from(page).unwrap_or(0),
            Iova(run.host.wrapping_add(so_far)),
            data_id::HOST,
            control::PLAIN,
        );
        run.pages > 0
            && descriptor.words()[..3] == expected.words()[..3]
            && run.len + page <= SLICE
            && at + page <= self.part.bytes.len()
            && self.job.bad.is_none()
    }

    /// Moves `len` bytes between the host's memory and the next place in the chip's buffer.
    fn copy(&mut self, address: u64, len: usize) -> Result<(), Refusal> {
        let at = self.part.at;
        let bytes = self.part.bytes.get_mut(at..at + len).unwrap_or_default();
        let moved = if self.part.way == TO_CHIP {
            self.job.host.read(Iova(address), bytes)
        } else {
            self.job.host.write(Iova(address), bytes)
        };
        moved.map_err(|fault| {
            let text = format!("its data can't be reached: {fault}");
            Refusal::of_host(self.host, error::BUS, text)
        })?;
        self.part.at += len;
        Ok(())
    }

    /// What a descriptor must be, with the page that the chip has there; gives its bytes. `at` is where its page begins
    /// in the chip's buffer.
    fn check(&self, index: u32, descriptor: &Descriptor, at: usize) -> Result<usize, Refusal> {
        let len = self.size_of(index, descriptor)?;
        let expected = self.part.page.min(self.part.bytes.len().saturating_sub(at));
        if len == expected {
            return Ok(len);
        }
        let number = self.job.sides[self.host].next() + index;
        let name = NAMES[self.host];
        let text = format!(
            "descriptor {number} of the {name} side has {len} bytes where the other end has {expected}: transfers of different sizes"
        );
        Err(Refusal {
            side: self.host,
            code: error::DESCRIPTOR,
            cause: Cause::Mismatch(text),
        })
    }

    /// What any descriptor must be; gives its bytes.
    fn size_of(&self, index: u32, descriptor: &Descriptor) -> Result<usize, Refusal> {
        let number = self.job.sides[self.host].next() + index;
        if self.job.bad == Some(number) {
            return Err(Refusal {
                side: self.host,
                code: error::BUS,
                cause: Cause::Fault(Fault::DescriptorError(number)),
            });
        }
        let name = NAMES[self.host];
        let wrong = if descriptor.control() & control::REQUEST_STATUS_ON_ERROR == 0 {
            "lacks control bit 1"
        } else if descriptor.control() & !KNOWN_CONTROL != 0 {
            "has unknown control bits"
        } else if descriptor.data_id() != data_id::HOST {
            "has a wrong data id"
        } else if !(1..=MAX_PAGE).contains(&descriptor.page_size()) {
            "has no size of a page"
        } else {
            return Ok(usize::try_from(descriptor.page_size()).unwrap_or(0));
        };
        let text = format!("descriptor {number} of the {name} side {wrong}: {descriptor:?}");
        Err(Refusal::of_host(self.host, error::DESCRIPTOR, text))
    }
}

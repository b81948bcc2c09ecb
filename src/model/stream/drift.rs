//! A session whose ends cut their transfers differently, on a lenient chip: bytes flow on as in one stream.
//!
//! Each side is through with a descriptor when all of its bytes are moved, wherever the other one cuts.
//!
//! Source: the specification of sessions leaves a model the choice; what the hardware does is unknown.

use super::{Batch, Run};
use crate::model::chip::Shared;
use crate::model::engine::{Engine, Failure, wants};
use crate::model::job::Job;
use crate::model::session::{Drift, Part};
use crate::spec::descriptor::{Status, control};

impl Engine {
    /// Processes a batch of such a session: up to the end of the chip's buffer, or to a descriptor that asks for an
    /// interrupt.
    pub(in crate::model) fn drift(
        &mut self,
        shared: &Shared,
        job: &Job,
        part: Part,
        mut drift: Drift,
    ) {
        let began = part.at;
        let mut batch = Batch {
            job,
            host: part.way,
            part,
            run: Run::default(),
        };
        let mut pages = 0;
        let outcome = self.move_adrift(&mut batch, &mut drift, &mut pages);
        let (asked, refused) = match outcome {
            Ok(asked) => (asked, None),
            Err(failure) => (false, Some(self.report(shared, job, batch.host, failure))),
        };
        let part = batch.part;
        let bytes = u64::try_from(part.at - began).unwrap_or(0);
        self.link.occupy(part.way, bytes);
        self.link.settle(part.way);
        let spent = shared.change(|core| {
            if core.is_current(job) {
                core.commit_adrift(job, &part, pages, drift.taken, asked);
            }
            if let Some((refusal, on_error)) = &refused {
                core.refuse(job, refusal, *on_error);
            }
            core.end_part(part)
        });
        drop(spent); // Not under the chip's lock: it may be large.
    }

    /// Moves bytes; whether the last descriptor that is done asks for the host's interrupt. `pages` counts those.
    fn move_adrift(
        &mut self,
        batch: &mut Batch<'_>,
        drift: &mut Drift,
        pages: &mut u32,
    ) -> Result<bool, Failure> {
        self.fetch(batch.job, batch.host)
            .map_err(|refusal| (refusal, None))?;
        while *pages < batch.job.count && batch.part.at < drift.limit {
            let index = *pages;
            let descriptor = self.descriptor(batch.host, index);
            let failed = |refusal| (refusal, Some(index));
            let size = batch.size_of(index, &descriptor).map_err(failed)?;
            let len = size.saturating_sub(drift.taken);
            let len = len.min(drift.limit - batch.part.at);
            let skipped = u64::try_from(drift.taken).unwrap_or(u64::MAX);
            let address = descriptor.address().0.wrapping_add(skipped);
            batch.copy(address, len).map_err(failed)?;
            drift.taken += len;
            if drift.taken < size {
                break;
            }
            drift.taken = 0;
            *pages += 1;
            let bits = descriptor.control();
            if bits & control::REQUEST_STATUS != 0 {
                Self::write_status(batch.job, batch.host, index, Status::new(0, false));
            }
            if wants(bits, control::INTERRUPT_WHEN_PROCESSED) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

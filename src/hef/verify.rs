//! Going over the checksums of a file, also those of gigabytes.

use std::ops::ControlFlow;

use serde::Serialize;

use super::Hef;
use super::build::resource_digest_offset;
use super::digest::StoredDigest;
use super::error::{Algorithm, HefError, Result};

/// Something a stored checksum covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// "proto section", "whole file" or "resource `name`".
    pub what: String,
    /// The checksum and its range. For a resource, where it is stored is only looked up when it is wrong.
    pub digest: StoredDigest,
    #[serde(skip)]
    resource: Option<usize>,
}

/// How far a verification has come.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Progress<'a> {
    /// The check at work.
    pub what: &'a str,
    /// Bytes done over all checks.
    pub done: u64,
    /// Bytes to do over all checks.
    pub total: u64,
}

/// A checksum that agrees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// What was covered.
    pub what: String,
    /// How.
    pub algorithm: Algorithm,
    /// Bytes covered.
    pub bytes: u64,
}

impl Check {
    /// Bytes covered.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.digest.end - self.digest.start
    }
}

impl Hef {
    /// Every checksum the file stores: of the proto section, of everything behind the header, of resources.
    #[must_use]
    pub fn checks(&self) -> Vec<Check> {
        let container = self.container();
        let mut checks = Vec::new();
        if let Some(digest) = &container.proto_digest {
            checks.push(Check {
                what: "proto section".to_owned(),
                digest: digest.clone(),
                resource: None,
            });
        }
        checks.push(Check {
            what: "whole file".to_owned(),
            digest: container.digest.clone(),
            resource: None,
        });
        for (index, resource) in self.resources().iter().enumerate() {
            if let Some(value) = resource.digest {
                checks.push(Check {
                    what: format!("resource `{}`", resource.name),
                    digest: StoredDigest {
                        algorithm: Algorithm::Xxh3,
                        stored_at: container.header_bytes,
                        value: value.to_be_bytes().to_vec(),
                        start: resource.file_offset,
                        end: resource.file_offset + resource.bytes,
                    },
                    resource: Some(index),
                });
            }
        }
        checks
    }

    /// Computes one checksum over the file and compares it. `step` is called with the bytes done every few hundred
    /// kilobytes and may break off.
    ///
    /// # Errors
    ///
    /// [`HefError::Digest`] if it differs, [`HefError::Stopped`] if `step` broke off, or a read error.
    pub fn verify_check(
        &self,
        check: &Check,
        step: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Verified> {
        let checked = check
            .digest
            .check_source(&check.what, &self.inner.source, step);
        checked.map_err(|error| self.with_offset(error, check))?;
        Ok(Verified {
            what: check.what.clone(),
            algorithm: check.digest.algorithm,
            bytes: check.bytes(),
        })
    }

    /// Tells where the wrong digest of a resource is stored, by walking the description again.
    fn with_offset(&self, mut error: HefError, check: &Check) -> HefError {
        if let (HefError::Digest { stored_at, .. }, Some(index)) = (&mut error, check.resource)
            && let Ok(proto) = self.read_proto()
        {
            *stored_at = resource_digest_offset(&proto, self.container().header_bytes, index);
        }
        error
    }

    /// Computes all checksums and compares them, up to the first that differs. Memory does not grow with the file.
    ///
    /// # Errors
    ///
    /// As [`Hef::verify_check`].
    pub fn verify(
        &self,
        mut progress: impl FnMut(&Progress<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<Verified>> {
        let checks = self.checks();
        let total = checks.iter().map(Check::bytes).sum();
        let mut before = 0;
        let mut verified = Vec::with_capacity(checks.len());
        for check in &checks {
            let mut step = |done| {
                progress(&Progress {
                    what: &check.what,
                    done: before + done,
                    total,
                })
            };
            verified.push(self.verify_check(check, &mut step)?);
            before += check.bytes();
        }
        Ok(verified)
    }
}

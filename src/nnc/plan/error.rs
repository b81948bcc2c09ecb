//! Why a network cannot be planned: where, what, expected, found.

use std::fmt;

use crate::hef::HefError;

/// Result of planning.
pub type Result<T> = std::result::Result<T, PlanError>;

/// What a caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// Ask for something else: batch size, page size, device.
    Parameter,
    /// The file breaks a rule, or contradicts itself.
    File,
    /// The network needs more than chip or firmware have.
    Resource,
}

/// Where in a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Place {
    /// Name of the network group.
    pub group: String,
    /// Program, as in "context 1" or "preliminary".
    pub program: Option<String>,
    /// Operation in the program, from 0.
    pub operation: Option<usize>,
    /// Name of a layer.
    pub layer: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group `{}`", self.group)?;
        if let Some(program) = &self.program {
            write!(f, ", {program}")?;
        }
        if let Some(operation) = self.operation {
            write!(f, ", operation {operation}")?;
        }
        if let Some(layer) = &self.layer {
            write!(f, ", layer `{layer}`")?;
        }
        Ok(())
    }
}

/// A network that cannot be planned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}: expected {expected}, found {found}")]
pub struct PlanError {
    /// What kind of reason.
    pub reason: Reason,
    /// Where.
    pub place: Box<Place>,
    /// Which value or structure.
    pub what: &'static str,
    /// What it must be.
    pub expected: String,
    /// What it is.
    pub found: String,
}

/// A refusal without its place.
#[derive(Debug)]
pub(super) struct Refusal {
    reason: Reason,
    layer: Option<String>,
    operation: Option<usize>,
    what: &'static str,
    expected: String,
    found: String,
}

impl Refusal {
    pub(super) fn new(
        reason: Reason,
        what: &'static str,
        expected: impl ToString,
        found: impl ToString,
    ) -> Self {
        Self {
            reason,
            layer: None,
            operation: None,
            what,
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }

    pub(super) fn file(what: &'static str, expected: impl ToString, found: impl ToString) -> Self {
        Self::new(Reason::File, what, expected, found)
    }

    pub(super) fn resource(
        what: &'static str,
        expected: impl ToString,
        found: impl ToString,
    ) -> Self {
        Self::new(Reason::Resource, what, expected, found)
    }

    /// Names the layer.
    pub(super) fn of(mut self, layer: &str) -> Self {
        self.layer = Some(layer.to_owned());
        self
    }

    /// Names the operation.
    pub(super) fn at_operation(mut self, operation: usize) -> Self {
        self.operation = Some(operation);
        self
    }

    /// Adds where it happened.
    pub(super) fn within(self, group: &str, program: Option<String>) -> PlanError {
        PlanError {
            reason: self.reason,
            place: Box::new(Place {
                group: group.to_owned(),
                program,
                operation: self.operation,
                layer: self.layer,
            }),
            what: self.what,
            expected: self.expected,
            found: self.found,
        }
    }
}

impl From<HefError> for Refusal {
    /// Of what [`crate::hef`] refuses only a broken limit is met here; the layer is named by whoever asked.
    fn from(error: HefError) -> Self {
        match error {
            HefError::Unusable {
                what,
                expected,
                found,
                ..
            } => Self::resource(what, expected, found),
            other => Self::file("layer", "a usable one", other),
        }
    }
}

/// Addresses that do not fit a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// Not one address for each list.
    #[error("addresses of descriptor lists: expected {expected}, found {found}")]
    Count {
        /// Lists of the plan.
        expected: usize,
        /// Addresses given.
        found: usize,
    },
    /// An address a list cannot have.
    #[error("address of descriptor list {list}: expected a multiple of 64 KiB, found {found}")]
    Alignment {
        /// Number of the list.
        list: usize,
        /// The address.
        found: crate::addr::Iova,
    },
}

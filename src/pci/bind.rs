//! Giving a card to `vfio-pci` and back: a plan of writes into sysfs, each with what undoes it.
//!
//! A plan is made without changing anything and refused where a process would lose the card. When a
//! write fails, those before it are undone in reverse, so that the machine is as it was.
//!
//! Source: Linux `Documentation/ABI/testing/sysfs-bus-pci` (`driver_override`, `drivers_probe`).

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::access::{Access, Obstacle};
use super::list::{DEVICES, FunctionInfo};
use super::sysfs::{self, Root};

/// The driver that lends functions to programs.
const VFIO: &str = "vfio-pci";
/// A choice that no driver answers to.
const NO_DRIVER: &str = "none";

/// A write into sysfs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The file, as it is called on the machine itself.
    pub file: PathBuf,
    /// What is written.
    pub value: String,
}

/// A change and what undoes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What it does, for people.
    pub what: String,
    /// The change.
    #[serde(flatten)]
    pub change: Change,
    /// What undoes it, where that takes anything.
    pub undo: Option<Change>,
}

/// What has to be done, in order, and which driver each function has in the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The steps; none where all is as wanted.
    pub steps: Vec<Step>,
    /// Functions with the driver that they must have afterwards; `None` for any or none.
    #[serde(skip)]
    goals: Vec<(String, Option<&'static str>)>,
}

/// Why a function is not handed over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Something is in the way that binding does not remove.
    #[error("{0}")]
    Refused(Obstacle),
    /// The kernel did not accept a write.
    #[error("{what} failed at {file}", file = .change.file.display())]
    Write {
        /// What was attempted.
        what: String,
        /// The write.
        change: Change,
        /// Why.
        #[source]
        source: io::Error,
        /// What could not be undone afterwards; empty where the machine is as it was.
        left: Vec<Change>,
    },
    /// The kernel accepted the writes, and the function has another driver all the same.
    #[error("{function} has the driver {found}, not {VFIO}")]
    NotTaken {
        /// The function.
        function: String,
        /// Its driver; `none` without one.
        found: String,
        /// What could not be undone afterwards.
        left: Vec<Change>,
    },
}

/// A write into a file below the root: the file as it is called on the machine itself, and the value.
pub type Writer<'a> = dyn FnMut(&Path, &str) -> io::Result<()> + 'a;

impl Plan {
    /// How to give `card` to `vfio-pci`; with `group` also the functions of its IOMMU group that are in
    /// the way.
    ///
    /// # Errors
    /// A process has the card, VFIO is missing, or the group has others and `group` is off.
    pub fn bind(root: &Root, card: &FunctionInfo, group: bool) -> Result<Self, BindError> {
        let mut plan = Self::default();
        let by_vfio = card.driver.as_deref() == Some(VFIO);
        let Access::Blocked { obstacles } = &card.access else {
            return Ok(plan);
        };
        let mut members = Vec::new();
        for obstacle in obstacles {
            match obstacle {
                Obstacle::Unbound { .. } => {}
                Obstacle::KernelDriver { holders, .. } if holders.processes.is_empty() => {}
                Obstacle::GroupNotViable { members: all, .. } if group => members.clone_from(all),
                // With VFIO already, these are matters of nodes and permissions, not of drivers.
                Obstacle::NoNode { .. }
                | Obstacle::NotPermitted { .. }
                | Obstacle::InUse { .. }
                    if by_vfio => {}
                other => return Err(BindError::Refused(other.clone())),
            }
        }
        if !by_vfio {
            plan.hand_over(root, &card.address.to_string(), card.driver.as_deref());
        }
        for (function, driver) in members {
            plan.hand_over(root, &function, Some(&driver));
        }
        Ok(plan)
    }

    /// How to take `card` from its driver and leave it without one, for ways that need none.
    ///
    /// # Errors
    /// A process has the card, or the chip is none that this driver boots.
    pub fn detach(root: &Root, card: &FunctionInfo) -> Result<Self, BindError> {
        if let Access::Blocked { obstacles } = &card.access {
            let stays = obstacles.iter().find(|one| match one {
                Obstacle::KernelDriver { holders, .. } => !holders.processes.is_empty(),
                other => matches!(other, Obstacle::InUse { .. } | Obstacle::NotDriven { .. }),
            });
            if let Some(stays) = stays {
                return Err(BindError::Refused(stays.clone()));
            }
        }
        let mut plan = Self::default();
        let function = card.address.to_string();
        if let Some(driver) = card.driver.as_deref() {
            plan.release(&function, driver);
        }
        if override_of(root, &function).as_deref() != Some(NO_DRIVER) {
            plan.choose(root, &function, NO_DRIVER);
        }
        Ok(plan)
    }

    /// How to give `card` back to the driver that the kernel chooses.
    ///
    /// # Errors
    /// A process has the card.
    pub fn unbind(root: &Root, card: &FunctionInfo) -> Result<Self, BindError> {
        if let Access::Blocked { obstacles } = &card.access {
            let used = obstacles
                .iter()
                .find(|one| matches!(one, Obstacle::InUse { .. }));
            if let Some(used) = used {
                return Err(BindError::Refused(used.clone()));
            }
        }
        let mut plan = Self::default();
        let function = card.address.to_string();
        let choice = override_of(root, &function);
        let ours = matches!(choice.as_deref(), Some(VFIO | NO_DRIVER));
        let bound = card.driver.as_deref() == Some(VFIO);
        if bound {
            plan.release(&function, VFIO);
        }
        if ours {
            plan.choose(root, &function, "");
        }
        if bound || ours {
            plan.probe(&function, None);
        }
        Ok(plan)
    }

    fn hand_over(&mut self, root: &Root, function: &str, driver: Option<&str>) {
        if let Some(driver) = driver {
            self.release(function, driver);
        }
        self.choose(root, function, VFIO);
        self.probe(function, Some(VFIO));
    }

    fn release(&mut self, function: &str, driver: &str) {
        let file = |name: &str| PathBuf::from(format!("/sys/bus/pci/drivers/{driver}/{name}"));
        self.steps.push(Step {
            what: format!("take {function} from {driver}"),
            change: Change {
                file: file("unbind"),
                value: function.to_owned(),
            },
            undo: Some(Change {
                file: file("bind"),
                value: function.to_owned(),
            }),
        });
    }

    fn choose(&mut self, root: &Root, function: &str, driver: &str) {
        let file = PathBuf::from(format!("/{DEVICES}/{function}/driver_override"));
        // An empty line takes a choice back.
        let line = |driver: &str| format!("{driver}\n");
        let before = override_of(root, function).unwrap_or_default();
        let what = match driver {
            "" => format!("let the kernel choose the driver of {function}"),
            NO_DRIVER => format!("keep all drivers away from {function}"),
            driver => format!("choose {driver} for {function}"),
        };
        self.steps.push(Step {
            what,
            change: Change {
                file: file.clone(),
                value: line(driver),
            },
            undo: Some(Change {
                file,
                value: line(&before),
            }),
        });
    }

    fn probe(&mut self, function: &str, goal: Option<&'static str>) {
        let undo = goal.map(|driver| Change {
            file: PathBuf::from(format!("/sys/bus/pci/drivers/{driver}/unbind")),
            value: function.to_owned(),
        });
        self.steps.push(Step {
            what: format!("let the kernel look for a driver for {function}"),
            change: Change {
                file: PathBuf::from("/sys/bus/pci/drivers_probe"),
                value: function.to_owned(),
            },
            undo,
        });
        self.goals.push((function.to_owned(), goal));
    }

    /// Does it, by `write`, and looks whether it had the effect.
    ///
    /// # Errors
    /// A write failed, or the function was not taken. What was done before is undone; what could not
    /// be undone is in the error.
    pub fn carry_out(&self, root: &Root, write: &mut Writer<'_>) -> Result<(), BindError> {
        for (done, step) in self.steps.iter().enumerate() {
            if let Err(source) = write(&step.change.file, &step.change.value) {
                return Err(BindError::Write {
                    what: step.what.clone(),
                    change: step.change.clone(),
                    source,
                    left: self.undo(root, done, write),
                });
            }
        }
        for (function, goal) in &self.goals {
            let found = driver_of(root, function);
            if goal.is_some() && found.as_deref() != *goal {
                return Err(BindError::NotTaken {
                    function: function.clone(),
                    found: found.unwrap_or_else(|| "none".to_owned()),
                    left: self.undo(root, self.steps.len(), write),
                });
            }
        }
        Ok(())
    }

    /// Undoes the first `done` steps; gives back what could not be undone.
    fn undo(&self, root: &Root, done: usize, write: &mut Writer<'_>) -> Vec<Change> {
        let mut left = Vec::new();
        for change in self
            .steps
            .iter()
            .take(done)
            .rev()
            .filter_map(|step| step.undo.as_ref())
        {
            // A function that was never taken can't be released.
            let release = change.file.ends_with("unbind");
            if release && driver_of(root, &change.value).as_deref() != Some(VFIO) {
                continue;
            }
            if write(&change.file, &change.value).is_err() {
                left.push(change.clone());
            }
        }
        left
    }
}

/// Writes into the kernel's files under `root`.
///
/// # Errors
/// The kernel does not accept the value, or the file can't be opened.
pub fn write(root: &Root, file: &Path, value: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(root.path(file))?;
    file.write_all(value.as_bytes())
}

fn driver_of(root: &Root, function: &str) -> Option<String> {
    sysfs::link_name(&root.path(DEVICES).join(function).join("driver"))
}

fn override_of(root: &Root, function: &str) -> Option<String> {
    let text = sysfs::text(&root.path(DEVICES).join(function).join("driver_override"))?;
    (!text.is_empty() && text != "(null)").then_some(text)
}

#[cfg(test)]
mod tests;

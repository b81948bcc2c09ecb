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
        let ours = override_of(root, &function).as_deref() == Some(VFIO);
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
        let what = if driver.is_empty() {
            format!("let the kernel choose the driver of {function}")
        } else {
            format!("choose {driver} for {function}")
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
mod tests {
    use std::cell::RefCell;
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::super::list::list;
    use super::*;

    const CARD: &str = "0000:03:00.0";

    /// A kernel that does what the writes ask for, over a tree of files.
    struct Kernel {
        dir: tempfile::TempDir,
        /// The file at which a write fails.
        broken: Option<&'static str>,
        /// Whether vfio-pci refuses the card.
        refuses: bool,
        writes: RefCell<Vec<String>>,
    }

    impl Kernel {
        fn new(driver: Option<&str>) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let kernel = Self {
                dir,
                broken: None,
                refuses: false,
                writes: RefCell::default(),
            };
            let home = kernel.path(&format!("sys/bus/pci/devices/{CARD}"));
            for name in ["vfio-pci", "hailo1x"] {
                fs::create_dir_all(kernel.path(&format!("sys/bus/pci/drivers/{name}"))).unwrap();
            }
            fs::create_dir_all(kernel.path("sys/kernel/iommu_groups/7")).unwrap();
            fs::create_dir_all(&home).unwrap();
            for (name, value) in [
                ("vendor", "0x1e60"),
                ("device", "0x45c4"),
                ("driver_override", "(null)"),
            ] {
                fs::write(home.join(name), value).unwrap();
            }
            symlink("/sys/kernel/iommu_groups/7", home.join("iommu_group")).unwrap();
            kernel.set_driver(driver);
            kernel
        }

        fn path(&self, path: &str) -> PathBuf {
            self.dir.path().join(path)
        }

        fn root(&self) -> Root {
            Root::new(self.dir.path())
        }

        fn card(&self) -> FunctionInfo {
            list(&self.root()).unwrap().remove(0)
        }

        fn set_driver(&self, driver: Option<&str>) {
            let link = self.path(&format!("sys/bus/pci/devices/{CARD}/driver"));
            if link.is_symlink() {
                fs::remove_file(&link).unwrap();
            }
            if let Some(driver) = driver {
                symlink(format!("/sys/bus/pci/drivers/{driver}"), link).unwrap();
            }
        }

        fn state(&self) -> (Option<String>, Option<String>) {
            (
                driver_of(&self.root(), CARD),
                override_of(&self.root(), CARD),
            )
        }

        fn write(&self, file: &Path, value: &str) -> io::Result<()> {
            let file = file.to_str().unwrap();
            self.writes
                .borrow_mut()
                .push(format!("{file} {}", value.trim()));
            if self.broken.is_some_and(|broken| file.ends_with(broken)) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let (driver, choice) = self.state();
            let native = || Some("hailo1x".to_owned()).filter(|_| choice.is_none());
            if file.ends_with("driver_override") {
                fs::write(self.path(&file[1..]), value)
            } else if file.ends_with("/unbind") {
                assert_eq!(
                    file,
                    format!("/sys/bus/pci/drivers/{}/unbind", driver.unwrap())
                );
                self.set_driver(None);
                Ok(())
            } else if file.ends_with("drivers_probe") && self.refuses {
                Ok(())
            } else {
                // A choice keeps every other driver away.
                self.set_driver(choice.clone().or_else(native).as_deref());
                Ok(())
            }
        }

        fn carry_out(&self, plan: &Plan) -> Result<(), BindError> {
            plan.carry_out(&self.root(), &mut |file, value| self.write(file, value))
        }
    }

    #[test]
    fn a_card_goes_from_the_vendor_s_driver_to_vfio_and_back() {
        let kernel = Kernel::new(Some("hailo1x"));
        let plan = Plan::bind(&kernel.root(), &kernel.card(), false).unwrap();
        kernel.carry_out(&plan).unwrap();
        assert_eq!(
            kernel.state(),
            (Some("vfio-pci".into()), Some("vfio-pci".into()))
        );
        let back = Plan::unbind(&kernel.root(), &kernel.card()).unwrap();
        kernel.carry_out(&back).unwrap();
        assert_eq!(kernel.state(), (Some("hailo1x".into()), None));
    }

    #[test]
    fn a_failure_at_any_step_leaves_everything_as_it_was() {
        for (driver, before) in [(Some("hailo1x"), Some("hailo1x".to_owned())), (None, None)] {
            for broken in ["hailo1x/unbind", "driver_override", "drivers_probe"] {
                let mut kernel = Kernel::new(driver);
                let plan = Plan::bind(&kernel.root(), &kernel.card(), false).unwrap();
                kernel.broken = Some(broken);
                if driver.is_none() && broken.starts_with("hailo1x") {
                    continue;
                }
                let BindError::Write { left, .. } = kernel.carry_out(&plan).unwrap_err() else {
                    panic!("{broken}");
                };
                assert_eq!(left, [], "{broken}");
                assert_eq!(kernel.state(), (before.clone(), None), "{broken}");
            }
        }
    }

    #[test]
    fn a_card_that_vfio_refuses_gets_its_driver_back() {
        let mut kernel = Kernel::new(Some("hailo1x"));
        kernel.refuses = true;
        let plan = Plan::bind(&kernel.root(), &kernel.card(), false).unwrap();
        let BindError::NotTaken { found, left, .. } = kernel.carry_out(&plan).unwrap_err() else {
            panic!("not the error for a function that was not taken");
        };
        assert_eq!((found.as_str(), left.len()), ("none", 0));
        assert_eq!(kernel.state(), (Some("hailo1x".into()), None));
    }

    #[test]
    fn a_card_in_use_is_not_taken() {
        let kernel = Kernel::new(Some("hailo1x"));
        let fds = kernel.path("proc/812/fd");
        fs::create_dir_all(&fds).unwrap();
        symlink("/dev/hailo0", fds.join("7")).unwrap();
        fs::write(kernel.path("proc/812/comm"), "hailortcli").unwrap();
        let refused = Plan::bind(&kernel.root(), &kernel.card(), false).unwrap_err();
        assert!(
            refused.to_string().contains("hailortcli (pid 812)"),
            "{refused}"
        );
        assert!(kernel.writes.borrow().is_empty());
    }

    #[test]
    fn what_is_as_wanted_needs_no_step() {
        let kernel = Kernel::new(Some("hailo1x"));
        assert_eq!(
            Plan::unbind(&kernel.root(), &kernel.card()).unwrap().steps,
            []
        );
        let kernel = Kernel::new(Some("vfio-pci"));
        assert_eq!(
            Plan::bind(&kernel.root(), &kernel.card(), false)
                .unwrap()
                .steps,
            []
        );
    }
}

//! Plans on a made-up kernel, which does what the writes ask for.

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
fn a_card_can_be_left_without_a_driver_and_given_back() {
    let mut kernel = Kernel::new(Some("hailo1x"));
    let plan = Plan::detach(&kernel.root(), &kernel.card()).unwrap();
    kernel.broken = Some("driver_override");
    kernel.carry_out(&plan).unwrap_err();
    assert_eq!(kernel.state(), (Some("hailo1x".into()), None));
    kernel.broken = None;
    kernel.carry_out(&plan).unwrap();
    assert_eq!(kernel.state(), (None, Some("none".into())));
    let again = Plan::detach(&kernel.root(), &kernel.card()).unwrap();
    assert_eq!(again.steps, []);
    let back = Plan::unbind(&kernel.root(), &kernel.card()).unwrap();
    kernel.carry_out(&back).unwrap();
    assert_eq!(kernel.state(), (Some("hailo1x".into()), None));
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

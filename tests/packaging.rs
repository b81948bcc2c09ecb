//! What a distribution installs beside the tool (`udev/`): that the files are well-formed, and that the
//! rules do what they say, on a made-up machine.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("udev")
}

fn rules() -> Vec<PathBuf> {
    ["60-hailo.rules", "61-hailo-bind.rules"]
        .map(|name| folder().join(name))
        .to_vec()
}

/// The version of udev, where it is installed.
fn udev() -> Option<u32> {
    let told = Command::new("udevadm").arg("--version").output().ok()?;
    let told = String::from_utf8(told.stdout).ok()?;
    told.split_whitespace().next()?.parse().ok()
}

#[test]
fn the_page_names_each_file_and_where_it_goes() {
    let page = fs::read_to_string(folder().join("README.md")).unwrap();
    for entry in fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let named = page.contains(&format!("`{name}`"));
        assert!(named || name == "README.md", "{name}");
    }
}

#[test]
fn udev_takes_the_rules() {
    const FIRST: u32 = 254;
    match udev() {
        Some(version) if version >= FIRST => {}
        found => {
            eprintln!("NOT RUN: udevadm verify (udev 254 or later is needed, found {found:?})");
            return;
        }
    }
    let verified = Command::new("udevadm")
        .args(["verify", "--resolve-names=never"])
        .args(rules())
        .output()
        .unwrap();
    assert!(verified.status.success(), "{verified:?}");
}

#[test]
fn systemd_takes_the_group() {
    let file = folder().join("hailo.sysusers.conf");
    let run = Command::new("systemd-sysusers")
        .arg("--dry-run")
        .arg(&file)
        .output();
    let Ok(run) = run else {
        eprintln!("NOT RUN: systemd-sysusers is missing (apt-get install systemd)");
        return;
    };
    assert!(run.status.success(), "{run:?}");
    let complaint = String::from_utf8(run.stderr).unwrap();
    assert!(!complaint.contains("ignoring"), "{complaint}");
}

#[test]
fn options_of_modules_and_limits_have_their_form() {
    let lines = |name: &str| -> Vec<String> {
        let text = fs::read_to_string(folder().join(name)).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(
        lines("hailo.modprobe.conf"),
        ["options vfio-pci disable_idle_d3=1"]
    );
    assert_eq!(lines("hailo.limits.conf"), ["@hailo - memlock 1048576"]);
}

/// A kernel's sysfs with a card, an SSD, their VFIO groups and nodes.
fn machine(sys: &Path) {
    let function = |place: &str, vendor: &str, class: &str, device: &str| {
        let home = sys.join(place);
        fs::create_dir_all(&home).unwrap();
        let name = home.file_name().unwrap().to_str().unwrap().to_owned();
        fs::write(home.join("vendor"), format!("{vendor}\n")).unwrap();
        fs::write(home.join("class"), format!("{class}\n")).unwrap();
        fs::write(home.join("device"), format!("{device}\n")).unwrap();
        fs::write(home.join("driver_override"), "(null)\n").unwrap();
        fs::write(home.join("uevent"), format!("PCI_SLOT_NAME={name}\n")).unwrap();
        symlink("/sys/bus/pci", home.join("subsystem")).unwrap();
    };
    let node = |place: &str, subsystem: &str, name: &str| {
        let home = sys.join(place);
        fs::create_dir_all(&home).unwrap();
        fs::create_dir_all(sys.join("class").join(subsystem)).unwrap();
        let event = format!("MAJOR=240\nMINOR=7\nDEVNAME={name}\n");
        fs::write(home.join("uevent"), event).unwrap();
        symlink(format!("/sys/class/{subsystem}"), home.join("subsystem")).unwrap();
    };
    let member = |group: &str, place: &str| {
        let devices = sys.join("kernel/iommu_groups").join(group).join("devices");
        fs::create_dir_all(&devices).unwrap();
        let name = Path::new(place).file_name().unwrap();
        symlink(Path::new("/sys").join(place), devices.join(name)).unwrap();
    };
    fs::create_dir_all(sys.join("bus/pci/drivers")).unwrap();
    function(PORT, "0x8086", "0x060400", "0x7ab8");
    function(CARD, "0x1e60", "0x0b4000", "0x45c4");
    function(SSD, "0x144d", "0x010802", "0xa808");
    member("15", PORT);
    member("15", CARD);
    member("16", CARD);
    member("16", SSD);
    member("17", SSD);
    for group in ["15", "16", "17", "noiommu-0"] {
        node(
            &format!("{GROUPS}/{group}"),
            "vfio",
            &format!("vfio/{group}"),
        );
    }
    node(
        &format!("{CARD}/vfio-dev/vfio0"),
        "vfio-dev",
        "vfio/devices/vfio0",
    );
    node(
        &format!("{SSD}/vfio-dev/vfio1"),
        "vfio-dev",
        "vfio/devices/vfio1",
    );
}

const PORT: &str = "devices/pci0000:00/0000:00:1c.0";
const CARD: &str = "devices/pci0000:00/0000:00:1c.0/0000:03:00.0";
const SSD: &str = "devices/pci0000:00/0000:00:1c.0/0000:04:00.0";
const GROUPS: &str = "devices/virtual/vfio";

/// In a mount namespace of its own, with the made-up sysfs, a group `hailo` and only our rules.
const STAGE: &str = "\
mount --bind \"$1/sys\" /sys && mount --bind \"$1/group\" /etc/group || exit 9
mkdir -p /etc/udev/rules.d /run/udev
mount -t tmpfs none /run/udev && mount -t tmpfs none /etc/udev/rules.d || exit 9
[ ! -d /usr/lib/udev/rules.d ] || mount -t tmpfs none /usr/lib/udev/rules.d || exit 9
cp \"$2\"/*.rules /etc/udev/rules.d || exit 9
SYSTEMD_DEVICE_VERIFY_SYSFS=0 udevadm test \"/sys/$3\" 2>&1";

#[test]
fn the_rules_give_cards_to_the_group_and_nothing_else() {
    // From this version on `udevadm test` runs no programs, which the rule for groups needs.
    const TESTS_NO_PROGRAMS: u32 = 256;
    let Some(version) = udev() else {
        eprintln!("NOT RUN: udevadm is missing (apt-get install udev)");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let sys = dir.path().join("sys");
    machine(&sys);
    let groups = fs::read_to_string("/etc/group").unwrap();
    fs::write(dir.path().join("group"), groups + "hailo:x:64123:\n").unwrap();
    let told = |place: &str| {
        let run = Command::new("unshare")
            .args(["-m", "sh", "-c", STAGE, "sh"])
            .args([dir.path(), &folder(), Path::new(place)])
            .output();
        let run = run
            .ok()
            .filter(|run| ![Some(1), Some(9)].contains(&run.status.code()))?;
        Some(String::from_utf8(run.stdout).unwrap())
    };
    let Some(card) = told(&format!("{CARD}/vfio-dev/vfio0")) else {
        eprintln!("NOT RUN: the rules on a made-up machine (takes root and unshare)");
        return;
    };
    const NAME: &str = "DEVLINKS=/dev/hailo/0000:03:00.0";
    assert!(card.contains(NAME), "{card}");
    let others = [
        format!("{SSD}/vfio-dev/vfio1"),
        format!("{GROUPS}/noiommu-0"),
    ];
    for other in &others {
        let told = told(other).unwrap();
        assert!(!told.contains("DEVLINKS="), "{other}: {told}");
    }
    let function = told(CARD).unwrap();
    assert!(function.contains("kmod load vfio-pci"), "{function}");
    assert!(
        function.contains("echo 0000:03:00.0 > /sys/bus/pci/drivers_probe"),
        "{function}"
    );
    let chosen = fs::read_to_string(sys.join(CARD).join("driver_override")).unwrap();
    assert!(
        version >= TESTS_NO_PROGRAMS || chosen.trim() == "vfio-pci",
        "{chosen}"
    );
    if version >= TESTS_NO_PROGRAMS {
        eprintln!("NOT RUN: the rule for groups (udevadm {version} runs no programs in a test)");
        return;
    }
    assert!(told(&format!("{GROUPS}/15")).unwrap().contains(NAME));
    for shared in ["16", "17"] {
        let told = told(&format!("{GROUPS}/{shared}")).unwrap();
        assert!(!told.contains("DEVLINKS="), "{shared}: {told}");
    }
}

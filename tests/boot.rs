//! Booting the chip: whole sets arrive whole, by each way, and faults are explained.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::time::Duration;

use hailo_vfio::boot::{BootOptions, Phase, Progress, Verify, Via};
use hailo_vfio::device::Booted;
use hailo_vfio::model::mkfw::MakeFirmware;
use hailo_vfio::spec::board::{Chip, Sku};
use hailo_vfio::spec::firmware::Version;
use hailo_vfio::{Error, ErrorKind};
use support::{Bench, Set, Way, each_way, firmware, sha256};

fn boot(bench: &Bench, set: &Set, options: &BootOptions) -> Result<Booted, Error> {
    bench.open().boot(&set.set, options, &mut |_| {})
}

/// Every file that the chip kept has the digest of the file on the host.
fn assert_arrived(bench: &Bench, set: &Set, sku: Sku) {
    let received = bench.chip.received();
    for file in set.set.files() {
        if file.sku.is_some_and(|of| of != sku) {
            continue;
        }
        let kept = received.iter().find(|kept| kept.name == file.name);
        let kept = kept.unwrap_or_else(|| panic!("{} did not arrive: {received:?}", file.name));
        assert_eq!(
            kept.sha256,
            sha256(&set.dir.path().join(&file.name)),
            "{} ({:?})",
            file.name,
            bench.way
        );
    }
}

#[test]
fn a_set_of_each_release_boots_and_arrives_whole() {
    each_way(|way| {
        for (release, profile) in [
            ((4, 23, 0), "default"),
            ((5, 0, 1), "default"),
            ((5, 2, 0), "default"),
            ((5, 2, 0), "hailo12l"),
        ] {
            let (major, minor, revision) = release;
            let chip = if profile == "hailo12l" {
                Chip::Hailo12l
            } else {
                Chip::Hailo10h
            };
            let release = Version::new(major, minor, revision);
            let set = firmware(&MakeFirmware {
                release,
                chip,
                ..Default::default()
            });
            let bench = Bench::new(way, profile, "");
            let booted = boot(&bench, &set, &BootOptions::default()).unwrap();
            assert_eq!(booted.version, release);
            assert_arrived(&bench, &set, Sku::Default);
            bench.assert_no_complaints();
        }
    });
}
/// Options whose stages time out soon.
fn soon() -> BootOptions {
    BootOptions {
        timeout: Some(Duration::from_secs(1)),
        ..Default::default()
    }
}

/// After a fault the same chip must boot again: reset where firmware is half loaded, then everything.
fn assert_recovers(bench: &Bench, set: &Set) {
    let device = bench.open();
    device.reset().unwrap();
    let booted = device
        .boot(&set.set, &BootOptions::default(), &mut |_| {})
        .unwrap();
    assert_eq!(booted.version, Version::new(5, 2, 0), "{:?}", bench.way);
    assert_arrived(bench, set, Sku::Default);
}

fn facts(error: &Error) -> String {
    error
        .facts()
        .iter()
        .map(|(label, value)| format!("{label}: {value}\n"))
        .collect()
}

#[test]
fn stage_3_takes_as_many_channels_as_it_needs() {
    each_way(|way| {
        let set = firmware(&MakeFirmware {
            size: 70 << 20,
            ..Default::default()
        });
        let bench = Bench::new(way, "default", "");
        let booted = boot(&bench, &set, &BootOptions::default()).unwrap();
        let upload = booted.upload.unwrap();
        assert_eq!((upload.channels, upload.copied), (3, 0), "{way:?}");
        assert_arrived(&bench, &set, Sku::Default);
        bench.assert_no_complaints();
    });
}

#[test]
fn stage_3_goes_through_the_window_on_request() {
    each_way(|way| {
        let set = firmware(&MakeFirmware {
            size: 1 << 19,
            ..Default::default()
        });
        let bench = Bench::new(way, "default", "");
        let options = BootOptions {
            via: Via::Bars,
            verify: Verify::Full,
            ..Default::default()
        };
        boot(&bench, &set, &options).unwrap();
        assert_eq!(bench.chip.counters().descriptors, 0);
        assert_arrived(&bench, &set, Sku::Default);
        bench.assert_no_complaints();
    });
}

#[test]
fn a_link_with_small_read_requests_gets_larger_ones() {
    each_way(|way| {
        let set = firmware(&MakeFirmware::default());
        let bench = Bench::new(way, "default,mrrs=128", "");
        let device = bench.open();
        assert_eq!(device.link().max_read_request, 512);
        device
            .boot(&set.set, &BootOptions::default(), &mut |_| {})
            .unwrap();
        assert_arrived(&bench, &set, Sku::Default);
        bench.assert_no_complaints();
    });
}

#[test]
fn a_board_gets_the_device_tree_of_its_sku() {
    each_way(|way| {
        let set = firmware(&MakeFirmware::default());
        let bench = Bench::new(way, "default,sku=4", "");
        let booted = boot(&bench, &set, &BootOptions::default()).unwrap();
        assert_eq!(booted.upload.unwrap().sku, Some(Sku::Number(4)));
        assert_arrived(&bench, &set, Sku::Number(4));
    });
}

#[test]
fn a_board_without_its_file_is_told_which_there_are() {
    each_way(|way| {
        let set = firmware(&MakeFirmware::default());
        let bench = Bench::new(way, "default,sku=22", "");
        let error = boot(&bench, &set, &BootOptions::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadInput);
        assert_eq!(error.action(), "no firmware for this board (SKU 22)");
        assert_eq!(
            facts(&error),
            "missing: u-boot-22.dtb.signed\navailable: default, 0, 1, 3, 4, 5, 6\n"
        );
    });
}

#[test]
fn firmware_that_runs_is_left_alone_or_replaced_by_force() {
    each_way(|way| {
        let set = firmware(&MakeFirmware::default());
        let bench = Bench::new(way, "default,loaded=5.1.1", "");
        let booted = boot(&bench, &set, &BootOptions::default()).unwrap();
        assert_eq!(
            (booted.version, booted.upload),
            (Version::new(5, 1, 1), None)
        );
        let options = BootOptions {
            force: true,
            ..Default::default()
        };
        let booted = boot(&bench, &set, &options).unwrap();
        assert_eq!(booted.version, Version::new(5, 2, 0));
        assert_eq!(booted.before, Some(Version::new(5, 1, 1)));
        assert_arrived(&bench, &set, Sku::Default);
        bench.assert_no_complaints();
    });
}

#[test]
fn progress_goes_through_all_stages_and_never_back() {
    let set = firmware(&MakeFirmware::default());
    let bench = Bench::new(Way::Local, "default", "");
    let mut seen: Vec<Progress> = Vec::new();
    bench
        .open()
        .boot(&set.set, &BootOptions::default(), &mut |progress| {
            seen.push(progress.clone())
        })
        .unwrap();
    let done: Vec<u32> = seen
        .iter()
        .filter(|p| p.phase == Phase::Done)
        .map(|p| p.stage)
        .collect();
    assert_eq!(done, [1, 2, 3]);
    assert_eq!(seen.last().unwrap().phase, Phase::Handshake);
    for pair in seen.windows(2) {
        assert!(
            pair[0].stage != pair[1].stage || pair[0].done <= pair[1].done,
            "{pair:?}"
        );
    }
    for progress in &seen {
        assert!(progress.done <= progress.total, "{progress:?}");
    }
}

#[test]
fn a_stage_that_stalls_is_explained_and_the_chip_recovers() {
    each_way(|way| {
        let set = firmware(&MakeFirmware::default());
        for (stage, wanted) in [(1, "boot status 0x"), (2, "SCU log"), (3, "SCU log")] {
            let bench = Bench::new(way, "default", &format!("stall-stage={stage}"));
            let error = boot(&bench, &set, &soon()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            assert_eq!(
                error.action(),
                format!("boot stage {stage} did not complete")
            );
            assert!(facts(&error).contains(wanted), "{}", facts(&error));
            assert!(error.hint().is_some());
            assert_recovers(&bench, &set);
        }
    });
}

#[test]
fn a_stage_that_fails_once_boots_with_a_retry() {
    each_way(|way| {
        let set = firmware(&MakeFirmware::default());
        for fault in ["fail-stage=1", "fail-stage=2", "stall-stage=3"] {
            let bench = Bench::new(way, "default", fault);
            let mut options = soon();
            options.retries = 1;
            let booted = boot(&bench, &set, &options).unwrap();
            assert_eq!(booted.tries, 2, "{fault} {way:?}");
        }
    });
}

/// Every other fault: what is said, and that the chip boots afterwards.
#[test]
fn each_fault_is_reported_and_survived() {
    each_way(|way| {
        let set = firmware(&MakeFirmware {
            size: 4 << 20,
            ..Default::default()
        });
        for (fault, kind, action) in [
            (
                "fail-after=50000",
                ErrorKind::Io,
                "firmware did not arrive in device memory",
            ),
            (
                "fail-after=900000",
                ErrorKind::Io,
                "boot transfer failed on DMA channel 0",
            ),
            (
                "descriptor-error=100",
                ErrorKind::Io,
                "boot transfer failed on DMA channel 0",
            ),
            (
                "stuck-channel=0",
                ErrorKind::TimedOut,
                "boot stage 3 did not receive its files",
            ),
            (
                "no-response",
                ErrorKind::TimedOut,
                "firmware does not answer",
            ),
            (
                "wrong-version",
                ErrorKind::Protocol,
                "the firmware that runs is not the one that was loaded",
            ),
        ] {
            let bench = Bench::new(way, "default", fault);
            // What is told without a time-out must not run into one where the machine is slow.
            let options = match kind {
                ErrorKind::TimedOut => soon(),
                _ => BootOptions::default(),
            };
            let error = boot(&bench, &set, &options).unwrap_err();
            assert_eq!(
                (error.kind(), error.action()),
                (kind, action),
                "{fault} {way:?}: {}",
                facts(&error)
            );
            assert!(
                error.hint().is_some() && !error.facts().is_empty(),
                "{fault}"
            );
            assert_recovers(&bench, &set);
        }
    });
}

#[test]
fn a_card_that_leaves_the_bus_is_told_from_one_that_hangs() {
    each_way(|way| {
        let set = firmware(&MakeFirmware::default());
        for accesses in [40, 500, 20_000, 50_000, 57_500] {
            let bench = Bench::new(way, "default", &format!("all-ones-after={accesses}"));
            let error = boot(&bench, &set, &soon()).unwrap_err();
            assert_eq!(
                error.kind(),
                ErrorKind::Gone,
                "after {accesses} {way:?}: {error} {}",
                facts(&error)
            );
            assert_recovers(&bench, &set);
        }
    });
}

#[test]
fn a_chip_that_resets_itself_in_mid_boot_is_survived() {
    each_way(|way| {
        let set = firmware(&MakeFirmware::default());
        for stage in 1..=3 {
            let bench = Bench::new(way, "default", &format!("reset-at-stage={stage}"));
            let error = boot(&bench, &set, &soon()).unwrap_err();
            assert!(error.hint().is_some(), "stage {stage} {way:?}: {error}");
            assert_recovers(&bench, &set);
        }
    });
}

#[test]
fn lost_and_spurious_interrupts_and_storms_do_not_stop_a_boot() {
    each_way(|way| {
        let set = firmware(&MakeFirmware::default());
        for fault in ["lose-irq", "lose-irq:4", "spurious-irq", "irq-storm=100"] {
            let bench = Bench::new(way, "default", fault);
            let device = bench.open();
            device
                .boot(&set.set, &BootOptions::default(), &mut |_| {})
                .unwrap();
            if fault.starts_with("lose-irq") {
                assert!(
                    device.interrupt_counts().lost > 0,
                    "{fault} {way:?}: {:?}",
                    device.interrupt_counts()
                );
            }
        }
    });
}

#[test]
fn a_boot_that_is_cancelled_leaves_a_chip_that_boots() {
    each_way(|way| {
        let set = firmware(&MakeFirmware {
            size: 8 << 20,
            ..Default::default()
        });
        for stage in 1..=3 {
            let bench = Bench::new(way, "default", "");
            let options = BootOptions::default();
            let cancel = options.cancel.clone();
            let error = bench
                .open()
                .boot(&set.set, &options, &mut |progress| {
                    if progress.stage == stage {
                        cancel.cancel();
                    }
                })
                .unwrap_err();
            assert_eq!(
                error.kind(),
                ErrorKind::Interrupted,
                "stage {stage} {way:?}: {error}"
            );
            assert_recovers(&bench, &set);
            bench.assert_no_complaints();
        }
    });
}

#[test]
fn a_set_for_another_chip_is_refused_before_the_device_is_touched() {
    let set = firmware(&MakeFirmware {
        chip: Chip::Hailo12l,
        ..Default::default()
    });
    let bench = Bench::new(Way::Local, "default", "");
    let device = bench.open();
    let before = bench.chip.counters();
    let error = device
        .boot(&set.set, &BootOptions::default(), &mut |_| {})
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadInput);
    assert_eq!(bench.chip.counters().mmio_writes, before.mmio_writes);
}

/// The budget of the upload: a write a word and a few a page, reads only to probe, and nothing in
/// stage 3 that grows with its bytes but the start and stop of a channel.
#[test]
fn the_upload_stays_in_its_budget_of_register_accesses() {
    let count = |size| {
        let set = firmware(&MakeFirmware {
            size,
            skus: vec![Sku::Default],
            ..Default::default()
        });
        let bench = Bench::new(Way::Local, "default", "");
        boot(&bench, &set, &BootOptions::default()).unwrap();
        let through_window: u64 = set
            .set
            .files()
            .iter()
            .filter(|file| file.stage < 3)
            .map(|file| file.len)
            .sum();
        (bench.chip.counters(), through_window)
    };
    let (small, bytes) = count(2 << 20);
    let (words, pages) = (bytes / 4, bytes / 4096 + 10);
    assert!(
        sum(small.mmio_writes) < words + 5 * pages + 150,
        "{small:?} for {words} words"
    );
    assert!(
        sum(small.mmio_reads) < 4 * pages + 150,
        "{small:?} for {pages} pages"
    );
    let (large, _) = count(30 << 20);
    assert_eq!(sum(large.mmio_writes), sum(small.mmio_writes));
    // While it waits the driver looks now and then, by time: a slow machine sees more looks, never one
    // for each of the 57,000 descriptors.
    assert!(
        sum(large.mmio_reads) <= sum(small.mmio_reads) + 1000,
        "{large:?} against {small:?}"
    );
}

fn sum(by_bar: [u64; 3]) -> u64 {
    by_bar.iter().sum()
}

//! Boots a software Hailo-10H and asks it for its version: `cargo run --example boot`.

use std::sync::Arc;

use hailo_vfio::Device;
use hailo_vfio::boot::{BootOptions, FirmwareSet};
use hailo_vfio::model::mkfw::MakeFirmware;
use hailo_vfio::model::{Chip, FaultPlan, Profile};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A set for the software chip; for a card, a folder with the vendor's files.
    let folder = std::env::temp_dir().join("hailo-example");
    MakeFirmware::default().write(&folder)?;
    let set = FirmwareSet::open(&folder, None)?; // checked completely, nothing touched yet

    let chip = Chip::new(Profile::default(), FaultPlan::default())?;
    let device = Device::new(Arc::new(chip.transport("sim")?))?;
    let booted = device.boot(&set, &BootOptions::default(), &mut |progress| {
        println!(
            "stage {}: {:?} {}",
            progress.stage, progress.phase, progress.file
        );
    })?;
    println!("{} runs {}", device.chip(), booted.version);
    Ok(())
}

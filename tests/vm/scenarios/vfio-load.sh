# about: hailoctl boots the chip through vfio-pci and the IOMMU, by the best way that the kernel has
# kernels: cloud-amd64 arm64-16k custom-amd64
# real: yes
# tool: yes
# firmware: --release 5.2.0 --size 2M
# arrives: yes
# memory: 512

card=$(card)
address=$(basename "$card")

# Before VFIO has the card, what is missing is said, and by which command it is put right.
refused_with 3 hailoctl identify
check_said "not bound to vfio-pci"
check_said "hailoctl bind -d $address"

bind_vfio "$card"
check_that "the chip boots" hailoctl -v fw-load "$FIRMWARE"
if [ -e /dev/iommu ]; then
	check_said "opened by VFIO device"
else
	check_said "not by VFIO device: this kernel does not offer it"
	check_said "opened by VFIO group"
fi
check_said " runs"

# Closing the card resets it, so the next one finds the ROM again.
check_that "the card can be opened again" hailoctl identify --json
check_said '"running":false'
check "bus mastering after the end" $(($(config "$card" 4 2) & 4)) 0
check "users of the card" "$(cat "$card/enable")" 0
check "faults of the IOMMU" "$(iommu_faults)" "$FAULTS"
shows boot

# about: a stock kernel finds the card, reads it, gives it to vfio-pci and resets it
# kernels: cloud-amd64 arm64-16k
# memory: 512

card=$(card)

check "class" "$(cat "$card/class")" 0x0b4000
set -- $(bar "$card" 0) && check "BAR 0 size" "$2" 16384 && config_bar=$1
set -- $(bar "$card" 2) && check "BAR 2 size" "$2" 4096
set -- $(bar "$card" 4) && check "BAR 4 size" "$2" 16384
check "BAR 0 type bits (64-bit, prefetchable)" $(($(config "$card" 0x10 1) & 0xf)) 12

pcie=$(capability "$card" 0x10)
check "PCI Express port type (endpoint)" $((($(config "$card" $((pcie + 2)) 2) >> 4) & 0xf)) 0
check "function level reset in Device Capabilities" $((($(config "$card" $((pcie + 4)) 4) >> 28) & 1)) 1
check "link speed" "$(cat "$card/current_link_speed")" "8.0 GT/s PCIe"
check "link width" "$(cat "$card/current_link_width")" 4
check "maximum link speed" "$(cat "$card/max_link_speed")" "8.0 GT/s PCIe"
check "maximum link width" "$(cat "$card/max_link_width")" 4

msi=$(capability "$card" 0x05)
check "MSI control: 64-bit addresses, one vector" $(($(config "$card" $((msi + 2)) 2) & 0x8e)) $((0x80))
check_that "there is no MSI-X" eval '! capability "$card" 0x11'
check_that "there is a power management capability" capability "$card" 0x01
check_that "there is an advanced error reporting capability" extended_capability "$card" 0x01

# The vendor id mirrored in BAR 0 proves that memory accesses reach the chip.
echo 1 >"$card/enable"
check "vendor word in BAR 0" $(($(devmem $((config_bar + 0x98)) 32) & 0xffff)) $((0x1e60))
echo 0 >"$card/enable"

bind_vfio "$card"
check "driver" "$(driver "$card")" vfio-pci
group=$(basename "$(readlink "$card/iommu_group")")
check_that "IOMMU group $group has its device node" test -c "/dev/vfio/$group"
# Where the IOMMU driver came too late to ask for access control, the port above shares the group.
check "devices other than bridges in the group" "$(cat "$card"/iommu_group/devices/*/class | grep -vc '^0x0604')" 1

check "reset methods" "$(cut -d ' ' -f 1 "$card/reset_method")" flr
before=$(md5sum <"$card/config")
echo 1 >"$card/reset"
check "config space after a reset" "$(md5sum <"$card/config")" "$before"
check "vendor and device after a reset" "$(config "$card" 0 4)" 0x45c41e60
check "complaints of the kernel about power states" "$(dmesg | grep -c 'Refused to change power state')" 0

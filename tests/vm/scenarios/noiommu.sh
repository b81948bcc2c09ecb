# about: VFIO without an IOMMU, on a kernel rebuilt for it: consent, a boot, and twenty that are killed
# kernels: noiommu-amd64 noiommu-arm64-16k
# tool: yes
# machine: no-iommu
# firmware: --release 5.2.0 --size 512K
# arrives: yes
# files: tests/golden/hef/v3_flow_yolov8.hef tests/golden/hef/v3_multi_network.hef
# memory: 768

. "$LAB/killed.sh"
. "$LAB/works.sh"
card=$(card)
check_that "no IOMMU has the card" test ! -e "$card/iommu_group"
echo 1 >/sys/module/vfio/parameters/enable_unsafe_noiommu_mode
bind_vfio "$card"
check "driver" "$(driver "$card")" vfio-pci
check_that "its node" ls /dev/vfio/noiommu-0

refused_with 4 hailoctl identify
check_said "agree with --allow-no-iommu"
allow_no_iommu
check_that "the chip boots" hailoctl -v fw-load "$FIRMWARE"
check_said "opened by VFIO group without IOMMU"
until_true 30 "the card is closed" closed "$card"
quiet "$card"
shows boot
works
until_true 30 "the card is closed" closed "$card"
killed 20 "$card"
